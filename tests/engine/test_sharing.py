"""Several engines over one store: who drives what, leases that end, and an engine that is closed while things run."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from replay import Client, Engine, InvalidRequest, RunFailed, Start, Workflow, gather, signal, sleep, step, workflow
from replay.engine.identity import end_orphans, is_dead, worker_name
from replay.engine.requests import Wake
from replay.hooks import open_store
from replay.store.contract import Claim, Claimed, Lease, RunKey
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, crash, kinds, let_pass, named, reaches, until


def test_two_engines_share_runs_without_doing_a_step_twice(open_engine: OpenEngine, store_url: str) -> None:
    """Each step is done by one of them; both have something to do."""
    lock = threading.Lock()
    done: Counter[tuple[int, int]] = Counter()

    @step
    def work(run: int, number: int) -> int:
        with lock:
            done[run, number] += 1
        return number

    @workflow
    def flow(run: int) -> Workflow[int]:
        total = 0
        for number in range(5):
            total += yield from work(run, number)
            yield from sleep(0.001)
        return total

    engines = [open_engine(store_url, workflows=[flow], concurrency=20) for _ in range(2)]
    with Client(store_url) as client:
        handles = client.start_many([Start(flow(n), f"r{n}") for n in range(100)])
        assert {10} == {handle.result(PATIENCE) for handle in handles}

        workers = {event.worker for handle in handles for event in handle.journal() if event.worker}

    assert ({1}, 500) == (set(done.values()), len(done))
    assert {engine.worker.name for engine in engines} == workers


def test_a_run_held_elsewhere_hears_what_is_posted_here(open_engine: OpenEngine) -> None:
    """A message goes through the store; the holder is told that something has changed."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[list[Any]]:
        return list((yield from gather(hold(), signal("word", str))))

    holder = open_engine(workflows=[flow])
    handle = holder.start(flow(), id="a")
    gate.await_entry()
    open_engine(workflows=[flow]).get("a").signal("word", "from there")
    until(lambda: named(handle, "signal_received"), holder.store)
    gate.open()

    assert [1, "from there"] == handle.result(PATIENCE)


def test_who_waits_here_is_told_of_an_end_elsewhere(open_engine: OpenEngine) -> None:
    """The engine that is asked need not be the one that drives."""

    @workflow
    def flow() -> Workflow[str]:
        return (yield from signal("word", str))

    driver = open_engine(workflows=[flow], queues=["there"])
    asker = open_engine(queues=["here"])
    _ = driver.start(flow(), id="a", queue="there")
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(asker.get("a", flow).result, PATIENCE) for _ in range(5)]
        asker.get("a").signal("word", "done")

        assert ["done"] * 5 == [future.result(PATIENCE) for future in waiting]


def test_a_lease_that_has_merely_ended_is_kept(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """An engine that was late renews what nobody else has taken, and the step under way is not begun again."""
    gate, begun = Gate(), []

    @step
    def hold() -> int:
        begun.append(1)
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from hold())

    engine = open_engine(clock=clock, ttl=10)
    handle = engine.start(flow(), id="a")
    gate.await_entry()
    clock.advance(100)
    engine.worker.inbox.put(Wake())
    until(lambda: (handle.about().ready_at or 0) > clock.now(), engine.store)
    gate.open()

    assert 1 == handle.result(PATIENCE)
    assert ([1], 1) == (begun, handle.about().fence)


