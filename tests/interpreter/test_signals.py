"""Signals: messages by name, first in, first out."""

from __future__ import annotations

from typing import Any

import pytest

from replay import PayloadError, TimedOut, Workflow, cancel, gather, join, signal, sleep, spawn, workflow
from replay.errors import EffectError, NonDeterminismError
from replay.model import events
from tests.interpreter.world import SECOND, START, World, double, standing, undo, unlisted


@workflow
@unlisted
def approval() -> Workflow[bool]:
    return (yield from signal("approved", bool))


@workflow
@unlisted
def listening(count: int) -> Workflow[list[Any]]:
    got = []
    for _ in range(count):
        got.append((yield from signal("word")))  # noqa: PERF401 - a comprehension cannot yield
    return got


def listener(name: str) -> Workflow[Any]:
    return (yield from signal(name))


def test_a_message_answers_the_wait_for_its_name() -> None:
    """Its command is a signal."""
    world = World(approval())

    assert ["0 signal approved"] == world.pending
    assert world.signal("approved", True).result is True


@pytest.mark.parametrize("value", [False, 0, "", [], {}, None])
def test_a_falsy_message_is_a_message(value: Any) -> None:
    """It is not taken for none."""
    assert [value] == World(listening(1)).signal("word", value).result


def test_a_message_that_comes_early_is_kept() -> None:
    """Until somebody asks for it."""

    @workflow
    def busy() -> Workflow[Any]:
        yield from double(1)
        return (yield from signal("word"))

    world = World(busy()).signal("word", "early")
    assert ["0"] == world.ids
    assert "early" == world.answer("0", 2).result


def test_an_early_message_takes_a_command_number_as_a_late_one_does() -> None:
    """So that what follows has the same id, whenever the message came."""

    @workflow
    def then() -> Workflow[int]:
        yield from sleep(1)
        yield from signal("word")
        return (yield from double(1))

    assert ["2"] == World(then()).signal("word").fire("0").ids
    assert ["2"] == World(then()).fire("0").signal("word").ids


def test_messages_are_taken_in_the_order_in_which_they_came() -> None:
    """Early or late."""
    world = World(listening(3)).signal("word", 1)

    assert [1, 2, 3] == world.signal("word", 2).signal("word", 3).result


def test_messages_of_other_names_are_left_for_others() -> None:
    """Each name has its own buffer."""
    world = World(listening(1)).signal("other", 1).signal("word", 2)

    assert [2] == world.result
    assert (("other", b"1"),) == world.machine.unread()


def test_who_has_waited_longest_takes_the_oldest() -> None:
    """Several fibers may wait for one name."""

    @workflow
    def many() -> Workflow[list[Any]]:
        return list((yield from gather(listener("word"), listener("word"), listener("word"))))

    assert ["a", "b", "c"] == World(many()).signal("word", "a").signal("word", "b").signal("word", "c").result


def test_who_waits_again_stands_at_the_end_of_the_queue() -> None:
    """Waiting is counted from each yield."""

    def twice() -> Workflow[list[Any]]:
        first = yield from signal("word")
        return [first, (yield from signal("word"))]

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(twice(), listener("word")))

    assert [["a", "c"], "b"] == World(both()).signal("word", "a").signal("word", "b").signal("word", "c").result


def test_a_waiter_that_is_withdrawn_leaves_the_queue() -> None:
    """The next in line takes the message."""

    @workflow
    def leaving() -> Workflow[Any]:
        first = yield from spawn(listener("word"))
        second = yield from spawn(listener("word"))
        yield from sleep(1)
        yield from cancel(first)
        return (yield from join(second))

    assert "for the second" == World(leaving()).fire("2").signal("word", "for the second").result


# ---- types -------------------------------------------------------------------------------------------------------------------


def test_a_message_of_the_wrong_type_raises_at_the_wait() -> None:
    """It is consumed; an engine refuses it before it is journaled, where it can."""

    @workflow
    def typed() -> Workflow[str]:
        try:
            yield from signal("n", int)
        except PayloadError as unfit:
            return str(unfit)
        return ""

    assert "signal 'n': expected int, got str 'x'" == World(typed()).signal("n", "x").result


def test_an_early_message_of_the_wrong_type_raises_at_the_wait_too() -> None:
    """And the next one is there."""

    @workflow
    def typed() -> Workflow[int]:
        yield from sleep(1)
        try:
            yield from signal("n", int)
        except PayloadError:
            pass
        return (yield from signal("n", int))

    assert 3 == World(typed()).signal("n", "x").signal("n", 3).fire("0").result


