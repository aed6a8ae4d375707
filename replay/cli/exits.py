"""How the program ends: exit codes that scripts can use, and one sentence about what went wrong.

Rule 1: the family of an error says the code, so that a new error needs no new line here.
Rule 2: errors that are nobody's fault but this program's have a code of their own: a script must not take them for an answer.
"""

from __future__ import annotations

import enum
import json
import logging
import sys
import traceback
from typing import Any, Final

import attrs

from replay.cli.text import plain
from replay.errors import (
    DefinitionError,
    InvalidRequest,
    PayloadError,
    PayloadTooLarge,
    ReplayError,
    RunFailed,
    StoreError,
    UnknownName,
    UnknownRun,
    WaitTimedOut,
)


class Exit(enum.IntEnum):
    """Exit codes."""

    OK = 0
    """It was done, and the answer is yes."""
    NEGATIVE = 1
    """It was done, and the answer is no: the run failed, journals differ, a check found something, a request was refused."""
    USAGE = 2
    """What was asked does not make sense: options, values, configuration, a module that cannot be imported."""
    NOT_FOUND = 3
    """There is no such run, workflow, savepoint, event or query."""
    STORE = 4
    """The store cannot be used: not reachable, locked, of another version, or damaged."""
    TIMED_OUT = 5
    """Patience ended first; the run goes on."""
    BROKEN = 70
    """An error in replay itself."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; nothing is lost."""
    TERMINATED = 143
    """Stopped by SIGTERM before its end; nothing is lost."""


CODES: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (WaitTimedOut, Exit.TIMED_OUT),
    (UnknownRun, Exit.NOT_FOUND),
    (UnknownName, Exit.NOT_FOUND),
    (InvalidRequest, Exit.USAGE),
    (PayloadError, Exit.USAGE),
    (PayloadTooLarge, Exit.USAGE),
    (DefinitionError, Exit.USAGE),
    (StoreError, Exit.STORE),
    (ReplayError, Exit.NEGATIVE),
    (OSError, Exit.USAGE),
)
"""The first line that fits counts."""
MEANINGS: Final = (
    (Exit.OK, "done, and the answer is yes"),
    (Exit.NEGATIVE, "the answer is no: a run failed, journals differ, findings, a request was refused"),
    (Exit.USAGE, "bad option, value, configuration or module"),
    (Exit.NOT_FOUND, "no such run, workflow, savepoint, event or query"),
    (Exit.STORE, "the store cannot be used"),
    (Exit.TIMED_OUT, "timed out; the run goes on"),
)
"""What help and manual say of them."""
logger: Final = logging.getLogger("replay.cli")


def code_of(error: BaseException) -> Exit:
    """The exit code that an error means."""
    return next((code for kind, code in CODES if isinstance(error, kind)), Exit.BROKEN)


def tell(error: Exception, *, as_json: bool, debug: bool) -> Exit:
    """Say what went wrong, on standard error; the exit code that it means."""
    code = code_of(error)
    if debug:
        logger.debug("%s", "".join(traceback.format_exception(error)))
        if isinstance(error, RunFailed) and error.traceback:
            logger.debug("in the run:\n%s", error.traceback)
    if as_json:
        sys.stderr.write(json.dumps({"error": facts_of(error), "exit": int(code)}, default=str) + "\n")
        return code
    sentence = str(error)
    if code is Exit.BROKEN:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" at {place[0].filename}:{place[0].lineno}" if place else ""
        sentence = f"this is a bug in replay: {type(error).__name__}: {error}{where}"
    hint = "" if debug or code is not Exit.BROKEN else "\n  --debug shows where"
    sys.stderr.write(f"replay: {plain(sentence, keep=chr(10))}{hint}\n")
    return code


def facts_of(error: Exception) -> dict[str, Any]:
    """An error for programs: its class, its sentence, and the facts that it holds."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if attrs.has(type(error)):
        facts |= {field.name: value for field, value in _fields(error) if field.name not in facts}
    return facts


def _fields(error: Any) -> list[tuple[attrs.Attribute[Any], Any]]:
    return [(field, getattr(error, field.name)) for field in attrs.fields(type(error))]
