"""A person decides, or the time is over: `python examples/approval.py`.

A signal is a message from outside. It waits in the store until the workflow asks for it, so it may come early, late, or while no worker
runs at all. The wait has a timeout and a default, both durable. A message of the wrong type is refused where it is sent.
"""

from __future__ import annotations

import attrs

import replay
from replay import PayloadError, Workflow, set_state, step, workflow


@attrs.frozen
class Decision:
    """What a person said."""

    yes: bool
    by: str


NOBODY = Decision(yes=False, by="the clock")


@step
def pay_out(employee: str, cents: int) -> str:
    return f"{cents / 100:.2f} paid to {employee}"


@workflow(signals={"decision": Decision})
def expense(employee: str, cents: int, patience: float) -> Workflow[str]:
    if cents > 10_000:
        yield from set_state("waiting for", f"somebody to approve {cents} cents for {employee}")
        decision = yield from replay.signal("decision", Decision, timeout=patience, default=NOBODY)
        yield from set_state("waiting for", None)
        if not decision.yes:
            return f"refused by {decision.by}"
    return (yield from pay_out(employee, cents))


def main() -> None:
    with replay.Engine("memory://") as engine:
        small = engine.start(expense("Ada", 900, 60), id="small")
        large = engine.start(expense("Grace", 50_000, 60), id="large")
        unwanted = engine.start(expense("Alan", 60_000, 60), id="unwanted")
        forgotten = engine.start(expense("Edsger", 70_000, 0.3), id="forgotten")  # 0.3 s; it could be three days

        print("small:    ", small.result())
        print("waiting:  ", large.state()["waiting for"])
        try:
            large.signal("decision", "yes, please")
        except PayloadError as refused:
            print("refused:  ", refused)
        large.signal("decision", Decision(yes=True, by="the boss"))
        unwanted.signal("decision", Decision(yes=False, by="the boss"))
        print("large:    ", large.result())
        print("unwanted: ", unwanted.result())
        print("forgotten:", forgotten.result())


if __name__ == "__main__":
    main()
