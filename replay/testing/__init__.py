"""What tests of workflows, stores and plugins are made of; public, as steady as ``replay`` itself.

Names load when they are used, so that a program may import ``replay.testing`` where pytest is not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from replay.testing.clock import VirtualClock
    from replay.testing.store_contract import StoreContract, TransactionContract

__all__ = ["StoreContract", "TransactionContract", "VirtualClock"]

HOMES: Final = {
    "StoreContract": "replay.testing.store_contract",
    "TransactionContract": "replay.testing.store_contract",
    "VirtualClock": "replay.testing.clock",
}
"""Where each name lives."""


def __getattr__(name: str) -> Any:
    """Load a name from its home."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
