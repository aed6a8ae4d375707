"""What the tests of the SQLite store share: journals, and hands that reach behind the store's back.

Other processes import it too, so it imports little.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replay.model.events import STARTED, STEP_COMPLETED, Event
from replay.store.contract import Clock, Commit, Committed, Lease, NewRun, RunKey, Store
from replay.store.sqlite import SQLiteStore, open_sqlite

PLACE = "run = (SELECT pk FROM replay_runs WHERE namespace = ? AND id = ?) AND seq = ?"
ORDER = RunKey("default", "order-1")
HOUR = 3_600_000_000
"""In microseconds: a lease that outlives any test."""


def execute(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Do something to a file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        return raw.execute(statement, values).fetchall()


@contextlib.contextmanager
def opened(path: Path, options: str = "", clock: Clock | None = None) -> Iterator[SQLiteStore]:
    """A store on a file, closed at the end."""
    store = open_sqlite(f"sqlite:///{path}{options}", clock=clock)
    try:
        yield store
    finally:
        store.close()


def answer(seq: int, payload: bytes = b'{"ok":true}') -> Event:
    """A step's answer."""
    return Event(seq, STEP_COMPLETED, str(seq), "charge", 1_767_268_800_000_000 + seq, payload, seq * 7, 1, 512, "shop.py:4", "ann")


def journal(length: int) -> list[Event]:
    """A journal of some length."""
    return [Event(1, STARTED, "", "order", 1_767_268_800_000_000, b"{}"), *map(answer, range(2, length + 1))]


def begin(store: Store, key: RunKey = ORDER, *, length: int = 1, **fields: Any) -> Lease:
    """Create a run, and hold it."""
    new = NewRun(key=key, workflow="order", events=journal(length), **fields)
    lease = store.create([new], worker="ann", ttl=HOUR)[0].lease
    assert lease is not None
    return lease


def grow(store: Store, lease: Lease, length: int, *, to: int, step: int = 1) -> None:
    """Append answers, some with each commit, up to a length."""
    while length < to:
        more = [answer(seq) for seq in range(length + 1, min(length + step, to) + 1)]
        assert [Committed.APPLIED] == store.commit([Commit(lease=lease, expected=length, events=more)])
        length += len(more)
