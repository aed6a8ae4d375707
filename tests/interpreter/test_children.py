"""Child runs: awaited, started, joined, left behind."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, ChildFailed, Workflow, cancel, gather, join, sleep, spawn, start_child, workflow
from replay.errors import EffectError
from replay.interpreter.issue import child_id
from replay.model.codec import to_json
from replay.model.options import OnParentClose
from tests.interpreter.world import START, World, cleaning, double, standing, unlisted


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


@workflow
@unlisted
def parent(n: int) -> Workflow[int]:
    return 1 + (yield from child(n))


def test_a_call_of_a_workflow_is_a_child_run() -> None:
    """Its command names workflow and arguments."""
    world = World(parent(3))

    assert ["0 child child(3)"] == world.pending
    assert 7 == world.answer("0", 6).result


def test_a_childs_id_is_its_place_in_its_parent() -> None:
    """The same in every replay."""

    @workflow
    def both() -> Workflow[Any]:
        yield from double(1)
        return (yield from gather(child(1), child(2)))

    machine = World(both(), run="p").answer("0", 2).machine

    assert ["p.1/0/0", "p.1/1/0"] == [child_id(machine, each.id, each.effect) for each in machine.pending.values()]


def test_a_childs_id_in_a_later_journal_of_the_same_run_is_another() -> None:
    """``continue_as_new`` begins to count anew, so the number of the journal stands in the id."""
    machine = World(parent(3), run="p", chain=2).machine

    assert "p~2.0" == child_id(machine, "0", machine.pending["0"].effect)


def test_a_child_may_be_given_an_id() -> None:
    """It is taken as it is."""

    @workflow
    def naming() -> Workflow[int]:
        return (yield from child(1).options(id="mine"))

    machine = World(naming()).machine

    assert "mine" == child_id(machine, "0", machine.pending["0"].effect)


def test_a_failed_child_raises_child_failed() -> None:
    """With its id, its error and how it ended."""
    world = World(parent(3)).fail("0", "ValueError", "no")

    assert isinstance(world.error, ChildFailed)
    assert ("run.0", "child", "ValueError", "no", "failed") == (
        world.error.run,
        world.error.workflow,
        world.error.error_type,
        world.error.message,
        world.error.status,
    )


def test_a_cancelled_child_raises_child_failed_with_that_status() -> None:
    """It is not the parent that was cancelled."""
    world = World(parent(3)).fail("0", "Cancelled", "why", args=["run.0", "cancelled"])

    assert isinstance(world.error, ChildFailed)
    assert "cancelled" == world.error.status


@pytest.mark.parametrize("args", [{}, {"args": []}, {"args": ["x"]}])
def test_a_failure_without_id_and_status_is_still_a_failure(args: dict[str, list[str]]) -> None:
    """Whoever wrote it left out what is only for people."""
    world = World(parent(3)).feed("child_failed", "0", "child", to_json({"type": "E", **args}))

    assert isinstance(world.error, ChildFailed)
    assert "failed" == world.error.status


def test_a_child_call_may_be_called_again_with_other_options() -> None:
    """The value does not change."""
    call = child(1)
    other = call.options(id="x", priority=3)

    assert ("", "x", 3) == (call.options_.id, other.options_.id, other.options_.priority)


# ---- start_child -------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def starting(policy: OnParentClose) -> Workflow[str]:
    yield from start_child(child(1), on_parent_close=policy)
    yield from sleep(1)
    return "done"


def test_start_child_goes_on_at_once() -> None:
    """Its handle knows the child's id; joining it waits for the result."""

    @workflow
    def ahead() -> Workflow[Any]:
        handle = yield from start_child(child(1))
        here = yield from double(10)
        return handle.run_id, here, (yield from join(handle))

    world = World(ahead())
    assert ["0/0/0 child child(1)", "1 step double(10)"] == world.pending
    assert ["run.0/0/0", 20, 2] == world.answer("0/0/0", 2).answer("1", 20).result


def test_a_started_childs_id_is_the_one_in_its_handle() -> None:
    """Whoever signals it finds it."""

    @workflow
    def named() -> Workflow[str]:
        handle = yield from start_child(child(1), id="mine")
        yield from sleep(1)
        return handle.run_id

    world = World(named())
    assert "mine" == child_id(world.machine, "0/0/0", world.command("0/0/0").effect)
    assert "mine" == world.fire("1").result


def test_start_child_keeps_what_the_call_says() -> None:
    """Options of the call are not overwritten by defaults."""
    effect: Any = start_child(child(1).options(id="mine", on_parent_close="abandon", priority=2))

    assert ("mine", "abandon", 2) == (
        effect.call.options_.id,
        effect.call.options_.on_parent_close,
        effect.call.options_.priority,
    )


def test_start_child_wants_a_call_of_a_workflow() -> None:
    """Not a step, and not the workflow itself."""
    for wrong in (double(1), child):
        with pytest.raises(EffectError, match="no call of a workflow"):
            start_child(wrong)  # type: ignore[arg-type]


