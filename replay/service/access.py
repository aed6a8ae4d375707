"""Who may do what: bearer tokens, each for one namespace and some scopes.

Rule 1: a token is known by its SHA-256; a file of tokens holds no token. Comparing takes the same time whatever comes.
Rule 2: every request names its namespace, and a token of one namespace can see or touch nothing of another. The entries of its workers
belong to it.
Rule 3: without a file of tokens everybody may do everything; that is for one machine, and the server says so when it starts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from replay.engine.presence import owner_of
from replay.errors import InvalidRequest

SCOPES: Final = ("read", "start", "work", "admin")
"""What a token may allow: look; start runs and send messages; claim and commit; delete."""
_ENOUGH: Final = {"read": {"read", "work"}, "start": {"start"}, "work": {"work"}, "admin": {"admin"}}
"""Scopes of which one is enough: a worker sees journals anyway, so to work is to read."""


@attrs.frozen
class Grant:
    """What one token allows.

    Attributes:
        namespace: Whose runs, or ``*`` for all.
        scopes: Some of ``SCOPES``.
    """

    namespace: str
    scopes: frozenset[str]

    def allows(self, scope: str, namespaces: Iterable[str]) -> bool:
        """Whether it allows this to be done with these namespaces."""
        return bool(self.scopes & _ENOUGH[scope]) and (
            self.namespace == "*" or all(owner_of(name) == self.namespace for name in namespaces)
        )


EVERYTHING: Final = Grant("*", frozenset(SCOPES))


class Tokens:
    """The grants of a server, by the digest of their token.

    Args:
        grants: Grant by SHA-256 of the token, in hex; None when everybody may do everything.
    """

    def __init__(self, grants: Mapping[str, Grant] | None) -> None:
        self._grants = grants

    @property
    def open(self) -> bool:
        """Whether everybody may do everything."""
        return self._grants is None

    def grant(self, authorization: str) -> Grant | None:
        """What the header ``authorization: Bearer …`` allows; None when the token is unknown."""
        if self._grants is None:
            return EVERYTHING
        kind, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for known, grant in self._grants.items():
            if hmac.compare_digest(known, digest) and kind.lower() == "bearer" and token:
                found = grant
        return found

    @classmethod
    def read(cls, path: Path | None) -> Tokens:
        """From a file: ``[{"sha256": "…", "namespace": "shop", "scopes": ["read", "work"]}, …]``.

        Raises:
            InvalidRequest: It cannot be read, or an entry does not fit.
        """
        if path is None:
            return cls(None)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            grants = {entry["sha256"].lower(): Grant(_text(entry["namespace"]), frozenset(entry["scopes"])) for entry in entries}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            advice = 'write [{"sha256": "…", "namespace": "…", "scopes": ["read", "start", "work", "admin"]}]'
            raise InvalidRequest(f"tokens file {path}", f"{type(error).__name__}: {error}", advice) from None
        for digest, grant in grants.items():
            if len(digest) != 64 or not grant.scopes <= set(SCOPES):
                raise InvalidRequest(f"tokens file {path}", f"entry {digest[:12]}… does not fit", f"scopes are {', '.join(SCOPES)}")
        return cls(grants)


def _text(value: object) -> str:
    """A text and nothing else, as JSON may hold anything."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
