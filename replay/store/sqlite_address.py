"""The address of a SQLite store: which file, and how it is kept.

Three slashes are relative to the working directory, four are absolute. What stands behind a question mark are options; one that
is not known is refused, as a misspelt wish for durability must not be passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

import attrs

from replay.errors import InvalidRequest

DURABILITY: Final[Mapping[str, str]] = {"full": "FULL", "relaxed": "NORMAL"}
"""``full``: what was committed survives a power cut. ``relaxed``: it survives the process; a power cut may take the last commits."""


@attrs.frozen(kw_only=True)
class Address:
    """Where a store's file is and how it is kept.

    Attributes:
        url: As it was given.
        path: Absolute.
        durability: A key of ``DURABILITY``.
        busy_timeout: How long another process's lock is waited for, in seconds.
    """

    url: str
    path: Path
    durability: str = "full"
    busy_timeout: float = 10.0

    @classmethod
    def parse(cls, url: str) -> Address:
        """From ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with options in the query.

        Raises:
            InvalidRequest: It names no file, or an option that there is not.
        """
        scheme, _, rest = url.partition("://")
        location, _, query = rest.partition("?")
        if scheme != "sqlite" or not location.startswith("/") or location in {"/", "/:memory:"}:
            advice = "write sqlite:///relative/path.db or sqlite:////absolute/path.db; memory:// keeps nothing on disk"
            raise InvalidRequest(f"store URL {url!r}", "it names no file", advice)
        options = dict(parse_qsl(query, keep_blank_values=True))
        durability = options.pop("durability", "full")
        if durability not in DURABILITY:
            raise InvalidRequest(f"store URL {url!r}", f"no durability {durability!r}", f"choose one of {', '.join(DURABILITY)}")
        busy_timeout = seconds(url, options.pop("busy_timeout", "10"))
        if options:
            problem = f"unknown options {', '.join(sorted(options))}"
            raise InvalidRequest(f"store URL {url!r}", problem, "known are durability and busy_timeout")
        path = Path(unquote(location[1:])).absolute()
        return cls(url=url, path=path, durability=durability, busy_timeout=busy_timeout)


def seconds(url: str, text: str) -> float:
    """A number of seconds from an option.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 86_400:
        raise InvalidRequest(f"store URL {url!r}", f"busy_timeout={text} is no number of seconds", "write busy_timeout=10")
    return value
