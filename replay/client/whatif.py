"""What if: recorded runs again, with some of their answers edited, stubbed, or asked for anew.

Rule 1: nothing that is recorded is touched, and nothing is asked of the world but what ``live`` and ``llm`` name: the journals are
read, and what comes of them lies in a store in memory.
Rule 2: the recorded world tells the same in the same order: an answer is given when its turn comes and the code asks for it (the same
command, name and arguments), a signal when its turn comes. What the code asks for before is answered at once.
Rule 3: what the record cannot answer, and nothing stands in for, is left open; the run stops there and its row says so.
Rule 4: time is the record's: timers fire by its moments, and behind its end one after the other, without waiting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import attrs

from replay.client.client import Client
from replay.client.handle import Handle
from replay.client.replica import Outcome, Plan, Recording, Replica, another_input
from replay.client.transfer import SUFFIX, read_run
from replay.client.travel import spec_for
from replay.errors import InvalidRequest, describe
from replay.llm.calling import Models
from replay.model.budgets import NOTHING, Spent
from replay.model.comparison import compare, said_in, told_by
from replay.model.effects import Call, Effect, WorkflowSpec
from replay.model.events import CLOSING, STARTED, Event
from replay.model.spending import spent_in_all
from replay.store.contract import CLOSED, NewRun, RunKey
from replay.store.memory import MemoryStore

Runs = Handle[Any] | Recording | str | Path
"""A run: a handle, a recording, or an exported file; a folder stands for all of its files."""
SHOWN: Final = 60
"""Characters of a value in a table."""
UNFINISHED: Final = ("stopped", "stuck")
"""How a run stands that could not be driven to its end; its notes say why."""
JOBS: Final = 8
"""Runs that ask the world side by side."""


@attrs.frozen(kw_only=True)
class Ending:
    """How a run ended, or where it stands.

    Attributes:
        status: ``completed``, ``failed``, ``cancelled``, ``continued``, ``terminated``; ``waiting``; ``stopped``, for want of an
            answer; or ``stuck``, when today's code cannot take the record.
        value: Its result, or its failure as the journal spells it.
        spent: What its answers cost.
        events: Length of its journal.
    """

    status: str
    value: Any
    spent: Spent
    events: int

    def __str__(self) -> str:
        return f"{self.status} {_short(self.value)}".rstrip() if self.value is not None else self.status


@attrs.frozen(kw_only=True)
class Change:
    """One answer that is another one now.

    Attributes:
        command: The command that it answers, or empty.
        name: Of the step, child, signal, …
        then: The recorded answer; None where there was none.
        now: The new one; None where there is none any more.
    """

    command: str
    name: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} {_short(told_by(self.then))} → {_short(told_by(self.now))}"


@attrs.frozen(kw_only=True)
class Row:
    """What became of one run.

    Attributes:
        run: The run's id.
        workflow: Its workflow.
        then: How it ended in the record.
        now: How it ends now.
        changes: Answers that differ, in order; the run's own end is not among them.
        notes: What could not be given, and what nobody took.
    """

    run: str
    workflow: str
    then: Ending
    now: Ending
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether it ends as it ended, in status and value."""
        return (self.then.status, _told(self.then)) == (self.now.status, _told(self.now))

    @property
    def difference(self) -> str:
        """The first difference, as a sentence; empty when there is none, or only in what the same words of a model cost."""
        for change in self.changes:
            if told_by(change.then) != told_by(change.now):
                return str(change)
        return "" if self.same else self.notes[0] if self.notes else f"{self.then} → {self.now}"


