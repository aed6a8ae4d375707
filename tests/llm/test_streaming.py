"""Tokens on their way: published in pieces, each with its attempt, so that those of a failed attempt can be dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import Engine, ProviderBusy, Retry, StoreUnavailable, Workflow, gather, llm_call, workflow
from replay.llm import TOKENS, Models, OpenAI, Scripted, tokens
from replay.model.codec import from_json, to_json
from replay.testing import Cuts, LLMServer, Says
from tests.helpers.engines import OpenEngine, between, until

OpenServer = Callable[..., LLMServer]


@workflow(name="streaming.ask")
def ask(model: str | list[str] = "m") -> Workflow[str]:
    retry = Retry(max_attempts=3, initial=0.01, retry_on=ProviderBusy)
    reply = yield from llm_call("x", model=model, stream=True, retry=retry)
    return reply.text


def said(engine: Engine, run: str) -> dict[str, tuple[str, str]]:
    """What each call of a run said, and how it ended, as a reader of the topic sees it."""
    found = tokens(entry.payload for entry in engine.read(TOKENS + run))
    return {command: (saying.text, saying.end) for command, saying in found.items()}


def test_tokens_are_read_while_they_come(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """Before the reply is there; in the end they are the reply."""
    server = replay_llm_server([Says("one two three four five six", pause=0.15)])
    engine = open_engine(models=Models({"openai": OpenAI(server.url)}))
    handle = engine.start(ask(), id="a")
    seen = until(lambda: said(engine, "a").get("0"), engine.store)

    assert seen[0]
    assert "one two three four five six".startswith(seen[0])
    assert ("", "pending") != (seen[1], handle.status)
    assert "one two three four five six" == handle.result(20)
    assert {"0": ("one two three four five six", "done")} == said(engine, "a")


def test_pieces_of_an_attempt_that_failed_are_dropped(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """They were published, and the next attempt says so by its number."""
    server = replay_llm_server([Cuts("half a reply"), "a whole one"])
    engine = open_engine(models=Models({"openai": OpenAI(server.url)}))

    assert "a whole one" == engine.start(ask(), id="a").result(20)
    entries = [from_json(entry.payload) for entry in engine.read(TOKENS + "a")]
    assert ["failed", "done"] == [entry["end"] for entry in entries if "end" in entry]
    assert entries[0]["attempt"] < entries[-1]["attempt"]
    assert {"0": ("a whole one", "done")} == said(engine, "a")


def test_pieces_of_a_model_that_failed_are_dropped(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """A fall-back within one attempt has a number of its own."""
    server = replay_llm_server([Cuts("half a reply")])
    models = Models({"openai": OpenAI(server.url), "other": Scripted(["from the other"])})
    engine = open_engine(models=models)

    assert "from the other" == engine.start(ask(["m", "other/m"]), id="a").result(20)
    assert {"0": ("from the other", "done")} == said(engine, "a")


def test_many_tokens_cost_few_commits(open_engine: OpenEngine) -> None:
    """Five hundred words that come at once are one or two entries."""
    engine = open_engine(models=Models({"openai": Scripted([" ".join(["word"] * 500)])}))
    engine.start(ask(), id="a").result(20)

    assert 1 <= len(engine.read(TOKENS + "a")) <= 5
    assert {"0": (" ".join(["word"] * 500), "done")} == said(engine, "a")


def test_calls_side_by_side_are_told_apart(open_engine: OpenEngine) -> None:
    """By their commands."""

    @workflow
    def two() -> Workflow[None]:
        yield from gather(llm_call("a", model="m", stream=True), llm_call("b", model="m", stream=True))

    def echo(asked: Any) -> str:
        return f"{asked.messages[0]['content']} it is"

    engine = open_engine(models=Models({"openai": Scripted(echo)}))
    engine.start(two(), id="a").result(20)

    assert {"0/0/0": ("a it is", "done"), "0/1/0": ("b it is", "done")} == said(engine, "a")


def test_a_store_that_takes_no_tokens_fails_no_call(open_engine: OpenEngine, store_url: str) -> None:
    """Nothing depends on them."""
    here = between(store_url)

    def refuse(verb: str) -> None:
        if verb == "publish":
            raise StoreUnavailable("test", "no room")

    here.before = refuse
    engine = open_engine(here, models=Models({"openai": Scripted(["hello there"])}))

    assert "hello there" == engine.start(ask(), id="a").result(20)
    assert {} == said(engine, "a")


def test_a_reader_goes_on_where_it_was() -> None:
    """With what it had; late pieces of an older attempt change nothing."""

    def piece(attempt: list[int], **said: str) -> bytes:
        return to_json({"command": "0", "attempt": attempt, **said})

    found = tokens([piece([1, 1, 1], text="old ")])
    tokens([piece([2, 1, 1], text="new "), piece([1, 1, 1], text="late", end="done"), piece([2, 1, 1], text="er")], found)

    assert ("new er", (2, 1, 1), "") == (found["0"].text, found["0"].attempt, found["0"].end)


@pytest.mark.parametrize("stream", [False, True])
def test_only_a_call_that_streams_publishes(open_engine: OpenEngine, stream: bool) -> None:
    """Others cost no commit beside their own."""

    @workflow
    def maybe() -> Workflow[None]:
        yield from llm_call("x", model="m", stream=stream)

    engine = open_engine(models=Models({"openai": Scripted(["hello"])}))
    engine.start(maybe(), id="a").result(20)

    assert stream == bool(engine.read(TOKENS + "a"))
