"""One fiber: steps, timers, failures, results."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from replay import Cancelled, Effect, PayloadError, StepFailed, StepInterrupted, TimedOut, Workflow, sleep, step, workflow
from replay.errors import JournalDamaged
from replay.model import events
from replay.model.codec import to_json
from replay.model.failure import Failure
from tests.interpreter.world import SECOND, START, World, double, doubled, echo, fresh, standing, undo, unlisted


@workflow
@unlisted
def chain(n: int) -> Workflow[int]:
    once = yield from double(n)
    twice = yield from double(once)
    return once + twice


class Declined(Exception):
    pass


class Picky(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined: {({51: 'no money'})[code]}")


@step(raises=[Declined, Picky])
@unlisted
def charge(cents: int) -> str:
    return f"r-{cents}"


def test_a_fresh_run_asks_for_its_first_step() -> None:
    """Nothing else is asked for before it is answered."""
    world = World(chain(3))

    assert ["0 step double(3)"] == world.pending
    assert "" == world.ending


def test_an_answered_step_lets_the_next_one_ask() -> None:
    """The answer reaches the next arguments."""
    assert ["1 step double(6)"] == World(chain(3)).answer("0", 6).pending


def test_the_last_answer_ends_the_run() -> None:
    """The result is what the function returns."""
    world = World(chain(3)).answer("0", 6).answer("1", 12)

    assert 18 == world.result
    assert [] == world.pending


def test_the_answer_counts_and_not_what_the_step_would_have_said() -> None:
    """Steps are never called by an interpreter."""
    assert 3 == World(chain(3)).answer("0", 1).answer("1", 2).result


@pytest.mark.parametrize("value", [0, "", [], {}, False, None, 0.5, "é", {"a": [None, 0]}])
def test_a_falsy_or_odd_answer_arrives_as_it_is(value: Any) -> None:
    """No empty value becomes None on the way."""

    @workflow
    def ask() -> Workflow[Any]:
        return (yield from echo("?"))

    world = World(ask()).answer("0", value)

    assert value == world.result
    assert type(value) is type(world.result)


def test_the_workflow_sees_what_was_journaled_and_not_the_live_value() -> None:
    """A tuple that JSON makes a list is a list in the first run too."""
    seen: list[Any] = []

    @workflow
    def ask() -> Workflow[None]:
        seen.append((yield from echo("?")))

    World(ask()).feed(events.STEP_COMPLETED, "0", "echo", b"[1,[2]]")

    assert [[1, [2]]] == seen


def test_yield_and_yield_from_are_the_same() -> None:
    """One door, with and without a type."""

    @workflow
    def bare() -> Workflow[int]:
        got: int = yield double(1)
        return got

    world = World(bare())

    assert ["0 step double(1)"] == world.pending
    assert 2 == world.answer("0", 2).result


def test_a_helper_generator_counts_in_its_callers_fiber() -> None:
    """``yield from`` makes no fiber."""

    @workflow
    def outer() -> Workflow[int]:
        first = yield from doubled(1)
        return first + (yield from double(10))

    world = World(outer())
    assert ["0 step double(1)"] == world.pending
    assert ["1 step double(2)"] == world.answer("0", 2).pending
    assert ["2 step double(10)"] == world.answer("1", 4).pending
    assert 24 == world.answer("2", 20).result


def test_a_workflow_without_a_single_effect_ends_at_once() -> None:
    """Its first event is enough."""

    @workflow
    def nothing() -> Workflow[str]:
        never: list[Effect[Any]] = []
        yield from never
        return "done"

    assert "done" == World(nothing()).result


# ---- failures ----------------------------------------------------------------------------------------------------------------


def test_a_failed_step_raises_at_its_yield() -> None:
    """With all that is known of it."""

    @workflow
    def careful_buyer() -> Workflow[tuple[str, str, str, int]]:
        try:
            yield from double(1)
        except StepFailed as failed:
            return failed.step, failed.error_type, failed.message, failed.attempts
        return "", "", "", 0

    world = World(careful_buyer()).fail("0", "ValueError", "no luck")

    assert ("double", "ValueError", "no luck", 1) == world.result


def test_an_exception_that_the_step_names_comes_back_as_itself() -> None:
    """So that ``except Declined`` works."""

    @workflow
    def buy() -> Workflow[str]:
        try:
            return (yield from charge(5))
        except Declined as declined:
            return f"sorry: {declined.args[0]}"

    world = World(buy()).fail("0", f"{__name__}.Declined", "no money", args=["no money"])

    assert "sorry: no money" == world.result


def test_an_exception_that_cannot_be_built_again_comes_as_step_failed() -> None:
    """A class whose constructor does not take its own args back must not stop the run."""

    @workflow
    def buy() -> Workflow[str]:
        try:
            return (yield from charge(5))
        except StepFailed as failed:
            return failed.message

    world = World(buy()).fail("0", f"{__name__}.Picky", "declined: no money", args=["declined: no money"])

    assert "declined: no money" == world.result


def test_a_step_that_took_too_long_raises_timed_out() -> None:
    """Although its step does not name it."""

    @workflow
    def hurry() -> Workflow[float]:
        try:
            yield from double(1)
        except TimedOut as late:
            return late.seconds
        return 0.0

    world = World(hurry()).fail("0", "replay.errors.TimedOut", "step double", args=["step double", 2.5])

    assert 2.5 == world.result


def test_an_interrupted_step_says_so() -> None:
    """Its end is unknown, which is no ordinary failure."""

    @workflow
    def once() -> Workflow[str]:
        try:
            yield from double(1)
        except StepInterrupted as lost:
            return lost.step
        return ""

    assert "double" == World(once()).fail("0", "replay.errors.StepInterrupted").result


def test_what_is_not_caught_ends_the_run_as_failed() -> None:
    """The outcome holds the class's name and its message."""
    world = World(chain(1)).fail("0", "ValueError", "no luck")

    assert "failed" == world.ending
    assert "replay.errors.StepFailed" == world.failure.type
    assert "step double failed once: ValueError: no luck" == world.failure.message
    assert isinstance(world.error, StepFailed)


