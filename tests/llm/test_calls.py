"""llm_call in a world, with a scripted provider: what it asks, what it answers, what its journal holds."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypedDict

import attrs
import pydantic
import pytest

from replay import (
    DefinitionError,
    EffectError,
    LLMResult,
    NonDeterminismError,
    PayloadError,
    ProviderBusy,
    ProviderFailed,
    ReplyInvalid,
    Retry,
    RunFailed,
    StepFailed,
    Workflow,
    gather,
    llm_call,
    step,
    workflow,
)
from replay.llm import TOKENS, Models, Said, Scripted, ToolCall, Usage, bind, image, tokens, tool_message, tool_schema, user
from replay.model.codec import from_json
from replay.model.llm import LLMCall
from replay.testing import World, check_determinism, crash_everywhere

PROMPT = {"system": "be short"}
"""A prompt that a test edits between two lives of a run."""


def world_of(script: Any, **settings: Any) -> World:
    """A world whose models answer from a script."""
    return World(models=Models({"openai": Scripted(script)}, **settings))


@workflow(name="calls.ask")
def ask(question: str) -> Workflow[str]:
    reply = yield from llm_call(question, model="gpt-4o", system="be short", temperature=0.5)
    return reply.text


@workflow(name="calls.edited")
def edited(compare: bool) -> Workflow[str]:
    first = yield from llm_call("one", model="gpt-4o", system=PROMPT["system"], compare_arguments=compare)
    second = yield from llm_call("two", model="gpt-4o", system=PROMPT["system"], compare_arguments=compare)
    return f"{first.text} {second.text}"


# ---- the journal ------------------------------------------------------------------------------------------------------------


def test_the_reply_is_journaled_and_the_request_is_not() -> None:
    """Text, usage, cost, model, provider, latency and digest; of the question no word."""
    with world_of(["Paris"]) as world:
        handle = world.start(ask("What is the capital of France?"))
        assert "Paris" == handle.result()
        events = handle.journal()

    reply = from_json(events[1].payload)
    assert ["started", "step_completed", "completed"] == [event.kind for event in events]
    assert {"text", "usage", "cost", "model", "provider", "latency", "digest"} == reply.keys()
    assert ("Paris", "gpt-4o", "openai", 64) == (reply["text"], reply["model"], reply["provider"], len(reply["digest"]))
    assert not any(b"be short" in event.payload for event in events)


def test_a_provider_is_given_the_whole_request() -> None:
    """Conversation, tools and settings, and a key that stays the same over retries."""
    scripted = Scripted(["Paris"])
    with World(models=Models({"openai": scripted})) as world:
        world.start(ask("capital?"), id="a").result()

    (asked,) = scripted.asked
    assert [{"role": "system", "content": "be short"}, {"role": "user", "content": "capital?"}] == asked.messages
    assert ("gpt-4o", {"temperature": 0.5}, "a#0") == (asked.model, asked.settings, asked.key)


def test_a_message_is_asked_as_it_was_when_the_call_was_built() -> None:
    """Changing list or message afterwards changes no call, and the check of none."""
    talk: list[dict[str, Any]] = [{"role": "user", "content": "one"}]
    call = llm_call(talk, model="gpt-4o")
    assert isinstance(call, LLMCall)
    before = call.check()
    talk[0]["content"] = "other"
    talk.append({"role": "user", "content": "two"})

    assert [{"role": "user", "content": "one"}] == call.request.messages
    assert before == call.check() != llm_call(talk, model="gpt-4o").check()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        ("1", 1),
        (1, True),
        (1, 1.5),
        ([1], {"a": 1}),
        (["a", "b"], [["a", "b"]]),
        ({"a": None}, {"a": "None"}),
        ({"a": {}}, {"a": []}),
    ],
)
def test_messages_that_differ_have_different_checks(one: Any, other: Any) -> None:
    """What is remembered of a message by its content is never another's."""
    calls = [llm_call([{"role": "user", "content": [{"type": "x", "x": part}]}], model="m") for part in (one, other)]

    assert calls[0].check() != calls[1].check()
    assert [one, other] == [call.request.messages[0]["content"][0]["x"] for call in calls if isinstance(call, LLMCall)]


