"""What becomes of a step: retries, timeouts, odd failures, odd results, and what it may know of itself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from replay import (
    Engine,
    InvalidRequest,
    Retry,
    RunFailed,
    StepFailed,
    StepInfo,
    TimedOut,
    Workflow,
    gather,
    signal,
    step,
    step_info,
    workflow,
)
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, kinds, let_pass, named, reaches, until

QUICK = Retry(max_attempts=4, initial=0, jitter=0)


class PaymentDeclined(Exception):
    """A failure that a workflow wants to catch as itself."""


def caught_from(engine: Engine, failing: Any, *args: Any) -> Any:
    """What a workflow catches when it yields a step that fails."""
    caught: list[BaseException] = []

    @workflow
    def flow() -> Workflow[str]:
        try:
            yield from failing(*args)
        except Exception as error:  # noqa: BLE001 - what comes is what is asked for
            caught.append(error)
            return "caught"
        return "not raised"

    assert "caught" == engine.start(flow()).result(PATIENCE)
    return caught[0]


def test_a_step_is_tried_again_until_it_succeeds(engine: Engine) -> None:
    """Failed attempts are journaled, the answer once."""
    attempts: list[int] = []

    @step(retry=QUICK)
    def flaky() -> int:
        attempts.append(step_info().attempt)
        if len(attempts) < 3:
            raise OSError("not yet")
        return len(attempts)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from flaky())

    handle = engine.start(flow())

    assert 3 == handle.result(PATIENCE)
    assert [1, 2, 3] == attempts
    assert ["started", "step_attempt_failed", "step_attempt_failed", "step_completed", "completed"] == kinds(handle)


def test_a_step_gives_up_after_its_last_attempt(engine: Engine) -> None:
    """The workflow learns what was raised last, and how often it was tried."""

    @step(retry=QUICK)
    def broken() -> int:
        raise OSError("never")

    error = caught_from(engine, broken)

    assert isinstance(error, StepFailed)
    assert ("broken", "OSError", "never", 4) == (error.step, error.error_type, error.message, error.attempts)
    assert "raise OSError" in error.traceback


def test_only_what_is_worth_it_is_tried_again(engine: Engine) -> None:
    """``retry_on`` and ``give_up_on`` decide by the exception's type."""
    attempts: list[str] = []

    @step(retry=Retry(max_attempts=5, initial=0, retry_on=(OSError,), give_up_on=(FileNotFoundError,)))
    def picky(kind: str) -> int:
        attempts.append(kind)
        raise {"lost": FileNotFoundError, "wrong": ValueError, "busy": BlockingIOError}[kind](kind)

    for kind in ("lost", "wrong", "busy"):
        caught_from(engine, picky, kind)

    assert ["lost", "wrong", "busy", "busy", "busy", "busy", "busy"] == attempts


def test_back_off_waits_for_its_time(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """The second attempt follows the pause, measured by the store's clock; the run is parked meanwhile."""
    engine = open_engine(clock=clock)
    attempts: list[int] = []

    @step(retry=Retry(max_attempts=3, initial=600, factor=2, max_delay=3600, jitter=0))
    def flaky() -> int:
        attempts.append(clock.now())
        if len(attempts) < 3:
            raise OSError("not yet")
        return len(attempts)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from flaky())

    handle = engine.start(flow())
    until(lambda: named(handle, "step_attempt_failed"), engine.store)
    let_pass(engine, clock, 1)
    assert "waiting" == reaches(handle, "waiting")
    let_pass(engine, clock, 598)
    assert 1 == len(attempts)
    let_pass(engine, clock, 2)
    until(lambda: 2 == len(named(handle, "step_attempt_failed")), engine.store)
    let_pass(engine, clock, 1201)

    assert 3 == handle.result(PATIENCE)
    assert attempts[1] - attempts[0] >= 600_000_000
    assert attempts[2] - attempts[1] >= 1_200_000_000


