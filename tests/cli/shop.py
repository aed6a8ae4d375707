"""Workflows that the tests of the command line drive."""

from __future__ import annotations

from typing import Any

import attrs

from replay import (
    Retry,
    Workflow,
    annotate,
    ask,
    gather,
    llm_call,
    log,
    on_update,
    recall,
    savepoint,
    set_state,
    set_tags,
    signal,
    sleep,
    step,
    step_info,
    workflow,
)

EDITED = False
"""Whether today's code is another than the one that wrote the journals."""


class Declined(Exception):
    """The bank says no."""


@attrs.frozen
class Cart:
    """What is bought."""

    card: str
    cents: int


@attrs.frozen
class Receipt:
    """What was paid."""

    number: str
    cents: int


@step(name="cli-charge", retry=Retry(max_attempts=2, initial=0.001))
def charge(card: str, cents: int) -> Receipt:
    """Take the money; the card `flaky` works the second time, `poor` never."""
    if card == "poor" or (card == "flaky" and step_info().attempt == 1):
        raise Declined(f"no answer for {card}")
    return Receipt("r-1", cents)


@step(name="cli-ship")
async def ship(sku: str) -> str:
    """Send it."""
    return f"shipped {sku}"


@workflow(name="cli-parcel")
def parcel(sku: str) -> Workflow[str]:
    """A child."""
    yield from sleep(0.001)
    return sku


@workflow(name="cli-order", signals={"approved": bool})
def order(cart: Cart) -> Workflow[str]:
    """Charge, wait for an approval, ship."""
    receipt = yield from charge(cart.card, cart.cents)
    yield from log("charged", receipt=receipt.number)
    yield from set_state("progress", "charged")
    yield from set_tags(paid="yes")
    if EDITED:
        yield from ship("a gift")
    yield from savepoint("charged", goal="ship it")
    approved = yield from signal("approved", bool, timeout=3600, default=False)
    if not approved:
        return "refused"
    shipped = yield from gather(ship("pen"), ship("ink"))
    yield from parcel("box")
    yield from annotate("sent", goods=list(shipped))
    return f"{receipt.number} for {receipt.cents}"


@order.query
def paid(receipt: Receipt, currency: str = "EUR") -> str:
    """How much was paid."""
    return f"{receipt.cents} {currency}"


@order.query
def share(receipt: Receipt, people: int, of: Cart | None = None) -> float:
    """What each pays."""
    return (of or receipt).cents / people


@order.query
def whole_receipt(receipt: Receipt) -> Receipt:
    """All of it."""
    return receipt


@workflow(name="cli-sum")
def total(*numbers: int, label: str = "") -> Workflow[str]:
    """No step at all."""
    yield from sleep(0)
    return f"{label}{sum(numbers)}"


@workflow(name="cli-echo")
def echo(text: str = "", value: Any = None) -> Workflow[Any]:
    """Give back what came."""
    yield from sleep(0)
    return text or value


@workflow(name="cli-mailbox")
def mailbox() -> Workflow[list[Any]]:
    """Collect messages until one says stop."""
    got: list[Any] = []

    def add(value: int) -> int:
        return value + len(got)

    yield from on_update("add", add)
    while True:
        message = yield from signal("message")
        if message == "stop":
            return got
        got.append(message)


@attrs.frozen
class Verdict:
    """What a reviewer fills in."""

    good: bool
    stars: int
    remark: str = ""


@workflow(name="cli-asking")
def asking() -> Workflow[list[Any]]:
    """Ask for a name, a number, and a form."""
    name = yield from ask("Who are you?", assignee="ada", validator=str.istitle)
    size = yield from ask("Which size?", choices=[38, 40], timeout=3600)
    verdict = yield from ask("What do you say?", form=Verdict)
    return [name, size, verdict.good, verdict.stars, verdict.remark]


@workflow(name="cli-pondering")
def pondering() -> Workflow[str]:
    """Think, and wait."""
    memory = yield from recall()
    yield from memory.note("it may rain")
    yield from memory.savepoint("thought", goal="find out")
    yield from signal("go")
    return memory.context()


@workflow(name="cli-counter")
def counter(until: int, state: int = 0) -> Workflow[int]:
    """A loop that can be recovered from its last turn."""
    while state < until:
        state += 1
        yield from savepoint("turn", state=state)
        if EDITED and state == 1:
            yield from ship("only in turn one")
    yield from signal("go")
    return state


@workflow(name="cli-asks")
def asks(model: str, calls: int, children: int) -> Workflow[None]:
    """Asks a language model, and has children that do."""
    for number in range(calls):
        system = "be long" if EDITED else "be short"
        yield from llm_call(f"question {number}", model=model, system=system, temperature=0, compare_arguments=False)
    if children:
        yield from asks(model, 1, children - 1)
