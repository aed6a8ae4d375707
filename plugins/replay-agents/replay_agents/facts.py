"""What an agent knows while it works, and what it leaves behind: plain data, so that a savepoint can hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from replay import LLMResult
from replay.llm import ToolCall

T = TypeVar("T")
CHARACTERS = 4
"""Characters that are taken for a token, where nobody counts them."""


@attrs.define
class Conversation:
    """What was said so far; hand the same one to several runs of an agent, and it remembers.

    Attributes:
        messages: Oldest first, without the system prompt, which belongs to the agent.
        size: Characters of all of them, as JSON.
    """

    messages: list[dict[str, Any]] = attrs.field(factory=list)
    size: int = 0

    def add(self, message: Mapping[str, Any]) -> None:
        """One more message."""
        self.messages.append(dict(message))
        self.size += len(json.dumps(message, ensure_ascii=False))

    def replace(self, messages: list[dict[str, Any]]) -> None:
        """Other messages in the place of all of them."""
        self.messages, self.size = [], 0
        for message in messages:
            self.add(message)

    @property
    def tokens(self) -> int:
        """About how many tokens it takes."""
        return self.size // CHARACTERS


@attrs.frozen(kw_only=True)
class ToolUse:
    """One call of a tool, and what came of it.

    Attributes:
        agent: Who called.
        call: The call, as the model spelt it.
        answer: What the model was told.
        done: Whether the tool was done and answered; not when it failed, was refused, or does not exist.
        mistake: Whether the model called wrongly: a tool that does not exist, or arguments that do not fit.
        work: What another agent came to, where that was the tool.
    """

    agent: str
    call: ToolCall
    answer: Any
    done: bool = True
    mistake: bool = False
    work: AgentResult[Any] | None = None


@attrs.define
class Progress:
    """How far an agent has come; what stop conditions look at.

    Attributes:
        turns: Replies of models so far.
        tokens: Tokens in and out; guards, memory and agents that were tools included.
        usd: Dollars, of those calls whose price is known.
        unpriced: Calls whose price is not known.
        mistakes: Wrong calls of tools.
        wrong: How many of them were the last ones, in a row.
        anew: How often in a row an answer was asked for anew.
        text: What was said last.
        done: Names of the tools that were done, in order, each time.
    """

    turns: int = 0
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    mistakes: int = 0
    wrong: int = 0
    anew: int = 0
    text: str = ""
    done: list[str] = attrs.field(factory=list)

    def count(self, reply: LLMResult[Any]) -> None:
        """What a reply cost."""
        self.tokens += reply.usage.total
        self.usd += reply.cost or 0.0
        self.unpriced += reply.cost is None

    def note(self, use: ToolUse) -> None:
        """What came of a call of a tool."""
        self.wrong = self.wrong + 1 if use.mistake else 0
        self.mistakes += use.mistake
        if use.done:
            self.done.append(use.call.name)
        if use.work is not None:
            self.tokens += use.work.tokens
            self.usd += use.work.cost or 0.0
            self.unpriced += use.work.cost is None

    @property
    def cost(self) -> float | None:
        """Dollars; None when a call's price is not known."""
        return None if self.unpriced else self.usd


@attrs.frozen(kw_only=True)
class AgentResult(Generic[T]):
    """What an agent came to.

    Attributes:
        output: The answer, as ``response_type`` where there is one, else as text; None when it was stopped before.
        text: What was said last.
        agent: Who said it; another one than was asked after a hand-off.
        stopped: ``answered``, or which condition stopped it.
        turns: Replies of models.
        tokens: Tokens in and out.
        cost: Dollars; None when a call's price is not known.
        mistakes: Wrong calls of tools.
        tools: Names of the tools that were done, in order.
    """

    output: T | None
    text: str
    agent: str
    stopped: str = "answered"
    turns: int = 0
    tokens: int = 0
    cost: float | None = None
    mistakes: int = 0
    tools: list[str] = attrs.field(factory=list)


@attrs.frozen
class Kept:
    """What a savepoint of an agent holds.

    Attributes:
        agent: Whose turn it is.
        messages: The conversation.
        progress: How far it has come.
    """

    agent: str
    messages: list[dict[str, Any]]
    progress: Progress
