"""How many calls a backend gets at once, and in a minute."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from replay.errors import InvalidRequest
from replay.llm.contract import Ask, Provider, Said, Say

MINUTE: Final = 60.0
"""Seconds."""


class Limited:
    """A provider that is asked no more often than allowed; who must wait waits, in order. Limits count per engine, not across them.

    Args:
        provider: The provider.
        concurrency: Calls under way at most, or None.
        per_minute: Calls that begin in any minute at most, or None.
        minute: Seconds of that minute.

    Raises:
        InvalidRequest: A limit that lets nothing through.
    """

    def __init__(
        self, provider: Provider, *, concurrency: int | None = None, per_minute: int | None = None, minute: float = MINUTE
    ) -> None:
        for name, limit in (("concurrency", concurrency), ("per_minute", per_minute)):
            if limit is not None and limit < 1:
                raise InvalidRequest(name, f"{limit!r} lets nothing through", "give it 1 or more, or leave it out")
        self.provider = provider
        self.concurrency = concurrency
        self.per_minute = per_minute
        self.minute = minute
        self._lines: dict[Any, _Line] = {}

    async def complete(self, ask: Ask, say: Say) -> Said:
        """Wait for one's turn, then ask."""
        async with self._turn():
            return await self.provider.complete(ask, say)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        self._lines = {one: line for one, line in self._lines.items() if not one.is_closed()}
        line = self._lines.setdefault(loop, _Line(self.concurrency))
        async with line.room:
            if self.per_minute is not None:
                async with line.door:  # one at a time, first come first served
                    await self._pause(line.begun, self.per_minute)
                    line.begun.append(loop.time())
            yield

    async def _pause(self, begun: deque[float], most: int) -> None:
        """Wait until fewer than ``most`` have begun within the last minute."""
        now = asyncio.get_running_loop().time()
        while begun and begun[0] <= now - self.minute:
            begun.popleft()
        if len(begun) >= most:
            await asyncio.sleep(begun[0] + self.minute - now)
            begun.popleft()


class _Line:
    """Who waits, on one event loop."""

    def __init__(self, concurrency: int | None) -> None:
        self.room: Any = contextlib.nullcontext() if concurrency is None else asyncio.Semaphore(concurrency)
        self.door = asyncio.Lock()
        self.begun: deque[float] = deque()
