"""What answers cost, as they tell it themselves.

Rule 1: an answer that is an object with ``cost`` (dollars) or ``usage`` (tokens) tells what it cost; replies of language models do, and
so may any step's result. A failure may tell it under ``spent``. What tells nothing costs nothing.
Rule 2: a cost that is told as unknown (``"cost": null``) is counted apart, and never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from replay.model import events
from replay.model.budgets import NOTHING, Spent
from replay.model.comparison import said_in
from replay.model.events import Event

_ANSWERS: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED, events.STEP_ATTEMPT_FAILED})
_MARKS: Final = (b'"cost"', b'"usage"', b'"spent"')


def spent_in(event: Event) -> Spent:
    """What one answer tells of its cost."""
    if event.kind not in _ANSWERS or not any(mark in event.payload for mark in _MARKS):
        return NOTHING
    said = said_in(event.payload)
    if not isinstance(said, dict):
        return NOTHING
    if isinstance(said.get("spent"), dict):
        return Spent.decode(said["spent"])
    unpriced = "cost" in said and said["cost"] is None
    usd, tokens = _number(said.get("cost")), _tokens(said.get("usage"))
    return Spent(usd=usd, tokens=tokens, calls=1, unpriced=int(unpriced)) if usd or tokens or unpriced else NOTHING


def spent_in_all(journal: Iterable[Event]) -> Spent:
    """What a journal's answers tell together."""
    return sum(map(spent_in, journal), NOTHING)


def _tokens(usage: Any) -> int:
    """Tokens in and out: of an object, by any of the names in use, or of a list that begins with both."""
    if isinstance(usage, list):
        return sum(int(_number(count)) for count in usage[:2])
    if isinstance(usage, Mapping):
        names = (("input", "input_tokens", "prompt_tokens"), ("output", "output_tokens", "completion_tokens"))
        return sum(int(next((_number(usage[name]) for name in some if name in usage), 0)) for some in names)
    return 0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
