"""continue_as_new: the same id, a fresh journal."""

from __future__ import annotations

from typing import Any

import pytest

from replay import PayloadError, Workflow, continue_as_new, gather, publish, shield, signal, sleep, spawn, workflow
from replay.errors import NonDeterminismError
from replay.model.codec import from_json
from tests.interpreter.world import World, cleaning, double, standing, undo, unlisted


@workflow
@unlisted
def once_more(n: int, note: str = "") -> Workflow[str]:
    got = yield from double(n)
    if n < 3:
        yield from continue_as_new(n + 1, note=f"{got}")
        raise AssertionError("continue_as_new never returns")
    return f"{note} and {got}"


@workflow
@unlisted
def successor(x: int) -> Workflow[int]:
    return (yield from double(x))


def test_it_ends_the_journal_with_the_next_input() -> None:
    """As the workflow's arguments."""
    world = World(once_more(1)).answer("0", 2)

    assert "continued" == world.ending
    assert world.machine.outcome is not None
    assert {"input": [2, "2"], "workflow": "once_more"} == from_json(world.machine.outcome.payload)
    assert world.machine.outcome.call is not None
    assert '[2,"2"]' == world.machine.outcome.call.payload.decode()
    assert [] == world.pending


def test_it_may_go_on_as_another_workflow() -> None:
    """Given one call."""

    @workflow
    def first() -> Workflow[Any]:
        yield from continue_as_new(successor(5))

    world = World(first())
    assert world.machine.outcome is not None

    assert {"input": [5], "workflow": "successor"} == from_json(world.machine.outcome.payload)


def test_outputs_before_it_are_said() -> None:
    """They belong to the event that led there."""

    @workflow
    def talking() -> Workflow[Any]:
        yield from publish("news", "bye")
        yield from continue_as_new()

    world = World(talking())

    assert ["bye"] == [each[4] for each in world.said]
    assert "continued" == world.ending


def test_unread_messages_are_there_to_be_handed_on() -> None:
    """In the order of each name."""

    @workflow
    def reading() -> Workflow[Any]:
        yield from signal("word")
        yield from continue_as_new()

    world = World(reading()).signal("other", 1).signal("word", 2)

    assert "continued" == world.ending
    assert (("other", b"1"),) == world.machine.unread()


def test_spawned_fibers_are_cleaned_up_first() -> None:
    """As at every end."""

    @workflow
    def busy() -> Workflow[Any]:
        yield from spawn(cleaning(double(1), "it"))
        yield from sleep(1)
        yield from continue_as_new()

    world = World(busy()).fire("1")
    assert ["0/0/0"] == world.withdrawn
    assert "" == world.ending
    assert "continued" == world.answer("0/0/1").ending


def test_it_belongs_into_the_workflows_own_body() -> None:
    """A branch cannot end the run."""

    @workflow
    def nested() -> Workflow[Any]:
        yield from gather(continue_as_new(), double(1))

    assert (
        "continue_as_new in a branch; yield it in the workflow's own body, after its branches ended" == World(nested()).failure.message
    )


def test_arguments_that_do_not_fit_are_refused_at_its_line() -> None:
    """The run can still choose."""

    @workflow
    def wrong(n: int) -> Workflow[str]:
        for effect in (continue_as_new("x"), continue_as_new(1, 2), continue_as_new(m=1)):
            try:
                yield from effect
            except (TypeError, PayloadError) as error:
                yield from undo(type(error).__name__)
        return "still here"

    world = World(wrong(1))
    assert ['0 step undo("PayloadError")'] == world.pending
    assert ['1 step undo("TypeError")'] == world.answer("0").pending
    assert "still here" == world.answer("1").answer("2").result


def test_finally_blocks_run_but_what_they_yield_is_refused() -> None:
    """The journal has ended; nothing more is asked for."""
    ran: list[str] = []

    @workflow
    def tidy() -> Workflow[Any]:
        try:
            yield from continue_as_new()
        finally:
            ran.append("finally")
            yield from undo("it")
            ran.append("never")

    world = World(tidy())

    assert "continued" == world.ending
    assert ["finally"] == ran
    assert [] == world.pending


def test_a_cancelled_run_does_not_go_on() -> None:
    """A cancellation that was held back is thrown there, as at every wait."""

    @workflow
    def guarded() -> Workflow[Any]:
        yield from shield(double(1))
        yield from continue_as_new()

    assert "cancelled" == World(guarded()).cancel().answer("0/0/0", 2).ending


def test_its_closing_event_must_say_the_same() -> None:
    """Another next input is another run."""
    world = World(once_more(1)).answer("0", 2)
    payload = b'{"input":[7],"workflow":"once_more"}'

    with pytest.raises(NonDeterminismError, match=r'the workflow has ended: continued \{"input":\[2,"2"\]'):
        world.feed("continued", name="once_more", payload=payload)


def test_it_replays_alike() -> None:
    """To the closing event."""
    world = World(once_more(1)).answer("0", 2).close()

    assert standing(world.machine) == standing(world.again())
