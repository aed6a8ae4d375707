"""Agents over a scripted model: tools, stops, guards, hand-offs, memory, people, crashes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, assert_type

import attrs
import pytest
from replay_agents import (
    Again,
    Agent,
    AgentResult,
    Change,
    Conversation,
    Fail,
    Hooks,
    Memory,
    Progress,
    cost_reached,
    guard_input,
    guard_output,
    guard_tool,
    text_found,
    tokens_reached,
    tool_done,
    turns_reached,
)

from replay import (
    BudgetExceeded,
    DefinitionError,
    Effect,
    Engine,
    PayloadError,
    RunFailed,
    Workflow,
    WorkflowFunction,
    budget,
    publish,
    step,
    workflow,
)
from replay.llm import Ask, Models, Said, Scripted, ToolCall
from replay.testing import Says, Simulation, World, check_determinism, check_savepoints, crash_everywhere, simulate

MODEL = "gpt-4o-mini"
DONE: list[str] = []
"""What the steps of a test have done."""


@pytest.fixture(autouse=True)
def done() -> list[str]:
    """Nothing yet."""
    DONE.clear()
    return DONE


def calls(*wanted: tuple[str, str]) -> Said:
    """A reply that asks for tools."""
    return Said(tool_calls=tuple(ToolCall(f"c{number}", *one) for number, one in enumerate(wanted)), finish="tool_calls")


def world_of(script: Any) -> tuple[World, Scripted]:
    """A world whose model answers from a script, and the script's memory of what it was asked."""
    scripted = Scripted(script)
    return World(models=Models({"openai": scripted})), scripted


def play(agent: Agent[Any], script: Any, prompt: str = "go") -> tuple[AgentResult[Any], Scripted]:
    """Let an agent work on a prompt, as a workflow of its own."""
    world, scripted = world_of(script)
    with world:
        return world.start(agent.as_workflow()(prompt)).result(), scripted


def told(asked: Ask) -> list[Any]:
    """What the model was told by tools in this call."""
    return [message["content"] for message in asked.messages if message["role"] == "tool"]


@step(name="look_up")
def look_up(word: str) -> str:
    """Look a word up."""
    DONE.append(word)
    return f"{word} means much"


@step(name="agents_fails")
def fails() -> str:
    """Fail."""
    raise ValueError("out of order")


@attrs.frozen
class Report:
    """A typed answer."""

    title: str
    score: int


# ---- the loop ----------------------------------------------------------------------------------------------------------------


def test_an_agent_calls_tools_until_it_answers() -> None:
    """The model hears what its tools answered, and its last word is the result."""
    agent = Agent(name="plain", model=MODEL, instructions="be kind", tools=[look_up])

    result, scripted = play(agent, [calls(("look_up", '{"word": "x"}')), "x means much"])

    assert ("x means much", "answered", 2, ["look_up"]) == (result.output, result.stopped, result.turns, result.tools)
    assert ["x means much"] == told(scripted.asked[1])
    assert {"role": "system", "content": "be kind"} == scripted.asked[0].messages[0]


def test_a_typed_answer_is_read(done: list[str]) -> None:
    """``response_type`` makes the output a value, and a type checker knows it."""
    agent = Agent(name="typed", model=MODEL, response_type=Report)

    @workflow(name="agents.typed_in_a_workflow")
    def typed() -> Workflow[int]:
        result = yield from agent.run("report")
        assert_type(result, AgentResult[Report])
        assert result.output is not None
        return result.output.score

    world, _ = world_of(['{"title": "t", "score": 7}'])
    with world:
        assert 7 == world.start(typed()).result()
    assert_type(agent.as_workflow(), WorkflowFunction[[str], AgentResult[Report]])
    own, _ = play(agent, ['{"title": "t", "score": 8}'])
    assert Report("t", 8) == own.output