def test_an_engine_can_ask_whether_a_message_fits_whoever_waits() -> None:
    """Before it journals it; what nobody waits for cannot be judged."""
    machine = World(approval()).machine

    assert "" == machine.refuses_signal("approved", b"true")
    assert "signal 'approved': expected bool, got str 'yes'" == machine.refuses_signal("approved", b'"yes"')
    assert "" == machine.refuses_signal("other", b'"yes"')


# ---- timeouts ----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def patient(default: bool) -> Workflow[Any]:
    if default:
        return (yield from signal("go", timeout=5, default=None))
    return (yield from signal("go", timeout=5))


def test_a_wait_with_a_timeout_has_its_timer_under_its_own_id() -> None:
    """One command, two ways to end."""
    world = World(patient(False))

    assert ["0"] == world.ids
    assert START + 5 * SECOND == world.command("0").due


def test_whichever_event_comes_first_in_the_journal_decides() -> None:
    """The message, though its time is over already."""
    world = World(patient(False)).later(60).signal("go", "just")

    assert "just" == world.result


def test_when_the_time_is_over_timed_out_is_raised() -> None:
    """With what was waited for."""
    world = World(patient(False)).fire("0")

    assert isinstance(world.error, TimedOut)
    assert "signal go did not end within 5 s" == str(world.error)


def test_a_default_is_the_answer_when_the_time_is_over() -> None:
    """None can be a default."""
    assert World(patient(True)).fire("0").result is None


def test_a_message_after_the_time_is_over_is_kept_for_the_next_wait() -> None:
    """It is not lost."""

    @workflow
    def twice() -> Workflow[list[Any]]:
        first = yield from signal("go", timeout=5, default="none")
        yield from double(1)
        return [first, (yield from signal("go"))]

    assert ["none", "late"] == World(twice()).fire("0").signal("go", "late").answer("1", 2).result


def test_a_message_that_is_there_already_needs_no_timer() -> None:
    """Also when the timeout is nought."""

    @workflow
    def impatient() -> Workflow[list[Any]]:
        yield from sleep(1)
        return [(yield from signal("go", timeout=0, default="none")), (yield from signal("go", timeout=0, default="none"))]

    world = World(impatient()).signal("go", "here").fire("0")
    assert ["2"] == world.ids
    assert ["here", "none"] == world.fire("2").result


def test_a_timer_of_a_wait_that_is_over_does_not_fit() -> None:
    """The engine drops it; a journal that holds it is another run's."""
    world = World(listening(2)).signal("word", 1)

    with pytest.raises(NonDeterminismError):
        world.feed(events.TIMER_FIRED, "0", "word")


def test_a_timer_for_a_wait_without_timeout_does_not_fit() -> None:
    """It never had one."""
    with pytest.raises(NonDeterminismError):
        World(listening(1)).feed(events.TIMER_FIRED, "0", "word")


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e30])
def test_a_timeout_without_a_sensible_span_is_refused(seconds: float) -> None:
    """Where it is written."""
    with pytest.raises(EffectError, match="signal 'go' with a timeout of"):
        signal("go", timeout=seconds)


def test_a_default_without_a_timeout_is_refused() -> None:
    """It would never be used."""
    with pytest.raises(EffectError, match="signal 'go' has a default and no timeout"):
        signal("go", default=1)


# ---- what is left ------------------------------------------------------------------------------------------------------------


def test_messages_of_the_journal_before_are_there_from_the_start() -> None:
    """``continue_as_new`` hands them on."""
    world = World(listening(2), mail=(("word", b"1"), ("other", b"2"), ("word", b"3")))

    assert [1, 3] == world.result
    assert (("other", b"2"),) == world.machine.unread()


def test_replay_sees_the_same_messages() -> None:
    """At every event."""

    @workflow
    def mixed() -> Workflow[Any]:
        first = yield from gather(listener("a"), listener("b"), signal("a", timeout=3, default="over"))
        yield from undo("x")
        return first, (yield from signal("a"))

    world = World(mixed()).signal("b", 1)
    for value in (2, 3, 4):
        assert standing(world.machine) == standing(world.again())
        world.signal("a", value)
    assert standing(world.machine) == standing(world.again())
    assert [[2, 1, 3], 4] == world.answer("1").result
