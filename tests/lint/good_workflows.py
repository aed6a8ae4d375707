"""Good workflows, one idiom each: the linter must be silent about every one of them.

Each text is checked below ``PRELUDE``, which imports what a workflow author imports, and a few steps.
"""

from __future__ import annotations

from typing import Final

PRELUDE: Final = """\
import collections, datetime, functools, hashlib, itertools, json, logging, os, random as chance, secrets, socket, subprocess
import threading, time, uuid as uuids
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final
import attrs
import replay
from replay import (
    Cancelled, Effect, Retry, StepFailed, TimedOut, Workflow, annotate, callback, cancel, continue_as_new, gather, info, join,
    llm_call, log, now, on_update, patched, poll, publish, race, random, saga, savepoint, send_signal, set_state, set_tags,
    shield, signal, sleep, spawn, start_child, step, timeout, uuid, workflow,
)

@step(retry=Retry(max_attempts=5, initial=0.2, max_delay=30), timeout=10)
def charge(card: str, cents: int) -> str:
    return subprocess.check_output(["charge", card, str(time.time()), secrets.token_hex()]).decode()

@step
async def ship(sku: str) -> str:
    await asyncio.sleep(1)
    print("shipped", os.environ["DOCK"], threading.get_ident(), hash(sku), [x for x in {1, 2}])
    return open("/tmp/parcel").read()

@step
def refund(receipt: str) -> None: ...

@step
def tags_of(sku: str) -> list[str]: ...
"""