@attrs.frozen(kw_only=True)
class WhatIf:
    """What became of all of them; ``print`` it for a table.

    Attributes:
        rows: One for each run, in the order in which they were given.
        client: A client of the store in memory, where the new journals are, each under its run's id.
    """

    rows: tuple[Row, ...]
    client: Client = attrs.field(eq=False)

    @property
    def changed(self) -> tuple[Row, ...]:
        """Runs that end otherwise."""
        return tuple(row for row in self.rows if not row.same)

    @property
    def then(self) -> Spent:
        """What all of them cost."""
        return sum((row.then.spent for row in self.rows), NOTHING)

    @property
    def now(self) -> Spent:
        """What all of them cost now."""
        return sum((row.now.spent for row in self.rows), NOTHING)

    def assert_same(self) -> None:
        """For tests: every run ends as it ended.

        Raises:
            AssertionError: With the table of those that do not.
        """
        if self.changed:
            raise AssertionError(f"{len(self.changed)} of {len(self.rows)} runs end otherwise\n{attrs.evolve(self, rows=self.changed)}")

    def __str__(self) -> str:
        heads = ("run", "then", "now", "cost then", "cost now", "first difference")
        body = [
            (row.run, str(row.then), str(row.now), str(row.then.spent), str(row.now.spent), row.difference or "none")
            for row in self.rows
        ]
        body.append(
            (
                f"{len(self.rows)} run{'' if len(self.rows) == 1 else 's'}",
                "",
                f"{len(self.changed)} changed",
                str(self.then),
                str(self.now),
                "",
            )
        )
        widths = [max(len(line[place]) for line in [heads, *body]) for place in range(len(heads))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in [heads, *body]]
        lines += [f"{row.run} is {row.now.status}: {'; '.join(row.notes)}" for row in self.rows if row.now.status in UNFINISHED]
        return "\n".join(lines)


def whatif(
    runs: Runs | Iterable[Runs],
    *,
    edit: Mapping[Any, Any] | None = None,
    stub: Mapping[str, Any] | None = None,
    live: Collection[str] = (),
    llm: Mapping[str, Any] | Callable[[Any], Effect[Any]] | None = None,
    input: Mapping[str, Any] | Call[Any] | Callable[..., Call[Any]] | None = None,
    workflow: WorkflowSpec | None = None,
    models: Models | None = None,
    jobs: int = JOBS,
    progress: Callable[[Row], None] | None = None,
) -> WhatIf:
    """Run recorded runs again, in memory, and compare.

    Args:
        runs: Handles, recordings, exported files, or folders of those.
        edit: New answers in the place of recorded ones, by event number or by name of the step, child, signal, update or question;
            a function is called with the recorded answer.
        stub: Answers instead of a step or child, by name: a value, an exception, or a function that is called with the arguments.
        live: Names of steps that are really done, and of children that are run again with these same settings.
        llm: Ask language models again, with another ``model``, ``provider`` or other options of the call, or as a function of the
            recorded call says.
        input: Another input: arguments by name, a call, or a function that is called with the recorded arguments and makes a call.
        workflow: Other code, such as another version.
        models: Who answers calls of language models that are asked again; None for the providers of this process.
        jobs: How many runs ask the world side by side.
        progress: Called with each row when it is known.

    Raises:
        InvalidRequest: There is no run, an edit does not fit, or a name is given two meanings.
        UnknownName: A workflow is not imported, or an edit, stub or live name occurs in none of the runs.
        PayloadError: A new answer is not of the answered effect's type.
    """
    recordings = list(_recordings(runs))
    if not recordings:
        raise InvalidRequest("runs", "there is none", "give handles, exported files, or a folder of them")
    plan = Plan(edit=edit or {}, stub=stub or {}, live=frozenset({live} if isinstance(live, str) else live), llm=llm, models=models)
    client = Client(MemoryStore())
    rows: dict[int, Row] = {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max(1, jobs if plan.acts else 1), "replay-whatif") as pool:
        stack.callback(plan.close)
        futures = {pool.submit(_again, recording, plan, workflow, input, client): place for place, recording in enumerate(recordings)}
        try:
            for future in as_completed(futures):
                rows[futures[future]] = row = future.result()
                if progress is not None:
                    progress(row)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    plan.require_met()
    return WhatIf(rows=tuple(rows[place] for place in range(len(recordings))), client=client)


