"""Runs that lose one worker after the other: how the one that kills is told from those that die with it, and set aside.

Rule 1: the store counts. ``recoveries`` grows when a lease ended without being given back, and begins anew with every commit that
takes the run on; so only workers that died in a row without having moved the run are counted, and a healthy run may lose any number.
Rule 2: all runs of a worker die with it. So a run that lost ``DOUBT`` in a row is driven alone: of those in doubt a worker drives one
at a time, the others wait in line, and the next follows when that one has moved, or has lived for the length of a lease.
Rule 3: before a run in doubt is driven, not even replayed, the number of workers that it will have cost is written down, and before
it acts, what it is about to do. Whoever finds that after the next death knows whom to blame, without driving the run.
Rule 4: beyond the limit a run is set aside: stuck, with the reason, with no moment at which it may be claimed. ``resume`` puts it
back, and its count begins anew; ``cancel`` and ``terminate`` reach it too. It keeps its place: whoever waits for it, such as the
parent of a remote step, goes on waiting, for what is only set aside may still be answered.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from replay.engine.live import LOST, Live
from replay.model.codec import from_json, to_json
from replay.model.effects import Step
from replay.model.events import Event
from replay.store.contract import Claimed, Commit

DOUBT: Final = 3
"""Workers that a run loses in a row, among others, before it is driven alone."""
SHOWN: Final = 5
"""Steps that are named at most."""
PUTS_BACK: Final = frozenset({"resume", "cancel", "terminate"})
"""Messages after which a run that was set aside is driven again: with ``cancel`` the pending steps are withdrawn, not begun."""
ITS_CODE: Final = "its own code, before any step"


class Line:
    """The runs in doubt that one worker holds.

    Args:
        limit: How many workers in a row a run may lose.
        patience: Microseconds that a run in doubt is driven alone.

    Attributes:
        waiting: Those that wait for their turn.
        until: When the next may follow, by the store's clock.
    """

    def __init__(self, limit: int, patience: int) -> None:
        self.waiting: deque[Live] = deque()
        self.until = 0
        self._doubt = min(DOUBT, limit)
        self._alone = limit - self._doubt
        self._patience = patience
        self._driven: Live | None = None

    def is_beyond(self, claimed: Claimed) -> bool:
        """Whether a run has lost more workers than allowed, and nobody wants it driven again."""
        in_doubt = claimed.run.recoveries >= self._doubt
        return in_doubt and _lost(claimed)[0] > self._alone and not _is_put_back(claimed)

    def enters(self, claimed: Claimed, live: Live) -> bool:
        """Whether a run is in doubt: then it waits for its turn."""
        if claimed.run.recoveries < max(1, self._doubt):
            return False
        live.lost = 0 if _is_put_back(claimed) else _lost(claimed)[0]
        live.in_line = True
        self.waiting.append(live)
        return True

    def next(self, now: int) -> Live | None:
        """The run whose turn it is, if one's is."""
        while self.waiting and now >= self.until:
            live = self.waiting.popleft()
            if live.in_line:
                live.in_line = False
                live.lost += 1
                self._driven, self.until = live, now + self._patience
                return live
        return None

    def leaves(self, live: Live) -> None:
        """A run is in doubt no more, or gone: another may follow."""
        live.in_line = False
        if self._driven is live:
            self._driven, self.until = None, 0


def warning(live: Live) -> Commit:
    """What is written down before a run in doubt is driven."""
    told = {LOST: to_json([live.lost, live.run.recoveries, f"under way on {live.worker}: {ITS_CODE}"])}
    status = "paused" if live.paused else "running"
    return Commit(lease=live.lease, expected=live.committed, applied=live.applied, status=status, state=told)


def under_way(live: Live) -> str:
    """What a run is about to do here, for whoever finds this worker dead."""
    pending = live.interp.pending.values()
    steps = [command for command in pending if isinstance(command.effect, Step) and not live.is_remote(command.effect)]
    named = [f"step {command.effect.name} (command {command.id}{_at(live.lines.get(command.id, ''))})" for command in steps[:SHOWN]]
    more = [f"{len(steps) - SHOWN:,} more"] if len(steps) > SHOWN else []
    return f"under way on {live.worker}: {', '.join([*named, *more])}"


def reason(claimed: Claimed) -> str:
    """Why a run is set aside; for one that was set aside before, what was said then."""
    run, last = claimed.run, claimed.journal[-1]
    if run.status == "stuck" and run.note:
        return run.note
    lost, doing = _lost(claimed)
    return (
        f"set aside: {run.recoveries} workers in a row died while they held it, since event {_named(last)}; "
        f"in the last {lost} of them no other run in doubt was driven beside it; {doing}. "
        f"Mend what ends them, then `replay resume {run.key.id}` puts it back"
    )


def _lost(claimed: Claimed) -> tuple[int, str]:
    """How many workers died while they drove a run alone, and what was under way on the last of them.

    One that gave the run back, as in draining, did not die: then ``recoveries`` has not grown since it wrote that down.
    """
    found = from_json(claimed.run.state[LOST]) if LOST in claimed.run.state else []
    if not found:
        return 0, ""
    count, before, doing = found
    return min(count if claimed.run.recoveries > before else count - 1, claimed.run.recoveries), doing


def _is_put_back(claimed: Claimed) -> bool:
    return any(message.kind in PUTS_BACK for message in claimed.mail)


def _at(line: str) -> str:
    return f", {line}" if line else ""


def _named(event: Event) -> str:
    return f"#{event.seq} ({event.kind} {event.name})" if event.name else f"#{event.seq} ({event.kind})"