def test_tools_of_one_reply_are_told_in_the_order_of_the_calls(done: list[str]) -> None:
    """Whichever ends first: the conversation is the same in every replay."""
    agent = Agent(name="parallel", model=MODEL, tools=[look_up])

    result, scripted = play(agent, [calls(*[("look_up", f'{{"word": "w{n}"}}') for n in range(12)]), "done"])

    assert [f"w{n} means much" for n in range(12)] == told(scripted.asked[1])
    assert 12 == len(result.tools)


@workflow(name="agents_child")
def child(word: str) -> Workflow[str]:
    """Shout a word, as a run of its own."""
    answer = yield from look_up(word)
    return answer.upper()


def shout(word: str) -> str:
    """A plain function, which is made a step."""
    DONE.append("shout")
    return word + "!"


def twice(word: str) -> Generator[Effect[Any], Any, str]:
    """A generator of effects."""
    first = yield from look_up(word)
    second = yield from look_up(word)
    return f"{first} {second}"


@pytest.mark.parametrize(
    ("tool", "name", "answer"),
    [
        (child, "agents_child", "X MEANS MUCH"),
        (shout, "shout", "x!"),
        (twice, "twice", "x means much x means much"),
    ],
    ids=["workflow", "function", "generator"],
)
def test_what_can_be_a_tool(tool: Any, name: str, answer: str) -> None:
    """A workflow becomes a child run, a function a step, a generator goes on inside the agent's own run."""
    agent = Agent(name=f"uses_{name}", model=MODEL, tools=[tool])

    _, scripted = play(agent, [calls((name, '{"word": "x"}')), "done"])

    assert [answer] == told(scripted.asked[1])


def test_an_agent_may_be_a_tool_of_another() -> None:
    """It works on the prompt that the model gives, and its answer is the tool's."""
    inner = Agent(name="inner", model="gpt-4o", about="Knows words.", tools=[look_up])
    outer = Agent(name="outer", model=MODEL, tools=[inner])
    script = [calls(("inner", '{"prompt": "what is x?"}')), calls(("look_up", '{"word": "x"}')), "inner says much", "outer says so"]

    result, scripted = play(outer, script)

    assert "outer says so" == result.output
    assert [MODEL, "gpt-4o", "gpt-4o", MODEL] == [asked.model for asked in scripted.asked]
    assert ["inner says much"] == told(scripted.asked[3])


# ---- what models do wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says", "mistakes"),
    [
        (("nothing", "{}"), "There is no tool 'nothing'. There are: look_up, agents_fails.", 1),
        (("look_up", "{}"), "The arguments do not fit: ", 1),
        (("look_up", '{"word": 7}'), "The arguments do not fit: ", 1),
        (("look_up", "not JSON"), "The arguments do not fit: ", 1),
        (("agents_fails", "{}"), "The tool failed: ", 0),
    ],
)
def test_the_model_is_told_what_it_did_wrong(call: tuple[str, str], says: str, mistakes: int) -> None:
    """A wrong call is counted; a tool that fails is not the model's mistake."""
    agent = Agent(name="wrong", model=MODEL, tools=[look_up, fails])

    result, scripted = play(agent, [calls(call), "sorry"])

    (answer,) = told(scripted.asked[1])
    assert answer.startswith(says)
    assert (mistakes, []) == (result.mistakes, result.tools)


def test_an_agent_gives_up_on_a_model_that_only_errs() -> None:
    """Ten wrong calls in a row are enough."""
    agent = Agent(name="errs", model=MODEL, tools=[look_up], max_turns=100)

    with pytest.raises(RunFailed, match="called wrongly 10 times in a row; the last time: There is no tool"):
        play(agent, lambda _: calls(("nothing", "{}")))


# ---- when it stops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "named"),
    [
        (turns_reached(3), "3 turns"),
        (tokens_reached(50), "50 tokens"),
        (cost_reached(1e-6), "1e-06 USD"),
        (tool_done("look_up"), "tool look_up"),
        (text_found("ENOUGH"), "text 'ENOUGH'"),
        (lambda progress: progress.turns > 2 and "my own", "my own"),
    ],
)
def test_conditions_stop_an_agent_between_turns(stop: Any, named: str) -> None:
    """The result names which, and what was said last."""
    agent = Agent(name="endless", model=MODEL, tools=[look_up], stop=[stop])
    endless = attrs.evolve(calls(("look_up", '{"word": "x"}')), text="ENOUGH")

    result, _ = play(agent, lambda _: endless)

    assert (None, named, "ENOUGH") == (result.output, result.stopped, result.text)


