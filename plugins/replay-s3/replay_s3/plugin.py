"""Hook implementations only."""

from __future__ import annotations

from collections.abc import Mapping

from replay.hooks import Clock, Store, StoreFactory, hookimpl


def _s3(url: str, *, clock: Clock | None = None) -> Store:
    from replay_s3.store import open_s3

    return open_s3(url, clock=clock)


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """Buckets, by ``s3://bucket/prefix``."""
    return {"s3": _s3}
