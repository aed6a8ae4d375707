"""The PostgreSQL store keeps every promise, also with a step's own SQL in its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replay_postgres import PostgresStore, open_postgres
from replay_postgres.testing import TemporaryCluster
from sqlalchemy import text

from replay.hooks import Capability, RunKey, Store
from replay.testing import StoreContract, TransactionContract, VirtualClock
from replay.testing.store_suite.committing import Committing
from replay.testing.store_suite.creating import Creating
from replay.testing.store_suite.enduring import Enduring
from replay.testing.store_suite.leasing import Leasing
from replay.testing.store_suite.messaging import Messaging
from replay.testing.store_suite.reading import Reading

pytestmark = pytest.mark.postgres


class PostgresCase:
    """What both contracts are given."""

    @pytest.fixture
    def store(self, clock: VirtualClock, url: str) -> Iterator[Store]:
        store = open_postgres(url, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, clock: VirtualClock, url: str) -> Callable[[], Store]:
        return lambda: open_postgres(url, clock=clock)

    def damage(self, store: PostgresStore, key: RunKey, seq: int) -> None:
        change = "payload = set_byte(payload, 0, get_byte(payload, 0) # 1)"
        execute(store, f"UPDATE @events SET {change} WHERE run = (SELECT pk FROM @runs WHERE {named(key)}) AND seq = {seq}")

    def lose(self, store: PostgresStore, key: RunKey, seq: int) -> None:
        execute(store, f"DELETE FROM @events WHERE run = (SELECT pk FROM @runs WHERE {named(key)}) AND seq = {seq}")


class TestPostgres(PostgresCase, StoreContract):
    """What every store promises."""

    def test_it_says_what_it_can_do(self, store: Store) -> None:
        """It survives its process, shares its transactions and itself, and keeps to limits."""
        assert Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED | Capability.LIMITS == store.capabilities


class TestPostgresThroughProxy(PostgresCase, Creating, Leasing, Committing, Messaging, Reading, Enduring):
    """As it is used through a proxy that shares its connections: nothing prepared, nobody listening."""

    busy_seconds = 0.5

    @pytest.fixture
    def url(self, url: str) -> str:
        return f"{url}&prepare=off&listen=off"


class TestPostgresTransactions(PostgresCase, TransactionContract):
    """What a store with transactions promises beyond that."""

    @pytest.fixture(autouse=True)
    def table(self, cluster: TemporaryCluster, schema: str) -> Iterator[None]:
        self.words = f"{schema}.words"
        cluster.execute(f"CREATE TABLE {self.words} (word text)")
        yield
        cluster.execute(f"DROP TABLE {self.words}")

    def write_own(self, connection: Any, word: str) -> None:
        connection.execute(text(f"INSERT INTO {self.words} VALUES (:word)"), {"word": word})

    def own_words(self, store: Any) -> list[str]:
        with store._pool.lent() as raw:
            return [row[0] for row in raw.execute(f"SELECT word FROM {self.words}").fetchall()]


def execute(store: PostgresStore, sql: str) -> None:
    """Run a statement behind the store's back."""
    store._with(lambda hot: hot.ask(sql))


def named(key: RunKey) -> str:
    return f"namespace = '{key.namespace}' AND id = '{key.id}'"
