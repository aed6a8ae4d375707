"""The store contract over a file of JSON lines: every verb takes the file, looks, and adds what changes as one group of lines.

Rule 1: refuse first, then change: what a verb has drafted is written whole, in one group, or not at all.
Rule 2: a draft is taken into the book at once, so that the second item of a batch sees the first. When the file refuses the group,
the book is ahead of it: it is thrown away and read again.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from replay.hooks import (
    CLOSED,
    Capability,
    Claim,
    Claimed,
    Claims,
    Clock,
    Commit,
    Committed,
    Created,
    Entry,
    Event,
    Filter,
    InvalidRequest,
    JournalDamaged,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Queue,
    Run,
    RunKey,
    Standing,
    Store,
    StoreUnavailable,
    age,
    allotted,
    declared,
    fits,
    granted,
    names,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
    soonest,
    takes_on,
    waiting_of,
    wakes,
)
from replay_jsonl.book import FORMAT, Book, Record, first_entry, line, octets, spelt, text, unwritten, written
from replay_jsonl.log import Change, Log

LOOK: Final = 0.05
"""Seconds between two looks at what other processes have written."""


def system_clock() -> int:
    """The machine's clock, microseconds UTC."""
    return time.time_ns() // 1000


def open_jsonl(url: str, *, clock: Clock | None = None) -> Store:
    """Open ``jsonl:///runs.jsonl``, or ``jsonl:////var/lib/runs.jsonl``; the file is made when it is not there.

    Raises:
        InvalidRequest: The URL names no file, or has options.
        StoreUnavailable: The file cannot be opened.
        SchemaMismatch: A later version wrote it.
    """
    path = url.partition(":///")[2]
    if not path.strip("/") or "?" in path:
        advice = "write jsonl:///runs.jsonl, or jsonl:////var/lib/runs.jsonl for an absolute path; it has no options"
        raise InvalidRequest("store URL", f"{url!r} names no file", advice)
    return JsonlStore(url, Path(path), clock or system_clock)


class Draft:
    """Changes that belong together, on their way to the file; each is in the book already."""

    def __init__(self, book: Book, offset: int) -> None:
        self.book = book
        self.lines: list[bytes] = []
        self._offset = offset

    def add(self, *change: Any) -> None:
        """One more change."""
        spelling = line(list(change))
        self.book.take(self._offset, *change)
        self.lines.append(spelling)
        self._offset += len(spelling)

    def change(self, record: Record, **fields: Any) -> None:
        """New values for fields of an index entry."""
        self.add("run", *record.run.key, spelt(fields))

    def events(self, key: RunKey, events: Iterable[Event]) -> None:
        """Events at the end of a journal."""
        for event in events:
            self.add("event", *key, *written(event))