EFFECTFUL: Final[dict[str, str]] = {
    "the design's order": """
@step(retry=Retry(max_attempts=5, initial=0.2, max_delay=30), timeout=10)
def pay(card: str, cents: int) -> Receipt: ...

@step
async def send(sku: str) -> str: ...

@workflow
def order(cart: Cart) -> Workflow[Receipt]:
    receipt = yield from pay(cart.card, cart.cents)      # a type checker sees: Receipt
    yield from sleep(hours=24)
    approved = yield from signal("approved", bool, timeout=3 * 86400, default=False)
    if not approved:
        yield from refund(receipt)
        return receipt
    yield from savepoint("approved", decisions=["ship both"])
    a, b = yield from gather(send(cart.sku), email(cart.address))
    return receipt
""",
    "the design's ways to run": """
@workflow
def order(cart):
    yield charge(cart.card, 1)

def main():
    receipt = replay.run(order(cart), id="order-42")
    with replay.Engine("postgresql:///shop") as engine:
        handle = engine.start(order(cart), id="order-42")
        handle.signal("approved", True)
        handle.result(timeout=10)
    client = replay.Client("grpc://host:7233")
    print(client.get("order-42").status, charge.fn("visa", 3), time.time())
""",
    "every command and combinator": """
@workflow(name="all", version="2", patches=["fraud-check"])
def everything(sku: str, state: int | None = None) -> Workflow[dict[str, Any]]:
    yield sleep(5)
    yield from sleep(until=datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc))
    reply = yield from llm_call(model="m", messages=[{"role": "user", "content": sku}], tools=[], budget=1.0)
    yield from savepoint("here", state=7, goal="g", hypotheses=["h"], questions=["q"], next_step="n")
    one, two = yield from gather(ship(sku), charge("visa", 1).options(queue="gpu"), limit=2, min_successful=1)
    index, first = yield from race(ship(sku), sleep(5))
    parcel = yield from timeout(ship(sku), 5)
    fiber = yield from spawn(ship(sku))
    yield from cancel(fiber)
    other = yield from spawn(shield(refund(parcel)))
    done = yield from join(other)
    child = yield from start_child(everything(sku), id="c", on_parent_close="abandon")
    same = yield from everything("child").options(id="x")
    token = yield from callback(bool, timeout=60)
    answer = yield from token
    ready = yield from poll(lambda: tags_of(sku), until=lambda tags: "ready" in tags)
    if one == two:
        yield from continue_as_new(sku)
    return {"reply": reply.text, "first": first, "child": child.run_id, "all": [done, same, answer, ready, index]}
""",
    "every pure effect and output": """
@workflow
def pure():
    here = yield from now()
    yield from send_signal("other", "hello", here.isoformat())
    yield from publish("topic", {"at": here.timestamp()})
    yield from set_state("key", 1)
    yield from set_tags(customer="ann")
    yield from annotate("note", value=(yield from random()))
    yield from log(f"started {(yield from info()).run_id}", level="info")
    key = str((yield from uuid()))
    if (yield from patched("fraud-check")) and (yield from random()) < 0.5:
        return key
    deadline = (yield from now()) + datetime.timedelta(days=3)
    return deadline > here
""",
    "aliases of replay": """
import replay as r
from replay import workflow as wf, sleep as pause
from replay.authoring import now as clock

@wf
def first():
    yield from pause(1)
    return (yield from clock())

@r.workflow(name="second")
def second() -> r.Workflow[None]:
    yield from r.sleep(1)
    yield from r.gather(first(), r.shield(charge("visa", 1)))
""",
    "names of replay that are names of the standard library": """
@workflow
def draw():
    value = yield from random()
    key = yield from uuid()
    word = yield from signal("word", str)
    return [value, key, word]
""",
    "branches collected and passed on": """
@workflow
def fan_out(skus: list[str], fast: bool):
    branches = [ship(sku) for sku in skus]
    branches.append(charge("visa", 1))
    extra = ship("x") if fast else charge("visa", 2)
    maybe = refund("r") if fast else None
    if maybe is not None:
        branches.append(maybe)
    named = {sku: ship(sku) for sku in skus}
    last = charge("visa", 3).options(timeout=4)
    results = yield from gather(*branches, extra, *named.values(), return_errors=True)
    yield from last
    pair = (ship("a"), ship("b"))
    effect = gather(*pair)
    yield effect
    return yield_all(dict(zip(named, results)))

def yield_all(found):
    return list(found.values())
""",
    "helper generators": """
@workflow
def order(skus: list[str]) -> Workflow[list[str]]:
    first = yield from deliver(skus[0])
    rest = yield from gather(*(deliver(sku) for sku in skus[1:]))
    fiber = yield from spawn(deliver("late"))
    yield from join(fiber)
    branch = deliver("kept")
    yield from timeout(branch, 5)
    return [first, *rest]

def deliver(sku: str) -> Workflow[str]:
    receipt = yield from pay(sku)
    return (yield from ship(receipt))

def pay(sku):
    return (yield from charge(sku, 1))
""",
    "a helper that returns an effect": """
@workflow
def order(sku):
    yield from carry(sku)
    yield from later(sku)

def carry(sku: str) -> Effect[str]:
    return ship(sku)

def later(sku: str) -> Workflow[str]:
    return delivered(sku)

def delivered(sku: str) -> Workflow[str]:
    return (yield ship(sku))
""",
    "a generator of plain values": """
def chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

@workflow
def batches(items: list[str]):
    def pairs():
        for index, item in enumerate(items):
            yield index, item
    for chunk in chunks(items, 10):
        yield from gather(*[ship(item) for item in chunk])
    return dict(pairs())
""",
    "try, finally and compensation": """
@workflow
def careful(sku):
    receipt = yield from charge("visa", 1)
    try:
        yield from ship(sku)
    except StepFailed as error:
        yield from log(f"{error.error_type}: {error.message}")
        raise
    except (TimedOut, Cancelled):
        yield from refund(receipt)
        return None
    except Exception:
        return "failed"
    finally:
        yield from shield(refund(receipt))
    with suppress(StepFailed, KeyError):
        yield from ship(sku)
    return receipt
""",
    "a broad handler that raises again": """
@workflow
def careful(sku):
    try:
        yield from ship(sku)
    except GeneratorExit:
        raise
    except BaseException:
        yield from refund(sku)
    try:
        yield from ship(sku)
    except BaseException as error:
        yield from refund(str(error))
        raise
    try:
        yield from ship(sku)
    except GeneratorExit:
        return
    try:
        total = int(sku)
    except:
        total = 0
""",
}
