"""saga, poll, callback: patterns made of effects only."""

from __future__ import annotations

from typing import Any

import pytest

from replay import (
    CallbackFailed,
    Cancelled,
    CompensationFailed,
    EffectError,
    PayloadError,
    Saga,
    StepFailed,
    TimedOut,
    Workflow,
    callback,
    poll,
    saga,
    sleep,
    timeout,
    workflow,
)
from tests.interpreter.world import World, close_all, double, echo, standing, undo, unlisted


@pytest.fixture(autouse=True)
def _evicted() -> Any:
    yield
    close_all()


# ---- saga --------------------------------------------------------------------------------------------------------------------


def booking(trip: Saga) -> Workflow[int]:
    one = yield from double(1)
    trip.compensate(undo("one"))
    two = yield from double(2)
    trip.compensate(lambda: undo("two"))
    three = yield from double(3)
    return one + two + three


@workflow
@unlisted
def travel() -> Workflow[int]:
    return (yield from saga(booking))


def test_a_saga_that_succeeds_undoes_nothing() -> None:
    """Its result is its body's."""
    assert 12 == World(travel()).answer("0", 2).answer("1", 4).answer("2", 6).result


def test_a_saga_that_fails_undoes_what_was_done_in_reverse() -> None:
    """Then raises what its body raised."""
    world = World(travel()).answer("0", 2).answer("1", 4).fail("2", message="full")
    assert ['3/0/0 step undo("two")'] == world.pending
    assert ['4/0/0 step undo("one")'] == world.answer("3/0/0").pending

    world.answer("4/0/0")
    assert isinstance(world.error, StepFailed)
    assert "full" == world.error.message


def test_what_was_not_done_is_not_undone() -> None:
    """It was never remembered."""
    assert ['2/0/0 step undo("one")'] == World(travel()).answer("0", 2).fail("1").pending
    assert "failed" == World(travel()).fail("0").ending


def test_a_cancelled_saga_undoes_too_and_ends_as_cancelled() -> None:
    """Cancelling again does not cut it short."""
    world = World(travel()).answer("0", 2).answer("1", 4).cancel()
    assert ["3/0/0"] == world.ids

    world.cancel("again")
    assert ["3/0/0"] == world.ids
    assert "cancelled" == world.answer("3/0/0").answer("4/0/0").ending


def test_a_failed_compensation_does_not_stop_the_others() -> None:
    """All that failed are named; a person must look."""
    world = World(travel()).answer("0", 2).answer("1", 4).fail("2", message="full").fail("3/0/0", message="gone")
    assert ["4/0/0"] == world.ids

    world.answer("4/0/0")
    assert isinstance(world.error, CompensationFailed)
    assert ("replay.errors.StepFailed: step undo failed once: Boom: gone",) == world.error.failures
    assert "1 compensation(s) failed after replay.errors.StepFailed: step double failed once: Boom: full" in str(world.error)


def test_a_compensation_that_cannot_even_be_made_does_not_stop_the_others() -> None:
    """Its maker raises; it is one of those that failed."""

    def broken() -> Any:
        raise LookupError("no such booking")

    def body(trip: Saga) -> Workflow[None]:
        trip.compensate(undo("first"))
        trip.compensate(broken)
        yield from double(1)

    @workflow
    def trying() -> Workflow[None]:
        yield from saga(body)

    world = World(trying()).fail("0")
    assert ['1/0/0 step undo("first")'] == world.pending

    world.answer("1/0/0")
    assert isinstance(world.error, CompensationFailed)
    assert ("LookupError: no such booking",) == world.error.failures


def test_a_compensation_may_be_a_generator_of_effects() -> None:
    """Made when it is needed."""

    def both() -> Workflow[None]:
        yield from undo("a")
        yield from undo("b")

    def body(trip: Saga) -> Workflow[None]:
        trip.compensate(both)
        yield from double(1)

    @workflow
    def trying() -> Workflow[None]:
        yield from saga(body)

    world = World(trying()).fail("0")
    assert ['1/0/1 step undo("b")'] == world.answer("1/0/0").pending
    assert isinstance(world.answer("1/0/1").error, StepFailed)


def test_a_saga_replays_alike() -> None:
    """At every event."""
    world = World(travel()).answer("0", 2).answer("1", 4).fail("2")
    for command in ("3/0/0", "4/0/0"):
        assert standing(world.machine) == standing(world.again())
        world.answer(command)
    assert standing(world.machine) == standing(world.again())


# ---- poll --------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def waiting(deadline: float | None = None) -> Workflow[int]:
    return (yield from poll(lambda: double(1), lambda n: n > 5, every=1, factor=2, max_every=3, deadline=deadline))


