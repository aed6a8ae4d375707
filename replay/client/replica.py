"""One recorded run, driven again: the recorded world tells what it told, as far as the code still asks for it.

Rule 1: the interpreter is pure, so no engine is needed to answer it; only what is really done again is done by one, as a run of that
one effect, with all that belongs to it (retries, time limits, coroutines, providers).
Rule 2: an event that answers a command is offered at its place in the record; one that comes before its command was asked for waits.
A command whose answer does not lie ahead is answered at once, or, if it is a wait, by its timer.
Rule 3: what nothing can answer stays open and is noted.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

import attrs

from replay.authoring.llm import asked_otherwise
from replay.client.embedded import Engine
from replay.client.travel import edited, spelt_for, taken_again
from replay.engine.family import new_run
from replay.engine.live import ANSWER_BUDGET
from replay.errors import InvalidRequest, ReplayError, UnknownName, WorkflowError, describe
from replay.interpreter.determinism import agrees
from replay.interpreter.fibers import Command
from replay.interpreter.interpreter import TERMINATED, Interpreter
from replay.interpreter.issue import child_id
from replay.llm.calling import Models
from replay.model import events
from replay.model.asks import ANSWER
from replay.model.codec import from_json, to_json
from replay.model.comparison import said_in
from replay.model.effects import Call, Effect, Savepoint, Signal, Sleep, Step, WorkflowSpec
from replay.model.events import CLOSING, Event
from replay.model.failure import Failure
from replay.model.journal import Started
from replay.model.llm import LLMCall
from replay.store.contract import RunKey
from replay.store.memory import MemoryStore

ROOM: Final = 10_000
"""Events by which a run may grow beyond its record; code that goes on for ever is stopped there."""
PATIENCE: Final = 3_600.0
"""Seconds that one live effect may take."""
_FINAL: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED, events.CHILD_COMPLETED, events.CHILD_FAILED, events.SAVEPOINT})
_ABOUT_ATTEMPTS: Final = frozenset({events.STEP_ATTEMPT_FAILED, events.STEP_INTENT})


@attrs.frozen(kw_only=True)
class Recording:
    """A recorded run.

    Attributes:
        run: Its id.
        spec: Its workflow's code.
        journal: Its events.
        child: Journals of other runs by id, for children that are run again.
    """

    run: str
    spec: WorkflowSpec
    journal: Sequence[Event]
    child: Callable[[str], Sequence[Event]] = lambda _: ()


@attrs.frozen(kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        status: How it ended, or ``waiting``, ``stopped`` or ``stuck``.
        journal: The new journal.
        notes: What could not be given, what nobody took, what the code could not take.
        state: What it shows.
        tags: Words to find it by.
    """

    status: str
    journal: Sequence[Event]
    notes: tuple[str, ...]
    state: Mapping[str, bytes]
    tags: Mapping[str, str]


