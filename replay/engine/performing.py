"""The scene of an attempt that a performer does: what it may know, and its way to the store.

The store's verbs are synchronous, so they run in threads of their own beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from replay.authoring.step_context import StepInfo
from replay.engine.live import Live
from replay.interpreter.budgets import Account
from replay.interpreter.fibers import Command
from replay.model.budgets import NOTHING, Spent
from replay.store.contract import Store


class EngineScene:
    """One attempt, as its performer sees it; see ``Scene``."""

    def __init__(self, store: Store, live: Live, command: Command, info: StepInfo) -> None:
        self.info = info
        self.namespace = live.key.namespace
        self.life = live.lease.fence
        self.spent: Spent = NOTHING
        self._store = store
        self._live = live
        self._command = command

    @property
    def purse(self) -> Account | None:
        """The innermost budget around it, or None."""
        return self._command.fiber.account

    @property
    def answered(self) -> bool:
        """Whether the journal knows by now what became of the attempt."""
        command = self._command
        return self._live.interp.pending.get(command.id) is not command or command.attempts >= self.info.attempt

    async def publish(self, topic: str, entries: Iterable[bytes]) -> None:
        """Append to a topic of the store at once."""
        await asyncio.to_thread(self._store.publish, self.namespace, [(topic, entry) for entry in entries])

    async def read(self, topic: str) -> bytes | None:
        """The first entry of a topic of the store."""
        found = await asyncio.to_thread(self._store.read, self.namespace, topic, limit=1)
        return found[0].payload if found else None
