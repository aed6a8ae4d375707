"""gather: branches side by side, results in order."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, Effect, StepFailed, Workflow, gather, now, sleep, workflow
from replay.errors import EffectError
from tests.interpreter.world import World, cleaning, double, doubled, echo, standing, undo, unlisted


@workflow
@unlisted
def pair(a: int, b: int) -> Workflow[list[int]]:
    return list((yield from gather(double(a), double(b))))


@workflow
@unlisted
def crowd(n: int, limit: int | None = None) -> Workflow[list[int]]:
    return list((yield from gather(*[double(i) for i in range(n)], limit=limit)))


def test_all_branches_are_asked_for_at_once_in_order() -> None:
    """The combinator takes one number, each branch is a fiber of its own."""
    assert ["0/0/0 step double(1)", "0/1/0 step double(2)"] == World(pair(1, 2)).pending


@pytest.mark.parametrize("order", [("0/0/0", "0/1/0"), ("0/1/0", "0/0/0")])
def test_results_stand_in_the_order_of_the_branches(order: tuple[str, str]) -> None:
    """Whoever answers first."""
    world = World(pair(1, 2))
    for command in order:
        world.answer(command, 10 if command == "0/0/0" else 20)

    assert [10, 20] == world.result


def test_the_next_command_after_a_gather_has_the_next_number() -> None:
    """A change inside a branch does not renumber what follows."""

    @workflow
    def then() -> Workflow[int]:
        yield from gather(doubled(1), double(5))
        return (yield from double(7))

    world = World(then())
    assert ["0/0/0 step double(1)", "0/1/0 step double(5)"] == world.pending
    assert ["0/1/0 step double(5)", "0/0/1 step double(2)"] == world.answer("0/0/0", 2).pending
    assert ["1 step double(7)"] == world.answer("0/0/1", 4).answer("0/1/0", 10).pending


def test_nested_gathers_have_nested_ids() -> None:
    """Path of fibers, number within the fiber."""

    @workflow
    def nest() -> Workflow[Any]:
        yield from double(0)
        return (yield from gather(double(1), gather(double(2), gather(double(3), double(4)))))

    world = World(nest()).answer("0", 0)
    assert ["1/0/0", "1/1/0/0/0", "1/1/0/1/0/0/0", "1/1/0/1/0/1/0"] == world.ids

    for command in reversed(world.ids):
        world.answer(command, int(command.split("/")[-2]))
    assert [0, [0, [0, 1]]] == world.result


def test_branches_start_in_order_each_until_it_first_waits() -> None:
    """And what they make ready runs after those that are ready already: first ready first."""
    started: list[str] = []

    def branch(name: str) -> Workflow[None]:
        started.append(f"{name} begins")
        yield from now()
        started.append(f"{name} goes on")
        yield from gather(inner(name), inner(name.upper()))

    def inner(name: str) -> Workflow[None]:
        started.append(f"inside {name}")
        yield from double(1)

    @workflow
    def both() -> Workflow[None]:
        yield from gather(branch("a"), branch("b"))

    World(both())

    assert [
        "a begins", "a goes on", "b begins", "b goes on", "inside a", "inside A", "inside b", "inside B",
    ] == started  # fmt: skip


def test_an_empty_gather_answers_at_once_and_takes_a_number() -> None:
    """So that its neighbours keep theirs when it fills."""

    @workflow
    def empty() -> Workflow[int]:
        got: tuple[Any, ...] = yield from gather()
        assert () == got
        return (yield from double(1))

    assert ["1 step double(1)"] == World(empty()).pending


def test_a_list_of_branches_is_taken_like_branches() -> None:
    """``gather([a, b])`` is ``gather(a, b)``."""

    @workflow
    def listed() -> Workflow[int]:
        effects: list[Effect[int]] = [double(1), double(2)]
        return sum((yield from gather(*effects))) + sum((yield gather(effects)))

    world = World(listed())
    assert ["0/0/0", "0/1/0"] == world.ids
    assert ["1/0/0", "1/1/0"] == world.answer("0/0/0", 1).answer("0/1/0", 2).ids


# ---- limit -------------------------------------------------------------------------------------------------------------------


def test_a_limit_starts_the_next_branch_when_one_ends() -> None:
    """Never more than the limit at a time."""
    world = World(crowd(4, 2))
    assert ["0/0/0", "0/1/0"] == world.ids
    assert ["0/0/0", "0/2/0"] == world.answer("0/1/0", 1).ids
    assert ["0/0/0", "0/3/0"] == world.answer("0/2/0", 2).ids
    assert ["0/3/0"] == world.answer("0/0/0", 0).ids
    assert [0, 1, 2, 3] == world.answer("0/3/0", 3).result


def test_a_branch_that_ends_without_waiting_makes_room_at_once() -> None:
    """The limit counts those that run."""

    def instant(n: int) -> Workflow[int]:
        yield from now()
        return n

    @workflow
    def quick() -> Workflow[list[int]]:
        return list((yield from gather(*[instant(i) for i in range(50)], limit=1)))

    assert list(range(50)) == World(quick()).result


def test_a_failure_under_a_limit_never_starts_the_rest() -> None:
    """What was not begun needs no clean-up."""
    world = World(crowd(10, 2)).fail("0/0/0")

    assert ["0/1/0"] == world.withdrawn
    assert "failed" == world.ending


# ---- failures ----------------------------------------------------------------------------------------------------------------


def test_the_first_failure_cancels_the_others_and_is_raised() -> None:
    """Their commands are withdrawn in order."""
    world = World(crowd(4)).fail("0/2/0", "ValueError", "no")

    assert ["0/0/0", "0/1/0", "0/3/0"] == world.withdrawn
    assert isinstance(world.error, StepFailed)
    assert "ValueError" == world.error.error_type


def test_it_waits_until_the_others_have_cleaned_up() -> None:
    """No branch outlives its combinator."""

    @workflow
    def tidy() -> Workflow[str]:
        try:
            yield from gather(cleaning(double(1), "a"), double(2), cleaning(double(3), "c"))
        except StepFailed as failed:
            return failed.message
        return ""

    world = World(tidy()).fail("0/1/0", message="boom")
    assert ['0/0/1 step undo("a")', '0/2/1 step undo("c")'] == world.pending
    assert ["0/2/1"] == world.answer("0/0/1").ids
    assert "boom" == world.answer("0/2/1").result


def test_a_failing_clean_up_does_not_hide_the_first_failure() -> None:
    """The first reason is the one that is raised."""

    @workflow
    def tidy() -> Workflow[str]:
        try:
            yield from gather(cleaning(double(1), "a"), double(2))
        except StepFailed as failed:
            return failed.message
        return ""

    assert "first" == World(tidy()).fail("0/1/0", message="first").fail("0/0/1", message="second").result


def test_a_failure_before_the_others_have_run_means_that_they_never_run() -> None:
    """They are cancelled before their first line."""
    ran: list[str] = []

    def fails() -> Workflow[None]:
        yield from now()
        raise ValueError("at once")

    def never() -> Workflow[None]:
        ran.append("never")
        yield from double(1)

    @workflow
    def hasty() -> Workflow[None]:
        yield from gather(fails(), never(), double(2))

    world = World(hasty())

    assert ("ValueError", "at once") == (world.failure.type, world.failure.message)
    assert [] == ran
    assert [] == world.pending
    assert [] == world.machine.issued


def test_a_branch_that_succeeds_while_it_is_cancelled_changes_nothing() -> None:
    """The failure stands."""

    def stubborn() -> Workflow[int]:
        try:
            return (yield from double(1))
        except Cancelled:
            return -1

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(stubborn(), double(2)))

    assert isinstance(World(both()).fail("0/1/0").error, StepFailed)


def test_return_errors_puts_failures_in_their_places() -> None:
    """And cancels nobody."""

    @workflow
    def lenient() -> Workflow[list[str]]:
        got = yield from gather(double(1), double(2), double(3), return_errors=True)
        return [f"{type(each).__name__} {each}" for each in got]

    world = World(lenient()).fail("0/1/0", "ValueError", "no")
    assert ["0/0/0", "0/2/0"] == world.ids

    world.answer("0/2/0", 30).answer("0/0/0", 10)
    assert ["int 10", "StepFailed step double failed once: ValueError: no", "int 30"] == world.result


def test_min_successful_ends_with_that_many_and_cancels_the_rest() -> None:
    """What did not succeed is None."""

    @workflow
    def some() -> Workflow[list[int | None]]:
        return list((yield from gather(*[double(i) for i in range(4)], min_successful=2)))

    world = World(some()).answer("0/2/0", 4).fail("0/0/0").answer("0/1/0", 2)

    assert ["0/3/0"] == world.withdrawn
    assert [None, 2, 4, None] == world.result


def test_min_successful_fails_when_it_can_no_longer_be_met() -> None:
    """With the first failure, not the last."""

    @workflow
    def some() -> Workflow[Any]:
        return (yield from gather(*[double(i) for i in range(3)], min_successful=2))

    world = World(some()).fail("0/1/0", message="first")
    assert "" == world.ending

    world.fail("0/0/0", message="second")
    assert isinstance(world.error, StepFailed)
    assert "first" == world.error.message
    assert ["0/2/0"] == world.withdrawn


def test_min_successful_with_a_limit_starts_no_more_than_it_needs() -> None:
    """Enough is enough."""

    @workflow
    def some() -> Workflow[list[int | None]]:
        return list((yield from gather(*[double(i) for i in range(9)], limit=1, min_successful=2)))

    world = World(some()).answer("0/0/0", 0).fail("0/1/0").answer("0/2/0", 4)

    assert [0, None, 4, None, None, None, None, None, None] == world.result


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 0}, "gather with limit=0"),
        ({"limit": -1}, "gather with limit=-1"),
        ({"min_successful": 3}, "gather of 2 branches with min_successful=3"),
        ({"min_successful": 0}, "gather of 2 branches with min_successful=0"),
    ],
)
def test_a_limit_that_cannot_be_met_is_refused_where_it_is_written(settings: dict[str, Any], message: str) -> None:
    """Before anything is asked for."""
    with pytest.raises(EffectError, match=message):
        gather(double(1), double(2), **settings)


# ---- what may be a branch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [3, None, "x", [1], double])
def test_a_branch_that_is_no_effect_is_refused_at_the_yield(wrong: Any) -> None:
    """No other branch is begun."""

    @workflow
    def confused() -> Workflow[str]:
        try:
            yield from gather(double(1), wrong)
        except EffectError as error:
            return str(error)
        return ""

    world = World(confused())

    assert world.result.startswith("gather was given a branch that is no effect: ")
    assert [] == world.machine.issued


def test_one_generator_cannot_be_two_branches() -> None:
    """It would be driven twice, each branch taking the other's answers."""

    @workflow
    def twice() -> Workflow[Any]:
        helper = doubled(1)
        return (yield from gather(helper, helper))

    world = World(twice())

    assert "replay.errors.EffectError" == world.failure.type
    assert "was begun before" in world.failure.message
    assert [] == world.pending


