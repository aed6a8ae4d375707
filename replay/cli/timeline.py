"""A journal as rows, and time as columns of a chart; nothing is drawn here.

Rule 1: a bar ends at its event's moment. It begins where the recorded duration says or, for what has none (a timer, a signal, a child),
where the workflow asked for it: known when its code is at hand, because driving the code over the journal tells.
Rule 2: long waits are drawn short, or a day's sleep would leave no room for the steps beside it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from replay.cli.text import PREVIEW, compact, plain, preview, shorten
from replay.model import events
from replay.model.comparison import said_in
from replay.model.events import Event

WORK: Final = "█"
WAIT: Final = "░"
POINT: Final = "│"
QUIET_SHARE: Final = 0.2
"""The longest stretch without work takes at most this share of what all work takes."""


class Look(NamedTuple):
    """How a kind of event is shown."""

    mark: str
    style: str


LOOKS: Final[Mapping[str, Look]] = {
    events.STARTED: Look("▸", "bold"),
    events.STEP_COMPLETED: Look("✓", "green"),
    events.STEP_FAILED: Look("✗", "red"),
    events.STEP_ATTEMPT_FAILED: Look("↻", "yellow"),
    events.STEP_INTENT: Look("◦", "dim"),
    events.TIMER_FIRED: Look("◷", "blue"),
    events.SIGNAL_RECEIVED: Look("←", "magenta"),
    events.UPDATE_RECEIVED: Look("⇄", "magenta"),
    events.CHILD_COMPLETED: Look("✓", "green"),
    events.CHILD_FAILED: Look("✗", "red"),
    events.SAVEPOINT: Look("◆", "cyan"),
    events.CANCEL_REQUESTED: Look("⊘", "yellow"),
    events.COMPLETED: Look("■", "bold green"),
    events.FAILED: Look("■", "bold red"),
    events.CANCELLED: Look("■", "bold yellow"),
    events.CONTINUED: Look("■", "bold green"),
}
_UNKNOWN: Final = Look("?", "red")


@attrs.frozen
class Row:
    """One event, as the timeline shows it.

    Attributes:
        event: The event.
        delta: Microseconds since the one before.
        began: When its bar begins, microseconds UTC; its own moment for what has no length.
        is_work: Whether something was done meanwhile, or only waited for.
    """

    event: Event
    delta: int
    began: int
    is_work: bool

    @property
    def look(self) -> Look:
        """How it is shown."""
        return LOOKS.get(self.event.kind, _UNKNOWN)

    @property
    def answer(self) -> str:
        """Its payload as one line."""
        return answer_of(self.event)


def rows(journal: Sequence[Event], asked_at: Mapping[int, int]) -> list[Row]:
    """A journal as rows.

    Args:
        journal: The events.
        asked_at: When what an event answers was asked for, microseconds, by seq; what is missing is drawn as a point.
    """
    found = []
    before = journal[0].at if journal else 0
    for event in journal:
        is_work = event.duration > 0
        began = event.at - event.duration if is_work else min(asked_at.get(event.seq, event.at), event.at)
        found.append(Row(event, event.at - before, began, is_work))
        before = event.at
    return found


# ---- payloads -----------------------------------------------------------------------------------------------------------


def answer_of(event: Event) -> str:
    """What an event says, as one line of bounded length."""
    say = _SAYINGS.get(event.kind)
    if say is None:
        return "" if event.payload in _NOTHING and event.kind in _SILENT else preview(event.payload)
    said = said_in(event.payload)
    return shorten(plain(say(said)), PREVIEW) if isinstance(said, dict) else preview(event.payload)


def _failure(said: dict[str, Any]) -> str:
    text = f"{said.get('type', 'Exception')}: {said.get('message', '')}"
    pause = said.get("retry_in")
    first = text.splitlines()[0] if text.strip() else text
    return first if pause is None else f"{first}; tried again after {pause:.3g} s"


def _started(said: dict[str, Any]) -> str:
    given = said.get("input", [])
    if isinstance(given, list):
        return ", ".join(map(compact, given))
    words = [*map(compact, given.get("args", ())), *(f"{key}={compact(value)}" for key, value in given.get("kwargs", {}).items())]
    return ", ".join(words)


def _savepoint(said: dict[str, Any]) -> str:
    state = f"state {compact(said['state'])}" if "state" in said else ""
    notes = [f"{key} {compact(value)}" for key, value in (said.get("notes") or {}).items() if value]
    return "; ".join(part for part in (state, *notes) if part)


_NOTHING: Final = (b"", b"null")
_SILENT: Final = frozenset({events.TIMER_FIRED, events.STEP_INTENT, events.COMPLETED})
_SAYINGS: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    events.STARTED: _started,
    events.STEP_FAILED: _failure,
    events.STEP_ATTEMPT_FAILED: _failure,
    events.CHILD_FAILED: _failure,
    events.FAILED: _failure,
    events.SAVEPOINT: _savepoint,
    events.UPDATE_RECEIVED: lambda said: compact(said.get("value")),
    events.CANCEL_REQUESTED: lambda said: str(said.get("reason", "")),
    events.CANCELLED: lambda said: str(said.get("reason", "")),
}


# ---- the chart ----------------------------------------------------------------------------------------------------------


class Axis:
    """Moments to columns.

    Args:
        shown: What is drawn.
        width: Columns.

    Attributes:
        is_cut: Whether long waits are drawn shorter than they were.
    """

    def __init__(self, shown: Sequence[Row], width: int) -> None:
        self.width = width
        self._moments = sorted({moment for row in shown for moment in (row.began, row.event.at)})
        self._places = [0.0]
        busy = _covered(self._moments, [(row.began, row.event.at) for row in shown if row.is_work])
        lengths = [after - before for before, after in zip(self._moments, self._moments[1:], strict=False)]
        work = sum(length for length, at_work in zip(lengths, busy, strict=True) if at_work)
        limit = work * QUIET_SHARE if work else float("inf")
        self.is_cut = False
        for length, at_work in zip(lengths, busy, strict=True):
            drawn = length if at_work else min(length, limit)
            self.is_cut |= drawn < length
            self._places.append(self._places[-1] + drawn)

    def column(self, moment: int) -> float:
        """Where a moment lies, from 0 to ``width``."""
        place = self._places[min(bisect.bisect_left(self._moments, moment), len(self._places) - 1)]
        return place / (self._places[-1] or 1) * self.width

    def bar(self, row: Row) -> str:
        """A row's bar, ``width`` characters long."""
        first, last = self.column(row.began), self.column(row.event.at)
        start = min(int(first), self.width - 1)
        if row.began == row.event.at:
            return " " * start + POINT + " " * (self.width - start - 1)
        length = max(1, min(round(last - start), self.width - start))
        return " " * start + (WORK if row.is_work else WAIT) * length + " " * (self.width - start - length)


def _covered(moments: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each stretch between two moments: whether a span lies over it."""
    change = dict.fromkeys(moments, 0)
    for begin, end in spans:
        change[begin] += 1
        change[end] -= 1
    depth, covered = 0, []
    for moment in moments[:-1]:
        depth += change[moment]
        covered.append(depth > 0)
    return covered