def test_a_run_that_was_taken_over_is_dropped(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """The engine that was late finds another fence when it renews, and what its step says later is nobody's; the other goes on."""
    gate = Gate()

    @step
    def hold() -> str:
        gate.enter()
        return "held"

    @workflow
    def flow() -> Workflow[str]:
        return (yield from hold())

    engine = open_engine(clock=clock, ttl=10, workflows=[flow])
    handle = engine.start(flow(), id="a")
    gate.await_entry()
    claim = Claim(worker="another", namespace="default", queues=["default"], workflows=["flow"], limit=1, ttl=10**9)

    def takes_over() -> Sequence[Claimed]:  # unless the engine looks at the clock first, and renews
        clock.advance(11)
        return engine.store.claim(claim).runs

    (taken,) = until(takes_over, engine.store)
    let_pass(engine, clock, 0)
    assert {} == engine.worker.live
    gate.open()
    until(lambda: not engine.worker.actor.attempts, engine.store)

    assert (["started"], "another", 2) == (kinds(handle), handle.about().worker, taken.lease.fence)
    engine.store.release([taken.lease])
    let_pass(engine, clock, 1)
    assert "held" == handle.result(PATIENCE)


def test_a_run_is_taken_again_by_the_worker_that_lost_it(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Claimed anew under a greater fence, and nobody wrote meanwhile: the step under way is not begun again."""
    gate, begun = Gate(), []

    @step
    def hold() -> int:
        begun.append(1)
        gate.enter()
        return len(begun)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from hold())

    engine = open_engine(clock=clock, ttl=10, workflows=[flow])
    handle = engine.start(flow(), id="a")
    gate.await_entry()
    live = engine.worker.live[handle.key]
    engine.store.release([live.lease])
    engine.worker.held.claim_at = 0
    engine.worker.inbox.put(Wake())
    until(lambda: 2 == handle.about().fence, engine.store)
    gate.open()

    assert 1 == handle.result(PATIENCE)
    assert [1] == begun


# ---- closing ---------------------------------------------------------------------------------------------------------------------


def test_closing_waits_for_steps_that_run(open_engine: OpenEngine) -> None:
    """Their answers are committed, the run is given back, nothing new is begun."""
    gate = Gate()
    begun: list[int] = []

    @step
    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            gate.enter()
        return number

    @workflow
    def flow() -> Workflow[int]:
        total = 0
        for number in range(5):
            total += yield from work(number)
        return total

    first = open_engine(workflows=[flow], grace=PATIENCE)
    handle = first.start(flow(), id="a")
    gate.await_entry()
    closing = threading.Thread(target=first.close)
    closing.start()
    until(lambda: first.worker.held.leaving is not None, first.store)
    gate.open()
    closing.join(PATIENCE)

    assert not closing.is_alive()
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    assert 10 == handle.result(PATIENCE)
    assert [0, 1, 2, 3, 4] == begun
    assert 0 == handle.about().recoveries


def test_closing_does_not_wait_for_ever(open_engine: OpenEngine) -> None:
    """When the grace is over, what still runs is abandoned, and the run is given back at once."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from hold())

    first = open_engine(workflows=[flow], grace=0)
    _ = first.start(flow(), id="a")
    gate.await_entry()
    first.close()
    gate.open()

    assert 1 == open_engine(workflows=[flow]).get("a", flow).result(PATIENCE)


def test_closing_is_quick_when_nothing_runs(open_engine: OpenEngine) -> None:
    """Whatever ``poll`` and ``grace`` are."""
    engine = open_engine("memory://", poll=300, grace=300)
    handle = engine.start(parked(), id="a")
    reaches(handle, "waiting")
    began = time.monotonic()
    engine.close()

    assert time.monotonic() - began < PATIENCE


@workflow(name="sharing.parked")
def parked() -> Workflow[str]:
    return (yield from signal("word", str))


def test_who_waits_is_told_that_the_engine_was_closed(open_engine: OpenEngine) -> None:
    """A thread in ``result()`` is not left there for ever, and later calls are refused with advice."""
    engine = open_engine()
    handle = engine.start(parked(), id="a")
    waiting = engine.ending(handle.key)
    engine.close()

    assert isinstance(waiting.exception(PATIENCE), InvalidRequest)
    for call in (lambda: engine.start(parked()), handle.result, lambda: handle.signal("word", "x")):
        with pytest.raises(InvalidRequest, match="open another one"):
            call()


def test_closing_twice_is_closing(store_url: str, open_engine: OpenEngine) -> None:
    """Also from several threads at once: who comes back finds the engine ended, and its runs given back."""
    store = open_store(store_url)
    engine = open_engine(store)
    _ = engine.start(parked(), id="a")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: engine.close(), range(4)))
    engine.close()

    assert not engine._driver.is_alive()
    assert ("waiting", "") == ((about := Client(store).get("a").about()).status, about.worker)


def test_a_context_that_raises_closes_its_engine(store_url: str) -> None:
    """And what was raised is raised."""
    engine = Engine(store_url)

    def fail() -> None:
        with engine:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(InvalidRequest):
        _ = engine.start(parked())


# ---- dead workers of this machine --------------------------------------------------------------------------------------


