"""What an engine costs: memory of parked and of ended runs, questions to an idle store, back-pressure, and odd observers."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from replay import Engine, Retry, Start, Workflow, gather, savepoint, signal, sleep, spawn, step, timeout, workflow
from replay.engine.alarms import Alarms
from replay.engine.live import Live
from replay.engine.observers import Observer
from replay.store.contract import Message
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, let_pass, reaches, until


@step(name="resources.same")
def same(number: int) -> int:
    return number


@workflow
def waits_long(number: int) -> Workflow[int]:
    """A timer and a deadline far away."""
    return (yield from signal("go", int, timeout=86400 * 365, default=number))


# ---- memory --------------------------------------------------------------------------------------------------------------------


def lives() -> int:
    """Runs in memory, wherever they are held."""
    gc.collect()
    return sum(isinstance(found, Live) for found in gc.get_objects())


def test_parked_runs_leave_memory(open_engine: OpenEngine) -> None:
    """Neither the worker nor its alarms hold on to a run that only waits, however far its timer lies."""
    before = lives()
    engine = open_engine()
    handles = engine.start_many([Start(waits_long(n), f"r{n}") for n in range(300)])
    until(lambda: not engine.worker.live, engine.store)

    assert before == lives()
    assert 0 == len(engine.worker.held.alarms)
    assert {"waiting"} == {handle.status for handle in handles}


def test_ended_runs_leave_memory(open_engine: OpenEngine) -> None:
    """Thousands of runs come and go; what is kept for each is nothing."""
    before = lives()
    engine = open_engine()

    @workflow
    def flow(number: int) -> Workflow[int]:
        beside = yield from timeout(same(number), 3600)
        return beside + (yield from same(number))

    for start in range(0, 2000, 500):
        for handle in engine.start_many([Start(flow(n), f"r{n}") for n in range(start, start + 500)]):
            handle.result(PATIENCE)
    until(lambda: not engine.worker.live, engine.store)

    held, actor = engine.worker.held, engine.worker.actor
    assert before == lives()
    assert 0 == len(held.alarms) == len(held.touched) == len(actor.todo) == len(actor.attempts)
    assert {} == engine.worker.waiters.futures


def test_a_step_with_a_timeout_leaves_no_alarm_behind(open_engine: OpenEngine) -> None:
    """A thousand quick steps with an hour's patience each."""
    engine = open_engine()

    @step(timeout=3600)
    def quick(number: int) -> int:
        return number

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(*[quick(n) for n in range(1000)])))

    assert 499_500 == engine.start(flow()).result(PATIENCE)
    assert 0 == len(engine.worker.held.alarms)


def test_a_long_life_does_not_collect_what_is_over(open_engine: OpenEngine) -> None:
    """A run that is never parked: its answered waits leave neither timers nor messages nor lines behind."""
    engine = open_engine()
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 0

    @workflow
    def flow() -> Workflow[int]:
        def count() -> Workflow[int]:
            for _ in range(1000):
                yield from signal("tick", timeout=86400)
            return 1000

        yield from spawn(sleep(3600))  # before all others: what lies behind it is not found by looking at the first
        held, counted = yield from gather(hold(), count())
        return held + counted

    handle = engine.start(flow(), id="a")
    gate.await_entry()
    live = engine.worker.live[handle.key]
    engine.post([Message(f"m{number}", handle.key, "signal", "tick", b"1") for number in range(1000)])
    until(lambda: handle.about().seq > 1000, engine.store)

    assert len(live.timers) < 100
    assert 0 == len(live.known)
    assert len(live.lines) < 10
    gate.open()
    assert 1000 == handle.result(PATIENCE)


def test_an_abandoned_handle_keeps_nothing(open_engine: OpenEngine) -> None:
    """A handle is a name; the engine does not know it."""
    engine = open_engine()
    handle = engine.start(waits_long(1))
    gone = weakref.ref(handle)
    del handle
    gc.collect()

    assert gone() is None


# ---- an idle engine --------------------------------------------------------------------------------------------------------------


