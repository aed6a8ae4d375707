"""Journals in PostgreSQL: the store for many workers on many machines.

Rule 1: the verbs are here, what they say to the server is in ``statements``; how a batch becomes rows is in ``turns``.
Rule 2: a verb is one round trip where it can be; the plain turn of a single run is one statement, and so one fsync.
Rule 3: the database's clock is the clock, unless one is injected.
Rule 4: a connection that breaks leaves the outcome unknown. A verb that says the same when it is said twice is said again at once,
over another connection; a commit is, too, because the run remembers the turn (``statements``, rule 4). What cannot be resolved so is
``StoreUnavailable``, and a commit that comes again afterwards is still known.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import psycopg

from replay.hooks import (
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
    JournalDamaged,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    ReplayError,
    Run,
    RunKey,
    StoreError,
    StoreUnavailable,
    declared,
    names,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
)
from replay_postgres import statements as sql
from replay_postgres.address import Address
from replay_postgres.arrays import Longs, Names
from replay_postgres.clock import ServerClock, monotonic
from replay_postgres.herald import Bell, Herald
from replay_postgres.limiting import Places, claim_limited
from replay_postgres.migrations import bring_up, require_rights
from replay_postgres.packing import pack_rows
from replay_postgres.pool import Ask, Hot, Pool, Raw, Row
from replay_postgres.reading import finding, journal, journals, recovery, whole
from replay_postgres.trouble import AGAIN, lost, told
from replay_postgres.turns import (
    Batch,
    alone,
    concerns_others,
    creation,
    fate_of,
    full_blocks,
    is_lone,
    is_short,
    lease_rows,
    letter,
    newborn,
    numbers,
    posted,
    waves,
)

T = TypeVar("T")
Decided: TypeAlias = tuple[list[Committed], list[int | None], list[Message]]
"""The fates of turns, the numbers of the runs of those that were applied now, and messages that found nobody."""

TRIES: Final = 20
"""How often a transaction is tried that others got in the way of."""
POLL: Final = 0.5
"""Seconds between two looks, while nobody listens."""
UNSURE: Final = 1_000
"""Commits whose outcome is unknown that are remembered; beyond that the oldest are forgotten, and come back as conflicts."""
ROOM: Final = 64
"""Runs that a claim looks at beyond twice its limit: others may be taking them at the same moment."""


def open_postgres(url: str, *, clock: Clock | None = None) -> PostgresStore:
    """Open the database that a URL names: ``postgresql://user:password@host:port/database``.

    Options in the query: ``schema=replay``, ``pool=10``, ``prepare=on``, ``listen=on``, ``direct=host:port``, ``migrate=on``, and
    those of libpq.

    Args:
        url: Where it is.
        clock: The time, microseconds UTC; None for the database's.

    Raises:
        InvalidRequest: The URL cannot be read, or has an unknown option.
        StoreUnavailable: The database cannot be reached or used.
        SchemaMismatch: Its tables were written by newer code; or they are older, with ``migrate=off``.
    """
    return PostgresStore(url, clock=clock)


class PostgresStore:
    """Journals in a PostgreSQL database.

    Attributes:
        url: What it was opened with, without passwords.
        capabilities: What it can do beyond the contract.
    """

    capabilities = Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED | Capability.LIMITS

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._address = Address.parse(url)
        self.url = self._address.shown
        self._pool = Pool(self._address)
        self._given = clock
        self._server = ServerClock(lambda: int(self._with(lambda hot: hot.ask(sql.NOW))[0][0]))
        self._bell = Bell()
        self._herald = Herald(self._address, self._bell, self._server.heard)
        self._unsure: dict[int, tuple[Commit, int]] = {}
        self._looked = 0.0
        self._places: Places = {}
        try:
            self._with_raw(lambda raw: bring_up(raw, self._address))
            self._with_raw(lambda raw: require_rights(raw, self._address))
            self._server.measure()
        except BaseException:
            self.close()
            raise

    def now(self) -> int:
        """See ``Store.now``."""
        return self._given() if self._given else self._server()

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def _with(self, work: Callable[[Hot], T], *, resend: bool = True) -> T:
        return self._with_raw(lambda raw: work(raw.hot), resend=resend)

    def _with_raw(self, work: Callable[[Raw], T], *, resend: bool = True) -> T:
        """Work over a connection; again when others got in the way, and once more over another one when the first broke.

        Raises:
            StoreUnavailable: The database cannot be reached or used; with a broken connection it is unknown what took effect.
            InvalidRequest: It was given what no database can hold.
        """
        for tries in itertools.count(1):
            broken = False
            try:
                with self._pool.lent() as raw:
                    try:
                        return work(raw)
                    except psycopg.Error as error:
                        broken = lost(error, raw)
                        raise
            except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
                again = getattr(error, "sqlstate", None) in AGAIN and tries < TRIES
                if not again and not (broken and resend and tries == 1):
                    raise told(error, self._address) from error
                if again:
                    time.sleep(random.random() * 0.002 * tries)  # noqa: S311 - to part those who collided, not to hide
        raise AssertionError("unreachable")

    @property
    def _moment(self) -> int | None:
        """The injected clock's time, or None for the database's."""
        return self._given() if self._given else None

    def _changed(self, *, others: bool = True) -> None:
        """Wake who waits here, and let other processes know."""
        self._bell.ring()
        if not others:
            return
        if self._herald.listening:
            self._herald.tell()
        else:
            with contextlib.suppress(StoreError):  # news are hints
                self._with(lambda hot: hot.ask(sql.TELL, (self._herald.channel,)))

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        if not runs:
            return []
        firsts = {new.key: new for new in reversed(runs)}
        births = dict(zip(firsts, zip(numbers(len(firsts)), firsts.values(), strict=True), strict=True))
        made = self._with(lambda hot: self._create(hot, births, worker, ttl))
        self._changed(others=any(answer.lease is None for answer in made.values()))
        answers = []
        for new in runs:
            answer = made[new.key]
            answers.append(answer if firsts[new.key] is new else Created(answer.run, new=False))
        return answers

    def _create(self, hot: Hot, births: dict[RunKey, tuple[int, NewRun]], worker: str, ttl: int) -> dict[RunKey, Created]:
        made: dict[RunKey, Created] = {}
        left = births
        while left:
            rows = hot.ask(*creation(self._moment, list(left.values()), worker, ttl))
            born = {row[0]: row for row in rows}
            for key, (turn, new) in left.items():
                if turn in born:
                    made[key] = newborn(new, born[turn], worker, ttl)
            left = {key: birth for key, birth in left.items() if key not in made}
            if left:
                for row in hot.ask(sql.GET, sql.KEYS.parameters(list(left))):
                    run = whole(row)
                    mine = row[2] == left[run.key][0]  # an earlier try of this very call
                    lease = Lease(run.key, run.fence, worker, run.ready_at or 0) if mine and worker and run.worker == worker else None
                    made[run.key] = Created(run, new=mine, lease=lease)
                left = {key: birth for key, birth in left.items() if key not in made}
        return made

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        limit = max(0, claim.limit)
        room = 1 << (2 * limit + ROOM).bit_length()
        rows: list[Row] = []
        if declared(claim.queues):
            now, found, next_at = self._with(
                lambda hot: claim_limited(hot, self._moment, claim, self._address.schema, room, self._places)
            )
            taken, waiting = {row[0]: whole(row) for row in found}, True
        else:
            asked = (claim.namespace, Names(names(claim.queues)), Names(claim.workflows), limit, claim.worker, claim.ttl)
            before = monotonic()
            rows = self._with(lambda hot: hot.transaction([(sql.claiming(room), (self._moment, *asked))], plan=True)[0])
            now, next_at, held = rows[0][:3]
            if self._given is None:
                self._server.heard(before, now)
            taken = {row[4]: whole(row[4:]) for row in rows if row[4] is not None}
            waiting = held or any(row[5] for row in rows)
        if not taken and not waiting:
            return Claims([], [], next_at)
        leases = [Lease(run.key, run.fence, run.worker, now + claim.ttl) for run in taken.values()]
        try:
            read, letters = self._with(lambda hot: self._read(hot, claim, now, taken, waiting=waiting))
            claimed = [self._claimed(run, lease, read[pk], letters) for (pk, run), lease in zip(taken.items(), leases, strict=True)]
        except ReplayError:
            with contextlib.suppress(ReplayError):
                self.release(leases)  # better now than when they end
            raise
        mine = {run.key for run in taken.values()}
        mail = [message for message in letters if message.key not in mine]
        return Claims([item for item in claimed if item], mail, next_at)

    def _read(
        self, hot: Hot, claim: Claim, now: int, taken: dict[int, Run], *, waiting: bool
    ) -> tuple[dict[int, list[Row]], list[Message]]:
        """Journals and mail of what was taken, and mail of what is held already."""
        read = journals(hot, taken) if taken else {}
        rows = hot.ask(sql.MAIL, (claim.namespace, claim.worker, now, Longs(taken))) if waiting else []
        return read, [Message(row[2], RunKey(claim.namespace, row[1]), *row[3:]) for row in rows]

    def _claimed(self, run: Run, lease: Lease, rows: list[Row], letters: list[Message]) -> Claimed | None:
        try:
            events = recovery(run, rows)
        except JournalDamaged as error:
            note = str(error)
            self._with(lambda hot: hot.ask(sql.STICK, (note, *lease.key, lease.fence, lease.worker)))
            return None
        return Claimed(run, lease, events, [message for message in letters if message.key == run.key])

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        if not leases:
            return []
        rows = lease_rows(leases)
        kept = {row[0] for row in self._with(lambda hot: hot.ask(sql.RENEW, (self._moment, ttl, *rows)))}
        return [place in kept for place in range(len(leases))]

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        if leases:
            rows = lease_rows(leases)
            self._with(lambda hot: hot.ask(sql.RELEASE, (self._moment, *rows)))
            self._changed()

    # ---- turns and messages ---------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        for commit in batch:
            require_sound(commit)
        return [fate for wave in waves(batch) for fate in self._commit(wave)]

    def _commit(self, batch: Sequence[Commit]) -> list[Committed]:
        turns = numbers(len(batch))
        if self._unsure:
            turns = [self._unsure.get(id(commit), (None, turn))[1] for commit, turn in zip(batch, turns, strict=True)]
        try:
            fates, pks, unknown = self._with(lambda hot: self._send(hot, batch, turns))
        except StoreUnavailable:
            for commit, turn in zip(batch, turns, strict=True):
                self._unsure[id(commit)] = (commit, turn)  # which keeps the commit, so that nothing else can have its id
            for oldest in list(self._unsure)[:-UNSURE]:
                self._unsure.pop(oldest, None)
            raise
        if self._unsure:
            for commit in batch:
                self._unsure.pop(id(commit), None)
        applied = [commit for commit, fate in zip(batch, fates, strict=True) if fate is Committed.APPLIED]
        self._changed(others=any(concerns_others(commit) for commit in applied))
        spans = [span for commit, pk in zip(batch, pks, strict=True) if pk is not None for span in full_blocks(pk, commit)]
        if spans:
            self._pack(spans)
        if unknown:  # whose run may have given its name to a successor at this moment: they are for that one
            with contextlib.suppress(StoreError):
                self.post(unknown)
        return fates

    def _send(self, hot: Hot, batch: Sequence[Commit], turns: Sequence[int]) -> Decided:
        if is_short(batch) and is_lone(batch[0]):
            return self._fate(hot, batch[0], turns[0], hot.first_number(*alone(self._moment, turns[0], batch[0])))
        return self._decide(hot, batch, turns, hot.transaction)

    def _decide(
        self, hot: Hot, batch: Sequence[Commit], turns: Sequence[int], together: Callable[[Sequence[Ask]], list[list[Row]]]
    ) -> Decided:
        made = Batch(self._moment, batch, turns)
        answers = together(made.asks)
        if made.short:
            return self._fate(hot, batch[0], turns[0], answers[0][0][0] if answers[0] else None)
        by_turn = {row[0]: row for row in answers[made.turns]}
        rows = [by_turn[turn] for turn in turns]
        fates = [
            Committed.APPLIED if row[1] is not None else fate_of(commit.lease, row[0], *row[2:5])
            for commit, row in zip(batch, rows, strict=True)
        ]
        return fates, [row[1] for row in rows], made.unknown(answers)

    def _fate(self, hot: Hot, commit: Commit, turn: int, pk: int | None) -> Decided:
        """What became of a short turn, which says so only when it was applied now."""
        if pk is not None:
            return [Committed.APPLIED], [pk], []
        seen = hot.ask(sql.LOOK, commit.lease.key)
        return [fate_of(commit.lease, turn, *seen[0]) if seen else Committed.FENCED], [None], []

    def _pack(self, spans: Sequence[Row]) -> None:
        """Make blocks of rows; when it fails they stay rows."""
        with contextlib.suppress(StoreError):
            self._with(lambda hot: pack_rows(hot, spans))

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """See ``TransactionalStore.transact``; ``work`` is handed a SQLAlchemy ``Connection`` that it must not commit itself."""
        from replay_postgres.lending import Foreign, borrowed  # which loads SQLAlchemy

        turn = numbers(1)[0]
        sent: Commit | None = None
        try:
            with self._pool.lent() as raw:
                commit = borrowed(raw, work)
                fates, _, _ = self._decide(raw.hot, [commit], [turn], raw.hot.ask_together)
                if fates[0] is not Committed.APPLIED:
                    raw.execute("ROLLBACK")
                    return fates[0]
                sent = commit
                raw.execute("COMMIT")
        except Foreign as carried:
            raise carried.error from None
        except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
            if sent is None or not self._was_applied(sent, turn):
                raise told(error, self._address) from error
        self._changed()
        return Committed.APPLIED

    def _was_applied(self, commit: Commit, turn: int) -> bool:
        """Whether a transaction was committed whose answer was lost; waits for it to end, should it still be under way."""
        rows = self._with(lambda hot: hot.ask(sql.SETTLED, commit.lease.key))
        return bool(rows) and rows[0][0] == turn

    def within(self, connection: Any) -> PostgresStore:
        """This store inside a transaction of the caller's own, on the same database.

        What is created, posted and published through it becomes durable when the caller commits, and never was when the caller
        rolls back: ``Client(store.within(connection)).start(order(cart), id="order-42")``.

        Args:
            connection: A SQLAlchemy ``Connection`` or ``Session``, or a psycopg ``Connection``.

        Raises:
            InvalidRequest: It is none of these.
        """
        from replay_postgres.enlisting import Enlisted

        return Enlisted(self, connection)

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        if not messages:
            return []
        answers: dict[int, Posted] = {}
        left = list(range(len(messages)))
        for _ in range(2):  # whose run gives its name to a successor at this moment looks gone at first
            rows = [letter(place, messages[place]) for place in left]
            found = self._with(lambda hot, rows=rows: hot.ask(sql.POST, (self._moment, *sql.LETTERS.parameters(rows))))  # type: ignore[misc]
            answers |= posted(messages, found)
            left = [place for place in left if answers[place] in {Posted.UNKNOWN, Posted.CLOSED}]
            if not left:
                break
        if Posted.DELIVERED in answers.values():
            self._changed()
        return [answers[place] for place in range(len(messages))]

    # ---- reading --------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        return self._with(lambda hot: journal(hot, key, after, limit)) if limit > 0 else []

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        if not keys:
            return []
        rows = self._with(lambda hot: hot.ask(sql.GET, sql.KEYS.parameters(list(dict.fromkeys(keys)))))
        runs = {run.key: run for run in map(whole, rows)}
        return [runs.get(key) for key in keys]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        statement, values = finding(query, self._address.schema, limit=limit + 1, before=page_after(cursor))
        pks = [row[0] for row in self._with(lambda hot: hot.look(statement, values))]
        rows = self._with(lambda hot: hot.ask(sql.GET_BY_PK, (Longs(pks[:limit]),))) if pks else []
        runs = {row[0]: whole(row) for row in rows}
        page = [runs[pk] for pk in pks[:limit] if pk in runs]
        return Page(page, page_cursor(page[-1]) if len(pks) > limit and page else "")

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        return int(self._with(lambda hot: hot.ask(sql.DELETE, sql.KEYS.parameters(keys)))[0][0]) if keys else 0

    # ---- topics and blobs -----------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        if entries:
            rows = sql.PUBLISHED.parameters([(namespace, *entry, place) for place, entry in enumerate(entries)])
            self._with(lambda hot: hot.ask(sql.PUBLISH, (self._moment, *rows)), resend=False)
            self._changed()

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        return [Entry(*row) for row in self._with(lambda hot: hot.ask(sql.ENTRIES, (namespace, topic, after, limit)))]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        self._with(lambda hot: hot.ask(sql.KEEP, (name, data)))
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        rows = self._with(lambda hot: hot.ask(sql.BLOB, (name,)))
        if not rows:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        data: bytes = rows[0][0]
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return data

    # ---- life -----------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; while nobody listens, something may have changed every half second."""
        self._herald.begin()
        bell = self._bell
        until = time.monotonic() + timeout
        if time.monotonic() - self._looked > 2 * POLL:
            self._looked = time.monotonic()  # nobody has waited for a while; who waits again and again does so in one go
        with bell.changed:
            while bell.version == seen and not self._pool.closed:
                left = until - time.monotonic()
                if left <= 0:
                    break
                bell.changed.wait(left if self._herald.listening else min(left, POLL))
                if not self._herald.listening and time.monotonic() - self._looked >= POLL:
                    self._looked = time.monotonic()
                    bell.version += 1
            return bell.version

    def close(self) -> None:
        """See ``Store.close``."""
        self._pool.close()
        self._bell.ring()
        self._herald.close()
