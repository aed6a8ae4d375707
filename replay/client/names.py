"""What may be a name: of a run, a queue, a namespace, a tag, a message."""

from __future__ import annotations

import re
from typing import Any, Final

from replay.errors import InvalidRequest

NAME_LIMIT: Final = 512
"""Characters of an id, a queue or a name."""
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
