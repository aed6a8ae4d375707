"""The real openai client over real HTTP: what a server's answers, its errors and its silence become."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from replay import (
    InvalidRequest,
    LLMResult,
    ProviderBusy,
    ProviderFailed,
    Retry,
    RunFailed,
    StepFailed,
    TimedOut,
    Workflow,
    gather,
    llm_call,
    workflow,
)
from replay.llm import Limited, Models, OpenAI, Scripted, image, provide, user
from replay.llm.contract import PROVIDED
from replay.llm.openai import retry_after
from replay.model.codec import from_json
from replay.testing import Babbles, Cuts, Fails, LLMServer, Says
from tests.helpers.engines import OpenEngine, between, crash, kinds, reaches

OpenServer = Callable[..., LLMServer]
QUICK = Retry(max_attempts=2, initial=0.01, retry_on=ProviderBusy)


def models_of(server: LLMServer, **settings: Any) -> Models:
    """What asks a server."""
    return Models({"openai": OpenAI(server.url, **settings)})


@workflow(name="openai.ask")
def ask(stream: bool = False, timeout: float | None = None) -> Workflow[LLMResult[None]]:
    return (yield from llm_call("capital?", model="gpt-4o", stream=stream, retry=QUICK, timeout=timeout, temperature=0))


@workflow(name="openai.caught")
def caught(stream: bool = False) -> Workflow[str]:
    try:
        reply = yield from llm_call("capital?", model="gpt-4o", stream=stream, retry=Retry(max_attempts=1))
    except ProviderFailed as failed:
        return str(failed)
    except StepFailed as failed:
        return failed.message
    return reply.text


# ---- answers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_comes_with_usage_and_cost(open_engine: OpenEngine, replay_llm_server: OpenServer, stream: bool) -> None:
    """At once or in pieces: the journal holds the same."""
    server = replay_llm_server([Says("Paris it is", usage=(1_000_000, 100_000), model="gpt-4o-2024-08-06")])
    engine = open_engine(models=models_of(server))
    reply = engine.start(ask(stream)).result(20)

    assert ("Paris it is", 1_100_000, 3.5) == (reply.text, reply.usage.total, reply.cost)
    assert ("gpt-4o-2024-08-06", "openai", "stop", 1) == (reply.model, reply.provider, reply.finish, reply.calls)
    assert reply.latency > 0


def test_what_is_sent_is_what_was_asked(open_engine: OpenEngine, replay_llm_server: OpenServer, key: str) -> None:
    """Settings are passed on, a stream asks for its usage, and the key and the idempotency key are headers."""
    server = replay_llm_server(["Paris"])
    open_engine(models=models_of(server)).start(ask(stream=True), id="a").result(20)
    (request,) = server.requests

    assert {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "capital?"}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    } == request.body
    assert (f"Bearer {key}", "a#0") == (request.headers["authorization"], request.headers["idempotency-key"])


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_come_whole(open_engine: OpenEngine, replay_llm_server: OpenServer, stream: bool) -> None:
    """Also where a stream brings their arguments in parts."""
    server = replay_llm_server([Says(calls=[("look", {"city": "Lyon"}), ("look", {"city": "Bron"})])])
    reply = open_engine(models=models_of(server)).start(ask(stream)).result(20)

    assert [("call-1", '{"city": "Lyon"}'), ("call-2", '{"city": "Bron"}')] == [(call.id, call.arguments) for call in reply.tool_calls]
    assert "tool_calls" == reply.finish


def test_a_server_that_tells_no_usage_leaves_the_cost_unknown(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """Not 0: nobody knows."""
    server = replay_llm_server([Says("Paris", usage=None)])
    handle = open_engine(models=models_of(server)).start(ask())

    assert None is handle.result(20).cost
    assert None is from_json(handle.journal()[1].payload)["cost"]


def test_a_response_type_and_an_image_go_over_the_wire(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """As a JSON schema, and as a data URL."""

    @workflow
    def seen() -> Workflow[int]:
        reply = yield from llm_call([user("How many?", image(b"GIF", type="image/gif"))], model="gpt-4o", response_type=int)
        return reply.parsed + 1

    server = replay_llm_server(['{"value": 2}'])
    assert 3 == open_engine(models=models_of(server)).start(seen()).result(20)

    body = server.requests[0].body
    assert {"name": "reply", "strict": False} == {key: body["response_format"]["json_schema"][key] for key in ("name", "strict")}
    assert "data:image/gif;base64,R0lG" == body["messages"][0]["content"][1]["image_url"]["url"]


# ---- what goes wrong -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Fails(500), r"\(500\): Error code: 500"),
        (Fails(429), r"\(429\)"),
        (Cuts(), "gpt-4o: "),
        (Babbles(), "gpt-4o: "),
        (Babbles("{}"), "gpt-4o: no sound answer"),
    ],
)
def test_what_may_mend_is_tried_again(
    open_engine: OpenEngine, replay_llm_server: OpenServer, trouble: Any, reason: str, stream: bool
) -> None:
    """An error of the server's, half an answer, and one that is no JSON."""
    server = replay_llm_server([trouble, "Paris", trouble])
    engine = open_engine(models=models_of(server))
    handle = engine.start(ask(stream))

    assert "Paris" == handle.result(20).text
    assert ["started", "step_attempt_failed", "step_completed", "completed"] == kinds(handle)
    assert re.search(reason, engine.start(caught(stream)).result(20))