def test_an_error_of_the_authors_own_ends_the_run_as_failed() -> None:
    """With its traceback, for people."""

    @workflow
    def broken() -> Workflow[None]:
        yield from double(1)
        raise LookupError("nothing here")

    world = World(broken()).answer("0", 2)

    assert ("LookupError", "nothing here") == (world.failure.type, world.failure.message)
    assert "in broken" in world.failure.traceback


def test_a_result_that_does_not_fit_its_annotation_fails_the_run() -> None:
    """At its end, with the place named."""

    @workflow
    def liar() -> Workflow[int]:
        yield from double(1)
        return "no int"  # type: ignore[return-value]

    world = World(liar()).answer("0", 2)

    assert "replay.errors.PayloadError" == world.failure.type
    assert "result of workflow liar: expected int, got str 'no int'" == world.failure.message


def test_arguments_that_cannot_be_encoded_raise_at_the_call() -> None:
    """In the workflow's own line, where they can be caught."""

    @workflow
    def wrong() -> Workflow[str]:
        try:
            yield from double("many")  # type: ignore[arg-type]
        except PayloadError as unfit:
            return unfit.where
        return ""

    assert "argument 'n' of double" == World(wrong()).result


def test_raising_cancelled_by_oneself_ends_the_run_as_cancelled() -> None:
    """It is a plain exception for those who want out."""

    @workflow
    def leave() -> Workflow[None]:
        yield from double(1)
        raise Cancelled("had enough")

    world = World(leave()).answer("0", 2)

    assert "cancelled" == world.ending
    assert world.machine.outcome is not None
    assert b'{"reason":"had enough"}' == world.machine.outcome.payload


def test_failed_attempts_leave_the_command_in_place_and_are_counted() -> None:
    """Retries and their pause survive a crash."""
    world = World(chain(1)).attempt("0").later(2).attempt("0")

    command = world.command("0")
    assert 2 == command.attempts
    assert START + 2 * SECOND == command.failed_at
    assert "try again" == Failure.decode(command.failure).message
    assert standing(world.machine) == standing(world.again())
    assert ["1 step double(2)"] == world.answer("0", 2).pending


def test_an_intent_is_remembered_until_the_attempt_ends() -> None:
    """An ``at_most_once`` step that was begun is known to have been begun."""
    world = World(chain(1))
    assert not world.command("0").intent

    world.feed(events.STEP_INTENT, "0", "double")
    assert world.command("0").intent

    world.attempt("0")
    assert not world.command("0").intent


# ---- timers ------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def napping() -> Workflow[str]:
    yield from double(1)
    yield from sleep(90)
    return "awake"


def test_a_timer_is_due_at_the_workflows_clock_plus_its_span() -> None:
    """The clock is the time of the event that led there."""
    world = World(napping()).later(10).answer("0", 2)

    assert START + 100 * SECOND == world.command("1").due
    assert "awake" == world.fire("1").result


def test_a_timer_until_a_moment_is_due_then() -> None:
    """Whatever the clock says."""

    @workflow
    def until() -> Workflow[None]:
        yield from sleep(until=dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1))))

    assert START + 23 * 3600 * SECOND == World(until()).command("0").due


def test_spans_add_up() -> None:
    """Seconds, minutes, hours and days."""

    @workflow
    def long() -> Workflow[None]:
        yield from sleep(1.5, minutes=1, hours=1, days=1)

    assert START + round(90061.5 * SECOND) == World(long()).command("0").due


def test_the_clock_never_goes_backwards() -> None:
    """An event of an earlier hour leaves it where it is."""
    world = World(chain(1))
    world.clock -= 5 * SECOND
    world.answer("0", 2)

    assert START == world.machine.clock


# ---- what the engine relies on -----------------------------------------------------------------------------------------------


