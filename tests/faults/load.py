"""A mixed load for killing its workers: every workflow has one right result, and every step leaves a line on disk when it begins.

A line is written with one ``write`` to a file opened for appending, and synced before the step goes on. So what was begun is known
even when the process is gone a microsecond later, and can be compared with the journals.
"""

from __future__ import annotations

import os
import random as chances
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg

from replay import (
    Client,
    Handle,
    Retry,
    Start,
    StepInterrupted,
    Workflow,
    callback,
    continue_as_new,
    gather,
    info,
    on_update,
    publish,
    savepoint,
    send_signal,
    set_state,
    signal,
    sleep,
    start_child,
    step,
    step_info,
    workflow,
)
from replay import join as join_child

LOG_FILE: Final = "REPLAY_CHAOS_LOG"
"""Environment variable that names the file of executions."""
TOPIC: Final = "chaos"
"""Where every run publishes what it has done."""
PAUSE: Final = 0.004
"""Seconds that a step or a pause takes."""
BRIEFLY: Final = Retry(max_attempts=4, initial=PAUSE, jitter=0)


def note_beginning() -> None:
    """One line: key of the step, attempt, moment in microseconds, process."""
    me = step_info()
    line = f"{me.idempotency_key} {me.attempt} {time.time_ns() // 1000} {os.getpid()}\n"
    file = os.open(os.environ[LOG_FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


# ---- steps ---------------------------------------------------------------------------------------------------------------


@step
def chaos_work(number: int) -> int:
    note_beginning()
    time.sleep(PAUSE)
    return number


@step
async def chaos_await(number: int) -> int:
    note_beginning()
    return number


@step(retry=BRIEFLY)
def chaos_flaky(number: int) -> int:
    note_beginning()
    if step_info().attempt <= number % 3:
        raise OSError(f"attempt {step_info().attempt}")
    return number


@step(at_most_once=True)
def chaos_once(number: int) -> int:
    note_beginning()
    return number


@step(transactional=True)
def chaos_book(number: int, *, connection: Any = None) -> int:
    from sqlalchemy import text

    key = step_info().idempotency_key
    connection.execute(text("INSERT INTO chaos_ledger VALUES (:key, :number)"), {"key": key, "number": number})
    return number


# ---- workflows -----------------------------------------------------------------------------------------------------------


@workflow
def chaos_row(count: int) -> Workflow[int]:
    """Steps one after the other, a word after each."""
    total = 0
    for number in range(count):
        total += yield from chaos_work(number)
        yield from publish(TOPIC, [(yield from info()).run_id, number])
    return total


@workflow
def chaos_crowd(count: int) -> Workflow[int]:
    """Steps side by side, some at a time."""
    answers = yield from gather(*[chaos_work(n) if n % 2 else chaos_await(n) for n in range(count)], limit=5)
    return sum(answers)


@workflow
def chaos_naps(count: int) -> Workflow[int]:
    """Sleeps, and steps that need several attempts."""
    total = 0
    for number in range(count):
        yield from sleep(PAUSE * (1 + number % 5))
        total += yield from chaos_flaky(number)
    return total


@workflow
def chaos_ping(partner: str, count: int) -> Workflow[int]:
    """Two runs that send each other numbers."""
    total = 0
    for number in range(count):
        yield from send_signal(partner, "ball", number)
        total += yield from signal("ball", int)
    return total


@workflow
def chaos_parent(count: int) -> Workflow[int]:
    """Children side by side, and one that is joined later."""
    later = yield from start_child(chaos_row(3))
    answers = yield from gather(*[chaos_crowd(2 + n) for n in range(count)])
    return sum(answers) + (yield from join_child(later))


@workflow
def chaos_agent(turns: int, state: list[int] | None = None) -> Workflow[int]:
    """A loop that is recovered from its state."""
    done = state or []
    while len(done) < turns:
        done = [*done, (yield from chaos_work(len(done)))]
        yield from savepoint("turn", state=done)
        yield from set_state("turns", len(done))
    return sum(done)


@workflow
def chaos_rounds(left: int, heard: list[int]) -> Workflow[list[int]]:
    """A fresh journal after each message; messages that came early are carried over."""
    number = yield from signal("number", int)
    heard = [*heard, (yield from chaos_work(number))]
    if left > 1:
        yield from continue_as_new(left - 1, heard)
    return heard


@workflow
def chaos_account() -> Workflow[int]:
    """Updates from outside, until it is closed."""
    balance = 0

    def deposit(cents: int) -> Workflow[int]:
        nonlocal balance
        worked = yield from chaos_work(cents)  # not `balance += yield …`: it would read the balance before others change it
        balance += worked
        return balance

    yield from on_update("deposit", deposit, type=int, returns=int)
    yield from signal("close")
    return balance


@workflow
def chaos_payments(count: int) -> Workflow[int]:
    """Steps that are never begun twice; an unknown end counts as paid."""
    total = 0
    for number in range(count):
        try:
            total += yield from chaos_once(number)
        except StepInterrupted:
            total += number
        yield from chaos_work(number)
    return total


@workflow
def chaos_books(count: int) -> Workflow[int]:
    """SQL of one's own in the transaction of the answer."""
    total = 0
    for number in range(count):
        total += yield from chaos_book(number)
        yield from sleep(PAUSE)
    return total


@workflow
def chaos_question() -> Workflow[int]:
    """A question that an outside system answers by its token."""
    question = yield from callback(int)
    yield from set_state("token", question.token)
    return (yield from question) + (yield from chaos_work(1))


WORKFLOWS: Final[list[Any]] = [
    chaos_row,
    chaos_crowd,
    chaos_naps,
    chaos_ping,
    chaos_parent,
    chaos_agent,
    chaos_rounds,
    chaos_account,
    chaos_payments,
    chaos_books,
    chaos_question,
]


# ---- what is started, and what must come of it -----------------------------------------------------------------------------


@attrs.frozen
class Errand:
    """Runs to start, what to tell them, and the one right result.

    Attributes:
        id: The run's id.
        call: The workflow's call.
        expected: Its result.
        told: Tells it what it needs; may be called again and again, and is told whether that is all.
        words: How many entries it publishes.
    """

    id: str
    call: Any
    expected: Any
    told: Callable[[Any], bool] = lambda _handle: True
    words: int = 0


def errands(name: str, chance: chances.Random, *, transactions: bool) -> list[Errand]:
    """One of each kind, of varied size."""
    size = chance.randint(2, 8)
    made = [
        Errand(f"{name}-row", chaos_row(size), sum(range(size)), words=size),
        Errand(f"{name}-crowd", chaos_crowd(3 * size), sum(range(3 * size))),
        Errand(f"{name}-naps", chaos_naps(size), sum(range(size))),
        Errand(f"{name}-ping", chaos_ping(f"{name}-pong", size), sum(range(size))),
        Errand(f"{name}-pong", chaos_ping(f"{name}-ping", size), sum(range(size))),
        Errand(f"{name}-parent", chaos_parent(2), 0 + 1 + 0 + 1 + 2 + 0 + 1 + 2),
        Errand(f"{name}-agent", chaos_agent(size), sum(range(size))),
        Errand(f"{name}-rounds", chaos_rounds(size, []), list(range(size)), tell_numbers(size)),
        Errand(f"{name}-account", chaos_account(), sum(range(size)), tell_deposits(size)),
        Errand(f"{name}-payments", chaos_payments(size), sum(range(size))),
        Errand(f"{name}-question", chaos_question(), 42 + 1, tell_answer),
    ]
    if transactions:
        made.append(Errand(f"{name}-books", chaos_books(size), sum(range(size))))
    return made


def begin(client: Client, batch: list[Errand]) -> list[Handle[Any]]:
    """All at once: those who send each other messages must be there before the first is sent."""
    return client.start_many([Start(errand.call, errand.id) for errand in batch])


def tell_numbers(count: int) -> Callable[[Any], bool]:
    """Signals in order, each sent twice under one id."""

    def tell(handle: Any) -> bool:
        for number in range(count):
            for _ in range(2):
                handle.signal("number", number, id=f"n{number}")
        return True

    return tell


def tell_deposits(count: int) -> Callable[[Any], bool]:
    """Updates; when all of them were answered, the account is closed."""
    replies: list[Any] = []

    def tell(handle: Any) -> bool:
        if not replies:
            replies.extend(handle.update("deposit", number, id=f"d{number}") for number in range(count))
        if len(handle.journal()) < 1 + 2 * count:  # an update and its step for each
            return False
        handle.signal("close")
        return True

    return tell


def tell_answer(handle: Any) -> bool:
    """Answer the question once it was asked."""
    token = handle.state().get("token")
    if token is None:
        return False
    handle.client.answer(token, 42)
    return True


LEDGER: Final = "CREATE TABLE IF NOT EXISTS chaos_ledger (key TEXT, number INTEGER)"
"""Where ``chaos_book`` books."""


def prepare(url: str) -> None:
    """Make the ledger, where the store has transactions to share."""
    with database(url) as connection:
        if connection is not None:
            connection.execute(LEDGER)
            connection.commit()


def ledger(url: str) -> list[str]:
    """The keys of steps that were booked."""
    with database(url) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM chaos_ledger").fetchall()]


@contextmanager
def database(url: str) -> Iterator[Any]:
    """A connection of one's own to a store's database; None where there is none."""
    place, _, _ = url.partition("?")
    connection: Any = None
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(place.removeprefix("sqlite:///"))
    elif url.startswith("postgres"):
        connection = psycopg.connect(place)
    yield connection
    if connection is not None:
        connection.close()


def executions(path: Path) -> list[tuple[str, int, int, int]]:
    """What was begun: key, attempt, moment, process. A line that was cut short by a kill was never synced: nothing followed it."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        parts = line.split(" ")
        if len(parts) == 4:
            found.append((parts[0], int(parts[1]), int(parts[2]), int(parts[3])))
    return found
