"""How a user's own SQL gets into the transaction that commits a journal: as a SQLAlchemy ``Connection``.

Rule 1: it is the store's own connection, so there is one transaction and one fsync.
Rule 2: only the store ends that transaction; ``commit()`` and ``rollback()`` on what is lent are refused, savepoints are welcome.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from replay.errors import InvalidRequest
from replay.store.sqlite_files import Raw


@contextlib.contextmanager
def lent(raw: Raw) -> Iterator[Connection]:
    """The connection, in the transaction that was begun on it.

    Raises:
        InvalidRequest: That transaction was ended meanwhile, by SQL that says so, or this is a child that was forked in it.
    """
    if raw.engine is None:
        raw.engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
    connection: Connection
    with raw.engine.connect() as connection:
        connection.begin()
        raw.lent = True
        try:
            yield connection
        finally:
            raw.lent = False
    if raw.lost or not raw.in_transaction:
        raise InvalidRequest("transaction", "it was ended by its user's SQL or a fork", "leave COMMIT and ROLLBACK to the store")
