"""A step sent to another queue is a run of kind step: a workflow of one command.

One entity, one set of rules: it is claimed, leased, retried and answered like any other run, and its result is a message to its
parent.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

import attrs

from replay.authoring.definitions import StepFunction
from replay.errors import JournalDamaged, PayloadError
from replay.model import events
from replay.model.effects import NO_DEFAULT, Call, Effect, Step
from replay.model.events import Event
from replay.model.journal import Started
from replay.model.options import RunOptions

STEP_RUN: Final = "step:"
"""What the workflow name of a run of kind step begins with."""
ARITHMETIC: Final = ("max_attempts", "initial", "factor", "max_delay", "jitter")
"""What of a retry policy is sent along; which errors are worth another attempt is for whoever has the code."""
SPANS: Final = ("timeout", "heartbeat")
"""What else is, in seconds."""


def asked_otherwise(step: Step[Any]) -> dict[str, Any]:
    """What a call's options change of how its step is declared, for whoever does it elsewhere."""
    options, declared = step.options_, getattr(step.spec, "defaults", step.options_)
    asked: dict[str, Any] = {}
    if options.retry != declared.retry:
        asked["retry"] = {name: getattr(options.retry, name) for name in ARITHMETIC}
    asked |= {name: getattr(options, name) for name in SPANS if getattr(options, name) != getattr(declared, name)}
    return asked


class StepRun:
    """The workflow of one step; results pass through as the step spells them.

    Args:
        step: The step.
        asked: What its caller changed (``asked_otherwise``).
    """

    def __init__(self, step: StepFunction[..., Any], asked: Mapping[str, Any] | None = None) -> None:
        self.step = step
        self.asked: Mapping[str, Any] = asked or {}
        self.name = STEP_RUN + step.name
        self.version = ""
        self.patches: frozenset[str] = frozenset()
        self.answers = {events.CHILD_COMPLETED: (False, step.decode), events.CHILD_FAILED: (True, step.failure)}

    def asked_by(self, journal: Sequence[Event]) -> StepRun:
        """The same step, done as its caller asked; a journal that cannot be read is for the interpreter to refuse."""
        try:
            return StepRun(self.step, Started.decode(journal[0]).step)
        except (JournalDamaged, PayloadError, IndexError):
            return self

    def begin(self, payload: bytes, state: Any = NO_DEFAULT) -> Generator[Effect[Any], Any, Any]:
        """The step, done here."""
        options = attrs.evolve(self.step.defaults, queue=None)
        retry = {name: value for name, value in self.asked.get("retry", {}).items() if name in ARITHMETIC}
        options = attrs.evolve(options, retry=attrs.evolve(options.retry, **retry))
        options = attrs.evolve(options, **{name: self.asked[name] for name in SPANS if name in self.asked})
        return (yield Step(self.step, payload, options))

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call[Any]:
        """A call of it."""
        return Call(self, self.step.arguments.encode(args, dict(kwargs)), RunOptions())

    def decode(self, payload: bytes) -> Any:
        """The result from its bytes."""
        return self.step.decode(payload)

    def encode_result(self, value: Any) -> bytes:
        """The result's bytes."""
        return self.step.encode_result(value)

    def encode_state(self, value: Any) -> bytes:
        """It has no savepoints."""
        raise NotImplementedError

    def decode_state(self, payload: bytes) -> Any:
        """It has no savepoints."""
        raise NotImplementedError
