"""Updates: a question that changes the run, and its reply."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, PayloadError, Workflow, gather, on_update, publish, signal, sleep, workflow
from replay.errors import NonDeterminismError
from tests.interpreter.world import World, double, drain, standing, undo, unlisted


@workflow
@unlisted
def counter() -> Workflow[int]:
    total = 0

    def add(n: int) -> int:
        nonlocal total
        total += n
        return total

    def positive(n: int) -> None:
        if n <= 0:
            raise ValueError("give me more")

    yield from on_update("add", add, type=int, returns=int, validator=positive)
    yield from signal("stop")
    return total


@workflow
@unlisted
def slow() -> Workflow[list[int]]:
    done: list[int] = []

    def work(n: int) -> Workflow[str]:
        twice = yield from double(n)
        again = yield from double(twice)
        done.append(again)
        return f"got {again}"

    yield from on_update("work", work)
    yield from signal("stop")
    return done


def test_a_plain_handler_replies_at_once() -> None:
    """Its result is the reply; the workflow's variables have changed."""
    world = World(counter()).update("add", 3, message="m1")
    assert [("u0/reply", "reply", "m1", "ok", 3)] == world.said

    world.update("add", 4, message="m2")
    assert [("u1/reply", "reply", "m2", "ok", 7)] == world.said
    assert 7 == world.signal("stop").result


def test_a_generator_handler_may_yield_effects() -> None:
    """It is a fiber of its own, beside the root."""
    world = World(slow()).update("work", 1, message="m1")
    assert ["0 signal stop", "u0/0 step double(1)"] == world.pending
    assert [] == world.said

    world.answer("u0/0", 2).answer("u0/1", 4)
    assert [("u0/reply", "reply", "m1", "ok", "got 4")] == world.said
    assert [4] == world.signal("stop").result


def test_several_updates_are_under_way_side_by_side() -> None:
    """Each under its own number, each replying when it is done."""
    world = World(slow()).update("work", 1, message="m1").update("work", 10, message="m2")
    assert ["0", "u0/0", "u1/0"] == world.ids

    world.answer("u1/0", 20).answer("u1/1", 40)
    assert ["m2"] == [target for _, _, target, _, _ in world.said]

    world.answer("u0/0", 2).answer("u0/1", 4)
    assert ["m1"] == [target for _, _, target, _, _ in world.said]
    assert [40, 4] == world.signal("stop").result


def test_a_handler_that_raises_replies_with_the_failure() -> None:
    """The run goes on."""

    @workflow
    def grumpy() -> Workflow[str]:
        def no(value: Any) -> None:
            raise LookupError(f"no {value}")

        yield from on_update("ask", no)
        yield from signal("stop")
        return "fine"

    world = World(grumpy()).update("ask", "way", message="m1")
    [(identity, name, target, label, reply)] = world.said
    assert ("u0/reply", "reply", "m1", "error") == (identity, name, target, label)
    assert ("LookupError", "no way") == (reply["type"], reply["message"])
    assert "fine" == world.signal("stop").result


def test_a_generator_handler_that_fails_replies_with_the_failure() -> None:
    """Of the step that failed."""
    world = World(slow()).update("work", 1).fail("u0/0", "ValueError", "no")

    assert "replay.errors.StepFailed" == world.said[0][4]["type"]
    assert [] == world.signal("stop").result


def test_a_reply_that_does_not_fit_is_a_failed_update() -> None:
    """The handler's promise was broken, the run was not."""

    @workflow
    def liar() -> Workflow[str]:
        yield from on_update("ask", lambda value: value, returns=int)
        yield from signal("stop")
        return "fine"

    world = World(liar()).update("ask", "x")
    assert ("error", "replay.errors.PayloadError") == (world.said[0][3], world.said[0][4]["type"])
    assert "fine" == world.signal("stop").result


def test_a_handler_may_say_something_too() -> None:
    """Outputs of its fiber are numbered there, and come before its reply."""

    @workflow
    def loud() -> Workflow[None]:
        def shout(value: str) -> Workflow[str]:
            yield from publish("news", value)
            return value.upper()

        yield from on_update("shout", shout)
        yield from signal("stop")

    world = World(loud()).update("shout", "hey", message="m")

    assert [("u0/o0", "publish", "news", "", "hey"), ("u0/reply", "reply", "m", "ok", "HEY")] == world.said