def test_an_agent_stops_after_its_turns_in_any_case() -> None:
    """Nothing is unbounded."""
    agent = Agent(name="bounded", model=MODEL, tools=[look_up], max_turns=4)

    result, scripted = play(agent, lambda _: calls(("look_up", '{"word": "x"}')))

    assert ("4 turns", 4, 4) == (result.stopped, result.turns, len(scripted.asked))


def test_a_budget_around_an_agent_is_not_told_to_the_model() -> None:
    """It is the author's limit, and raised where the author set it."""
    agent = Agent(name="dear", model=MODEL, tools=[look_up])

    @workflow(name="agents.within_a_budget")
    def limited() -> Workflow[str]:
        try:
            yield from budget(agent.run("go"), calls=2)
        except BudgetExceeded as spent:
            return str(spent)
        return "never"

    world, scripted = world_of(lambda _: calls(("look_up", '{"word": "x"}')))
    with world:
        assert "never" != world.start(limited()).result()
    assert 2 == len(scripted.asked)


# ---- guards --------------------------------------------------------------------------------------------------------------------


def brief(text: str) -> Again | None:
    """No long answers."""
    return Again("shorter") if len(text) > 5 else None


def test_a_guard_has_an_answer_written_anew() -> None:
    """The model is asked again with the feedback; the first answer is not the result."""
    agent = Agent(name="brief", model=MODEL, guards=[guard_output(brief)])

    result, scripted = play(agent, ["much too long", "short"])

    assert "short" == result.output
    assert {"role": "user", "content": "shorter"} == scripted.asked[1].messages[-1]


def test_a_guard_gives_up_after_three_more_tries() -> None:
    """A model that does not listen does not loop for ever."""
    agent = Agent(name="deaf", model=MODEL, guards=[guard_output(brief)])

    with pytest.raises(RunFailed, match="guard brief refused: after 3 more tries: shorter"):
        play(agent, lambda _: "much too long")


def test_guards_change_what_goes_in_and_what_comes_out() -> None:
    """In the order in which they are given."""
    guards = [
        guard_input(lambda text: Change(text.replace("secret", "***"))),
        guard_output(lambda text: Change(text + " (a)")),
        guard_output(lambda text: Change(text + " (b)")),
    ]

    result, scripted = play(Agent(name="changing", model=MODEL, guards=guards), ["fine"], "my secret")

    assert ("my ***", "fine (a) (b)") == (scripted.asked[0].messages[-1]["content"], result.output)


@pytest.mark.parametrize("answer", [False, Fail("not here"), Again("not here")])
def test_a_refused_prompt_is_never_sent(answer: Any) -> None:
    """Nobody would ask anew, so wanting that refuses, too."""
    agent = Agent(name="shut", model=MODEL, guards=[guard_input(lambda _: answer, name="gate")])
    world, scripted = world_of(["never"])

    with world, pytest.raises(RunFailed, match="agent shut: guard gate refused"):
        world.start(agent.as_workflow()("go")).result()
    assert [] == scripted.asked


def test_a_guard_of_tools_changes_arguments_and_refuses_calls(done: list[str]) -> None:
    """What it sends back is told to the model as a mistake; nothing is done."""

    def tidy(_: str, arguments: dict[str, Any]) -> Change | Again | None:
        if arguments["word"] == "bad":
            return Again("not that word")
        return Change({"word": arguments["word"].lower()})

    agent = Agent(name="tidy", model=MODEL, tools=[look_up], guards=[guard_tool(tidy)])

    result, scripted = play(agent, [calls(("look_up", '{"word": "bad"}'), ("look_up", '{"word": "GOOD"}')), "done"])

    assert (["good"], 1) == (done, result.mistakes)
    assert ["not that word", "good means much"] == told(scripted.asked[1])


