"""Two threads and one baton: whoever holds it drives, and may do a short step with its own hands.

To hand a step to another thread and its answer back costs 70 µs, which is more than the rest of a turn. So a step that was
quick last time, and besides which nothing is under way, is done by the thread that drives. Should it take longer this time, the
other thread notices after ``PATIENCE`` and takes the baton: nothing waits for a user's code much longer than that.

Rule 1: who drives holds the baton; all that belongs to the worker belongs to the holder.
Rule 2: a holder that does a job lays the baton down before, and may go on driving only if it finds it again after.
Rule 3: the other thread looks only while jobs are being done; besides that it sleeps.

This is the leader and followers pattern (Schmidt, O'Ryan, Kircher, Pyarali, "Leader/Followers", PLoP 2000), with one follower.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 0.005
"""Seconds between two looks of the thread that stands by; a job seen twice has lost the baton."""
CALM: Final = 20
"""Looks without a new job after which it sleeps again."""


class Baton:
    """What tells two threads which of them drives.

    Attributes:
        followed: Whether the other thread stands by; a job is to be done by hand only then.
    """

    def __init__(self) -> None:
        self.followed = False
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._ended = threading.Event()
        self._watched = False
        self._jobs = 0
        self._doing = 0

    def do(self, job: Callable[[], None]) -> bool:
        """Do a job; whether the thread that calls still holds the baton afterwards."""
        self._jobs = number = self._jobs + 1
        self._doing = number
        if not self._watched:  # after ``_doing`` is set: who stands by looks at both in the other order
            self._watched = True
            self._bell.set()
        job()
        with self._lock:
            if self._doing != number:
                return False
            self._doing = 0
            return True

    def stand_by(self) -> bool:
        """Sleep until the baton lies there for too long, and take it; False when all has ended."""
        self.followed = True
        while not self._ended.is_set():
            self._bell.wait()
            self._bell.clear()
            if self._watch():
                return True
        return False

    def _watch(self) -> bool:
        seen, calm = 0, 0
        while calm < CALM:
            if self._ended.wait(PATIENCE):
                return False
            number = self._doing
            if number and number == seen and self._take(number):
                return True
            calm = calm + 1 if self._jobs == seen else 0
            seen = self._jobs
        self._watched = False
        if self._doing:  # one began while this thread made up its mind
            self._watched = True
            self._bell.set()
        return False

    def _take(self, number: int) -> bool:
        with self._lock:
            taken = self._doing == number
            if taken:
                self._doing = 0
                self.followed = self._watched = False
            return taken

    def end(self) -> None:
        """Nobody drives any more."""
        self._ended.set()
        self._bell.set()
