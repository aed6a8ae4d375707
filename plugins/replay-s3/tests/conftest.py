"""Two S3 servers, and a bucket of its own for each test: moto in this process for the inner loop, Ceph's gateways for the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replay_s3.testing.fixtures import credentials, fresh_bucket, gateways, real_bucket, real_urls

__all__ = ["credentials", "gateways", "real_bucket", "real_urls"]


@pytest.fixture(autouse=True)
def _known(credentials: None) -> None:
    """Every test is a user whom both servers let do everything."""


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of the quick server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> str:
    """A fresh bucket of the quick server."""
    return fresh_bucket(endpoint)


@pytest.fixture
def url(endpoint: str, bucket: str) -> str:
    """A fresh store's URL on the quick server."""
    return f"s3://{bucket}/journals?endpoint={endpoint}"
