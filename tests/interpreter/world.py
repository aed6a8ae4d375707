"""The world as a test plays it: it answers what one run asks for, and keeps the journal.

Rule 1: an event is made from the command that it answers, as an engine makes it: kind, name, checksum, clock.
Rule 2: what is fed is kept, so that every test can ask whether a fresh interpreter, fed the same, stands at the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

from replay import Effect, Workflow, step
from replay.interpreter import Interpreter
from replay.interpreter.fibers import Command
from replay.interpreter.issue import child_id, savepoint_payload
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Call, Savepoint, Step, WorkflowSpec
from replay.model.events import Event
from replay.model.failure import Failure
from replay.model.journal import Started

START: Final = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, in microseconds."""
SECOND: Final = 1_000_000
F = TypeVar("F", bound=Callable[..., Any])
OPEN: Final[list[Interpreter]] = []
"""Interpreters of the running test; they are closed at its end, as an engine closes those that it evicts."""


def fresh(spec: WorkflowSpec, run: str = "run") -> Interpreter:
    """An interpreter that was told nothing."""
    machine = Interpreter(spec, run)
    OPEN.append(machine)
    return machine


def close_all() -> None:
    """Evict what a test has opened."""
    while OPEN:
        OPEN.pop().close()


def unlisted(fn: F) -> F:
    """Keep a test's function out of the registry of names, which all tests of a process share."""
    fn.__qualname__ = f"<locals>.{fn.__name__}"
    return fn


class World:
    """One run, and what the world told it."""

    def __init__(self, call: Call[Any], *, run: str = "run", **started: Any) -> None:
        self.call = call
        self.spec = call.spec
        self.run = run
        self.machine = fresh(self.spec, run)
        self.journal: list[Event] = []
        self.clock = START
        begin = Started(workflow=call.name, input=call.payload, **{"seed": run, **started})
        self.feed(events.STARTED, name=call.name, payload=begin.encode())

    # ---- what the world tells ----

    def feed(self, kind: str, command: str = "", name: str = "", payload: bytes = b"", check: int = 0) -> Self:
        """Feed an event made by hand."""
        event = Event(len(self.journal) + 1, kind, command, name, self.clock, payload, check)
        self.machine.outputs = []
        self.machine.issued = []
        self.machine.withdrawn = []
        self.machine.feed(event)
        self.journal.append(event)
        return self

    def command(self, identity: str) -> Command:
        """A pending command."""
        return self.machine.pending[identity]

    def answer(self, command: str, value: Any = None) -> Self:
        """The answer of a step or a child; a timer fires; a savepoint is written."""
        pending = self.command(command)
        effect = pending.effect
        if isinstance(effect, Step):
            payload, kind = effect.spec.encode_result(value), events.STEP_COMPLETED
        elif isinstance(effect, Call):
            payload, kind = effect.spec.encode_result(value), events.CHILD_COMPLETED
        elif isinstance(effect, Savepoint):
            payload, kind = savepoint_payload(self.machine, pending.fiber, effect), events.SAVEPOINT
        else:
            return self.fire(command)
        return self.feed(kind, command, effect.name, payload, effect.check())

    def fail(self, command: str, error: str = "Boom", message: str = "", *, args: list[Any] | None = None) -> Self:
        """A step's or child's failure."""
        effect = self.command(command).effect
        if isinstance(effect, Call):
            kind = events.CHILD_FAILED
            args = [child_id(self.machine, command, effect), "failed"] if args is None else args
        else:
            kind = events.STEP_FAILED
        payload = Failure(type=error, message=message, args=args).encode()
        return self.feed(kind, command, effect.name, payload, effect.check())

    def attempt(self, command: str) -> Self:
        """One attempt of a step has failed; others will follow."""
        effect = self.command(command).effect
        payload = Failure(type="Boom", message="try again").encode()
        return self.feed(events.STEP_ATTEMPT_FAILED, command, effect.name, payload, effect.check())

    def fire(self, command: str) -> Self:
        """Its timer is due."""
        pending = self.command(command)
        assert pending.due is not None
        self.clock = max(self.clock, pending.due)
        return self.feed(events.TIMER_FIRED, command, pending.effect.name)

    def signal(self, name: str, value: Any = None) -> Self:
        """A message comes."""
        return self.feed(events.SIGNAL_RECEIVED, name=name, payload=to_json(value))

    def update(self, name: str, value: Any = None, *, message: str = "m") -> Self:
        """An update comes."""
        return self.feed(events.UPDATE_RECEIVED, name=name, payload=to_json({"id": message, "value": value}))

    def cancel(self, reason: str = "enough") -> Self:
        """Somebody cancels the run."""
        return self.feed(events.CANCEL_REQUESTED, name="cancel", payload=to_json({"reason": reason}))

    def close(self) -> Self:
        """The closing event that the run has come to."""
        outcome = self.machine.outcome
        assert outcome is not None
        return self.feed(outcome.kind, name=self.call.name, payload=outcome.payload)

    def later(self, seconds: float) -> Self:
        """Time passes; the next event will show it."""
        self.clock += round(seconds * SECOND)
        return self

    # ---- what the run asks and says ----

    @property
    def pending(self) -> list[str]:
        """What it waits for, such as ``1/0/0 step double(2)``, in order of issue."""
        return [f"{command.id} {command.effect}" for command in self.machine.pending.values()]

    @property
    def ids(self) -> list[str]:
        """The ids of what it waits for."""
        return list(self.machine.pending)

    @property
    def withdrawn(self) -> list[str]:
        """Ids of the commands that the last event withdrew, in order."""
        return [command.id for command in self.machine.withdrawn]

    @property
    def said(self) -> list[tuple[str, str, str, str, Any]]:
        """What the last event made it say: id, kind, target, label, value."""
        return [
            (identity, output.name, output.target, output.label, from_json(output.payload) if output.payload else None)
            for identity, output in self.machine.outputs
        ]

    @property
    def ending(self) -> str:
        """Kind of its closing event, or empty while it is open."""
        return "" if self.machine.outcome is None else self.machine.outcome.kind

    @property
    def result(self) -> Any:
        """What it returned."""
        outcome = self.machine.outcome
        assert outcome is not None, f"still waits for {self.pending}"
        assert outcome.kind == events.COMPLETED, self.machine.error or outcome
        return self.spec.decode(outcome.payload)

    @property
    def error(self) -> BaseException | None:
        """What it raised."""
        return self.machine.error

    @property
    def failure(self) -> Failure:
        """How it failed, as recorded."""
        outcome = self.machine.outcome
        assert outcome is not None
        assert outcome.kind == events.FAILED
        return Failure.decode(outcome.payload)

    # ---- the same again ----

    def again(self) -> Interpreter:
        """A fresh interpreter, fed the same journal."""
        machine = fresh(self.spec, self.run)
        machine.feed_all(self.journal)
        return machine


