"""Connections to one database: how they are made, lent, looked after and given up.

Rule 1: there are never more than the pool's size; who wants one more waits, and is told when that took too long.
Rule 2: a connection that failed is closed, not mended. One that lay idle is looked at before it is lent: what the server said
meanwhile (as it does when it shuts down) lies unread in the socket, so a dead connection costs a system call, not a failed commit.
Rule 3: connections run in autocommit mode: a verb of one statement is one round trip. What needs more says BEGIN and COMMIT, and the
whole lot goes out as a pipeline.
Rule 4: no connection is used on both sides of a fork: the child forgets those of its parent without a word to the server.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.numeric import Int8BinaryDumper

from replay.hooks import StoreUnavailable
from replay_postgres.address import Address
from replay_postgres.arrays import COLUMNS, DUMPERS

PATIENCE: Final = 30.0
"""Seconds to wait for a connection of the pool."""
OLDEST: Final = 130_000
"""PostgreSQL 13: the oldest server that knows all that is used here."""
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

FEW: Final = 16
"""Rows of a batch up to which the plan is good that was made for any."""
SETTINGS: Final = {"jit": ("off", "on"), "enable_seqscan": ("off", "on"), "plan_cache_mode": ("force_generic_plan", "auto")}
"""What the planner is told for the store's statements, and for a user's own. Ours are look-ups by key, planned once for any parameters;
compiling one takes longer than running it."""
FORGOTTEN: Final = b"26000"
"""SQLSTATE of a prepared statement that is not there."""
REPLAN: Final = 2.0
"""Seconds after which plans are forgotten: one that was made while a table was small may be a bad one when it has grown."""
PLAN: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
"""Said before what is not so simple: a batch of many rows, or a claim, whose best plan depends on what there is."""

Row: TypeAlias = tuple[Any, ...]
Ask: TypeAlias = tuple[str, Sequence[Any]]
"""A statement, with ``$1`` for its parameters and ``@runs`` for the store's tables, and the parameters."""


class Hot:
    """A psycopg connection as this store uses it: parameters and results in binary, statements prepared.

    Attributes:
        connection: Whose cursors these are; it may be a user's own.
        spell: Puts the tables' full names into a statement.
    """

    def __init__(self, connection: psycopg.Connection[Any], spell: Callable[[str], str], *, prepare: bool) -> None:
        self.connection = connection
        self.spell = spell
        self._prepare = prepare
        self._cursors = [self._cursor()]
        self._names: dict[str, bytes] = {}
        self._count = 0

    def _cursor(self) -> psycopg.RawCursor[Row]:
        cursor = psycopg.RawCursor(self.connection, row_factory=psycopg.rows.tuple_row)
        cursor.adapters.register_dumper(int, Int8BinaryDumper)
        for kind, dumper in DUMPERS.items():
            cursor.adapters.register_dumper(kind, dumper)
        return cursor

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; its rows."""
        if self._prepare and has_many(parameters):
            return self.transaction([(sql, parameters)])[0]
        cursor = self._cursors[0]
        cursor.execute(self.spell(sql), parameters, prepare=self._prepare, binary=True)
        return cursor.fetchall() if cursor.description else []

    def first_number(self, sql: str, parameters: Sequence[Any]) -> int | None:
        """Run one statement; the first number of its first row, or None when it has no rows.

        It goes past psycopg's cursors, which would take a tenth of the time of a short turn.
        """
        if not self._prepare:
            rows = self.ask(sql, parameters)
            return int(rows[0][0]) if rows else None
        values = [wire(value) for value in parameters]
        result = self._executed(sql, values)
        if result.error_field(DiagnosticField.SQLSTATE) == FORGOTTEN:
            self._names.clear()  # psycopg has told the server to forget all statements, as it does after a rollback
            result = self._executed(sql, values)
        require_rows(self.connection.pgconn, result)
        value = result.get_value(0, 0) if result.ntuples else None
        return None if value is None else int.from_bytes(value, "big", signed=True)

    def _executed(self, sql: str, values: list[Any]) -> PGresult:
        return self.connection.pgconn.exec_prepared(self._named(sql), values, [Format.BINARY] * len(values), Format.BINARY)

    def _named(self, sql: str) -> bytes:
        """The name of a statement that the server has prepared."""
        name = self._names.get(sql)
        if name is None:
            self._count += 1
            name = f"replay_{self._count}".encode()
            libpq = self.connection.pgconn
            require_rows(libpq, libpq.prepare(name, self.spell(sql).encode()))
            self._names[sql] = name
        return name

    def ask_together(self, asks: Sequence[Ask]) -> list[list[Row]]:
        """Run statements one after the other in one round trip; the rows of each."""
        while len(self._cursors) < len(asks):
            self._cursors.append(self._cursor())
        with self.connection.pipeline():
            for cursor, (sql, parameters) in zip(self._cursors, asks, strict=False):
                cursor.execute(self.spell(sql), parameters, prepare=self._prepare, binary=True)
        return [cursor.fetchall() if cursor.description else [] for cursor, _ in zip(self._cursors, asks, strict=False)]

    def transaction(self, asks: Sequence[Ask], *, plan: bool = False) -> list[list[Row]]:
        """Run statements as one transaction in one round trip; the rows of each.

        Args:
            asks: The statements.
            plan: Whether they are to be planned for these very parameters, even if those are few.
        """
        plan = self._prepare and (plan or any(has_many(parameters) for _, parameters in asks))
        first: list[Ask] = [(BEGIN, ()), (PLAN, ())] if plan else [(BEGIN, ())]
        return self.ask_together([*first, *asks, ("COMMIT", ())])[len(first) : -1]

    def look(self, sql: str, values: Mapping[str, Any]) -> list[Row]:
        """Run a statement of SQLAlchemy's, planned for these very parameters; its rows."""
        asks = [(BEGIN, None), (PLAN, None), (sql, values), ("COMMIT", None)]
        with self.connection.pipeline():
            cursors = [self.connection.cursor().execute(text.encode(), asked, prepare=False) for text, asked in asks]
        rows: list[Row] = cursors[2].fetchall()
        return rows


