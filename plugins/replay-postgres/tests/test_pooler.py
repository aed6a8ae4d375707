"""Through a real pgbouncer that shares its connections by transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from replay_postgres import PostgresStore, open_postgres
from replay_postgres.testing import TemporaryCluster, pooler

from replay import Engine, Workflow, gather, signal, sleep, step, workflow
from replay.hooks import Store, StoreUnavailable
from replay.testing import VirtualClock
from replay.testing.store_suite.committing import Committing
from replay.testing.store_suite.messaging import Messaging

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def port(cluster: TemporaryCluster) -> Iterator[int]:
    """Where pgbouncer listens."""
    with pooler(cluster) as port:
        yield port


@pytest.fixture
def shared(cluster: TemporaryCluster, schema: str, port: int) -> str:
    """A store's URL through pgbouncer."""
    return cluster.url(f"schema={schema}&prepare=off&direct=127.0.0.1:{cluster.port}", port=port)


class TestPostgresThroughPgbouncer(Committing, Messaging):
    """Turns and messages: what has most statements in one transaction."""

    @pytest.fixture
    def store(self, clock: VirtualClock, shared: str) -> Iterator[Store]:
        store = open_postgres(shared, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, clock: VirtualClock, shared: str) -> Callable[[], Store]:
        return lambda: open_postgres(shared, clock=clock)


@step
def double(number: int) -> int:
    """A little work."""
    return 2 * number


@workflow(name="pooler.order")
def order(number: int) -> Workflow[int]:
    """Steps, a branch, a timer, a message."""
    first = yield from double(number)
    both = yield from gather(double(first), double(first + 1))
    yield from sleep(0.02)
    return sum(both) + (yield from signal("more", int))


def test_engines_work_through_it(shared: str) -> None:
    """Two of them, more runs than connections; who waits is woken over the one connection that goes past it."""
    with Engine(shared, workflows=[order]) as one, Engine(shared, workflows=[order]) as other:
        handles = [one.start(order(number), id=f"order-{number}") for number in range(20)]
        for handle in handles:
            other.get(handle.id).signal("more", 1)

        assert [8 * number + 3 for number in range(20)] == [handle.result(timeout=60) for handle in handles]


def test_prepared_statements_through_it_are_told(cluster: TemporaryCluster, schema: str, port: int) -> None:
    """Such a proxy takes no options of a session: the error says which of ours to set."""
    with pytest.raises(StoreUnavailable, match=r"add \?prepare=off"):
        open_postgres(cluster.url(f"schema={schema}", port=port))


def test_a_store_is_known_by_its_url(shared: str) -> None:
    """The one that leads to the proxy."""
    store: PostgresStore = open_postgres(shared)

    assert shared == store.url
    store.close()
