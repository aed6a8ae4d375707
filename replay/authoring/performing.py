"""How an effect that is no function is done: what its performer is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from replay.authoring.step_context import StepInfo
from replay.model.budgets import Limits, Spent


class Purse(Protocol):
    """What an interpreter says of a budget, from journaled facts alone."""

    limits: Limits
    outer: Any

    def used(self, kind: str) -> float:
        """What is spent, or held by children."""


class Scene(Protocol):
    """One attempt, as its performer sees it.

    Attributes:
        info: Run, command, attempt and idempotency key.
        namespace: Whose run it is.
        life: Grows with every worker that takes the run; with the attempt's number it names an attempt that no other has.
        spent: What the attempt has cost so far; journaled when it fails, too.
    """

    info: StepInfo
    namespace: str
    life: int
    spent: Spent

    @property
    def purse(self) -> Purse | None:
        """The innermost budget around it, or None."""

    @property
    def answered(self) -> bool:
        """Whether the journal knows by now what became of the attempt."""

    async def publish(self, topic: str, entries: Iterable[bytes]) -> None:
        """Append to a topic of the store at once, whatever becomes of the attempt."""

    async def read(self, topic: str) -> bytes | None:
        """The first entry of a topic of the store."""


Performer = Callable[[Any, Scene], Awaitable[bytes]]
"""Does an effect: takes it and the scene, and answers what will be journaled. It is cancelled when nobody wants the answer."""
