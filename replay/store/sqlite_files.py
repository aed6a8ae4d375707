"""The file behind a SQLite store: its connections, and what is said when it fails.

Rule 1: one connection writes, behind a lock; others read, each lent to one thread at a time. In WAL mode no reader waits for the
writer's fsync.
Rule 2: every write is BEGIN IMMEDIATE … COMMIT, so it waits for other processes where waiting is possible: at its beginning.
Rule 3: no connection survives a fork, in neither process. SQLite keeps its locks per process: a child that inherits an open file
believes that it holds locks which it does not, and the parent, closing last as it thinks, deletes the log that the child writes
to. So everything is closed before a fork and opened again when it is needed.
Rule 4: the file itself is never opened by other means: closing any descriptor of it would drop the locks of this process.
Rule 5: what SQLite says becomes ``StoreUnavailable`` with advice; after a failure the same object goes on working as soon as the
file does.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from replay.errors import InvalidRequest, StoreUnavailable
from replay.store.sqlite_address import DURABILITY, Address
from replay.store.sqlite_migrations import bring_up

OLDEST: Final = (3, 35, 0)
"""The oldest SQLite that knows all that is used here."""
KEPT: Final = 8
"""Readers that are kept open while nobody reads."""
LOCKED: Final = "another process holds it: end that process, or open the store with a longer ?busy_timeout=SECONDS"
WRITABLE: Final = "make the file and its folder writable for this user"
RESTORE: Final = "restore it from a backup, or save what can be read with `sqlite3 FILE .recover`"
ADVICE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_ERROR: "its tables are not as replay made them: name another file, or restore this one from a backup",
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_PROTOCOL: LOCKED,
    sqlite3.SQLITE_PERM: WRITABLE,
    sqlite3.SQLITE_AUTH: WRITABLE,
    sqlite3.SQLITE_READONLY: WRITABLE,
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and that this user may write there",
    sqlite3.SQLITE_FULL: "make room on its disk; nothing was lost, and the store goes on as soon as there is room",
    sqlite3.SQLITE_IOERR: "make room on its disk, or look into the system's log for what is wrong with it",
    sqlite3.SQLITE_CORRUPT: RESTORE,
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: name another file, or restore this one from a backup",
    sqlite3.SQLITE_TOOBIG: "keep large data in files or buckets and pass their names",
}
"""What to do, by SQLite's primary result code."""
SERIOUS: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN})
"""After these a connection is not used again."""


class Raw(sqlite3.Connection):
    """A connection whose transactions are begun and ended here, also while it is lent to a user's own SQL.

    Attributes:
        file: Device and inode of the file that it was opened for.
        lent: Whether a user's code has it.
        lost: Whether it was inherited in a fork, within its transaction: then it is the parent's.
        engine: SQLAlchemy's view of it, once there is one.
    """

    file: tuple[int, int] | None = None
    lent = False
    lost = False
    engine: Any = None

    def commit(self) -> None:
        """Refuse: the store commits, together with the journal."""
        self._end("commit")

    def rollback(self) -> None:
        """Refuse: raising rolls back."""
        self._end("rollback")

    def _end(self, verb: str) -> None:
        if self.lent:
            raise sqlite3.ProgrammingError(
                f"{verb}() in a transaction that the store ends: return to commit, raise to roll back, or use begin_nested()"
            )


class Bell:
    """What tells the stores of this process on one file that something has changed.

    Attributes:
        changed: Guards and announces ``version``.
        version: How often something changed.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 0

    def ring(self) -> None:
        """Something has changed."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()


BELLS: Final[weakref.WeakValueDictionary[Path, Bell]] = weakref.WeakValueDictionary()
"""By the file's real path, for the life of its stores."""


