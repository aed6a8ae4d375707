"""What survives: crashes, restarts, savepoints with state, code that changes, and code that does not fit."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from replay import (
    Engine,
    NonDeterminismError,
    RunFailed,
    StepInterrupted,
    StoreUnavailable,
    Workflow,
    continue_as_new,
    gather,
    log,
    patched,
    savepoint,
    signal,
    sleep,
    step,
    step_info,
    workflow,
)
from replay.model.events import Event
from replay.store.contract import Claim, Commit
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, crash, kinds, let_pass, named, reaches, until

SHORT = 0.3
"""Seconds of a lease, where a test waits for its end."""


# ---- crashes -------------------------------------------------------------------------------------------------------------------


def test_a_crash_repeats_only_what_was_not_committed(store_url: str, open_engine: OpenEngine) -> None:
    """Answered steps are not done again; the one under way is, under the same key."""
    gate, done = Gate(), []

    @step
    def work(number: int) -> int:
        done.append((number, step_info().idempotency_key))
        if number == 3 and len(done) == 3:
            gate.enter()
        return number

    @workflow
    def flow() -> Workflow[int]:
        total = 0
        for number in range(1, 5):
            total += yield from work(number)
        return total

    store = between(store_url)
    first = open_engine(store, workflows=[flow], ttl=SHORT)
    _ = first.start(flow(), id="a")
    gate.await_entry()
    crash(first, store)
    handle = open_engine(workflows=[flow]).get("a", flow)

    assert 10 == handle.result(PATIENCE)
    gate.open()
    assert [1, 2, 3, 3, 4] == [number for number, _ in done]
    assert done[2] == done[3]
    assert [1, 2, 3, 4, 5, 6] == [event.seq for event in handle.journal()]
    assert (2, 0) == (handle.about().fence, handle.about().recoveries)  # taken over once, and then it moved on


def test_what_a_dead_engine_still_says_is_refused(store_url: str, open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Its lease ended and another took the run: its late answer changes nothing."""
    gate = Gate()
    entered = []

    @step
    def work() -> str:
        entered.append(1)
        me = len(entered)
        if me == 1:
            gate.enter()
        return f"attempt {me}"

    @workflow
    def flow() -> Workflow[str]:
        return (yield from work())

    deaf = between(store_url, clock)
    first = open_engine(deaf, workflows=[flow], ttl=10)
    _ = first.start(flow(), id="a")
    gate.await_entry()

    def stopped(verb: str) -> None:
        if verb in {"renew", "claim"}:  # a process that was stopped asks for nothing, its own runs included
            raise StoreUnavailable("test", f"{verb} of a stopped process")

    deaf.before = stopped
    clock.advance(11)
    second = open_engine(clock=clock, workflows=[flow])
    handle = second.get("a", flow)
    assert "attempt 2" == handle.result(PATIENCE)
    gate.open()
    until(lambda: not first.worker.live, second.store)

    assert ["started", "step_completed", "completed"] == kinds(handle)


def test_an_at_most_once_step_is_not_begun_twice(store_url: str, open_engine: OpenEngine) -> None:
    """Its beginning is committed before the call; after a crash the workflow is told that the end is unknown."""
    gate, begun = Gate(), []

    @step(at_most_once=True)
    def pay() -> int:
        begun.append(1)
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[str]:
        try:
            return f"paid {(yield from pay())}"
        except StepInterrupted as error:
            return f"unknown: {error.step}"

    store = between(store_url)
    first = open_engine(store, workflows=[flow], ttl=SHORT)
    _ = first.start(flow(), id="a")
    gate.await_entry()
    crash(first, store)
    handle = open_engine(workflows=[flow]).get("a", flow)

    assert "unknown: pay" == handle.result(PATIENCE)
    gate.open()
    assert [1] == begun
    assert ["started", "step_intent", "step_failed", "completed"] == kinds(handle)


def test_an_at_most_once_step_that_comes_to_its_end_is_answered(engine: Engine) -> None:
    """Where nothing dies it is a step like any other, with one event more."""

    @step(at_most_once=True)
    def pay(cents: int) -> int:
        return cents

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(*[pay(n) for n in range(5)])))

    handle = engine.start(flow())

    assert 10 == handle.result(PATIENCE)
    assert 5 == len(named(handle, "step_intent"))


def test_a_graceful_end_never_leaves_an_intent_behind(open_engine: OpenEngine) -> None:
    """An engine that is closed begins nothing more; what it had not begun is begun elsewhere, once."""
    gate, begun = Gate(), []

    @step
    def hold() -> int:
        gate.enter()
        return 0

    @step(at_most_once=True)
    def pay() -> int:
        begun.append(1)
        return 1

    @workflow
    def flow() -> Workflow[int]:
        yield from hold()
        return (yield from pay())

    first = open_engine(workflows=[flow])
    _ = first.start(flow(), id="a")
    gate.await_entry()
    first.worker.inbox.put(stop_in(first, 60))
    gate.open()
    until(lambda: first.worker.stopped, first.store)
    assert [] == begun

    assert 1 == open_engine(workflows=[flow]).get("a", flow).result(PATIENCE)
    assert [1] == begun


