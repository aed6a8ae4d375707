"""Backends to measure on, each begun when it is first asked for and ended with the session: nothing that is there already is touched.

PostgreSQL is a cluster of its own with the server's defaults, so durable. S3 is a quick server in another process, which keeps objects
in memory: its figures are about requests, not about disks; ``REPLAY_S3_ENDPOINT`` names a real one. gRPC is `replay serve` on SQLite.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from replay_postgres.testing import TemporaryCluster, free_port

from benchmarks import limits, workloads

BACKENDS: Final = ("memory", "sqlite", "postgres", "s3", "grpc")


class Places:
    """The servers of one session."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._cluster: TemporaryCluster | None = None
        self._endpoint = os.environ.get("REPLAY_S3_ENDPOINT", "")

    def close(self) -> None:
        """End what was begun."""
        self._stack.close()

    @property
    def cluster(self) -> TemporaryCluster:
        """A PostgreSQL cluster with its defaults."""
        if self._cluster is None:
            self._cluster = self._stack.enter_context(TemporaryCluster(()))
        return self._cluster

    @property
    def endpoint(self) -> str:
        """Address of an S3 server."""
        if not self._endpoint:
            self._endpoint = self._stack.enter_context(quick_s3())
        return self._endpoint

    @contextmanager
    def place(self, backend: str, folder: Path) -> Iterator[Place]:
        """A fresh store of a backend."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        if backend == "grpc":
            with workloads.served(folder / "served.db") as url:
                yield Place(backend, url, folder, "")
        elif backend == "postgres":
            with self.cluster.connection() as connection:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
            yield Place(backend, self.cluster.url(database=name), folder, "")
            with self.cluster.connection() as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        elif backend == "s3":
            import boto3

            boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=name)
            yield Place(backend, f"s3://{name}/journals?endpoint={self.endpoint}", folder, self.endpoint)
        else:
            yield Place(backend, {"memory": "memory://", "sqlite": f"sqlite:///{folder}/bench.db"}[backend], folder, "")


class Place:
    """A fresh store, and what its medium allows at most: each limit is measured when it is asked for.

    Attributes:
        backend: Of which kind.
        url: The store's URL.
    """

    def __init__(self, backend: str, url: str, folder: Path, endpoint: str) -> None:
        self.backend = backend
        self.url = url
        self._file = folder / "limit.db"
        self._endpoint = endpoint

    @property
    def _bucket(self) -> str:
        return self.url.removeprefix("s3://").partition("/")[0]

    def replay(self, steps: int) -> float:
        """Steps of a replay a second: reading the rows and a bare generator; where a server keeps them, one call before it."""
        if self.backend == "sqlite":
            return limits.replay_from_sqlite(self._file, steps)
        if self.backend == "postgres":
            return limits.replay_from_postgres(self.url, steps)
        alone = limits.replay_from_memory(steps)
        return alone if self.backend == "memory" else 1 / (1 / alone + 1 / (steps * self.calls(100)))

    def commits(self, commits: int = 1_000) -> float:
        """Commits a second, one after the other; over gRPC, messages of a stream; on memory, hand-overs to a thread."""
        if self.backend == "sqlite":
            return limits.sqlite_commits(self._file, commits)
        if self.backend == "postgres":
            return limits.postgres_commits(self.url, commits)
        if self.backend == "s3":
            return limits.s3_puts(self._endpoint, self._bucket, min(commits, 200))
        return limits.streamed_messages(commits) if self.backend == "grpc" else limits.thread_hops(commits)

    def calls(self, calls: int = 1_000) -> float:
        """Requests a second that are no commits, one after the other; only over gRPC they are another thing."""
        return limits.unary_calls(calls) if self.backend == "grpc" else self.commits(calls)

    def rows(self) -> float:
        """Rows a second when many share a commit, over gRPC by the file behind it; on S3 PUTs from 16 threads, on memory hand-overs."""
        if self.backend in {"sqlite", "grpc"}:
            return limits.sqlite_rows(self._file)
        if self.backend == "postgres":
            return limits.postgres_rows(self.url)
        return limits.s3_puts(self._endpoint, self._bucket, 500, at_once=16) if self.backend == "s3" else self.commits()


@contextmanager
def quick_s3() -> Iterator[str]:
    """The server of moto, in a process of its own."""
    known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(known)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/moto-api/")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(url: str, patience: float = 60) -> None:
    """Until it answers.

    Raises:
        TimeoutError: Patience ended first.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"no answer from {url} within {patience:g} s")
