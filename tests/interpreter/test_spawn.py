"""spawn, join, cancel: fibers beside their maker."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, Spawned, StepFailed, TimedOut, Workflow, cancel, gather, join, now, sleep, spawn, timeout, workflow
from replay.errors import EffectError
from tests.interpreter.world import World, cleaning, double, doubled, echo, standing, undo, unlisted


@workflow
@unlisted
def beside() -> Workflow[int]:
    handle = yield from spawn(doubled(1))
    here = yield from double(10)
    return here + (yield from join(handle))


def test_a_spawned_branch_runs_beside_its_maker() -> None:
    """The maker goes on first; the branch runs when the maker waits."""
    assert ["1 step double(10)", "0/0/0 step double(1)"] == World(beside()).pending


def test_spawn_answers_a_handle_with_the_fibers_id() -> None:
    """For people."""

    @workflow
    def show() -> Workflow[str]:
        return repr((yield from spawn(double(1))))

    assert "<fiber 0/0>" == World(show()).result


def test_join_waits_for_the_result() -> None:
    """Whoever comes first."""
    world = World(beside()).answer("1", 20)
    assert ["0/0/0"] == world.ids
    assert 24 == world.answer("0/0/0", 2).answer("0/0/1", 4).result


def test_join_of_a_branch_that_has_ended_answers_at_once() -> None:
    """Its result was kept."""
    assert 24 == World(beside()).answer("0/0/0", 2).answer("0/0/1", 4).answer("1", 20).result


def test_the_failure_of_a_spawned_branch_is_raised_at_the_join() -> None:
    """Before that it disturbs nobody."""
    world = World(beside()).fail("0/0/0", message="boom")
    assert ["1"] == world.ids

    world.answer("1", 20)
    assert isinstance(world.error, StepFailed)


def test_a_failure_that_nobody_joins_is_nobodys() -> None:
    """The author asked for it to run on its own."""

    @workflow
    def careless() -> Workflow[str]:
        yield from spawn(double(1))
        yield from double(2)
        return "fine"

    assert "fine" == World(careless()).fail("0/0/0").answer("1", 4).result


def test_several_may_join_one_fiber() -> None:
    """They go on in the order in which they began to wait."""
    order: list[str] = []

    def waiting(handle: Spawned[int], name: str) -> Workflow[int]:
        value = yield from join(handle)
        order.append(name)
        return value

    @workflow
    def many() -> Workflow[list[int]]:
        handle = yield from spawn(double(1))
        return list((yield from gather(*[waiting(handle, name) for name in "abc"])))

    assert [2, 2, 2] == World(many()).answer("0/0/0", 2).result
    assert ["a", "b", "c"] == order


def test_joining_takes_no_command_number() -> None:
    """It asks nothing of the world."""

    @workflow
    def after() -> Workflow[int]:
        handle = yield from spawn(double(1))
        yield from join(handle)
        return (yield from double(3))

    assert ["1 step double(3)"] == World(after()).answer("0/0/0", 2).pending


def test_a_branch_may_spawn_and_join() -> None:
    """Fibers nest."""

    def inner() -> Workflow[int]:
        handle = yield from spawn(double(5))
        return (yield from join(handle))

    @workflow
    def outer() -> Workflow[int]:
        return sum((yield from gather(inner(), inner())))

    world = World(outer())
    assert ["0/0/0/0/0", "0/1/0/0/0"] == world.ids
    assert 3 == world.answer("0/1/0/0/0", 2).answer("0/0/0/0/0", 1).result


# ---- cancel ------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def stopping() -> Workflow[str]:
    handle = yield from spawn(cleaning(double(1), "it"))
    yield from double(2)
    yield from cancel(handle, "no longer needed")
    try:
        yield from join(handle)
    except Cancelled as cancelled:
        return cancelled.reason
    return "not cancelled"


def test_a_cancelled_fiber_cleans_up_while_its_canceller_goes_on() -> None:
    """Who wants to wait for it joins it."""
    world = World(stopping()).answer("1", 4)
    assert ["0/0/0"] == world.withdrawn
    assert ['0/0/1 step undo("it")'] == world.pending


def test_joining_a_cancelled_fiber_raises_cancelled() -> None:
    """With the reason that its canceller gave."""
    assert "no longer needed" == World(stopping()).answer("1", 4).answer("0/0/1").result


def test_joining_a_fiber_that_was_cancelled_long_ago_raises_cancelled() -> None:
    """Also when it has ended already."""

    @workflow
    def late() -> Workflow[str]:
        handle = yield from spawn(double(1))
        yield from now()
        yield from cancel(handle, "old")
        yield from sleep(1)
        try:
            yield from join(handle)
        except Cancelled as cancelled:
            return cancelled.reason
        return ""

    assert "old" == World(late()).fire("1").result


def test_joining_a_cancelled_fiber_without_catching_it_ends_the_run_as_cancelled() -> None:
    """Cancelled passes through."""

    @workflow
    def late() -> Workflow[None]:
        handle = yield from spawn(double(1))
        yield from cancel(handle)
        yield from sleep(1)
        try:
            yield from join(handle)
        except Exception:  # noqa: BLE001 - the point of the test
            return

    assert "cancelled" == World(late()).fire("1").ending


def test_cancelling_one_that_never_ran_means_that_it_never_runs() -> None:
    """Its first line is not reached."""
    ran: list[int] = []

    def branch() -> Workflow[None]:
        ran.append(1)
        yield from double(1)

    @workflow
    def regret() -> Workflow[None]:
        handle = yield from spawn(branch())
        yield from cancel(handle)
        yield from double(2)

    assert ["1 step double(2)"] == World(regret()).pending
    assert [] == ran


def test_cancelling_one_that_has_ended_changes_nothing() -> None:
    """Its result is still there."""

    @workflow
    def late() -> Workflow[int]:
        handle = yield from spawn(double(1))
        yield from sleep(1)
        yield from cancel(handle)
        return (yield from join(handle))

    assert 2 == World(late()).answer("0/0/0", 2).fire("1").result


def test_cancelling_twice_is_cancelling_once() -> None:
    """The second does not interrupt the clean-up."""

    @workflow
    def twice() -> Workflow[str]:
        handle = yield from spawn(cleaning(double(1), "it"))
        yield from sleep(1)
        yield from cancel(handle, "first")
        yield from sleep(1)
        yield from cancel(handle, "second")
        try:
            yield from join(handle)
        except Cancelled as cancelled:
            return cancelled.reason
        return ""

    world = World(twice()).fire("1").fire("2")
    assert ["0/0/1"] == world.ids
    assert "first" == world.answer("0/0/1").result


def test_a_fiber_may_cancel_itself() -> None:
    """It is thrown at its next wait."""

    @workflow
    def suicide() -> Workflow[str]:
        handles: list[Spawned[None]] = []

        def branch() -> Workflow[None]:
            yield from double(1)
            yield from cancel(handles[0], "by itself")
            yield from double(2)

        handles.append((yield from spawn(branch())))
        try:
            yield from join(handles[0])
        except Cancelled as cancelled:
            return cancelled.reason
        return ""

    world = World(suicide()).answer("0/0/0", 2)

    assert "by itself" == world.result
    assert ["0/0/1"] == world.withdrawn


# ---- the end of the run ------------------------------------------------------------------------------------------------------


def test_fibers_that_live_when_the_root_ends_are_cancelled_and_cleaned_up() -> None:
    """Then the run ends, with the root's result."""

    @workflow
    def leaving() -> Workflow[str]:
        yield from spawn(cleaning(double(1), "a"))
        yield from spawn(cleaning(double(2), "b"))
        yield from sleep(1)
        return "left"

    world = World(leaving()).fire("2")
    assert ["0/0/0", "1/0/0"] == world.withdrawn
    assert ['0/0/1 step undo("a")', '1/0/1 step undo("b")'] == world.pending
    assert "" == world.ending
    assert "left" == world.answer("1/0/1").answer("0/0/1").result