def _recordings(runs: Runs | Iterable[Runs]) -> Iterable[Recording]:
    for run in [runs] if isinstance(runs, Handle | Recording | str | Path) else runs:
        if isinstance(run, Recording):
            yield run
        elif isinstance(run, Handle):
            yield recording_of(run)
        elif not isinstance(run, str | Path):
            raise InvalidRequest("runs", f"one of them is {describe(run)}", "give handles, exported files, or folders")
        elif Path(run).is_dir():
            yield from (_read(path) for path in sorted(Path(run).glob(f"**/*{SUFFIX}")))
        else:
            yield _read(Path(run))


def recording_of(handle: Handle[Any]) -> Recording:
    """A run of a store, as it stands now; its children can be looked up there.

    Raises:
        UnknownRun: There is no such run.
        UnknownName: Its workflow is not imported here.
    """

    def child(identity: str) -> Sequence[Event]:
        return handle.client.store.journal(RunKey(handle.key.namespace, identity))

    return Recording(run=handle.id, spec=handle.spec(), journal=handle.journal(), child=child)


def _read(path: Path) -> Recording:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            head, journal = read_run(lines)
    except OSError as error:
        raise InvalidRequest("runs", f"{path} cannot be read: {error.strerror}", "give handles, exported files, or folders") from None
    return Recording(run=head["id"], spec=spec_for(head["workflow"], head["version"]), journal=journal)


def _again(
    recording: Recording,
    plan: Plan,
    workflow: WorkflowSpec | None,
    input: Mapping[str, Any] | Call[Any] | Callable[..., Call[Any]] | None,
    client: Client,
) -> Row:
    call = None if input is None else another_input(workflow or recording.spec, recording, input)
    spec = workflow or (call.spec if call is not None else recording.spec)
    found = Replica(attrs.evolve(recording, spec=spec), plan, call).run()
    _keep(recording.run, spec, found, client)
    return _row(recording, found)


def _row(recording: Recording, found: Outcome) -> Row:
    differences = compare(recording.journal, found.journal).differences
    changes = [
        Change(
            command=event.command,
            name=event.name,
            then=None if pair.a is None else said_in(pair.a.payload),
            now=None if pair.b is None else said_in(pair.b.payload),
        )
        for pair in differences
        if pair.verdict != "moved" and (event := pair.a or pair.b) is not None and event.kind not in CLOSING | {STARTED}
    ]
    return Row(
        run=recording.run,
        workflow=recording.journal[0].name,
        then=_ending(recording.journal),
        now=_ending(found.journal, found.status),
        changes=tuple(changes),
        notes=found.notes,
    )


def _ending(journal: Sequence[Event], status: str = "") -> Ending:
    last = journal[-1]
    closed = last.kind in CLOSING
    kind = "terminated" if last.name == "terminated" and closed else last.kind if closed else "waiting"
    value = said_in(last.payload) if closed else None
    return Ending(status=status or kind, value=value, spent=spent_in_all(journal), events=len(journal))


def _keep(run: str, spec: WorkflowSpec, found: Outcome, client: Client) -> None:
    """Put a new journal where handles find it."""
    status = found.status if found.status in CLOSED else "pending"
    made = NewRun(
        key=RunKey(client.namespace, run),
        workflow=spec.name,
        version=spec.version,
        events=found.journal,
        status=status,
        result=found.journal[-1].payload if status in CLOSED else b"",
        state=found.state,
        tags=found.tags,
    )
    client.create([made], [spec])


def _told(ending: Ending) -> Any:
    """What counts of a value: of a failure its type and message, not its traceback."""
    value = ending.value
    return {key: value.get(key) for key in ("type", "message")} if ending.status == "failed" and isinstance(value, dict) else value


def _short(value: Any) -> str:
    if isinstance(value, dict) and "message" in value and "type" in value:
        value = value["message"]
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


__all__ = ["Change", "Ending", "Recording", "Row", "WhatIf", "recording_of", "whatif"]
