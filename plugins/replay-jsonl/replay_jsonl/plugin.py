"""What replay asks this plugin for; the store itself loads when its scheme is named."""

from __future__ import annotations

from collections.abc import Mapping

from replay.hooks import Clock, Store, StoreFactory, hookimpl


def _jsonl(url: str, *, clock: Clock | None = None) -> Store:
    from replay_jsonl.store import open_jsonl

    return open_jsonl(url, clock=clock)


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """``jsonl:///path/to/runs.jsonl``."""
    return {"jsonl": _jsonl}
