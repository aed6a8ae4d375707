"""Time travel: drive a journal through code without acting, and make new runs that share a past.

Rule 1: the interpreter is pure, so any past moment can be computed again, as often as one likes.
Rule 2: a fork never touches the run that it comes from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from replay.authoring.definitions import STEPS, WORKFLOWS
from replay.engine.family import digest
from replay.engine.remote import STEP_RUN, StepRun
from replay.errors import InvalidRequest, NonDeterminismError, PayloadError, UnknownName
from replay.interpreter.determinism import innermost
from replay.interpreter.interpreter import Interpreter
from replay.interpreter.issue import savepoint_payload
from replay.model import events
from replay.model.asks import ANSWER
from replay.model.codec import from_json, spell, to_json
from replay.model.effects import Call, Output, Savepoint, Step, WorkflowSpec
from replay.model.events import CLOSING, Event
from replay.model.failure import Failure
from replay.model.journal import Resume, Started
from replay.store.contract import NewRun, RunKey


@attrs.frozen(kw_only=True)
class ReplayReport:
    """What driving a journal through today's code showed.

    Attributes:
        run: The run's id.
        events: How many events were fed.
        seconds: How long that took.
        pending: What the run waits for where its journal ends, as text.
        line: ``file:line`` where it stands, or empty when it has ended.
        outcome: Kind of the closing event that the code arrives at, or empty while it is open.
        difference: The first difference, or None.
    """

    run: str
    events: int
    seconds: float
    pending: tuple[str, ...]
    line: str
    outcome: str
    difference: NonDeterminismError | None = None

    @property
    def fits(self) -> bool:
        """Whether today's code fits the journal."""
        return self.difference is None


@attrs.frozen(kw_only=True)
class SavepointView:
    """A savepoint, for people.

    Attributes:
        name: Its name.
        seq: Number of its event.
        at: When, microseconds UTC.
        notes: Goal, hypotheses, questions, decisions, next step and further fields.
        has_state: Whether the run can be recovered from it.
    """

    name: str
    seq: int
    at: int
    notes: Mapping[str, Any]
    has_state: bool


@attrs.frozen(kw_only=True)
class Moment:
    """A run as it was at one event.

    Attributes:
        seq: The event.
        line: ``file:line`` of the yield where the workflow stood, or empty when it has ended.
        variables: The workflow's local variables.
        pending: What it waited for, as text.
    """

    seq: int
    line: str
    variables: Mapping[str, Any]
    pending: tuple[str, ...]


def spec_for(workflow: str, version: str = "") -> WorkflowSpec:
    """The workflow of that name that has been imported here.

    Raises:
        UnknownName: There is none.
    """
    if workflow.startswith(STEP_RUN) and workflow.removeprefix(STEP_RUN) in STEPS:
        return StepRun(STEPS[workflow.removeprefix(STEP_RUN)])
    if (workflow, version) in WORKFLOWS:
        return WORKFLOWS[workflow, version]
    versions = sorted(other for name, other in WORKFLOWS if name == workflow)
    if not versions:
        raise UnknownName("workflow", workflow, tuple(sorted({name for name, _ in WORKFLOWS})))
    return WORKFLOWS[workflow, "" if "" in versions else versions[-1]]


def drive(spec: WorkflowSpec, run: str, journal: Sequence[Event]) -> Interpreter:
    """An interpreter that has been fed a journal from its beginning.

    Raises:
        NonDeterminismError: Today's code does not fit.
    """
    interpreter = Interpreter(spec, run)
    interpreter.feed_all(journal)
    return interpreter


def replay_journal(spec: WorkflowSpec, run: str, journal: Sequence[Event], *, base: int = 0) -> ReplayReport:
    """Drive a journal through code, and report; nothing is acted on.

    Args:
        spec: The code.
        run: The run's id.
        journal: All its events.
        base: Seq of the savepoint with state to begin at, as recovery would; 0 for the beginning.
    """
    began = time.perf_counter()
    interpreter = Interpreter(spec, run)
    difference = None
    try:
        if base > 1:
            interpreter.recover(journal[0], journal[base - 1])
            interpreter.feed_all(journal[base:])
        else:
            interpreter.feed_all(journal)
    except NonDeterminismError as found:
        difference = found
    outcome = interpreter.outcome
    stands = next(iter(interpreter.pending.values()), None)
    report = ReplayReport(
        run=run,
        events=interpreter.seq,
        seconds=time.perf_counter() - began,
        pending=tuple(str(command.effect) for command in interpreter.pending.values()),
        line="" if stands is None else interpreter.line_of(stands),
        outcome="" if outcome is None else outcome.kind,
        difference=difference,
    )
    interpreter.close()
    return report


