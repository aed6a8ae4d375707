"""What answers cost, as they tell it themselves.

Rule: an answer that is an object with ``cost`` (dollars) or ``usage`` (tokens) tells what it cost; replies of language models do, and
so may any step's result. A failure may tell it under ``spent``. What tells nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import attrs

from replay.model import events
from replay.model.comparison import said_in
from replay.model.events import Event

_ANSWERS: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED, events.STEP_ATTEMPT_FAILED})


@attrs.frozen
class Spending:
    """What calls cost.

    Attributes:
        calls: How many answers told of a cost.
        dollars: Together.
        input: Tokens in.
        output: Tokens out.
    """

    calls: int = 0
    dollars: float = 0.0
    input: int = 0
    output: int = 0

    def plus(self, other: Self) -> Self:
        """Both together."""
        return attrs.evolve(
            self,
            calls=self.calls + other.calls,
            dollars=self.dollars + other.dollars,
            input=self.input + other.input,
            output=self.output + other.output,
        )

    def __str__(self) -> str:
        tokens = f", {self.input:,} + {self.output:,} tokens" if self.input or self.output else ""
        return f"${self.dollars:.4f}{tokens}" if self.calls else "nothing"


def spent_in(event: Event) -> Spending:
    """What one answer tells of its cost."""
    if event.kind not in _ANSWERS or not (b'"cost"' in event.payload or b'"usage"' in event.payload or b'"spent"' in event.payload):
        return Spending()
    said = said_in(event.payload)
    if not isinstance(said, dict):
        return Spending()
    told = said["spent"] if isinstance(said.get("spent"), dict) else said
    dollars = _number(next((told[name] for name in ("cost", "usd", "dollars") if name in told), None))
    tokens_in, tokens_out = _tokens(told.get("usage", [told.get("tokens"), 0]))
    if not (dollars or tokens_in or tokens_out):
        return Spending()
    return Spending(1, dollars, tokens_in, tokens_out)


def spent_in_all(journal: Iterable[Event]) -> Spending:
    """What a journal's answers tell together."""
    total = Spending()
    for event in journal:
        total = total.plus(spent_in(event))
    return total


def _tokens(usage: Any) -> tuple[int, int]:
    """Tokens in and out: of an object, by any of the names in use, or of a list that begins with both."""
    if isinstance(usage, list) and len(usage) >= 2:
        return int(_number(usage[0])), int(_number(usage[1]))
    if isinstance(usage, Mapping):
        names = (("input", "input_tokens", "prompt_tokens"), ("output", "output_tokens", "completion_tokens"))
        found = [next((_number(usage[name]) for name in some if name in usage), 0.0) for some in names]
        return int(found[0]), int(found[1])
    return 0, 0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