def stop_in(engine: Engine, seconds: float) -> Any:
    from replay.engine.requests import Stop

    return Stop(engine.store.now() + round(seconds * 1_000_000))


def test_evicting_runs_finally_blocks_but_journals_nothing(engine: Engine) -> None:
    """A parked run's generator is closed: plain code in ``finally`` runs, what it yields is refused, the run goes on later."""
    closed: list[str] = []

    @workflow
    def flow() -> Workflow[str]:
        word = ""
        try:
            word = yield from signal("word", str)
        finally:
            closed.append(word)
            yield from savepoint("never from an eviction")
        return word

    handle = engine.start(flow(), id="a")
    until(lambda: closed, engine.store)
    assert (["started"], "waiting") == (kinds(handle), reaches(handle, "waiting"))
    handle.signal("word", "go")

    assert "go" == handle.result(PATIENCE)
    assert ["", "go"] == closed
    assert ["started", "signal_received", "savepoint", "completed"] == kinds(handle)


def test_a_log_line_is_said_once_over_a_restart(open_engine: OpenEngine, caplog: pytest.LogCaptureFixture) -> None:
    """It belongs to the event that led to it; replay does not repeat it."""

    @workflow
    def flow() -> Workflow[None]:
        yield from log("before", level="warning", stage=1)
        yield from signal("go")
        yield from log("after")

    with caplog.at_level(logging.INFO, logger="replay.workflow"):
        first = open_engine(workflows=[flow])
        handle = first.start(flow(), id="a")
        reaches(handle, "waiting")
        first.close()
        second = open_engine(workflows=[flow])
        handle = second.get("a", flow)
        handle.signal("go")
        handle.result(PATIENCE)
        second.close()

    said = [record for record in caplog.records if record.name == "replay.workflow"]
    assert [("a: before", "WARNING"), ("a: after", "INFO")] == [(line.getMessage(), line.levelname) for line in said]
    assert {"stage": 1} == said[0].__dict__["fields"]


