"""Scenarios of what goes together badly: cancellation, children, pauses, deadlines and fresh journals in each other's way."""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

from typing import Any, Final

import sqlalchemy

import replay
from replay import CallbackFailed, Cancelled, ChildFailed, Retry, Workflow, step, workflow
from replay.testing import Scenario, Simulation
from tests.simulation.scenarios import add, double, flaky, sums, undo


@step(name="hard_stubborn", on_cancel="wait", retry=Retry(max_attempts=5, initial=3))
def stubborn(n: int) -> int:
    if replay.step_info().attempt < 4:
        raise ConnectionError("not yet")
    return n


@step(name="hard_hand_out")
def hand_out(token: str) -> str:
    return token


@step(name="hard_pay_in", transactional=True)
def pay_in(account: str, cents: int, connection: Any = None) -> int:
    connection.execute(sqlalchemy.text("create table if not exists accounts (name text, cents integer)"))
    connection.execute(sqlalchemy.text("insert into accounts values (:name, :cents)"), {"name": account, "cents": cents})
    return cents


@workflow(name="hard_waits_for_end")
def waits_for_end(n: int) -> Workflow[str]:
    """Cancelled while a step is under way whose end is awaited."""
    try:
        yield from replay.gather(stubborn(n), stubborn(n + 1), replay.sleep(days=3))
    except Cancelled:
        return (yield from undo("waited"))
    return "done"


@workflow(name="hard_nap")
def nap(n: int) -> Workflow[int]:
    """Sleeps for long; says when it is cancelled."""
    try:
        yield from replay.sleep(hours=n)
    except Cancelled:
        yield from undo(f"nap {n}")
        yield from replay.publish("naps", n)
        raise
    return n


@workflow(name="hard_policies")
def policies(n: int) -> Workflow[str]:
    """Ends while children of every policy are under way."""
    yield from replay.start_child(nap(n), on_parent_close="cancel")
    yield from replay.start_child(nap(n + 1), on_parent_close="abandon")
    yield from replay.start_child(nap(n + 2), on_parent_close="wait")
    winner, _ = yield from replay.race(nap(n + 3), double(n), nap(n + 4))
    return f"{winner}"


@workflow(name="hard_deadline")
def overdue(n: int) -> Workflow[list[int]]:
    """Has less time than its children want."""
    return list((yield from replay.gather(nap(n), nap(n + 1), stubborn(3))))


@workflow(name="hard_relay")
def relay(n: int) -> Workflow[int]:
    """Goes on in a fresh journal while messages arrive and children are under way."""
    got = yield from replay.signal("baton", int, timeout=7, default=-1)
    spawned = yield from replay.spawn(nap(100))
    yield from replay.publish("relay", [n, got])
    child = yield from replay.start_child(nap(1), on_parent_close="abandon")
    del spawned, child
    if n:
        yield from replay.continue_as_new(n - 1)
    return got


@workflow(name="hard_again", retry=Retry(max_attempts=4, initial=2))
def again(n: int) -> Workflow[int]:
    """Fails as a whole, with children and messages of its own, and begins again."""
    about = yield from replay.info()
    try:
        first = yield from grumpy(about.attempt)
    except ChildFailed:
        first = 0
    second = yield from replay.signal("more", int, timeout=5, default=0)
    if about.attempt < 3:
        raise RuntimeError(f"attempt {about.attempt}")
    yield from replay.set_state("sum", first + second)
    return first + second + n


@workflow(name="hard_grumpy")
def grumpy(attempt: int) -> Workflow[int]:
    """A child that fails at odd times."""
    if attempt % 2:
        raise ValueError("odd")
    return (yield from add(attempt, 100))


@workflow(name="hard_question")
def question(n: int) -> Workflow[str]:
    """Asks an outside system, which answers by a token."""
    asked = yield from replay.callback(str, timeout=3600)
    yield from replay.set_state("token", asked.token)
    yield from hand_out(asked.token)
    try:
        return (yield from asked)
    except CallbackFailed:
        return "refused"