@pytest.mark.parametrize(
    ("judged", "output"),
    [
        ('{"verdict": "pass"}', "a joke"),
        ('{"verdict": "change", "value": "a better joke"}', "a better joke"),
        ('{"verdict": "again", "reason": "not funny"}', "a second joke"),
    ],
)
def test_a_prompt_judges_as_a_guard(judged: str, output: str) -> None:
    """A model reads the text as something to be judged, and what it costs counts."""
    agent = Agent(name="funny", model=MODEL, guards=[guard_output("Is it funny?", model="gpt-4o")])

    result, scripted = play(agent, ["a joke", judged, "a second joke", '{"verdict": "pass"}'])

    assert (output, "gpt-4o") == (result.output, scripted.asked[1].model)
    assert "Is it funny?" in scripted.asked[1].messages[0]["content"]


def judged(verdict: str, value: str = "") -> str:
    """What a model that judges says."""
    return json.dumps({"verdict": verdict, "value": value})


def test_a_prompt_changes_arguments_and_typed_answers(done: list[str]) -> None:
    """What it gives as text is read as the tool and the answer are."""
    guards = [guard_tool("Is it polite?"), guard_output("Is it true?")]
    agent = Agent(name="judged", model=MODEL, tools=[look_up], response_type=Report, guards=guards)
    script = [
        calls(("look_up", '{"word": "bad"}')),
        judged("change", '{"word": "good"}'),
        '{"title": "t", "score": 1}',
        judged("change", '{"title": "t", "score": 2}'),
    ]

    result, scripted = play(agent, script)

    assert (["good"], Report("t", 2)) == (done, result.output)
    assert 'tool look_up with {"word": "bad"}' == scripted.asked[1].messages[-1]["content"]


def test_what_a_prompt_changes_badly_is_not_taken(done: list[str]) -> None:
    """The tool is not done, the answer is asked for anew; neither is the fault of the model that was judged."""
    guards = [guard_tool("Is it polite?"), guard_output("Is it true?")]
    agent = Agent(name="misjudged", model=MODEL, tools=[look_up], response_type=Report, guards=guards)
    script = [
        calls(("look_up", '{"word": "bad"}')),
        judged("change", "a nicer word"),
        '{"title": "t", "score": 1}',
        judged("change", "two"),
        '{"title": "t", "score": 3}',
        judged("pass"),
    ]

    result, scripted = play(agent, script)

    assert ([], Report("t", 3), 0) == (done, result.output, result.mistakes)
    assert told(scripted.asked[2])[0].startswith("Guard prompt changed this call to one that does not fit: ")
    assert scripted.asked[4].messages[-1]["content"].startswith("Guard prompt changed the answer to one that does not fit: ")


def test_a_guard_that_gives_no_arguments_is_its_authors_error() -> None:
    """The model can do nothing about it."""
    agent = Agent(name="argless", model=MODEL, tools=[look_up], guards=[guard_tool(lambda *_: Change(["x"]), name="odd")])

    with pytest.raises(RunFailed, match=r"guard odd changed the arguments of look_up to \['x'\]; give all of them by name"):
        play(agent, [calls(("look_up", '{"word": "x"}'))])


def test_a_guard_sees_the_answer_and_nothing_older() -> None:
    """An answer without words has none, whatever was said before it."""
    seen: list[str] = []
    agent = Agent(name="silent", model=MODEL, tools=[look_up], guards=[guard_output(seen.append)])

    result, _ = play(agent, [attrs.evolve(calls(("look_up", '{"word": "x"}')), text="let me see"), ""])

    assert ([""], "", "") == (seen, result.output, result.text)


