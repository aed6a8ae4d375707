"""For tests and benchmarks: a real S3 server of one's own, and a line to a server that behaves as badly as lines do."""

from __future__ import annotations

from replay_s3.testing.ceph import missing, shared_cluster
from replay_s3.testing.meddling import Meddler, between

__all__ = ["Meddler", "between", "missing", "shared_cluster"]
