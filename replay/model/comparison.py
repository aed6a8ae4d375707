"""Two journals, event by event.

Rule 1: what counts is what replay reads. Moments, attempts, durations, workers and tracebacks differ between any two runs and are
not compared; nor is what names the run itself, or the latency and request digest of a model's reply.
Rule 2: up to the first difference events are paired by place, after it by what they answer, so that one event more or less does not
make all others look different.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Final, Literal

import attrs

from replay.errors import PayloadError
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.events import Event

Verdict = Literal["other", "only_a", "only_b", "moved"]
_IDENTITY: Final = frozenset({"seed", "parent", "parent_command", "deadline", "tags", "namespace", "mail", "chain"})
_BESIDE: Final = frozenset({"latency", "digest"})
"""What a model's reply says of its question and its duration."""
_FAILED: Final = frozenset({events.STEP_FAILED, events.STEP_ATTEMPT_FAILED, events.CHILD_FAILED, events.FAILED})


@attrs.frozen
class Difference:
    """One place where two journals differ.

    Attributes:
        verdict: How: another answer, only in one of them, or the same at another place.
        a: The event of the first journal, or None.
        b: That of the second.
    """

    verdict: Verdict
    a: Event | None
    b: Event | None


@attrs.frozen
class Comparison:
    """What two journals have in common.

    Attributes:
        agree: How many events they begin with that are the same.
        differences: All that differs after that.
        elsewhere: How many events after that are the same though at another place.
    """

    agree: int
    differences: Sequence[Difference]
    elsewhere: int

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and not self.elsewhere


def compare(a: Sequence[Event], b: Sequence[Event]) -> Comparison:
    """Compare two journals."""
    agree = sum(1 for _ in itertools.takewhile(lambda pair: essence(pair[0]) == essence(pair[1]), zip(a, b, strict=False)))
    rest_a, rest_b = _named(a[agree:]), _named(b[agree:])
    found: list[Difference] = []
    moved: list[Difference] = []
    for key, event in rest_a.items():
        other = rest_b.get(key)
        if other is None:
            found.append(Difference("only_a", event, None))
        elif essence(event) != essence(other):
            found.append(Difference("other", event, other))
        else:
            moved.append(Difference("moved", event, other))
    found += [Difference("only_b", None, event) for key, event in rest_b.items() if key not in rest_a]
    if not found:  # the same answers in another order
        found = [pair for pair in moved if pair.a is not None and pair.b is not None and pair.a.seq != pair.b.seq]
    return Comparison(agree, sorted(found, key=_place), len(moved))


def essence(event: Event) -> tuple[Any, ...]:
    """What counts of an event."""
    payload: Any = event.payload
    if b'"latency":' in payload and is_reply(said := said_in(payload)):
        payload = to_json({key: value for key, value in said.items() if key not in _BESIDE})
    if event.kind == events.STARTED or event.kind in _FAILED:
        said = said_in(event.payload)
        if isinstance(said, dict):
            kept = {"type", "message"} if event.kind in _FAILED else said.keys() - _IDENTITY
            payload = to_json({key: said.get(key) for key in sorted(kept)})
    return event.kind, event.command, event.name, event.check, payload


def is_reply(said: Any) -> bool:
    """Whether an answer is a reply of a language model."""
    return isinstance(said, dict) and {"cost", "digest"} <= said.keys()


def told_by(said: Any) -> Any:
    """What counts of an answer for people: of a model's reply its words, and what it wants done."""
    if not is_reply(said):
        return said
    calls = [f"{name}({arguments})" for _, name, arguments in said.get("tool_calls", ())]
    return " ".join([*([said["text"]] if said.get("text") else []), *calls])


def _named(journal: Sequence[Event]) -> dict[Hashable, Event]:
    """Events by what they answer, or by kind and name for those that answer nothing, numbered where that is not unique."""
    counts: Counter[Hashable] = Counter()
    named: dict[Hashable, Event] = {}
    for event in journal:
        what = event.command or ("closing" if event.kind in events.CLOSING else (event.kind, event.name))
        named[what, counts[what]] = event
        counts[what] += 1
    return named


def _place(difference: Difference) -> tuple[int, bool]:
    event = difference.a or difference.b
    return (event.seq if event else 0), difference.a is None


def said_in(payload: bytes) -> Any:
    """A payload as JSON; nothing for an empty one, text for bytes that are none."""
    try:
        return from_json(payload) if payload else None
    except PayloadError:
        return payload.decode("utf-8", "backslashreplace")
