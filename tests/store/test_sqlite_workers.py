"""Workers in several processes on one SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.testing.worker_contract import WorkerContract

pytestmark = pytest.mark.faults


class TestWorkersOnSQLite(WorkerContract):
    """A file serves the processes of one machine; they share its clock."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/runs.db"
