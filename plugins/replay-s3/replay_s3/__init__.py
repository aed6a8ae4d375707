"""A whole store on nothing but a bucket."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay_s3.store import S3Store, open_s3


def __getattr__(name: str) -> Any:
    """The store, when it is named: every program that uses replay imports this package to ask for its hooks."""
    if name in __all__:
        return getattr(importlib.import_module("replay_s3.store"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


__all__ = ["S3Store", "open_s3"]
