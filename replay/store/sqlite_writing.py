"""What one transaction on a SQLite file does to runs, journals, messages and topics.

Rule 1: whoever builds a ``Writing`` has begun a transaction and ends it; nothing here commits.
Rule 2: refuse first, then change, so that a refused item leaves no trace and the batch needs no savepoints.
Rule 3: plain turns are collected and written with one call for all. Whoever looks at a run that has such a turn coming writes
them down first.
Rule 4: an index is touched only when what it holds changes: a turn that keeps its lease rewrites one row and appends events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from replay.errors import JournalDamaged
from replay.model.events import Event
from replay.store import sqlite_limits as limits
from replay.store.blocks import SIZE, pack
from replay.store.contract import (
    CLOSED,
    Claim,
    Commit,
    Committed,
    Lease,
    Message,
    NewRun,
    Posted,
    Run,
    RunKey,
    takes_on,
    wakes,
)
from replay.store.limits import Standing, Waiting, allotted, declared, names, soonest
from replay.store.sql import (
    EVENT_COLUMNS,
    NEW_COLUMNS,
    RUN_COLUMNS,
    Row,
    bytes_of,
    leased_at_birth,
    placeholders,
    quoted,
    row_of,
    run_of,
    sealed,
    tags_of,
    unsealed,
    words_of,
)
from replay.store.sqlite_files import Raw

LANE: Final = """
    FROM replay_runs INDEXED BY replay_runs_ready
    WHERE namespace = ?1 AND queue = lane.queue AND workflow = lane.workflow"""
LANES: Final = f"""
    WITH RECURSIVE served(queue, workflow) AS (SELECT q.value, w.value FROM json_each(?2) AS q, json_each(?3) AS w),
    lane(queue, workflow, priority) AS (
        SELECT queue, workflow, (SELECT max(priority) {LANE} AND ready_at IS NOT NULL) FROM served AS lane
        UNION ALL
        SELECT queue, workflow, (SELECT max(priority) {LANE} AND ready_at IS NOT NULL AND priority < lane.priority)
        FROM lane WHERE lane.priority IS NOT NULL)
    SELECT queue, workflow, priority,
        EXISTS (SELECT 1 {LANE} AND priority = lane.priority AND ready_at <= ?4),
        (SELECT min(ready_at) {LANE} AND priority = lane.priority AND ready_at > ?4)
    FROM lane WHERE priority IS NOT NULL ORDER BY priority DESC"""  # noqa: S608
"""One look-up for each queue, workflow and priority that has runs with a ``ready_at``: none that is not due is walked over."""
DUE: Final = """
    SELECT ready_at, pk FROM replay_runs INDEXED BY replay_runs_ready
    WHERE namespace = ? AND queue = ? AND workflow = ? AND priority = ? AND ready_at <= ? ORDER BY ready_at, pk LIMIT ?"""
TAKE: Final = """
    UPDATE replay_runs SET worker = ?, ready_at = ?, fence = fence + 1, recoveries = recoveries + (worker <> ''),
        status = CASE WHEN status IN ('paused', 'stuck') THEN status ELSE 'running' END WHERE pk = ?"""
RUN: Final = f"""
    SELECT pk, coalesce(box, pk), mail, {quoted(RUN_COLUMNS)},
        (SELECT json_group_object(name, word) FROM replay_tags WHERE run = pk),
        (SELECT json_group_object("key", hex(value)) FROM replay_state WHERE run = pk)
    FROM replay_runs """  # noqa: S608
RUN_BY_KEY: Final = f"{RUN} WHERE namespace = ? AND id = ?"
RUN_BY_PK: Final = f"{RUN} WHERE pk = ?"
LOOK: Final = """
    SELECT pk, coalesce(box, pk), fence, worker, status, seq, base, applied, ready_at, wake_at, mail, journals FROM replay_runs
    WHERE namespace = ? AND id = ?"""
FORESEE: Final = """
    SELECT json_group_array(json_array(
        r.id, pk, coalesce(box, pk), fence, worker, status, seq, base, applied, ready_at, wake_at, mail, journals))
    FROM json_each(?2) AS q CROSS JOIN replay_runs AS r ON r.namespace = ?1 AND r.id = q.value"""
"""``LOOK`` for many, answered as one text: a row a run would let go of the interpreter's lock as often as there are runs, and a
busy thread elsewhere may keep it for five milliseconds each time."""
BEGIN: Final = f"""
    INSERT INTO replay_runs ({quoted(NEW_COLUMNS)}) VALUES ({placeholders(NEW_COLUMNS)})
    ON CONFLICT (namespace, id) DO NOTHING"""  # noqa: S608
APPEND: Final = f"""
    INSERT INTO replay_events (run, {quoted(EVENT_COLUMNS)}) VALUES (?, {placeholders(EVENT_COLUMNS)})"""  # noqa: S608
TOGETHER: Final = 32
"""Events that are appended by one statement, for the same reason."""
APPEND_MANY: Final = APPEND + f", (?, {placeholders(EVENT_COLUMNS)})" * (TOGETHER - 1)
READ: Final = f"""
    SELECT {quoted(EVENT_COLUMNS)} FROM replay_events WHERE run = ? AND seq > ? AND seq <= ? ORDER BY seq"""  # noqa: S608
PACK: Final = "INSERT INTO replay_blocks (run, last, data) VALUES (?, ?, ?)"
UNROW: Final = "DELETE FROM replay_events WHERE run = ? AND seq > ? AND seq <= ?"
HOLD: Final = """
    UPDATE replay_runs SET seq = ?, base = ?, applied = ?, wake_at = ?, note = ?, recoveries = recoveries * ?, updated_at = ?
    WHERE pk = ?"""
CHANGE: Final = """
    UPDATE replay_runs SET seq = ?, base = ?, applied = ?, wake_at = ?, note = ?, recoveries = recoveries * ?, updated_at = ?,
        status = ?, worker = ?, ready_at = ?, mail = ?, result = coalesce(?, result) WHERE pk = ?"""
CONSUME: Final = "UPDATE replay_messages SET posted = NULL, payload = x'' WHERE box = ? AND id = ? AND posted IS NOT NULL"
KINDS: Final = "SELECT DISTINCT kind FROM replay_messages WHERE box = ? AND posted IS NOT NULL"
TAG: Final = """
    INSERT OR REPLACE INTO replay_tags (run, name, word, namespace, created_at)
    SELECT pk, ?, ?, namespace, created_at FROM replay_runs WHERE pk = ?"""
UNTAG: Final = "DELETE FROM replay_tags WHERE name = ? AND run = ?"
SHOW: Final = 'INSERT OR REPLACE INTO replay_state (run, "key", value) VALUES (?, ?, ?)'
LEAVE: Final = """
    INSERT INTO replay_messages (box, id, kind, name, payload, command, at, posted)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(max(posted), 0) + 1 FROM replay_messages WHERE box = ?1 AND posted IS NOT NULL
    ON CONFLICT (box, id) DO NOTHING"""
SEEN: Final = "SELECT 1 FROM replay_messages WHERE box = ? AND id = ?"
COUNT: Final = "UPDATE replay_runs SET mail = mail + 1 WHERE pk = ?"
WAKE: Final = "UPDATE replay_runs SET mail = mail + 1, ready_at = ? WHERE pk = ?"
PARK: Final = "UPDATE replay_runs SET worker = '', ready_at = ? WHERE pk = ?"
RENEW: Final = "UPDATE replay_runs SET ready_at = ? WHERE namespace = ? AND id = ? AND fence = ? AND worker = ? AND worker <> ''"
STICK: Final = """
    UPDATE replay_runs SET worker = '', ready_at = NULL, status = 'stuck', note = ?
    WHERE namespace = ? AND id = ? AND fence = ? AND worker = ?"""
RENAME: Final = "UPDATE replay_runs SET id = ?, parent = '', parent_command = '', mail = 0, box = 0 WHERE pk = ?"
HEIR: Final = "UPDATE replay_runs SET fence = ?, mail = ?, box = ?, ready_at = ? WHERE pk = ?"
PUBLISH: Final = """
    INSERT INTO replay_topics (namespace, topic, "offset", at, payload)
    SELECT ?1, ?2, coalesce(max("offset"), 0) + 1, ?3, ?4 FROM replay_topics WHERE namespace = ?1 AND topic = ?2"""
FORGET: Final = "DELETE FROM replay_messages WHERE box = ?"
BURIALS: Final = (
    "DELETE FROM replay_events WHERE run = ?",
    "DELETE FROM replay_blocks WHERE run = ?",
    "DELETE FROM replay_tags WHERE run = ?",
    "DELETE FROM replay_state WHERE run = ?",
    "DELETE FROM replay_runs WHERE pk = ?",
)


FEW: Final = 4
"""Runs that are looked at one by one."""


class Look(NamedTuple):
    """What a turn needs to know of its run; its mail lies in a box, which passes from a run to its successor."""

    pk: int
    box: int
    fence: int
    worker: str
    status: str
    seq: int
    base: int
    applied: int
    ready_at: int | None
    wake_at: int | None
    mail: int
    journals: int


class Birth(NamedTuple):
    """A run as it was created."""

    pk: int
    row: Row
    lease: Lease | None


class Lanes(NamedTuple):
    """Where a claim has to look.

    Attributes:
        due: Queue, workflow and priority of those with runs that are ready, highest priority first.
        next_at: When the next run becomes ready, or None.
    """

    due: Sequence[tuple[str, str, int]]
    next_at: int | None


class Writing:
    """The changes of one transaction.

    Attributes:
        raw: The connection that it goes over.
        now: Its moment, by the store's clock.
    """

    def __init__(self, raw: Raw, now: int) -> None:
        self.raw = raw
        self.now = now
        self._events: list[Row] = []
        self._held: list[Row] = []
        self._changed: list[Row] = []
        self._coming: set[RunKey] = set()
        self._foreseen: dict[RunKey, Look] = {}

    def foresee(self, keys: Sequence[RunKey]) -> None:
        """Look at many runs at once; each is forgotten when it was looked at, as what looks may change it."""
        if len(keys) < FEW:
            return
        for namespace, group in groupby(sorted(keys), key=itemgetter(0)):
            found = self.raw.execute(FORESEE, (namespace, json_list(key.id for key in group))).fetchone()[0]
            self._foreseen.update((RunKey(namespace, row[0]), Look._make(row[1:])) for row in json.loads(found))

    def flush(self) -> None:
        """Write down what was collected."""
        if self._held:
            self.raw.executemany(HOLD, self._held)
        if self._changed:
            self.raw.executemany(CHANGE, self._changed)
        whole_chunks = len(self._events) // TOGETHER * TOGETHER
        for begin in range(0, whole_chunks, TOGETHER):
            self.raw.execute(APPEND_MANY, tuple(chain.from_iterable(self._events[begin : begin + TOGETHER])))
        if self._events[whole_chunks:]:
            self.raw.executemany(APPEND, self._events[whole_chunks:])
        self._events, self._held, self._changed = [], [], []
        self._coming.clear()

    def look(self, key: RunKey) -> Look | None:
        """What is known of a run."""
        if key in self._coming:
            self.flush()
        if foreseen := self._foreseen.pop(key, None):
            return foreseen
        row = self.raw.execute(LOOK, key).fetchone()
        return Look._make(row) if row else None

    def held(self, lease: Lease) -> Look | None:
        """The run of a lease, if it still holds."""
        run = self.look(lease.key)
        return run if run and run.worker and (run.fence, run.worker) == (lease.fence, lease.worker) else None

    # ---- birth ----------------------------------------------------------------------------------------------------------

    def create(self, new: NewRun, worker: str = "", ttl: int = 0, journals: int = 0) -> Birth | None:
        """Create a run, or nothing when there is one of that key."""
        lease = None
        if leased_at_birth(new, worker, self.now):
            lease = Lease(new.key, 1, worker, self.now + ttl)
            row = row_of(new, self.now, worker=worker, until=lease.until, fence=1, journals=journals)
        else:
            row = row_of(new, self.now, journals=journals)
        cursor = self.raw.execute(BEGIN, row)
        if not cursor.rowcount:
            return None
        pk = cursor.lastrowid
        assert pk is not None
        self.append(pk, 0, new.events)
        if new.tags:
            self.raw.executemany(TAG, [(name, word, pk) for name, word in tags_of(new).items()])
        if new.state:
            self.raw.executemany(SHOW, [(pk, key, value) for key, value in new.state.items()])
        return Birth(pk, row, lease)

    def run(self, key: RunKey) -> Run | None:
        """A run's index entry."""
        if key in self._coming:
            self.flush()
        row = self.raw.execute(RUN_BY_KEY, key).fetchone()
        return whole(row) if row else None

    # ---- journals -------------------------------------------------------------------------------------------------------

    def append(self, pk: int, before: int, events: Sequence[Event]) -> None:
        """Add events to a journal; what fills a block becomes one."""
        after = before + len(events)
        if before // SIZE == after // SIZE:
            self._events += sealed(pk, events)
        else:
            self._append_blocks(pk, before, events)

    def _append_blocks(self, pk: int, before: int, events: Sequence[Event]) -> None:
        self.flush()
        journal = [*self._unpacked(pk, before), *events]
        if journal and journal[0].seq == 1:
            self._events += sealed(pk, journal[:1])
            journal = journal[1:]
        while journal:
            last = -(-journal[0].seq // SIZE) * SIZE
            length = last - journal[0].seq + 1
            part, journal = journal[:length], journal[length:]
            block = pack(part) if part[-1].seq == last else None
            if block is None:
                self._events += sealed(pk, (event for event in part if event.seq > before))
                continue
            if part[0].seq <= before:
                self.raw.execute(UNROW, (pk, part[0].seq - 1, before))
            self.raw.execute(PACK, (pk, last, block))

    def _unpacked(self, pk: int, before: int) -> list[Event]:
        """The rows of the block that is under way; none when they are damaged, for then they stay as they are."""
        begin = max(1, before // SIZE * SIZE)  # the first event stays a row: every recovery reads it
        if before <= begin:
            return []
        try:
            rows = unsealed(self.raw.execute(READ, (pk, begin, before)).fetchall(), str(pk))
        except JournalDamaged:
            return []
        return rows if len(rows) == before - begin else []

    # ---- turns ----------------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> Committed:
        """Apply one turn, or refuse it."""
        run = self.held(commit.lease)
        if run is None:
            return Committed.FENCED
        if run.seq != commit.expected:
            return Committed.CONFLICT
        pk = run.pk
        self.append(pk, run.seq, commit.events)
        mail = run.mail
        if commit.consumed:
            mail -= self.raw.executemany(CONSUME, [(run.box, message) for message in dict.fromkeys(commit.consumed)]).rowcount
        self._index(run, commit, mail)
        for name, word in commit.tags.items():
            self.raw.execute(*((TAG, (name, word, pk)) if word else (UNTAG, (name, pk))))
        if commit.state:
            self.raw.executemany(SHOW, [(pk, key, value) for key, value in commit.state.items()])
        if commit.successor:
            self._succeed(pk, commit.lease, commit.successor)
        for child in commit.children:
            self.create(child)
        for message in commit.posts:
            self.post(message)
        self.publish(commit.lease.key.namespace, commit.topics)
        return Committed.APPLIED

    def _index(self, run: Look, commit: Commit, mail: int) -> None:
        closed = commit.status in CLOSED
        fields = (
            run.seq + len(commit.events),
            commit.base or run.base,
            max(run.applied, commit.applied),
            None if closed else commit.wake_at,
            commit.note,
            0 if takes_on(commit) else 1,
            self.now,
        )
        self._coming.add(commit.lease.key)
        if not (closed or commit.release or commit.result is not None) and (commit.status, mail) == (run.status, run.mail):
            self._held.append((*fields, run.pk))
            return
        worker, ready_at = run.worker, run.ready_at
        if closed or commit.release:
            worker, ready_at = "", None if closed else self._rest(run.box, commit.status, mail, commit.wake_at)
        self._changed.append((*fields, commit.status, worker, ready_at, mail, commit.result, run.pk))

    def _rest(self, box: int, status: str, mail: int, ready_at: int | None) -> int | None:
        """When a run that is given back is ready: now if a message waits that wakes it."""
        due = mail and any(wakes(kind, status, resting=True) for (kind,) in self.raw.execute(KINDS, (box,)))
        return self.now if due else ready_at

    def _succeed(self, pk: int, lease: Lease, new: NewRun) -> None:
        old = self.look(lease.key)
        assert old is not None
        namespace, name = lease.key
        journals = old.journals + 1
        while self.look(RunKey(namespace, f"{name}~{journals}")):
            journals += 1
        self.raw.execute(RENAME, (f"{name}~{journals}", pk))
        heir = self.create(new, journals=journals)
        assert heir is not None
        run = self.look(new.key)
        assert run is not None
        ready_at = None if run.status in CLOSED else self._rest(old.box, run.status, old.mail, run.ready_at)
        self.raw.execute(HEIR, (old.fence + 1, old.mail, old.box, ready_at, heir.pk))

    # ---- messages and topics --------------------------------------------------------------------------------------------

    def post(self, message: Message) -> Posted:
        """Leave a message; a run that nobody holds becomes ready when the message wakes it."""
        run = self.look(message.key)
        if run is None:
            return Posted.UNKNOWN
        if run.status in CLOSED:
            return Posted.DUPLICATE if self.raw.execute(SEEN, (run.box, message.id)).fetchone() else Posted.CLOSED
        id_, _, *fields, _ = message
        if not self.raw.execute(LEAVE, (run.box, id_, *fields, self.now)).rowcount:
            return Posted.DUPLICATE
        if run.worker or not wakes(message.kind, run.status) or (run.ready_at is not None and run.ready_at <= self.now):
            self.raw.execute(COUNT, (run.pk,))
        else:
            self.raw.execute(WAKE, (self.now, run.pk))
        return Posted.DELIVERED

    def publish(self, namespace: str, entries: Iterable[tuple[str, bytes]]) -> None:
        """Append to topics."""
        for topic, payload in entries:
            self.raw.execute(PUBLISH, (namespace, topic, self.now, payload))

    # ---- leases ---------------------------------------------------------------------------------------------------------

    def take(self, claim: Claim, places: limits.Places) -> tuple[list[Row], int | None]:
        """Lease runs that are ready; their ``RUN`` rows, in order, and when those may be taken that limits held back."""
        chosen: list[int] = []
        limited = {name: limits.standing(self.raw, claim.namespace, queue, self.now) for name, queue in declared(claim.queues).items()}
        for _, level in groupby(lanes(self.raw, claim, self.now).due, key=itemgetter(2)):
            room = claim.limit - len(chosen)
            if room <= 0:
                break
            waiting = (item for lane in level for item in self._waiting(claim.namespace, lane, limited.get(lane[0]), room, places))
            chosen += [item.run for item in allotted(claim.queues, waiting, limited, room)]
        for standing in limited.values():
            limits.remember(self.raw, claim.namespace, standing)
        until = self.now + claim.ttl
        self.raw.executemany(TAKE, [(claim.worker, until, pk) for pk in chosen])
        rows = [self.raw.execute(RUN_BY_PK, (pk,)).fetchone() for pk in chosen]
        return rows, soonest(*(standing.next_at() for standing in limited.values()))

    def _waiting(
        self, namespace: str, lane: limits.Lane, standing: Standing | None, room: int, places: limits.Places
    ) -> Iterator[Waiting]:
        if standing is not None:
            return limits.waiting(self.raw, namespace, lane, standing, room, places)
        rows = self.raw.execute(DUE, (namespace, *lane, self.now, room))
        return (Waiting(lane[2], ready_at, lane[0], "", False, pk) for ready_at, pk in rows)

    def renew(self, lease: Lease, until: int) -> bool:
        """Prolong a lease that still holds."""
        return bool(self.raw.execute(RENEW, (until, *lease.key, lease.fence, lease.worker)).rowcount)

    def release(self, lease: Lease) -> None:
        """Give a lease back that still holds."""
        run = self.held(lease)
        if run:
            ready_at = run.wake_at if run.status == "paused" else self.now
            self.raw.execute(PARK, (self._rest(run.box, run.status, run.mail, ready_at), run.pk))

    def stick(self, lease: Lease, note: str) -> None:
        """Set a run aside that cannot be handed out."""
        self.raw.execute(STICK, (note, *lease.key, lease.fence, lease.worker))

    def delete(self, key: RunKey) -> bool:
        """Remove a closed run and all that is its own."""
        run = self.look(key)
        if run is None or run.status not in CLOSED:
            return False
        self.raw.execute(FORGET, (run.box,))
        for burial in BURIALS:
            self.raw.execute(burial, (run.pk,))
        return True


def lanes(raw: Raw, claim: Claim, now: int) -> Lanes:
    """Where runs are ready that a claim may take, and when the next one will be."""
    served = (json_list(names(claim.queues)), json_list(claim.workflows))
    rows = raw.execute(LANES, (claim.namespace, *served, now)).fetchall()
    due = [(queue, workflow, priority) for queue, workflow, priority, ready, _ in rows if ready]
    return Lanes(due, min((row[4] for row in rows if row[4] is not None), default=None))


def whole(row: Any) -> Run:
    """An index entry from a ``RUN`` row."""
    return run_of(row[3:], words_of(row[-2]), bytes_of(row[-1]))


def json_list(words: Iterable[str]) -> str:
    """Different words as a JSON list, which SQLite reads as a table."""
    return json.dumps(list(dict.fromkeys(words)), ensure_ascii=False)
