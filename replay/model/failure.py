"""A failure as a fact: what an exception becomes when it is journaled, and how it comes back.

Rule 1: the class's name is text. Nothing that comes from a journal is imported; an exception comes back as itself only when the
step names its class in ``raises=``.
Rule 2: messages and tracebacks are cut to a bounded size; a huge one must not make a huge journal.
"""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterable
from typing import Any, Final

import attrs

from replay.errors import Cancelled, PayloadError, StepFailed
from replay.model.codec import from_json, to_json

MESSAGE_LIMIT: Final = 4_000
"""Characters of a message that are kept."""
TRACEBACK_LIMIT: Final = 8_000
"""Characters of a traceback that are kept: the last ones, where the error is."""

Raisable = type[Exception]
"""A class of exceptions; ``type`` is a field of ``Failure``, so its methods cannot say it."""


@attrs.frozen(kw_only=True)
class Failure:
    """An exception, as data.

    Attributes:
        type: The class's qualified name.
        message: ``str()`` of the exception, cut to ``MESSAGE_LIMIT``.
        attempts: How many attempts were made.
        traceback: The last characters of the formatted traceback.
        args: The exception's ``args`` as JSON, when they are plain data; else None.
    """

    type: str
    message: str
    attempts: int = 1
    traceback: str = ""
    args: list[Any] | None = None

    @classmethod
    def of(cls, error: BaseException, *, attempts: int = 1) -> Failure:
        """What is kept of an exception; a ``__str__`` that raises is named, not raised."""
        try:
            message = str(error)
        except Exception as broken:  # noqa: BLE001 - border: a foreign __str__ may raise anything
            message = f"<unprintable, str raised {type(broken).__name__}>"
        try:
            text = "".join(tracebacks.format_exception(error, limit=-20, chain=True))
        except Exception as broken:  # noqa: BLE001 - border: formatting calls foreign __str__ and __repr__
            text = f"<no traceback, formatting raised {type(broken).__name__}>"
        return cls(
            type=type_of(error),
            message=_text(message[:MESSAGE_LIMIT]),
            attempts=attempts,
            traceback=_text(text[-TRACEBACK_LIMIT:]),
            args=_plain_args(error),
        )

    def encode(self) -> bytes:
        """Its journal form."""
        return to_json({key: value for key, value in attrs.asdict(self, recurse=False).items() if value is not None})

    @classmethod
    def decode(cls, payload: bytes) -> Failure:
        """From its journal form; fields of later versions are passed over."""
        data = from_json(payload) if payload else {}
        known = {field.name for field in attrs.fields(cls)}
        given = {key: value for key, value in data.items() if key in known} if isinstance(data, dict) else {}
        return cls(**{"type": "Exception", "message": "", **given})

    def revive(self, raises: Iterable[Raisable]) -> Exception | None:
        """The exception as itself, when its class is one of ``raises`` and takes its recorded arguments back."""
        for kind in raises:
            if qualified(kind) == self.type and self.args is not None:
                try:
                    return kind(*self.args)
                except Exception:  # noqa: BLE001 - border: a foreign constructor may not take its own args back
                    return None
        return None


def qualified(kind: type[BaseException]) -> str:
    """``module.Class``, without the module for built-in ones."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def type_of(error: BaseException) -> str:
    """The qualified name of an exception's class."""
    return qualified(type(error))


def cancelled_payload(error: Cancelled) -> bytes:
    """Journal form of a cancellation."""
    return to_json({"reason": _text(str(error.reason)[:MESSAGE_LIMIT])})


def _text(text: str) -> str:
    """Text that UTF-8 can spell: lone surrogates, as in undecodable file names, become question marks."""
    return text.encode("utf-8", "replace").decode()


def _plain_args(error: BaseException) -> list[Any] | None:
    args = list(error.args)
    if isinstance(error, StepFailed):
        args = args[:4]  # the step's traceback is in this one's already, as a note
    try:
        encoded = to_json(args)
    except PayloadError:
        return None
    return args if len(encoded) <= MESSAGE_LIMIT else None
