"""What answers cost, as they tell it themselves.

Rule 1: an answer that is an object with ``cost`` (dollars) or ``usage`` (tokens) tells what it cost; replies of language models do, and
so may any step's result. What was spent in all, with attempts in vain, stands under ``spent``. What tells nothing costs nothing.
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
    return spent_by(event.payload) if event.kind in _ANSWERS else NOTHING


def spent_by(payload: bytes) -> Spent:
    """What an answer, or a failed attempt, tells of its cost by its bytes."""
    if not any(mark in payload for mark in _MARKS):
        return NOTHING
    said = said_in(payload)
    if not isinstance(said, dict):
        return NOTHING
    if isinstance(said.get("spent"), dict):
        return Spent.decode(said["spent"])
    unknown = "cost" in said and said["cost"] is None
    usd, tokens, calls = _number(said.get("cost")), _tokens(said.get("usage")), int(_number(said.get("calls", 1)))
    if not (unknown or tokens or _is_number(said.get("cost"))):
        return NOTHING
    return Spent(usd=usd, tokens=tokens, calls=calls, unpriced=calls if unknown else 0)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0
