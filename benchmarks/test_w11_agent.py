"""W11: an agent of 100 calls whose conversation grows to 200,000 tokens: what its journal holds, and how fast it is back.

Each turn calls a tool whose answer is 7,500 characters long, so that the last request holds 800,000. The limit of the size is what the
world said: replies and answers, bare. The limit of the recovery is to read that from the store. Once the loop is written by hand over
``llm_call``, and once it is an ``Agent`` of replay-agents, whose memory is switched off, or it would make its conversation shorter.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pytest
from replay_agents import Agent

from replay import Client, Engine, Workflow, llm_call, step, workflow
from replay.hooks import Claim, open_store
from replay.interpreter.interpreter import Interpreter
from replay.llm import Models, Said, Scripted, ToolCall, bind, tool_message, user
from replay.model.effects import Call
from replay.model.llm import KNOWN

CALLS: Final = 100
ANSWER: Final = 7_500
THOUGHT: Final = 400
ROUNDS: Final = 5


@step(name="w11_search")
def search(query: str) -> str:
    """Find something.

    Args:
        query: What to look for.
    """
    return f"{query}: {'found it, ' * ANSWER}"[:ANSWER]


@workflow(name="w11-by-hand")
def by_hand(calls: int) -> Workflow[None]:
    talk: list[Any] = [user("Find out.")]
    for _ in range(calls):
        reply = yield from llm_call(talk, model="gpt-4o", system="You find things out.", tools=[search])
        talk.append(reply.message)
        for call in reply.tool_calls:
            found = yield from search(**bind(search, call))
            talk.append(tool_message(call, found))


def loops(calls: int) -> dict[str, Call[Any]]:
    """The same agent, made in two ways."""
    agent = Agent(
        name="w11", model="gpt-4o", instructions="You find things out.", tools=[search], max_turns=calls, memory=None
    ).as_workflow(name="w11-agent", version=str(calls))
    return {"by hand": by_hand(calls), "replay-agents": agent("Find out.")}


def thinks(ask: Any) -> Said:
    """The next turn of the agent."""
    number = len(ask.messages)
    call = ToolCall(f"call-{number}", "w11_search", f'{{"query": "thing {number}"}}')
    return Said(text=f"I look for thing {number}. {'I think, ' * THOUGHT}"[:THOUGHT], tool_calls=(call,), finish="tool_calls")


def seconds_of_recovery(store: Any, spec: Any, worker: str) -> tuple[float, float]:
    """Seconds to claim the run and drive it to its last call, and how many of them reading took."""
    KNOWN.forget()  # as in a fresh process
    claim = Claim(worker=worker, namespace="default", queues=["default"], workflows=[spec.name], limit=1, ttl=60_000_000)
    began = time.perf_counter()
    claimed = store.claim(claim).runs[0]
    read = time.perf_counter()
    machine = Interpreter(spec, claimed.run.key.id)
    machine.feed_all(claimed.journal)
    took = time.perf_counter() - began
    assert str(next(iter(machine.pending.values())).effect).startswith("llm_call"), "it waits for its last call"
    machine.close()
    store.release([claimed.lease])
    return took, read - began


@pytest.mark.parametrize("made", ["by hand", "replay-agents"])
def test_w11_agent(benchmark: Any, report: Any, full: bool, tmp_path: Path, made: str) -> None:
    """A journal of replies, not of conversations; recovery where call 100 is pending."""
    calls = CALLS if full else 10
    url = f"sqlite:///{tmp_path}/agent.db"
    call, script = loops(calls)[made], Scripted(thinks)
    spec: Any = call.spec
    with Engine(url, models=Models({"openai": script}), workflows=[spec]) as engine:
        engine.start(call, id="a").result(120)
        journal = engine.get("a").journal()
    with Client(url) as client:
        _ = client.get("a", spec).fork(at=2 * calls - 1, id="last")  # as it stood before its last call
    size = sum(len(event.payload) for event in journal)
    said = calls * (ANSWER + THOUGHT)
    tokens = sum(len(str(message)) for message in script.asked[-1].messages) / 4
    what = f"W11 {made}, {calls} calls"
    report(f"{what}, {tokens:,.0f} tokens: journal", "sqlite", size / 1e6, "MB", "≤ 2", size <= 2e6, said / 1e6)
    store = open_store(url)
    found = [seconds_of_recovery(store, spec, f"w{turn}") for turn in range(ROUNDS if full else 1)]
    took, read = min(found)
    value = took * 1_000
    report(f"{what}: recovery at the last one", "sqlite", value, "ms", "≤ 50", value <= 50, read * 1_000)
    benchmark.pedantic(seconds_of_recovery, args=(store, spec, "last"), rounds=1)
    store.close()
