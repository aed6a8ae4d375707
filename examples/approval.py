"""A person decides, or the time is over: `python examples/approval.py`.

A question is published with its schema and stays open until somebody gives an answer that fits, through any client, the API or
`replay answer`. What does not fit is refused with the reason and leaves no trace; of two people who answer, the second is told that
the question is closed. Timeout and default are durable, as is the question itself.
"""

from __future__ import annotations

from typing import Literal

import attrs

import replay
from replay import AnswerRefused, AskClosed, Workflow, ask, step, workflow
from replay.client import Handle


@attrs.frozen
class Decision:
    """The form that a person fills in."""

    verdict: Literal["yes", "no"]
    reason: str = ""


NOBODY = Decision("no", "nobody answered in time")


def reasoned(decision: Decision) -> None:
    if decision.verdict == "no" and not decision.reason:
        raise ValueError("a no needs a reason")


@step
def pay_out(employee: str, cents: int) -> str:
    return f"{cents / 100:.2f} paid to {employee}"


@workflow
def expense(employee: str, cents: int, patience: float) -> Workflow[str]:
    if cents > 10_000:
        prompt = f"May {employee} have {cents / 100:.2f}?"
        decision = yield from ask(prompt, form=Decision, validator=reasoned, timeout=patience, default=NOBODY, assignee="the boss")
        if decision.verdict == "no":
            return f"refused: {decision.reason}"
    return (yield from pay_out(employee, cents))


def answer(run: Handle[str], ask_id: str, **fields: str) -> None:
    try:
        run.answer(ask_id, fields, by="the boss")
        print("taken:    ", fields)
    except (AnswerRefused, AskClosed) as problem:
        print(f"{type(problem).__name__}:", problem)


def main() -> None:
    with replay.Engine("memory://") as engine:
        small = engine.start(expense("Ada", 900, 60), id="small")
        large = engine.start(expense("Grace", 50_000, 60), id="large")
        unwanted = engine.start(expense("Alan", 60_000, 60), id="unwanted")
        forgotten = engine.start(expense("Edsger", 70_000, 0.3), id="forgotten")  # 0.3 s; it could be three days

        print("small:    ", small.result())
        print("forgotten:", forgotten.result())
        for question in engine.asks(assignee="the boss").asks:
            print(f"{question.run} asks {question.id}: {question.prompt}")

        (question,) = large.asks()
        answer(large, question.id, verdict="perhaps")
        answer(large, question.id, verdict="no")
        answer(large, question.id, verdict="yes")
        answer(large, question.id, verdict="no", reason="I changed my mind")
        answer(unwanted, unwanted.asks()[0].id, verdict="no", reason="too dear")
        print("large:    ", large.result())
        print("unwanted: ", unwanted.result())


if __name__ == "__main__":
    main()
