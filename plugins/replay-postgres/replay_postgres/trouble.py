"""What PostgreSQL says, in the house's words: an error that names the store, what happened, and what to do.

Rule 1: what passes by itself (serialization, deadlock) is tried again and told to nobody.
Rule 2: what an operator must see to is ``StoreUnavailable`` with advice; what a caller gave that no text column can hold is
``InvalidRequest``; a mistake in a statement of ours is neither and goes through as it is.
Rule 3: before there is a connection there is no SQLSTATE, so the server's words are looked at; in another language than English
they are shown with general advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from replay.hooks import InvalidRequest, StoreError, StoreUnavailable
from replay_postgres.address import Address

AGAIN: Final = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the transaction was rolled back, and may be tried again."""

TOO_LONG: Final = "54000"
"""What does not fit into an index or a row."""

DOWN: Final = "check that the server runs and that host and port are right"
WAIT: Final = "wait until it is up; the store goes on by itself"
CROWD: Final = "raise max_connections of the server, use a smaller ?pool=, or put a connection pooler in front"
ROOM: Final = "make room on the server's disk; nothing was lost, and the store goes on as soon as there is room"
LOGIN: Final = "check user and password in the URL, PGPASSWORD or ~/.pgpass"
READONLY: Final = "name the primary server, or a role and database that may write"
RIGHTS: Final = "grant the role USAGE on the schema and all rights on its tables and sequences, or let their owner open the store once"
TABLES: Final = "its tables are not as replay made them: open it again to have them made, or restore the schema from a backup"
BROKEN: Final = "look into the server's log: its files or memory are damaged; restore from a backup"
SLOW: Final = (
    "look for what blocks the server in pg_stat_activity and pg_locks, and check statement_timeout and lock_timeout of the role"
)
PROXY: Final = "through a transaction-pooling proxy, add ?prepare=off, and listen=off or direct=HOST:PORT of the server"
GENERAL: Final = "look into the server's log"

ADVICE: Final[Mapping[str, str]] = {
    "08": DOWN,
    "0A": "use PostgreSQL 13 or newer",
    "25006": READONLY,
    "25": "look at what the transaction's own SQL did: it failed, or ended the transaction",
    "26": PROXY,
    "28": LOGIN,
    "3D": "create the database (createdb), or name another one",
    "3F": TABLES,
    "42501": RIGHTS,
    "42P01": TABLES,
    "42703": TABLES,
    "42P05": PROXY,
    "53100": ROOM,
    "53200": "give the server more memory, or lower work_mem and max_connections",
    "53300": CROWD,
    "53": ROOM,
    "55": SLOW,
    "57014": SLOW,
    "57": WAIT,
    "58": BROKEN,
    "XX": BROKEN,
}
"""What to do, by SQLSTATE or its class, the longer first."""
WORDS: Final[Sequence[tuple[str, str]]] = (
    ("unsupported startup parameter", PROXY),
    ("password authentication failed", LOGIN),
    ("no password supplied", LOGIN),
    ("no pg_hba.conf entry", "allow this role, database and address in the server's pg_hba.conf"),
    ("too many clients", CROWD),
    ("too many connections", CROWD),
    ("remaining connection slots", CROWD),
    ("starting up", WAIT),
    ("shutting down", WAIT),
    ("recovery mode", WAIT),
    ("permission denied", RIGHTS),
    ("SSL", "check sslmode, sslrootcert and the server's certificate"),
    ("certificate", "check sslmode, sslrootcert and the server's certificate"),
    ("translate host name", "check the host's name"),
    ("resolve host", "check the host's name"),
    ("Connection refused", DOWN),
    ("No such file", DOWN),
    ("timeout", DOWN),
    ("database", ADVICE["3D"]),
    ("role", "create the role (createuser), or name another one"),
)
"""What to do when no connection was made, by what the server or libpq says; the first that fits."""


def told(error: Exception, address: Address) -> Exception:
    """What to raise instead of an error of psycopg's."""
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return InvalidRequest("a value", f"no database can hold it: {error}", "use valid Unicode and 64-bit numbers")
    if not isinstance(error, psycopg.Error) or isinstance(error, StoreError):
        return error
    state, reason = error.sqlstate or "", " ".join(str(error).split())
    if isinstance(error, psycopg.DataError):
        advice = "leave out the character NUL, and use numbers of 64 bits" if state in {"22021", "", "22P05"} else GENERAL
        return InvalidRequest("a name, tag or number", f"PostgreSQL cannot hold it: {reason}", advice)
    if state == TOO_LONG:
        return InvalidRequest("a name, tag or payload", f"PostgreSQL cannot hold it: {reason}", "keep names and tags below 2,000 bytes")
    advice = ADVICE.get(state) or ADVICE.get(state[:2]) or ""
    if not advice and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
        return error
    if not state:
        advice = next((advice for words, advice in WORDS if words in reason), GENERAL if "connection" not in reason else DOWN)
    return StoreUnavailable(address.shown, reason, advice or GENERAL)


def lost(error: psycopg.Error, connection: psycopg.Connection[object]) -> bool:
    """Whether the connection broke, so that it is unknown what became of the statement."""
    return connection.closed or isinstance(error, psycopg.InterfaceError) or (error.sqlstate or "").startswith("57P")
