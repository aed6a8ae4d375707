"""Who waits for runs to end, and how they are told.

Rule 1: whoever waits for a run that is driven here is told when it ends, at no cost; runs that are driven elsewhere are asked about
once a poll, where they are many some at a time.
Rule 2: an ending is remembered for a moment, for who started the run and has not asked yet.
Rule 3: ``add`` is for any thread, all else for the one that drives: so who asks for an ending that is remembered is answered without
a word to that thread, and who asks during a run's last commit is told as soon as it is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from replay.engine.held import BUSY_BREATH, Held
from replay.engine.trouble import Trouble
from replay.errors import StoreError
from replay.model.codec import to_json
from replay.store.contract import OPEN, Run, RunKey, Store

STUCK: Final = "Stuck"
"""What those who wait for a stuck run are told instead of an exception's type; the note says what was raised."""
FRESH_LIMIT: Final = 2_000
"""Runs that just ended here whose ending is remembered for who asks next, so that a result costs no question to the store."""
FRESH_SIZE: Final = 4_096
"""Bytes of such an ending at most."""
LOOKED_AFTER: Final = 500
"""Runs driven elsewhere that are asked about in one go."""


def ending(run: Run | None) -> tuple[str, bytes]:
    """How a run ended, as its waiters are told: status and payload of its closing event."""
    if run is None:
        return "unknown", b""
    if run.status == "stuck":
        return stuck(run.note)
    return run.status, run.result


def stuck(note: str) -> tuple[str, bytes]:
    """What those are told who wait for a run that does not go on."""
    return "stuck", to_json({"type": STUCK, "message": note})


class Waiters:
    """Those who wait, as one worker knows them.

    Args:
        store: Who knows of runs that are driven elsewhere.
        held: The runs that are driven here.
        poll: Microseconds between two questions about the others.
        trouble: Told of a store that does not answer.

    Attributes:
        futures: Those who wait, by run.
        fresh: How runs ended here a moment ago.
    """

    def __init__(self, store: Store, held: Held, *, poll: int, trouble: Trouble) -> None:
        self.futures: dict[RunKey, list[Future[Any]]] = {}
        self.fresh: dict[RunKey, tuple[str, bytes]] = {}
        self._lock = threading.Lock()
        self._fresh_until = 0
        self._look_at = 0
        self._store = store
        self._held = held
        self._poll = poll
        self._trouble = trouble

    def add(self, key: RunKey, future: Future[Any]) -> bool:
        """Remember who waits; False when the run is not driven here, so that ``look_at`` must ask for it.

        Those who gave up are forgotten each time that their number has doubled.
        """
        with self._lock:
            told = self.fresh.pop(key, None)
            if told is None:
                futures = self.futures.setdefault(key, [])
                futures.append(future)
                if len(futures) & (len(futures) - 1) == 0:
                    futures[:] = [future for future in futures if not future.done()]
                return key in self._held.live
        _tell([future], told)
        return True

    def tell(self, key: RunKey, told: tuple[str, bytes]) -> None:
        """Tell those who wait for a run how it ended."""
        with self._lock:
            futures = self.futures.pop(key, ())
        _tell(futures, told)

    def ended(self, key: RunKey, told: tuple[str, bytes], now: int) -> None:
        """A run ended here: tell who waits, or remember it for a moment."""
        with self._lock:
            futures = self.futures.pop(key, ())
            if not futures and len(told[1]) <= FRESH_SIZE and len(self.fresh) < FRESH_LIMIT:
                if not self.fresh:
                    self._fresh_until = now + self._poll
                self.fresh[key] = told
        _tell(futures, told)

    def look_after(self, now: int) -> None:
        """Forget endings that nobody asked for, and answer those who wait for runs that are driven elsewhere, if it is time."""
        if now >= self._fresh_until:
            self.fresh.clear()
        if now < self._look_at:
            return
        keys = [key for key in list(self.futures) if key not in self._held.live]
        turns = -(-len(keys) // LOOKED_AFTER)
        if not turns:
            return
        if turns > 1:
            self._look_at = now + max(BUSY_BREATH, self._poll // turns)
            self._held.claim_by(self._look_at)
        self._ask(keys[:LOOKED_AFTER])

    def look_at(self, keys: Sequence[RunKey]) -> None:
        """Somebody has begun to wait for these: ask about those that are driven elsewhere now."""
        if strangers := [key for key in keys if key in self.futures and key not in self._held.live]:
            self._ask(strangers)

    def _ask(self, keys: Sequence[RunKey]) -> None:
        """Answer those who wait for these runs, which are not driven here, if they have ended."""
        try:
            runs = self._store.get(keys)
        except StoreError as error:
            self._trouble.tell("get", error)
            return
        for key, run in zip(keys, runs, strict=True):
            if run is None or run.status not in OPEN or run.status == "stuck":
                self.tell(key, ending(run))
                continue
            with self._lock:
                if waiting := [future for future in self.futures.pop(key, ()) if not future.done()]:
                    self.futures[key] = waiting  # to the end of the line

    def clock_went_back(self, now: int) -> None:
        """What was remembered until a moment of the old time is forgotten now."""
        self._look_at = now
        self.fresh.clear()

    def leave(self) -> list[Future[Any]]:
        """All who still wait; none of them is told any more."""
        with self._lock:
            waiting, self.futures = self.futures, {}
        return [future for futures in waiting.values() for future in futures]


def _tell(futures: Iterable[Future[Any]], told: tuple[str, bytes]) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_result(told)