def test_a_child_that_is_asked_for_is_asked_for_even_if_the_parent_ends_at_once() -> None:
    """Its command was issued before the parent's last line."""

    @workflow
    def brief() -> Workflow[str]:
        yield from start_child(child(1), on_parent_close="abandon")
        return "done"

    world = World(brief())

    assert "done" == world.result
    assert [("0/0/0", True)] == [(command.id, command.abandoned) for command in world.machine.issued]
    assert [] == world.withdrawn


def test_the_child_is_cancelled_when_the_parent_ends() -> None:
    """The default policy: its command is withdrawn."""
    world = World(starting("cancel")).fire("1")

    assert "done" == world.result
    assert ["0/0/0"] == world.withdrawn


def test_an_abandoned_child_goes_on_by_itself() -> None:
    """Nothing is withdrawn and nothing is waited for."""
    world = World(starting("abandon")).fire("1")

    assert "done" == world.result
    assert [] == world.withdrawn
    assert [] == world.pending


def test_a_parent_may_wait_for_its_child_at_its_end() -> None:
    """Its result is its own, whatever the child's end is."""
    world = World(starting("wait")).fire("1")
    assert ("", ["0/0/0"]) == (world.ending, world.ids)

    world.fail("0/0/0")
    assert "done" == world.result


def test_a_cancelled_parent_waits_for_its_child_too() -> None:
    """The policy holds for every end."""
    world = World(starting("wait")).cancel()
    assert ["0/0/0"] == world.ids
    assert ["1"] == world.withdrawn
    assert "cancelled" == world.answer("0/0/0", 2).ending


def test_a_failed_parent_abandons_its_child() -> None:
    """The same for failure."""

    @workflow
    def failing() -> Workflow[None]:
        yield from start_child(child(1), on_parent_close="abandon")
        yield from double(1)

    world = World(failing()).fail("1")

    assert ("failed", []) == (world.ending, world.withdrawn)


def test_the_policy_is_the_childs_and_not_that_of_a_branch_that_waits_for_one() -> None:
    """A spawned generator is cancelled and cleans up, whatever the child it waits for may do."""

    @workflow
    def tidy() -> Workflow[str]:
        yield from spawn(cleaning(child(1).options(on_parent_close="abandon"), "it"))
        yield from sleep(1)
        return "done"

    world = World(tidy()).fire("1")
    assert ['0/0/1 step undo("it")'] == world.pending
    assert "done" == world.answer("0/0/1").result


def test_several_children_part_by_their_policies() -> None:
    """In the order in which they were started."""

    @workflow
    def family() -> Workflow[str]:
        yield from start_child(child(1))
        yield from start_child(child(2), on_parent_close="wait")
        yield from start_child(child(3), on_parent_close="abandon")
        yield from start_child(child(4))
        yield from sleep(1)
        return "done"

    world = World(family()).fire("4")
    assert ["0/0/0", "3/0/0"] == world.withdrawn
    assert ["1/0/0"] == world.ids
    assert standing(world.machine) == standing(world.again())
    assert "done" == world.answer("1/0/0", 4).result


def test_who_joins_an_abandoned_child_at_the_end_does_not_wait_for_ever() -> None:
    """A clean-up that joins it is told that the run has ended."""

    @workflow
    def tangled() -> Workflow[str]:
        handle = yield from start_child(child(1), on_parent_close="abandon")

        def waiting() -> Workflow[None]:
            try:
                yield from double(5)
            finally:
                yield from join(handle)

        yield from spawn(waiting())
        yield from sleep(1)
        return "done"

    assert "done" == World(tangled()).fire("2").result


def test_a_child_started_while_the_run_ends_parts_by_its_policy() -> None:
    """As one that was there before."""

    @workflow
    def late() -> Workflow[str]:
        def ending() -> Workflow[None]:
            try:
                yield from double(1)
            finally:
                yield from start_child(child(1))
                yield from start_child(child(2), on_parent_close="abandon")
                yield from start_child(child(3), on_parent_close="wait")

        yield from spawn(ending())
        yield from sleep(1)
        return "done"

    world = World(late()).fire("1")
    assert ["0/0/3/0/0"] == world.ids
    assert "done" == world.answer("0/0/3/0/0", 6).result


def test_a_started_child_can_be_cancelled() -> None:
    """Its command is withdrawn; joining it raises Cancelled."""

    @workflow
    def regret() -> Workflow[str]:
        handle = yield from start_child(child(1))
        yield from sleep(1)
        yield from cancel(handle, "no more")
        try:
            yield from join(handle)
        except Cancelled as cancelled:
            return cancelled.reason
        return ""

    world = World(regret()).fire("1")

    assert ["0/0/0"] == world.withdrawn
    assert "no more" == world.result


def test_a_child_in_a_race_that_is_lost_is_withdrawn() -> None:
    """The engine tells it by its policy."""

    @workflow
    def hurry() -> Workflow[Any]:
        return (yield from gather(child(1), double(1)))

    assert ["0/0/0"] == World(hurry()).fail("0/1/0").withdrawn


def test_a_childs_clock_is_that_of_its_issue() -> None:
    """For delays and deadlines."""
    assert START == World(parent(1)).command("0").issued_at
