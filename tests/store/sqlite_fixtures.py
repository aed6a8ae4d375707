"""A file in a temporary folder and its stores, as the suites want them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.store.contract import RunKey, Store
from replay.store.sqlite import SQLiteStore, open_sqlite
from replay.testing import VirtualClock
from replay.testing.store_suite.case import OpenAgain
from tests.store.sqlite_case import PLACE, execute


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