@attrs.define
class Plan:
    """What is to be otherwise.

    Attributes:
        edit: New answers, by event number or name.
        stub: Answers instead of steps and children, by name.
        live: Names of what is done again.
        llm: How calls of language models are changed before they are done again, or None to leave them as they are.
        models: Who does them; None for the providers of this process.
    """

    edit: Mapping[Any, Any]
    stub: Mapping[str, Any]
    live: frozenset[str]
    llm: Mapping[str, Any] | Callable[[Any], Effect[Any]] | None = None
    models: Models | None = None
    _met: set[str] = attrs.field(factory=set)
    _used: set[int | str] = attrs.field(factory=set)
    _engine: Engine | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        both = sorted(self.live & self.stub.keys() | self.edit.keys() & (self.live | self.stub.keys()), key=str)
        if both:
            raise InvalidRequest("whatif", f"{both[0]!r} is given two meanings", "edit, stub or live: choose one for each name")

    @property
    def acts(self) -> bool:
        """Whether anything is asked of the world."""
        return bool(self.live) or self.llm is not None

    def meet(self, name: str) -> None:
        """A name that occurs."""
        self._met.add(name)

    def require_met(self) -> None:
        """Every name that was given must have occurred somewhere, or it is a slip of the pen.

        Raises:
            UnknownName: One did not.
        """
        for what, names in (("edit", self.edit), ("stub", self.stub), ("live", self.live)):
            for name in names:
                known = self._used if isinstance(name, int) else self._met
                if name not in known:
                    raise UnknownName(
                        f"answer to {what}" if what == "edit" else f"effect for {what}=", str(name), tuple(sorted(self._met))
                    )

    def new_answer(self, event: Event) -> tuple[bool, Any]:
        """Whether an event is edited, and to what."""
        self.meet(event.name)
        key = event.seq if event.seq in self.edit else event.name
        if key not in self.edit:
            return False, None
        self._used.add(key)
        answer = self.edit[key]
        return True, answer(_recorded_answer(event)) if callable(answer) else answer

    def replaces(self, effect: Effect[Any]) -> bool:
        """Whether an effect is answered by a stub, or done again."""
        self.meet(effect.name)
        return effect.name in self.stub or effect.name in self.live or (self.llm is not None and _asks_a_model(effect))

    def close(self) -> None:
        """Let go of what did live effects."""
        if self._engine is not None:
            self._engine.close()

    # ---- answers --------------------------------------------------------------------------------------------------------

    def stubbed(self, effect: Step[Any] | Call[Any]) -> Event:
        """The answer of a stub, as an event that answers nothing yet.

        Raises:
            PayloadError: It is not of the effect's type.
        """
        answer = self.stub[effect.name]
        good, bad = (
            (events.STEP_COMPLETED, events.STEP_FAILED) if isinstance(effect, Step) else (events.CHILD_COMPLETED, events.CHILD_FAILED)
        )
        try:
            if callable(answer) and not isinstance(answer, type):
                args, kwargs = arguments_of(effect)
                answer = answer(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - border: a stub raises what the step would raise
            answer = error
        if isinstance(answer, BaseException):
            return Event(0, bad, "", effect.name, 0, Failure.of(answer).encode(), attempt=1)
        return Event(0, good, "", effect.name, 0, spelt_for(effect, answer), attempt=1)

    def perform(self, effect: Step[Any]) -> Event:
        """Really do a step, by an engine of its own; its closing answer."""
        if self.llm is not None and _asks_a_model(effect):
            changed = self.llm(effect) if callable(self.llm) else asked_otherwise(effect, **self.llm)
            if not isinstance(changed, Step):
                raise InvalidRequest("llm", f"it made {describe(changed)} of a call", "return a call of a language model, or of a step")
            effect = changed
        with self._lock:
            if self._engine is None:
                self._engine = Engine(MemoryStore(), grace=0.1, models=self.models)
            engine = self._engine
        key = RunKey(engine.namespace, engine.fresh_id())
        spec = _Single(effect, key.id)
        begin = Started(workflow=spec.name, patches=())
        engine.create([new_run(key, begin, at=engine.store.now())], [cast("WorkflowSpec", spec)])
        engine.ending(key).result(PATIENCE)
        return next(event for event in reversed(engine.store.journal(key)) if event.kind in _FINAL)


class _Single:
    """A workflow of one effect."""

    version = ""
    patches: frozenset[str] = frozenset()
    answers: Mapping[str, Any] = {}

    def __init__(self, effect: Step[Any], run: str) -> None:
        self.name = f"whatif:{run}"
        self.effect = effect.options(queue="default")

    def begin(self, payload: bytes, state: Any = None) -> Any:
        """Ask for it; what it raises is for the run that wanted it."""
        del payload, state
        try:
            yield self.effect
        except Exception:  # noqa: BLE001, S110 - border: its journal holds the failure
            pass

    def encode_result(self, value: Any) -> bytes:
        """The answer is read from the journal."""
        del value
        return b"null"

    def decode(self, payload: bytes) -> Any:
        """See ``encode_result``."""
        return from_json(payload)


def _asks_a_model(effect: Effect[Any]) -> TypeGuard[LLMCall[Any]]:
    return isinstance(effect, LLMCall)


def _recorded_answer(event: Event) -> Any:
    said = said_in(event.payload)
    if event.kind == events.UPDATE_RECEIVED and isinstance(said, dict):
        said = said.get("value")
        return said.get("value") if event.name == ANSWER and isinstance(said, dict) else said
    return said


def arguments_of(effect: Step[Any] | Call[Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments of a call; of what is no function's call, the effect itself."""
    codec = getattr(effect.spec, "arguments", None)
    return ((effect,), {}) if codec is None else codec.decode(effect.payload)


def another_input(spec: WorkflowSpec, recording: Recording, given: Any) -> Call[Any]:
    """A call with another input.

    Raises:
        InvalidRequest: There is no such argument, or a function made no call.
        PayloadError: An argument does not fit.
    """
    if isinstance(given, Call):
        return given
    codec = getattr(spec, "arguments", None)
    if codec is None:
        raise InvalidRequest("input", f"{spec.name} takes none", "leave it out")
    args, kwargs = codec.decode(Started.decode(recording.journal[0], recording.run).input)
    if not isinstance(given, Mapping):
        made = given(*args, **kwargs)
        if not isinstance(made, Call):
            raise InvalidRequest("input", f"the function made {describe(made)}", "return a call of the workflow: order(cart)")
        return made
    signature: inspect.Signature = codec.signature
    unknown = [name for name in given if name not in signature.parameters]
    if unknown:
        known = ", ".join(signature.parameters) or "none"
        raise InvalidRequest("input", f"{spec.name} has no argument {unknown[0]!r}", f"its arguments are {known}")
    bound = signature.bind(*args, **kwargs)
    bound.arguments.update(given)
    return spec.call(bound.args, bound.kwargs)


class Replica:
    """A recorded run, driven again."""

    def __init__(self, recording: Recording, plan: Plan, call: Call[Any] | None = None) -> None:
        self.recording = recording
        self.plan = plan
        self.call = call
        self.machine = Interpreter(recording.spec, recording.run)
        self.journal: list[Event] = []
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}
        self.state: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        # what lies ahead in the record, by command, and what came before its command was asked for
        self.ahead: dict[str, Event] = {event.command: event for event in recording.journal if event.command and self._settles(event)}
        self.early: dict[str, list[Event]] = {}
        for name in {event.name for event in self.ahead.values()}:
            plan.meet(name)
        self.room = len(recording.journal) + ROOM

    @staticmethod
    def _settles(event: Event) -> bool:
        return event.kind in _FINAL or event.kind == events.TIMER_FIRED

    def run(self) -> Outcome:
        """Drive it as far as it can be driven."""
        recorded = self.recording.journal
        first = recorded[0]
        begin = self._begin(first)
        self.tags = dict(begin.tags)
        status = ""
        started = first._replace(name=begin.workflow, payload=begin.encode())
        try:
            self._feed(started)
            for event in recorded[1:]:
                self._catch_up(event.at)
                if self.machine.outcome is not None:
                    break
                self._offer(event)
            self._catch_up(None)
            self._close(recorded[-1])
        except _Stopped as stopped:
            self.notes.append(str(stopped))
            status = "stopped"
        except _Stuck as stuck:
            self.notes.append(f"{type(stuck.cause).__name__}: {stuck.cause}")
            status = "stuck"
        self.journal = self.journal or [started]  # an input that today's code cannot take
        last = self.journal[-1]
        if last.kind in CLOSING:
            status = TERMINATED if last.name == TERMINATED else last.kind
        elif not status:
            status = "stopped" if self.missing else "waiting"
            self.notes += self.missing.values()
        self.machine.close()
        return Outcome(
            status=status,
            journal=self.journal,
            notes=tuple(self.notes),
            state=self.state,
            tags={k: v for k, v in self.tags.items() if v},
        )

    def _begin(self, first: Event) -> Started:
        """What it is begun with: as recorded, but for other code and another input."""
        spec, run = self.recording.spec, self.recording.run
        begin = Started.decode(first, run)
        given = begin.input if self.call is None else self.call.payload
        return attrs.evolve(begin, seed=begin.seed or run, workflow=spec.name, version=spec.version, input=given)

    # ---- feeding --------------------------------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Put an event at the end of the new journal."""
        machine = self.machine
        if len(self.journal) >= self.room:
            raise _Stopped(f"it goes on for more than {ROOM:,} events beyond its record")
        event = event._replace(seq=machine.seq + 1, at=max(event.at, machine.clock))
        try:
            settled = machine.feed(event, ANSWER_BUDGET) or machine.advance(ANSWER_BUDGET)
        except WorkflowError as error:  # today's types cannot take what was recorded
            raise _Stuck(error) from error
        if not settled:
            raise _Stopped("it gives itself answers for ever")
        self.journal.append(event)
        for _, output in machine.outputs:
            if output.name == "set_state":
                self.state[output.target] = output.payload
            elif output.name == "set_tags":
                self.tags.update(from_json(output.payload))
        machine.outputs.clear()

    def _offer(self, event: Event) -> None:
        """An event of the record, at its turn."""
        if event.kind in CLOSING:
            return
        if event.kind == events.CANCEL_REQUESTED:
            self._feed(event)
        elif event.kind in {events.SIGNAL_RECEIVED, events.UPDATE_RECEIVED}:
            self._tell(event)
        elif event.command in self.machine.pending:
            self._answer(self.machine.pending[event.command], event)
        else:
            self.early.setdefault(event.command, []).append(event)
        if self._settles(event):
            self.ahead.pop(event.command, None)

    def _tell(self, event: Event) -> None:
        """A signal or an update, unless nobody takes it."""
        changed, answer = self.plan.new_answer(event)
        if changed:
            event = edited(self.machine, event, answer)
        if event.kind == events.SIGNAL_RECEIVED:
            refused = self.machine.refuses_signal(event.name, event.payload)
        else:
            refused = self.machine.refuses_update(event.name, to_json(from_json(event.payload)["value"]))
        if refused:
            self.notes.append(f"{event} was not taken: {refused}")
        else:
            self._feed(event)

    def _answer(self, command: Command, event: Event) -> None:
        """An answer of the record to a command, or what stands in for it."""
        effect = command.effect
        if isinstance(effect, Savepoint):
            self._feed(taken_again(self.machine, event) if event.kind == events.SAVEPOINT else self._savepoint(command))
        elif isinstance(effect, Step | Call) and self.plan.replaces(effect):
            if self._settles(event):
                self._stand_in(command, effect, event.at)
        elif isinstance(effect, Signal):
            if event.kind == events.TIMER_FIRED and event.name == effect.name:
                self._feed(event)
        elif event.kind in _ABOUT_ATTEMPTS:
            if agrees(command, event._replace(kind=events.STEP_FAILED)):
                self._feed(event)
        elif agrees(command, event):
            changed, answer = self.plan.new_answer(event)
            self._feed(edited(self.machine, event, answer) if changed else event)
        elif isinstance(effect, Sleep):
            pass  # its own timer fires
        else:
            self._miss(command)

    def _savepoint(self, command: Command) -> Event:
        made = Event(0, events.SAVEPOINT, command.id, command.effect.name, self.machine.clock, b"")
        return taken_again(self.machine, made)

    def _stand_in(self, command: Command, effect: Step[Any] | Call[Any], at: int) -> None:
        """A stub's answer, or that of the world."""
        if effect.name in self.plan.stub:
            made = self.plan.stubbed(effect)
        elif isinstance(effect, Step):
            made = self.plan.perform(effect)
        else:
            again = self._child(command, effect)
            if again is None:
                return
            made = again
        self._feed(made._replace(command=command.id, name=effect.name, at=at, check=effect.check(), line="", worker="whatif"))

    def _child(self, command: Command, call: Call[Any]) -> Event | None:
        """A child that is run again, over its own record where there is one."""
        identity = child_id(self.machine, command.id, call)
        begin = Started(
            workflow=call.name, version=call.spec.version, input=call.payload, seed=identity, patches=tuple(sorted(call.spec.patches))
        )
        recorded = list(self.recording.child(identity)) or list(new_run(RunKey("", identity), begin, at=self.machine.clock).events)
        found = Replica(attrs.evolve(self.recording, run=identity, spec=call.spec, journal=recorded), self.plan, call).run()
        last = found.journal[-1]
        if last.kind == events.COMPLETED:
            return last._replace(kind=events.CHILD_COMPLETED)
        if last.kind in CLOSING and last.kind != events.CONTINUED:
            data = from_json(last.payload)
            failure = Failure(
                type=data.get("type", "Cancelled"), message=data.get("message", data.get("reason", "")), args=[identity, found.status]
            )
            return last._replace(kind=events.CHILD_FAILED, payload=failure.encode())
        self.missing[command.id] = f"its child {identity} is {found.status}: {'; '.join(found.notes) or 'it has not ended'}"
        return None

    def _miss(self, command: Command) -> None:
        """Nothing can answer it."""
        effect = command.effect
        line = self.machine.line_of(command)
        where = f" at {line}" if line else ""
        self.missing[command.id] = f"{effect}{where} was not recorded; stub it, or let it be live"

    # ---- what the record does not answer --------------------------------------------------------------------------------

    def _catch_up(self, until: int | None) -> None:
        """Answer what the record will not answer any more, and let timers fire up to a moment; None for all of them."""
        while self.machine.outcome is None:
            if self._answer_fresh():
                continue
            timers = [command for command in self.machine.pending.values() if self._is_free_timer(command)]
            due = min(timers, key=lambda command: command.due or 0, default=None)
            if due is None or due.due is None or (until is not None and due.due > until):
                return
            self._feed(Event(0, events.TIMER_FIRED, due.id, due.effect.name, due.due, b""))

    def _is_free_timer(self, command: Command) -> bool:
        """Whether a timer is no part of the record that is still to come."""
        ahead = self.ahead.get(command.id)
        return command.due is not None and not (
            ahead is not None and ahead.kind == events.TIMER_FIRED and ahead.name == command.effect.name
        )

    def _answer_fresh(self) -> bool:
        """Answer the first command whose answer does not lie ahead; whether there was one."""
        for command in list(self.machine.pending.values()):
            effect = command.effect
            ahead = self.ahead.get(command.id)
            if command.id in self.missing or command.due is not None or isinstance(effect, Signal):
                continue
            if ahead is not None and ahead.name == effect.name:
                continue
            before = len(self.journal)
            if isinstance(effect, Savepoint):
                self._feed(self._savepoint(command))
            elif isinstance(effect, Step | Call) and self.plan.replaces(effect):
                self._stand_in(command, effect, self.machine.clock)
            elif early := self.early.pop(command.id, []):
                for event in early:
                    if command.id in self.machine.pending:
                        self._answer(command, event)
            else:
                self._miss(command)
            if len(self.journal) > before:
                return True
        return False

    def _close(self, last: Event) -> None:
        """The workflow's own end, or the recorded one that came from outside."""
        outcome = self.machine.outcome
        if outcome is not None:
            self._feed(Event(0, outcome.kind, "", self.machine.started.workflow, self.machine.clock, outcome.payload))
        elif last.name == TERMINATED and last.kind == events.FAILED:
            self._feed(last)


class _Stopped(ReplayError):
    """It is driven no further."""


class _Stuck(ReplayError):
    """Today's code cannot take what was recorded."""

    def __init__(self, cause: WorkflowError) -> None:
        super().__init__(cause)
        self.cause = cause


__all__ = ["Outcome", "Plan", "Recording", "Replica", "another_input", "arguments_of"]
