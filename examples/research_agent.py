"""A research agent that is killed in the middle of a thought, three times: `python examples/research_agent.py`.

It searches and reads a small library with tools, under a budget of ten cents, and writes a report. The program kills itself while a
model is thinking, while a tool is reading, and once more; each life goes on where the last one was, and no reply that was paid for
is asked for again. The model answers from a script, offline; take `models=` away, set OPENAI_API_KEY, and a real one answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from replay_agents import Agent

import replay
from replay import Workflow, budget, step, workflow
from replay.llm import Ask, Models, Said, Scripted, ToolCall, Usage

LIBRARY = {
    "sagas": "A saga undoes what was done, in reverse order (Garcia-Molina and Salem, 1987).",
    "journals": "A journal of what the world answered is enough to go on after a crash.",
    "leases": "A lease with a fencing token keeps a stale worker from writing.",
}


def die_once(where: str) -> None:
    """The power fails here, the first time."""
    if not Path(f"died-{where}").exists():
        Path(f"died-{where}").touch()
        print(f"  … killed {where}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


@step
def search(words: str) -> list[str]:
    """Find titles in the library.

    Args:
        words: What the titles are about.
    """
    return sorted(title for title in LIBRARY if any(word in title for word in words.split()))


@step
def read(title: str) -> str:
    """Read a text of the library.

    Args:
        title: Its title, as search tells it.
    """
    if title == "leases":
        die_once("while a tool was reading")
    with Path("reads.txt").open("a", encoding="utf-8") as reads:
        reads.write(f"{title}\n")
    return LIBRARY[title]


@attrs.frozen
class Report:
    """What the agent is to deliver."""

    title: str
    findings: list[str]


researcher = Agent(
    name="researcher",
    model="gpt-4o-mini",
    instructions="Search the library, read what fits, and report each finding with its source.",
    tools=[search, read],
    response_type=Report,
)


@workflow
def research(topic: str) -> Workflow[Report | None]:
    result = yield from budget(researcher.run(f"What does the library say about {topic}?"), usd=0.10)
    return result.output


def think(ask: Ask) -> Any:
    """The model: looks at what it was told so far, and takes the next step."""
    with Path("asked.txt").open("a", encoding="utf-8") as asked:
        asked.write(f"{len(ask.messages)}\n")
    told = [message["content"] for message in ask.messages if message["role"] == "tool"]
    usage = Usage(input=400 * len(ask.messages), output=60)
    if not told:
        return Said(tool_calls=(ToolCall("t1", "search", '{"words": "sagas journals leases"}'),), usage=usage)
    if len(told) == 1:
        die_once("in the middle of a thought")
        return Said(tool_calls=tuple(ToolCall(f"r{title}", "read", f'{{"title": "{title}"}}') for title in LIBRARY), usage=usage)
    die_once("before the last word")
    findings = ", ".join(f'"{text}"' for text in told[1:])
    return Said(text=f'{{"title": "Durable execution", "findings": [{findings}]}}', usage=usage)


def live() -> None:
    """One life of the program."""
    models = Models({"openai": Scripted(think)})
    with replay.Engine("sqlite:///research.db", models=models) as engine:
        run = engine.start(research("durable execution"), id="research-1")
        report = run.result()
        assert report is not None
        print(f"  {report.title}: {len(report.findings)} findings")
        spent = run.costs().total
        print(f"  {spent.calls} replies are in the journal, {spent.tokens} tokens, {spent.usd:.5f} USD")


if __name__ == "__main__":
    if sys.argv[1:] == ["live"]:
        live()
    else:
        with tempfile.TemporaryDirectory() as folder:
            for number in (1, 2, 3, 4):
                print(f"life {number}:", flush=True)
                subprocess.run([sys.executable, Path(__file__).resolve(), "live"], cwd=folder, check=False)
            asked = (Path(folder) / "asked.txt").read_text(encoding="utf-8").split()
            reads = (Path(folder) / "reads.txt").read_text(encoding="utf-8").split()
        print(f"the model was asked {len(asked)} times for 3 replies: the two that a kill cut off were asked again, no other")
        print(f"texts read: {', '.join(sorted(reads))}")
        sys.exit((len(asked), sorted(set(reads))) != (5, sorted(LIBRARY)))
