"""Stores that need a server, for tests of what is above them: one server a test run, a place of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from replay_postgres.testing import TemporaryCluster, binaries
from replay_s3.testing.fixtures import credentials, gateways, real_bucket, real_urls

__all__ = ["cluster", "credentials", "gateways", "postgres_url", "real_bucket", "real_urls", "shared_url"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[TemporaryCluster]:
    """A PostgreSQL server."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server binaries on this machine: install the package postgresql")
    with TemporaryCluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(cluster: TemporaryCluster) -> Iterator[str]:
    """A schema that is not there yet."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield cluster.url(f"schema={name}")
    cluster.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("s3", marks=pytest.mark.s3)])
def shared_url(request: pytest.FixtureRequest) -> str:
    """A store that many machines can share."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(request.getfixturevalue("real_urls")[0])