def moment_at(spec: WorkflowSpec, run: str, journal: Sequence[Event], at: int) -> Moment:
    """The workflow's variables and line as they were when event number ``at`` had been fed.

    Raises:
        UnknownName: The journal has no such event.
    """
    require_event(journal, at)
    interpreter = drive(spec, run, journal[:at])
    frame = interpreter.root_frame
    here = innermost(interpreter.root.gen)
    shown = Moment(
        seq=at,
        line="" if here is None else f"{here.f_code.co_filename}:{here.f_lineno}",
        variables=dict(frame.f_locals) if frame is not None else {},
        pending=tuple(str(command.effect) for command in interpreter.pending.values()),
    )
    interpreter.close()
    return shown


def require_event(journal: Sequence[Event], at: int) -> None:
    """There must be an event of that number.

    Raises:
        UnknownName: There is none.
    """
    if not 1 <= at <= len(journal):
        raise UnknownName("event", str(at), (f"1 to {len(journal)}",))


def savepoints(journal: Sequence[Event]) -> list[SavepointView]:
    """The savepoints of a journal, oldest first."""
    found = []
    for event in journal:
        if event.kind == events.SAVEPOINT:
            data = from_json(event.payload)
            found.append(SavepointView(name=event.name, seq=event.seq, at=event.at, notes=data["notes"], has_state="state" in data))
    return found


def place(journal: Sequence[Event], at: str | int) -> int:
    """The event that a savepoint's name or a number means.

    Raises:
        UnknownName: There is no such savepoint or event.
    """
    if isinstance(at, int):
        require_event(journal, at)
        return at
    named = [point.seq for point in savepoints(journal) if point.name == at]
    if not named:
        raise UnknownName("savepoint", at, tuple(dict.fromkeys(point.name for point in savepoints(journal))))
    return named[-1]


def fork(
    spec: WorkflowSpec,
    source: RunKey,
    journal: Sequence[Event],
    target: RunKey,
    at: str | int | None,
    edit: Mapping[int, Any],
    call: Call[Any] | None = None,
) -> NewRun:
    """A new run that shares a run's past up to an event, some answers replaced.

    Args:
        spec: The code that the new run goes on with.
        source: The run that it comes from.
        journal: That run's journal, from its beginning.
        target: The new run's name.
        at: Savepoint or event up to which the past is shared; None for the last edited event, or all that is not the end. With
            another input: as far as the code asks for the same.
        edit: New answers, by event number.
        call: Another input, or None for the recorded one.

    Raises:
        UnknownName: There is no such event or savepoint.
        InvalidRequest: An edit that does not fit.
        PayloadError: A new answer is not of the answered effect's type.
        NonDeterminismError: The code does not fit the shared past.
    """
    open_part = len(journal) - sum(1 for event in journal[-1:] if event.kind in CLOSING)
    for number in edit:
        require_event(journal, number)
    until = min(place(journal, at), open_part) if at is not None else max(edit, default=open_part)
    if any(number > until for number in edit):
        raise InvalidRequest("edit", f"it changes events after #{until}, where the fork begins", "fork later, or edit earlier")
    begin = begun(journal[0], source.id, spec, call)
    interpreter = Interpreter(spec, target.id)
    past = _Past(dict(begin.tags))
    changed = 1 if call is not None else min(edit, default=len(journal) + 1)
    for event in journal[:until]:
        shared = event._replace(name=begin.workflow, payload=begin.encode()) if event.seq == 1 else event
        if event.seq in edit:
            shared = edited(interpreter, event, edit[event.seq])
        elif event.kind == events.SAVEPOINT and event.seq > changed:
            shared = taken_again(interpreter, event)
        try:
            interpreter.feed(shared)
        except NonDeterminismError:
            if call is None or at is not None or event.seq <= max(edit, default=1):
                raise
            break  # with another input the code asks for something else from here on: this is where the new run begins
        past.add(shared, interpreter.outputs, is_anew=event.seq >= changed)
        interpreter.outputs = []
    interpreter.close()
    return NewRun(
        key=target,
        workflow=spec.name,
        version=spec.version,
        digest=digest(spec.name, begin.input),
        events=past.journal,
        tags={name: word for name, word in past.tags.items() if word},
        state=past.state,
        base=past.base,
        applied=min(len(past.journal), changed - 1),
        source=f"{source.id}#{len(past.journal)}",
    )


