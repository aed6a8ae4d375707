"""A provider that answers from a list, offline: for tests, examples and demonstrations."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from replay.errors import ProviderFailed
from replay.llm.contract import Ask, Said, Say
from replay.model.codec import to_json
from replay.model.llm import ToolCall, Usage

Line = str | Said | ToolCall | Exception | Callable[[Ask], Any]
"""An answer: a text, a call of a tool, all of it as ``Said``, an error to raise, or a function of the call that makes one of these."""


class Scripted:
    """Answers from a list, one answer a call, or as a function of the call says.

    Usage is made up: a token for each four characters. Text is told in words when it is streamed.

    Args:
        script: Answers in order, or one function for all calls.
        pause: Seconds before each word that is streamed, or before an answer that is not.

    Attributes:
        asked: The calls so far, oldest first.
    """

    def __init__(self, script: Iterable[Line] | Callable[[Ask], Any], *, pause: float = 0.0) -> None:
        self._all = script if callable(script) else None
        self._script: deque[Line] = deque() if callable(script) else deque(script)
        self._length = len(self._script)
        self._pause = pause
        self.asked: list[Ask] = []

    async def complete(self, ask: Ask, say: Say) -> Said:
        """The next answer.

        Raises:
            ProviderFailed: The list has been used up.
            Exception: The one that stands in the list.
        """
        self.asked.append(ask)
        said = self._said(self._next(ask), ask)
        for piece in _pieces(said.text) if ask.stream else [""]:
            await asyncio.sleep(self._pause)
            if piece:
                say(piece)
        return said

    def _next(self, ask: Ask) -> Any:
        if self._all is not None:
            return self._all(ask)
        if not self._script:
            raise ProviderFailed("scripted", ask.model, f"the list of {self._length} answers has been used up")
        line = self._script.popleft()
        return line(ask) if callable(line) else line

    def _said(self, line: Any, ask: Ask) -> Said:
        if isinstance(line, BaseException):
            raise line
        if isinstance(line, Said):
            said = line
        elif isinstance(line, ToolCall):
            said = Said(tool_calls=(line,), finish="tool_calls")
        else:
            said = Said(text=line if isinstance(line, str) else to_json(line).decode())
        asked = sum(len(to_json(message)) for message in ask.messages)
        usage = said.usage or Usage(-(-asked // 4), -(-len(said.text) // 4))
        return attrs.evolve(said, usage=usage, model=said.model or ask.model)


def _pieces(text: str) -> list[str]:
    """A text in words, each with the space before it."""
    first, *rest = text.split(" ")
    return [first, *[f" {word}" for word in rest]]
