"""The memory store keeps every promise, and names its worlds."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from replay.store.contract import Capability, Filter, RunKey, Store
from replay.store.memory import MemoryStore, open_memory
from replay.testing import StoreContract, VirtualClock
from replay.testing.clock import SECOND
from replay.testing.store_suite.case import OpenAgain, begin, finish, key, look, order, park, ready, signal, turn, wish


class TestMemory(StoreContract):
    """The reference store is held to its own contract."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}"

    @pytest.fixture
    def store(self, clock: VirtualClock, url: str) -> Store:
        return open_memory(url, clock=clock)

    @pytest.fixture
    def open_again(self, clock: VirtualClock, url: str) -> OpenAgain:
        return lambda: open_memory(url, clock=clock)

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        events = store._records[key].events
        event = events[seq - 1]
        events[seq - 1] = event._replace(payload=bytes([event.payload[0] ^ 1]) + event.payload[1:])

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        record = store._records[key]
        del record.events[seq - 1], record.seals[seq - 1]


def found(store: Store) -> list[str]:
    """Ids of the shop's runs."""
    return [run.key.id for run in store.find(Filter(namespace="shop")).runs]


def test_a_named_world_is_shared_by_name() -> None:
    """Two parts of one program that open the same URL see the same runs, also after one of them closed."""
    name = f"memory://{uuid.uuid4()}"
    one, two = open_memory(name), open_memory(name)
    begin(one)
    one.close()

    assert (["order-1"], ["order-1"]) == (found(two), found(open_memory(name)))


def test_a_world_without_a_name_is_fresh() -> None:
    """What was left by another is not there."""
    begin(open_memory())

    assert [] == found(open_memory("memory://"))


def test_a_memory_store_keeps_to_limits_and_promises_no_more() -> None:
    """Nothing survives the process, and no process shares it."""
    assert Capability.LIMITS == open_memory().capabilities


def test_the_machine_clock_is_the_default() -> None:
    """Microseconds, in this century."""
    assert 1_700_000_000_000_000 < open_memory().now() < 4_200_000_000_000_000


def test_what_was_handed_out_never_moves() -> None:
    """An index entry shows the moment at which it was read, and the caller's own dicts stay the caller's."""
    store = MemoryStore()
    tags = {"who": "ann"}
    run = store.create([order(tags=tags)])[0].run
    tags["who"] = "ben"
    store.create([order("other")], worker="ann", ttl=1)

    assert {"who": "ann"} == run.tags
    assert [run] == store.get([key()])


def test_closing_wakes_who_waits() -> None:
    """A worker that is asleep in the store hears that it closes."""
    store = MemoryStore()
    seen = store.wait(0, 0)
    store.close()

    assert seen != MemoryStore(world=store._world).wait(seen, 60)


def test_moments_that_are_void_are_forgotten() -> None:
    """A run that is held for ever, and renewed for ever, leaves no trail; the others keep their moments."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    park(store, "parked", wake_at=clock.now() + 7200 * SECOND)
    lease = begin(store)
    for _ in range(5_000):
        clock.advance(1)
        store.renew([lease], ttl=3600 * SECOND)

    assert max(len(shelf.later) for shelf in store._world.shelves.values()) < 2_500
    clock.advance(3000)
    assert ["parked"] == ready(store, "ben")


def test_a_worker_is_told_exactly_when_to_come_again() -> None:
    """Moments that are void do not count: what is closed never becomes ready."""
    store = MemoryStore()
    park(store, wake_at=store.now() + 7200 * SECOND)
    finish(store, "closed")
    next_at = store.claim(wish()).next_at

    assert look(store).wake_at == next_at


def test_mail_of_closed_runs_is_forgotten() -> None:
    """What a run left unread is not looked at for ever."""
    store = MemoryStore()
    lease = begin(store)
    store.post([signal()])
    store.commit([turn(lease, 1, status="completed")])
    store.claim(wish())

    assert {} == store._world.mailed
