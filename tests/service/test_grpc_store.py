"""A store behind a server keeps every promise of the store that the server stands on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replay.hooks import open_store
from replay.service.server import Server, Service
from replay.store.contract import RunKey, Store
from replay.testing import StoreContract, VirtualClock
from replay.testing.store_suite.case import OpenAgain

PLACE = "run = (SELECT pk FROM replay_runs WHERE namespace = ? AND id = ?) AND seq = ?"
"""Where an event is in the file."""


class OverTheWire(StoreContract):
    """The suite, over loopback."""

    @pytest.fixture
    def behind(self, clock: VirtualClock) -> Iterator[Store]:
        raise NotImplementedError

    @pytest.fixture
    def address(self, behind: Store) -> Iterator[str]:
        server = Server(behind, Service(listen="127.0.0.1:0", threads=24))
        yield f"grpc://127.0.0.1:{server.port}"
        server.stop(0)

    @pytest.fixture
    def store(self, clock: VirtualClock, address: str) -> Iterator[Store]:
        store = open_store(address, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, clock: VirtualClock, address: str) -> OpenAgain:
        return lambda: open_store(address, clock=clock)


class TestMemoryBehindAServer(OverTheWire):
    """Memory, served."""

    @pytest.fixture
    def behind(self, clock: VirtualClock) -> Iterator[Store]:
        opened = open_store("memory://", clock=clock)
        self._behind: Any = opened
        yield opened
        opened.close()

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        events = self._behind._records[key].events
        event = events[seq - 1]
        events[seq - 1] = event._replace(payload=bytes([event.payload[0] ^ 1]) + event.payload[1:])

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        record = self._behind._records[key]
        del record.events[seq - 1], record.seals[seq - 1]


class TestSQLiteBehindAServer(OverTheWire):
    """SQLite, served."""

    @pytest.fixture
    def behind(self, clock: VirtualClock, tmp_path: Path) -> Iterator[Store]:
        self._path = tmp_path / "served.db"
        opened = open_store(f"sqlite:///{self._path}", clock=clock)
        yield opened
        opened.close()

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            (data,) = connection.execute("SELECT payload FROM replay_events WHERE " + PLACE, (*key, seq)).fetchone()
            flipped = bytes([data[0] ^ 1]) + data[1:]
            connection.execute("UPDATE replay_events SET payload = ? WHERE " + PLACE, (flipped, *key, seq))

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("DELETE FROM replay_events WHERE " + PLACE, (*key, seq))
