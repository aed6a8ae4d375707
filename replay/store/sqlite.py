"""Journals in one SQLite file: the store that needs nothing, and the default.

Rule 1: the verbs are here, what they change is in ``sqlite_writing``, the file and its failures are in ``sqlite_files``.
Rule 2: a batch is one transaction, so a hundred turns cost one fsync.
Rule 3: what only reads takes no lock: a claim that finds nothing ready does not disturb the writer, and journals of claimed runs
are read after the leases are taken, when nobody else can add to them.
Rule 4: events are rows while a journal grows; every ``blocks.SIZE`` of them become one block, which is read ten times as fast.
Rule 5: SQLAlchemy is imported where people look (``find``) and where they bring SQL of their own (``transact``), not before.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

from replay.errors import JournalDamaged, ReplayError
from replay.model.events import Event
from replay.store.blocks import SIZE
from replay.store.contract import (
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
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
)
from replay.store.limits import declared, soonest
from replay.store.sql import MESSAGE_COLUMNS, Row, assembled, messages_of, quoted, run_of, tags_of
from replay.store.sqlite_address import Address
from replay.store.sqlite_files import Connections, Raw, code_of
from replay.store.sqlite_limits import Places, standing
from replay.store.sqlite_writing import READ, RUN_BY_KEY, RUN_BY_PK, Birth, Writing, lanes, whole

LENGTH: Final = "SELECT pk, seq FROM replay_runs WHERE namespace = ? AND id = ?"
BLOCKS: Final = "SELECT last, data FROM replay_blocks WHERE run = ? AND last > ? AND last < ? ORDER BY last"
MAIL: Final = f"""
    SELECT {quoted(MESSAGE_COLUMNS)} FROM replay_messages WHERE box = ? AND posted IS NOT NULL ORDER BY posted"""  # noqa: S608
HELD_MAIL: Final = f"""
    SELECT r.id, {quoted(MESSAGE_COLUMNS, "m.")} FROM replay_runs AS r INDEXED BY replay_runs_mail
    CROSS JOIN replay_messages AS m ON m.box = coalesce(r.box, r.pk) AND m.posted IS NOT NULL
    WHERE r.worker = ? AND r.mail > 0 AND r.namespace = ? AND r.ready_at > ? ORDER BY r.pk, m.posted"""  # noqa: S608
ENTRIES: Final = """
    SELECT "offset", at, payload FROM replay_topics WHERE namespace = ? AND topic = ? AND "offset" > ?
    ORDER BY "offset" LIMIT ?"""
KEEP: Final = """
    INSERT INTO replay_blobs (name, data) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET data = excluded.data WHERE data <> excluded.data"""
BLOB: Final = "SELECT data FROM replay_blobs WHERE name = ?"

FIRST_PAUSE: Final = 0.02
LAST_PAUSE: Final = 0.1
"""Seconds between two looks at what other processes did, at first and in the long run."""


class Refused(Exception):
    """A transaction's commit was not applied; carried out of the transaction, never shown."""

    def __init__(self, fate: Committed) -> None:
        super().__init__(fate)
        self.fate = fate


class Foreign(Exception):
    """What a user's own code raised, carried out of the transaction: it is no word of the store's file."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def system_clock() -> int:
    """The machine's clock, microseconds UTC."""
    return time.time_ns() // 1000


class Verb:
    """A transaction that writes down what was collected, and rings the bell when it was committed."""

    __slots__ = ("_clock", "_connections", "_writing")

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock

    def __enter__(self) -> Writing:
        raw = self._connections.begin()
        try:
            self._writing = Writing(raw, self._clock())
        except BaseException as error:
            self._connections.end(raw, error)
            raise
        return self._writing

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        raw = self._writing.raw
        try:
            if error is None:
                self._writing.flush()
        except BaseException as late:
            self._connections.end(raw, late)
            raise
        self._connections.end(raw, error)
        if error is None:
            self._connections.bell.ring()


def open_sqlite(url: str, *, clock: Clock | None = None) -> SQLiteStore:
    """Open the file that a URL names, or begin it: ``sqlite:///relative.db``, ``sqlite:////absolute.db``.

    Options in the query: ``durability=full`` (default) or ``relaxed``, and ``busy_timeout=`` in seconds (default 10).

    Raises:
        InvalidRequest: The URL names no file, or has an unknown option.
        StoreUnavailable: The file cannot be opened.
        SchemaMismatch: It was written by newer code.
    """
    return SQLiteStore(url, clock=clock)