def test_a_prompt_that_was_edited_under_an_open_run_is_found() -> None:
    """The conversation is a call's identity, as arguments are a step's."""
    with world_of(["a", ProviderFailed("openai", "m", "down")]) as world:
        handle = world.start(edited(compare=True))
        with pytest.raises(RunFailed):
            handle.result()
        try:
            PROMPT["system"] = "be long"
            with pytest.raises(NonDeterminismError, match="llm_call gpt-4o, 2 messages as command 0, with other arguments"):
                raise handle.replay().difference or AssertionError
        finally:
            PROMPT["system"] = "be short"


def test_a_call_that_compares_nothing_may_be_edited_under_an_open_run() -> None:
    """The reply was given to other words; the author says that it will do."""
    with world_of(["a", "b"]) as world:
        handle = world.start(edited(compare=False))
        assert "a b" == handle.result()
        try:
            PROMPT["system"] = "be long"
            assert handle.replay().fits
        finally:
            PROMPT["system"] = "be short"


def test_model_temperature_and_tools_are_policy() -> None:
    """They may change while a run is open; the digest in the reply tells them apart."""

    def tool() -> str:
        return ""

    calls = [llm_call("x", model="a"), llm_call("x", model="b", temperature=1), llm_call("x", model="a", tools=[tool])]
    digests = {call.request.digest() for call in calls if isinstance(call, LLMCall)}

    assert (1, 3) == (len({call.check() for call in calls}), len(digests))


def test_a_run_of_calls_ends_the_same_wherever_its_worker_dies() -> None:
    """Between reply and commit, too: then the model is asked again."""
    report = crash_everywhere(edited(compare=True), models=Models({"openai": Scripted(["a", "b"])}))

    assert (4, 3) == (report.events, report.cuts)


def test_a_run_of_calls_is_deterministic() -> None:
    """Whatever the world adds to it."""
    report = check_determinism(edited(compare=True), stubs={"llm_call": ["a", "b"]})

    assert 4 == report.events


# ---- replies that must have a type --------------------------------------------------------------------------------------------


@attrs.frozen
class City:
    """A city."""

    name: str
    people: int


@dataclasses.dataclass
class Town:
    name: str
    people: int


class Village(pydantic.BaseModel):
    name: str
    people: int


class Hamlet(TypedDict):
    name: str
    people: int


@workflow(name="calls.typed")
def typed(kind: str) -> Workflow[str]:
    reply: LLMResult[Any] = yield from llm_call("Which?", model="gpt-4o", response_type=KINDS[kind])
    return f"{reply.parsed!r} in {reply.calls}"


KINDS: dict[str, Any] = {"attrs": City, "dataclass": Town, "pydantic": Village, "typed dict": Hamlet, "list": list[City], "int": int}


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("attrs", '{"name": "Lyon", "people": 5}', "City(name='Lyon', people=5)"),
        ("dataclass", '```json\n{"name": "Lyon", "people": 5}\n```', "Town(name='Lyon', people=5)"),
        ("pydantic", '{"name": "Lyon", "people": 5}', "Village(name='Lyon', people=5)"),
        ("typed dict", '{"name": "Lyon", "people": 5}', "{'name': 'Lyon', 'people': 5}"),
        ("list", '{"value": [{"name": "Lyon", "people": 5}]}', "[City(name='Lyon', people=5)]"),
        ("int", '{"value": 0}', "0"),
    ],
)
def test_a_reply_comes_as_its_type(kind: str, said: str, expected: str) -> None:
    """Classes of all families, and what is no object, which providers want wrapped."""
    scripted = Scripted([said])
    with World(models=Models({"openai": scripted})) as world:
        assert f"{expected} in 1" == world.start(typed(kind)).result()

    (asked,) = scripted.asked
    assert asked.schema is not None
    assert "object" == asked.schema["type"]
    assert asked.schema["properties"].keys() == ({"value"} if kind in {"list", "int"} else {"name", "people"})


