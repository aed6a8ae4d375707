"""A store in one file of JSON lines, shared by the processes of one machine: ``jsonl:///path/to/runs.jsonl``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay_jsonl.store import JsonlStore, open_jsonl


def __getattr__(name: str) -> Any:
    """The store, when it is named: every program that uses replay imports this package to ask for its hooks."""
    if name in __all__:
        return getattr(importlib.import_module("replay_jsonl.store"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


__all__ = ["JsonlStore", "open_jsonl"]