def test_a_guard_may_be_made_of_effects(done: list[str]) -> None:
    """It looks something up, durably, before it decides."""

    def known(text: str) -> Generator[Effect[Any], Any, Change]:
        found = yield from look_up(text)
        return Change(found)

    result, _ = play(Agent(name="effects", model=MODEL, guards=[guard_output(known)]), ["x"])

    assert ("x means much", ["x"]) == (result.output, done)


def test_a_guard_that_answers_nonsense_is_its_authors_error() -> None:
    """The message says what it may answer."""
    agent = Agent(name="nonsense", model=MODEL, guards=[guard_output(lambda _: 42, name="odd")])

    with pytest.raises(RunFailed, match="guard odd answered 42; answer None, True, False, Change, Fail or Again"):
        play(agent, ["x"])


# ---- people, other agents, memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "answer", "did"),
    [
        ({"allowed": True}, "x means much", ["x"]),
        ({"allowed": False, "note": "too dear"}, "A person refused this call: too dear", []),
    ],
)
def test_a_person_allows_a_tool_or_refuses(decision: dict[str, Any], answer: str, did: list[str], done: list[str]) -> None:
    """The question shows who wants to call what with which arguments; until it is answered nothing is done."""
    agent = Agent(name="careful", model=MODEL, tools=[look_up], approve=[look_up], assignee="ann")
    world, scripted = world_of([calls(("look_up", '{"word": "x"}')), "done"])

    with world:
        handle = world.start(agent.as_workflow()("go"))
        world.run_until_idle()
        (question,) = handle.asks()
        before = list(done)
        handle.answer(question.id, decision)
        handle.result()

    assert ([], did, [answer]) == (before, done, told(scripted.asked[1]))
    assert ("ann", 'May agent careful call look_up with {"word": "x"}?') == (question.assignee, question.prompt)


def test_an_agent_hands_over_to_another() -> None:
    """The other goes on with the same conversation, its own instructions and tools."""
    writer = Agent(name="writer", model="gpt-4o", instructions="write", about="Writes.", response_type=Report)
    finder = Agent(name="finder", model=MODEL, instructions="find", handoffs=[writer])

    result, scripted = play(finder, [calls(("hand_over_to_writer", '{"reason": "found"}')), '{"title": "t", "score": 1}'])

    assert (Report("t", 1), "writer") == (result.output, result.agent)
    assert ("find", "write") == tuple(asked.messages[0]["content"] for asked in scripted.asked)
    assert ["writer goes on from here."] == told(scripted.asked[1])


def test_only_one_agent_can_take_over() -> None:
    """The first that is named does; the model is told that the other does not."""
    others = [Agent(name=name, model=MODEL) for name in ("ann", "ben")]

    result, scripted = play(
        Agent(name="both", model=MODEL, handoffs=others), [calls(("hand_over_to_ben", "{}"), ("hand_over_to_ann", "{}")), "x"]
    )

    assert ("ben", ["hand_over_to_ben"], 1) == (result.agent, result.tools, result.mistakes)
    assert ["ben goes on from here.", "Only one agent can go on from here, and that is ben."] == told(scripted.asked[1])


def test_a_long_conversation_is_made_shorter() -> None:
    """The older part becomes a summary; a call and its tool's answer stay together."""
    agent = Agent(name="long", model=MODEL, tools=[look_up], memory=Memory(tokens=60, keep=3, model="gpt-4o"))
    script = [calls(("look_up", f'{{"word": "{"x" * 60}"}}')) for _ in range(2)]

    result, scripted = play(agent, [*script, "they asked for x", "done"])

    assert "done" == result.output
    assert "gpt-4o" == scripted.asked[2].model
    last = scripted.asked[3].messages
    assert "Summary of what was said before:\nthey asked for x" == last[0]["content"]
    assert ["user", "assistant", "tool"] == [message["role"] for message in last]


