"""What may be a name: of a run, a queue, a namespace, a tag, a message."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from replay.errors import InvalidRequest

NAME_LIMIT: Final = 512
"""Characters of an id, a queue or a name."""
ASKING: Final = re.compile("query:[0-9a-f]{32}")
"""The ids of messages that ask a query."""
_FITS: Final = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")


def require_name(name: Any, what: str) -> str:
    """A name must be a text of reasonable length, without control characters, that UTF-8 can spell.

    Raises:
        InvalidRequest: It is not.
    """
    if not isinstance(name, str) or not name or len(name) > NAME_LIMIT or not _FITS.fullmatch(name):
        shown = repr(name) if len(repr(name)) <= NAME_LIMIT else f"{repr(name)[:80]}… ({len(repr(name)):,} characters)"
        raise InvalidRequest(what, f"{shown} is no name", f"use 1 to {NAME_LIMIT} printable characters")
    return name


def require_namespace(name: Any) -> str:
    """A namespace must be a name, and not one of replay's own.

    Raises:
        InvalidRequest: It is not.
    """
    if require_name(name, "namespace").startswith("~"):
        raise InvalidRequest("namespace", f"{name!r} begins with a tilde as those of replay do", "choose another name")
    return str(name)


def asked_id(kind: str, run: str, identity: str) -> str:
    """The id of a message that is replied to, an update or a query, made of what its sender calls it.

    Replies to all runs of a namespace stand side by side, each under its message's id; so the same name for messages to two runs must
    be two ids. And a query must not take the place of any other message, for who may only read may ask.
    """
    return f"{kind}:{uuid.uuid5(uuid.NAMESPACE_OID, run + chr(0) + identity).hex}"
