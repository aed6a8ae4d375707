"""What every OpenAI-compatible service must do: against the local server, or against a real one.

``REPLAY_TEST_LLM=https://api.openai.com/v1 REPLAY_TEST_LLM_MODEL=gpt-4o-mini OPENAI_API_KEY=… pytest tests/llm/test_service.py``
asks a real service; it costs less than a cent.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest

from replay import Engine, Workflow, llm_call, step, workflow
from replay.llm import TOKENS, Models, OpenAI, bind, image, tokens, tool_message, user
from replay.testing import LLMServer, Says
from replay.testing.llm import Behaviour

URL = os.environ.get("REPLAY_TEST_LLM", "")
MODEL = os.environ.get("REPLAY_TEST_LLM_MODEL", "gpt-4o-mini")
REAL_KEY = os.environ.get("OPENAI_API_KEY", "")


def png(side: int, red: int, green: int, blue: int) -> bytes:
    """A square image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@attrs.frozen
class Country:
    """A country."""

    name: str
    capital: str


@step(name="service_population")
def population(city: str) -> int:
    """How many people live in a city.

    Args:
        city: The city's name.
    """
    return 2_100_000 if "aris" in city else 1


@workflow(name="service.plain")
def plain(stream: bool) -> Workflow[tuple[str, int, int]]:
    reply = yield from llm_call("Say hello to Ada in one short sentence.", model=MODEL, stream=stream, max_tokens=50)
    return reply.text, reply.usage.input, reply.usage.output


@workflow(name="service.typed")
def typed() -> Workflow[Country]:
    return (yield from llm_call("France and its capital", model=MODEL, response_type=Country)).parsed


@workflow(name="service.tools")
def tools() -> Workflow[str]:
    talk: list[Any] = [user("How many people live in Paris? Use the tool.")]
    reply = yield from llm_call(talk, model=MODEL, tools=[population], tool_choice="required")
    talk.append(reply.message)
    for call in reply.tool_calls:
        people = yield from population(**bind(population, call))
        talk.append(tool_message(call, people))
    return (yield from llm_call(talk, model=MODEL, tools=[population])).text


@workflow(name="service.image")
def seen() -> Workflow[str]:
    question = user("Which colour is this? One word.", image(png(32, 255, 0, 0), detail="low"))
    return (yield from llm_call([question], model=MODEL, max_tokens=50)).text


def local(body: Mapping[str, Any]) -> Behaviour:
    """What the local server says in the place of a model."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return f"{last['content']} people live in Paris."
    if "response_format" in body:
        return '{"name": "France", "capital": "Paris"}'
    if "tools" in body:
        return Says(calls=[("service_population", {"city": "Paris"})])
    return "Red." if isinstance(last["content"], list) else "Hello, Ada!"


@pytest.fixture
def service(replay_llm_server: Callable[..., LLMServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose models are the service's."""
    if URL:
        monkeypatch.setenv("OPENAI_API_KEY", REAL_KEY)
    with Engine("memory://", models=Models({"openai": OpenAI(URL or replay_llm_server(local).url)})) as engine:
        yield engine


@pytest.mark.parametrize("stream", [False, True])
def test_a_service_answers_and_tells_its_usage(service: Engine, stream: bool) -> None:
    """At once and in pieces; the pieces are the reply."""
    text, told, said = service.start(plain(stream), id="a").result(60)

    assert "Ada" in text
    assert min(told, said) > 0
    assert not stream or text == tokens(entry.payload for entry in service.read(TOKENS + "a"))["0"].text


def test_a_service_answers_in_the_form_that_is_asked_for(service: Engine) -> None:
    """By its JSON schema."""
    assert Country("France", "Paris") == service.start(typed()).result(60)


def test_a_service_calls_tools(service: Engine) -> None:
    """By the schema of a function's signature, and goes on with what it answered."""
    assert "2" in service.start(tools()).result(60)


def test_a_service_sees_images(service: Engine) -> None:
    """Sent as bytes."""
    assert "red" in service.start(seen()).result(60).lower()
