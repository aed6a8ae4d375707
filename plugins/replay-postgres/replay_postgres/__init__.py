"""A store in PostgreSQL, shared by many workers on many machines: ``postgresql://user:password@host:port/database``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay_postgres.store import PostgresStore, open_postgres


def __getattr__(name: str) -> Any:
    """The store, when it is named: every program that uses replay imports this package to ask for its hooks."""
    if name in __all__:
        return getattr(importlib.import_module("replay_postgres.store"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


__all__ = ["PostgresStore", "open_postgres"]
