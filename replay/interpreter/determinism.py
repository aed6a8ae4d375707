"""Decide whether a run is still the run that was recorded.

Rule 1: this module compares; it never repairs.
Rule 2: only what is asked for counts: kind, name, and the checksum of the encoded arguments where one was recorded. Worker, path,
attempt, duration and stack may differ, as they do in life.
Rule 3: a report shows both sides.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import GeneratorType
from typing import Any, Final

from replay.errors import NonDeterminismError
from replay.interpreter.fibers import Command, Fiber
from replay.model.effects import Effect
from replay.model.events import Event

SHOWN: Final = 5
"""How many pending commands a report shows."""
_EFFECT_FILE: Final = Effect.__iter__.__code__.co_filename


def agrees(command: Command, event: Event) -> bool:
    """Whether this event can be the answer to this command."""
    effect = command.effect
    if event.kind not in effect.answers or event.name != effect.name:
        return False
    return not event.check or event.check == (effect.check() or event.check)


def mismatch(run: str, event: Event, command: Command | None, pending: Iterable[Command]) -> NonDeterminismError:
    """The report of an event that does not fit."""
    asked, line = "nothing is waited for", ""
    if command is not None:
        asked, line = f"{command.effect} as command {command.id}", line_of(command.fiber)
        if event.name == command.effect.name and event.check not in {0, command.effect.check()}:
            asked += ", with other arguments"
    else:
        waiting = list(pending)
        if waiting:
            asked = "; ".join(f"{other.effect} as command {other.id}" for other in waiting[:SHOWN])
            asked += f"; and {len(waiting) - SHOWN} more" if len(waiting) > SHOWN else ""
            line = line_of(waiting[0].fiber)
    answered = f" as command {event.command}" if event.command else ""
    recorded = f"{event.kind} {event.name}{answered}"
    return NonDeterminismError(run, event.seq, recorded, asked, event.line, line)


def line_of(fiber: Fiber) -> str:
    """``file:line`` of the innermost yield of the author's code, or empty."""
    # A branch of one effect has no code of its own: its combinator's line counts.
    while type(fiber.branch) is not GeneratorType and not isinstance(fiber.branch, Generator):
        if fiber.scope is None:
            return ""
        fiber = fiber.scope.owner
    frame = innermost(fiber.gen)
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def innermost(generator: Generator[Any, Any, Any] | None) -> Any:
    """The frame of the deepest ``yield from`` that is not an effect's own, or None."""
    found = None
    while generator is not None:  # what a generator waits for may be any iterator, which has no frame
        frame = getattr(generator, "gi_frame", None)
        if frame is None or (found is not None and frame.f_code.co_filename == _EFFECT_FILE):
            break
        found = frame
        generator = getattr(generator, "gi_yieldfrom", None)
    return found
