"""What a type checker sees of calls of language models and of budgets. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import attrs

from replay import Effect, LLMResult, Workflow, budget, gather, llm_call, step, workflow
from replay.llm import bind


@attrs.frozen
class City:
    name: str


@step
def look(city: str) -> int:
    return len(city)


@workflow
def asks() -> Workflow[City]:
    plain = yield from llm_call("x", model="m", temperature=0.5)
    assert_type(plain, LLMResult[None])
    assert_type(plain.text, str)
    assert_type(plain.cost, float | None)
    typed = yield from llm_call([plain.message], model=["m", "n"], response_type=City, tools=[look])
    assert_type(typed, LLMResult[City])
    assert_type(typed.parsed, City)
    for call in typed.tool_calls:
        assert_type((yield from look(**bind(look, call))), int)
    return typed.parsed


def branch() -> Workflow[float]:
    yield from llm_call("x", model="m")
    return 0.5


@workflow
def limited() -> Workflow[None]:
    assert_type(budget(look("x"), usd=1), Effect[int])
    assert_type((yield from budget(branch(), calls=3, raise_by="more")), float)
    assert_type((yield from budget(gather(look("x"), branch()), seconds=5)), tuple[int, float])
    assert_type(asks().options(budget={"usd": 1.0}).name, str)


def kept(result: LLMResult[Any]) -> dict[str, Any]:
    return result.message