def test_a_root_that_fails_cancels_them_too() -> None:
    """Its failure is the outcome, whatever their clean-up does."""

    @workflow
    def failing() -> Workflow[None]:
        yield from spawn(cleaning(double(1), "a"))
        yield from double(2)

    world = World(failing()).fail("1", message="mine").fail("0/0/1", message="theirs")

    assert isinstance(world.error, StepFailed)
    assert "mine" == world.error.message


def test_a_branch_spawned_and_never_run_before_the_end_never_runs() -> None:
    """The run ends at once."""

    @workflow
    def hasty() -> Workflow[str]:
        yield from spawn(double(1))
        return "done"

    world = World(hasty())

    assert "done" == world.result
    assert [] == world.machine.issued


def test_a_cancelled_fiber_may_spawn_another_that_is_cancelled_too() -> None:
    """Until nothing is alive."""

    def stubborn(n: int) -> Workflow[None]:
        try:
            yield from double(n)
        finally:
            yield from spawn(cleaning(double(n + 1), "late"))

    @workflow
    def leaving() -> Workflow[str]:
        yield from spawn(stubborn(1))
        yield from sleep(1)
        return "left"

    world = World(leaving()).fire("1")

    assert "left" == world.result
    assert [] == world.pending


def test_the_root_may_be_cancelled_while_the_others_clean_up() -> None:
    """It has ended; there is nothing to cancel."""

    @workflow
    def leaving() -> Workflow[str]:
        yield from spawn(cleaning(double(1), "a"))
        yield from sleep(1)
        return "left"

    assert "left" == World(leaving()).fire("1").cancel().answer("0/0/1").result


