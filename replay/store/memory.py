"""The reference store: the shortest code that keeps the contract; it lives and dies with its process.

Rule 1: one lock around every verb, so every verb is atomic.
Rule 2: refuse first, then change: no verb stops half-way.
Rule 3: index entries are frozen and replaced, so what was handed out never moves.
Rule 4: a world is what a medium is elsewhere; stores are handles on it. ``memory://NAME`` names a world of this process,
``memory://`` makes a fresh one.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import attrs

from replay.errors import JournalDamaged, StoreUnavailable
from replay.model.events import Event, seal
from replay.model.queues import Queue
from replay.store.contract import (
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
    Filter,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
    age,
    fits,
    gapless,
    granted,
    index_entry,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
    takes_on,
    wakes,
)
from replay.store.limits import Begun, Standing, allotted, declared, names, soonest, waiting_of

TICKETS: Final = itertools.count()
"""Numbers that settle which of two equal moments comes first."""


@attrs.define
class Shelf:
    """Runs of one namespace, queue and workflow, by the moment at which they may be claimed.

    Attributes:
        later: A heap of moments to come; an entry is void once its run has another moment.
        limit: Length at which the heap is rid of void entries.
        ready: Runs whose moment came, until they are taken.
    """

    later: list[tuple[int, int, Record]] = attrs.field(factory=list)
    limit: int = 1000
    ready: dict[Record, None] = attrs.field(factory=dict)

    def put(self, ready_at: int, record: Record) -> None:
        """Note the moment of a run."""
        if len(self.later) >= self.limit:
            self.later = [item for item in self.later if item[2].run.ready_at == item[0]]
            heapq.heapify(self.later)
            self.limit = 2 * len(self.later) + 1000
        heapq.heappush(self.later, (ready_at, next(TICKETS), record))

    def look(self, now: int) -> list[tuple[int, Record]]:
        """Runs whose moment came, and some whose moment comes again: a late worker held on to them, or the clock was put back."""
        later = self.later
        while later and (later[0][0] <= now or later[0][2].run.ready_at != later[0][0]):
            moment, _, record = heapq.heappop(later)
            if record.run.ready_at == moment:
                self.ready[record] = None
        known = [(ready_at, record) for record in self.ready if (ready_at := record.run.ready_at) is not None]
        self.ready = {record: None for _, record in known}
        return known


@attrs.define(eq=False)
class Record:
    """A run, its journal with the seals made when it was written, and its mail.

    Attributes:
        world: Where it lives.
        run: Its index entry.
        events: Its journal.
        seals: One for each event.
        mail: Unconsumed messages by id, oldest first.
        seen: Ids of all messages ever posted.
        journals: Number of journals that were under this id before.
    """

    world: World
    run: Run
    events: list[Event] = attrs.field(factory=list)
    seals: list[int] = attrs.field(factory=list)
    mail: dict[str, Message] = attrs.field(factory=dict)
    seen: set[str] = attrs.field(factory=set)
    journals: int = 0

    def change(self, **fields: Any) -> None:
        """Replace the index entry."""
        self.run = run = attrs.evolve(self.run, **fields)
        if "worker" in fields:
            held = self.world.held.setdefault((run.key.namespace, run.queue), {})
            if run.worker:
                held[self] = None
            else:
                held.pop(self, None)
        if "ready_at" in fields:
            self.shelve()

    def shelve(self) -> None:
        """Let claims find it at its moment, if it has one."""
        run = self.run
        if run.ready_at is not None:
            self.world.shelf(run.key.namespace, run.queue, run.workflow).put(run.ready_at, self)

    def append(self, events: Sequence[Event]) -> None:
        """Write events down; each is sealed."""
        self.events += events
        self.seals += map(seal, events)

    def read(self, after: int, limit: int = 1_000_000) -> list[Event]:
        """Events after a seq; each is checked against its seal."""
        chosen = slice(after, after + limit)
        events = gapless(self.run.key, self.events[chosen], after)
        if len(events) < min(limit, self.run.seq - after):
            raise JournalDamaged(self.run.key.id, after + len(events) + 1, "it is missing, and so is all after it")
        for event, sealed in zip(events, self.seals[chosen], strict=True):
            if seal(event) != sealed:
                raise JournalDamaged(self.run.key.id, event.seq, "its checksum does not fit")
        return events

    def recovery(self) -> list[Event]:
        """The first event, then the newest savepoint with state and what follows it; all events when there is none."""
        base = self.run.base
        return self.read(0) if base <= 1 else self.read(0, 1) + self.read(base - 1)

    def rest(self, status: str, now: int, wake_at: int | None) -> dict[str, Any]:
        """The fields that give the lease back: ready now when a message waits that wakes it, else at the wake-up."""
        due = any(wakes(message.kind, status, resting=True) for message in self.mail.values())
        return {"worker": "", "ready_at": None if status in CLOSED else now if due else wake_at}

    def deliver(self, message: Message, now: int) -> Posted:
        """Take a message; it makes the run ready, unless someone holds it or it sleeps too deep for that kind."""
        run = self.run
        if message.id in self.seen:
            return Posted.DUPLICATE
        if run.status in CLOSED:
            return Posted.CLOSED
        self.seen.add(message.id)
        self.mail[message.id] = message._replace(at=now)
        self.world.mailed[self] = None
        if not run.worker and wakes(message.kind, run.status):
            self.change(ready_at=now if run.ready_at is None else min(run.ready_at, now))
        return Posted.DELIVERED


@attrs.define
class World:
    """Everything that the handles on one medium share.

    Attributes:
        changed: The lock, and the bell that rings at every change.
        version: Number of changes.
        held: Runs that somebody holds, by namespace and queue.
        begun: When runs began, for queues with a rate.
        records: Runs by name.
        shelves: Open runs by namespace, queue and workflow.
        mailed: Runs that have mail, and some that had.
        topics: Entries by namespace and topic.
        blobs: Bytes by their SHA-256.
    """

    changed: threading.Condition = attrs.field(factory=threading.Condition)
    version: int = 0
    held: dict[tuple[str, str], dict[Record, None]] = attrs.field(factory=dict)
    begun: dict[tuple[str, str], Begun] = attrs.field(factory=dict)
    records: dict[RunKey, Record] = attrs.field(factory=dict)
    shelves: dict[tuple[str, str, str], Shelf] = attrs.field(factory=dict)
    mailed: dict[Record, None] = attrs.field(factory=dict)
    topics: dict[tuple[str, str], list[Entry]] = attrs.field(factory=dict)
    blobs: dict[str, bytes] = attrs.field(factory=dict)

    def shelf(self, namespace: str, queue: str, workflow: str) -> Shelf:
        """Where claims look for runs."""
        place = (namespace, queue, workflow)
        shelf = self.shelves.get(place)
        if shelf is None:
            shelf = self.shelves[place] = Shelf()
        return shelf

    def mail_for(self, worker: str, namespace: str, now: int) -> Iterator[Message]:
        """Unconsumed messages for runs that a worker holds; runs that have none are forgotten until they have some."""
        for record in list(self.mailed):
            run = record.run
            if not record.mail or run.status in CLOSED:
                del self.mailed[record]
            elif (run.worker, run.key.namespace) == (worker, namespace) and (run.ready_at or 0) > now:
                yield from record.mail.values()


WORLDS: Final[dict[str, World]] = {}
"""Worlds with a name, for the life of the process."""


class Closed(threading.Condition):
    """The lock of a store that was closed: it lets nobody in."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def __enter__(self) -> NoReturn:
        raise StoreUnavailable(self.url, "it is closed", "open it again")