def test_a_step_may_summarise() -> None:
    """Instead of a model."""

    @step(name="agents_summary")
    def summary(count: int) -> str:
        return f"{count} messages"

    memory = Memory(tokens=1, keep=1, summarise=lambda older: summary(len(older)))
    agent = Agent(name="stepwise", model=MODEL, memory=memory)
    kept = Conversation()

    @workflow(name="agents.two_prompts")
    def two() -> Workflow[list[str]]:
        yield from agent.run("first", conversation=kept)
        yield from agent.run("second", conversation=kept)
        return [message["content"] for message in kept.messages]

    world, _ = world_of(["one", "two"])
    with world:
        said = world.start(two()).result()

    assert ["Summary of what was said before:\n2 messages", "second", "two"] == said


def test_hooks_and_events_tell_of_the_work() -> None:
    """Hooks in the workflow, events to whoever watches; each once."""
    seen: list[str] = []

    def on_tool(use: Any) -> Generator[Effect[Any], Any, None]:
        yield from publish("tools", use.call.name)

    hooks = Hooks(
        start=lambda name, prompt: seen.append(f"start {name} {prompt}"),
        turn=lambda name, reply: seen.append(f"turn {name} {reply.text}"),
        tool=on_tool,
        end=lambda result: seen.append(f"end {result.text}"),
    )
    agent = Agent(name="watched", model=MODEL, tools=[look_up], hooks=hooks, events=True)
    world, _ = world_of([calls(("look_up", '{"word": "x"}')), "done"])
    with world:
        handle = world.start(agent.as_workflow()("go"))
        handle.result()
        told_of = [json.loads(entry.payload)["kind"] for entry in world.read(f"agent:{handle.id}")]
        tools = [json.loads(entry.payload) for entry in world.read("tools")]

    assert ["start watched go", "turn watched ", "turn watched done", "end done"] == seen
    assert (["start", "turn", "tool", "turn", "end"], ["look_up"]) == (told_of, tools)


def test_whoever_watches_hears_of_a_tool_while_another_is_still_being_done() -> None:
    """Not only when all of them have ended."""
    released = threading.Event()

    @step(name="agents_slow")
    def slow() -> str:
        """Take long."""
        assert released.wait(60)
        return "slow"

    agent = Agent(name="live", model=MODEL, tools=[look_up, slow], events=True)
    script = Scripted([calls(("agents_slow", "{}"), ("look_up", '{"word": "x"}')), "done"])
    with Engine("memory://", models=Models({"openai": script})) as engine:
        handle = engine.start(agent.as_workflow()("go"), id="live")
        next(event for event in handle.events(timeout=60) if event.name == "look_up")
        before = [json.loads(entry.payload) for entry in engine.read("agent:live")]
        released.set()
        handle.result(60)
        after = [json.loads(entry.payload) for entry in engine.read("agent:live")]

    assert [("start", ""), ("turn", ""), ("tool", "look_up")] == [(one["kind"], one.get("name", "")) for one in before]
    assert [("tool", "agents_slow"), ("turn", ""), ("end", "")] == [(one["kind"], one.get("name", "")) for one in after[3:]]


# ---- crashes -------------------------------------------------------------------------------------------------------------------


def thinking(ask: Ask) -> Any:
    """A model that needs three tools, and whose answer depends on what it was told alone."""
    count = len(told(ask))
    if "Summarise" in str(ask.messages[0]["content"]):
        return "in short"
    if count < 2 and not any("Summary" in str(message["content"]) for message in ask.messages):
        return calls(("look_up", f'{{"word": "{"w" * 40}{count}"}}'), ("shout", '{"word": "hey"}'))
    return "the end"


def test_an_agent_survives_a_crash_everywhere() -> None:
    """Wherever its worker dies it ends the same, and no model and no tool is asked again for what was committed."""
    agent = Agent(name="sturdy", model=MODEL, tools=[look_up, shout], memory=Memory(tokens=70, keep=2))

    report = crash_everywhere(agent.as_workflow()("go"), models=Models({"openai": Scripted(thinking)}), same="outcome")

    assert report.cuts > 5


