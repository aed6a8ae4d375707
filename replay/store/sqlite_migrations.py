"""How a file's tables came to be: numbered migrations, applied in order under the write lock.

Rule 1: a migration that was released never changes; version n is what the first n of them make.
Rule 2: all that are missing are applied in one transaction, so that a file is of one version or the other, whoever is killed.
Rule 3: two processes may open a file at once: the version is read again under the lock, and who comes second finds it done.

A test holds what they make against ``sql_schema``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from replay.errors import SchemaMismatch

FIRST: Final = (
    """CREATE TABLE replay_runs (
        pk INTEGER NOT NULL, namespace TEXT NOT NULL, id TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL,
        queue TEXT NOT NULL, digest TEXT NOT NULL, priority INTEGER NOT NULL, parent TEXT NOT NULL,
        parent_command TEXT NOT NULL, status TEXT NOT NULL, seq INTEGER NOT NULL, base INTEGER NOT NULL,
        applied INTEGER NOT NULL, source TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        ready_at INTEGER, wake_at INTEGER, fence INTEGER NOT NULL, worker TEXT NOT NULL, recoveries INTEGER NOT NULL,
        note TEXT NOT NULL, mail INTEGER NOT NULL, box INTEGER, journals INTEGER NOT NULL, result BLOB NOT NULL,
        PRIMARY KEY (pk))""",
    "CREATE UNIQUE INDEX replay_runs_key ON replay_runs (namespace, id)",
    """CREATE INDEX replay_runs_ready ON replay_runs (namespace, queue, workflow, priority, ready_at)
        WHERE ready_at IS NOT NULL""",
    "CREATE INDEX replay_runs_mail ON replay_runs (worker) WHERE mail > 0",
    "CREATE INDEX replay_runs_created ON replay_runs (namespace, created_at, id)",
    "CREATE INDEX replay_runs_status ON replay_runs (namespace, status, created_at, id)",
    "CREATE INDEX replay_runs_parent ON replay_runs (namespace, parent, created_at, id) WHERE parent != ''",
    """CREATE TABLE replay_tags (
        run INTEGER NOT NULL, name TEXT NOT NULL, word TEXT NOT NULL, namespace TEXT NOT NULL, created_at INTEGER NOT NULL,
        PRIMARY KEY (run, name)) WITHOUT ROWID""",
    "CREATE INDEX replay_tags_word ON replay_tags (namespace, name, word, created_at)",
    """CREATE TABLE replay_state (run INTEGER NOT NULL, "key" TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (run, "key"))
        WITHOUT ROWID""",
    """CREATE TABLE replay_events (
        pk INTEGER NOT NULL, run INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, command TEXT NOT NULL,
        name TEXT NOT NULL, at INTEGER NOT NULL, payload BLOB NOT NULL, "check" INTEGER NOT NULL, attempt INTEGER NOT NULL,
        duration INTEGER NOT NULL, line TEXT NOT NULL, worker TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (pk))""",
    "CREATE UNIQUE INDEX replay_events_place ON replay_events (run, seq)",
    """CREATE TABLE replay_blocks (
        run INTEGER NOT NULL, last INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, last))""",
    """CREATE TABLE replay_messages (
        box INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, payload BLOB NOT NULL,
        command TEXT NOT NULL, at INTEGER NOT NULL, posted INTEGER, PRIMARY KEY (box, id))""",
    "CREATE INDEX replay_messages_posted ON replay_messages (box, posted) WHERE posted IS NOT NULL",
    """CREATE TABLE replay_topics (
        namespace TEXT NOT NULL, topic TEXT NOT NULL, "offset" INTEGER NOT NULL, at INTEGER NOT NULL, payload BLOB NOT NULL,
        PRIMARY KEY (namespace, topic, "offset"))""",
    "CREATE TABLE replay_blobs (name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (name))",
)
SECOND: Final = (
    "ALTER TABLE replay_runs ADD COLUMN fairness_key TEXT DEFAULT '' NOT NULL",
    """CREATE INDEX replay_runs_line ON replay_runs (namespace, queue, workflow, priority, status, fairness_key, ready_at)
        WHERE worker = '' AND ready_at IS NOT NULL""",
    "CREATE INDEX replay_runs_held ON replay_runs (namespace, queue, ready_at, fairness_key) WHERE worker != ''",
    "CREATE INDEX replay_runs_of_key ON replay_runs (namespace, fairness_key, created_at, id) WHERE fairness_key != ''",
    """CREATE TABLE replay_begun (namespace TEXT NOT NULL, queue TEXT NOT NULL, moments TEXT NOT NULL,
        PRIMARY KEY (namespace, queue))""",
)
MIGRATIONS: Final[Sequence[Sequence[str]]] = (FIRST, SECOND)
"""Statements that lead from each version to the next."""


def bring_up(connection: sqlite3.Connection, url: str, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a file's tables to the newest version; a file that is there already is not locked.

    Raises:
        SchemaMismatch: It was written by newer code.
    """
    if version(connection, url, len(migrations)) == len(migrations):
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        found = version(connection, url, len(migrations))
        for migration in migrations[found:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS replay_schema (version INTEGER NOT NULL)")
        connection.execute("DELETE FROM replay_schema")
        connection.execute("INSERT INTO replay_schema (version) VALUES (?)", (len(migrations),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def version(connection: sqlite3.Connection, url: str, known: int) -> int:
    """A file's version; 0 for a new one.

    Raises:
        SchemaMismatch: It is newer than ``known``.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'replay_schema'").fetchone()[0]:
        return 0
    row = connection.execute("SELECT max(version) FROM replay_schema").fetchone()
    found: int = row[0] or 0
    if found > known:
        raise SchemaMismatch(url, found, known)
    return found