def test_a_generator_that_has_ended_cannot_be_a_branch() -> None:
    """It would answer None in silence."""

    @workflow
    def again() -> Workflow[Any]:
        helper = doubled(1)
        yield from helper
        return (yield from gather(helper))

    assert "was begun before" in World(again()).answer("0", 2).answer("1", 4).failure.message


def test_a_generator_expression_is_no_branch() -> None:
    """It would ask for its effects one after the other and answer None."""

    @workflow
    def lazy() -> Workflow[Any]:
        return (yield from gather(double(i) for i in range(3)))

    world = World(lazy())

    assert "replay.errors.EffectError" == world.failure.type
    assert "gather(*[" in world.failure.message


def test_one_effect_may_be_two_branches() -> None:
    """An effect is a value, not a thing in motion."""

    @workflow
    def twice() -> Workflow[list[int]]:
        effect = double(1)
        return list((yield from gather(effect, effect)))

    assert [2, 3] == World(twice()).answer("0/1/0", 3).answer("0/0/0", 2).result


def test_a_timer_is_a_branch_like_any_other() -> None:
    """It answers None."""

    @workflow
    def rest() -> Workflow[Any]:
        return (yield from gather(sleep(5), echo("x")))

    assert [None, 1] == World(rest()).answer("0/1/0", 1).fire("0/0/0").result


def test_a_failed_gather_can_be_followed_by_more() -> None:
    """Its numbers stay its own."""

    @workflow
    def retrying() -> Workflow[list[int]]:
        while True:
            try:
                return list((yield from gather(double(1), double(2))))
            except StepFailed:
                yield from undo("all")

    world = World(retrying()).fail("0/0/0").answer("1")
    assert ["2/0/0", "2/1/0"] == world.ids
    assert standing(world.machine) == standing(world.again())
    assert [1, 2] == world.answer("2/0/0", 1).answer("2/1/0", 2).result
