"""A cart that lives for weeks: signals, updates and queries. `python examples/cart.py`.

A *signal* is a message that the workflow takes when it wants to. An *update* is a request with a reply: a validator may refuse it, and
then the journal holds no trace of it. A *query* is a pure function over the workflow's variables, by their names; it works on a cart
that was closed long ago as well, for any past moment can be computed again from the journal.
"""

from __future__ import annotations

import datetime

import replay
from replay import UpdateRefused, Workflow, now, on_update, step, workflow


@step
def deliver(items: dict[str, int]) -> str:
    return f"{sum(items.values())} things are on their way"


@workflow(signals={"checkout": str})
def cart(customer: str) -> Workflow[str]:
    items: dict[str, int] = {}
    opened = yield from now()  # noqa: F841 - a query reads it

    def add(line: dict[str, int]) -> int:
        for sku, count in line.items():
            items[sku] = items.get(sku, 0) + count
        return sum(items.values())

    def must_be_few(line: dict[str, int]) -> None:
        if sum(items.values()) + sum(line.values()) > 10:
            raise ValueError("ten things fit into a cart")

    yield from on_update("add", add, type=dict[str, int], returns=int, validator=must_be_few)
    address = yield from replay.signal("checkout", str, timeout=14 * 86_400, default="")
    if not address:
        return "forgotten"
    delivery = yield from deliver(items)
    return f"{delivery} to {customer}, {address}"


@cart.query
def contents(items: dict[str, int]) -> list[str]:
    """The parameter is the workflow's variable of that name."""
    return [f"{count} x {sku}" for sku, count in sorted(items.items())]


@cart.query
def has(items: dict[str, int], sku: str) -> bool:
    """What is no variable of the workflow comes from the caller."""
    return sku in items


@cart.query
def open_since(opened: datetime.datetime) -> str:
    return opened.strftime("%Y")


def main() -> None:
    with replay.Engine("memory://") as engine:
        run = engine.start(cart("Ada"), id="cart-1")
        print("reply:   ", run.update("add", {"book": 1, "pen": 2}).result(), "things")
        print("reply:   ", run.update("add", {"lamp": 1}).result(), "things")
        events = len(run.journal())
        try:
            run.update("add", {"elephant": 9}).result()
        except UpdateRefused as refused:
            print("refused: ", refused.reason)
        print("trace:   ", len(run.journal()) - events, "events more in the journal")
        print("query:   ", run.query("contents"), run.query("has", "pen"), run.query("has", "elephant"))
        run.signal("checkout", "12 St James's Square")
        print("result:  ", run.result())
        print("query:   ", run.query("contents"), "although the run is", run.status, "and was opened in", run.query("open_since"))


if __name__ == "__main__":
    main()