def test_poll_asks_again_until_the_answer_pleases() -> None:
    """With pauses that grow up to a cap."""
    world = World(waiting())
    pauses = []
    for turn in range(4):
        world.answer(str(2 * turn), 0)
        pauses.append(str(world.command(str(2 * turn + 1)).effect))
        world.fire(str(2 * turn + 1))

    assert ["sleep 1 s", "sleep 2 s", "sleep 3 s", "sleep 3 s"] == pauses
    assert 6 == world.answer("8", 6).result


def test_poll_gives_up_when_no_answer_could_come_in_time() -> None:
    """It does not sleep past its deadline."""
    world = World(waiting(4)).answer("0/0/0", 0).fire("1").answer("2/0/0", 0).fire("3").answer("4/0/0", 0)

    assert isinstance(world.error, TimedOut)
    assert "poll did not end within 4 s" == str(world.error)


def test_the_own_limit_of_what_is_polled_is_not_the_poll_s() -> None:
    """It comes through as it is, for the poll has time left."""

    @workflow
    def waiting_shortly() -> Workflow[int]:
        return (yield from poll(lambda: timeout(double(1), 2), lambda n: n > 5, deadline=9))

    assert "the branch did not end within 2 s" == str(World(waiting_shortly()).fire("0/0/0/1/0").error)


def test_poll_passes_the_failure_of_its_step_on() -> None:
    """Retrying is the step's own business."""
    assert isinstance(World(waiting()).fail("0").error, StepFailed)


def test_poll_may_repeat_a_generator() -> None:
    """Made anew each time."""

    def twice() -> Workflow[int]:
        once = yield from double(1)
        return once + (yield from double(2))

    @workflow
    def polling() -> Workflow[int]:
        return (yield from poll(twice, lambda n: n > 5))

    world = World(polling()).answer("0", 1).answer("1", 1).fire("2")
    assert ["3"] == world.ids
    assert 6 == world.answer("3", 2).answer("4", 4).result


# ---- callback ----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def asking(timeout: float | None = None) -> Workflow[int]:
    question = yield from callback(int, timeout=timeout)
    yield from echo(question.token)
    return (yield from question)


def token_of(world: World) -> str:
    effect: Any = world.command("0").effect
    token: str = effect.payload.decode()[2:-2]
    return token


def test_a_callback_hands_out_a_token_and_waits_for_its_answer() -> None:
    """The token is made of the run's id and a UUID, the same in every replay."""
    world = World(asking(), run="r")
    run, _, name = token_of(world).partition("#")
    assert "r" == run
    assert [f"1 signal callback:{name}"] == world.answer("0", "sent").pending
    assert 5 == world.signal(f"callback:{name}", {"value": 5}).result
    assert token_of(World(asking(), run="r")) == f"r#{name}"


def test_an_answer_that_comes_before_the_wait_is_kept() -> None:
    """The outside may be quicker than the step that told it."""
    world = World(asking())
    name = token_of(world).partition("#")[2]

    assert 5 == world.signal(f"callback:{name}", {"value": 5}).answer("0", "sent").result


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"error": "refused"}, CallbackFailed, "was answered with a failure: refused"),
        ({"value": "five"}, PayloadError, "expected int, got str 'five'"),
        ({}, PayloadError, "expected int, got NoneType None"),
        (5, PayloadError, "answer of callback"),
        (None, PayloadError, "answer of callback"),
        ([], PayloadError, "answer of callback"),
    ],
)
def test_an_answer_that_is_a_failure_or_does_not_fit_raises_at_the_wait(answer: Any, error: type[Exception], message: str) -> None:
    """Where the workflow can catch it."""
    world = World(asking())
    name = token_of(world).partition("#")[2]
    world.answer("0", "sent").signal(f"callback:{name}", answer)

    assert isinstance(world.error, error)
    assert message in str(world.error)


def test_a_callback_may_time_out() -> None:
    """Counted from the wait."""
    world = World(asking(60)).later(30).answer("0", "sent").fire("1")

    assert isinstance(world.error, TimedOut)


def test_two_callbacks_have_two_tokens() -> None:
    """Nobody can answer one with the other."""

    @workflow
    def twice() -> Workflow[bool]:
        one = yield from callback()
        two = yield from callback()
        return one.token != two.token

    assert World(twice()).result is True


def test_a_callback_without_a_sensible_timeout_is_refused() -> None:
    """Where it is written."""

    @workflow
    def wrong() -> Workflow[None]:
        yield from callback(timeout=-1)

    assert isinstance(World(wrong()).error, EffectError)


def test_a_callback_that_is_cancelled_raises_cancelled() -> None:
    """As any wait."""

    @workflow
    def giving_up() -> Workflow[str]:
        question = yield from callback()
        try:
            yield from question
        except Cancelled:
            yield from sleep(1)
            return "gave up"
        return ""

    assert "gave up" == World(giving_up()).cancel().fire("1").result