def test_a_reply_that_does_not_fit_is_repaired_once() -> None:
    """The model is told what is wrong; both calls are paid for."""
    scripted = Scripted(["Lyon, of course", '{"name": "Lyon", "people": 5}'])
    with World(models=Models({"openai": scripted})) as world:
        handle = world.start(typed("attrs"))
        assert "City(name='Lyon', people=5) in 2" == handle.result()
        spent = handle.costs().total

    first, second = scripted.asked
    assert ["user", "assistant", "user"] == [message["role"] for message in second.messages]
    assert "Your reply does not fit: reply for City" in second.messages[2]["content"]
    assert 2 == spent.calls
    assert spent.tokens > 2 * sum(len(message["content"]) for message in first.messages) // 4


def test_a_reply_that_breaks_its_type_twice_is_a_failure() -> None:
    """It says what was expected and what came, is not tried again, and what it cost is journaled."""
    with world_of(["Lyon", '{"name": "Lyon"}']) as world:
        handle = world.start(typed("attrs"))
        with pytest.raises(RunFailed, match=r"ReplyInvalid: gpt-4o was asked for City and broke it twice: .*people"):
            handle.result()
        assert ["started", "step_failed", "failed"] == [event.kind for event in handle.journal()]
        assert 2 == handle.costs().total.calls


def test_a_workflow_catches_a_reply_that_does_not_fit() -> None:
    """It comes back as itself."""

    @workflow
    def careful() -> Workflow[str]:
        try:
            yield from llm_call("Which?", model="gpt-4o", response_type=City)
        except ReplyInvalid as invalid:
            return f"{invalid.model} {invalid.expected} {invalid.text}"
        return ""

    with world_of(["Lyon", "Lyons"]) as world:
        assert "gpt-4o City Lyons" == world.start(careful()).result()


def test_a_reply_that_calls_a_tool_has_no_value_yet() -> None:
    """A model may look something up before it answers in the form that is asked for."""

    @workflow
    def looking() -> Workflow[tuple[bool, str]]:
        reply = yield from llm_call("Which?", model="gpt-4o", response_type=City, tools=[look_up])
        return reply.parsed is None, reply.tool_calls[0].name

    with world_of([ToolCall("1", "look_up", '{"city": "Lyon"}')]) as world:
        assert (True, "look_up") == world.start(looking()).result()


# ---- tools and messages ---------------------------------------------------------------------------------------------------------


@step(name="look_up")
def look_up(city: str, year: Annotated[int, "of the census"] = 2020, near: list[City] | None = None) -> int:
    """How many people live in a city.

    More than one would think.

    Args:
        city: Its name,
            in English.
        near: Cities around it.

    Returns:
        A number.
    """
    return len(city) + year


def test_a_signature_is_a_schema() -> None:
    """Annotations, defaults, and the docstring's words."""
    described = tool_schema(look_up)
    about = described["function"]
    takes = about["parameters"]

    assert ("function", "look_up", ["city"]) == (described["type"], about["name"], takes["required"])
    assert "How many people live in a city.\n\nMore than one would think." == about["description"]
    assert {"type": "string", "description": "Its name, in English."} == takes["properties"]["city"]
    assert {"type": "integer", "description": "of the census"} == takes["properties"]["year"]
    assert "Cities around it." == takes["properties"]["near"]["description"]
    assert {"City"} == takes["$defs"].keys()


