"""Hook implementations only."""

from __future__ import annotations

from collections.abc import Mapping

from replay.hooks import Blobs, BlobsFactory, Clock, Store, StoreFactory, hookimpl


def _s3(url: str, *, clock: Clock | None = None) -> Store:
    from replay_s3.store import open_s3

    return open_s3(url, clock=clock)


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """Buckets, by ``s3://bucket/prefix``."""
    return {"s3": _s3}


def _things(url: str) -> Blobs:
    from replay_s3.things import open_things

    return open_things(url)


@hookimpl
def replay_blobs() -> Mapping[str, BlobsFactory]:
    """Large payloads and archives in a bucket."""
    return {"s3": _things}
