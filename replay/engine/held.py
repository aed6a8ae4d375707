"""What a worker holds in memory: the runs that it claimed, which of them heard something, and when to look at which.

Rule 1: what the rooms of a worker share is here, and belongs to the thread that drives.
Rule 2: no store. Who drops a run forgets it; whether its lease is given back is for whoever dropped it to say.
"""

from __future__ import annotations

from typing import Final

from replay.engine.alarms import Alarms
from replay.engine.live import Live
from replay.engine.recoveries import Line
from replay.store.contract import RunKey

BREATH: Final = 1_000
"""Microseconds between two claims at the least."""
IDLE_BREATH: Final = 5_000
"""The same when the store says that something changed; most often it was this worker itself, a moment ago."""
BUSY_BREATH: Final = 10_000
"""The same while runs are under way here, whose own commits would wake the claimer again and again."""
WAITING: Final = object()
"""Stands among the tasks of a run for an attempt that waits for room."""


class Held:
    """The runs that one worker holds.

    Args:
        line: Those of them that are in doubt.

    Attributes:
        live: All of them, by name.
        touched: Those that heard something since their last turn.
        resting: Those that only wait, and until when they are kept, microseconds.
        alarms: When to look at which run, attempt or pulse.
        claim_at: When to ask the store for more, microseconds.
        hungry: Whether the store may hold runs for which there was no room: then the next to go makes some.
        leaving: Until when steps may come to their end, microseconds; None while the worker takes runs.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.live: dict[RunKey, Live] = {}
        self.touched: dict[RunKey, Live] = {}
        self.resting: dict[RunKey, int] = {}
        self.alarms = Alarms()
        self.claim_at = 0
        self.hungry = False
        self.leaving: int | None = None

    def touch(self, live: Live) -> None:
        """It heard something, and is to have a turn."""
        self.touched[live.key] = live
        self.resting.pop(live.key, None)

    def alarm(self, live: Live, moment: int) -> None:
        """Look at a run at a moment; the alarm that was set before is taken back."""
        self.alarms.drop(live.alarm)
        live.alarm = self.alarms.set(moment, live)

    def claim_by(self, moment: int) -> None:
        """Ask the store for more at that moment at the latest."""
        self.claim_at = min(self.claim_at, moment)

    def rest_no_more(self) -> None:
        """Give back those that are kept although they only wait."""
        for key in list(self.resting):
            self.live[key].parking = True
            self.touch(self.live[key])

    def drop(self, live: Live) -> None:
        """Forget a run: its generators are closed, what runs for it is abandoned."""
        if self.live.get(live.key) is live:
            del self.live[live.key]
            self.resting.pop(live.key, None)
            self.touched.pop(live.key, None)
        if self.hungry:
            self.claim_at = 0
        self.line.leaves(live)
        if live.alarm:
            self.alarms.drop(live.alarm)
        for attempt in live.tasks.values():
            if attempt is not WAITING:
                attempt.abandon()
        live.tasks.clear()
        live.acting = []
        live.queued.clear()
        live.interp.close()