def test_back_off_survives_a_restart(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Neither the attempts made nor the pause between them are forgotten."""
    attempts: list[tuple[int, int]] = []

    @step(retry=Retry(max_attempts=2, initial=3600, max_delay=3600, jitter=0))
    def flaky() -> int:
        attempts.append((step_info().attempt, clock.now()))
        raise OSError("never")

    @workflow
    def flow() -> Workflow[int]:
        return (yield from flaky())

    first = open_engine(clock=clock, workflows=[flow])
    handle = first.start(flow(), id="a")
    until(lambda: named(handle, "step_attempt_failed"), first.store)
    first.close()
    clock.advance(1800)
    second = open_engine(clock=clock, workflows=[flow])
    handle = second.get("a", flow)
    assert "waiting" == handle.status
    let_pass(second, clock, 1801)

    with pytest.raises(RunFailed, match="failed 2 times"):
        handle.result(PATIENCE)
    assert [1, 2] == [attempt for attempt, _ in attempts]
    assert attempts[1][1] - attempts[0][1] == 3601_000_000


def test_a_named_exception_comes_back_as_itself(engine: Engine) -> None:
    """``raises=`` lists what a workflow may catch by its own class."""

    @step(raises=[PaymentDeclined])
    def charge(card: str) -> str:
        raise PaymentDeclined(card, 42)

    error = caught_from(engine, charge, "visa")

    assert (PaymentDeclined, ("visa", 42)) == (type(error), error.args)


class Stubborn(Exception):
    """Cannot be pickled, printed or shown."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class Enormous(Exception):
    """Its message would fill a journal."""

    def __str__(self) -> str:
        return "x" * 50_000_000


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [
        (Stubborn, f"{__name__}.Stubborn"),
        (Enormous, f"{__name__}.Enormous"),
        (SystemExit, "SystemExit"),
        (KeyboardInterrupt, "KeyboardInterrupt"),
        (GeneratorExit, "GeneratorExit"),
        (StopIteration, "StopIteration"),
        (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\udcff"), "UnicodeDecodeError"),
        (lambda: ExceptionGroup("many", [ValueError(1), OSError(2)]), "ExceptionGroup"),
        (asyncio.CancelledError, "asyncio.exceptions.CancelledError"),
        (RecursionError, "RecursionError"),
    ],
    ids=["stubborn", "enormous", "exit", "interrupt", "generator", "stop", "unicode", "group", "cancelled", "recursion"],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "coroutine"])
def test_whatever_a_step_raises_is_a_bounded_failure(engine: Engine, raised: Any, error_type: str, is_async: bool) -> None:
    """Nothing that a step raises ends the engine, or makes a huge event."""

    @step(name="wild")
    def plain() -> int:
        raise raised()

    @step(name="wild")
    async def coroutine() -> int:
        raise raised()

    error = caught_from(engine, coroutine if is_async else plain)

    assert isinstance(error, StepFailed)
    expected = "RuntimeError" if is_async and raised is StopIteration else error_type
    assert expected == error.error_type
    assert len(error.message) + len(error.traceback) < 20_000


def test_a_result_that_does_not_fit_its_annotation_is_a_failure(engine: Engine) -> None:
    """It is refused where it was made, before anything is journaled, and not tried again."""
    attempts: list[int] = []

    @step(retry=QUICK)
    def lie() -> int:
        attempts.append(1)
        return "no number"  # type: ignore[return-value]  # that is the point

    error = caught_from(engine, lie)

    assert "replay.errors.PayloadError" == error.error_type
    assert "result of step lie" in error.message
    assert [1] == attempts


def test_a_result_that_cannot_be_written_is_a_failure(engine: Engine) -> None:
    """A lock is no data."""

    @step
    def lock() -> Any:
        return threading.Lock()

    assert "replay.errors.PayloadError" == caught_from(engine, lock).error_type


@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "coroutine"])
def test_a_result_that_is_too_large_is_a_failure(open_engine: OpenEngine, is_async: bool) -> None:
    """The limit is named, and what to do instead."""
    engine = open_engine(max_payload=1000)

    @step(name="fill")
    def plain() -> str:
        return "x" * 2000

    @step(name="fill")
    async def coroutine() -> str:
        return "x" * 2000

    error = caught_from(engine, coroutine if is_async else plain)

    assert "replay.errors.PayloadTooLarge" == error.error_type
    assert "2,002 bytes" in error.message
    assert "1,000" in error.message