def test_handlers_are_found_by_name_and_the_newest_counts() -> None:
    """Registering again replaces."""

    @workflow
    def changing() -> Workflow[None]:
        yield from on_update("ask", lambda _: "old")
        yield from on_update("other", lambda _: "other")
        yield from signal("next")
        yield from on_update("ask", lambda _: "new")
        yield from signal("stop")

    world = World(changing())
    assert "old" == world.update("ask").said[0][4]
    assert "other" == world.update("other").said[0][4]
    assert "new" == world.signal("next").update("ask").said[0][4]


def test_registering_takes_no_command_number() -> None:
    """It asks nothing of the world."""
    assert ["0 signal stop"] == World(counter()).pending


# ---- what an engine asks first -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("add", b"3", ""),
        ("add", b"-3", "ValueError: give me more"),
        ("add", b'"x"', "PayloadError: argument of update 'add': expected int, got str 'x'"),
        ("sub", b"3", "no update 'sub'; known: add"),
    ],
)
def test_an_engine_asks_before_it_journals(name: str, payload: bytes, reason: str) -> None:
    """A refused update leaves no trace."""
    world = World(counter())

    assert reason == world.machine.refuses_update(name, payload)
    assert [] == drain(world.machine)
    assert 0 == world.signal("stop").result


def test_an_update_that_nothing_handles_does_not_fit() -> None:
    """It was handled when the journal was written."""
    with pytest.raises(NonDeterminismError, match="handles no update 'sub'; known: add"):
        World(counter()).update("sub", 1)


def test_an_update_after_the_end_does_not_fit() -> None:
    """The engine refuses it."""
    world = World(counter()).signal("stop")

    with pytest.raises(NonDeterminismError, match="the workflow has ended: completed 0"):
        world.update("add", 1)


def test_a_recorded_argument_that_no_longer_fits_is_a_failed_update() -> None:
    """The caller is told; the run goes on as it did."""
    world = World(counter()).update("add", "x")

    assert ("error", "replay.errors.PayloadError") == (world.said[0][3], world.said[0][4]["type"])
    assert 0 == world.signal("stop").result


# ---- the end -----------------------------------------------------------------------------------------------------------------


def test_an_update_that_is_under_way_when_the_run_ends_is_cancelled() -> None:
    """Its caller is told so, and the run ends after it."""
    world = World(slow()).update("work", 1, message="m1").signal("stop")

    assert ["u0/0"] == world.withdrawn
    assert [("m1", "error", "replay.errors.Cancelled")] == [(t, label, reply["type"]) for _, _, t, label, reply in world.said]
    assert [] == world.result


def test_an_update_that_comes_while_the_run_ends_is_cancelled() -> None:
    """It is answered, and holds up nobody."""

    @workflow
    def ending() -> Workflow[str]:
        def work(n: int) -> Workflow[int]:
            try:
                return (yield from double(n))
            except Cancelled:
                yield from undo(str(n))
                raise

        yield from on_update("work", work)
        yield from signal("stop")
        return "done"

    world = World(ending()).update("work", 1, message="m1").signal("stop")
    assert ["u0/1"] == world.ids

    world.update("work", 2, message="m2")
    assert ["m2"] == [target for _, _, target, _, _ in world.said]
    assert ["u0/1"] == world.ids
    assert "done" == world.answer("u0/1").result


def test_an_update_may_wake_the_root() -> None:
    """By what they share."""

    @workflow
    def gate() -> Workflow[Any]:
        seen: list[int] = []

        def put(n: int) -> int:
            seen.append(n)
            return len(seen)

        yield from on_update("put", put)
        while len(seen) < 2:
            yield from sleep(1)
        yield from gather(double(1), double(2))
        return seen

    world = World(gate()).update("put", 5).fire("0").update("put", 6).fire("1")
    assert ["2/0/0", "2/1/0"] == world.ids
    assert standing(world.machine) == standing(world.again())


def test_the_type_of_an_update_is_checked_at_its_border_only() -> None:
    """A validator that raises what is no PayloadError refuses as well."""

    @workflow
    def picky() -> Workflow[None]:
        def refuse(_value: Any) -> None:
            raise PayloadError("here", "nothing", "something")

        yield from on_update("x", lambda value: value, validator=refuse)
        yield from signal("stop")

    assert "PayloadError: here: expected nothing, got something" == World(picky()).machine.refuses_update("x", b"1")
