"""What to do when a conversation grows too long: its older part is summarised, the newest messages stay as they are.

The summary is one more call of a model, journaled as any other; so the conversation after it is the same in every replay. A call and
the answers of its tools are never parted, for no provider takes one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs

from replay import DefinitionError, Effect, LLMResult, llm_call
from replay_agents.facts import Conversation

PROMPT = (
    "Summarise this conversation for the one who goes on with it: the task, what was found out and where, what was decided and why, "
    "what is still to be done. Keep names, numbers and identifiers exactly."
)
HEADING = "Summary of what was said before:"


@attrs.frozen(kw_only=True)
class Memory:
    """When and how a conversation is made shorter.

    Attributes:
        tokens: How long it may become, in tokens (four characters each) before it is.
        keep: How many of the newest messages stay as they are, or a few less.
        model: Who summarises; None for the agent's own.
        summarise: A function of the older messages that makes an effect or a generator, such as a step's call, and answers with
            the summary; instead of a model.
    """

    tokens: int = 100_000
    keep: int = 12
    model: str | None = None
    summarise: Callable[[list[dict[str, Any]]], Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.tokens < 0 or self.keep < 0:
            raise DefinitionError("memory", f"tokens={self.tokens!r}, keep={self.keep!r}", "let both be 0 or more")

    def is_full(self, conversation: Conversation) -> bool:
        """Whether it is time, and anything is there that can be summarised."""
        return conversation.tokens > self.tokens and self._cut(conversation.messages) > 1

    def compact(
        self, conversation: Conversation, model: Any, tell: Callable[[LLMResult[Any]], None]
    ) -> Generator[Effect[Any], Any, None]:
        """Put a summary in the place of the older messages."""
        cut = self._cut(conversation.messages)
        older, newer = conversation.messages[:cut], conversation.messages[cut:]
        if self.summarise is not None:
            made = self.summarise(older)
            summary = yield from made
        else:
            reply = yield from llm_call(transcript(older), model=self.model or model, system=PROMPT, name="memory")
            tell(reply)
            summary = reply.text
        conversation.replace([{"role": "user", "content": f"{HEADING}\n{summary}"}, *newer])

    def _cut(self, messages: Sequence[dict[str, Any]]) -> int:
        """Where the newer part begins: not with a tool's answer, whose call would be cut off."""
        cut = max(0, len(messages) - self.keep)
        while cut < len(messages) and messages[cut]["role"] == "tool":
            cut += 1
        return cut


def transcript(messages: Sequence[dict[str, Any]]) -> str:
    """Messages as a text that a model can read."""
    lines: list[str] = []
    for message in messages:
        content = message.get("content")
        if content:
            lines.append(f"{message['role']}: {content if isinstance(content, str) else '(not text)'}")
        called = [call["function"] for call in message.get("tool_calls", ())]
        lines += [f"{message['role']} calls {function['name']}({function['arguments']})" for function in called]
    return "\n".join(lines)
