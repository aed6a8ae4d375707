"""A quick S3 server in this process, and a bucket of its own for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import boto3
import pytest

# REPLAY_S3_ENDPOINT names a real server for the same tests, with its credentials in the usual variables.
REAL = os.environ.get("REPLAY_S3_ENDPOINT")
os.environ.update(
    {}
    if REAL
    else {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of the quick server, or of the real one."""
    if REAL:
        yield REAL
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> str:
    """A fresh bucket."""
    name = f"replay-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    return name


@pytest.fixture
def url(endpoint: str, bucket: str) -> str:
    """A fresh store's URL."""
    return f"s3://{bucket}/journals?endpoint={endpoint}"
