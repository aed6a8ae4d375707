"""A whole store on nothing but a bucket."""

from __future__ import annotations

from replay_s3.store import S3Store, open_s3

__all__ = ["S3Store", "open_s3"]
