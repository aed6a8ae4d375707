"""The smallest program: a step, a workflow, a run. `python examples/hello.py`, and again: the second time nothing is executed."""

from __future__ import annotations

import replay
from replay import Workflow, step, workflow


@step
def greet(name: str) -> str:
    """A step may do anything; its result is kept in the run's journal."""
    print(f"(greeting {name}, for real)")
    return f"Hello, {name}!"


@workflow
def hello(first: str, second: str) -> Workflow[str]:
    """A workflow decides what happens next; it gets every answer through `yield from`."""
    one = yield from greet(first)
    two = yield from greet(second)
    return f"{one} {two}"


if __name__ == "__main__":
    # The journal is in .replay/replay.db. A run is known by its id: the same call again is the same run, not another one.
    print(replay.run(hello("Ada", "Grace"), id="hello-1"))
