"""Where a store is and how it is used: the URL, taken apart once.

Rule 1: what libpq understands goes to libpq as it is: hosts, ports, sockets, TLS, service files, ``PGPASSWORD`` and ``~/.pgpass``.
Rule 2: the password is in ``conninfo`` and nowhere else; what is shown, logged or raised is ``shown``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import attrs
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from replay.hooks import InvalidRequest

SCHEMES: Final = ("postgresql", "postgres")
SWITCH: Final[Mapping[str, bool]] = {"on": True, "off": False}
MIGRATE: Final = ("new", "on", "off")
NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,49}")
PORTS: Final = re.compile(r"[0-9]*(,[0-9]*)*")
SECRET: Final = ("password", "sslpassword")
"""libpq's keywords whose values are never shown."""
USUAL: Final[Mapping[str, str]] = {
    "application_name": "replay",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds: a server that vanished is noticed while an answer is awaited
    "client_encoding": "UTF8",
}
"""What libpq is told unless the URL says otherwise."""
HIDDEN: Final = "…"
"""What is shown of a URL of which nobody can say where its password ends."""
MOST: Final = 1_000
"""Connections a pool may have."""


@attrs.frozen(kw_only=True)
class Address:
    """Where a store is.

    Attributes:
        shown: The URL without passwords.
        conninfo: What libpq is told.
        schema: The database schema that holds the tables.
        pool: How many connections there are at most, beside the one that listens.
        prepare: Whether statements are prepared on the server; not through a proxy that shares its connections.
        listen: Whether one connection listens for wake-ups; without it, changes of others are found by polling.
        direct: Host and port for listening, when the URL leads to a proxy.
        migrate: What becomes of tables when the store is opened: ``new``: missing ones are made, older ones refused; ``on``: older
            ones are brought up to date, too; ``off``: nothing is made.
    """

    shown: str
    conninfo: Mapping[str, Any] = attrs.field(repr=False)
    schema: str = "replay"
    pool: int = 10
    prepare: bool = True
    listen: bool = True
    direct: tuple[str, str] | None = None
    migrate: str = "new"

    @classmethod
    def parse(cls, url: str) -> Address:
        """From ``postgresql://user:password@host:port/database?option=value``.

        Raises:
            InvalidRequest: It is no such URL, or has an option that neither this store nor libpq knows.
        """
        shown = without_passwords(url)
        if shown.endswith(HIDDEN):
            raise unreadable(shown)
        base, _, query = url.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        known = {str(option.keyword, "ascii") for option in pq.Conninfo.get_defaults()}
        unknown = sorted({name for name, _ in pairs} - known - set(OPTIONS))
        if unknown:
            problem = f"unknown options {', '.join(unknown)}"
            raise InvalidRequest(f"store URL {shown!r}", problem, f"known are {', '.join(OPTIONS)}, and those of libpq")
        rest = urlencode([pair for pair in pairs if pair[0] not in OPTIONS], quote_via=quote)
        try:
            conninfo = conninfo_to_dict(f"{base}?{rest}" if rest else base)
        except psycopg.ProgrammingError:
            raise unreadable(shown) from None  # libpq's words may quote the password
        if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)) or not PORTS.fullmatch(str(conninfo.get("port", ""))):
            raise unreadable(shown)
        own = {name: OPTIONS[name](shown, value) for name, value in pairs if name in OPTIONS}
        return cls(shown=shown, conninfo={**USUAL, **conninfo}, **own)

    def listening(self) -> dict[str, Any]:
        """What libpq is told for the connection that listens."""
        host, port = self.direct or ("", "")
        return {**self.conninfo, **({"host": host, "hostaddr": None, "port": port} if host else {})}


def without_passwords(url: str) -> str:
    """A URL that may be shown."""
    scheme, separator, rest = url.partition("://")
    base, mark, query = rest.partition("?")
    place, slash, path = base.partition("/")
    if "@" in path or "@" in query or not separator:
        return f"{scheme if separator else 'postgresql'}://{HIDDEN}"  # a password with a sign in it that ends the place
    user, at, host = place.rpartition("@")
    shown = [pair for pair in query.split("&") if pair.partition("=")[0] not in SECRET]
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}" + (mark + "&".join(shown) if any(shown) else "")


def unreadable(shown: str) -> InvalidRequest:
    """The error for a URL that cannot be taken apart."""
    advice = "write postgresql://user:password@host:port/database, with signs like @ : / % of the password percent-encoded"
    return InvalidRequest(f"store URL {shown!r}", "it cannot be read", advice)


def schema_of(shown: str, value: str) -> str:
    """A schema's name, which needs no quotes."""
    if not NAME.fullmatch(value) or value.startswith("pg_"):
        advice = "take small letters, digits and underscores, not pg_…, at most 50"
        raise InvalidRequest(f"store URL {shown!r}", f"schema={value} is no name for a schema", advice)
    return value


def pool_of(shown: str, value: str) -> int:
    """A number of connections."""
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= MOST:
        raise InvalidRequest(f"store URL {shown!r}", f"pool={value} is no number of connections", f"take 1 to {MOST}")
    return int(value)


def switch_of(shown: str, value: str) -> bool:
    """On or off."""
    if value not in SWITCH:
        raise InvalidRequest(f"store URL {shown!r}", f"{value!r} is neither on nor off", "write on or off")
    return SWITCH[value]


def migrate_of(shown: str, value: str) -> str:
    """What becomes of tables."""
    if value not in MIGRATE:
        raise InvalidRequest(f"store URL {shown!r}", f"migrate={value} is none of {', '.join(MIGRATE)}", "write migrate=new")
    return value


def place_of(shown: str, value: str) -> tuple[str, str]:
    """A host and a port."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidRequest(f"store URL {shown!r}", f"direct={value} is no place", "write direct=host:port")
    return host, port


OPTIONS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "schema": schema_of,
    "pool": pool_of,
    "prepare": switch_of,
    "listen": switch_of,
    "direct": place_of,
    "migrate": migrate_of,
}
"""The options of this store, and how each is read."""
