"""What a run has thought, decided, spent and been told: a fold over its journal and its notes.

Rule 1: pure. The same journal and notes give the same ledger, live or a year later; nothing is kept but what is in them.
Rule 2: an entry has an id that stays: an event's number, or the one that its note carries. Reviews name entries by it.
Rule 3: a review is a fact of its own. The newest of an entry counts, the older ones stay to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from replay.model import events
from replay.model.asks import ANSWER
from replay.model.budgets import NOTHING, Spent
from replay.model.comparison import said_in
from replay.model.events import CLOSING, Event
from replay.model.names import SECOND
from replay.model.spending import spent_in

REVIEW: Final = "~review"
"""Name of the update by which an entry is reviewed."""
APPROVED, REJECTED, NEEDS_REVISION = "approved", "rejected", "needs revision"
STATUSES: Final = (APPROVED, REJECTED, NEEDS_REVISION)
"""What a review may say."""
CONTEXT: Final = 8_000
"""Characters of a restore context, unless told otherwise."""


@attrs.frozen(kw_only=True)
class Focus:
    """What a run is at: of its savepoints, the newest word on each.

    Attributes:
        goal: What it is after.
        hypotheses: What it believes.
        questions: What it does not know.
        decisions: What it has decided.
        next_step: What it will do next.
    """

    goal: str = ""
    hypotheses: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    next_step: str = ""

    def after(self, notes: Mapping[str, Any]) -> Focus:
        """The focus behind a savepoint that says this; what it does not mention stays."""

        def words(name: str) -> tuple[str, ...]:
            said = notes.get(name)
            listed = said if isinstance(said, list | tuple) else [said]
            return getattr(self, name) if said is None else tuple(map(str, listed))

        return Focus(
            goal=self.goal if notes.get("goal") is None else str(notes["goal"]),
            hypotheses=words("hypotheses"),
            questions=words("questions"),
            decisions=words("decisions"),
            next_step=self.next_step if notes.get("next_step") is None else str(notes["next_step"]),
        )


@attrs.frozen(kw_only=True)
class Review:
    """What somebody says of an entry.

    Attributes:
        entry: The entry's id.
        status: One of ``STATUSES``.
        feedback: Why, and what to do.
        by: Who.
        at: When, microseconds UTC.
    """

    entry: str
    status: str
    feedback: str = ""
    by: str = ""
    at: int = 0


@attrs.frozen(kw_only=True)
class Entry:
    """One line of a ledger.

    Attributes:
        id: Its name.
        at: When, microseconds UTC.
        kind: ``savepoint``, ``note``, ``digest``, ``raw``, ``answer``, ``signal``, ``failure``, ``end``, or what a note calls itself.
        text: What is said.
        fields: What belongs to it.
        size: Bytes of the whole text.
        blob: Name of the blob that holds it, or empty.
        seq: The event, or the one after which it was said.
        reviews: What was said of it, oldest first.
    """

    id: str
    at: int
    kind: str
    text: str
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    size: int = 0
    blob: str = ""
    seq: int = 0
    reviews: tuple[Review, ...] = ()

    @property
    def review(self) -> Review | None:
        """The newest review."""
        return self.reviews[-1] if self.reviews else None


@attrs.frozen
class Cost:
    """What calls of one name came to.

    Attributes:
        calls: How many were answered.
        attempts: How many times they were tried.
        seconds: How long they took together.
        spent: What they say that they cost.
    """

    calls: int = 0
    attempts: int = 0
    seconds: float = 0.0
    spent: Spent = NOTHING


@attrs.frozen(kw_only=True)
class Ledger:
    """A run's ledger.

    Attributes:
        run: The run's id.
        workflow: Its workflow.
        status: How it ended, or ``open``.
        timeline: All entries, in the order in which they came.
        focus: Where its thinking stands.
        costs: By name of step or child.
    """

    run: str
    workflow: str
    status: str
    timeline: tuple[Entry, ...]
    focus: Focus
    costs: Mapping[str, Cost]

    @property
    def decisions(self) -> tuple[Entry, ...]:
        """What was decided: each savepoint that adds decisions, and notes of that kind."""
        return tuple(
            entry
            for entry in self.timeline
            if entry.kind == "decision" or (entry.kind == "savepoint" and entry.fields.get("decisions"))
        )

    @property
    def digests(self) -> tuple[Entry, ...]:
        """What notes were distilled to, oldest first."""
        return tuple(entry for entry in self.timeline if entry.kind == "digest")

    @property
    def spent(self) -> Spent:
        """What all of it cost."""
        return sum((cost.spent for cost in self.costs.values()), NOTHING)

    @property
    def to_heed(self) -> tuple[Entry, ...]:
        """Entries whose newest review is no approval."""
        return tuple(entry for entry in self.timeline if entry.review is not None and entry.review.status != APPROVED)

    def entry(self, identity: str) -> Entry | None:
        """An entry by its id."""
        return next((entry for entry in self.timeline if entry.id == identity), None)

    @property
    def summary(self) -> Mapping[str, Any]:
        """The ledger in one breath: for programs, and for the first line of a page."""
        reviewed = [entry.review.status for entry in self.timeline if entry.review is not None]
        return {
            "run": self.run,
            "workflow": self.workflow,
            "status": self.status,
            "goal": self.focus.goal,
            "next_step": self.focus.next_step,
            "entries": len(self.timeline),
            "decisions": len(self.decisions),
            "digests": len(self.digests),
            "calls": sum(cost.calls for cost in self.costs.values()),
            "dollars": self.spent.usd,
            "seconds": sum(cost.seconds for cost in self.costs.values()),
            "reviews": {status: reviewed.count(status) for status in STATUSES},
        }

    def context(self, limit: int = CONTEXT) -> str:
        """What an agent that takes over should read, in at most so many characters; the oldest notes go first."""
        digest = self.digests[-1] if self.digests else None
        notes = [entry.text for entry in self.timeline if entry.kind not in _NO_NOTES and (digest is None or entry.seq >= digest.seq)]
        reviews = [entry.review for entry in self.to_heed if entry.review is not None]
        return restore_context(self.focus, "" if digest is None else digest.text, notes, reviews, limit)


_NO_NOTES: Final = frozenset({"savepoint", "digest", "raw", "end"})


class Noted(NamedTuple):
    """A note as the store keeps it: its place, its moment, what it says.

    What it says holds ``seq``, the event after which it was said, and ``chain`` in journals that continue others.
    """

    offset: int
    at: int
    said: Any


def fold(run: str, journal: Sequence[Event], notes: Iterable[Noted] = (), reviews: Iterable[Review] = ()) -> Ledger:
    """The ledger of a run.

    Args:
        run: Its id.
        journal: Its events.
        notes: Its notes.
        reviews: Reviews that came when it had ended.
    """
    entries: list[Entry] = []
    found = list(reviews)
    costs: dict[str, Cost] = {}
    focus = Focus()
    for event in journal:
        said: Any = said_in(event.payload) if event.kind in _TOLD else None
        if event.kind == events.UPDATE_RECEIVED and event.name == REVIEW:
            found.append(read_review(said.get("value"), event.at))
        elif event.kind in _TOLD:
            entries.append(_entry(event, said))
        if event.kind == events.SAVEPOINT:
            focus = focus.after(said.get("notes", {}))
        _count(costs, event)
    chain = said_in(journal[0].payload).get("chain", 0) if journal else 0
    entries += [_note(note) for note in notes if not isinstance(note.said, Mapping) or note.said.get("chain", 0) == chain]
    by_entry: dict[str, list[Review]] = {}
    for review in sorted(found, key=lambda review: review.at):
        by_entry.setdefault(review.entry, []).append(review)
    entries = [attrs.evolve(entry, reviews=tuple(by_entry.get(entry.id, ()))) for entry in sorted(entries, key=lambda entry: entry.seq)]
    last = journal[-1] if journal else None
    return Ledger(
        run=run,
        workflow=journal[0].name if journal else "",
        status=last.kind if last is not None and last.kind in CLOSING else "open",
        timeline=tuple(entries),
        focus=focus,
        costs=costs,
    )


def read_review(said: Any, at: int) -> Review:
    """A review from what was sent; keys that a later version adds are passed over."""
    known = {field.name for field in attrs.fields(Review)} - {"at"}
    given = said if isinstance(said, Mapping) else {}
    return Review(**{"entry": "", "status": "", **{key: str(given[key]) for key in known & given.keys()}}, at=at)


_FAILED: Final = frozenset({events.STEP_FAILED, events.CHILD_FAILED})
_TOLD: Final = frozenset({events.SAVEPOINT, events.UPDATE_RECEIVED, events.SIGNAL_RECEIVED, *_FAILED, *CLOSING})


def _entry(event: Event, said: Any) -> Entry:
    fields: Mapping[str, Any] = {}
    if event.kind == events.SAVEPOINT:
        kind, text, fields = "savepoint", event.name, said.get("notes", {})
    elif event.kind == events.UPDATE_RECEIVED and event.name == ANSWER:
        value = said["value"]
        kind, text, fields = "answer", f"question {value.get('ask')}: {value.get('value')!r}", value
    elif event.kind == events.UPDATE_RECEIVED:
        kind, text, fields = "update", event.name, {"value": said.get("value")}
    elif event.kind == events.SIGNAL_RECEIVED:
        kind, text, fields = "signal", event.name, {"value": said}
    elif event.kind in _FAILED:
        kind, text, fields = "failure", f"{event.name}: {said.get('type', '')}: {said.get('message', '')}", {"attempts": event.attempt}
    else:
        kind, text = "end", event.kind
    return Entry(id=str(event.seq), at=event.at, kind=kind, text=text, fields=fields, seq=event.seq)


def _note(note: Noted) -> Entry:
    said: Mapping[str, Any] = note.said if isinstance(note.said, Mapping) else {"text": str(note.said)}
    fields = dict(said.get("fields", {}))
    identity, kind = str(fields.pop("entry", f"n{note.offset}")), str(fields.pop("kind", "note"))
    text = str(said.get("text", ""))
    return Entry(
        id=identity,
        at=note.at,
        kind=kind,
        text=text,
        fields=fields,
        size=int(said.get("size", len(text.encode("utf-8", "surrogatepass")))),
        blob=str(said.get("blob", "")),
        seq=int(said.get("seq", 0)),
    )


_ANSWERED: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED, events.CHILD_COMPLETED, events.CHILD_FAILED})


def _count(costs: dict[str, Cost], event: Event) -> None:
    answered = event.kind in _ANSWERED
    if not answered and event.kind != events.STEP_ATTEMPT_FAILED:
        return
    before = costs.get(event.name, Cost())
    costs[event.name] = Cost(
        before.calls + answered, before.attempts + 1, before.seconds + event.duration / SECOND, before.spent + spent_in(event)
    )


def restore_context(focus: Focus, digest: str, notes: Sequence[str], reviews: Sequence[Review], limit: int = CONTEXT) -> str:
    """What an agent that takes over should read: where things stand first, then what must be heeded, then what was noted since.

    What does not fit into ``limit`` characters is left out from the oldest note on, and the text says how many notes are missing.
    """
    parts = [
        f"Goal: {focus.goal}" if focus.goal else "",
        _listed("Decisions", focus.decisions),
        _listed("Hypotheses", focus.hypotheses),
        _listed("Open questions", focus.questions),
        f"Next step: {focus.next_step}" if focus.next_step else "",
        _listed("Reviews to heed", [f"{review.entry} {review.status}: {review.feedback}".rstrip(": ") for review in reviews]),
        f"So far: {digest}" if digest else "",
    ]
    head = "\n".join(part for part in parts if part)
    room = limit - len(head)
    kept: list[str] = []
    for note in reversed(notes):
        room -= len(note) + 3
        if room < 0:
            break
        kept.append(note)
    missing = len(notes) - len(kept)
    since = _listed("Since then" if missing == 0 else f"Since then, without the first {missing}", kept[::-1])
    return "\n".join(part for part in (head[:limit], since) if part)


def _listed(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"- {item}" for item in items)]) if items else ""