def system_clock() -> int:
    """The machine's clock, microseconds UTC."""
    return time.time_ns() // 1000


def open_memory(url: str = "memory://", *, clock: Clock | None = None) -> MemoryStore:
    """A handle on the world that the URL names, or on a fresh one when it names none."""
    name = url.partition("://")[2]
    return MemoryStore(url, clock=clock, world=WORLDS.setdefault(name, World()) if name else None)


class MemoryStore:
    """Journals in memory.

    Attributes:
        url: What it was opened with.
        capabilities: It keeps to limits.
    """

    capabilities = Capability.LIMITS

    def __init__(self, url: str = "memory://", *, clock: Clock | None = None, world: World | None = None) -> None:
        self.url = url
        self._clock = clock or system_clock
        self._world = world or World()
        self._lock = self._world.changed
        self._records = self._world.records

    def now(self) -> int:
        """See ``Store.now``."""
        return self._clock()

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        with self._lock:
            now = self.now()
            created = [self._create(new, now, worker, ttl) for new in runs]
            self._tell()
            return created

    def _create(self, new: NewRun, now: int, worker: str = "", ttl: int = 0) -> Created:
        known = self._records.get(new.key)
        if known:
            return Created(known.run, new=False)
        record = self._records[new.key] = Record(self._world, index_entry(new, now))
        record.append(new.events)
        ready_at = record.run.ready_at
        if worker and ready_at is not None and ready_at <= now:
            lease = self._lease(record, worker, now + ttl)
            return Created(record.run, new=True, lease=lease)
        record.shelve()
        return Created(record.run, new=True)

    def _lease(self, record: Record, worker: str, until: int) -> Lease:
        lease, fields = granted(record.run, worker, until)
        record.change(**fields)
        return lease

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        with self._lock:
            now = self.now()
            mail = list(self._world.mail_for(claim.worker, claim.namespace, now))
            places = itertools.product([claim.namespace], names(claim.queues), set(claim.workflows))
            shelves = [shelf for place in places if (shelf := self._world.shelves.get(place))]
            known = [(ready_at, record, shelf) for shelf in shelves for ready_at, record in shelf.look(now)]
            waiting = [waiting_of(record.run, (record, shelf)) for ready_at, record, shelf in known if ready_at <= now]
            standings = {name: self._standing(claim.namespace, queue, now) for name, queue in declared(claim.queues).items()}
            taken = [self._take(item.run, claim, now) for item in allotted(claim.queues, waiting, standings, claim.limit)]
            for name, standing in standings.items():
                if (begun := standing.remembered()) is not None:
                    self._world.begun[claim.namespace, name] = begun
            moments = [shelf.later[0][0] for shelf in shelves if shelf.later] + [at for at, _, _ in known if at > now]
            left = [standing.next_at() for standing in standings.values()]
            return Claims([claimed for claimed in taken if claimed], mail, soonest(*moments, *left))

    def _standing(self, namespace: str, queue: Queue, now: int) -> Standing:
        place = (namespace, queue.name)
        held = [(run.ready_at, run.fairness_key) for run in (record.run for record in self._world.held.get(place, ()))]
        ends = [(end, key) for end, key in held if end is not None and end > now]
        first_end = min((end for end, _ in ends), default=None)
        return Standing(queue, Counter(key for _, key in ends), first_end, self._world.begun.get(place, ()), now)

    def _take(self, place: tuple[Record, Shelf], claim: Claim, now: int) -> Claimed | None:
        record, shelf = place
        del shelf.ready[record]
        lease = self._lease(record, claim.worker, now + claim.ttl)
        try:
            return Claimed(record.run, lease, record.recovery(), list(record.mail.values()))
        except JournalDamaged as error:
            record.change(worker="", ready_at=None, status="stuck", note=str(error))
            return None

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        with self._lock:
            until = self.now() + ttl
            held = [self._held(lease) for lease in leases]
            for record in held:
                if record:
                    record.change(ready_at=until)
            return [record is not None for record in held]

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        with self._lock:
            now = self.now()
            for record in map(self._held, leases):
                if record:
                    run = record.run
                    record.change(**record.rest(run.status, now, run.wake_at if run.status == "paused" else now))
            self._tell()

    def _held(self, lease: Lease) -> Record | None:
        record = self._records.get(lease.key)
        return record if record and (record.run.fence, record.run.worker) == (lease.fence, lease.worker) else None

    # ---- turns and messages ---------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        for commit in batch:
            require_sound(commit)
        with self._lock:
            now = self.now()
            answers = [self._commit(commit, now) for commit in batch]
            self._tell()
            return answers

    def _commit(self, commit: Commit, now: int) -> Committed:
        record = self._held(commit.lease)
        if record is None:
            return Committed.FENCED
        run = record.run
        if run.seq != commit.expected:
            return Committed.CONFLICT
        for message in commit.consumed:
            record.mail.pop(message, None)
        record.append(commit.events)
        rests = commit.release or commit.status in CLOSED
        record.change(
            status=commit.status,
            seq=len(record.events),
            base=commit.base or run.base,
            applied=max(run.applied, commit.applied),
            tags={name: word for name, word in {**run.tags, **commit.tags}.items() if word} if commit.tags else run.tags,
            state={**run.state, **commit.state} if commit.state else run.state,
            result=run.result if commit.result is None else commit.result,
            wake_at=None if commit.status in CLOSED else commit.wake_at,
            updated_at=now,
            note=commit.note,
            recoveries=0 if takes_on(commit) else run.recoveries,
            **(record.rest(commit.status, now, commit.wake_at) if rests else {}),
        )
        if commit.successor:
            self._succeed(record, commit.successor, now)
        for child in commit.children:
            self._create(child, now)
        self._post(commit.posts, now)
        self._publish(run.key.namespace, commit.topics, now)
        return Committed.APPLIED

    def _succeed(self, old: Record, new: NewRun, now: int) -> None:
        key = old.run.key
        journals = old.journals + 1
        while (past := RunKey(key.namespace, f"{key.id}~{journals}")) in self._records:
            journals += 1
        del self._records[key]
        self._records[past] = old
        self._create(new, now)
        heir = self._records[key]
        heir.mail, heir.seen, heir.journals = old.mail, old.seen, journals
        old.mail, old.seen = {}, set()
        old.change(key=past, parent="", parent_command="")
        if heir.mail:
            self._world.mailed[heir] = None
        heir.change(fence=old.run.fence + 1, **heir.rest(heir.run.status, now, heir.run.ready_at))

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        with self._lock:
            answers = self._post(messages, self.now())
            self._tell()
            return answers

    def _post(self, messages: Iterable[Message], now: int) -> list[Posted]:
        return [record.deliver(message, now) if (record := self._records.get(message.key)) else Posted.UNKNOWN for message in messages]

    # ---- reading --------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        with self._lock:
            record = self._records.get(key)
            return record.read(after, limit) if record else []

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        with self._lock:
            return [record.run if (record := self._records.get(key)) else None for key in keys]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        before = page_after(cursor)
        with self._lock:
            found = [record.run for record in self._records.values() if fits(record.run, query)]
        if before:
            found = [run for run in found if age(run) < before]
        page = heapq.nlargest(limit + 1, found, key=age)
        return Page(page[:limit], page_cursor(page[limit - 1]) if len(page) > limit else "")

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        with self._lock:
            gone = {key for key in keys if (record := self._records.get(key)) and record.run.status in CLOSED}
            for key in gone:
                del self._records[key]
            return len(gone)

    # ---- topics and blobs -----------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        with self._lock:
            self._publish(namespace, entries, self.now())
            self._tell()

    def _publish(self, namespace: str, entries: Iterable[tuple[str, bytes]], now: int) -> None:
        for topic, payload in entries:
            log = self._world.topics.setdefault((namespace, topic), [])
            log.append(Entry(len(log) + 1, now, payload))

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        with self._lock:
            return self._world.topics.get((namespace, topic), [])[after : after + limit]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._world.blobs[name] = data
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        with self._lock:
            data = self._world.blobs.get(name)
        if data is None:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return data

    # ---- life -----------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``."""
        with self._lock:
            self._lock.wait_for(lambda: self._world.version != seen, timeout)
            return self._world.version

    def close(self) -> None:
        """See ``Store.close``; the world stays, others may hold it."""
        self._lock = Closed(self.url)
        with self._world.changed:
            self._tell()

    def _tell(self) -> None:
        self._world.version += 1
        self._world.changed.notify_all()
