"""``@step(transactional=True)``: a step's own SQL and its answer commit together, or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from replay import (
    Engine,
    Retry,
    RunFailed,
    StepFailed,
    StoreUnavailable,
    Workflow,
    gather,
    random,
    set_state,
    signal,
    sleep,
    step,
    workflow,
)
from replay.store.contract import Claim, Lease
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, OpenEngine, between, crash, kinds, let_pass, named, until


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """Only SQL has transactions to share."""
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def ledger(tmp_path: Path, engine: Engine) -> Path:
    """A table of the user's own, in the file of the journals."""
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0));"
            "INSERT INTO account VALUES ('ann', 100), ('ben', 0);"
        )
    connection.close()
    return path


def balances(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT name, cents FROM account").fetchall())
    connection.close()
    return found


MOVE = "UPDATE account SET cents = cents + :cents WHERE name = :name"


@step(transactional=True)
def move(source: str, target: str, cents: int, *, connection: Any = None) -> int:
    connection.execute(text(MOVE), {"name": target, "cents": cents})
    connection.execute(text(MOVE), {"name": source, "cents": -cents})
    return cents


def test_sql_and_answer_commit_together(engine: Engine, ledger: Path) -> None:
    """The money has moved when, and only when, the journal says so."""

    @workflow
    def flow() -> Workflow[int]:
        return (yield from move("ann", "ben", 30))

    handle = engine.start(flow())

    assert 30 == handle.result(PATIENCE)
    assert {"ann": 70, "ben": 30} == balances(ledger)
    assert ["started", "step_completed", "completed"] == kinds(handle)


def test_what_fails_is_rolled_back(engine: Engine, ledger: Path) -> None:
    """Nobody is given what nobody paid; the workflow catches the database's complaint."""

    @workflow
    def flow() -> Workflow[str]:
        try:
            yield from move("ann", "ben", 3000)
        except StepFailed as error:
            return error.error_type
        return "moved"

    assert "sqlalchemy.exc.IntegrityError" == engine.start(flow()).result(PATIENCE)
    assert {"ann": 100, "ben": 0} == balances(ledger)


def test_a_transactional_step_is_tried_again(engine: Engine, ledger: Path) -> None:
    """Each attempt is a transaction of its own."""
    attempts = []

    @step(transactional=True, retry=Retry(max_attempts=3, initial=0, jitter=0))
    def flaky(*, connection: Any = None) -> int:
        attempts.append(1)
        connection.execute(text(MOVE), {"name": "ben", "cents": 1})
        if len(attempts) < 3:
            raise OSError("again")
        return len(attempts)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from flaky())

    handle = engine.start(flow())

    assert 3 == handle.result(PATIENCE)
    assert 1 == balances(ledger)["ben"]
    assert ["started", "step_attempt_failed", "step_attempt_failed", "step_completed", "completed"] == kinds(handle)


def test_what_follows_a_transactional_step_goes_on(engine: Engine, ledger: Path) -> None:
    """A timer, a signal, outputs and further transactions right behind it, in the same turn."""

    @workflow
    def flow() -> Workflow[int]:
        total = 0
        for _ in range(3):
            total += yield from move("ann", "ben", 10)
            yield from set_state("total", total)
            yield from sleep(0.01)
        total += yield from signal("more", int)
        a, b = yield from gather(move("ann", "ben", 1), move("ann", "ben", 2))
        return total + a + b

    handle = engine.start(flow())
    handle.signal("more", 5)

    assert 38 == handle.result(PATIENCE)
    assert ({"total": 30}, {"ann": 67, "ben": 33}) == (handle.state(), balances(ledger))


def test_an_answer_that_is_too_large_rolls_back(open_engine: OpenEngine, ledger: Path) -> None:
    """The limit holds here too."""
    engine = open_engine(max_payload=100)

    @step(transactional=True)
    def fill(*, connection: Any = None) -> str:
        connection.execute(text(MOVE), {"name": "ben", "cents": 1})
        return "x" * 200

    @workflow
    def flow() -> Workflow[str]:
        return (yield from fill())

    with pytest.raises(RunFailed, match="PayloadTooLarge"):
        engine.start(flow()).result(PATIENCE)
    assert 0 == balances(ledger)["ben"]


def test_a_transaction_that_breaks_after_its_step_leaves_the_run_stuck(engine: Engine, ledger: Path) -> None:
    """The step has answered, then the transaction cannot be committed: nothing is applied, and the note says why."""

    @step(transactional=True)
    def spoil(*, connection: Any = None) -> int:
        connection.execute(text(MOVE), {"name": "ben", "cents": 1})
        connection.execute(text("ROLLBACK"))
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from spoil())

    handle = engine.start(flow())

    with pytest.raises(RunFailed, match="ended by its user's SQL") as caught:
        handle.result(PATIENCE)
    assert ("stuck", ["started"]) == (caught.value.status, kinds(handle))
    assert 0 == balances(ledger)["ben"]


