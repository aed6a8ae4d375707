"""The law of savepoints with state: going on equals starting again.

One interpreter is fed the whole journal; for every savepoint with state another one is begun there, with the input and the recorded
state. From then on both must ask for the same, say the same, and end the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from replay.errors import ReplayError
from replay.interpreter.interpreter import Interpreter
from replay.model import events
from replay.model.effects import Call, WorkflowSpec
from replay.model.events import Event
from replay.model.journal import Resume
from replay.testing.determinism import record
from replay.testing.problems import CheckFailed
from replay.testing.script import Prepare, Script, Signals, Stubs
from replay.testing.transcripts import Entry, first_difference, follow, take

NAMES = ("going on", "starting again")


@attrs.frozen(kw_only=True)
class SavepointReport:
    """What was compared.

    Attributes:
        run: The run's id.
        events: Length of its journal.
        savepoints: Numbers of the events of savepoints with state.
    """

    run: str
    events: int
    savepoints: tuple[int, ...]


def check_savepoints(
    call: Call[Any],
    *,
    id: str = "run",
    stubs: Stubs | None = None,
    signals: Signals = (),
    prepare: Prepare | None = None,
    **options: Any,
) -> SavepointReport:
    """Run a workflow once, then begin it again at each of its savepoints with state, and compare with going on.

    Args:
        call: A call of a workflow that has a ``state`` parameter.
        id: The run's id.
        stubs: What stands in for steps.
        signals: What is sent to it: values by name, or (name, value, seconds after the start).
        prepare: Called with the world before the run is started.
        **options: Of ``World``.

    Raises:
        CheckFailed: The law is broken, or the run passed no savepoint with state, so that nothing was checked.
    """
    script = Script(call=call, id=id, stubs=stubs or {}, signals=signals, prepare=prepare)
    _, journal = record(script, options)
    points = [event for event in journal if event.kind == events.SAVEPOINT and Resume.decode(event.payload) is not None]
    what = f"savepoints of {call.spec.name}"
    if not points:
        raise CheckFailed(what, ("the run passed no savepoint with state=, so nothing was checked",))
    problems = [text for point in points if (text := broken_at(call.spec, id, journal, point))]
    if problems:
        raise CheckFailed(what, tuple(problems))
    return SavepointReport(run=id, events=len(journal), savepoints=tuple(point.seq for point in points))


def broken_at(spec: WorkflowSpec, run: str, journal: Sequence[Event], point: Event) -> str:
    """How starting again at a savepoint differs from going on, both sides, or empty."""
    here = f"savepoint {point.name} (#{point.seq})"
    going = Interpreter(spec, run)
    again = Interpreter(spec, run)
    try:
        going.feed_all(journal[: point.seq - 1])
        take(going, "")
        going.feed(point)
        again.recover(journal[0], point)
    except ReplayError as error:
        return f"{here}: {error}"
    on = [_entry(going, str(point)), *follow(going, journal[point.seq :])]
    off = [_entry(again, str(point)), *follow(again, journal[point.seq :])]
    going.close()
    again.close()
    text = first_difference(on, off, NAMES)
    return f"{here}: {text}" if text else ""


def _entry(interpreter: Interpreter, event: str) -> Entry:
    """What an interpreter does at the savepoint itself, with what it listens for."""
    entry = take(interpreter, event)
    listens = [f"unread {name}" for name, _ in interpreter.unread()] + [f"handles update {name}" for name in interpreter.updates]
    return attrs.evolve(entry, said=(*entry.said, *sorted(listens)))