@workflow(name="hard_picky", signals={"number": int})
def picky(n: int) -> Workflow[list[int]]:
    """Takes numbers only, and updates that its validator lets through."""
    seen: list[int] = []

    def below_ten(value: int) -> None:
        if value >= 10:
            raise ValueError("too large")

    def take(value: int) -> Workflow[int]:
        doubled = yield from double(value)
        seen.append(doubled)
        return doubled

    yield from replay.on_update("take", take, type=int, returns=int, validator=below_ten)
    while len(seen) < n:
        got = yield from replay.signal("number", int, timeout=4, default=0)
        if got:
            seen.append(got)
    return sorted(seen)


@workflow(name="hard_crowd")
def crowd(n: int) -> Workflow[int]:
    """Many branches, half of them cancelled by the first that are done."""
    answers = yield from replay.gather(*[_member(i) for i in range(n)], limit=n // 2, min_successful=n // 3)
    return sum(1 for answer in answers if answer is not None)


def _member(i: int) -> Workflow[int]:
    if i % 3 == 0:
        yield from replay.sleep(i)
    if i % 5 == 0:
        return (yield from flaky(i))
    return (yield from double(i))


@workflow(name="hard_bank")
def bank(n: int) -> Workflow[int]:
    """Steps that share the transaction of their answer."""
    about = yield from replay.info()
    total = 0
    for i in range(n):
        paid = yield from pay_in(about.run_id, i)
        total += paid
    return total


# ---- scenarios ------------------------------------------------------------------------------------------------------------


def stubborn_steps(world: Simulation) -> None:
    """Cancelled at several moments of their retries."""
    for i, seconds in enumerate((0.5, 4, 11)):
        handle = world.start(waits_for_end(i), id=f"stubborn-{i}")
        world.after(seconds, handle.cancel)


def parents(world: Simulation) -> None:
    """Children of every policy."""
    world.start(policies(2), id="policies")
    cancelled = world.start(policies(50), id="cancelled")
    world.after(3, cancelled.cancel)
    terminated = world.start(policies(100), id="terminated")
    world.after(3, terminated.terminate)


def deadlines(world: Simulation) -> None:
    """Deadlines are inherited."""
    world.start(overdue(1), id="soon", deadline=20)
    world.start(overdue(1), id="later", deadline=5_000)
    world.start(nap(1), id="waiting", delay=60, deadline=30)


def relays(world: Simulation) -> None:
    """Messages to a run whose journal changes under them."""
    handle = world.start(relay(4), id="relay")
    for i in range(4):
        world.after(5 * i, lambda i=i: handle.signal("baton", i))  # type: ignore[misc]  # bound early on purpose


def retries(world: Simulation) -> None:
    """Whole runs that begin again."""
    handle = world.start(again(1), id="again")
    world.after(4, lambda: handle.signal("more", 5))


def questions(world: Simulation) -> None:
    """Tokens, answered and refused."""
    for name, answer in (("answered", True), ("refused", False)):
        handle = world.start(question(1), id=name)

        def reply(name: str = name, answer: bool = answer) -> None:
            token = world.get(name).state().get("token")
            if token is None:
                world.after(5, reply)
            elif answer:
                world.answer(token, "yes")
            else:
                world.fail(token, "no")

        world.after(5, reply)
        del handle


def pickiness(world: Simulation) -> None:
    """Messages and updates that do not fit are refused without a trace."""
    handle = world.start(picky(4), id="picky")
    for i in range(1, 5):
        world.after(i, lambda i=i: handle.signal("number", i))  # type: ignore[misc]  # bound early on purpose
        world.after(i, lambda i=i: handle.update("take", 7 * i))  # type: ignore[misc]  # bound early on purpose


def crowds(world: Simulation) -> None:
    """Many branches."""
    world.start(crowd(24), id="crowd")
    cancelled = world.start(crowd(24), id="cancelled")
    world.after(0.2, cancelled.cancel)


def pauses(world: Simulation) -> None:
    """Paused and resumed, paused and cancelled, paused and terminated."""
    for i, end in enumerate(("resume", "cancel", "terminate")):
        handle = world.start(sums(5), id=f"paused-{end}")
        world.after(0.01 * i, handle.pause)
        world.after(20, getattr(handle, end))
        world.after(5_000, handle.resume)  # a pause may come last


def banks(world: Simulation) -> None:
    """Exactly once."""
    for i in range(2):
        world.start(bank(4), id=f"bank-{i}")


HARD: Final[tuple[Scenario, ...]] = (
    stubborn_steps, parents, deadlines, relays, retries, questions, pickiness, crowds, pauses,
)  # fmt: skip