@pytest.mark.parametrize("trouble", [Fails(400), Fails(401), Fails(404), Fails(429, code="insufficient_quota")])
def test_what_does_not_mend_is_not_tried_again(open_engine: OpenEngine, replay_llm_server: OpenServer, trouble: Fails) -> None:
    """A wrong request, key or model, an empty account."""
    server = replay_llm_server([trouble, "never"])
    handle = open_engine(models=models_of(server)).start(ask())

    with pytest.raises(RunFailed, match=rf"ProviderFailed: openai/gpt-4o \({trouble.status}\)"):
        handle.result(20)
    assert 1 == len(server.requests)


def test_retry_after_is_waited_for(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """In real time: the second request comes no earlier than the server asked."""
    server = replay_llm_server([Fails(429, retry_after=0.4), "Paris"])
    handle = open_engine(models=models_of(server)).start(ask())

    assert "Paris" == handle.result(20).text
    assert 0.4 == from_json(handle.journal()[1].payload)["retry_in"]
    assert server.requests[1].at - server.requests[0].at >= 0.4


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_a_server_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """In seconds, in milliseconds, or until a date."""
    assert seconds == retry_after(headers, now=60.0)


def test_nobody_at_home_is_told(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """A connection that is refused is worth another try."""
    server = replay_llm_server([])
    server.close()
    said = open_engine(models=models_of(server)).start(caught()).result(20)

    assert said.startswith("openai/gpt-4o: APIConnectionError: Connection error.")


def test_a_missing_key_is_named(open_engine: OpenEngine, replay_llm_server: OpenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.delenv("OPENAI_API_KEY")
    server = replay_llm_server(["Paris"])
    said = open_engine(models=models_of(server)).start(caught()).result(20)

    assert said.startswith("provider openai: the environment variable OPENAI_API_KEY holds no key; set OPENAI_API_KEY; for a server")
    assert [] == server.requests


def test_a_server_that_wants_no_key_gets_none_of_ours(open_engine: OpenEngine, replay_llm_server: OpenServer, key: str) -> None:
    """``key_env=None`` reads no variable."""
    server = replay_llm_server(["Paris"])
    assert "Paris" == open_engine(models=models_of(server, key_env=None)).start(ask()).result(20).text

    assert key not in str(server.requests[0].headers)


def test_a_key_is_never_shown(open_engine: OpenEngine, replay_llm_server: OpenServer, key: str) -> None:
    """Not by an error that repeats it, not by the journal, not by repr."""
    server = replay_llm_server([Fails(401, message=f"wrong key {key}")])
    handle = open_engine(models=models_of(server)).start(caught())

    assert "wrong key ***" in handle.result(20)
    assert key not in str(handle.journal()) + repr(OpenAI(server.url)) + str(vars(OpenAI(server.url)))


def test_a_key_in_a_header_of_ones_own_is_never_shown(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """As Azure takes it."""
    server = replay_llm_server([Fails(401, message="wrong key azure-secret")])
    models = models_of(server, key_env=None, headers={"api-key": "azure-secret", "x-n": "y"})

    assert "wrong key ***" in open_engine(models=models).start(caught()).result(20)


def test_an_attempt_that_takes_too_long_is_stopped(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """Its connection is cut; the next attempt is another."""
    server = replay_llm_server(["warm", Says("late", pause=60), Says("late", pause=60)])
    engine = open_engine(models=models_of(server))
    engine.start(ask()).result(60)  # so that loading the client takes none of the time
    handle = engine.start(ask(timeout=1.0))

    with pytest.raises(RunFailed, match="TimedOut"):
        handle.result(60)
    server.wait_until(lambda server: len(server.gone) >= 1)
    assert TimedOut.__name__ in str(handle.journal()[-1].payload)


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_a_run_cuts_the_request(open_engine: OpenEngine, replay_llm_server: OpenServer, stream: bool) -> None:
    """The server sees that nobody listens any more: tokens that nobody reads are not paid for."""
    server = replay_llm_server([Says("one two three", pause=30)])
    handle = open_engine(models=models_of(server)).start(ask(stream))
    server.wait_until(lambda server: len(server.requests) == 1)
    handle.cancel()

    server.wait_until(lambda server: len(server.gone) == 1)
    assert "cancelled" == reaches(handle, "cancelled")


def test_leaving_an_engine_leaves_no_connection(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """Its client is closed with its loop."""
    server = replay_llm_server(["Paris"])
    asked = OpenAI(server.url)
    engine = open_engine(models=Models({"openai": asked}))
    engine.start(ask()).result(20)
    (place,) = asked._clients.values()
    assert place.client is not None
    engine.close()
    for thread in threading.enumerate():
        if thread.name.endswith("-loop"):
            thread.join(20)

    assert place.client.is_closed()
    assert {} == asked._clients


def test_a_reply_that_was_lost_before_its_commit_is_asked_for_again(
    store_url: str, open_engine: OpenEngine, replay_llm_server: OpenServer
) -> None:
    """The worker dies between the two; the journal knows of one reply."""
    server = replay_llm_server(["first", "second"])
    here = between(store_url)
    engine = open_engine(here, models=models_of(server))

    def die(verb: str) -> None:
        if verb == "commit" and server.requests:
            raise SystemExit("the machine is gone")

    here.before = die
    handle = engine.start(ask(), id="a")
    server.wait_until(lambda server: len(server.requests) == 1)
    crash(engine, here)
    after = open_engine(models=models_of(server))
    after.store.release([lease for lease in [_lease(after, "a")] if lease is not None])

    assert "second" == after.get("a", ask).result(20).text
    assert (2, 1) == (len(server.requests), len([event for event in after.get("a").journal() if event.kind == "step_completed"]))
    assert "a" == handle.id


def _lease(engine: Any, run: str) -> Any:
    from replay.store.contract import Lease, RunKey

    (found,) = engine.store.get([RunKey("default", run)])
    return None if found is None or not found.worker else Lease(found.key, found.fence, found.worker, 0)


# ---- how often ------------------------------------------------------------------------------------------------------------------


@workflow(name="openai.many")
def many(calls: int) -> Workflow[int]:
    replies = yield from gather([llm_call(f"{number}", model="gpt-4o") for number in range(calls)])
    return len(replies)


def test_many_calls_are_under_way_at_once(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """On one loop, without a thread for each."""
    server = replay_llm_server(lambda _: Says("x", pause=0.3))

    assert 30 == open_engine(models=models_of(server)).start(many(30)).result(60)
    assert server.most_at_once > 10


def test_a_backend_is_asked_by_so_many_at_once(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """Those beyond wait for their turn."""
    server = replay_llm_server(lambda _: Says("x", pause=0.02))
    limited = Limited(OpenAI(server.url), concurrency=3)

    assert 12 == open_engine(models=Models({"openai": limited})).start(many(12)).result(60)
    assert 3 == server.most_at_once


def test_a_backend_is_asked_so_often_in_a_minute(open_engine: OpenEngine) -> None:
    """No window of that length sees more calls begin; here the minute is short."""
    begun: list[float] = []

    def note(_ask: Any) -> str:
        begun.append(time.monotonic())
        return "x"

    limited = Limited(Scripted(note), per_minute=4, minute=0.5)

    assert 10 == open_engine(models=Models({"openai": limited})).start(many(10)).result(60)
    assert 10 == len(begun)
    assert all(later - first >= 0.45 for first, later in zip(begun, begun[4:], strict=False))


@pytest.mark.parametrize("limit", ["concurrency", "per_minute"])
def test_a_limit_that_lets_nothing_through_is_refused(limit: str) -> None:
    """Where it is written."""
    with pytest.raises(InvalidRequest, match=f"{limit}: 0 lets nothing through"):
        Limited(Scripted([]), **{limit: 0})


def test_a_provider_of_the_programs_own_is_known_everywhere(open_engine: OpenEngine, replay_llm_server: OpenServer) -> None:
    """``provide`` beside the workflows is enough: for engines, and for workers of the command line."""

    @workflow
    def local() -> Workflow[str]:
        return (yield from llm_call("x", model="local/org/llama-3:8b")).provider

    server = replay_llm_server(["Hello"])
    provide("local", OpenAI(server.url, key_env=None))
    try:
        assert "local" == open_engine().start(local()).result(20)
    finally:
        del PROVIDED["local"]
    assert "org/llama-3:8b" == server.requests[0].body["model"]
