"""The SQLite store keeps every promise, also with a step's own SQL in its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from replay.store.contract import Capability, RunKey, Store
from replay.store.sqlite import SQLiteStore, open_sqlite
from replay.testing import StoreContract, TransactionContract, VirtualClock
from replay.testing.store_suite.case import OpenAgain

PLACE = "run = (SELECT pk FROM replay_runs WHERE namespace = ? AND id = ?) AND seq = ?"


def execute(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Do something to a file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        return raw.execute(statement, values).fetchall()


class SQLiteCase:
    """A file in a temporary folder, and its stores."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "runs.db"

    @pytest.fixture
    def store(self, path: Path, clock: VirtualClock) -> Iterator[Store]:
        store = open_sqlite(f"sqlite:///{path}", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, path: Path, clock: VirtualClock) -> Iterator[OpenAgain]:
        with contextlib.ExitStack() as stack:

            def open_again() -> Store:
                return stack.enter_context(contextlib.closing(open_sqlite(f"sqlite:///{path}", clock=clock)))

            yield open_again

    def damage(self, store: SQLiteStore, key: RunKey, seq: int) -> None:
        path = store._connections.address.path
        data = execute(path, f"SELECT payload FROM replay_events WHERE {PLACE}", *key, seq)[0][0]
        flipped = bytes([data[0] ^ 1]) + data[1:]
        execute(path, f"UPDATE replay_events SET payload = ? WHERE {PLACE}", flipped, *key, seq)

    def lose(self, store: SQLiteStore, key: RunKey, seq: int) -> None:
        execute(store._connections.address.path, f"DELETE FROM replay_events WHERE {PLACE}", *key, seq)


class TestSQLite(SQLiteCase, StoreContract):
    """What every store promises."""

    def test_it_says_what_it_can_do(self, store: Store) -> None:
        """It survives its process, shares its transactions, and its file."""
        assert Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED == store.capabilities


class TestRelaxedSQLite(SQLiteCase, StoreContract):
    """Without an fsync per commit the promises are the same, as long as the power stays on."""

    busy_seconds = 1.0

    @pytest.fixture
    def store(self, path: Path, clock: VirtualClock) -> Iterator[Store]:
        store = open_sqlite(f"sqlite:///{path}?durability=relaxed", clock=clock)
        yield store
        store.close()


class TestTransactions(SQLiteCase, TransactionContract):
    """What a step's own SQL is promised."""

    @pytest.fixture(autouse=True)
    def table(self, path: Path, store: Store) -> None:
        execute(path, "CREATE TABLE own (word TEXT NOT NULL)")

    def write_own(self, connection: Any, word: str) -> None:
        connection.execute(text("INSERT INTO own (word) VALUES (:word)"), {"word": word})

    def own_words(self, store: SQLiteStore) -> list[str]:
        return [row[0] for row in execute(store._connections.address.path, "SELECT word FROM own")]