def wire(value: int | str | bytes | None) -> bytes | None:
    """A parameter's binary form."""
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    return value.encode() if isinstance(value, str) else value


def require_rows(libpq: PGconn, result: PGresult) -> None:
    """Raise what psycopg's cursors would raise.

    Raises:
        psycopg.Error: It failed.
    """
    if result.status not in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        if libpq.status != ConnStatus.OK or not result.error_field(DiagnosticField.SQLSTATE):
            raise psycopg.OperationalError(libpq.error_message.decode(errors="replace") or "the connection is lost")
        raise psycopg.errors.error_from_result(result)


def has_many(parameters: Sequence[Any]) -> bool:
    """Whether there is a batch of many rows among a statement's parameters."""
    return any(type(column) in COLUMNS and len(column) > FEW for column in parameters)


class Raw(psycopg.Connection[Row]):
    """A connection whose transactions are begun and ended by the store, also while it is lent to a user's own SQL.

    Attributes:
        hot: How the store uses it.
        lent: Whether a user's code has it.
        engine: SQLAlchemy's view of it, once there is one.
        replan_at: When its plans are to be forgotten.
    """

    hot: Hot
    replan_at = 0.0
    lent = False
    engine: Any = None

    def commit(self) -> None:
        """Refuse: the store commits, together with the journal."""
        self._end("commit")

    def rollback(self) -> None:
        """Refuse: raising rolls back."""
        self._end("rollback")

    def _end(self, verb: str) -> None:
        if self.lent:
            raise psycopg.ProgrammingError(
                f"{verb}() in a transaction that the store ends: return to commit, raise to roll back, or use begin_nested()"
            )


