"""Whether a run's thinking goes well: trends over its calls, and what to do about bad ones.

Rule 1: pure functions over facts of the journal; every threshold has a name and a default that can be changed.
Rule 2: a trend compares the last calls of a name with its first ones; with fewer calls than two windows there is none.
Rule 3: advice is a value: what to do, why, and the line of code that does it. Nothing is done by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import attrs

from replay.model import events
from replay.model.events import Event
from replay.model.names import SECOND
from replay.model.spending import spent_in

Remedy = Literal["distill", "trim", "fall back", "stop"]


@attrs.frozen(kw_only=True)
class Thresholds:
    """From where on something is told.

    Attributes:
        window: How many calls are compared with how many.
        shrink: Replies that are this part of what they were, or less, have lost their context.
        grow: Replies that are this many times as long, or more, ramble.
        retries: Attempts a call, on average of the last window.
        slower: How many times as long as at first.
        budget: Which part of the budget may be spent before it is told.
        notes: Bytes of notes that are not distilled.
        events: Events since the last savepoint with state.
    """

    window: int = 5
    shrink: float = 0.4
    grow: float = 3.0
    retries: float = 1.5
    slower: float = 2.0
    budget: float = 0.8
    notes: int = 64_000
    events: int = 2_000


@attrs.frozen(kw_only=True)
class Sample:
    """One answered call.

    Attributes:
        name: Of the step.
        size: Bytes of its answer.
        attempts: How often it was tried.
        seconds: How long its last attempt took.
        dollars: What it cost.
    """

    name: str
    size: int
    attempts: int = 1
    seconds: float = 0.0
    dollars: float = 0.0


@attrs.frozen(kw_only=True)
class Trend:
    """How the last calls of a name compare with its first ones; 1 is the same.

    Attributes:
        name: Of the step.
        size: Length of answers.
        seconds: Duration.
        attempts: Attempts a call in the last window, not a ratio.
    """

    name: str
    size: float
    seconds: float
    attempts: float


@attrs.frozen
class Advice:
    """What to do, why, and how."""

    do: Remedy
    why: str
    recipe: str


@attrs.frozen(kw_only=True)
class Health:
    """How it goes.

    Attributes:
        trends: Of each name with enough calls.
        dollars: Spent so far.
        advice: What to do, the most pressing first; empty when all is well.
    """

    trends: tuple[Trend, ...]
    dollars: float
    advice: tuple[Advice, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.advice


RECIPES: Final[dict[Remedy, str]] = {
    "distill": 'yield from recall.distill("health")',
    "trim": 'yield from recall.distill("health"); yield from recall.savepoint("trimmed", state=…); prompt with recall.context()',
    "fall back": "call another model or provider: llm_call(model=[…, fallback]), or the step with .options(timeout=…, retry=…)",
    "stop": "yield from recall.savepoint(…) and end, or ask a person for a larger budget: yield from ask(…)",
}
"""The line of code for each remedy."""


def samples_of(journal: Iterable[Event]) -> list[Sample]:
    """Answered steps of a journal."""
    tries: dict[str, int] = {}
    found = []
    for event in journal:
        if event.kind == events.STEP_ATTEMPT_FAILED:
            tries[event.command] = tries.get(event.command, 0) + 1
        elif event.kind in {events.STEP_COMPLETED, events.STEP_FAILED}:
            attempts = max(event.attempt, tries.pop(event.command, 0) + 1)
            seconds, dollars = event.duration / SECOND, spent_in(event).usd
            found.append(Sample(name=event.name, size=len(event.payload), attempts=attempts, seconds=seconds, dollars=dollars))
    return found


def since_savepoint(journal: Sequence[Event]) -> int:
    """How many events lie behind the last savepoint with state."""
    for back, event in enumerate(reversed(journal)):
        if event.kind == events.SAVEPOINT and b'"state":' in event.payload:
            return back
    return len(journal)


def health(
    samples: Sequence[Sample],
    *,
    budget: float | None = None,
    undistilled: int = 0,
    events_since: int = 0,
    thresholds: Thresholds | None = None,
) -> Health:
    """How it goes.

    Args:
        samples: Answered calls, oldest first.
        budget: Dollars that may be spent, or None.
        undistilled: Bytes of notes that are not distilled.
        events_since: Events since the last savepoint with state.
        thresholds: From where on something is told.
    """
    limits = thresholds or Thresholds()
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    trends = [_trend(name, some, limits.window) for name, some in by_name.items() if len(some) >= 2 * limits.window]
    dollars = sum(sample.dollars for sample in samples)
    advice: list[Advice] = []
    if budget is not None and dollars >= limits.budget * budget:
        advice.append(_advise("stop", f"${dollars:.2f} of ${budget:.2f} are spent"))
    if undistilled >= limits.notes:
        advice.append(_advise("distill", f"{undistilled:,} bytes of notes are not distilled"))
    for trend in trends:
        advice += [_advise(remedy, why(trend)) for told, remedy, why in _RULES if told(trend, limits)]
    if events_since >= limits.events:
        advice.append(_advise("trim", f"recovery would read {events_since:,} events since the last savepoint with state"))
    return Health(trends=tuple(trends), dollars=dollars, advice=tuple(advice))


_RULES: Final[tuple[tuple[Callable[[Trend, Thresholds], bool], Remedy, Callable[[Trend], str]], ...]] = (
    (
        lambda trend, limits: trend.size <= limits.shrink,
        "trim",
        lambda trend: f"answers of {trend.name} are {trend.size:.0%} as long as at first",
    ),
    (
        lambda trend, limits: trend.size >= limits.grow,
        "distill",
        lambda trend: f"answers of {trend.name} are {trend.size:.1f} times as long as at first",
    ),
    (
        lambda trend, limits: trend.attempts >= limits.retries,
        "fall back",
        lambda trend: f"{trend.name} takes {trend.attempts:.1f} attempts a call",
    ),
    (
        lambda trend, limits: trend.seconds >= limits.slower,
        "fall back",
        lambda trend: f"{trend.name} takes {trend.seconds:.1f} times as long as at first",
    ),
)


def _advise(remedy: Remedy, why: str) -> Advice:
    return Advice(remedy, why, RECIPES[remedy])


def _trend(name: str, samples: Sequence[Sample], window: int) -> Trend:
    first, last = samples[:window], samples[-window:]
    return Trend(
        name=name,
        size=_ratio([each.size for each in first], [each.size for each in last]),
        seconds=_ratio([each.seconds for each in first], [each.seconds for each in last]),
        attempts=sum(each.attempts for each in last) / window,
    )


def _ratio(before: Sequence[float], after: Sequence[float]) -> float:
    return sum(after) / sum(before) if sum(before) else 1.0
