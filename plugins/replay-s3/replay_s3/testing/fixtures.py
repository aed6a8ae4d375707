"""Fixtures for pytest: Ceph's gateways, once for a test run. Import them in a conftest.py."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from replay_s3.testing import ceph


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a user whom the servers of these tests let do everything."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.USERS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def gateways(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[list[str]]:
    """The addresses of the two gateways of one Ceph, which serves the whole test run, whatever the number of its processes."""
    missing = ceph.missing()
    if missing:
        pytest.skip(f"Ceph is not on this machine: install radosgw, ceph-mon and ceph-osd ({', '.join(missing)} are missing)")
    base = tmp_path_factory.getbasetemp()
    with ceph.shared_cluster((base if worker_id == "master" else base.parent) / "ceph") as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def real_bucket(gateways: list[str]) -> str:
    """A bucket of Ceph; to make one takes longer than most tests, so they share it."""
    return fresh_bucket(gateways[0])


@pytest.fixture
def real_urls(gateways: list[str], real_bucket: str, credentials: None) -> list[str]:  # noqa: ARG001 - a fixture for what it does
    """A fresh store's URL by each gateway of Ceph."""
    prefix = uuid.uuid4().hex[:12]
    return [f"s3://{real_bucket}/{prefix}?endpoint={gateway}" for gateway in gateways]


def fresh_bucket(endpoint: str) -> str:
    """The name of a bucket that was made now."""
    name = f"replay-{uuid.uuid4().hex[:12]}"
    ceph.client(endpoint).create_bucket(Bucket=name)
    return name
