"""The database's clock, without asking it each time.

Rule 1: what is asked for is measured: the database's time, and what this machine's monotonic clock said before and after. In between,
the monotonic clock carries it on. So workers whose clocks are an hour apart agree to within a fraction of a millisecond.
Rule 2: small corrections never make it go back; a database whose clock was put back by a second or more is believed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from replay.hooks import StoreError

REFRESH: Final = 20_000_000
"""Microseconds after which a measurement is made anew."""
RETRY: Final = 1_000_000
"""The same when the database did not answer."""
SPREAD: Final = 5_000
"""Microseconds: a measurement that took longer is only taken when the last one is old."""
STEP: Final = 1_000_000
"""Microseconds: from here on a difference is no error of measurement."""


def monotonic() -> int:
    """Microseconds since some moment."""
    return time.monotonic_ns() // 1_000


class ServerClock:
    """Tells a server's time.

    Args:
        ask: Asks the server for its time, microseconds UTC.
        ticks: Microseconds since some moment.
    """

    def __init__(self, ask: Callable[[], int], ticks: Callable[[], int] = monotonic) -> None:
        self._ask = ask
        self._ticks = ticks
        self._lock = threading.Lock()
        self._offset = 0
        self._due = 0
        self._told = 0

    def __call__(self) -> int:
        """The time, microseconds UTC."""
        if self._ticks() >= self._due and self._lock.acquire(blocking=False):
            try:
                self.measure()
            except StoreError:
                self._due = self._ticks() + RETRY
            finally:
                self._lock.release()
        moment = self._ticks() + self._offset
        if 0 < self._told - moment < STEP:
            return self._told
        self._told = moment
        return moment

    def measure(self) -> None:
        """Ask the server.

        Raises:
            StoreError: It does not answer.
        """
        before = self._ticks()
        moment = self._ask()
        self.heard(before, moment)

    def heard(self, before: int, moment: int) -> None:
        """Take the time that came with an answer to what was asked at ``before``."""
        after = self._ticks()
        if after - before <= SPREAD or after >= self._due:
            self._offset = moment - (before + after) // 2
            self._due = after + REFRESH
