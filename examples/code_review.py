"""A code-review agent whose comments a person approves: `python examples/code_review.py`.

The agent reads a change with its tools and drafts comments; `post_comment` needs a person's word each time. Here the program answers as
the person; in life it is `replay asks` and `replay answer`, tomorrow or next week, while the run costs a row in the store. The model
answers from a script, offline.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from replay_agents import Again, Agent, AgentResult, guard_output

import replay
from replay import step
from replay.llm import Ask, Models, Said, Scripted, ToolCall

CHANGE = {
    "cart.py": "def total(items):\n    return sum(item.price for item in items) * 1.19\n",
    "test_cart.py": "def test_total():\n    assert total([]) == 0\n",
}
POSTED: list[str] = []


@step
def list_files() -> list[str]:
    """The files of the change."""
    return sorted(CHANGE)


@step
def show_file(name: str) -> str:
    """A file of the change, with line numbers.

    Args:
        name: As list_files tells it.
    """
    return "\n".join(f"{number} {line}" for number, line in enumerate(CHANGE[name].splitlines(), 1))


@step
def post_comment(file: str, line: int, text: str) -> str:
    """Post a comment on the change, for all to see.

    Args:
        file: The file's name.
        line: The line that it is about.
        text: The comment.
    """
    POSTED.append(f"{file}:{line} {text}")
    return "posted"


def has_a_verdict(text: str) -> Again | None:
    """A review ends with a verdict."""
    return None if text.endswith(("approve", "request changes")) else Again("End with `approve` or `request changes`.")


reviewer = Agent(
    name="reviewer",
    model="gpt-4o",
    instructions="Review the change. Comment only on what matters. End with a verdict.",
    tools=[list_files, show_file, post_comment],
    approve=[post_comment],
    assignee="grace",
    guards=[guard_output(has_a_verdict)],
)
review = reviewer.as_workflow(name="review")


def think(ask: Ask) -> Any:
    """The model: looks at what it was told so far."""
    told = [message["content"] for message in ask.messages if message["role"] == "tool"]
    if not told:
        return Said(tool_calls=(ToolCall("a", "list_files"),))
    if len(told) == 1:
        names = ("cart.py", "test_cart.py")
        return Said(tool_calls=tuple(ToolCall(f"b{name}", "show_file", f'{{"name": "{name}"}}') for name in names))
    if len(told) == 3:
        comments = (("cart.py", 2, "1.19 wants a name."), ("test_cart.py", 1, "I like this test."))
        return Said(
            tool_calls=tuple(
                ToolCall(f"c{file}", "post_comment", f'{{"file": "{file}", "line": {line}, "text": "{text}"}}')
                for file, line, text in comments
            )
        )
    if "approve" not in str(ask.messages[-1]["content"]):
        return f"One comment was posted, one was not ({told[-1]})"
    return "The tax rate wants a name: request changes"


def grace(engine: replay.Engine, wanted: int) -> None:
    """The person: says yes to what helps, and no to what is nice."""
    while len(asks := engine.asks(assignee="grace").asks) < wanted:
        time.sleep(0.01)
    for question in asks:
        nice = "I like" in question.prompt
        print(f"asked:  {question.prompt}\ngrace:  {'no, keep it short' if nice else 'yes'}")
        engine.get(question.run).answer(question.id, {"allowed": not nice, "note": "keep it short" if nice else ""})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        models = Models({"openai": Scripted(think)})
        with replay.Engine(f"sqlite:///{Path(folder).as_posix()}/review.db", models=models) as engine:
            run = engine.start(review("Please review change 4711."), id="review-4711")
            grace(engine, wanted=2)
            result: AgentResult[str] = run.result()
    print(f"posted: {POSTED}")
    print(f"review: {result.output} ({result.turns} turns, tools {', '.join(result.tools)})")
