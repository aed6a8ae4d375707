"""URLs: what they name, what they refuse, and what is never shown of them."""

from __future__ import annotations

from typing import Any

import pytest
from replay_postgres import open_postgres
from replay_postgres.address import Address

from replay.hooks import InvalidRequest


def test_an_address_names_a_database() -> None:
    """All that libpq understands goes to libpq as it was written."""
    address = Address.parse("postgresql://ann:p%40ss@db.example:5433/shop?sslmode=require&options=-c%20work_mem%3D8MB&schema=orders")

    told = {name: address.conninfo[name] for name in ("user", "password", "host", "port", "dbname", "sslmode", "options")}
    assert ("orders", "ann", "p@ss", "db.example", "5433", "shop", "require", "-c work_mem=8MB") == (address.schema, *told.values())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///shop", {"dbname": "shop"}),
        ("postgres://one:1,two:2/shop", {"host": "one,two", "port": "1,2"}),
        ("postgresql://%2Fvar%2Frun/shop", {"host": "/var/run"}),
        ("postgresql:///shop?host=/tmp&connect_timeout=3&application_name=till", {"host": "/tmp", "connect_timeout": "3"}),
        ("postgresql://[::1]/shop", {"host": "::1"}),
    ],
)
def test_addresses_have_many_forms(url: str, expected: dict[str, str]) -> None:
    """Several hosts, sockets, IPv6, no host at all."""
    told = Address.parse(url).conninfo

    assert expected == {name: told[name] for name in expected}


def test_options_stand_in_the_query() -> None:
    """Without them a store is what fits most."""
    usual = Address.parse("postgresql://db/shop")
    other = Address.parse("postgresql://db/shop?schema=s&pool=3&prepare=off&listen=off&direct=db:5432&migrate=off")

    def options(address: Address) -> list[Any]:
        return [address.schema, address.pool, address.prepare, address.listen, address.direct, address.migrate]

    assert ["replay", 10, True, True, None, "new"] == options(usual)
    assert ["s", 3, False, False, ("db", "5432"), "off"] == options(other)
    assert ("db", "5432") == tuple(other.listening()[name] for name in ("host", "port"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://db/shop?pol=3", "unknown options pol; known are schema, pool, prepare, listen, direct, migrate, and those"),
        ("postgresql://db/shop?schema=pg_x", "schema=pg_x is no name"),
        ("postgresql://db/shop?schema=Or%22ders", "is no name for a schema"),
        ("postgresql://db/shop?schema=", "is no name for a schema"),
        ("postgresql://db/shop?pool=0", "pool=0 is no number of connections; take 1 to 1000"),
        ("postgresql://db/shop?pool=-1", "pool=-1"),
        ("postgresql://db/shop?pool=many", "pool=many"),
        ("postgresql://db/shop?prepare=no", "'no' is neither on nor off"),
        ("postgresql://db/shop?direct=db", "write direct=host:port"),
        ("postgresql://db:port/shop", "it cannot be read"),
        ("postgresql://[::1/shop", "it cannot be read"),
        ("mysql://db/shop", "it cannot be read"),
    ],
)
def test_a_bad_address_is_refused(url: str, problem: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(InvalidRequest) as caught:
        open_postgres(url)

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann@db/shop"),
        ("postgresql://ann:s3cret@db:1/shop?pool=3", "postgresql://ann@db:1/shop?pool=3"),
        ("postgresql://db/shop?password=s3cret&user=ann&sslpassword=s3cret", "postgresql://db/shop?user=ann"),
        ("postgresql://db/shop?password=s3cret", "postgresql://db/shop"),
        ("postgresql://ann:@db/shop", "postgresql://ann@db/shop"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    """Neither in what is shown nor in what a debugger prints."""
    address = Address.parse(url)

    assert shown == address.shown
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3/cret@db/shop",
        "postgresql://ann:s3?cret@db/shop",
        "postgresql://ann:s3%cret@db/shop",
        "postgresql://ann:s3cret@db:port/shop",
        "postgresql://ann:s3cret@db/shop?pool=0",
        "ann:s3cret@db/shop",
    ],
)
def test_a_password_is_not_shown_in_an_error_either(url: str) -> None:
    """Also where a sign in it makes the URL unreadable."""
    with pytest.raises(InvalidRequest) as caught:
        Address.parse(url)

    assert ("cret" not in str(caught.value), None) == (True, caught.value.__cause__)