def test_a_line_of_an_odd_level_is_said_all_the_same(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """A level that logging does not know is info."""

    @workflow
    def flow() -> Workflow[int]:
        yield from log("odd", level="shout")  # type: ignore[arg-type]  # that is the point
        yield from log("number", level=5)  # type: ignore[arg-type]  # that is the point
        return 1

    with caplog.at_level(logging.INFO, logger="replay.workflow"):
        assert 1 == engine.start(flow()).result(PATIENCE)
    assert {"INFO"} == {record.levelname for record in caplog.records if record.name == "replay.workflow"}


# ---- savepoints with state --------------------------------------------------------------------------------------------------------


def looping(seen: list[Any]) -> Any:
    """A workflow that goes on from its state; what each life was begun with is noted."""

    @workflow(name="looping")
    def flow(rounds: int, state: list[int] | None = None) -> Workflow[list[int]]:
        seen.append(state)
        done = state or []
        while len(done) < rounds:
            done.append((yield from signal("number", int)))
            yield from savepoint("round", state=done)
        return done

    return flow


def test_a_savepoint_with_state_makes_what_lies_before_needless(open_engine: OpenEngine) -> None:
    """After a restart the workflow is begun with the state, not at its beginning; its journal is whole all the same."""
    lives: list[Any] = []
    flow = looping(lives)
    first = open_engine(workflows=[flow])
    handle = first.start(flow(6), id="a")
    for number in range(4):
        handle.signal("number", number)
    until(lambda: 4 == len(named(handle, "savepoint")), first.store)
    first.close()
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    handle.signal("number", 4)
    handle.signal("number", 5)

    assert [0, 1, 2, 3, 4, 5] == handle.result(PATIENCE)
    assert lives[0] is None
    assert [0, 1, 2, 3] == lives[1][:4]
    assert list(range(1, 15)) == [event.seq for event in handle.journal()]
    assert handle.replay().fits


def test_unread_signals_pass_a_savepoint_with_state(open_engine: OpenEngine) -> None:
    """What came early is part of what recovery needs."""
    lives: list[Any] = []
    flow = looping(lives)
    first = open_engine(workflows=[flow])
    handle = first.start(flow(3), id="a")
    handle.signal("other", "early")
    handle.signal("number", 1)
    until(lambda: named(handle, "savepoint"), first.store)
    first.close()
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    for number in (2, 3):
        handle.signal("number", number)

    assert [1, 2, 3] == handle.result(PATIENCE)


def test_a_savepoint_with_state_that_does_not_fit_is_refused_at_its_line(engine: Engine) -> None:
    """The annotation of ``state`` decides, as for arguments."""

    @workflow
    def flow(state: list[int] | None = None) -> Workflow[str]:
        yield from savepoint("bad", state="no list")
        return "never"

    with pytest.raises(RunFailed, match="state of a savepoint"):
        engine.start(flow()).result(PATIENCE)


def test_fork_from_a_savepoint_with_state(engine: Engine) -> None:
    """A fork is begun by its creator as a claim would begin it: from the state."""
    lives: list[Any] = []
    flow = looping(lives)
    handle = engine.start(flow(3), id="a")
    for number in (1, 2, 3):
        handle.signal("number", number)
    handle.result(PATIENCE)
    before = handle.journal()

    forked = handle.fork(3, id="b")
    forked.signal("number", 20)
    forked.signal("number", 30)

    assert [1, 20, 30] == forked.result(PATIENCE)
    assert before == handle.journal()


# ---- code that changes ----------------------------------------------------------------------------------------------


@step
def alpha() -> str:
    return "alpha"


@step
def beta() -> str:
    return "beta"


def versions() -> tuple[Any, Any, Any]:
    """Yesterday's code, today's that does not fit, and today's that does."""

    @workflow(name="shop")
    def yesterday() -> Workflow[list[str]]:
        first = yield from alpha()
        yield from signal("go")
        return [first]

    @workflow(name="shop")
    def unfit() -> Workflow[list[str]]:
        first = yield from beta()
        yield from signal("go")
        return [first]

    @workflow(name="shop", patches=["beta-too"])
    def fit() -> Workflow[list[str]]:
        first = [(yield from alpha())]
        if (yield from patched("beta-too")):
            first.append((yield from beta()))
        yield from signal("go")
        return [*first, "today"]

    return yesterday, unfit, fit


def test_code_that_does_not_fit_leaves_the_run_stuck_until_fitting_code_comes(open_engine: OpenEngine) -> None:
    """The journal is untouched, the note tells both sides, who waits is told, and nothing is lost."""
    yesterday, unfit, fit = versions()
    first = open_engine(workflows=[yesterday])
    handle = first.start(yesterday(), id="a")
    until(lambda: named(handle, "step_completed"), first.store)
    first.close()

    second = open_engine(workflows=[unfit])
    handle = second.get("a", unfit)
    handle.signal("go")
    with pytest.raises(RunFailed) as caught:
        handle.result(PATIENCE)
    assert ("stuck", "Stuck") == (caught.value.status, caught.value.error_type)
    assert "recorded:  step_completed alpha" in handle.about().note
    assert "now asks:  step beta" in handle.about().note
    assert not handle.replay().fits
    assert isinstance(handle.replay().difference, NonDeterminismError)
    second.close()

    third = open_engine(workflows=[fit])
    handle = third.get("a", fit)
    handle.resume()
    until(lambda: handle.status not in {"stuck", "running"}, third.store)
    assert ["alpha", "today"] == handle.result(PATIENCE)
    assert ("", ["started", "step_completed", "signal_received", "completed"]) == (handle.about().note, kinds(handle))


def test_a_journal_that_cannot_be_trusted_sets_its_run_aside(open_engine: OpenEngine) -> None:
    """An event of a kind that this code does not know: read once, not again and again, and left as it is."""
    yesterday, _, _ = versions()
    first = open_engine(workflows=[])
    handle = first.start(yesterday(), id="a")
    claim = Claim(worker="newer", namespace="default", queues=["default"], workflows=[handle.about().workflow], limit=1, ttl=10**7)
    (claimed,) = first.store.claim(claim).runs
    seen = Event(2, "hologram_seen", "0", "alpha", first.store.now(), b"1")
    first.store.commit([Commit(lease=claimed.lease, expected=1, events=[seen], status="pending", wake_at=0, release=True)])
    first.close()
    second = open_engine(workflows=[yesterday])

    assert "stuck" == reaches(second.get("a"), "stuck")
    assert "of unknown kind 'hologram_seen': upgrade replay-engine" in second.get("a").about().note
    assert ["started", "hologram_seen"] == kinds(second.get("a"))


def test_a_stuck_run_is_tried_again_by_itself(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Nobody needs to resume it: the next worker with fitting code takes it when its pause is over."""
    yesterday, unfit, fit = versions()
    first = open_engine(workflows=[yesterday], clock=clock)
    handle = first.start(yesterday(), id="a")
    until(lambda: named(handle, "step_completed"), first.store)
    first.close()
    second = open_engine(workflows=[unfit], clock=clock)
    clock.advance(1)
    second.get("a", unfit).signal("go")
    assert "stuck" == reaches(second.get("a"), "stuck")
    second.close()
    clock.advance(31)

    assert ["alpha", "today"] == open_engine(workflows=[fit], clock=clock).get("a", fit).result(PATIENCE)


def test_an_error_in_one_run_holds_up_no_other(open_engine: OpenEngine) -> None:
    """Of twenty runs one does not fit; the others end."""
    yesterday, unfit, fit = versions()
    names = [f"r{number}" for number in range(20)]

    def begin(flow: Any, whose: list[str]) -> None:
        with open_engine(workflows=[flow]) as engine:
            handles = [engine.start(flow(), id=name) for name in whose]
            until(lambda: all(named(handle, "step_completed") for handle in handles), engine.store)

    begin(unfit, ["r7"])
    begin(yesterday, [name for name in names if name != "r7"])

    today = open_engine(workflows=[fit])
    for name in names:
        today.get(name).signal("go")

    assert [["alpha", "today"]] * 19 == [today.get(name, fit).result(PATIENCE) for name in names if name != "r7"]
    assert "stuck" == reaches(today.get("r7"), "stuck", "completed")


def test_an_old_run_keeps_its_path_and_a_new_one_takes_the_patch(open_engine: OpenEngine) -> None:
    """``patched`` is whether the run began with code that declares it."""
    yesterday, _, fit = versions()
    first = open_engine(workflows=[yesterday])
    old = first.start(yesterday(), id="old")
    until(lambda: named(old, "step_completed"), first.store)
    first.close()
    second = open_engine(workflows=[fit])
    new = second.start(fit(), id="new")
    old = second.get("old", fit)
    for handle in (old, new):
        handle.signal("go")

    assert (["alpha", "today"], ["alpha", "beta", "today"]) == (old.result(PATIENCE), new.result(PATIENCE))


def test_a_run_goes_on_with_the_version_it_began_with(open_engine: OpenEngine) -> None:
    """Two versions side by side; a run of a version that is gone is driven by today's code."""

    @workflow(name="versioned", version="1")
    def one() -> Workflow[str]:
        yield from signal("go")
        return "one"

    @workflow(name="versioned", version="2")
    def two() -> Workflow[str]:
        yield from signal("go")
        return "two"

    first = open_engine(workflows=[one, two])
    both = [first.start(one(), id="1"), first.start(two(), id="2")]
    for handle in both:
        reaches(handle, "waiting")
    first.close()
    second = open_engine(workflows=[one, two])
    second.get("1").signal("go")
    assert "one" == second.get("1", one).result(PATIENCE)
    second.close()
    third = open_engine(workflows=[one])
    third.get("2").signal("go")

    assert "one" == third.get("2", one).result(PATIENCE)


def test_a_loop_takes_a_patch_when_it_continues_as_new(open_engine: OpenEngine) -> None:
    """The new journal is begun by today's code."""

    @workflow(name="rounds")
    def old(number: int) -> Workflow[list[Any]]:
        yield from signal("go")
        return [number]

    @workflow(name="rounds", patches=["new"])
    def new(number: int) -> Workflow[list[Any]]:
        is_new = yield from patched("new")
        yield from signal("go")
        if number == 0:
            yield from continue_as_new(1)
        return [number, is_new]

    first = open_engine(workflows=[old])
    handle = first.start(old(0), id="a")
    reaches(handle, "waiting")
    first.close()
    second = open_engine(workflows=[new])
    handle = second.get("a", new)
    handle.signal("go")
    handle.signal("go")

    assert [1, True] == handle.result(PATIENCE)


def test_code_after_the_last_answer_may_change_freely(open_engine: OpenEngine) -> None:
    """A command that nobody has answered is not in the journal: another may stand in its place."""

    @workflow(name="free")
    def before() -> Workflow[str]:
        yield from alpha()
        return (yield from signal("never", str))

    @workflow(name="free")
    def after() -> Workflow[str]:
        first = yield from alpha()
        yield from sleep(0)
        return first + (yield from beta())

    first = open_engine(workflows=[before])
    handle = first.start(before(), id="a")
    until(lambda: named(handle, "step_completed"), first.store)
    first.close()
    handle = open_engine(workflows=[after]).get("a", after)
    handle.signal("wake up")

    assert "alphabeta" == handle.result(PATIENCE)


def test_time_goes_on_over_a_restart(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """A timer that came due while nobody worked fires at once."""

    @workflow
    def flow() -> Workflow[str]:
        yield from sleep(hours=1)
        return "an hour later"

    first = open_engine(clock=clock, workflows=[flow])
    handle = first.start(flow(), id="a")
    let_pass(first, clock, 1)
    reaches(handle, "waiting")
    first.close()
    clock.advance(7200)

    assert "an hour later" == open_engine(clock=clock, workflows=[flow]).get("a", flow).result(PATIENCE)
