"""What the file says: a fold over its lines.

Rule 1: one function takes a change in, whether it was read from the file or is about to be written to it. So what a process knows is
what any other will know that reads the same lines.
Rule 2: the book holds what must be at hand: index entries, mail, and where in the file the rest lies. Journals, topics and blobs stay
in the file and are read when they are asked for.
Rule 3: bytes become text by Latin-1, which knows every byte, so that JSON payloads can be read by eye.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from replay.hooks import CLOSED, Event, Message, NewRun, Run, RunKey, SchemaMismatch, StoreUnavailable, seal

FORMAT: Final = 1
"""Version of the file's format; the first line names it."""


@attrs.define
class Record:
    """One run.

    Attributes:
        run: Its index entry.
        places: Where the line of each of its events begins, by seq.
        mail: Unconsumed messages by id, oldest first.
        seen: Ids of all messages that ever came.
        journals: Number of journals that were under this id before.
    """

    run: Run
    places: dict[int, int] = attrs.field(factory=dict)
    mail: dict[str, Message] = attrs.field(factory=dict)
    seen: set[str] = attrs.field(factory=set)
    journals: int = 0


class Book:
    """Everything that the lines taken in so far say."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.records: dict[RunKey, Record] = {}
        self.topics: dict[tuple[str, str], list[int]] = {}
        self.blobs: dict[str, int] = {}
        self.begun: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def take(self, offset: int, kind: str, *facts: Any) -> None:
        """Take one change in, whose line begins at ``offset``.

        Raises:
            StoreUnavailable: It is of a kind that this code does not know.
        """
        take = TAKE.get(kind)
        if take is None:
            raise StoreUnavailable(self.url, f"the line at byte {offset} is of unknown kind {kind!r}", "upgrade replay-jsonl")
        take(self, offset, *facts)


# ---- one function per kind of change ------------------------------------------------------------------------------------


def _format(book: Book, _offset: int, found: int) -> None:
    if found > FORMAT:
        raise SchemaMismatch(book.url, found, FORMAT)


def _new(book: Book, _offset: int, space: str, name: str, fields: dict[str, Any]) -> None:
    key = RunKey(space, name)
    book.records[key] = Record(Run(key=key, **unspelt(fields)))


def _run(book: Book, _offset: int, space: str, name: str, fields: dict[str, Any]) -> None:
    record = book.records[RunKey(space, name)]
    record.run = attrs.evolve(record.run, **unspelt(fields))


def _event(book: Book, offset: int, space: str, name: str, seq: int, *_: Any) -> None:
    book.records[RunKey(space, name)].places[seq] = offset


def _mail(book: Book, _offset: int, space: str, name: str, fields: list[Any]) -> None:
    identity, kind, label, payload, command, at = fields
    record = book.records[key := RunKey(space, name)]
    record.mail[identity] = Message(identity, key, kind, label, octets(payload), command, at)
    record.seen.add(identity)


def _consumed(book: Book, _offset: int, space: str, name: str, messages: list[str]) -> None:
    for message in messages:
        book.records[RunKey(space, name)].mail.pop(message, None)


def _past(book: Book, _offset: int, space: str, name: str, past: str, fields: dict[str, Any]) -> None:
    """The run of that name becomes a past journal; what takes its place keeps its mail."""
    key = RunKey(space, name)
    old = book.records.pop(key)
    book.records[RunKey(space, past)] = Record(attrs.evolve(old.run, key=RunKey(space, past)), old.places)
    book.records[key] = Record(Run(key=key, **unspelt(fields)), {}, old.mail, old.seen, old.journals + 1)


def _gone(book: Book, _offset: int, space: str, name: str) -> None:
    del book.records[RunKey(space, name)]


def _said(book: Book, offset: int, space: str, topic: str, *_: Any) -> None:
    book.topics.setdefault((space, topic), []).append(offset)


def _blob(book: Book, offset: int, name: str, *_: Any) -> None:
    book.blobs[name] = offset


def _begun(book: Book, _offset: int, space: str, queue: str, moments: list[list[int]]) -> None:
    book.begun[space, queue] = [(at, number) for at, number in moments]


TAKE: Final[Mapping[str, Callable[..., None]]] = {
    "format": _format,
    "new": _new,
    "run": _run,
    "event": _event,
    "mail": _mail,
    "consumed": _consumed,
    "past": _past,
    "gone": _gone,
    "said": _said,
    "blob": _blob,
    "begun": _begun,
}


# ---- how facts are spelt ------------------------------------------------------------------------------------------------


def text(data: bytes) -> str:
    """Bytes as text."""
    return data.decode("latin-1")


def octets(data: str) -> bytes:
    """Text as bytes."""
    return data.encode("latin-1")


def spelt(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an index entry as JSON."""
    made = dict(fields)
    if "result" in made:
        made["result"] = text(made["result"])
    if "state" in made:
        made["state"] = {key: text(value) for key, value in made["state"].items()}
    return made


def unspelt(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The way back."""
    made = dict(fields)
    if "result" in made:
        made["result"] = octets(made["result"])
    if "state" in made:
        made["state"] = {key: octets(value) for key, value in made["state"].items()}
    return made


def written(event: Event) -> list[Any]:
    """An event's fields as JSON, and the seal that guards them."""
    return [*event._replace(payload=text(event.payload)), seal(event)]  # type: ignore[arg-type]  # on its way to JSON


def unwritten(facts: list[Any]) -> Event | None:
    """The event, or None when its seal does not fit."""
    *fields, sealed = facts
    event = Event(*fields)
    event = event._replace(payload=octets(fields[5]))
    return event if seal(event) == sealed else None


def line(change: list[Any]) -> bytes:
    """A change as a line."""
    return json.dumps(change, separators=(",", ":")).encode() + b"\n"


def first_entry(new: NewRun, now: int) -> dict[str, Any]:
    """The index entry that a run is created with, but its key."""
    same = (
        "workflow",
        "version",
        "queue",
        "digest",
        "priority",
        "fairness_key",
        "parent",
        "parent_command",
        "status",
        "base",
        "applied",
        "source",
    )
    return {
        **{name: getattr(new, name) for name in same},
        "tags": {name: word for name, word in new.tags.items() if word},
        "state": new.state,
        "result": new.result,
        "seq": len(new.events),
        "created_at": now,
        "updated_at": now,
        "ready_at": None if new.status in CLOSED else new.ready_at or now,
        "wake_at": None,
        "fence": 0,
        "worker": "",
        "recoveries": 0,
    }
