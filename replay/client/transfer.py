"""Runs as text: what ``replay export`` writes, what tests keep as recorded journals, what another store takes in.

Rule 1: a file of JSON lines. The first names the format and the run as the index shows it, each further line is one event.
Rule 2: payloads stand there as JSON where they are canonical JSON, else as base64, so that the very same bytes come back.
Rule 3: every line carries a checksum, and the first line says how many there are: what was cut short, damaged or taken out is an
error that names the event, never a wrong replay.
Rule 4: fields that equal their default are left out; fields of later versions are passed over.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from replay.client.client import Client
from replay.client.handle import Handle
from replay.errors import InvalidRequest, JournalDamaged, PayloadError, RunExists, StoreUnavailable, describe
from replay.model.codec import from_json, to_json
from replay.model.events import Event, seal
from replay.store.contract import CLOSED, NewRun, Run, RunKey

FORMAT_NAME: Final = "replay-journal"
FORMAT_VERSION: Final = 1
FORMAT: Final = f"{FORMAT_NAME}/{FORMAT_VERSION}"
"""What the first line of a file says."""
SUFFIX: Final = ".jsonl"
"""What names of such files end with."""
PATIENCE: Final = 10
"""How often a run is read again that was renamed while it was read."""

Header = Mapping[str, Any]
"""The run of the first line: the index entry's fields by name, payloads as bytes."""

_EVENT_DEFAULTS: Final[Mapping[str, Any]] = Event._field_defaults | {"command": ""}
_EVENT_TYPES: Final[Mapping[str, type]] = {
    "seq": int,
    "kind": str,
    "command": str,
    "name": str,
    "at": int,
    "check": int,
    "attempt": int,
    "duration": int,
    "line": str,
    "worker": str,
}


# ---- writing ------------------------------------------------------------------------------------------------------------


def export_run(handle: Handle[Any]) -> Iterator[str]:
    """A run as lines, without line ends: the index entry, then its events up to this moment.

    Messages that the run has not taken in yet are not among them.

    Raises:
        UnknownRun: There is no such run.
        JournalDamaged: Its journal cannot be trusted.
    """
    for _ in range(PATIENCE):
        before, journal, after = handle.about(), handle.journal(), handle.about()
        if before.created_at == after.created_at and len(journal) >= before.seq:
            return write_journal(before, journal[: before.seq])
    raise StoreUnavailable(handle.client.store.url, f"run {handle.id} goes on under a fresh journal again and again")


def write_journal(run: Run, events: Sequence[Event]) -> Iterator[str]:
    """A run and its events as lines, without line ends."""
    fields = attrs.asdict(attrs.evolve(run, seq=len(events)), recurse=False)
    key = fields.pop("key")
    state, result = fields.pop("state"), fields.pop("result")
    head = {"namespace": key.namespace, "id": key.id, **fields, "tags": dict(run.tags)}
    head |= _spelt("result", result) | {"state": {name: _spelt("value", value) for name, value in state.items()}}
    yield to_json({"format": FORMAT, "run": head, "seal": _head_seal(head)}).decode()
    for event in events:
        yield _event_line(event)


def _event_line(event: Event) -> str:
    fields = event._asdict()
    payload = fields.pop("payload")
    said = {name: value for name, value in fields.items() if value != _EVENT_DEFAULTS.get(name)}
    said["seal"] = seal(event)
    try:
        return to_json(said | _spelt("payload", payload)).decode()
    except PayloadError:  # JSON that is nested too deeply to stand inside another
        return to_json(said | _encoded("payload", payload)).decode()


def _spelt(name: str, payload: bytes) -> dict[str, Any]:
    """A payload as JSON under its name, or as base64 when it is no canonical JSON."""
    try:
        value = from_json(payload)
        if to_json(value) == payload:
            return {name: value}
    except PayloadError:
        pass
    return _encoded(name, payload)


def _encoded(name: str, payload: bytes) -> dict[str, Any]:
    return {f"{name}_b64": base64.b64encode(payload).decode()}


def _head_seal(head: Mapping[str, Any]) -> int:
    return zlib.crc32(to_json(head))


# ---- reading ------------------------------------------------------------------------------------------------------------


def read_journal(lines: Iterable[str]) -> tuple[RunKey, list[Event]]:
    """The run's key and its events, each checked.

    Args:
        lines: Lines of an exported journal, with or without line ends.

    Raises:
        InvalidRequest: It is no exported journal, or one of a later format.
        JournalDamaged: The file was cut short, a checksum does not fit, or an event is missing.
    """
    head, events = read_run(lines)
    return RunKey(head["namespace"], head["id"]), events