def test_an_idle_engine_asks_once_a_poll(store_url: str, open_engine: OpenEngine) -> None:
    """With a hundred parked runs and nobody who waits, its store hears of it once in ``poll`` seconds and no more."""
    with open_engine() as before:
        before.start_many([Start(waits_long(n), f"r{n}") for n in range(100)])
        until(lambda: not before.worker.live, before.store)
    store = between(store_url)
    open_engine(store, poll=0.25, announce=0)
    until(lambda: store.calls["find"], store.store)  # when it begins it looks for runs of the dead
    store.calls.clear()
    asked = threading.Event()
    store.before = lambda verb: asked.set() if store.calls["claim"] >= 5 else None
    assert asked.wait(PATIENCE)

    assert {"claim": 5} == dict(store.calls)


def test_an_engine_that_waits_for_room_does_not_spin(store_url: str, open_engine: OpenEngine) -> None:
    """Steps that wait for room are no reason to look again and again."""
    store = between(store_url)
    engine = open_engine(store, steps=1, threads=1, poll=0.25)
    gate = Gate()

    @step
    def hold(number: int) -> int:
        gate.enter()
        return number

    @workflow
    def flow() -> Workflow[int]:
        return len((yield from gather(*[hold(n) for n in range(50)])))

    handle = engine.start(flow())
    gate.await_entry()
    pumps = 0
    pump = engine.worker.pump
    enough = threading.Event()

    def counted(patience: float) -> bool:
        nonlocal pumps
        pumps += 1
        if store.calls["claim"] >= 4:
            enough.set()
        return pump(patience)

    store.calls.clear()
    engine.worker.pump = counted  # type: ignore[method-assign]  # counted, not changed
    assert enough.wait(PATIENCE)

    assert pumps < 40
    gate.open()
    assert 50 == handle.result(PATIENCE)


def test_waiting_for_runs_elsewhere_asks_for_some_at_a_time(store_url: str, open_engine: OpenEngine) -> None:
    """Thousands of runs that nobody here drives: those who wait are answered, in turns."""
    with Engine(store_url, queues=["elsewhere"], poll=0.25) as other:
        handles = other.start_many([Start(waits_long(n), f"r{n}") for n in range(1200)])
        waiting = [other.ending(handle.key) for handle in handles]
        engine = open_engine()
        engine.post([Message("m", handle.key, "signal", "go", b"7") for handle in handles])

        assert {"completed"} == {future.result(PATIENCE)[0] for future in waiting}


# ---- back-pressure ----------------------------------------------------------------------------------------------------------------


def test_no_more_runs_are_held_than_allowed(open_engine: OpenEngine) -> None:
    """A hundred runs through an engine of three places."""
    most = 0

    class Count(Observer):
        def claimed(self, run: Any, lease: Any) -> None:
            nonlocal most
            most = max(most, len(engine.worker.live))

    @workflow
    def flow(number: int) -> Workflow[int]:
        yield from savepoint("s")
        return (yield from same(number))

    engine = open_engine(concurrency=3, observers=[Count()])
    handles = engine.start_many([Start(flow(n), f"r{n}") for n in range(100)])

    assert list(range(100)) == [handle.result(PATIENCE) for handle in handles]
    assert 0 < most <= 3


def test_a_place_that_comes_free_is_taken_at_once(store_url: str, open_engine: OpenEngine) -> None:
    """Also where a store tells nobody that something has changed, and the next look is far away."""
    store = between(store_url)
    never = threading.Event()
    store.wait = lambda seen, timeout: never.wait(timeout) or seen
    engine = open_engine(store, concurrency=1, poll=30)

    @workflow
    def flow(number: int) -> Workflow[int]:
        return (yield from same(number))

    handles = engine.start_many([Start(flow(n), f"r{n}") for n in range(20)])

    assert list(range(20)) == [handle.result(PATIENCE) for handle in handles]
    never.set()


