"""How a user's own SQL gets into the transaction that commits a journal: as a SQLAlchemy ``Connection``.

Rule 1: it is the store's own connection, so there is one transaction.
Rule 2: only the store ends that transaction; ``commit()`` and ``rollback()`` on what is lent are refused, savepoints are welcome.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from replay.hooks import Commit, InvalidRequest, require_sound
from replay_postgres.pool import BEGIN, SETTINGS, Raw


class Foreign(Exception):
    """What a user's own code raised, carried out of the transaction: it is no word of the store's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def borrowed(raw: Raw, work: Callable[[Any], Commit]) -> Commit:
    """What ``work`` answers, done in a transaction that is begun here and still open afterwards.

    Raises:
        Foreign: It raised, or spoilt the transaction, which is rolled back.
    """
    settings = "".join(f"; SET LOCAL {name} = {usual}" for name, (_, usual) in SETTINGS.items())
    raw.execute(f"{BEGIN}{settings}".encode(), prepare=False)
    try:
        with lent(raw) as connection:
            commit = work(connection)
        require_intact(raw)
        require_sound(commit)
    except BaseException as error:
        if not raw.closed:
            with contextlib.suppress(psycopg.Error):
                raw.execute("ROLLBACK")
        if isinstance(error, Exception):
            raise Foreign(error) from None
        raise
    try:
        raw.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or the user's own would be looked at when it is too late to say whose
    except psycopg.IntegrityError as error:
        raise Foreign(error) from None
    return commit


@contextlib.contextmanager
def lent(raw: Raw) -> Iterator[Connection]:
    """The connection, as SQLAlchemy shows it."""
    if raw.engine is None:
        raw.engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: raw,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            use_native_hstore=False,  # else each connection asks the server for an extension
        )
    connection: Connection
    with raw.engine.connect() as connection:
        connection.begin()
        raw.lent = True
        try:
            yield connection
        finally:
            raw.lent = False


def require_intact(raw: Raw) -> None:
    """Refuse to go on in a transaction that is none any more.

    Raises:
        InvalidRequest: It was ended, or spoilt, by the user's SQL.
    """
    status = raw.info.transaction_status
    if status is TransactionStatus.INERROR:
        advice = "let the error out, or put what may fail into begin_nested()"
        raise InvalidRequest("transaction", "a statement in it failed, and the error was kept back", advice)
    if status is not TransactionStatus.INTRANS:
        raise InvalidRequest("transaction", "it was ended by its user's SQL", "leave COMMIT and ROLLBACK to the store")
