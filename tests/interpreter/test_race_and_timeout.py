"""race, timeout: the first branch decides."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, StepFailed, TimedOut, Workflow, now, race, shield, sleep, timeout, workflow
from replay.errors import EffectError
from tests.interpreter.world import SECOND, START, World, careful, cleaning, double, doubled, echo, standing, undo, unlisted


@workflow
@unlisted
def fastest(n: int) -> Workflow[Any]:
    return (yield from race(*[double(i) for i in range(n)]))


@workflow
@unlisted
def hurried() -> Workflow[int]:
    return (yield from timeout(doubled(1), 10))


def test_the_branch_that_ends_first_in_the_journal_wins() -> None:
    """It answers its index and its value; the others are withdrawn in order."""
    world = World(fastest(3)).answer("0/1/0", 7)

    assert [1, 7] == world.result
    assert ["0/0/0", "0/2/0"] == world.withdrawn


def test_a_falsy_winner_wins() -> None:
    """None is an answer."""
    world = World(fastest(2))
    world.feed("step_completed", "0/0/0", "double", b"0")

    assert [0, 0] == world.result


def test_losers_clean_up_before_the_race_answers() -> None:
    """No branch outlives its combinator."""

    @workflow
    def tidy() -> Workflow[Any]:
        return (yield from race(cleaning(double(1), "a"), double(2)))

    world = World(tidy()).answer("0/1/0", 4)
    assert ['0/0/1 step undo("a")'] == world.pending
    assert [1, 4] == world.answer("0/0/1").result


def test_a_failing_branch_leaves_the_race_to_the_others() -> None:
    """The first that ends well wins."""
    world = World(fastest(3)).fail("0/0/0").fail("0/2/0")
    assert ["0/1/0"] == world.ids
    assert [1, 2] == world.answer("0/1/0", 2).result


def test_when_all_fail_the_first_failure_is_raised() -> None:
    """First in the journal, not first in the list."""
    world = World(fastest(3)).fail("0/2/0", message="first").fail("0/0/0", message="second").fail("0/1/0", message="third")

    assert isinstance(world.error, StepFailed)
    assert "first" == world.error.message


def test_two_branches_that_need_no_world_are_decided_by_their_order() -> None:
    """The first one started is the first to end; the second never runs."""
    ran: list[int] = []

    def instant(n: int) -> Workflow[int]:
        ran.append(n)
        yield from now()
        return n

    @workflow
    def quick() -> Workflow[Any]:
        return (yield from race(instant(1), instant(2)))

    assert [0, 1] == World(quick()).result
    assert [1] == ran


def test_a_race_without_branches_is_refused() -> None:
    """Nobody could win."""

    @workflow
    def lonely() -> Workflow[Any]:
        return (yield from race())

    assert "race was given no branch; give it at least one" == World(lonely()).failure.message


def test_a_loser_that_will_not_stop_is_waited_for() -> None:
    """One that catches Cancelled and goes on holds the race."""

    def stubborn() -> Workflow[int]:
        try:
            yield from double(1)
        except Cancelled:
            return (yield from double(100))
        return 0

    @workflow
    def wait() -> Workflow[Any]:
        return (yield from race(stubborn(), double(2)))

    world = World(wait()).answer("0/1/0", 4)
    assert ["0/0/1 step double(100)"] == world.pending
    assert [1, 4] == world.answer("0/0/1", 200).result


def test_a_loser_whose_step_must_end_is_waited_for() -> None:
    """``on_cancel="wait"``: its command stays, its answer changes nothing."""

    @workflow
    def wait() -> Workflow[Any]:
        return (yield from race(careful(1), double(2)))

    world = World(wait()).answer("0/1/0", 4)
    assert ["0/0/0"] == world.ids
    assert ["0/0/0"] == world.withdrawn
    assert world.command("0/0/0").cancelled
    assert [1, 4] == world.answer("0/0/0", 1).result


# ---- timeout -----------------------------------------------------------------------------------------------------------------


def test_a_timeout_runs_its_branch_beside_a_timer() -> None:
    """Both are fibers of the combinator."""
    world = World(hurried())

    assert ["0/0/0 step double(1)", "0/1/0 sleep 10 s"] == world.pending
    assert START + 10 * SECOND == world.command("0/1/0").due


def test_a_branch_that_ends_in_time_gives_its_result() -> None:
    """And the timer is dropped."""
    world = World(hurried()).answer("0/0/0", 2).answer("0/0/1", 4)

    assert 4 == world.result
    assert ["0/1/0"] == world.withdrawn


def test_a_branch_that_takes_too_long_is_cancelled_and_timed_out() -> None:
    """At the yield, with the seconds that it was given."""
    world = World(hurried()).answer("0/0/0", 2).fire("0/1/0")

    assert ["0/0/1"] == world.withdrawn
    assert isinstance(world.error, TimedOut)
    assert 10 == world.error.seconds


def test_the_failure_of_the_branch_passes_through() -> None:
    """A timeout changes nothing about it."""
    assert isinstance(World(hurried()).fail("0/0/0").error, StepFailed)


def test_clean_up_may_take_longer_than_the_timeout() -> None:
    """It is waited for, then TimedOut is raised."""

    @workflow
    def tidy() -> Workflow[None]:
        yield from timeout(cleaning(double(1), "a"), 1)

    world = World(tidy()).fire("0/1/0")
    assert ['0/0/1 step undo("a")'] == world.pending
    assert isinstance(world.later(60).answer("0/0/1").error, TimedOut)


def test_a_result_given_after_the_time_is_over_does_not_count() -> None:
    """Whoever catches Cancelled cannot win any more."""

    def late() -> Workflow[int]:
        try:
            return (yield from double(1))
        except Cancelled:
            return -1

    @workflow
    def strict() -> Workflow[int]:
        return (yield from timeout(late(), 1))

    assert isinstance(World(strict()).fire("0/1/0").error, TimedOut)


def test_a_timeout_in_a_timeout_is_decided_by_the_shorter() -> None:
    """The inner one raises inside the outer's branch."""

    def inner() -> Workflow[str]:
        try:
            yield from timeout(double(1), 1)
        except TimedOut as over:
            return f"{over.seconds:g} s"
        return ""

    @workflow
    def outer() -> Workflow[str]:
        return (yield from timeout(inner(), 5))

    world = World(outer())
    assert ["0/1/0", "0/0/0/0/0", "0/0/0/1/0"] == world.ids
    assert "1 s" == world.fire("0/0/0/1/0").result
    assert ["0/1/0"] == [each for each in world.withdrawn if each == "0/1/0"]


def test_a_timeout_around_a_shield_waits_for_its_end() -> None:
    """Then the time is over all the same."""

    @workflow
    def held() -> Workflow[None]:
        yield from timeout(shield(echo("x")), 1)

    world = World(held()).fire("0/1/0")
    assert ["0/0/0/0/0"] == world.ids
    assert isinstance(world.answer("0/0/0/0/0", 1).error, TimedOut)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e10])
def test_a_timeout_without_a_sensible_span_is_refused(seconds: float) -> None:
    """Where it is written."""
    with pytest.raises(EffectError, match="timeout of"):
        timeout(double(1), seconds)


def test_a_race_against_a_timer_is_a_timeout_with_a_value() -> None:
    """For those who want no exception."""

    @workflow
    def either() -> Workflow[Any]:
        index, value = yield from race(double(1), sleep(3))
        yield from undo("x")
        return index, value

    world = World(either()).fire("0/1/0")
    assert ["0/0/0"] == world.withdrawn
    assert [1, None] == world.answer("1").result
    assert standing(world.machine) == standing(world.again())
