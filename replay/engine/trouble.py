"""A store that does not answer: who is told, how long to wait before the next try, and when to give up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from replay.engine.observers import Observer

logger: Final = logging.getLogger("replay")


class Trouble:
    """What one worker knows about its store's silence.

    Args:
        observers: Whom to tell.
        sleep: Waits between two tries, seconds.

    Attributes:
        leave_at: When to stop asking, microseconds, or None; another thread may set it.
    """

    def __init__(self, observers: Observer, sleep: Callable[[float], None]) -> None:
        self.leave_at: int | None = None
        self.sleep = sleep
        self._observers = observers
        self._failures = 0

    def tell(self, verb: str, error: Exception) -> None:
        """The store did not answer; the log hears of it now and then."""
        self._failures += 1
        if self._failures in {1, 10} or self._failures % 100 == 0:
            logger.warning("store does not answer (%s, %d times): %s", verb, self._failures, error)
        self._observers.unavailable(verb, error)

    def is_enough(self, now: int) -> bool:
        """Whether it is time to leave, answer or not."""
        return self.leave_at is not None and now >= self.leave_at

    def pause(self) -> None:
        """Wait for the next try, twice as long each time, up to a second."""
        self.sleep(min(1.0, 0.01 * 2 ** min(self._failures, 7)))

    def over(self) -> None:
        """It answers."""
        self._failures = 0
