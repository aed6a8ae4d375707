"""What a provider of language models is: one coroutine function.

Rule 1: a provider asks once. Retries, fall-backs, repairs, budgets, prices and the journal are none of its business.
Rule 2: what fails is ``ProviderBusy`` when the same call may succeed later, else ``ProviderFailed``; both without any key in them.
Rule 3: cancelling the coroutine stops the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from replay.model.llm import ToolCall, Usage

Say = Callable[[str], None]
"""Told of each piece of text as it comes."""


@attrs.frozen(kw_only=True)
class Ask:
    """One call, as a provider gets it.

    Attributes:
        model: The model's name, without the provider's.
        messages: The conversation; the call's own copy.
        tools: Descriptions of tools.
        tool_choice: Which of them it may or must use.
        schema: The JSON schema that the reply must fit, or None.
        settings: Temperature and the rest.
        stream: Whether ``say`` is to be told of the text as it comes.
        key: The same over retries and crashes, for providers that know idempotency keys.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = None
    schema: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    stream: bool = False
    key: str = ""


@attrs.frozen(kw_only=True)
class Said:
    """What a provider's model said.

    Attributes:
        text: The text.
        tool_calls: What it wants done.
        usage: Tokens; None when the provider does not tell.
        model: The model, as the provider names it.
        finish: Why it stopped.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    model: str = ""
    finish: str = "stop"


class Provider(Protocol):
    """Where models are asked."""

    async def complete(self, ask: Ask, say: Say) -> Said:
        """Ask once.

        Raises:
            ProviderBusy: It may be asked again later.
            ProviderFailed: It refuses.
        """


DEFAULT: Final = "openai"
"""The provider of models that name none."""
PROVIDED: Final[dict[str, Provider]] = {}
"""What ``provide`` was given, by name."""


def provide(name: str, provider: Provider) -> None:
    """Make a provider known to every engine of this process, such as ``provide("local", OpenAI(base_url=…))``.

    Written beside the workflows that need it, it is there wherever they are imported; a later one of the name takes its place.
    """
    PROVIDED[name] = provider
