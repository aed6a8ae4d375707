"""A store inside a transaction that belongs to somebody else: to start a run, or leave a message, if and only if it commits.

Rule 1: nothing here begins or ends a transaction, and nothing is tried again: whether it goes on is its owner's business.
Rule 2: what is told to others goes out with the owner's commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

import psycopg

from replay.hooks import InvalidRequest
from replay_postgres import statements as sql
from replay_postgres.pool import Hot, Raw
from replay_postgres.store import PostgresStore
from replay_postgres.trouble import told

T = TypeVar("T")

ADVICE: Final = "pass a SQLAlchemy Connection or Session, or a psycopg Connection"


class Enlisted(PostgresStore):
    """What can be done in a transaction of the caller's own."""

    def __init__(self, store: PostgresStore, connection: Any) -> None:
        self.__dict__.update(store.__dict__)  # all is shared, but for what is asked over which connection
        self._hot = Hot(driver_of(connection), self._pool.spell, prepare=False)

    def _with(self, work: Callable[[Hot], T], *, resend: bool = True) -> T:
        del resend
        try:
            return work(self._hot)
        except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
            raise told(error, self._address) from error

    def _with_raw(self, work: Callable[[Raw], T], *, resend: bool = True) -> NoReturn:
        del work, resend
        raise self._refused("it")

    def _changed(self, *, others: bool = True) -> None:
        if others:
            self._with(lambda hot: hot.ask(sql.TELL, (self._herald.channel,)))

    def _refused(self, verb: str) -> InvalidRequest:
        problem = f"{verb} has no place in a transaction of your own"
        return InvalidRequest("within", problem, "ask the store itself; for a step, use @step(transactional=True)")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refused("that")

    claim = renew = release = commit = transact = find = delete = wait = within = _refuse

    def close(self) -> None:
        """Nothing is its own."""


def driver_of(connection: Any) -> psycopg.Connection[Any]:
    """The psycopg connection at the bottom.

    Raises:
        InvalidRequest: There is none.
    """
    if isinstance(connection, psycopg.Connection):
        return connection
    inner = connection.connection() if callable(getattr(connection, "connection", None)) else connection  # a Session
    driver = getattr(getattr(inner, "connection", None), "driver_connection", None)
    if not isinstance(driver, psycopg.Connection):
        raise InvalidRequest("connection", f"{type(connection).__name__} is no connection of psycopg 3", ADVICE)
    return driver