class Connections:
    """The connections to one file.

    Attributes:
        address: Where it is.
        bell: Rung when something changed.
    """

    def __init__(self, address: Address) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise StoreUnavailable(address.url, f"SQLite {sqlite3.sqlite_version} is too old", f"use SQLite {needed} or newer")
        self.address = address
        self._path = str(address.path)
        self._lock = threading.RLock()
        self._gate = threading.Condition(threading.Lock())
        self._writer: Raw | None = None
        self._idle: list[Raw] = []
        self._lent = 0
        self._forking = False
        self._busy = False
        self._inode: tuple[int, int] | None = None
        self._seen_by_others = -1
        self._closed = False
        self._prepare()
        self.bell = BELLS.setdefault(address.path.resolve(), Bell())
        OPEN_FILES.add(self)  # first, so that a fork waits for what follows
        with self._lock, self._told():
            self._open_writer()

    # ---- opening --------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        path = self.address.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(self.address.url, f"cannot make folder {path.parent}: {error.strerror}", WRITABLE) from error
        if path.is_dir():
            raise StoreUnavailable(self.address.url, f"{path} is a folder", "name a file in it")
        effective = os.access in os.supports_effective_ids
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK, effective_ids=effective):
                raise StoreUnavailable(self.address.url, f"{place} is read-only", WRITABLE)

    def _connect(self, mode: str) -> Raw:
        return sqlite3.connect(
            f"{self.address.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=self.address.busy_timeout,
            isolation_level=None,  # transactions are begun by hand
            check_same_thread=False,  # SQLite is compiled serialized, and each connection has one user at a time
            cached_statements=256,
            factory=Raw,
        )

    def _open_writer(self) -> Raw:
        raw = self._connect("rwc" if self._inode is None else "rw")
        try:
            self._write_ahead(raw)
            raw.execute(f"PRAGMA synchronous = {DURABILITY[self.address.durability]}")
            raw.execute("PRAGMA cache_size = -16384")  # kilobytes
            raw.execute("PRAGMA wal_autocheckpoint = 500")  # pages: a short log is written over, a long one grows, which costs more
            raw.execute("PRAGMA journal_size_limit = 67108864")
            raw.execute("PRAGMA secure_delete = FAST")
            bring_up(raw, self.address.url)
            self._inode = self._identity()
            self._seen_by_others = raw.execute("PRAGMA data_version").fetchone()[0]
        except BaseException:
            raw.close()
            raise
        self._writer = raw
        return raw

    def _write_ahead(self, raw: Raw) -> None:
        """Switch the file to WAL; SQLite does not wait for others by itself here."""
        until = time.monotonic() + self.address.busy_timeout
        mode = ""
        while not mode:
            try:
                mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            advice = "put the file on a local disk: WAL mode needs shared memory, which network file systems do not give"
            raise StoreUnavailable(self.address.url, f"its journal mode is {mode}", advice)

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)  # noqa: PTH116 - once per commit, and twice as fast
        return found.st_dev, found.st_ino

    # ---- writing --------------------------------------------------------------------------------------------------------

    def writing(self) -> Transaction:
        """A transaction that is committed at the end, or rolled back when something is raised.

        Raises:
            StoreUnavailable: It could not be begun or committed.
        """
        return Transaction(self)

    def begin(self) -> Raw:
        """Take the lock and begin a transaction; ``end`` must follow."""
        self._lock.acquire()
        try:
            raw = self._ready()
            raw.execute("BEGIN IMMEDIATE")
            self._busy = True
        except BaseException as error:
            self._lock.release()
            self._tell(error)
            raise
        return raw

    def end(self, raw: Raw, error: BaseException | None = None) -> None:
        """Commit, or roll back when there was an error; let others in."""
        if raw.lost:
            raise StoreUnavailable(self.address.url, "its transaction belongs to the parent process", "open the store in the child")
        try:
            if error is None:
                try:
                    raw.execute("COMMIT")
                except BaseException as refused:
                    self._roll_back(raw, refused)
                    self._tell(refused)
                    raise
            else:
                self._roll_back(raw, error)
                self._tell(error)
        finally:
            self._busy = False
            self._lock.release()

    def _ready(self) -> Raw:
        """The writer's connection, when a transaction may be begun on it."""
        if self._busy:
            problem = "a transaction of this thread is open already"
            raise InvalidRequest("transaction", problem, "let it end, or return what is to be committed from it")
        raw = self._writer or self._reopen()
        if raw.in_transaction:
            raw.execute("ROLLBACK")  # begun by a thread that was interrupted at that moment
        self._still_there()
        return raw

    def _reopen(self) -> Raw:
        if self._closed:
            raise StoreUnavailable(self.address.url, "it is closed", "open it again")
        raw = self._open_writer()
        self.bell.ring()  # nobody listened meanwhile
        return raw

    def _still_there(self) -> None:
        """Refuse to write into a file that has lost its name: what it takes would be gone with the process."""
        try:
            found: tuple[int, int] | None = self._identity()
        except OSError:
            found = None
        if found != self._inode:
            self._drop()
            self._inode = found or self._inode
            reason = "its file was removed or replaced while it was open"
            raise StoreUnavailable(self.address.url, reason, "bring the file back, or stop this process")

    def _roll_back(self, raw: Raw, error: BaseException) -> None:
        try:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()
        else:
            if isinstance(error, sqlite3.Error) and code_of(error) in SERIOUS:
                self._drop()

    def _drop(self) -> None:
        """Close what is not in use; it is opened again when it is needed."""
        with self._gate:
            idle, self._idle = self._idle, []
        if self._writer is not None:
            idle.append(self._writer)
            self._writer = None
        for raw in idle:
            with contextlib.suppress(sqlite3.Error):
                raw.close()

    # ---- reading --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[Raw]:
        """A connection that sees one moment of the file, and waits for no writer.

        Raises:
            StoreUnavailable: It could not be read.
        """
        raw = self._borrow()
        kept = False
        try:
            with self._told():
                raw = raw or self._open_reader()
                raw.execute("BEGIN")
                try:
                    yield raw
                finally:
                    if raw.in_transaction:
                        raw.execute("COMMIT")
                kept = True
        finally:
            self._give_back(raw, kept=kept)

    def _borrow(self) -> Raw | None:
        with self._gate:
            while self._forking:
                self._gate.wait()
            if self._closed:
                raise StoreUnavailable(self.address.url, "it is closed", "open it again")
            self._lent += 1
            return self._idle.pop() if self._idle else None

    def _open_reader(self) -> Raw:
        raw = self._connect("rw")
        raw.file = self._inode
        raw.execute("PRAGMA query_only = ON")
        return raw

    def _give_back(self, raw: Raw | None, *, kept: bool) -> None:
        with self._gate:
            keep = kept and not self._closed and len(self._idle) < KEPT and raw is not None and raw.file == self._inode
            if raw is not None and keep:
                self._idle.append(raw)
        if raw is not None and not keep:
            raw.close()
        with self._gate:  # only now, so that no fork meets a thread in SQLite
            self._lent -= 1
            self._gate.notify_all()

    # ---- waiting --------------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Ring the bell when another process has committed; costs a few microseconds.

        The writer's connection is asked, as its own commits do not count there. When it is busy nothing is missed: others cannot
        commit while it holds the file.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            with self._told():
                raw = self._writer or self._reopen()
                seen = raw.execute("PRAGMA data_version").fetchone()[0]
        finally:
            self._lock.release()
        if seen != self._seen_by_others:
            self._seen_by_others = seen
            self.bell.ring()

    # ---- ending ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all; who reads at this moment comes to an end first."""
        with self._lock:
            self._closed = True
            self._drop()
        OPEN_FILES.discard(self)
        self.bell.ring()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def before_fork(self) -> None:
        """Close all, and let nobody in until the fork is over."""
        self._lock.acquire()  # first: whoever has it may still read
        self._gate.acquire()
        self._forking = True
        while self._lent:
            self._gate.wait()
        idle, self._idle = self._idle, []
        for raw in idle:
            raw.close()
        if self._writer is not None and not self._busy:
            self._writer.close()
            self._writer = None

    def after_fork(self) -> None:
        """Let others in again."""
        self._forking = False
        self._gate.notify_all()
        self._gate.release()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew; a transaction that was open in the fork belongs to the parent."""
        if self._writer is not None:
            self._writer.lost = True
            INHERITED.append(self._writer)
            self._writer, self._closed = None, True
        self._forking = self._busy = False
        self._lock = threading.RLock()
        self._gate = threading.Condition(threading.Lock())
        self.bell.changed = threading.Condition()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in the house's words what SQLite says."""
        try:
            yield
        except Exception as error:
            self._tell(error)
            raise

    def _tell(self, error: BaseException) -> None:
        """Raise in the house's words what SQLite said; what is no matter of the file is left to the caller."""
        if isinstance(error, sqlite3.Error):
            if self._closed:
                raise StoreUnavailable(self.address.url, "it is closed", "open it again") from error
            if code_of(error) in ADVICE:
                raise StoreUnavailable(self.address.url, str(error), ADVICE[code_of(error)]) from error
        if isinstance(error, UnicodeDecodeError):
            reason = f"SQLite says something that is no text: {error.object!r}"
            raise StoreUnavailable(self.address.url, reason, RESTORE) from error
        if isinstance(error, UnicodeEncodeError | OverflowError):
            raise InvalidRequest("a value", f"no database can hold it: {error}", "use valid Unicode and 64-bit numbers") from error


class Transaction:
    """A transaction as a context; a class, as it is entered for each commit."""

    __slots__ = ("_connections", "_raw")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> Raw:
        self._raw = self._connections.begin()
        return self._raw

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connections.end(self._raw, error)


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 for errors of the Python module itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


# ---- forks --------------------------------------------------------------------------------------------------------------

OPEN_FILES: Final[weakref.WeakSet[Connections]] = weakref.WeakSet()
FORKING: Final[list[Connections]] = []
"""Those that are closed for the fork that is under way."""
INHERITED: Final[list[Raw]] = []
"""Connections that a child must neither use nor close."""
ONE_FORK: Final = threading.RLock()


def before_fork() -> None:
    """Close the files of all stores."""
    ONE_FORK.acquire()
    for connections in list(OPEN_FILES):
        connections.before_fork()
        FORKING.append(connections)


def after_fork_in_parent() -> None:
    """Go on as before."""
    while FORKING:
        FORKING.pop().after_fork()
    ONE_FORK.release()


def after_fork_in_child() -> None:
    """Go on with connections of its own."""
    while FORKING:
        FORKING.pop().after_fork_in_child()
    ONE_FORK.release()  # the thread that forked is the one that lives on


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent, after_in_child=after_fork_in_child)
