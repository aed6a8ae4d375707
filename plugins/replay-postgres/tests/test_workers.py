"""Workers in several processes on one database."""

from __future__ import annotations

import pytest
from replay_postgres.testing import TemporaryCluster

from replay.testing.worker_contract import SkewContract, WorkerContract

pytestmark = pytest.mark.postgres


class TestWorkersOnPostgres(WorkerContract, SkewContract):
    """The fixture ``url`` is that of all tests here."""

    @pytest.fixture
    def url(self, cluster: TemporaryCluster, schema: str) -> str:
        return cluster.url(f"schema={schema}")
