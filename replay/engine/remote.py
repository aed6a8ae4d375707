"""A step sent to another queue is a run of kind step: a workflow of one command.

One entity, one set of rules: it is claimed, leased, retried and answered like any other run, and its result is a message to its
parent.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import attrs

from replay.authoring.definitions import StepFunction
from replay.engine.live import STEP_RUN
from replay.model import events
from replay.model.effects import NO_DEFAULT, Call, Effect, Step
from replay.model.options import RunOptions


class StepRun:
    """The workflow of one step; results pass through as the step spells them."""

    def __init__(self, step: StepFunction[..., Any]) -> None:
        self.step = step
        self.name = STEP_RUN + step.name
        self.version = ""
        self.patches: frozenset[str] = frozenset()
        self.answers = {events.CHILD_COMPLETED: (False, step.decode), events.CHILD_FAILED: (True, step.failure)}

    def begin(self, payload: bytes, state: Any = NO_DEFAULT) -> Generator[Effect[Any], Any, Any]:
        """The step, done here."""
        options = attrs.evolve(self.step.defaults, queue=None)
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
