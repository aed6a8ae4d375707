"""What the chapters share: the fixtures that a subclass gives, and a small vocabulary for runs, turns and messages.

Rule 1: chapters see the store through its contract only.
Rule 2: time is the ``clock`` fixture; nothing sleeps.
"""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import attrs
import pytest

from replay.model.events import STARTED, STEP_COMPLETED, Event
from replay.store.contract import Claim, Claimed, Commit, Committed, Lease, Message, NewRun, Posted, Run, RunKey, Store
from replay.testing.clock import NOON, SECOND, VirtualClock

T = TypeVar("T")

OpenAgain = Callable[[], Store]
"""Opens another handle on the medium of the fixture ``store``, which may still be open."""

SHOP: Final = "shop"
TTL: Final = 30 * SECOND
ID: Final = "order-1"

FALSY: Final = (b"0", b'""', b"null", b"[]", b"false", b"{}", b"0.0", b"", b"\x00")
"""Payloads that careless code takes for none."""


class StoreCase:
    """Fixtures and means that every chapter uses."""

    busy_seconds: float = float(os.environ.get("REPLAY_BUSY_SECONDS", "3"))
    """How long the mixed load runs."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The clock that the store is opened with."""
        return VirtualClock()

    @pytest.fixture
    def store(self, clock: VirtualClock) -> Store:
        """The store under test, empty, going by ``clock``."""
        raise NotImplementedError("give the suite a store: override the fixture `store`")

    @pytest.fixture
    def open_again(self) -> OpenAgain:
        """Open another handle on the same medium, as after a restart or in another process."""
        pytest.skip("this store cannot be opened again: override the fixture `open_again`")

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        """Flip a bit in the payload of an event, in the medium."""
        pytest.skip("nothing is known of this store's medium: override `damage`")

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        """Take an event out of the medium."""
        pytest.skip("nothing is known of this store's medium: override `lose`")


# ---- words --------------------------------------------------------------------------------------------------------------


def key(run: str = ID, namespace: str = SHOP) -> RunKey:
    """A run's key."""
    return RunKey(namespace, run)


def started(workflow: str = "order", payload: bytes = b"{}") -> Event:
    """The first event of a journal."""
    return Event(1, STARTED, "", workflow, NOON, payload)


def answered(seq: int, payload: bytes = b"1") -> Event:
    """A step's answer at a place of a journal."""
    return Event(seq, STEP_COMPLETED, str(seq - 2), "charge", NOON + seq, payload, check=4_294_967_295, attempt=1, worker="ann")


def journal(length: int) -> list[Event]:
    """A journal of some length."""
    return [started(), *map(answered, range(2, length + 1))]


def order(run: str = ID, **fields: Any) -> NewRun:
    """A run to be created."""
    return attrs.evolve(NewRun(key=key(run), workflow="order", digest="d1", events=[started()]), **fields)


def wish(worker: str = "ann", **fields: Any) -> Claim:
    """A worker's claim for the shop's orders."""
    usual = Claim(worker=worker, namespace=SHOP, queues=["default"], workflows=["order"], limit=100, ttl=TTL)
    return attrs.evolve(usual, **fields)


def signal(message: str = "m1", run: str = ID, *, kind: str = "signal", payload: bytes = b"true", **fields: Any) -> Message:
    """A message to a run."""
    return Message(message, key(run), kind, "approved", payload)._replace(**fields)


def turn(lease: Lease, expected: int, **fields: Any) -> Commit:
    """A turn that appends one answer, unless it says otherwise."""
    return attrs.evolve(Commit(lease=lease, expected=expected, events=[answered(expected + 1)]), **fields)


# ---- deeds that must succeed --------------------------------------------------------------------------------------------


def begin(store: Store, run: str = ID, worker: str = "ann", **fields: Any) -> Lease:
    """Create a run and hold it; its journal has one event."""
    lease = store.create([order(run, **fields)], worker=worker, ttl=TTL)[0].lease
    assert lease is not None, f"{run} was not leased to its creator"
    return lease


def take(store: Store, worker: str = "ann", **fields: Any) -> Claimed:
    """Claim the one run that is ready."""
    runs = store.claim(wish(worker, **fields)).runs
    assert len(runs) == 1, f"expected one run to be ready, got {[claimed.run.key for claimed in runs]}"
    return runs[0]


def ready(store: Store, worker: str = "ann", **fields: Any) -> list[str]:
    """Ids of all runs that a claim takes, in order."""
    return [claimed.run.key.id for claimed in store.claim(wish(worker, **fields)).runs]


def apply(store: Store, commit: Commit) -> None:
    """Commit one turn."""
    assert [Committed.APPLIED] == store.commit([commit])


def park(store: Store, run: str = ID, **fields: Any) -> None:
    """Create a run whose first turn ends in waiting; its journal has two events."""
    apply(store, turn(begin(store, run), 1, **{"status": "waiting", "release": True, **fields}))


def finish(store: Store, run: str = ID, **fields: Any) -> None:
    """Create a run that completes at once; its journal has two events."""
    apply(store, turn(begin(store, run), 1, **{"status": "completed", "result": b"1", "release": True, **fields}))


def deliver(store: Store, *messages: Message) -> None:
    """Post messages, each for the first time."""
    assert [Posted.DELIVERED] * len(messages) == store.post(messages)


def look(store: Store, run: str = ID, namespace: str = SHOP) -> Run:
    """A run's index entry."""
    found = store.get([key(run, namespace)])[0]
    assert found is not None, f"there is no run {run}"
    return found


def texts(messages: Sequence[Message]) -> list[str]:
    """Ids of messages."""
    return [message.id for message in messages]


def together(*works: Callable[[], T]) -> list[T]:
    """Results of works that are begun at the same moment, each in a thread of its own; a failure is raised."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        gate.wait(timeout=60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