def test_an_agent_begins_again_at_its_last_savepoint() -> None:
    """What lies before the summary is not read again, and the hand-off is remembered."""
    second = Agent(name="second", model="gpt-4o", memory=Memory(tokens=20, keep=1))
    first = Agent(name="first", model=MODEL, handoffs=[second], memory=None)
    world, scripted = world_of(
        [calls(("hand_over_to_second", '{"reason": "a long reason, and longer still than that"}')), "short", "done"]
    )
    with world:
        handle = world.start(first.as_workflow()("go " * 40))
        result = handle.result()
        kinds = [event.kind for event in handle.journal()]
        report = handle.replay()

    assert ("done", "second", 3) == (result.output, result.agent, len(scripted.asked))
    assert 1 == kinds.count("savepoint")
    assert report.fits


def test_going_on_equals_starting_again_at_a_savepoint() -> None:
    """Also of what was counted in a row: a model that only errs is given up on after as many calls."""
    agent = Agent(name="lawful", model=MODEL, tools=[look_up], memory=Memory(tokens=150, keep=2, summarise=lambda _: sum_up()))

    def errs(ask: Ask) -> Said:
        return calls(("nothing", json.dumps({"n": len(ask.messages)})))

    report = check_savepoints(agent.as_workflow()("go"), models=Models({"openai": Scripted(errs)}))

    assert len(report.savepoints) > 2


@step(name="agents_sum_up")
def sum_up() -> str:
    """Say what was said."""
    return "they erred"


def test_agents_survive_all_trouble_together() -> None:
    """Several workers that die, stop, and meet wrong clocks and failing stores; agents with children and budgets among them."""
    helper = Agent(name="helper", model=MODEL, tools=[look_up], memory=Memory(tokens=60, keep=2))
    helped = helper.as_workflow(name="agents_helper")
    agent = Agent(name="troubled", model=MODEL, tools=[shout, helped], events=True)

    def thinks(ask: Ask) -> Any:
        if any("helper" in str(tool) for tool in ask.tools):
            wanted = calls(("agents_helper", '{"prompt": "go"}'), ("shout", '{"word": "hey"}'))
            return wanted if not told(ask) else "all is well"
        return thinking(ask)

    @workflow(name="agents.troubled_within_a_budget")
    def limited() -> Workflow[str]:
        result = yield from budget(agent.run("go"), calls=40)
        return result.text

    def world(simulation: Simulation) -> None:
        for number in range(3):
            _ = simulation.start(limited(), id=f"agent-{number}")

    def ended(simulation: Simulation) -> None:
        assert ["all is well"] * 3 == [simulation.get(f"agent-{number}").result() for number in range(3)]

    report = simulate(world, seeds=range(6), check=ended, models=Models({"openai": Scripted(thinks)}))

    assert 6 == report.worlds


PROGRAM = """
import os, signal, sys
from pathlib import Path
import replay
from replay.llm import Models, OpenAI
from replay_agents import Agent

def count(word: str) -> int:
    'Count the letters of a word.'
    with Path("counted").open("a") as counted:
        counted.write(f"{word}\\n")
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return len(word)

agent = Agent(name="counter", model="gpt-4o-mini", tools=[count], stream=True)
models = Models({"openai": OpenAI(sys.argv[1], key_env=None)})
with replay.Engine("sqlite:///agent.db", models=models, ttl=1) as engine:
    print(engine.start(agent.as_workflow()("count"), id="one").result(60).text)
"""