def test_a_process_that_is_gone_is_dead() -> None:
    """Its number may be used again: its start tells them apart; a worker of another machine may be alive for all we know."""
    me = worker_name()
    home, _, process, _ = me.rsplit("/", 3)
    host = f"{home}/{me.rsplit('/', 3)[1]}"
    pid, _, began = process.partition(".")

    assert not is_dead(me)
    assert is_dead(f"{host}/{pid}.{int(began) + 1}/abc")
    assert is_dead(f"{host}/999999999.1/abc")
    assert not is_dead("elsewhere/1/999999999.1/abc")
    assert not is_dead("nonsense")
    assert not is_dead("")


def test_a_process_that_nobody_has_buried_is_dead(tmp_path: Path) -> None:
    """A zombie still has its number; in a container it may have it for ever."""
    names = tmp_path / "name"
    child = os.fork()
    if child == 0:
        names.write_text(worker_name())
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is still there
    try:
        assert is_dead(names.read_text())
    finally:
        os.waitpid(child, 0)
    assert is_dead(names.read_text())


@pytest.mark.parametrize("is_busy", [False, True])
def test_runs_of_a_dead_worker_are_taken_at_once(store_url: str, open_engine: OpenEngine, is_busy: bool) -> None:
    """A restart need not wait for the lease of its former self, also when it holds a run from its beginning."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow(name="sharing.busy")
    def busy() -> Workflow[int]:
        return (yield from hold())

    with Client(store_url) as client:
        handle = client.start(parked(), id="a")
        dead = worker_name().replace(f"{os.getpid()}.", "999999999.")
        claim = Claim(worker=dead, namespace="default", queues=["default"], workflows=[parked.name], limit=1, ttl=10**12)
        assert 1 == len(client.store.claim(claim).runs)
        engine = open_engine(workflows=[parked, busy])
        if is_busy:
            _ = engine.start(busy(), id="b")
        handle.signal("word", "taken")

        assert "taken" == engine.get("a", parked).result(PATIENCE)
        gate.open()


def test_runs_of_the_living_are_left_alone(store_url: str) -> None:
    """Also those of another namespace."""
    with Client(store_url) as client:
        _ = client.start(parked(), id="a")
        claim = Claim(worker=worker_name(), namespace="default", queues=["default"], workflows=[parked.name], limit=1, ttl=10**12)
        assert 1 == len(client.store.claim(claim).runs)

        assert (0, 0) == (end_orphans(client.store, "default"), end_orphans(client.store, "another"))


def test_a_crashed_engine_gives_nothing_back(store_url: str, open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Until its lease has ended nobody else takes its runs."""
    store = between(store_url, clock)
    first = open_engine(store, ttl=60, clock=clock)
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from hold())

    _ = first.start(flow(), id="a")
    gate.await_entry()
    crash(first, store)
    gate.open()
    watched, claimed = between(store_url, clock), threading.Event()
    second = open_engine(watched, workflows=[flow])
    handle = second.get("a", flow)
    until(lambda: watched.calls["find"], watched.store)  # for runs of the dead, of which there is none
    clock.advance(59)
    watched.after = lambda verb, _answer: claimed.set() if verb == "claim" else None
    second.worker.inbox.put(Wake())
    assert claimed.wait(PATIENCE)
    assert (1, first.worker.name) == (handle.about().fence, handle.about().worker)
    clock.advance(2)
    second.worker.inbox.put(Wake())

    assert 1 == handle.result(PATIENCE)
    assert Lease(RunKey("default", "a"), 2, second.worker.name, 0)[:3] == (handle.key, handle.about().fence, second.worker.name)


def test_a_cancelled_wait_harms_nobody(open_engine: OpenEngine) -> None:
    """Futures that are cancelled at the moment of the answer, by many threads."""
    engine = open_engine()

    @workflow
    def flow(number: int) -> Workflow[int]:
        yield from sleep(0)
        return number

    def ask(number: int) -> None:
        handle = engine.start(flow(number))
        for _ in range(20):
            engine.ending(handle.key).cancel()
        assert number == handle.result(PATIENCE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(50)))


def test_a_failed_run_frees_its_id_for_nobody(open_engine: OpenEngine) -> None:
    """Starting it again is the same run, with the same end."""
    engine = open_engine()

    @workflow
    def flow() -> Workflow[int]:
        yield from sleep(0)
        raise ValueError("once")

    for _ in range(2):
        with pytest.raises(RunFailed, match="once"):
            engine.start(flow(), id="a").result(PATIENCE)
    assert ["started", "timer_fired", "failed"] == kinds(engine.get("a"))