class JsonlStore:
    """Journals in a file of JSON lines.

    Attributes:
        url: What it was opened with.
        capabilities: It survives the process, processes of one machine may share it, and it keeps to limits.
    """

    capabilities = Capability.PERSISTENT | Capability.SHARED | Capability.LIMITS

    def __init__(self, url: str, path: Path, clock: Clock) -> None:
        self.url = url
        self._clock = clock
        self._changed = threading.Condition()
        self._open = True
        self._log = Log(url, path)
        self._book = Book(url)
        try:
            with self._file() as draft:
                if not self._log.end:
                    draft.add("format", FORMAT)
        except Exception:
            self.close()
            raise

    @contextmanager
    def _file(self) -> Iterator[Draft]:
        """Hold the file, know what others have written, and write what is drafted."""
        with self._changed:
            if not self._open:
                raise StoreUnavailable(self.url, "it is closed", "open it again")
            with self._log.held():
                for offset, change in self._log.news():
                    self._book.take(offset, *change)
                draft = Draft(self._book, self._log.end)
                try:
                    yield draft
                    if draft.lines:
                        self._log.append(draft.lines)
                except BaseException:
                    if draft.lines:  # the book is ahead of the file
                        self._book, self._log.end = Book(self.url), 0
                    raise
            if draft.lines:
                self._changed.notify_all()

    def now(self) -> int:
        """See ``Store.now``."""
        return self._clock()

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        with self._file() as draft:
            now = self.now()
            return [self._create(draft, new, now, worker, ttl) for new in runs]

    def _create(self, draft: Draft, new: NewRun, now: int, worker: str = "", ttl: int = 0) -> Created:
        known = self._book.records.get(new.key)
        if known:
            return Created(known.run, new=False)
        draft.add("new", *new.key, spelt(first_entry(new, now)))
        draft.events(new.key, new.events)
        record = self._book.records[new.key]
        ready_at = record.run.ready_at
        lease = None
        if worker and ready_at is not None and ready_at <= now:
            lease = self._lease(draft, record, worker, now + ttl)
        return Created(record.run, new=True, lease=lease)

    def _lease(self, draft: Draft, record: Record, worker: str, until: int) -> Lease:
        lease, fields = granted(record.run, worker, until)
        draft.change(record, **fields)
        return lease

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        with self._file() as draft:
            now = self.now()
            served = names(claim.queues)
            own = [record for record in self._book.records.values() if record.run.key.namespace == claim.namespace]
            held = [record for record in own if record.run.worker == claim.worker and (record.run.ready_at or 0) > now]
            mail = [message for record in held for message in record.mail.values()]
            offered = [
                (ready_at, record)
                for record in own
                if (ready_at := record.run.ready_at) is not None
                and record.run.queue in served
                and record.run.workflow in claim.workflows
            ]
            waiting = [waiting_of(record.run, record) for ready_at, record in offered if ready_at <= now]
            standings = {name: self._standing(claim.namespace, own, queue, now) for name, queue in declared(claim.queues).items()}
            chosen = allotted(claim.queues, waiting, standings, claim.limit)
            taken = [self._take(draft, item.run, claim, now) for item in chosen]
            for name, standing in standings.items():
                if (begun := standing.remembered()) is not None:
                    draft.add("begun", claim.namespace, name, begun)
            parked = [ready_at for ready_at, _ in offered if ready_at > now]
            again = [standing.next_at() for standing in standings.values()]
            return Claims([claimed for claimed in taken if claimed], mail, soonest(*parked, *again))

    def _standing(self, namespace: str, own: Sequence[Record], queue: Queue, now: int) -> Standing:
        """Who holds runs of a queue."""
        held = [record.run for record in own if record.run.queue == queue.name and record.run.worker]
        ends = [(run.ready_at, run.fairness_key) for run in held if run.ready_at is not None and run.ready_at > now]
        begun = self._book.begun.get((namespace, queue.name), [])
        return Standing(queue, Counter(key for _, key in ends), min((end for end, _ in ends), default=None), begun, now)

    def _take(self, draft: Draft, record: Record, claim: Claim, now: int) -> Claimed | None:
        base = record.run.base
        try:
            journal = self._read(record, 0) if base <= 1 else self._read(record, 0, 1) + self._read(record, base - 1)
        except JournalDamaged as error:
            draft.change(record, worker="", ready_at=None, status="stuck", note=str(error))
            return None
        lease = self._lease(draft, record, claim.worker, now + claim.ttl)
        return Claimed(record.run, lease, journal, list(record.mail.values()))

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        with self._file() as draft:
            until = self.now() + ttl
            held = [self._held(lease) for lease in leases]
            for record in held:
                if record:
                    draft.change(record, ready_at=until)
            return [record is not None for record in held]

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        with self._file() as draft:
            now = self.now()
            for record in map(self._held, leases):
                if record:
                    self._park(draft, record, now, record.run.wake_at if record.run.status == "paused" else now)

    def _held(self, lease: Lease) -> Record | None:
        record = self._book.records.get(lease.key)
        return record if record and (record.run.fence, record.run.worker) == (lease.fence, lease.worker) else None

    def _park(self, draft: Draft, record: Record, now: int, wake_at: int | None) -> None:
        """Give the lease back: ready now when a message waits that wakes it, else at the wake-up."""
        status = record.run.status
        due = any(wakes(message.kind, status, resting=True) for message in record.mail.values())
        draft.change(record, worker="", ready_at=None if status in CLOSED else now if due else wake_at)

    # ---- turns and messages ---------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        for commit in batch:
            require_sound(commit)
        with self._file() as draft:
            now = self.now()
            return [self._commit(draft, commit, now) for commit in batch]

    def _commit(self, draft: Draft, commit: Commit, now: int) -> Committed:
        record = self._held(commit.lease)
        if record is None:
            return Committed.FENCED
        run = record.run
        if run.seq != commit.expected:
            return Committed.CONFLICT
        draft.events(run.key, commit.events)
        draft.change(
            record,
            status=commit.status,
            seq=run.seq + len(commit.events),
            base=commit.base or run.base,
            applied=max(run.applied, commit.applied),
            tags={name: word for name, word in {**run.tags, **commit.tags}.items() if word},
            state={**run.state, **commit.state},
            result=run.result if commit.result is None else commit.result,
            wake_at=None if commit.status in CLOSED else commit.wake_at,
            updated_at=now,
            note=commit.note,
            recoveries=0 if takes_on(commit) else run.recoveries,
        )
        if commit.consumed:
            draft.add("consumed", *run.key, list(commit.consumed))
        if commit.release or commit.status in CLOSED:
            self._park(draft, record, now, commit.wake_at)
        if commit.successor:
            self._succeed(draft, record, commit.successor, now)
        for child in commit.children:
            self._create(draft, child, now)
        for message in commit.posts:
            self._deliver(draft, message, now)
        self._say(draft, run.key.namespace, commit.topics, now)
        return Committed.APPLIED

    def _succeed(self, draft: Draft, record: Record, new: NewRun, now: int) -> None:
        space, name = record.run.key
        number = record.journals + 1
        while RunKey(space, past := f"{name}~{number}") in self._book.records:
            number += 1
        draft.change(record, parent="", parent_command="")
        heir = {**first_entry(new, now), "fence": record.run.fence + 1}
        draft.add("past", space, name, past, spelt(heir))
        draft.events(new.key, new.events)
        self._park(draft, self._book.records[new.key], now, heir["ready_at"])

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        with self._file() as draft:
            now = self.now()
            return [self._deliver(draft, message, now) for message in messages]

    def _deliver(self, draft: Draft, message: Message, now: int) -> Posted:
        record = self._book.records.get(message.key)
        if record is None:
            return Posted.UNKNOWN
        if message.id in record.seen:
            return Posted.DUPLICATE
        run = record.run
        if run.status in CLOSED:
            return Posted.CLOSED
        fields = [message.id, message.kind, message.name, text(message.payload), message.command, now]
        draft.add("mail", *run.key, fields)
        if not run.worker and wakes(message.kind, run.status):
            draft.change(record, ready_at=now if run.ready_at is None else min(run.ready_at, now))
        return Posted.DELIVERED

    # ---- reading --------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        with self._file():
            record = self._book.records.get(key)
            return self._read(record, after, limit) if record else []

    def _read(self, record: Record, after: int, limit: int = 1_000_000) -> list[Event]:
        """Events from the file, each checked."""
        run = record.run
        return [self._event(record, seq) for seq in range(after + 1, min(run.seq, after + limit) + 1)]

    def _event(self, record: Record, seq: int) -> Event:
        place = record.places.get(seq)
        change = None if place is None else self._log.change(place)
        if change is None:
            raise JournalDamaged(record.run.key.id, seq, "its line is missing from the file")
        event = unwritten(change[3:])
        if event is None:
            raise JournalDamaged(record.run.key.id, seq, "its checksum does not fit")
        return event

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        with self._file():
            return [record.run if (record := self._book.records.get(key)) else None for key in keys]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        before = page_after(cursor)
        with self._file():
            found = [record.run for record in self._book.records.values() if fits(record.run, query)]
        if before:
            found = [run for run in found if age(run) < before]
        page = heapq.nlargest(limit + 1, found, key=age)
        return Page(page[:limit], page_cursor(page[limit - 1]) if len(page) > limit else "")

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        with self._file() as draft:
            gone = [key for key in dict.fromkeys(keys) if (record := self._book.records.get(key)) and record.run.status in CLOSED]
            for key in gone:
                draft.add("gone", *key)
            return len(gone)

    # ---- topics and blobs -----------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        with self._file() as draft:
            self._say(draft, namespace, entries, self.now())

    def _say(self, draft: Draft, namespace: str, entries: Iterable[tuple[str, bytes]], now: int) -> None:
        for topic, payload in entries:
            draft.add("said", namespace, topic, now, text(payload))

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``; an entry's offset is where its line begins in the file."""
        with self._file():
            places = self._book.topics.get((namespace, topic), [])
            first = bisect_right(places, after)
            return [Entry(place, at, octets(said)) for place in places[first : first + limit] for at, said in [self._fact(place)]]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        with self._file() as draft:
            if name not in self._book.blobs:
                draft.add("blob", name, text(data))
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        with self._file():
            place = self._book.blobs.get(name)
            if place is None:
                raise JournalDamaged(name, 0, "there is no blob of that name")
            data = octets(self._fact(place)[-1])
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return data

    def _fact(self, place: int) -> Change:
        """The last two facts of the change whose line begins there."""
        change = self._log.change(place)
        if change is None:
            raise StoreUnavailable(self.url, f"the line at byte {place} is no JSON", "restore the file from a backup")
        return change[-2:]

    # ---- life -----------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; what was seen is the length of the file."""
        until = time.monotonic() + timeout
        with self._changed:
            while self._open and (size := self._log.size()) == seen:
                left = until - time.monotonic()
                if left <= 0:
                    return seen
                self._changed.wait(min(LOOK, left))
            if not self._open:
                raise StoreUnavailable(self.url, "it is closed", "open it again")
            return size

    def close(self) -> None:
        """See ``Store.close``."""
        with self._changed:
            if self._open:
                self._open = False
                self._log.close()
                self._changed.notify_all()
