"""A step's own SQL commits with its answer, or not at all, and only the store says which."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from replay.errors import InvalidRequest
from replay.store.contract import Commit, Committed, Lease, Message, RunKey, Store
from replay.store.sqlite import SQLiteStore
from replay.testing import TransactionContract
from replay.testing.store_suite.case import together
from tests.store.sqlite_case import ORDER, answer, begin, execute, grow, opened
from tests.store.sqlite_fixtures import SQLiteCase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with opened(path) as store:
        yield store


@pytest.fixture
def own(store: SQLiteStore, path: Path) -> None:
    execute(path, "CREATE TABLE own (word TEXT NOT NULL UNIQUE)")


INSERT = text("INSERT INTO own (word) VALUES (:word)")


class TestTransactions(SQLiteCase, TransactionContract):
    """What a step's own SQL is promised."""

    @pytest.fixture(autouse=True)
    def table(self, path: Path, store: Store) -> None:
        execute(path, "CREATE TABLE own (word TEXT NOT NULL)")

    def write_own(self, connection: Any, word: str) -> None:
        connection.execute(INSERT, {"word": word})

    def own_words(self, store: SQLiteStore) -> list[str]:
        return [row[0] for row in execute(store._connections.address.path, "SELECT word FROM own")]


def words(path: Path) -> list[str]:
    """What the user's own table holds."""
    return [row[0] for row in execute(path, "SELECT word FROM own ORDER BY word")]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_only_the_store_ends_a_transaction(store: SQLiteStore, path: Path, verb: str) -> None:
    """A step that commits by itself would part its writing from its answer; it is refused at that line."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(INSERT, {"word": "sold"})
        getattr(connection, verb)()
        return Commit(lease=lease, expected=1, events=[answer(2)])

    with pytest.raises(ProgrammingError, match="in a transaction that the store ends"):
        store.transact(step)

    assert ([], 1) == (words(path), len(store.journal(ORDER)))


@pytest.mark.usefixtures("own")
def test_a_transaction_that_was_ended_by_sql_is_noticed(store: SQLiteStore) -> None:
    """SQL that says COMMIT cannot be stopped, but it is not taken for success."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(text("COMMIT"))
        return Commit(lease=lease, expected=1, events=[answer(2)])

    with pytest.raises(InvalidRequest, match="leave COMMIT and ROLLBACK to the store"):
        store.transact(step)

    assert 1 == len(store.journal(ORDER))
    grow(store, lease, 1, to=3)


@pytest.mark.usefixtures("own")
def test_a_part_of_a_transaction_can_be_undone(store: SQLiteStore, path: Path) -> None:
    """Savepoints are the step's own; so are errors that it handles."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(INSERT, {"word": "sold"})
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            connection.execute(INSERT, {"word": "undone"})
            connection.execute(INSERT, {"word": "sold"})
        return Commit(lease=lease, expected=1, events=[answer(2)])

    assert (Committed.APPLIED, ["sold"]) == (store.transact(step), words(path))


@pytest.mark.usefixtures("own")
def test_transactions_follow_each_other(store: SQLiteStore, path: Path) -> None:
    """Also after one that failed, and from several threads."""
    leases = [begin(store, RunKey("default", f"run-{number}")) for number in range(4)]

    def sell(lease: Lease) -> None:
        for seq in range(2, 12):

            def step(connection: Any, seq: int = seq) -> Commit:
                connection.execute(INSERT, {"word": f"{lease.key.id}/{seq:02}"})
                return Commit(lease=lease, expected=seq - 1, events=[answer(seq)])

            def fail(connection: Any, seq: int = seq) -> Commit:
                step(connection, seq)
                raise LookupError

            with pytest.raises(LookupError):
                store.transact(fail)
            assert Committed.APPLIED is store.transact(step)

    together(*(lambda lease=lease: sell(lease) for lease in leases))

    assert [f"run-{number}/{seq:02}" for number in range(4) for seq in range(2, 12)] == words(path)


def test_a_store_cannot_be_written_to_within_its_own_transaction(store: SQLiteStore) -> None:
    """It would wait for itself for ever; reading sees what was before."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        assert 1 == len(store.journal(ORDER))
        with pytest.raises(InvalidRequest, match="a transaction of this thread is open already"):
            store.post([Message("m", ORDER, "signal", "s", b"1")])
        return Commit(lease=lease, expected=1, events=[answer(2)])

    assert Committed.APPLIED is store.transact(step)


def test_an_error_of_a_users_other_database_stays_its_own(store: SQLiteStore) -> None:
    """The store does not claim that its file is at fault."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        raise sqlite3.OperationalError("database is locked")

    with pytest.raises(sqlite3.OperationalError):
        store.transact(step)

    grow(store, lease, 1, to=2)
