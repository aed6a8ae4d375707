"""A run from its start to its end: results, failures, branches, timers, and what is left in memory afterwards."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from replay import (
    Engine,
    RunFailed,
    Start,
    TimedOut,
    WaitTimedOut,
    Workflow,
    gather,
    info,
    now,
    race,
    random,
    savepoint,
    signal,
    sleep,
    spawn,
    step,
    timeout,
    uuid,
    workflow,
)
from replay import join as join_fiber
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, kinds, let_pass, named, reaches, until


@step(name="running.double")
def double(number: int) -> int:
    return 2 * number


@step
async def triple(number: int) -> int:
    return 3 * number


@step
def refuse(number: int) -> int:
    raise ValueError(f"no {number}")


def test_steps_in_a_row_give_a_result_and_a_journal(engine: Engine) -> None:
    """What a step answered is what the next one is given, and each answer is one event."""

    @workflow
    def flow(number: int) -> Workflow[int]:
        doubled = yield from double(number)
        return (yield from triple(doubled))

    handle = engine.start(flow(7), id="a")

    assert 42 == handle.result(PATIENCE)
    assert ["started", "step_completed", "step_completed", "completed"] == kinds(handle)
    assert "completed" == handle.status


def test_a_workflow_without_effects_ends_at_once(engine: Engine) -> None:
    """Nothing to wait for is no reason to wait."""

    @workflow
    def flow() -> Workflow[str]:
        if False:
            yield from double(1)  # type: ignore[unreachable]  # it makes a generator of it
        return "done"

    assert "done" == engine.start(flow()).result(PATIENCE)


@pytest.mark.parametrize("value", [0, "", [], {}, None, False])
def test_a_falsy_answer_stays_what_it_is(engine: Engine, value: Any) -> None:
    """What is journaled is what the workflow gets, and what the caller gets."""

    @step
    def give(value: Any) -> Any:
        return value

    @workflow
    def flow(value: Any) -> Workflow[Any]:
        given = yield from give(value)
        return [given, type(given).__name__]

    assert [value, type(value).__name__] == engine.start(flow(value)).result(PATIENCE)


def test_a_failed_run_says_what_was_raised(engine: Engine) -> None:
    """The caller learns type, message and where, not only that something failed."""

    @workflow
    def flow() -> Workflow[int]:
        return (yield from refuse(3))

    handle = engine.start(flow(), id="a")

    with pytest.raises(RunFailed) as caught:
        handle.result(PATIENCE)
    assert ("a", "failed", "replay.errors.StepFailed") == (caught.value.run, caught.value.status, caught.value.error_type)
    assert "ValueError: no 3" in caught.value.message
    assert "flow" in caught.value.traceback


def test_branches_answer_in_their_order(engine: Engine) -> None:
    """Sync and async steps side by side; results stand where their branches stood."""

    @workflow
    def flow() -> Workflow[list[int]]:
        return list((yield from gather(*[double(n) if n % 2 else triple(n) for n in range(20)])))

    assert [2 * n if n % 2 else 3 * n for n in range(20)] == engine.start(flow()).result(PATIENCE)


def test_a_gather_never_runs_more_than_its_limit(engine: Engine) -> None:
    """The next branch starts when one has ended; each waits until three are under way."""
    lock, three = threading.Lock(), threading.Barrier(3)
    counted: list[int] = []
    running = 0

    @step
    def count(number: int) -> int:
        nonlocal running
        with lock:
            running += 1
            counted.append(running)
        three.wait(PATIENCE)
        with lock:
            running -= 1
        return number

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(*[count(n) for n in range(99)], limit=3)))

    assert 4851 == engine.start(flow()).result(PATIENCE)
    assert (3, 99) == (max(counted), len(counted))


def test_the_loser_of_a_race_is_told(engine: Engine) -> None:
    """A thread cannot be stopped, but it sees that nobody wants its answer."""
    gate = Gate()
    seen: list[bool] = []

    @step
    def slow() -> int:
        from replay import step_info

        me = step_info()
        gate.enter()
        seen.append(me.cancelled)
        gate.entered.release()
        return 1

    @workflow
    def flow() -> Workflow[Any]:
        first = yield from race(slow(), signal("go", int))
        yield from signal("end", int)
        return first

    handle = engine.start(flow())
    gate.await_entry()
    handle.signal("go", 5)
    until(lambda: named(handle, "signal_received"), engine.store)
    handle.signal("end", 0)

    assert (1, 5) == tuple(handle.result(PATIENCE))
    gate.open()
    gate.await_entry()
    assert [True] == seen


def test_a_timeout_cancels_its_branch(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """The timer is durable like any other; the branch cleans up before the error is raised."""
    engine = open_engine(clock=clock)

    @workflow
    def flow() -> Workflow[str]:
        def branch() -> Workflow[int]:
            try:
                return (yield from signal("never", int))
            finally:
                yield from savepoint("cleaned")

        try:
            yield from timeout(branch(), 3600)
        except TimedOut:
            return "too late"
        return "in time"

    handle = engine.start(flow())
    reaches(handle, "waiting", "running")
    let_pass(engine, clock, 3601)

    assert "too late" == handle.result(PATIENCE)
    assert ["started", "timer_fired", "savepoint", "completed"] == kinds(handle)


def test_sleeping_a_year_takes_no_thread_and_no_memory(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """The run leaves memory at once it has nothing to do, and comes back when the time has come."""
    engine = open_engine(clock=clock)

    @workflow
    def flow() -> Workflow[float]:
        began = yield from now()
        yield from sleep(days=365)
        return ((yield from now()) - began).total_seconds()

    handle = engine.start(flow())
    let_pass(engine, clock, 1)
    reaches(handle, "waiting")

    assert {} == engine.worker.live
    let_pass(engine, clock, 366 * 86400)
    assert handle.result(PATIENCE) >= 365 * 86400


def test_chance_is_the_same_after_a_restart(open_engine: OpenEngine) -> None:
    """Numbers and names drawn before the crash are drawn again after it, and are not journaled."""

    @workflow
    def flow() -> Workflow[list[Any]]:
        drawn = [(yield from random()), str((yield from uuid()))]
        yield from signal("go")
        return [*drawn, (yield from random()), (yield from info()).run_id]

    first = open_engine(workflows=[flow])
    handle = first.start(flow(), id="a")
    reaches(handle, "waiting")
    before = handle.at(1).variables["drawn"]
    first.close()
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    handle.signal("go")

    assert [*before, "a"] == [value for place, value in enumerate(handle.result(PATIENCE)) if place != 2]
    assert ["started", "signal_received", "completed"] == kinds(handle)


def test_a_spawned_fiber_is_joined(engine: Engine) -> None:
    """It runs beside its maker."""

    @workflow
    def flow() -> Workflow[int]:
        beside = yield from spawn(double(20))
        here = yield from triple(1)
        return here + (yield from join_fiber(beside))

    assert 43 == engine.start(flow()).result(PATIENCE)


def test_impatience_leaves_the_run_alone(engine: Engine) -> None:
    """Who waits no longer is told how it stands; the run goes on, and can be waited for again."""

    @workflow
    def flow() -> Workflow[str]:
        return (yield from signal("go", str))

    handle = engine.start(flow(), id="a")
    with pytest.raises(WaitTimedOut) as caught:
        handle.result(0.01)
    handle.signal("go", "gone")

    assert "a" == caught.value.run
    assert "gone" == handle.result(PATIENCE)


def test_those_who_gave_up_are_forgotten(engine: Engine) -> None:
    """Asking a thousand times with little patience leaves no thousand waiters behind."""

    @workflow
    def flow() -> Workflow[str]:
        return (yield from signal("go", str))

    handle = engine.start(flow(), id="a")
    for _ in range(300):
        with pytest.raises(WaitTimedOut):
            handle.result(0)

    assert len(engine.worker.waiters.futures.get(handle.key, [])) < 150
    handle.signal("go", "gone")
    assert "gone" == handle.result(PATIENCE)


def test_many_runs_share_their_commits(store_url: str, open_engine: OpenEngine) -> None:
    """Five hundred runs of two steps have a thousand turns, and need far fewer commits."""
    store = between(store_url)
    engine = open_engine(store)

    @workflow
    def flow(number: int) -> Workflow[int]:
        return (yield from triple((yield from double(number))))

    handles = engine.start_many([Start(flow(n), f"r{n}") for n in range(500)])

    assert [6 * n for n in range(500)] == [handle.result(PATIENCE) for handle in handles]
    assert store.calls["commit"] < 500


def test_a_run_may_be_longer_than_one_turn(engine: Engine) -> None:
    """Thousands of savepoints in a row answer themselves, and are cut into commits of bounded size."""

    @workflow
    def flow() -> Workflow[int]:
        for number in range(5000):
            yield from savepoint(f"s{number}")
        return 5000

    handle = engine.start(flow())

    assert 5000 == handle.result(PATIENCE)
    assert 5002 == len(handle.journal())