@attrs.define
class _Past:
    """What a fork takes over from the run that it comes from.

    Attributes:
        tags: The labels that its events have led to.
        journal: Its events, as the fork has them.
        state: What they have led to being shown.
        base: The savepoint with state at which recovery may begin.
        is_telling: Whether they lead to outputs that will be given again.
    """

    tags: dict[str, str]
    journal: list[Event] = attrs.field(factory=list)
    state: dict[str, bytes] = attrs.field(factory=dict)
    base: int = 0
    is_telling: bool = False

    def add(self, event: Event, outputs: Sequence[tuple[str, Output]], *, is_anew: bool) -> None:
        """One more event, and what it led to. Recovery must not begin behind outputs that are given anew."""
        self.journal.append(event)
        for _, output in outputs:
            if output.name == "set_state":
                self.state[output.target] = output.payload
            elif output.name == "set_tags":
                self.tags.update(from_json(output.payload))
        self.is_telling = self.is_telling or (is_anew and bool(outputs))
        if event.kind == events.SAVEPOINT and not self.is_telling and Resume.decode(event.payload) is not None:
            self.base = event.seq


def begun(event: Event, run: str, spec: WorkflowSpec, call: Call[Any] | None = None) -> Started:
    """What a run is begun with that shares another one's past: nobody's child, without a deadline, with the other one's chance."""
    begin = Started.decode(event, run)
    begin = attrs.evolve(begin, parent="", parent_command="", deadline=None, seed=begin.seed or run)
    if call is not None:
        begin = attrs.evolve(begin, input=call.payload)
    return attrs.evolve(begin, workflow=spec.name, version=spec.version)


def taken_again(interpreter: Interpreter, event: Event) -> Event:
    """A savepoint behind an edit: its state and notes are those of the edited past, or recovery would undo the edit."""
    command = interpreter.pending.get(event.command)
    if command is None or not isinstance(command.effect, Savepoint):
        return event
    payload = savepoint_payload(interpreter, command.fiber, command.effect)
    return event._replace(payload=payload, check=command.effect.check())


def edited(interpreter: Interpreter, event: Event, answer: Any) -> Event:
    """An event with another answer, spelt as the effect that it answers spells it.

    An exception in the place of a result is a failure, a result in the place of a failure is a success.

    Raises:
        InvalidRequest: The event has no answer that could be replaced, or the workflow refuses the new one.
        PayloadError: The new answer is not of the answered effect's type.
    """
    where = f"new answer of event #{event.seq}"
    if event.kind == events.SIGNAL_RECEIVED:
        declared = getattr(interpreter.spec, "signals", {})
        spelt: bytes = declared[event.name].encode(answer, where) if event.name in declared else spell(answer, where)
        _require(event, interpreter.refuses_signal(event.name, spelt))
        return event._replace(payload=spelt)
    if event.kind == events.UPDATE_RECEIVED:
        return _edited_update(interpreter, event, from_json(spell(answer, where)))
    command = interpreter.pending.get(event.command)
    kinds = _ANSWERS.get(event.kind)
    if command is None or kinds is None or not isinstance(command.effect, Step | Call):
        problem = f"event #{event.seq} is a {event.kind}, which has no answer to replace"
        raise InvalidRequest("edit", problem, "edit answers of steps and children, signals, or updates")
    if isinstance(answer, BaseException):
        return event._replace(kind=kinds[1], payload=Failure.of(answer).encode())
    try:
        return event._replace(kind=kinds[0], payload=spelt_for(command.effect, answer))
    except PayloadError as unfit:
        unfit.where = f"{where}, {unfit.where}"
        raise


def spelt_for(effect: Step[Any] | Call[Any], answer: Any) -> bytes:
    """An answer as an effect's result is spelt; one that is given as JSON is taken as what it stands for.

    Raises:
        PayloadError: It is not of the effect's type.
    """
    try:
        return effect.spec.encode_result(answer)
    except PayloadError as unfit:
        codec = getattr(effect.spec, "result", None)
        try:
            if codec is not None:
                return effect.spec.encode_result(codec.from_raw(answer, "answer"))
        except PayloadError:
            pass
        raise unfit from None


def _edited_update(interpreter: Interpreter, event: Event, answer: Any) -> Event:
    """An update with another argument; of one that answers a question, the answer is what is edited."""
    said = from_json(event.payload)
    argument = {**said["value"], "value": answer} if event.name == ANSWER else answer
    _require(event, interpreter.refuses_update(event.name, to_json(argument)))
    return event._replace(payload=to_json({**said, "value": argument}))


def _require(event: Event, refused: str) -> None:
    if refused:
        raise InvalidRequest("edit", f"the workflow refuses the new answer of {event}: {refused}", "edit it to what it takes")


_ANSWERS: Final[Mapping[str, tuple[str, str]]] = {
    kind: (good, bad)
    for good, bad in ((events.STEP_COMPLETED, events.STEP_FAILED), (events.CHILD_COMPLETED, events.CHILD_FAILED))
    for kind in (good, bad)
}
"""Kinds of answers: that of success and that of failure."""