class SQLiteStore:
    """Journals in a SQLite file.

    Attributes:
        url: What it was opened with.
        capabilities: What it can do beyond the contract.
    """

    capabilities = Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED | Capability.LIMITS

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self.url = url
        self._clock = clock or system_clock
        self._connections = Connections(Address.parse(url))
        self._places: Places = {}

    def now(self) -> int:
        """See ``Store.now``."""
        return self._clock()

    def _writing(self) -> Verb:
        """A transaction, and the news of it."""
        return Verb(self._connections, self._clock)

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        with self._writing() as writing:
            return [self._created(writing, new, writing.create(new, worker, ttl)) for new in runs]

    def _created(self, writing: Writing, new: NewRun, birth: Birth | None) -> Created:
        if birth:
            return Created(run_of(birth.row, tags_of(new), dict(new.state)), new=True, lease=birth.lease)
        known = writing.run(new.key)
        assert known is not None
        return Created(known, new=False)

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        with self._connections.reading() as raw:
            now = self.now()
            due, next_at = lanes(raw, claim, now)
            rows = raw.execute(HELD_MAIL, (claim.worker, claim.namespace, now)).fetchall()
            full = {
                name: limited.first_end
                for name, queue in declared(claim.queues).items()
                if (limited := standing(raw, claim.namespace, queue, now)).full
            }
        mail = [Message(row[1], RunKey(claim.namespace, row[0]), *row[2:]) for row in rows]
        next_at = soonest(next_at, *(full[queue] for queue, _, _ in due if queue in full))
        if claim.limit <= 0 or all(queue in full for queue, _, _ in due):
            return Claims([], mail, next_at)
        with self._writing() as writing:
            taken, again_at = writing.take(claim, self._places)
            until = writing.now + claim.ttl
        next_at = soonest(next_at, again_at)
        runs = [whole(row) for row in taken]
        leases = [Lease(run.key, run.fence, run.worker, until) for run in runs]
        try:
            return Claims(self._read(taken, runs, leases), mail, next_at)
        except ReplayError:
            with contextlib.suppress(ReplayError):
                self.release(leases)  # better now than when they end
            raise

    def _read(self, rows: Sequence[Row], runs: Sequence[Run], leases: Sequence[Lease]) -> list[Claimed]:
        """Journals and mail of runs that were taken; those that are damaged are set aside."""
        claimed: list[Claimed] = []
        damaged: list[tuple[Lease, str]] = []
        with self._connections.reading() as raw:
            for (pk, box, mail, *_), run, lease in zip(rows, runs, leases, strict=True):
                try:
                    journal = recovery(raw, pk, run)
                except JournalDamaged as error:
                    damaged.append((lease, str(error)))
                    continue
                waiting = messages_of(run.key, raw.execute(MAIL, (box,))) if mail else []
                claimed.append(Claimed(run, lease, journal, waiting))
        if damaged:
            with self._writing() as writing:
                for lease, note in damaged:
                    writing.stick(lease, note)
        return claimed

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        with self._connections.writing() as raw:
            writing = Writing(raw, self.now())
            return [writing.renew(lease, writing.now + ttl) for lease in leases]

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        with self._writing() as writing:
            writing.foresee([lease.key for lease in leases])
            for lease in leases:
                writing.release(lease)

    # ---- turns and messages ---------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        for commit in batch:
            require_sound(commit)
        with self._writing() as writing:
            writing.foresee([commit.lease.key for commit in batch])
            return [writing.commit(commit) for commit in batch]

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """See ``TransactionalStore.transact``; ``work`` is handed a SQLAlchemy ``Connection`` that it must not commit itself."""
        from replay.store.sqlite_lending import lent

        try:
            with self._writing() as writing:
                try:
                    with lent(writing.raw) as connection:
                        commit = work(connection)
                    require_sound(commit)
                except Exception as error:  # noqa: BLE001 - border: a user's own code may raise anything
                    raise Foreign(error) from None
                applied(writing.commit(commit))
        except Foreign as carried:
            raise carried.error from None
        except Refused as refused:
            return refused.fate
        return Committed.APPLIED

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        with self._writing() as writing:
            writing.foresee([message.key for message in messages])
            return [writing.post(message) for message in messages]

    # ---- reading --------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        with self._connections.reading() as raw:
            row = raw.execute(LENGTH, key).fetchone()
            return events_of(raw, row[0], key, after, min(limit, row[1] - after), row[1]) if row else []

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        with self._connections.reading() as raw:
            rows = [raw.execute(RUN_BY_KEY, key).fetchone() for key in keys]
        return [whole(row) if row else None for row in rows]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

        from replay.store.sql_find import found, spelt

        before = page_after(cursor)
        statement, values = spelt(found(query, limit=limit + 1, before=before), SQLiteDialect_pysqlite(paramstyle="qmark"))
        with self._connections.reading() as raw:
            pks = [row[0] for row in raw.execute(statement, values)]
            runs = [whole(raw.execute(RUN_BY_PK, (pk,)).fetchone()) for pk in pks[:limit]]
        return Page(runs, page_cursor(runs[-1]) if len(pks) > limit and runs else "")

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        with self._writing() as writing:
            return sum(writing.delete(key) for key in keys)

    # ---- topics and blobs -----------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        with self._writing() as writing:
            writing.publish(namespace, entries)

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        with self._connections.reading() as raw:
            return [Entry(*row) for row in raw.execute(ENTRIES, (namespace, topic, after, limit))]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        with self._connections.writing() as raw:
            raw.execute(KEEP, (name, data))
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        with self._connections.reading() as raw:
            row = raw.execute(BLOB, (name,)).fetchone()
        if row is None:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        data: bytes = row[0]
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return data

    # ---- life -----------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; changes of this process wake it at once, those of others when it looks."""
        bell = self._connections.bell
        until = time.monotonic() + timeout
        pause = FIRST_PAUSE
        with bell.changed:
            while bell.version == seen and not self._connections.closed:
                left = until - time.monotonic()
                if not bell.changed.wait(max(0, min(left, pause))):
                    self._connections.listen()
                if left <= 0:
                    break
                pause = min(pause * 1.25, LAST_PAUSE)
            return bell.version

    def close(self) -> None:
        """See ``Store.close``."""
        self._connections.close()


