"""Patterns made of effects only: nothing here that a user could not write.

``saga`` collects compensations and runs them in reverse when its body fails; ``poll`` repeats a step until its answer pleases.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, TypeVar

import attrs

from replay.authoring.effects import now, shield, sleep, timeout
from replay.errors import Cancelled, TimedOut, WorkflowError
from replay.model.effects import Branch, Effect
from replay.model.failure import type_of

T = TypeVar("T")


@attrs.define
class CompensationFailed(WorkflowError):
    """A saga's body failed, and so did some of its compensations: a person must look.

    Attributes:
        cause: What made the saga undo its work.
        failures: What each failed compensation raised, in the order in which they ran.
    """

    cause: str
    failures: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.failures)} compensation(s) failed after {self.cause}: {'; '.join(self.failures)}"


@attrs.define
class Saga:
    """Collects what undoes the work done so far."""

    _undo: list[Callable[[], Branch[Any]]] = attrs.field(factory=list)

    def compensate(self, undo: Branch[Any] | Callable[[], Branch[Any]]) -> None:
        """Remember how to undo what was just done; the last remembered is undone first.

        Args:
            undo: An effect, or a function that makes an effect or a generator of effects when it is needed.
        """
        self._undo.append(undo if callable(undo) else lambda: undo)

    def unwind(self) -> Generator[Effect[Any], Any, list[str]]:
        """Undo everything, last first; what could not be undone, as text."""
        failures: list[str] = []
        while self._undo:
            undo = self._undo.pop()
            try:
                yield from shield(undo())
            except Exception as error:  # noqa: BLE001 - border: one failed compensation must not stop the others
                failures.append(f"{type_of(error)}: {error}")
        return failures


def saga(body: Callable[[Saga], Generator[Effect[Any], Any, T]]) -> Generator[Effect[Any], Any, T]:
    """Run a body; when it fails or is cancelled, undo what it did, in reverse, and raise what it raised.

    Compensations are shielded: cancelling again does not cut them short.

    Args:
        body: A generator function that is given the saga and calls ``saga.compensate`` after each thing done.

    Raises:
        CompensationFailed: The body failed and something could not be undone.
    """
    collected = Saga()
    try:
        return (yield from body(collected))
    except (Exception, Cancelled) as error:
        failures = yield from collected.unwind()
        if failures:
            raise CompensationFailed(f"{type_of(error)}: {error}", tuple(failures)) from error
        raise


def poll(
    ask: Callable[[], Branch[T]],
    until: Callable[[T], bool],
    *,
    every: float = 1.0,
    factor: float = 1.5,
    max_every: float = 60.0,
    deadline: float | None = None,
) -> Generator[Effect[Any], Any, T]:
    """Repeat a step until its answer pleases.

    Args:
        ask: Makes the step's call, each time anew.
        until: Whether the answer pleases; must be pure.
        every: Seconds before the second call.
        factor: By which each further pause grows.
        max_every: The longest pause, in seconds.
        deadline: Seconds after which to give up, a call that is under way included, or None.

    Raises:
        TimedOut: No answer pleased in time.
    """
    began = yield from now()
    pause = every
    while True:
        branch = ask()
        answer: T = yield from (branch if deadline is None else _in_time(branch, began, deadline))
        if until(answer):
            return answer
        here = yield from now()
        if deadline is not None and (here - began).total_seconds() + pause > deadline:
            raise TimedOut("poll", deadline)
        yield from sleep(pause)
        pause = min(max_every, pause * factor)


def _in_time(branch: Branch[T], began: datetime, deadline: float) -> Generator[Effect[Any], Any, T]:
    """A call of ``poll``, which may take what is left of its time."""
    here = yield from now()
    try:
        return (yield from timeout(branch, max(0.0, deadline - (here - began).total_seconds())))
    except TimedOut:
        here = yield from now()
        if (here - began).total_seconds() < deadline:  # the step's own limit
            raise
        raise TimedOut("poll", deadline) from None