def test_one_place_is_enough_for_a_parent_and_its_child(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """A run that waits makes room for the one that it waits for, and does not rest first: no time passes at all."""
    engine = open_engine(concurrency=1, poll=30, clock=clock)

    @workflow
    def child(number: int) -> Workflow[int]:
        yield from sleep(0)
        return number

    @workflow
    def parent() -> Workflow[int]:
        return (yield from child(1)) + (yield from child(2))

    assert 3 == engine.start(parent()).result(PATIENCE)


def test_no_more_steps_run_than_allowed(open_engine: OpenEngine) -> None:
    """Two hundred steps through four threads, each of which waits until four are under way."""
    lock, four = threading.Lock(), threading.Barrier(4)
    running, most = 0, 0

    @step
    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        four.wait(PATIENCE)
        with lock:
            running -= 1
        return number

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(*[work(n) for n in range(200)])))

    assert 19_900 == open_engine(threads=4).start(flow()).result(PATIENCE)
    assert 4 == most


@pytest.mark.slow
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_gather_of_a_hundred_thousand_branches_works(open_engine: OpenEngine) -> None:
    """Its answers are cut into commits of bounded size."""
    engine = open_engine(threads=2)

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(*[same(n) for n in range(100_000)])))

    handle = engine.start(flow())

    assert 4_999_950_000 == handle.result(100)
    assert 100_002 == handle.about().seq


@pytest.mark.slow
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_ten_thousand_runs_end(open_engine: OpenEngine) -> None:
    """Ten times more than there are places for."""
    engine = open_engine()

    @workflow
    def flow(number: int) -> Workflow[int]:
        return (yield from same(number))

    handles = engine.start_many([Start(flow(n), f"r{n}") for n in range(10_000)])

    assert list(range(10_000)) == [handle.result(100) for handle in handles]


# ---- observers --------------------------------------------------------------------------------------------------------------------


def test_an_observer_that_raises_stops_no_run(open_engine: OpenEngine, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and others still hear."""
    heard: list[str] = []

    class Broken(Observer):
        def committed(self, key: Any, events: Any) -> None:
            raise RuntimeError("observer is out of order")

    class Sound(Observer):
        def committed(self, key: Any, events: Any) -> None:
            heard.extend(event.kind for event in events)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from same(1))

    assert 1 == open_engine(observers=[Broken(), Sound()]).start(flow()).result(PATIENCE)
    assert ["step_completed", "completed"] == heard
    assert "failed in committed" in caplog.text


# ---- alarms ------------------------------------------------------------------------------------------------------------------------


def test_alarms_ring_in_their_order_and_once() -> None:
    """The earliest first; of one moment the one that was set first."""
    alarms = Alarms()
    for moment, name in ((30, "c"), (10, "a"), (20, "b1"), (20, "b2"), (40, "d")):
        alarms.set(moment, name)

    assert (10, ["a", "b1", "b2"], 30) == (alarms.next(), alarms.due(25), alarms.next())
    assert (["c", "d"], [], None) == (alarms.due(99), alarms.due(99), alarms.next())


def test_an_alarm_taken_back_rings_never_and_holds_nothing() -> None:
    """Ten thousand of them leave a heap of bounded size."""
    alarms = Alarms()
    kept = alarms.set(5, "kept")
    for number in range(10_000):
        alarms.drop(alarms.set(10**6 + number, object()))
    alarms.drop(99_999)

    assert len(alarms._heap) < 200
    assert (1, ["kept"]) == (len(alarms), alarms.due(10**9))
    alarms.drop(kept)


def test_a_run_waits_for_many_things_with_one_alarm(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Timers, retries and a deadline of one run that is held in memory."""
    engine = open_engine(clock=clock)
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @step(retry=Retry(max_attempts=9, initial=300, max_delay=300, jitter=0))
    def broken() -> int:
        raise OSError("no")

    @workflow
    def flow() -> Workflow[int]:
        found = yield from gather(hold(), *[sleep(60 + n) for n in range(20)], timeout(broken(), 100), return_errors=True)
        return len(found)

    handle = engine.start(flow(), deadline=86400)
    gate.await_entry()
    until(lambda: handle.about().seq >= 2, engine.store)
    assert 1 == len(engine.worker.held.alarms)
    for _ in range(5):
        let_pass(engine, clock, 30)
    until(lambda: handle.about().seq >= 23, engine.store)
    gate.open()

    assert 22 == handle.result(PATIENCE)
    assert "completed" == reaches(handle, "completed")
