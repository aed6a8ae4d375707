"""A PostgreSQL cluster for the session, and an empty schema for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from replay_postgres import PostgresStore, open_postgres
from replay_postgres.testing import CutWire, TemporaryCluster, binaries

TABLES = ("runs", "tags", "state", "events", "blocks", "messages", "topics", "ends", "blobs", "begun")


@pytest.fixture(scope="session")
def cluster() -> Iterator[TemporaryCluster]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server binaries on this machine: install the package postgresql")
    with TemporaryCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def tables(cluster: TemporaryCluster) -> str:
    """The name of a schema with all tables, shared by the tests of the session; to make one anew takes longer than most tests."""
    open_postgres(cluster.url("schema=shared")).close()
    return "shared"


@pytest.fixture
def schema(cluster: TemporaryCluster, tables: str) -> Iterator[str]:
    """The name of a schema whose tables are empty."""
    yield tables
    cluster.execute("; ".join(f"DELETE FROM {tables}.replay_{name}" for name in TABLES))


@pytest.fixture
def new_schema(cluster: TemporaryCluster) -> Iterator[str]:
    """The name of a schema that is not there yet."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield name
    cluster.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def url(cluster: TemporaryCluster, schema: str) -> str:
    return cluster.url(f"schema={schema}")


@pytest.fixture
def opened() -> Iterator[Callable[[str], PostgresStore]]:
    """Opens stores that are closed when the test is over."""
    stores: list[PostgresStore] = []

    def open_one(url: str) -> PostgresStore:
        stores.append(open_postgres(url))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[str], PostgresStore], url: str) -> PostgresStore:
    return opened(url)


@pytest.fixture
def wire(cluster: TemporaryCluster) -> Iterator[CutWire]:
    wire = CutWire(cluster.port)
    yield wire
    wire.close()