def test_a_workflow_result_that_is_too_large_fails_the_run(open_engine: OpenEngine) -> None:
    """It ends as failed, with the limit in its message, instead of writing what no reader expects; replay agrees."""
    engine = open_engine(max_payload=1000)

    @workflow
    def flow() -> Workflow[str]:
        yield from gather()
        return "x" * 2000

    handle = engine.start(flow())

    with pytest.raises(RunFailed, match="2,002 bytes") as caught:
        handle.result(PATIENCE)
    assert ("failed", "replay.errors.PayloadTooLarge") == (caught.value.status, caught.value.error_type)
    assert handle.replay().fits


@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "coroutine"])
def test_a_step_that_takes_too_long_has_failed(open_engine: OpenEngine, clock: VirtualClock, is_async: bool) -> None:
    """Time counts from when its body began; a thread is told, a coroutine is cancelled."""
    engine = open_engine(clock=clock)
    gate = Gate()
    ends: list[str] = []

    @step(timeout=30, name="slow")
    def plain() -> int:
        gate.enter()
        ends.append(f"cancelled: {step_info().cancelled}")
        gate.entered.release()
        return 1

    @step(timeout=30, name="slow")
    async def coroutine() -> int:
        gate.entered.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled: True")
            gate.entered.release()
            raise
        return 1

    @workflow
    def flow() -> Workflow[str]:
        try:
            yield from (coroutine if is_async else plain)()
        except TimedOut as error:
            return f"{error.what} {error.seconds}"
        return "in time"

    handle = engine.start(flow())
    gate.await_entry()
    let_pass(engine, clock, 31)

    assert "step slow 30" == handle.result(PATIENCE)
    gate.open()
    gate.await_entry()
    assert ["cancelled: True"] == ends


def test_waiting_for_a_thread_does_not_count_as_taking_long(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """With one thread, the second step of a gather waits for the first; its own time begins when it does."""
    engine = open_engine(clock=clock, threads=1)
    gate, second = Gate(), Gate()

    @step
    def long() -> str:
        gate.enter()
        return "long"

    @step(timeout=30)
    def short() -> str:
        second.enter()
        return "short"

    @workflow
    def flow() -> Workflow[list[str]]:
        return list((yield from gather(long(), short())))

    handle = engine.start(flow())
    gate.await_entry()
    let_pass(engine, clock, 60)
    gate.open()
    second.await_entry()
    let_pass(engine, clock, 29)
    second.open()

    assert ["long", "short"] == handle.result(PATIENCE)


def test_a_timed_out_step_is_tried_again(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """A timeout is a failure like any other."""
    engine = open_engine(clock=clock)
    gate = Gate()

    @step(timeout=30, retry=Retry(max_attempts=2, initial=0, jitter=0))
    def slow() -> int:
        if step_info().attempt == 1:
            gate.enter()
        return step_info().attempt

    @workflow
    def flow() -> Workflow[int]:
        return (yield from slow())

    handle = engine.start(flow())
    gate.await_entry()
    let_pass(engine, clock, 31)

    assert 2 == handle.result(PATIENCE)
    gate.open()
    assert ["started", "step_attempt_failed", "step_completed", "completed"] == kinds(handle)


def test_the_idempotency_key_stays_and_is_no_other_steps(engine: Engine) -> None:
    """It is the same over retries, and differs by place and by run."""
    keys: list[tuple[str, str]] = []

    @step(retry=QUICK)
    def use(name: str) -> int:
        me = step_info()
        keys.append((f"{me.run_id} {name}", me.idempotency_key))
        if me.attempt < 3:
            raise OSError("again")
        return 1

    @workflow
    def flow() -> Workflow[None]:
        yield from use("first")
        yield from gather(use("left"), use("right"))

    for name in ("a", "b"):
        engine.start(flow(), id=name).result(PATIENCE)

    assert 18 == len(keys)
    assert 6 == len(set(keys)) == len({key for _, key in keys})


def test_step_info_outside_a_step_is_an_error() -> None:
    """It says where it may stand."""
    with pytest.raises(InvalidRequest, match="body of a @step"):
        step_info()


def test_options_of_a_call_are_stronger_than_those_of_the_step(engine: Engine) -> None:
    """Retry policy and idempotency key by call."""
    keys: list[str] = []

    @step
    def flaky() -> int:
        keys.append(step_info().idempotency_key)
        if len(keys) == 1:
            raise OSError("once")
        return len(keys)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from flaky().options(retry=QUICK, id="mine"))

    assert 2 == engine.start(flow(), id="a").result(PATIENCE)
    assert ["a#mine", "a#mine"] == keys


def test_a_step_never_shares_a_value_with_its_workflow(engine: Engine) -> None:
    """Arguments were encoded at the call: what the step does to them is its own affair, and what the workflow does later too."""

    @step
    def spoil(items: list[int]) -> int:
        items.append(99)
        return len(items)

    @workflow
    def flow() -> Workflow[list[int]]:
        items = [1]
        call = spoil(items)
        items.append(2)
        counted = yield from call
        return [counted, *items]

    assert [2, 1, 2] == engine.start(flow()).result(PATIENCE)


def test_cancelling_may_wait_for_the_end_of_a_step(engine: Engine) -> None:
    """``on_cancel="wait"``: the step is told, the run ends when the step has."""
    gate = Gate()
    told: list[StepInfo] = []

    @step(on_cancel="wait")
    def careful() -> int:
        told.append(step_info())
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from careful())

    handle = engine.start(flow())
    gate.await_entry()
    handle.cancel("enough")
    until(lambda: told[0].cancelled, engine.store)
    assert "running" == handle.status
    gate.open()

    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)
    assert ["started", "cancel_requested", "step_completed", "cancelled"] == kinds(handle)