def test_a_models_arguments_are_read_by_the_signature() -> None:
    """As the function's own types."""
    given = bind(look_up, ToolCall("1", "look_up", '{"city": "Lyon", "near": [{"name": "Bron", "people": 4}]}'))

    assert {"city": "Lyon", "near": [City("Bron", 4)]} == given


@pytest.mark.parametrize(
    ("spelt", "problem"),
    [
        ('{"city": 5}', "argument 'city' of tool look_up: expected str, got int 5"),
        ("{}", "expected argument 'city', got nothing"),
        ('{"city": "Lyon", "town": 1}', "argument 'town'"),
        ("[]", "expected an object"),
        ("{nope", "JSON"),
    ],
)
def test_a_models_arguments_that_do_not_fit_are_told(spelt: str, problem: str) -> None:
    """In words that the model can be told in turn."""
    with pytest.raises(PayloadError, match=problem):
        bind(look_up, ToolCall("1", "look_up", spelt))


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        (len, "a tool is"),
        (lambda: None, "letters, digits"),
        ({"name": "x"}, "a tool is dict"),
        (lambda *names: names, "letters"),
    ],
)
def test_a_tool_that_is_none_is_refused(tool: Any, problem: str) -> None:
    """At the line that names it."""
    with pytest.raises(DefinitionError, match=problem):
        llm_call("x", model="m", tools=[tool])


def test_a_turn_with_tools_goes_on_where_it_was() -> None:
    """The reply is a message; a tool's answer is one, too; images are parts of one."""

    @workflow
    def turn() -> Workflow[str]:
        talk: list[Any] = [user("How many?", image(b"\x89PNG", detail="low"))]
        reply = yield from llm_call(talk, model="gpt-4o", tools=[look_up], tool_choice="look_up")
        (call,) = reply.tool_calls
        people = yield from look_up(**bind(look_up, call))
        talk += [reply.message, tool_message(call, people)]
        reply = yield from llm_call(talk, model="gpt-4o")
        return reply.text

    scripted = Scripted([Said(tool_calls=(ToolCall("c1", "look_up", '{"city": "Lyon"}'),)), "2024"])
    with World(models=Models({"openai": scripted})) as world:
        assert "2024" == world.start(turn()).result()

    first, second = scripted.asked
    assert {"type": "function", "function": {"name": "look_up"}} == first.tool_choice
    assert "data:image/png;base64,iVBORw==" == first.messages[0]["content"][1]["image_url"]["url"]
    assert ("assistant", "c1") == (second.messages[1]["role"], second.messages[1]["tool_calls"][0]["id"])
    assert {"role": "tool", "tool_call_id": "c1", "content": "2024"} == second.messages[2]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"messages": 5}, "int 5 as messages"),
        ({"messages": []}, "no message"),
        ({"messages": ["hello"]}, "a message that is str"),
        ({"messages": [{"role": "robot", "content": ""}]}, "whose role is str 'robot'"),
        ({"messages": [{"role": "user", "content": {1, 2}}]}, "plain JSON"),
        ({"model": ""}, "model="),
        ({"model": []}, "model="),
        ({"model": 42}, "model=int 42"),
        ({"tool_choice": "auto"}, "no tools"),
        ({"tools": [look_up], "tool_choice": "other"}, "use one of auto, none, required, look_up"),
    ],
)
def test_a_call_that_cannot_be_made_is_refused_where_it_is_written(given: dict[str, Any], problem: str) -> None:
    """Not when the model is asked."""
    with pytest.raises(EffectError, match=problem):
        llm_call(**{"messages": "x", "model": "m", **given})


def test_a_setting_that_is_no_json_is_refused_where_it_is_written() -> None:
    """It could not be sent."""
    with pytest.raises(PayloadError):
        llm_call("x", model="m", stop=object())


# ---- who is asked ---------------------------------------------------------------------------------------------------------------