def test_a_killed_process_goes_on_over_real_http(replay_llm_server: Any, tmp_path: Path) -> None:
    """It is killed while a tool is done: the tool is done again, and no reply that was paid for is asked for again."""
    server = replay_llm_server([Says(calls=[("count", {"word": "frog"})]), Says("four")])
    (tmp_path / "agent.py").write_text(PROGRAM, encoding="utf-8")
    lives = [
        subprocess.run([sys.executable, "agent.py", server.url], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        for _ in range(2)
    ]

    assert [-signal.SIGKILL, 0] == [life.returncode for life in lives], lives[1].stderr
    assert "four\n" == lives[1].stdout
    assert ["frog", "frog"] == (tmp_path / "counted").read_text(encoding="utf-8").split()
    assert 2 == len(server.requests)
    assert "4" == server.requests[1].body["messages"][-1]["content"]


def test_what_an_agent_spent_is_told_with_its_children_and_guards() -> None:
    """Each call in the journal of the run that made it, and all of them in the tree's sum."""
    helped = Agent(name="costly", model="gpt-4o", guards=[guard_output("Is it true?")]).as_workflow(name="agents_costly")
    agent = Agent(name="boss", model=MODEL, tools=[helped])
    world, _ = world_of([calls(("agents_costly", '{"prompt": "go"}')), "it is so", judged("pass"), "done"])
    with world:
        handle = world.start(agent.as_workflow()("go"))
        result = handle.result()
        own, tree = handle.costs(), handle.costs(tree=True)

    assert {"openai/gpt-4o-mini": 2} == {model: spent.calls for model, spent in own.models.items()}
    assert {"openai/gpt-4o": 2, "openai/gpt-4o-mini": 2} == {model: spent.calls for model, spent in tree.models.items()}
    assert tree.total.tokens == result.tokens
    assert pytest.approx(tree.total.usd) == result.cost


def test_an_agent_is_deterministic() -> None:
    """Under other clocks, hash seeds and random states it issues the same commands."""
    agent = Agent(name="steady", model=MODEL, tools=[look_up, shout])

    check_determinism(agent.as_workflow()("go"), models=Models({"openai": Scripted(thinking)}))


# ---- bad input -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "no spaces"}, "use letters, digits, _ and -, 48 at most"),
        ({"name": "x", "tools": [look_up, look_up]}, "two tools are called 'look_up'"),
        ({"name": "x", "tools": [42]}, "a tool is 42, which nobody can call"),
        ({"name": "x", "approve": ["other"]}, "approve= names ['other'], no tools"),
        ({"name": "x", "max_turns": 0}, "max_turns and parallel must be positive"),
        ({"name": "x", "model": 42}, 'give it one, such as "gpt-4o-mini", or several'),
        ({"name": "x", "model": []}, 'give it one, such as "gpt-4o-mini", or several'),
        ({"name": "x", "tools": look_up}, "give it a list of steps, workflows, functions or agents"),
        ({"name": "x", "guards": [brief]}, "give it a list of guard_input(…), guard_output(…) and guard_tool(…)"),
        ({"name": "x", "stop": ["soon"]}, "give it a list of conditions, such as tokens_reached(50_000)"),
        ({"name": "x", "handoffs": ["other"]}, "give it a list of agents"),
        ({"name": "x", "settings": {"stream": True}}, "settings= holds 'stream'; an agent has fields of its own for that"),
    ],
)
def test_a_wrong_agent_is_refused_where_it_is_made(options: dict[str, Any], says: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(DefinitionError) as refused:
        Agent(**{"model": MODEL, **options})

    assert says in str(refused.value)


def test_a_type_that_is_no_data_and_a_memory_of_less_than_nothing_are_refused() -> None:
    """Where they are written, not in the middle of a run."""
    wrong: Any = 42

    with pytest.raises(PayloadError, match="expected a type that is data, got 42"):
        Agent(name="x", model=MODEL, response_type=wrong)
    with pytest.raises(DefinitionError, match="tokens=1, keep=-1; let both be 0 or more"):
        Memory(tokens=1, keep=-1)


def test_two_agents_of_a_team_need_two_names() -> None:
    """Or a savepoint could not tell whose turn it was."""
    team = Agent(name="same", model=MODEL, handoffs=[Agent(name="same", model=MODEL)])

    with pytest.raises(DefinitionError, match="two agents of one team share this name"):
        team.as_workflow()


def test_progress_without_a_known_price_has_no_cost() -> None:
    """Unknown is unknown, and never nothing."""
    result, _ = play(Agent(name="unpriced", model="a-model-of-nobody"), ["hello"])

    assert (None, 1) == (result.cost, result.turns)
    assert 0.0 == Progress().cost