def standing(machine: Interpreter) -> dict[str, Any]:
    """Where a run stands: all that an engine would act on, and all that decides how it goes on."""
    outcome = machine.outcome
    return {
        "pending": [
            (command.id, str(command.effect), command.effect.check(), command.due, command.attempts, command.cancelled)
            for command in machine.pending.values()
        ],
        "outcome": None if outcome is None else (outcome.kind, _told(outcome.payload)),
        "unread": machine.unread(),
        "clock": machine.clock,
        "seq": machine.seq,
        "patches": machine.patches,
        "next": (machine.root.commands, machine.root.outs, machine.updated),
    }


def _told(payload: bytes) -> Any:
    """An outcome without what is only for people."""
    data = from_json(payload)
    if isinstance(data, dict):
        data.pop("traceback", None)
    return data


def drain(machine: Interpreter) -> list[tuple[str, str, str, str, bytes]]:
    """Take what a run has said."""
    said = [(identity, o.name, o.target, o.label, o.payload) for identity, o in machine.outputs]
    machine.outputs = []
    return said


# ---- steps that many tests use -----------------------------------------------------------------------------------------------


@step
@unlisted
def double(n: int) -> int:
    """Answer twice the number."""
    return 2 * n


@step
@unlisted
def echo(value: Any) -> Any:
    """Answer what was asked."""
    return value


@step
@unlisted
def undo(what: str) -> None:
    """Take something back."""


@step(on_cancel="wait")
@unlisted
def careful(n: int) -> int:
    """A step whose end is awaited, even when nobody wants it any more."""
    return n


def doubled(n: int) -> Workflow[int]:
    """A helper generator: two steps in sequence."""
    once = yield from double(n)
    return (yield from double(once))


def cleaning(branch: Effect[Any], what: str) -> Workflow[Any]:
    """A branch that takes back what it did, however it ends."""
    try:
        return (yield from branch)
    finally:
        yield from undo(what)


__all__ = [
    "OPEN",
    "SECOND",
    "START",
    "World",
    "careful",
    "cleaning",
    "close_all",
    "double",
    "doubled",
    "drain",
    "echo",
    "fresh",
    "standing",
    "undo",
    "unlisted",
]
