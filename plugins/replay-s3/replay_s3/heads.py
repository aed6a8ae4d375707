"""The head of a run: everything about it that changes, in one object, so that one conditional write changes all of it at once.

Rule 1: a head holds the index entry, the newest events, and where the older ones are (immutable segments).
Rule 2: what a commit sends elsewhere (messages, children, topics, the journal that a successor replaced) stands in the head's
*outbox* until it was delivered. Delivery is idempotent, so whoever finds an outbox may deliver it again.
Rule 3: every head carries a ``nonce`` of its writer's choice; after a write whose answer was not heard, it tells who won.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

import attrs

from replay.hooks import Event, JournalDamaged, Message, NewRun, Run, RunKey, seal

VERSION: Final = 1
Segment: TypeAlias = tuple[int, int, str]
"""Older events: first seq, last seq, key."""
LONG: Final = 120
"""Characters of a name that a key holds as they are."""
INLINE: Final = 64 * 1024
"""Bytes of events that a head holds; then they become a segment."""
_RUN: Final = [field.name for field in attrs.fields(Run) if field.name not in {"key", "state"}]
_NEW: Final = [field.name for field in attrs.fields(NewRun) if field.name not in {"key", "state", "events", "result"}]


class Posting(NamedTuple):
    """An entry for a topic.

    Attributes:
        namespace: Whose topic.
        topic: Its name.
        payload: Its bytes.
        mark: What tells it from any other entry.
        offset: Where it is meant to be.
    """

    namespace: str
    topic: str
    payload: bytes
    mark: str
    offset: int


@attrs.define
class Outbox:
    """What a commit sends elsewhere.

    Attributes:
        posts: Messages.
        children: Runs to create.
        topics: Entries of topics.
        past: The head that a successor replaced, and under which id it is kept.
    """

    posts: list[Message] = attrs.field(factory=list)
    children: list[NewRun] = attrs.field(factory=list)
    topics: list[Posting] = attrs.field(factory=list)
    past: dict[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.posts or self.children or self.topics or self.past)


@attrs.define
class Head:
    """One run, as its object holds it.

    Attributes:
        run: Its index entry.
        tail: Its newest events, as ``pack_events`` spells them: a damaged one stays as it is until it is read.
        segments: Older events, oldest first.
        consumed: Ids of messages that were consumed and whose objects still say otherwise.
        outbox: What is still to be delivered.
        journals: Number of journals that were under this id before.
        nonce: Its writer's mark.
    """

    run: Run
    tail: list[list[Any]] = attrs.field(factory=list)
    segments: list[Segment] = attrs.field(factory=list)
    consumed: list[str] = attrs.field(factory=list)
    outbox: Outbox = attrs.field(factory=Outbox)
    journals: int = 0
    nonce: str = ""

    def change(self, **fields: Any) -> None:
        """Replace the index entry."""
        self.run = attrs.evolve(self.run, **fields)

    def copy(self) -> Head:
        """One that can be changed while this stays as it was written."""
        return Head(
            self.run, list(self.tail), list(self.segments), list(self.consumed), attrs.evolve(self.outbox), self.journals, self.nonce
        )

    def encode(self) -> bytes:
        """Its object."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """Its object, as JSON."""
        run = {name: getattr(self.run, name) for name in _RUN}
        if not run["fairness_key"]:
            del run["fairness_key"]  # what is written without one can be read by code that knows none
        run |= {"namespace": self.run.key.namespace, "id": self.run.key.id, "tags": dict(self.run.tags)}
        run |= {"result": pack(self.run.result), "state": {key: pack(value) for key, value in self.run.state.items()}}
        return {
            "v": VERSION,
            "nonce": self.nonce,
            "run": run,
            "segments": self.segments,
            "tail": self.tail,
            "consumed": self.consumed,
            "outbox": _pack_outbox(self.outbox) if self.outbox else None,
            "journals": self.journals,
        }

    @classmethod
    def decode(cls, body: bytes) -> Head:
        """From its object.

        Raises:
            JournalDamaged: It is no head, or of a later version.
        """
        try:
            return cls.from_json(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise JournalDamaged("unknown", 0, f"its head cannot be read: {error}") from None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Head:
        """From its object, as JSON."""
        fields = data["run"]
        if data["v"] > VERSION:
            raise JournalDamaged(fields["id"], 0, f"its head is of version {data['v']}, this code knows {VERSION}: upgrade replay-s3")
        key = RunKey(fields.pop("namespace"), fields.pop("id"))
        fields["result"] = unpack(fields["result"])
        fields["state"] = {name: unpack(value) for name, value in fields["state"].items()}
        return cls(
            Run(key=key, **fields),
            data["tail"],
            [tuple(segment) for segment in data["segments"]],
            data["consumed"],
            _unpack_outbox(data["outbox"]) if data["outbox"] else Outbox(),
            data["journals"],
            data["nonce"],
        )


def part(name: str) -> str:
    """A name as part of a key: as people read it, and by its digest where it is long; a key has 1,024 bytes."""
    spelt = quote(name, safe="")
    if len(spelt) <= LONG:
        return spelt
    return f"{spelt[: LONG // 2]}.{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def slug(key: RunKey) -> str:
    """Where a run's objects are: its namespace, and its id as people read it with a digest that no other id has."""
    digest = hashlib.sha256(key.id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{part(key.namespace)}/{quote(key.id, safe='')[:80]}.{digest}"


def pack(data: bytes) -> Any:
    """Bytes as JSON: as text where they are text, which payloads are."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b": base64.b64encode(data).decode()}


def unpack(data: Any) -> bytes:
    """Bytes from JSON."""
    return data.encode() if isinstance(data, str) else base64.b64decode(data["b"])


def pack_events(events: Sequence[Event]) -> list[list[Any]]:
    """Events as JSON, each with its seal."""
    return [[*event[:5], pack(event.payload), *event[6:], seal(event)] for event in events]


def unpack_events(run: str, rows: Sequence[Sequence[Any]]) -> list[Event]:
    """Events from JSON; each is checked against its seal.

    Raises:
        JournalDamaged: One does not fit.
    """
    found = []
    for row in rows:
        event = Event._make([*row[:5], unpack(row[5]), *row[6:11]])
        if seal(event) != row[11]:
            raise JournalDamaged(run, event.seq, "its checksum does not fit")
        found.append(event)
    return found


def pack_message(message: Message) -> dict[str, Any]:
    """A message as JSON."""
    fields: Mapping[str, Any] = message._asdict()
    return {**fields, "key": list(message.key), "payload": pack(message.payload)}


def unpack_message(data: dict[str, Any]) -> Message:
    """A message from JSON."""
    return Message(**{**data, "key": RunKey(*data["key"]), "payload": unpack(data["payload"])})


def _pack_outbox(outbox: Outbox) -> dict[str, Any]:
    return {
        "posts": [pack_message(message) for message in outbox.posts],
        "children": [_pack_new(run) for run in outbox.children],
        "topics": [list(posting._replace(payload=pack(posting.payload))) for posting in outbox.topics],
        "past": outbox.past,
    }


def _unpack_outbox(data: dict[str, Any]) -> Outbox:
    return Outbox(
        [unpack_message(message) for message in data["posts"]],
        [_unpack_new(run) for run in data["children"]],
        [Posting(*row)._replace(payload=unpack(row[2])) for row in data["topics"]],
        data["past"],
    )


def _pack_new(run: NewRun) -> dict[str, Any]:
    fields = {name: getattr(run, name) for name in _NEW}
    fields |= {"key": list(run.key), "tags": dict(run.tags), "state": {key: pack(value) for key, value in run.state.items()}}
    return {**fields, "events": pack_events(run.events), "result": pack(run.result)}


def _unpack_new(data: dict[str, Any]) -> NewRun:
    key = RunKey(*data["key"])
    state = {name: unpack(value) for name, value in data["state"].items()}
    events = unpack_events(key.id, data["events"])
    return NewRun(**{**data, "key": key, "state": state, "events": events, "result": unpack(data["result"])})
