"""Journals under test: compared in what replay reads, and replayed from a folder of recorded ones.

Rule 1: two journals are the same when they agree in what replay reads but time: seq, kind, command, name, payload, checksum of the
arguments. Stack traces, attempts, durations, lines and workers never count.
Rule 2: a difference shows both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import attrs

from replay.client.transfer import SUFFIX, read_run
from replay.client.travel import ReplayReport, replay_journal, spec_for
from replay.errors import InvalidRequest, ReplayError
from replay.model import events
from replay.model.codec import from_json
from replay.model.effects import WorkflowSpec
from replay.model.events import Event

FAILURES: Final = frozenset({events.STEP_FAILED, events.STEP_ATTEMPT_FAILED, events.CHILD_FAILED, events.FAILED})
"""Kinds whose payload holds a stack trace."""
UNTOLD: Final = frozenset({"args", "traceback"})
"""Fields of a failure that hold, or may hold, a stack trace."""
SHOWN: Final = 200
"""Characters of a payload that a report shows."""


def essence(event: Event) -> tuple[Any, ...]:
    """What replay reads of an event, but its time, and without stack traces."""
    payload: Any = event.payload
    if event.kind in FAILURES:
        payload = {key: value for key, value in from_json(payload).items() if key not in UNTOLD}
    return event.seq, event.kind, event.command, event.name, payload, event.check


def difference(one: Sequence[Event], other: Sequence[Event]) -> str:
    """The first difference of two journals, both sides, or empty."""
    for mine, theirs in zip_longest(one, other):
        if mine is None or theirs is None or essence(mine) != essence(theirs):
            return f"first {shown(mine)}, then {shown(theirs)}"
    return ""


def shown(event: Event | None) -> str:
    """An event with its payload, for reports."""
    if event is None:
        return "nothing"
    try:
        text = event.payload.decode()
    except UnicodeDecodeError:
        text = repr(event.payload)
    return f"{event} {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}".rstrip()


@attrs.frozen(kw_only=True)
class Recorded:
    """One recorded journal, driven through today's code.

    Attributes:
        path: The file.
        run: The run's id, or empty when the file cannot be read.
        report: What driving it showed, or None when it could not be driven.
        error: Why it could not be driven, or why it does not fit.
    """

    path: Path
    run: str = ""
    report: ReplayReport | None = None
    error: ReplayError | None = None

    @property
    def fits(self) -> bool:
        """Whether today's code fits the journal."""
        return self.error is None


def replay_folder(
    folder: str | Path, *, workflows: Mapping[str, WorkflowSpec] | None = None, pattern: str = f"**/*{SUFFIX}"
) -> list[Recorded]:
    """Drive every recorded journal of a folder through today's code; nothing is acted on.

    Args:
        folder: Where files are that ``replay export`` wrote.
        workflows: Code by workflow's name; by default every decorated workflow that has been imported.
        pattern: Which files.

    Raises:
        InvalidRequest: There is no such folder, or no such file in it.
    """
    paths = sorted(path for path in Path(folder).glob(pattern) if path.is_file())
    if not paths:
        raise InvalidRequest("folder", f"{folder} holds no recorded journal ({pattern})", "record some with `replay export`")
    return [replay_file(path, workflows=workflows) for path in paths]


def replay_file(path: str | Path, *, workflows: Mapping[str, WorkflowSpec] | None = None) -> Recorded:
    """Drive one recorded journal through today's code."""
    path = Path(path)
    run = ""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            head, journal = read_run(lines)
        run = head["id"]
        known = (workflows or {}).get(head["workflow"])
        report = replay_journal(known or spec_for(head["workflow"], head["version"]), run, journal)
    except ReplayError as error:
        return Recorded(path=path, run=run, error=error)
    return Recorded(path=path, run=run, report=report, error=report.difference)
