"""What SQL stores share: which columns there are, in what order, and how rows become records and records rows.

Rule 1: rows are tuples in the order of the lists here, so that no name is looked up where it is hot.
Rule 2: what comes out of a database is checked before it is believed: seals, gaps, length.
Rule 3: nothing here speaks to a database, nor imports SQLAlchemy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

from replay.errors import JournalDamaged
from replay.model.events import Event, seal
from replay.store.blocks import as_event, unpack
from replay.store.contract import CLOSED, Message, NewRun, Run, RunKey, gapless

RUN_COLUMNS: Final = (
    *("namespace", "id", "workflow", "version", "queue", "digest", "priority", "parent", "parent_command", "status", "seq"),
    *("base", "applied", "source", "created_at", "updated_at", "ready_at", "wake_at", "fence", "worker", "recoveries"),
    *("fairness_key", "note", "result"),
)
"""What ``run_of`` reads, before tags and state."""
NEW_COLUMNS: Final = (*RUN_COLUMNS, "mail", "journals")
"""What ``row_of`` gives."""
EVENT_COLUMNS: Final = (*("seq", "kind", "command", "name", "at", "payload", "check", "attempt", "duration", "line", "worker", "seal"),)
"""An event's fields in their order, then its seal."""
MESSAGE_COLUMNS: Final = ("id", "kind", "name", "payload", "command", "at")

Row = tuple[Any, ...]
SEQ: Final = itemgetter(0)


def run_of(row: Sequence[Any], tags: Mapping[str, str], state: Mapping[str, bytes]) -> Run:
    """An index entry from its columns."""
    return Run(
        key=RunKey(row[0], row[1]),
        workflow=row[2],
        version=row[3],
        queue=row[4],
        digest=row[5],
        priority=row[6],
        parent=row[7],
        parent_command=row[8],
        tags=tags,
        state=state,
        status=row[9],
        seq=row[10],
        base=row[11],
        applied=row[12],
        source=row[13],
        created_at=row[14],
        updated_at=row[15],
        ready_at=row[16],
        wake_at=row[17],
        fence=row[18],
        worker=row[19],
        recoveries=row[20],
        fairness_key=row[21],
        note=row[22],
        result=row[23],
    )


def row_of(new: NewRun, now: int, *, worker: str = "", until: int = 0, fence: int = 0, journals: int = 0) -> Row:
    """The columns of a run that is created now, leased to ``worker`` until then when one is named."""
    closed = new.status in CLOSED
    status = "running" if worker and new.status == "pending" else new.status
    ready_at = None if closed else until if worker else new.ready_at or now
    return (
        *(*new.key, new.workflow, new.version, new.queue, new.digest, new.priority, new.parent, new.parent_command, status),
        *(len(new.events), new.base, new.applied, new.source, now, now, ready_at, None, fence, worker, 0),
        *(new.fairness_key, "", new.result),
        *(0, journals),
    )


def leased_at_birth(new: NewRun, worker: str, now: int) -> bool:
    """Whether a run that is created goes to its creator at once."""
    return bool(worker) and new.status not in CLOSED and new.ready_at <= now


def tags_of(new: NewRun) -> dict[str, str]:
    """The tags that a run is created with."""
    return {name: word for name, word in new.tags.items() if word}


def sealed(run: int, events: Iterable[Event]) -> list[Row]:
    """Events as rows: the number of their run, their fields, their seal."""
    return [(run, *event, seal(event)) for event in events]


def unsealed(rows: Sequence[Row], run: str) -> list[Event]:
    """Events from their columns.

    Raises:
        JournalDamaged: The checksum of one does not fit.
    """
    for seq, kind, command, name, at, payload, check, *_, sealed_as in rows:
        # this is ``seal``, written out: a call costs as much as the checksum
        if crc32(payload, crc32(f"{seq}\n{kind}\n{command}\n{name}\n{at}\n{check}\n".encode())) != sealed_as:
            raise JournalDamaged(run, seq, "its checksum does not fit")
    return [as_event(row[:11]) for row in rows]


def assembled(key: RunKey, rows: Sequence[Row], blocks: Iterable[tuple[int, bytes]], after: int, count: int) -> list[Event]:
    """The ``count`` events after a seq, from rows and from blocks, each with the seq that it ends with.

    Raises:
        JournalDamaged: A checksum does not fit, or an event is missing, also at the end.
    """
    try:
        events = unsealed(rows, key.id)
        packed = [event for last, data in blocks for event in unpack(data, key.id, last)]
    except TypeError as error:
        raise JournalDamaged(key.id, after + 1, "a field of it, or of an event after it, is of another type") from error
    if packed:
        place = next((place for place, event in enumerate(events) if event.seq > packed[0].seq), len(events))
        skipped = max(0, after + 1 - packed[0].seq)
        events = [*events[:place], *packed[skipped:], *events[place:]][:count]
    if [*map(SEQ, events)] != [*range(after + 1, after + 1 + len(events))]:
        events = gapless(key, sorted(events, key=SEQ), after)
    if len(events) < count:
        raise JournalDamaged(key.id, after + len(events) + 1, "it is missing, and so is all after it")
    return events


def messages_of(key: RunKey, rows: Iterable[Row]) -> list[Message]:
    """Messages from their columns."""
    return [Message(row[0], key, *row[1:]) for row in rows]


def words_of(text: str) -> dict[str, str]:
    """Tags from a JSON object."""
    words: dict[str, str] = json.loads(text) if text != "{}" else {}
    return words


def bytes_of(text: str) -> dict[str, bytes]:
    """Values in hex from a JSON object."""
    return {key: bytes.fromhex(value) for key, value in json.loads(text).items()} if text != "{}" else {}


def placeholders(names: Sequence[str]) -> str:
    """As many question marks as there are names."""
    return ", ".join("?" * len(names))


def quoted(names: Sequence[str], prefix: str = "") -> str:
    """Column names, quoted: some of them are words of SQL."""
    return ", ".join(f'{prefix}"{name}"' for name in names)
