"""What PostgreSQL says becomes an error that says what to do."""

from __future__ import annotations

import psycopg
import pytest
from replay_postgres.address import Address
from replay_postgres.trouble import told

from replay.hooks import InvalidRequest, StoreUnavailable

ADDRESS = Address.parse("postgresql://ann:s3cret@db/shop")


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("08006", "check that the server runs"),
        ("25006", "name the primary server"),
        ("26000", "add ?prepare=off"),
        ("42501", "grant the role"),
        ("42P01", "open it again"),
        ("42P05", "add ?prepare=off"),
        ("53100", "make room on the server's disk; nothing was lost"),
        ("53200", "more memory"),
        ("53300", "raise max_connections"),
        ("55P03", "pg_locks"),
        ("57014", "statement_timeout"),
        ("57P01", "wait until it is up"),
        ("57P03", "wait until it is up"),
        ("58030", "restore from a backup"),
        ("XX001", "restore from a backup"),
    ],
)
def test_what_an_operator_must_see_to_is_told(state: str, advice: str) -> None:
    """With the server's own words, and the store's URL without its password."""
    error = told(psycopg.errors.lookup(state)("could not do\n  it"), ADDRESS)

    assert isinstance(error, StoreUnavailable)
    assert ("postgresql://ann@db/shop", "could not do it") == (error.store, error.reason)
    assert advice in error.advice


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ('FATAL: password authentication failed for user "ann"', "check user and password"),
        ("fe_sendauth: no password supplied", "check user and password"),
        ("FATAL: sorry, too many clients already", "raise max_connections"),
        ("FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute", "raise max_connections"),
        ("FATAL: the database system is starting up", "wait until it is up"),
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", user "ann", database "shop", no encryption', "pg_hba.conf"),
        ("server does not support SSL, but SSL was required", "sslmode"),
        ("FATAL: unsupported startup parameter: options", "add ?prepare=off, and listen=off or direct="),
        ("connection timeout expired", "check that the server runs"),
        ("Verbindung zum Server auf »db« fehlgeschlagen", "look into the server's log"),
    ],
)
def test_why_no_connection_was_made_is_told(words: str, advice: str) -> None:
    """There is no SQLSTATE then, only words; those of other languages are shown, with advice that fits any."""
    error = told(psycopg.OperationalError(words), ADDRESS)

    assert isinstance(error, StoreUnavailable)
    assert advice in str(error)
    assert words in str(error)


def test_what_a_caller_must_not_send_is_told() -> None:
    """It is no matter of the server's."""
    for error in (
        psycopg.errors.lookup("22021")("invalid byte sequence"),
        psycopg.errors.lookup("54000")("index row size 5016 exceeds btree version 4 maximum 2704"),
        psycopg.DataError("no NUL please"),
        OverflowError("int too big to convert"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ):
        assert isinstance(told(error, ADDRESS), InvalidRequest)


def test_a_mistake_of_ours_is_not_called_trouble() -> None:
    """A statement that is wrong is shown as it is."""
    for error in (psycopg.errors.lookup("42601")("syntax error"), psycopg.errors.lookup("23505")("duplicate key"), ValueError("bug")):
        assert told(error, ADDRESS) is error
