"""What comes with replay, registered through the same hooks as any plugin; each backend loads when it is named."""

from __future__ import annotations

from collections.abc import Mapping

from replay.hooks import Blobs, BlobsFactory, Clock, Provider, Store, StoreFactory, hookimpl


def _memory(url: str, *, clock: Clock | None = None) -> Store:
    from replay.store.memory import open_memory

    return open_memory(url, clock=clock)


def _sqlite(url: str, *, clock: Clock | None = None) -> Store:
    from replay.store.sqlite import open_sqlite

    return open_sqlite(url, clock=clock)


def _files(url: str) -> Blobs:
    from replay.store.blobs import open_files

    return open_files(url)


@hookimpl
def replay_blobs() -> Mapping[str, BlobsFactory]:
    """Files in a folder."""
    return {"file": _files}


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """The reference, and the embedded default."""
    return {"memory": _memory, "sqlite": _sqlite}


@hookimpl
def replay_providers() -> Mapping[str, Provider]:
    """The client of OpenAI and of every compatible server, told by its own environment variables."""
    from replay.llm.openai import OpenAI

    return {"openai": OpenAI()}