def test_issued_and_withdrawn_tell_what_one_event_changed() -> None:
    """An engine acts on these."""
    world = World(chain(1))
    assert ["0"] == [command.id for command in world.machine.issued]

    world.answer("0", 2)
    assert ["1"] == [command.id for command in world.machine.issued]
    assert [] == world.withdrawn


def test_it_says_which_answers_it_would_take() -> None:
    """A late answer of a withdrawn command is dropped before it is journaled."""
    machine = World(chain(1)).machine

    assert machine.expects("0", events.STEP_COMPLETED)
    assert machine.expects("0", events.STEP_FAILED)
    assert not machine.expects("0", events.CHILD_COMPLETED)
    assert not machine.expects("1", events.STEP_COMPLETED)


def test_a_pending_command_knows_the_line_that_yielded_it() -> None:
    """For journals and reports."""
    machine = World(chain(1)).machine
    first = chain.fn.__code__.co_firstlineno + 3

    assert f"{__file__}:{first}" == machine.line_of(machine.pending["0"])


def test_the_line_is_that_of_the_innermost_helper() -> None:
    """``yield from`` is followed down to the author's last line."""

    @workflow
    def outer() -> Workflow[int]:
        return (yield from doubled(1))

    machine = World(outer()).machine

    assert f"{doubled.__code__.co_filename}:{doubled.__code__.co_firstlineno + 2}" == machine.line_of(machine.pending["0"])


@workflow
@unlisted
def undoing() -> Workflow[int]:
    try:
        return (yield from double(1))
    finally:
        yield from undo("it")


def test_a_finally_block_may_ask_before_the_run_ends() -> None:
    """The result waits for it."""
    world = World(undoing()).answer("0", 2)
    assert ['1 step undo("it")'] == world.pending
    assert 2 == world.answer("1").result


def test_feeding_the_same_journal_again_leads_to_the_same_place() -> None:
    """Replay is not a mode."""
    world = World(undoing())
    assert standing(world.machine) == standing(world.again())

    world.answer("0", 2)
    assert standing(world.machine) == standing(world.again())

    world.answer("1").close()
    assert standing(world.machine) == standing(world.again())


# ---- damaged journals --------------------------------------------------------------------------------------------------------


def test_a_gap_in_the_journal_is_damage() -> None:
    """It names the event."""
    world = World(chain(1)).answer("0", 2)
    late = world.journal[1]._replace(seq=4)

    with pytest.raises(JournalDamaged, match=r"event #4: after #2 comes #3") as caught:
        world.machine.feed(late)
    assert 4 == caught.value.seq


def test_an_event_that_was_fed_already_is_damage() -> None:
    """A journal holds each once."""
    world = World(chain(1)).answer("0", 2)

    with pytest.raises(JournalDamaged, match="after #2 comes #3"):
        world.machine.feed(world.journal[1])


def test_a_journal_must_begin_with_started() -> None:
    """Not with an answer, and not in the middle."""
    world = World(chain(1)).answer("0", 2)
    answer = world.journal[1]._replace(seq=1)

    with pytest.raises(Exception, match=r"does not fit|begins with #1 started"):
        fresh(chain).feed(answer)


def test_a_second_beginning_is_damage() -> None:
    """Nobody begins twice."""
    world = World(chain(1))

    with pytest.raises(JournalDamaged, match="a journal begins with #1 started"):
        world.machine.feed(world.journal[0]._replace(seq=2))


def test_an_event_of_an_unknown_kind_says_to_upgrade() -> None:
    """It was written by a later version."""
    with pytest.raises(JournalDamaged, match="of unknown kind 'teleported': upgrade"):
        World(chain(1)).feed("teleported")


def test_a_newer_format_says_to_upgrade() -> None:
    """It is not guessed at."""
    started = World(chain(1)).journal[0]._replace(payload=to_json({"workflow": "chain", "input": [1], "format": 2}))

    with pytest.raises(JournalDamaged, match="written in format 2, this code reads up to 1: upgrade"):
        fresh(chain).feed(started)


def test_fields_of_a_later_version_are_passed_over() -> None:
    """Within one format, fields are only added."""
    started = World(chain(1)).journal[0]._replace(payload=to_json({"workflow": "chain", "input": [4], "mood": "good"}))
    machine = fresh(chain)
    machine.feed(started)

    assert ["step double(4)"] == [str(command.effect) for command in machine.pending.values()]


def test_recorded_input_that_no_longer_fits_is_an_error_and_not_a_guess() -> None:
    """The signature changed while the run was open."""
    started = World(chain(1)).journal[0]._replace(payload=to_json({"workflow": "chain", "input": ["x"]}))

    with pytest.raises(PayloadError, match="argument 'n'"):
        fresh(chain).feed(started)


def test_a_recorded_answer_that_no_longer_fits_its_type_is_an_error() -> None:
    """And the run is not harmed: the journal is as it was."""
    with pytest.raises(PayloadError, match="result of step double: expected int"):
        World(chain(1)).feed(events.STEP_COMPLETED, "0", "double", b'"two"')