@workflow(name="calls.fallback")
def fallback(models: list[str]) -> Workflow[str]:
    try:
        reply = yield from llm_call("x", model=models, retry=Retry(max_attempts=1))
    except ProviderFailed as failed:
        return str(failed)
    except StepFailed as failed:
        return f"{failed.error_type}: {failed.message}"
    return f"{reply.text} of {reply.provider}/{reply.model}"


def busy(_ask: Any) -> Any:
    """A provider that is down."""
    raise ProviderBusy("x", "x", "down", 503, 7.0)


def test_models_are_asked_in_their_order_until_one_answers() -> None:
    """Of other backends, too; those behind the one that answers are not asked."""
    first, second, third = Scripted(busy), Scripted(["here"]), Scripted(["never"])
    with World(models=Models({"openai": first, "azure": second, "local": third})) as world:
        said = world.start(fallback(["gpt-5", "azure/gpt-4o", "local/org/llama"])).result()

    assert "here of azure/gpt-4o" == said
    assert [1, 1, 0] == [len(one.asked) for one in (first, second, third)]


def test_another_model_is_asked_under_another_key() -> None:
    """A server that knows idempotency keys takes one key for one question only; a retry repeats it."""
    script = Scripted([ProviderBusy("x", "m", "down"), ProviderBusy("x", "n", "down"), ProviderBusy("x", "m", "down"), "here"])

    @workflow(name="calls.keys")
    def keys() -> Workflow[str]:
        return (yield from llm_call("x", model=["m", "n"], retry=Retry(max_attempts=2, initial=0.01))).text

    with World(models=Models({"openai": script})) as world:
        assert "here" == world.start(keys(), id="a").result()
    assert ["a#0", "a#0/1"] * 2 == [asked.key for asked in script.asked]


def test_half_a_character_is_replaced() -> None:
    """A model that is cut off within an emoji leaves what no store can keep; halves that meet are whole."""
    said = Said(text="a \ud83d\ude00, b \ud83d", tool_calls=(ToolCall("c", "look_up", '{"word": "\ud800"}'),))

    @workflow(name="calls.halves")
    def halves() -> Workflow[list[str]]:
        reply = yield from llm_call("x", model="m", stream=True)
        return [reply.text, reply.tool_calls[0].arguments]

    with World(models=Models({"openai": Scripted([said])})) as world:
        assert ["a \U0001f600, b \ufffd", '{"word": "\ufffd"}'] == world.start(halves(), id="a").result()
        assert "a \U0001f600, b \ufffd" == tokens(entry.payload for entry in world.read(TOKENS + "a"))["0"].text


def test_when_no_model_answers_all_that_was_said_is_told() -> None:
    """The one that may answer later first, and after how long."""
    refuses = Scripted([ProviderFailed("x", "m", "no such model", 404)])
    with World(models=Models({"openai": refuses, "azure": Scripted(busy)})) as world:
        said = world.start(fallback(["m", "azure/n"])).result()

    assert "azure/x (503): down (and openai/m (404): no such model); it asks to wait 7 s" == said


def test_an_unknown_provider_is_told_with_those_that_are_known() -> None:
    """Before any other of the list is asked."""
    scripted = Scripted(["never"])
    with World(models=Models({"openai": scripted})) as world:
        said = world.start(fallback(["gpt-4o", "azur/gpt-4o"])).result()

    assert "replay.errors.UnknownName: no provider of language models for model 'azur/gpt-4o': 'azur'; known: openai" == said
    assert [] == scripted.asked


def test_the_pause_that_a_provider_asks_for_is_made() -> None:
    """In virtual time: the second attempt begins no earlier, and nobody waits for it."""
    answers = iter([ProviderBusy("openai", "m", "slow down", 429, 90.0), "here"])
    with World(models=Models({"openai": Scripted(lambda _: next(answers))})) as world:
        handle = world.start(ask("x"))
        assert "here" == handle.result()
        failed, answered = handle.journal()[1:3]

    assert ("step_attempt_failed", 90) == (failed.kind, from_json(failed.payload)["retry_in"])
    assert 90_000_000 <= answered.at - failed.at < 91_000_000


