"""A clock that stands still until it is told to go.

Rule 1: it is what a store takes as its ``clock=``: called, it answers microseconds UTC.
Rule 2: it may be put back, as clocks are.
"""

from __future__ import annotations

import threading
from typing import Final

NOON: Final = 1_767_268_800_000_000
"""Where it starts: 1 January 2026, 12:00 UTC, in microseconds."""
SECOND: Final = 1_000_000
"""Microseconds in a second."""


class VirtualClock:
    """Time as an argument; safe to share between threads."""

    def __init__(self, start: int = NOON) -> None:
        self._lock = threading.Lock()
        self._now = start

    def __call__(self) -> int:
        """The time, microseconds UTC."""
        return self._now

    def now(self) -> int:
        """The time, microseconds UTC."""
        return self._now

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> int:
        """Let time pass, or take it back when negative; the time from then on."""
        span = seconds + 60 * minutes + 3600 * hours + 86400 * days
        with self._lock:
            self._now += round(span * SECOND)
            return self._now

    def set(self, moment: int) -> None:
        """Put it to a moment, microseconds UTC."""
        with self._lock:
            self._now = moment

    def __repr__(self) -> str:
        return f"VirtualClock({self._now})"