def test_a_user_s_code_may_not_end_the_transaction(engine: Engine, ledger: Path) -> None:
    """It would part the answer from what was done."""

    @step(transactional=True)
    def commit(*, connection: Any = None) -> int:
        connection.execute(text(MOVE), {"name": "ben", "cents": 1})
        connection.commit()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from commit())

    with pytest.raises(RunFailed, match="transaction that the store ends"):
        engine.start(flow()).result(PATIENCE)
    assert 0 == balances(ledger)["ben"]


def test_a_crash_before_the_commit_undoes_both(store_url: str, open_engine: OpenEngine, ledger: Path) -> None:
    """And one after it undoes neither: the step is done exactly once."""
    store = between(store_url)
    first = open_engine(store, ttl=0.3)

    @workflow
    def flow() -> Workflow[int]:
        first_moved = yield from move("ann", "ben", 10)
        yield from signal("go")
        return first_moved + (yield from move("ann", "ben", 5))

    handle = first.start(flow(), id="a")
    until(lambda: named(handle, "step_completed"), first.store)
    crash(first, store)
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    handle.signal("go")

    assert 15 == handle.result(PATIENCE)
    assert {"ann": 85, "ben": 15} == balances(ledger)


def test_an_unheard_commit_of_a_transaction_is_not_done_twice(store_url: str, open_engine: OpenEngine, ledger: Path) -> None:
    """The store does not answer after it has committed: the run is read again, the journal tells."""
    store = between(store_url)
    silent: list[int] = []

    def after(verb: str, _answer: Any) -> None:
        if verb == "transact" and not silent:
            silent.append(1)
            raise StoreUnavailable("test", "no answer")

    store.after = after
    engine = open_engine(store)

    @workflow
    def flow() -> Workflow[int]:
        return (yield from move("ann", "ben", 10)) + (yield from move("ann", "ben", 1))

    handle = engine.start(flow())

    assert 11 == handle.result(PATIENCE)
    assert ([1], {"ann": 89, "ben": 11}) == (silent, balances(ledger))


def test_a_transaction_of_a_run_that_was_taken_over_changes_nothing(
    store_url: str, open_engine: OpenEngine, ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused with the rest of its turn; whoever holds the run does it, once, and so with every other of a gather."""
    clock = VirtualClock()
    store = between(store_url, clock)
    taken: list[Lease] = []

    def steal(verb: str) -> None:
        if verb == "transact" and not taken:
            clock.advance(100)
            claim = Claim(worker="thief", namespace="default", queues=["default"], workflows=["flow"], limit=1, ttl=10**9)
            taken.extend(found.lease for found in store.store.claim(claim).runs)

    store.before = steal
    engine = open_engine(store, clock=clock, ttl=10)

    @workflow
    def flow() -> Workflow[int]:
        return sum((yield from gather(move("ann", "ben", 1), move("ann", "ben", 2))))

    handle = engine.start(flow(), id="a")
    until(lambda: taken and not engine.worker.live, store.store)
    assert {"ann": 100, "ben": 0} == balances(ledger)
    store.store.release(taken)
    let_pass(engine, clock, 1)

    assert (3, {"ann": 97, "ben": 3}) == (handle.result(PATIENCE), balances(ledger))
    assert "is stuck" not in caplog.text


def test_long_pure_code_behind_a_transaction_is_part_of_its_turn(engine: Engine, ledger: Path) -> None:
    """A hundred thousand immediate answers, and the outputs behind them, are not lost with the next crash."""

    @workflow
    def flow() -> Workflow[int]:
        moved = yield from move("ann", "ben", 10)
        for _ in range(50_000):
            yield from random()
        yield from set_state("moved", moved)
        yield from signal("go")
        return moved

    handle = engine.start(flow())
    until(handle.state, engine.store)
    handle.signal("go")

    assert (10, {"moved": 10}) == (handle.result(PATIENCE), handle.state())


def test_a_store_without_transactions_says_so(open_engine: OpenEngine) -> None:
    """The step fails with advice, before its body runs."""
    engine = open_engine("memory://")

    @workflow
    def flow() -> Workflow[int]:
        return (yield from move("ann", "ben", 1))

    with pytest.raises(RunFailed, match="use a SQL store"):
        engine.start(flow()).result(PATIENCE)
