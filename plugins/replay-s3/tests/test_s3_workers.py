"""Workers in several processes on one bucket."""

from __future__ import annotations

import pytest

from replay.testing.worker_contract import SkewContract, WorkerContract


class TestWorkersOnS3(WorkerContract, SkewContract):
    """Nothing is between them but the bucket, on a quick S3 server."""

    @pytest.fixture
    def url(self, endpoint: str, bucket: str) -> str:
        return f"s3://{bucket}/journals?endpoint={endpoint}"
