"""Workers in several processes, none of which sees the store: a server is between them and a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.hooks import open_store
from replay.service.server import Server, Service
from replay.testing.worker_contract import SkewContract, WorkerContract

pytestmark = pytest.mark.faults


class TestWorkersBehindAServer(WorkerContract, SkewContract):
    """The server's clock is the clock."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> Iterator[str]:
        behind = open_store(f"sqlite:///{tmp_path}/runs.db")
        server = Server(behind, Service(listen="127.0.0.1:0"))
        yield f"grpc://127.0.0.1:{server.port}"
        server.stop(0)
        behind.close()
