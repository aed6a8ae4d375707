"""Language models: providers, prices, budgets' arithmetic, tokens on their way.

Names load when they are used; what a workflow needs (``llm_call``, ``budget``) stands in ``replay``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from replay.authoring.llm import image, response_of, tool_message, user
    from replay.authoring.tools import Tool, bind, tool_name, tool_schema
    from replay.llm.calling import Models
    from replay.llm.contract import Ask, Provider, Said, Say, provide
    from replay.llm.limiting import Limited
    from replay.llm.openai import OpenAI
    from replay.llm.prices import Prices
    from replay.llm.scripted import Scripted
    from replay.llm.speaking import TOKENS, Saying, tokens
    from replay.model.budgets import Spent
    from replay.model.llm import LLMRequest, LLMResult, Message, ToolCall, Usage

__all__ = [
    "TOKENS",
    "Ask",
    "LLMRequest",
    "LLMResult",
    "Limited",
    "Message",
    "Models",
    "OpenAI",
    "Prices",
    "Provider",
    "Said",
    "Say",
    "Saying",
    "Scripted",
    "Spent",
    "Tool",
    "ToolCall",
    "Usage",
    "bind",
    "image",
    "provide",
    "response_of",
    "tokens",
    "tool_message",
    "tool_name",
    "tool_schema",
    "user",
]

_HOMES: Final = {
    **dict.fromkeys(("image", "response_of", "tool_message", "user"), "replay.authoring.llm"),
    **dict.fromkeys(("Tool", "bind", "tool_name", "tool_schema"), "replay.authoring.tools"),
    **dict.fromkeys(("Ask", "Provider", "Said", "Say", "provide"), "replay.llm.contract"),
    **dict.fromkeys(("LLMRequest", "LLMResult", "Message", "ToolCall", "Usage"), "replay.model.llm"),
    **dict.fromkeys(("TOKENS", "Saying", "tokens"), "replay.llm.speaking"),
    "Limited": "replay.llm.limiting",
    "Models": "replay.llm.calling",
    "OpenAI": "replay.llm.openai",
    "Prices": "replay.llm.prices",
    "Scripted": "replay.llm.scripted",
    "Spent": "replay.model.budgets",
}
"""Where each name lives."""


def __getattr__(name: str) -> Any:
    """Load a name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
