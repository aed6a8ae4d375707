"""New code under open runs: `python examples/versions.py`.

Runs live longer than code. What lies after the last answer in a run's journal may change freely. What lies before must stay as it was,
or be guarded with `patched`: the run keeps the path that it began with. A change that does neither is found before it does harm.
"""

from __future__ import annotations

import logging
import tempfile

import replay
from replay import Workflow, patched, step, workflow

logging.disable(logging.ERROR)  # the engine logs a run that is stuck; here that is part of the story


@step
def charge(cents: int) -> str:
    return f"charged {cents}"


@step
def check_fraud(cents: int) -> bool:
    return cents > 100_000


@workflow(name="order")
def order_of_january(cents: int) -> Workflow[str]:
    receipt = yield from charge(cents)
    yield from replay.signal("shipped")
    return f"{receipt}, shipped"


def july() -> replay.WorkflowFunction[[int], str]:
    """Later code, defined in a function so that both can live in one file; yours would simply be edited."""

    @workflow(name="order", patches=["fraud-check"])
    def order(cents: int) -> Workflow[str]:
        if (yield from patched("fraud-check")) and (yield from check_fraud(cents)):
            return "refused"
        receipt = yield from charge(cents)
        how = yield from replay.signal("shipped")
        return f"{receipt}, shipped {how or 'somehow'}"  # after the last answer: free to change

    return order


def mistake() -> replay.WorkflowFunction[[int], str]:
    """The same change, not guarded."""

    @workflow(name="order")
    def order(cents: int) -> Workflow[str]:
        if (yield from check_fraud(cents)):
            return "refused"
        return (yield from charge(cents))

    return order


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/orders.db"
        with replay.Engine(store, workflows=[order_of_january]) as january:
            run = january.start(order_of_january(1_200), id="old")
            next(event for event in run.events() if event.name == "charge")  # it has been charged, and waits

        print("-- the mistake, tried on the journals of open runs before it is deployed:")
        report = replay.Client(store).get("old", mistake()).replay()
        print(report.difference)

        print("-- the mistake, deployed: the run is set aside, and loses nothing")
        with replay.Engine(store, workflows=[mistake()]) as engine:
            engine.get("old").signal("shipped", "by train")
            try:
                engine.get("old").result(timeout=10)
            except replay.RunFailed as failed:
                print(f"{failed.run} is {failed.status}")

        print("-- July's code: the old run keeps its path, a new one takes the new")
        with replay.Engine(store, workflows=[july()]) as engine:
            engine.get("old").resume()  # or wait: a stuck run is tried again by itself, now and then
            print("old:", engine.get("old").result(timeout=10))
            print("new:", engine.start(july()(2_000_000), id="new").result(timeout=10))


if __name__ == "__main__":
    main()