def test_cancelling_waits_for_no_attempt_that_was_never_begun(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """A step that is between two attempts has ended, as far as a cancellation is concerned."""
    engine = open_engine(clock=clock)
    attempts: list[int] = []

    @step(on_cancel="wait", retry=Retry(max_attempts=5, initial=3600, max_delay=3600, jitter=0))
    def broken() -> int:
        attempts.append(1)
        raise OSError("no")

    @workflow
    def flow() -> Workflow[int]:
        return (yield from broken())

    handle = engine.start(flow())
    until(lambda: named(handle, "step_attempt_failed"), engine.store)
    handle.cancel("enough")

    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)
    assert [1] == attempts


def test_a_cancelled_step_that_waits_for_a_thread_never_begins(open_engine: OpenEngine) -> None:
    """What is withdrawn before its body began is not done at all."""
    engine = open_engine(threads=1)
    gate = Gate()
    done: list[str] = []

    @step
    def block() -> int:
        gate.enter()
        return 1

    @step
    def act() -> int:
        done.append("acted")
        return 2

    @workflow
    def first() -> Workflow[int]:
        return (yield from block())

    @workflow
    def second() -> Workflow[int]:
        return (yield from act())

    blocked = engine.start(first())
    gate.await_entry()
    handle = engine.start(second())
    handle.cancel("enough")
    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)
    gate.open()
    blocked.result(PATIENCE)

    assert 1 == engine.start(first()).result(PATIENCE)  # the one thread has passed the withdrawn job
    assert [] == done


def test_many_cancelled_coroutines_leave_room_for_others(open_engine: OpenEngine) -> None:
    """A coroutine that is cancelled before it has begun still gives its place back."""
    engine = open_engine(steps=4)

    @step
    async def wait() -> int:
        await asyncio.Event().wait()
        return 1

    @step
    async def quick() -> int:
        return 2

    @workflow
    def flow() -> Workflow[int]:
        yield from gather(*[wait() for _ in range(4)], signal("stop"), min_successful=1)
        return (yield from quick())

    for _ in range(20):
        handle = engine.start(flow())
        handle.signal("stop")
        assert 2 == handle.result(PATIENCE)
    assert not [attempt for attempt in engine.worker.actor.attempts.values() if attempt.began is None]


def test_a_waiting_step_of_one_run_does_not_hold_up_another(open_engine: OpenEngine) -> None:
    """Room is given to runs in turn: a single step needs not wait for ten thousand of another run."""
    engine = open_engine(threads=1, steps=1)
    gate = Gate()
    order: list[str] = []

    @step
    def work(name: str) -> str:
        if name == "first":
            gate.enter()
        order.append(name)
        return name

    @workflow
    def crowd() -> Workflow[int]:
        return len((yield from gather(work("first"), *[work("crowd") for _ in range(2000)])))

    @workflow
    def single() -> Workflow[str]:
        return (yield from work("single"))

    many = engine.start(crowd())
    gate.await_entry()
    one = engine.start(single())
    reaches(one, "running")
    gate.open()

    assert "single" == one.result(PATIENCE)
    assert order.index("single") < 200
    assert 2001 == many.result(PATIENCE)
