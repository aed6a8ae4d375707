"""Cancelling the run, at every place where it can stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import (
    Call,
    Cancelled,
    Effect,
    StepFailed,
    Workflow,
    cancel,
    gather,
    join,
    now,
    race,
    savepoint,
    shield,
    signal,
    sleep,
    spawn,
    timeout,
    workflow,
)
from replay.model import events
from tests.interpreter.world import World, careful, cleaning, double, doubled, echo, standing, undo, unlisted


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


WAITS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "a step": (lambda: double(1), ["0"]),
    "a timer": (lambda: sleep(60), ["0"]),
    "a signal": (lambda: signal("go"), ["0"]),
    "a signal with a timeout": (lambda: signal("go", timeout=5), ["0"]),
    "a savepoint": (lambda: savepoint("here"), ["0"]),
    "a child": (lambda: child(1), ["0"]),
    "a gather": (lambda: gather(double(1), sleep(1), signal("go")), ["0/0/0", "0/1/0", "0/2/0"]),
    "a limited gather": (lambda: gather(double(1), double(2), limit=1), ["0/0/0"]),
    "a race": (lambda: race(double(1), double(2)), ["0/0/0", "0/1/0"]),
    "a timeout": (lambda: timeout(double(1), 5), ["0/0/0", "0/1/0"]),
    "nested branches": (lambda: gather(race(double(1), sleep(9)), doubled(2)), ["0/0/0/0/0", "0/0/0/1/0", "0/1/0"]),
}


def waiting_for(make: Callable[[], Effect[Any]]) -> Call[str]:
    @workflow
    def waiting() -> Workflow[str]:
        try:
            yield from make()
        except Cancelled as cancelled:
            return f"cancelled: {cancelled.reason}"
        return "went on"

    return waiting()


@pytest.mark.parametrize(("make", "commands"), WAITS.values(), ids=WAITS)
def test_cancelled_is_thrown_where_the_run_waits(make: Callable[[], Effect[Any]], commands: list[str]) -> None:
    """And what it waited for is withdrawn at once, in order."""
    world = World(waiting_for(make))
    assert sorted(commands) == sorted(world.ids)

    world.cancel("enough")
    assert commands == world.withdrawn
    assert "cancelled: enough" == world.result


def test_a_cancelled_wait_for_a_joined_fiber_leaves_that_fiber_alone() -> None:
    """Until the run ends."""

    @workflow
    def joining() -> Workflow[str]:
        handle = yield from spawn(double(1))
        try:
            yield from join(handle)
        except Cancelled:
            pass
        return f"later {yield from join(handle)}"

    world = World(joining()).cancel()
    assert [] == world.withdrawn
    assert ["0/0/0"] == world.ids
    assert "later 2" == world.answer("0/0/0", 2).result


def test_who_was_cancelled_at_a_join_is_not_woken_by_the_end_of_the_other() -> None:
    """It waits for something else by then."""

    @workflow
    def moving_on() -> Workflow[int]:
        handle = yield from spawn(double(1))
        try:
            yield from join(handle)
        except Cancelled:
            pass
        return (yield from double(2))

    world = World(moving_on()).cancel().answer("0/0/0", 2)
    assert ["1"] == world.ids
    assert 4 == world.answer("1", 4).result


def test_what_is_not_caught_ends_the_run_as_cancelled() -> None:
    """With the reason."""

    @workflow
    def plain() -> Workflow[None]:
        yield from double(1)

    world = World(plain()).cancel("by hand")

    assert "cancelled" == world.ending
    assert world.machine.outcome is not None
    assert b'{"reason":"by hand"}' == world.machine.outcome.payload


def test_a_cancellation_without_payload_has_a_plain_reason() -> None:
    """An event of another language may leave it out."""
    world = World(waiting_for(lambda: double(1))).feed(events.CANCEL_REQUESTED)

    assert "cancelled: cancelled" == world.result


def test_except_exception_does_not_swallow_it() -> None:
    """A retry loop must not eat the wish to stop."""

    @workflow
    def stubborn() -> Workflow[None]:
        while True:
            try:
                yield from double(1)
            except Exception:  # noqa: BLE001 - the point of the test
                continue

    assert "cancelled" == World(stubborn()).fail("0").cancel().ending


def test_cancelled_passes_through_a_helper_generator() -> None:
    """As any exception does."""

    @workflow
    def outer() -> Workflow[str]:
        try:
            yield from doubled(1)
        except Cancelled:
            return "caught outside"
        return ""

    assert "caught outside" == World(outer()).cancel().result


def test_clean_up_may_ask_for_more_before_the_run_ends() -> None:
    """``finally`` yields compensations."""

    @workflow
    def tidy() -> Workflow[None]:
        yield from cleaning(double(1), "it")

    world = World(tidy()).cancel()
    assert ['1 step undo("it")'] == world.pending
    assert "" == world.ending
    assert "cancelled" == world.answer("1").ending


def test_a_clean_up_that_fails_makes_the_run_fail() -> None:
    """What is raised last is what counts."""

    @workflow
    def tidy() -> Workflow[None]:
        yield from cleaning(double(1), "it")

    assert "failed" == World(tidy()).cancel().fail("1").ending


def test_a_run_may_catch_it_and_go_on() -> None:
    """Cancelled once, it is not cancelled again."""

    @workflow
    def going_on() -> Workflow[int]:
        try:
            yield from double(1)
        except Cancelled:
            pass
        first, second = yield from gather(double(2), double(3))
        return first + second

    world = World(going_on()).cancel().cancel("again")
    assert ["1/0/0", "1/1/0"] == world.ids
    assert 10 == world.answer("1/0/0", 4).answer("1/1/0", 6).result


def test_cancelling_twice_does_not_interrupt_the_clean_up() -> None:
    """Once is enough."""

    @workflow
    def tidy() -> Workflow[None]:
        yield from cleaning(double(1), "it")

    world = World(tidy()).cancel("first").cancel("second")
    assert ["1"] == world.ids

    world.answer("1")
    assert world.machine.outcome is not None
    assert b'{"reason":"first"}' == world.machine.outcome.payload


# ---- steps whose end is awaited ----------------------------------------------------------------------------------------------


@workflow
@unlisted
def patient() -> Workflow[str]:
    try:
        yield from careful(1)
    except Cancelled:
        yield from undo("it")
        return "cancelled"
    return "went on"


@pytest.mark.parametrize("end", ["answer", "fail"])
def test_a_step_with_on_cancel_wait_is_awaited_and_then_cancelled(end: str) -> None:
    """Whatever its end is, Cancelled is what the workflow sees."""
    world = World(patient()).cancel()
    assert ["0"] == world.ids
    assert world.command("0").cancelled
    assert ["0"] == world.withdrawn

    world = world.answer("0", 1) if end == "answer" else world.fail("0")
    assert ['1 step undo("it")'] == world.pending
    assert standing(world.machine) == standing(world.again())
    assert "cancelled" == world.answer("1").result


def test_failed_attempts_of_an_awaited_step_still_fit() -> None:
    """The attempt that was under way may fail first."""
    world = World(patient()).cancel().attempt("0")

    assert 1 == world.command("0").attempts
    assert "cancelled" == world.fail("0").answer("1").result


def test_on_cancel_can_be_said_per_call() -> None:
    """By options."""

    @workflow
    def per_call() -> Workflow[None]:
        yield from double(1).options(on_cancel="wait")

    world = World(per_call()).cancel()
    assert ["0"] == world.ids
    assert "cancelled" == world.answer("0", 2).ending


def test_a_gather_waits_for_its_careful_branch_when_it_is_cancelled() -> None:
    """The others are withdrawn at once."""

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(careful(1), double(2)))

    world = World(both()).cancel()
    assert ["0/0/0"] == world.ids
    assert ["0/0/0", "0/1/0"] == world.withdrawn
    assert "cancelled" == world.answer("0/0/0", 1).ending


# ---- combinators -------------------------------------------------------------------------------------------------------------


def test_branches_clean_up_in_order_before_the_owner_is_cancelled() -> None:
    """No branch outlives its combinator."""

    @workflow
    def tidy() -> Workflow[str]:
        try:
            yield from gather(cleaning(double(1), "a"), gather(cleaning(double(2), "b"), double(3)))
        except Cancelled as cancelled:
            return cancelled.reason
        return ""

    world = World(tidy()).cancel("stop")
    assert ["0/0/0", "0/1/0/0/0", "0/1/0/1/0"] == world.withdrawn
    assert ['0/0/1 step undo("a")', '0/1/0/0/1 step undo("b")'] == world.pending
    assert "stop" == world.answer("0/1/0/0/1").answer("0/0/1").result


def test_a_failure_in_the_clean_up_of_a_branch_does_not_hide_the_cancellation() -> None:
    """The owner sees Cancelled."""

    @workflow
    def tidy() -> Workflow[str]:
        try:
            yield from gather(cleaning(double(1), "a"), double(2))
        except Cancelled:
            return "cancelled"
        except StepFailed:
            return "failed"
        return ""

    assert "cancelled" == World(tidy()).cancel().fail("0/0/1").result


def test_a_cancellation_while_a_gather_waits_for_clean_up_wins_over_its_failure() -> None:
    """The clean-up goes on undisturbed; then the owner sees Cancelled."""

    @workflow
    def tidy() -> Workflow[str]:
        try:
            yield from gather(cleaning(double(1), "a"), double(2))
        except Cancelled:
            return "cancelled"
        except StepFailed:
            return "failed"
        return ""

    world = World(tidy()).fail("0/1/0").cancel()
    assert ["0/0/1"] == world.ids
    assert [] == world.withdrawn
    assert "cancelled" == world.answer("0/0/1").result


def test_a_branch_that_never_ran_is_not_begun_by_a_cancellation() -> None:
    """Those behind a limit stay unborn."""
    world = World(waiting_for(lambda: gather(*[double(i) for i in range(5)], limit=2))).cancel()

    assert ["0/0/0", "0/1/0"] == world.withdrawn
    assert [] == world.machine.issued


def test_an_answer_that_is_already_there_is_received_before_the_cancellation() -> None:
    """What the world told is not lost: Cancelled comes at the next wait."""
    got: list[int] = []

    def branch() -> Workflow[None]:
        got.append((yield from join(handles[0])))
        yield from double(2)

    handles: list[Any] = []

    @workflow
    def crossing() -> Workflow[str]:
        handles.append((yield from spawn(double(1))))
        other = yield from spawn(branch())

        def canceller() -> Workflow[None]:
            yield from join(handles[0])
            yield from cancel(other)

        # It joins first, so it runs first and cancels a fiber whose answer is queued behind it.
        yield from spawn(canceller())
        yield from sleep(9)
        try:
            yield from join(other)
        except Cancelled:
            return "cancelled"
        return "went on"

    world = World(crossing())
    assert ["3", "0/0/0"] == world.ids

    world.answer("0/0/0", 2)
    assert [2] == got
    assert ["1/0/0"] in (world.withdrawn, [each.id for each in world.machine.issued])
    assert "cancelled" == world.fire("3").result


def test_immediate_answers_are_no_waits() -> None:
    """A fiber that is cancelled with its answer queued goes on over pure effects until it waits."""
    seen: list[str] = []

    @workflow
    def pure() -> Workflow[str]:
        handle = yield from spawn(branch())
        yield from double(1)
        yield from cancel(handle)
        yield from sleep(1)
        return ",".join(seen)

    def branch() -> Workflow[None]:
        yield from now()
        seen.append("ran")
        yield from double(2)
        seen.append("never")

    assert "ran" == World(pure()).answer("1", 2).fire("2").result


# ---- shield ------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def shielded() -> Workflow[str]:
    got = "nothing"
    try:
        got = str((yield from shield(doubled(1))))
        yield from undo("after")
    except Cancelled:
        return f"cancelled after {got}"
    return f"went on with {got}"


def test_inside_a_shield_cancellation_is_held_back() -> None:
    """The branch runs to its end, then Cancelled is thrown at the next wait."""
    world = World(shielded()).cancel()
    assert ["0/0/0"] == world.ids
    assert [] == world.withdrawn

    world.answer("0/0/0", 2)
    assert ["0/0/1"] == world.ids
    assert "cancelled after 4" == world.answer("0/0/1", 4).result


def test_a_shield_without_a_cancellation_is_its_branch() -> None:
    """One number, one fiber."""
    world = World(shielded()).answer("0/0/0", 2).answer("0/0/1", 4)
    assert ['1 step undo("after")'] == world.pending
    assert "went on with 4" == world.answer("1").result


def test_the_failure_of_a_shielded_branch_passes_through() -> None:
    """Also while a cancellation is held back."""

    @workflow
    def failing() -> Workflow[str]:
        try:
            yield from shield(double(1))
        except StepFailed:
            pass
        yield from sleep(1)
        return "went on"

    assert "cancelled" == World(failing()).cancel().fail("0/0/0").ending


def test_a_run_that_ends_after_its_shield_without_waiting_again_has_its_result() -> None:
    """There was no yield to cancel it at."""

    @workflow
    def last() -> Workflow[int]:
        return (yield from shield(double(1)))

    assert 2 == World(last()).cancel().answer("0/0/0", 2).result


def test_a_shield_inside_a_gather_holds_the_gather() -> None:
    """Its neighbours are withdrawn at once."""

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(shield(double(1)), double(2)))

    world = World(both()).cancel()
    assert ["0/1/0"] == world.withdrawn
    assert ["0/0/0/0/0"] == world.ids
    assert "cancelled" == world.answer("0/0/0/0/0", 2).ending


def test_a_gather_inside_a_shield_is_not_entered() -> None:
    """Nor are its branches."""

    @workflow
    def guarded() -> Workflow[Any]:
        return (yield from shield(gather(double(1), sleep(5))))

    world = World(guarded()).cancel()
    assert ["0/0/0/0/0", "0/0/0/1/0"] == world.ids


def test_shields_one_after_the_other_hold_as_one() -> None:
    """A wait that is a shield is not interrupted; the next other one is."""

    @workflow
    def unwinding() -> Workflow[str]:
        yield from shield(double(1))
        yield from shield(double(2))
        yield from double(3)
        return "went on"

    world = World(unwinding()).cancel().answer("0/0/0", 2)
    assert ["1/0/0"] == world.ids

    world.answer("1/0/0", 4)
    assert ("cancelled", ["2"]) == (world.ending, world.withdrawn)


# ---- what happens behind the scenes ------------------------------------------------------------------------------------------


def test_a_withdrawn_signal_wait_takes_no_message() -> None:
    """The message goes to the next who waits."""

    @workflow
    def listening() -> Workflow[Any]:
        try:
            yield from signal("go")
        except Cancelled:
            pass
        other = yield from double(1)
        return [other, (yield from signal("go"))]

    world = World(listening()).cancel().signal("go", "mine")
    assert ["1"] == world.ids
    assert [2, "mine"] == world.answer("1", 2).result


def test_a_withdrawn_command_takes_no_answer() -> None:
    """An engine asks before it journals."""
    world = World(waiting_for(lambda: double(1))).cancel()

    assert not world.machine.expects("0", events.STEP_COMPLETED)


def test_the_order_of_events_makes_cancellation_happen_again() -> None:
    """Nothing about withdrawn commands is journaled."""

    @workflow
    def tidy() -> Workflow[Any]:
        try:
            return (yield from gather(cleaning(double(1), "a"), shield(echo("b")), careful(3)))
        except Cancelled:
            return (yield from double(9))

    world = World(tidy()).cancel()
    for command in ("0/2/0", "0/0/1", "0/1/0/0/0", "1"):
        assert standing(world.machine) == standing(world.again())
        world.answer(command, None if command == "0/0/1" else 3)
    assert 3 == world.result


def test_a_cancelled_run_still_reads_outputs_and_pure_effects() -> None:
    """They need no wait."""

    @workflow
    def last_words() -> Workflow[str]:
        try:
            yield from sleep(9)
        except Cancelled:
            moment = yield from now()
            return moment.isoformat()
        return ""

    assert "2026-01-01T00:00:03+00:00" == World(last_words()).later(3).cancel().result
