"""What would another prompt have done? Production journals as regression tests: `python examples/whatif.py`.

Recorded runs are run again in memory. Their steps are answered from the record; only the model is asked again, with another prompt or
as another model, and a stub stands in for the one step that acts outside. Nothing else happens: nobody is mailed a second time, and
the recorded runs stay as they are. The model answers from a script, offline; a real one is asked in the same way.

In a test the runs are a folder of exported journals, and the pytest fixture `whatif` is this function:

    def test_a_shorter_prompt_sorts_as_the_old_one(whatif):
        whatif("tests/journals", llm={"system": SHORTER}).assert_same()
"""

from __future__ import annotations

from typing import Literal

import attrs

import replay
from replay import Workflow, llm_call, sleep, step, workflow
from replay.llm import Ask, Models, Scripted

PROMPT = "You sort mail. It is spam when it says that somebody has won."
SHORTER = "Spam is what says that somebody has won. Sort."
STRICTER = "You sort mail. It is spam when it says that somebody has won, or sells something."


@attrs.frozen
class Sorted:
    """What the model answers."""

    label: Literal["spam", "ham"]


@step
def forward(text: str) -> str:
    print(f"  (forwarding {text!r}, for real)\n", end="")  # in one write, as others forward at the same time
    return "forwarded"


@workflow
def inbox(text: str) -> Workflow[str]:
    reply = yield from llm_call(text, model="gpt-4o-mini", system=PROMPT, response_type=Sorted)
    yield from sleep(0.2)
    if reply.parsed.label == "spam":
        return "binned"
    return (yield from forward(text))


def sort(ask: Ask) -> dict[str, str]:
    """The model: it does what its prompt says."""
    prompt, text = (message["content"] for message in ask.messages)
    is_spam = ("won" in prompt and "won" in text) or ("sells" in prompt and "cheap" in text)
    return {"label": "spam" if is_spam else "ham"}


def main() -> None:
    models = Models({"openai": Scripted(sort)})
    with replay.Engine("memory://", models=models) as engine:
        print("in production:")
        runs = [engine.start(inbox(text), id=text.split()[-1]) for text in ("you have won", "cheap pills", "dear Ada")]
        for run in runs:
            run.result()

        print("\nthe same again, nothing asked:")
        replay.whatif(runs).assert_same()
        print("all end as they ended")

        for title, changed in (
            ("a shorter prompt", {"system": SHORTER}),
            ("a stricter prompt", {"system": STRICTER}),
            ("another model", {"model": "gpt-4o"}),
        ):
            print(f"\n{title}:")
            report = replay.whatif(runs, llm=changed, stub={"forward": "forwarded"}, models=models)
            print(report)

        print("\nas a test of the stricter prompt:")
        try:
            replay.whatif(runs, llm={"system": STRICTER}, models=models).assert_same()
        except AssertionError as error:
            print(error)


if __name__ == "__main__":
    main()