def read_run(lines: Iterable[str]) -> tuple[Header, list[Event]]:
    """The run as its index showed it, and its events; raises what ``read_journal`` raises."""
    spoken = (line for line in lines if line.strip())
    head = _read_head(next(spoken, ""))
    run, length = head["id"], head["seq"]
    events: list[Event] = []
    for line in spoken:
        events.append(_read_event(run, line, len(events) + 1))
    if len(events) < length:
        raise JournalDamaged(run, len(events) + 1, "it is missing, and so is all after it: the file was cut short")
    if len(events) > length:
        raise JournalDamaged(run, length + 1, f"the file's first line says that there are {length} events")
    return head, events


def _read_head(line: str) -> Header:
    data = _parse(line)
    written = data.get("format") if isinstance(data, dict) else None
    name, _, version = str(written).partition("/")
    if not isinstance(data, dict) or name != FORMAT_NAME or not version.isdecimal():
        problem = "the file is empty" if not line.strip() else f"its first line is {describe(line[:100])}"
        raise InvalidRequest("journal file", f"{problem}, not that of an exported journal", "pass what `replay export` wrote")
    if int(version) > FORMAT_VERSION:
        raise InvalidRequest("journal file", f"its format is {written}, this code reads up to {FORMAT}", "upgrade replay-engine")
    head = data.get("run")
    if not isinstance(head, dict) or data.get("seal") != _head_seal(head):
        raise JournalDamaged(str(head.get("id", "?")) if isinstance(head, dict) else "?", 0, "the first line's checksum does not fit")
    state = {name: _bytes_of("value", value) for name, value in head["state"].items()}
    return {**head, "state": state, "result": _bytes_of("result", head)}


def _read_event(run: str, line: str, place: int) -> Event:
    data = _parse(line)
    if not isinstance(data, dict):
        problem = f"its line is no JSON, it begins {line[:40]!r} and ends {line.rstrip()[-40:]!r}: the file was cut short or damaged"
        raise JournalDamaged(run, place, problem)
    try:
        fields = {name: _typed(data, name, kind) for name, kind in _EVENT_TYPES.items()}
        event = Event(payload=_bytes_of("payload", data), **fields)
        sealed = data["seal"]
    except (KeyError, TypeError, ValueError, PayloadError) as error:
        raise JournalDamaged(run, place, f"its line is no event: {type(error).__name__}: {error}") from None
    if seal(event) != sealed:
        raise JournalDamaged(run, place, "its checksum does not fit")
    if event.seq != place:
        raise JournalDamaged(run, place, f"it is missing, the next one is {event}")
    return event


def _typed(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data[name] if name in data else _EVENT_DEFAULTS[name]
    if type(value) is not kind:
        raise TypeError(f"{name} is {describe(value)}")
    return value


def _bytes_of(name: str, data: Mapping[str, Any]) -> bytes:
    encoded = data.get(f"{name}_b64")
    return to_json(data[name]) if encoded is None else base64.b64decode(encoded, validate=True)


def _parse(line: str) -> Any:
    try:
        return from_json(line.strip().encode("utf-8", "surrogateescape"))
    except (PayloadError, UnicodeEncodeError):
        return None


# ---- taking in ----------------------------------------------------------------------------------------------------------


def import_run(client: Client, lines: Iterable[str]) -> Handle[Any]:
    """Make the run of an exported journal in a client's store and namespace; a run that was open goes on there.

    To import the same again changes nothing. What the run had published before it was exported is not published again.

    Raises:
        InvalidRequest: It is no exported journal, or one of a later format.
        JournalDamaged: The file was cut short, a checksum does not fit, or an event is missing.
        RunExists: The id is taken by a run with another journal.
    """
    head, events = read_run(lines)
    known = {field.name for field in attrs.fields(NewRun)} & head.keys()
    given = {name: head[name] for name in known - {"events", "status"}}
    status = head["status"] if head["status"] in CLOSED else "pending"
    key = RunKey(client.namespace, head["id"])
    (made,) = client.create([NewRun(key=key, events=events, status=status, **given)], [])
    if not made.new and client.store.journal(key, limit=len(events)) != events:
        there = f"{made.run.workflow} {made.run.digest} with {made.run.seq} events"
        raise RunExists(key.id, there, f"{head['workflow']} {head['digest']} with {len(events)} events")
    return Handle(client, key)


__all__ = ["FORMAT", "SUFFIX", "export_run", "import_run", "read_journal", "read_run", "write_journal"]