def test_a_refusal_is_not_tried_again() -> None:
    """A wrong key or model does not mend by patience."""
    with world_of([ProviderFailed("openai", "m", "no such model", 404), "never"]) as world:
        handle = world.start(ask("x"))
        with pytest.raises(RunFailed, match=r"ProviderFailed: openai/m \(404\): no such model"):
            handle.result()


# ---- stubs and cache --------------------------------------------------------------------------------------------------------------


def test_a_stub_stands_in_for_a_model() -> None:
    """A text, a result, a value of the response type, a function of the request; calls are remembered."""

    @workflow
    def three() -> Workflow[list[Any]]:
        one = yield from llm_call("one", model="m")
        two = yield from llm_call("two", model="m", name="named")
        city = yield from llm_call("three", model="m", response_type=City, name="typed")
        return [one.text, two.cost, two.usage.total, str(city.parsed)]

    with World() as world:
        world.stub("llm_call", lambda request: f"said {request.messages[0]['content']}")
        world.stub("llm_call:named", LLMResult[None](text="b", cost=0.25, usage=Usage(3, 4)))
        world.stub("llm_call:typed", City("Lyon", 5))
        assert ["said one", 0.25, 7, "City(name='Lyon', people=5)"] == world.start(three()).result()
        assert ["m"] == [call.args[0].models[0] for call in world.calls("llm_call")]


def test_a_cached_reply_serves_other_runs_and_costs_nothing() -> None:
    """By the whole request; it is off unless it is asked for."""
    prices = Models({}).prices.and_also({"gpt-4o": {"input": 1, "output": 1}})
    scripted = Scripted(["Paris", "Rome", "Oslo"])
    with World(models=Models({"openai": scripted}, cache=True, prices=prices)) as world:
        said = [world.start(ask(question), id=name).result() for name, question in [("a", "1"), ("b", "1"), ("c", "2")]]
        costs = [world.get(name).costs().total for name in "abc"]
    with World(models=Models({"openai": scripted})) as world:
        uncached = world.start(ask("1")).result()

    assert (["Paris", "Paris", "Rome"], "Oslo") == (said, uncached)
    assert [(1, True), (0, False), (1, True)] == [(one.calls, one.usd > 0) for one in costs]


def test_branches_are_asked_side_by_side() -> None:
    """Each has its own command."""

    @workflow
    def wide() -> Workflow[list[str]]:
        replies = yield from gather([llm_call(f"{number}", model="m") for number in range(3)])
        return [reply.text for reply in replies]

    with World(models=Models({"openai": Scripted(lambda asked: f"to {asked.messages[0]['content']}")})) as world:
        assert ["to 0", "to 1", "to 2"] == world.start(wide()).result()


def test_a_fork_may_give_another_reply() -> None:
    """What if the model had said something else: the run goes on from there."""
    with world_of(["Paris", "b", "c"]) as world:
        world.start(edited(compare=True), id="a").result()
        fork = world.get("a", edited).fork(id="b", edit={2: "Rome"})
        assert "Rome c" == fork.result()


def test_what_was_spent_in_vain_before_a_reply_counts() -> None:
    """A model answers in the wrong form, is down when it should repair that, and the next one serves: both are paid for."""

    @workflow
    def vain() -> Workflow[tuple[int, int]]:
        reply = yield from llm_call("Which?", model=["m", "other/n"], response_type=City)
        return reply.parsed.people, reply.calls

    first = Scripted(["Lyon", ProviderBusy("openai", "m", "down")])
    second = Scripted(['{"name": "Lyon", "people": 5}'])
    with World(models=Models({"openai": first, "other": second})) as world:
        handle = world.start(vain())
        assert (5, 1) == handle.result()
        assert 2 == handle.costs().total.calls
