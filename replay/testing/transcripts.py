"""What code asks for and says, event by event: the pure half of a run, written down so that two of them can be compared.

Stack traces are left out: they may differ between two runs of the same code on two machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import attrs

from replay.errors import ReplayError
from replay.interpreter.fibers import Command
from replay.interpreter.interpreter import Interpreter
from replay.model import events
from replay.model.codec import from_json
from replay.model.effects import NO_DEFAULT, Call, Effect, Output, Savepoint, Signal, Step, WorkflowSpec
from replay.model.events import Event
from replay.testing.journals import UNTOLD


@attrs.frozen
class Entry:
    """What one event led to.

    Attributes:
        event: The event, as text.
        asked: Commands that were issued, as text.
        withdrawn: Ids of commands that were withdrawn.
        said: Outputs, as text.
        ended: How the workflow ended, or empty.
        line: ``file:line`` where the first of the pending commands stands.
    """

    event: str
    asked: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    ended: str = ""
    line: str = ""

    def __str__(self) -> str:
        told = [f"asks {text}" for text in self.asked] + [f"withdraws {text}" for text in self.withdrawn]
        told += [f"says {text}" for text in self.said] + ([f"ends {self.ended}"] if self.ended else [])
        place = f"   ({self.line})" if self.line else ""
        return ("; ".join(told) or "asks for nothing new") + place


def transcribe(spec: WorkflowSpec, run: str, journal: Iterable[Event]) -> list[Entry]:
    """Drive a journal through code, and write down what it does; what does not fit is written down as the last entry."""
    interpreter = Interpreter(spec, run)
    entries = follow(interpreter, journal)
    interpreter.close()
    return entries


def follow(interpreter: Interpreter, journal: Iterable[Event]) -> list[Entry]:
    """The same, from where an interpreter stands."""
    entries: list[Entry] = []
    for event in journal:
        try:
            interpreter.feed(event)
        except ReplayError as error:
            entries.append(Entry(str(event), ended=f"in an error: {error}"))
            break
        entries.append(take(interpreter, str(event)))
    return entries


def take(interpreter: Interpreter, event: str) -> Entry:
    """What an interpreter has done since this was last asked."""
    asked = tuple(_asked(interpreter, command) for command in interpreter.issued)
    withdrawn = tuple(command.id for command in interpreter.withdrawn)
    said = tuple(_said(identity, output) for identity, output in interpreter.outputs)
    interpreter.issued, interpreter.withdrawn, interpreter.outputs = [], [], []
    outcome = interpreter.outcome
    first = next(iter(interpreter.pending.values()), None)
    return Entry(
        event,
        asked,
        withdrawn,
        said,
        "" if outcome is None else f"{outcome.kind} {_told(outcome.kind, outcome.payload)}",
        "" if first is None else interpreter.line_of(first),
    )


def _asked(interpreter: Interpreter, command: Command) -> str:
    effect = command.effect
    due = "" if command.due is None else f" due at {command.due}"
    return f"command {command.id}: {_effect(interpreter, effect)}{due}"


def _effect(interpreter: Interpreter, effect: Effect[Any]) -> str:
    if isinstance(effect, Step):
        return f"step {effect.name} {effect.payload.decode()}"
    if isinstance(effect, Call):
        return f"child {effect.name} {effect.payload.decode()} {effect.options_.id}".rstrip()
    if isinstance(effect, Savepoint):
        state = "" if effect.state is NO_DEFAULT else f" with {interpreter.spec.encode_state(effect.state).decode()}"
        return f"savepoint {effect.name} {effect.notes.decode()}{state}"
    if isinstance(effect, Signal):
        return f"signal {effect.name} ({effect.expected})"
    return str(effect)


def _said(identity: str, output: Output) -> str:
    label = f" {output.label!r}" if output.label else ""
    return f"{output.name} {output.target}{label} {output.payload.decode()} as {identity}"


def _told(kind: str, payload: bytes) -> str:
    if kind != events.FAILED:
        return payload.decode()
    return str({key: value for key, value in from_json(payload).items() if key not in UNTOLD})


def first_difference(one: Sequence[Entry], other: Sequence[Entry], names: tuple[str, str]) -> str:
    """Where two transcripts part, both sides, or empty.

    Args:
        one: A transcript.
        other: Another.
        names: What the two sides are called.
    """
    for mine, theirs in zip_longest(one, other):
        if mine is None or theirs is None or attrs.evolve(mine, line="") != attrs.evolve(theirs, line=""):
            event = (mine or theirs).event
            return f"after {event}\n    {names[0]}:  {mine or 'nothing'}\n    {names[1]}:  {theirs or 'nothing'}"
    return ""
