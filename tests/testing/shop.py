"""What the tests of the test kit run: small workflows, good ones and bad ones. Importable, so that other processes can drive them."""

from __future__ import annotations

import datetime
import random
import time

import replay
from replay import Cancelled, Retry, Workflow, step, workflow


@step(name="kit_charge")
def charge(card: str, cents: int) -> int:
    """The real one, which no test may reach."""
    raise ConnectionError("the bank was called by a test")


@step(name="kit_ship", retry=Retry(max_attempts=3, initial=60))
async def ship(sku: str) -> str:
    return f"{sku} is on its way"


@step(name="kit_note")
def note(text: str) -> str:
    return text


@step(name="kit_slow", timeout=30)
def slow(n: int) -> int:
    return n


@workflow(name="kit_order")
def order(cents: int) -> Workflow[str]:
    """Charges, waits a month, asks, ships."""
    paid = yield from charge("visa", cents)
    yield from replay.publish("charged", paid)
    yield from replay.set_state("paid", paid)
    yield from replay.sleep(days=30)
    approved = yield from replay.signal("approved", bool, timeout=3600, default=False)
    if not approved:
        return "refused"
    one, two = yield from replay.gather(ship("hat"), ship("coat"))
    return f"{one}, {two}"


@workflow(name="kit_asks")
def asks() -> Workflow[str]:
    """Waits for ever for a message."""
    return (yield from replay.signal("answer", str))


@workflow(name="kit_tidy")
def tidy() -> Workflow[str]:
    """Cleans up when it is cancelled."""
    try:
        yield from replay.sleep(days=365)
    except Cancelled:
        return (yield from note("tidied up"))
    return "a year has passed"


@workflow(name="kit_counts")
def counts(n: int, state: int = 0) -> Workflow[int]:
    """Keeps the law of savepoints: all that counts is in the state."""
    for i in range(state, n):
        yield from note(f"turn {i}")
        yield from replay.savepoint("turn", state=i + 1)
    return n


@workflow(name="kit_forgets")
def forgets(n: int, state: int = 0) -> Workflow[int]:
    """Breaks it: ``seen`` is not in the state."""
    seen = 0
    for i in range(state, n):
        seen += 1
        yield from note(f"turn {i} of {seen}")
        yield from replay.savepoint("turn", state=i + 1)
    return seen


# ---- code that is not pure ----------------------------------------------------------------------------------------------


@workflow(name="kit_set_order")
def set_order() -> Workflow[None]:
    """Asks in the order of a set."""
    for name in {"ann", "ben", "cleo", "dan", "eve"}:  # noqa: PLC0208 - the mistake under test
        yield from note(name)


@workflow(name="kit_wall_clock")
def wall_clock() -> Workflow[str]:
    """Looks at the machine's clock."""
    yield from replay.sleep(1)
    return f"{time.time() // 3600}"


@workflow(name="kit_calendar")
def calendar() -> Workflow[str]:
    """Looks at the machine's calendar."""
    yield from note(datetime.datetime.now(datetime.UTC).strftime("%Y-%m"))
    return "done"


@workflow(name="kit_dice")
def dice() -> Workflow[None]:
    """Throws the machine's dice."""
    yield from replay.publish("dice", random.random())


@workflow(name="kit_pure")
def pure() -> Workflow[str]:
    """Uses what replay offers instead, and types of the modules above."""
    here = yield from replay.now()
    luck = yield from replay.random()
    name = yield from replay.uuid()
    for who in sorted({"ann", "ben", "cleo"}):
        yield from note(f"{who} {luck} {name}")
    kinds = [isinstance(thing, datetime.datetime) for thing in (here, luck)]
    return f"{here.isoformat()} {kinds} {datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()}"