# ---- misuse ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 3, "0/0", double(1), Spawned("0/0", None)])
def test_join_and_cancel_want_a_handle(wrong: Any) -> None:
    """The advice says where one comes from."""

    @workflow
    def confused() -> Workflow[list[str]]:
        said = []
        for make in (join, cancel):
            try:
                yield from make(wrong)
            except EffectError as error:
                said.append(str(error))
        return said

    said = World(confused()).result
    assert [True, True] == [text.startswith(f"{what} was given ") for what, text in zip(("join", "cancel"), said, strict=True)]
    assert all("yield from spawn(…)" in text for text in said)


def test_fibers_cannot_join_each_other() -> None:
    """The last of a ring is told at its line, also when it does so from inside a gather; who joins it is told of its failure."""

    @workflow
    def ring() -> Workflow[list[str]]:
        handles: list[Spawned[None]] = []
        said: list[str] = []

        def branch(other: int) -> Workflow[None]:
            yield from double(other)
            yield from gather(join(handles[other]))

        handles += [(yield from spawn(branch(1))), (yield from spawn(branch(0)))]
        for handle in handles:
            try:
                yield from join(handle)
            except EffectError as error:
                said.append(str(error))
        return said

    result = World(ring()).answer("0/0/0", 2).answer("1/0/0", 0).result

    assert ["fibers join each other in a ring; none of them could ever end; let one of them go on without the others"] * 2 == result


def test_a_fiber_cannot_join_what_gathers_it() -> None:
    """Its own combinator waits for it."""

    @workflow
    def knot() -> Workflow[str]:
        handles: list[Spawned[None]] = []

        def inner() -> Workflow[None]:
            yield from double(1)
            yield from join(handles[0])

        def outer() -> Workflow[None]:
            yield from gather(inner(), double(2))

        handles.append((yield from spawn(outer())))
        try:
            yield from join(handles[0])
        except EffectError as error:
            return error.got
        return ""

    assert "fibers join each other in a ring" == World(knot()).answer("0/0/0/0/0", 2).result


def test_a_fiber_may_join_what_a_race_frees_it_from() -> None:
    """A timeout above it cancels it when the time is over, so nothing hangs."""

    @workflow
    def free() -> Workflow[str]:
        handles: list[Spawned[str]] = []

        def inner() -> Workflow[None]:
            yield from double(1)
            yield from join(handles[0])

        def outer() -> Workflow[str]:
            try:
                yield from timeout(inner(), 5)
            except TimedOut:
                return "freed"
            return ""

        handles.append((yield from spawn(outer())))
        return (yield from join(handles[0]))

    assert "freed" == World(free()).answer("0/0/0/0/0", 2).fire("0/0/0/1/0").result


def test_a_fiber_cannot_join_itself() -> None:
    """It would wait for ever."""

    @workflow
    def knot() -> Workflow[Any]:
        handles: list[Spawned[Any]] = []

        def branch() -> Workflow[Any]:
            return (yield from join(handles[0]))

        handles.append((yield from spawn(branch())))
        return (yield from join(handles[0]))

    assert "a fiber joins itself; it would wait for ever" == World(knot()).failure.message


def test_a_bare_yield_of_a_handle_says_to_join_it() -> None:
    """A handle is no effect."""

    @workflow
    def forgetful() -> Workflow[Any]:
        handle = yield from spawn(double(1))
        return (yield handle)  # type: ignore[misc]

    assert World(forgetful()).failure.message.endswith("write `yield from join(handle)`")


def test_spawn_wants_a_branch() -> None:
    """As every combinator does."""

    @workflow
    def confused() -> Workflow[Any]:
        return (yield from spawn(3))  # type: ignore[arg-type]

    assert World(confused()).failure.message.startswith("spawn was given a branch that is no effect: int 3")


def test_a_spawned_run_replays_alike() -> None:
    """At every event."""
    world = World(stopping())
    for command, value in (("1", 4), ("0/0/1", None)):
        assert standing(world.machine) == standing(world.again())
        world.answer(command, value)
    assert standing(world.machine) == standing(world.again())


def test_a_spawned_effect_may_be_any_effect() -> None:
    """Also one that is answered without the world."""

    @workflow
    def ask() -> Workflow[Any]:
        handle = yield from spawn(now())
        other = yield from spawn(echo("x"))
        yield from undo("y")
        return [(yield from join(handle)) is not None, (yield from join(other))]

    assert [True, "z"] == World(ask()).answer("1/0/0", "z").answer("2").result