class Pool:
    """The connections of one store.

    Attributes:
        address: Where they lead.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._spelt: dict[str, str] = {}
        self._begin_anew()
        POOLS.add(self)

    def _begin_anew(self) -> None:
        self._gate = threading.Condition()
        self._idle: list[Raw] = []
        self._count = 0
        self.closed = False

    def spell(self, sql: str) -> str:
        """A statement with the tables' full names."""
        spelt = self._spelt.get(sql)
        if spelt is None:
            spelt = self._spelt[sql] = sql.replace("@", f"{self.address.schema}.replay_")
        return spelt

    # ---- lending --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lent(self) -> Iterator[Raw]:
        """A connection for a while; when something is raised meanwhile it is closed, unless it is unharmed.

        Raises:
            StoreUnavailable: All are in use for too long, or the store is closed.
            psycopg.Error: No connection could be made.
        """
        raw = self._take()
        try:
            if raw is None:
                raw = self._connect()
            self._refresh(raw)
            yield raw
        except BaseException:
            self._give_up(raw)
            raise
        self._give_back(raw)

    def _take(self) -> Raw | None:
        """An idle connection that is alive, or None and the right to make one."""
        until = time.monotonic() + PATIENCE
        with self._gate:
            while not self.closed:
                while self._idle:
                    raw = self._idle.pop()
                    if alive(raw):
                        return raw
                    self._count -= 1
                    raw.close()
                if self._count < self.address.pool:
                    self._count += 1
                    return None
                if not self._gate.wait(until - time.monotonic()):
                    reason = f"all {self.address.pool} connections of the pool were in use for {PATIENCE:g} s"
                    raise StoreUnavailable(self.address.shown, reason, "raise ?pool=, or look for transactions that do not end")
        raise StoreUnavailable(self.address.shown, "it is closed", "open it again")

    def _refresh(self, raw: Raw) -> None:
        if self.address.prepare and time.monotonic() >= raw.replan_at:
            if raw.replan_at:
                raw.pgconn.exec_(b"DISCARD PLANS")  # behind psycopg's back, which would forget the statements, too
            raw.replan_at = time.monotonic() + REPLAN

    def _give_back(self, raw: Raw) -> None:
        with self._gate:
            if not self.closed and not raw.closed and raw.info.transaction_status is TransactionStatus.IDLE:
                self._idle.append(raw)
                self._gate.notify()
                return
        self._give_up(raw)

    def _give_up(self, raw: Raw | None) -> None:
        if raw is not None:
            if raw.engine is not None:
                raw.engine.dispose(close=False)
            raw.close()
        with self._gate:
            self._count -= 1
            self._gate.notify()

    def _connect(self) -> Raw:
        return connected(self.address, self.address.conninfo, self.spell)

    def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        with self._gate:
            self.closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
            self._gate.notify_all()
        for raw in idle:
            raw.close()

    def forked(self) -> None:
        """Begin anew in a child; the connections are the parent's."""
        closed = self.closed
        INHERITED.extend(self._idle)
        self._begin_anew()
        self.closed = closed


def connected(address: Address, conninfo: Mapping[str, Any], spell: Callable[[str], str]) -> Raw:
    """A new connection.

    Raises:
        StoreUnavailable: The server is too old, or the database keeps text in another encoding than UTF-8.
        psycopg.Error: It could not be made.
    """
    settings = dict(conninfo)
    if address.prepare:  # a proxy that shares connections takes no options, and plans every statement anew
        settings["options"] = " ".join([settings.get("options") or "", *(f"-c {name}={ours}" for name, (ours, _) in SETTINGS.items())])
    raw = Raw.connect(**settings, autocommit=True, prepare_threshold=5 if address.prepare else None)
    problem = unfit(raw)
    if problem:
        raw.close()
        raise StoreUnavailable(address.shown, *problem)
    raw.hot = Hot(raw, spell, prepare=address.prepare)
    return raw


def unfit(raw: Raw) -> tuple[str, str] | None:
    """Why a server cannot hold a store, and what to do."""
    if raw.info.server_version < OLDEST:
        return f"PostgreSQL {raw.info.server_version // 10_000} is too old", f"use PostgreSQL {OLDEST // 10_000} or newer"
    encoding = raw.info.parameter_status("server_encoding") or "UTF8"
    if encoding != "UTF8":
        return f"its database keeps text as {encoding}", "create a database with ENCODING 'UTF8'"
    return None


def alive(raw: Raw) -> bool:
    """Whether nothing speaks against using a connection that lay idle."""
    if raw.closed:
        return False
    try:
        if not readable(raw.fileno()):
            return True
        raw.pgconn.consume_input()  # a changed setting is harmless, the end of the connection is not
        return not readable(raw.fileno())
    except (psycopg.Error, OSError, ValueError):
        return False


def readable(descriptor: int) -> bool:
    """Whether a socket has something to say."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


POOLS: Final[weakref.WeakSet[Pool]] = weakref.WeakSet()
INHERITED: Final[list[Raw]] = []
"""Connections that a child must neither use nor close."""


def after_fork_in_child() -> None:
    """Forget the parent's connections."""
    for pool in list(POOLS):
        pool.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)
