"""Time, as an argument: whoever needs it is handed a clock."""

from __future__ import annotations

import time

from replay.store.contract import Clock


def system_clock() -> int:
    """Microseconds since 1970-01-01 UTC by the machine's clock; it may jump."""
    return time.time_ns() // 1000


__all__ = ["Clock", "system_clock"]