def applied(fate: Committed) -> None:
    """Undo the transaction unless its commit was applied.

    Raises:
        Refused: It was not.
    """
    if fate is not Committed.APPLIED:
        raise Refused(fate)


def recovery(raw: Raw, pk: int, run: Run) -> list[Event]:
    """The first event, then the newest savepoint with state and what follows it; all events when there is none."""
    if run.base <= 1:
        return events_of(raw, pk, run.key, 0, run.seq, run.seq)
    return [
        *events_of(raw, pk, run.key, 0, 1, run.seq),
        *events_of(raw, pk, run.key, run.base - 1, run.seq - run.base + 1, run.seq),
    ]


def events_of(raw: Raw, pk: int, key: RunKey, after: int, count: int, length: int) -> list[Event]:
    """The ``count`` events after a seq, of a journal that has ``length`` of them.

    Raises:
        JournalDamaged: A checksum does not fit, one is missing, or the file is broken where they are.
    """
    if count <= 0:
        return []
    try:
        last = after + count
        rows = rows_of(raw, (pk, after, last + (last == length)))  # one more than there should be, if it is the end
        packed = len(rows) < count
        blocks = raw.execute(BLOCKS, (pk, after, after + count + SIZE)).fetchall() if packed else []
    except sqlite3.DatabaseError as error:
        if code_of(error) != sqlite3.SQLITE_CORRUPT:
            raise
        raise JournalDamaged(key.id, after + 1, f"SQLite says: {error}") from error
    if rows and rows[-1][0] > last:
        raise JournalDamaged(key.id, rows[-1][0], f"the index says that the journal has {length} events")
    return assembled(key, rows, blocks, after, count)


def rows_of(raw: Raw, place: tuple[int, int, int]) -> list[Row]:
    """Rows of events, also when a text in them is none: its checksum will tell."""
    try:
        return raw.execute(READ, place).fetchall()
    except sqlite3.OperationalError as error:
        if code_of(error) or "UTF-8" not in str(error):
            raise
    raw.text_factory = lambda text: text.decode(errors="replace")
    try:
        return raw.execute(READ, place).fetchall()
    finally:
        raw.text_factory = str
