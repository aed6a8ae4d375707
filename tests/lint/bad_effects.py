"""Bad workflows, continued: order, memory, and the agreement about yields. Checked below the prelude of ``bad_workflows``."""

from __future__ import annotations

from typing import Final

ORDER: Final[dict[str, str]] = {
    "iteration over sets": """
COLOURS = {"red", "blue"}
@workflow
def order(wanted: set[str], maybe: "frozenset[str] | None", plain):
    for tag in {"a", "b"}:  # RPL201
        yield from charge(tag)
    for colour in COLOURS:  # RPL201
        yield from charge(colour)
    for tag in wanted:  # RPL201
        yield from charge(tag)
    found = set(plain)
    a = [x for x in found]  # RPL201
    b = list(found - wanted)  # RPL201
    c = ", ".join(found | COLOURS)  # RPL201
    d = tuple(frozenset(plain))  # RPL201
    e = {x: 1 for x in maybe}  # RPL201
    f = next(iter(found))  # RPL201
    g = dict(enumerate({x for x in plain}))  # RPL201
    h, i = found  # RPL201
    j = [*found]  # RPL201
    k = found.pop()  # RPL201
    l = dict.fromkeys(found.union(plain))  # RPL201
    for key in plain.keys() & found:  # RPL201
        yield charge(key)
    yield from gather(*{charge(1), charge(2)})  # RPL201
    yield from gather(*(charge(x) for x in found))  # RPL201
    yield charge([a, b, c, d, e, f, g, h, i, j, k, l])
""",
    "sets that steps answer and classes hold": """
class Cart:
    tags: set[str]
def known(cart) -> set[str]: ...
@workflow
def order(cart: Cart):
    tags = yield from tags_of(cart)
    for tag in tags:  # RPL201
        yield from charge(tag)
    for tag in cart.tags:  # RPL201
        yield from charge(tag)
    for tag in known(cart):  # RPL201
        yield from charge(tag)
""",
    "mutable globals": """
CACHE = {}
seen = ["first"]
TOTALS = {"a": 1}
counter = 0
numbers = itertools.count()
HISTORY = collections.deque(maxlen=3)
class Settings:
    debug = False
def fill():
    TOTALS["b"] = 2
    HISTORY.append(1)
@workflow
def order(sku):
    global counter  # RPL203
    counter += 1
    CACHE[sku] = 1  # RPL203
    seen.append(sku)  # RPL203
    a = CACHE.get(sku)  # RPL203
    b = TOTALS["a"]  # RPL203
    c = next(numbers)  # RPL203
    d = len(HISTORY)  # RPL203
    del CACHE[sku]  # RPL203
    Settings.debug = True  # RPL203
    CACHE["x"]["y"] += 1  # RPL203
    yield charge([a, b, c, d])
@workflow
def other(sku):
    yield charge(counter)  # RPL203
    yield charge(seen)  # RPL203
""",
    "lower-case tables": """
rates = {"eu": 0.2}
empty = []
@workflow
def order(sku):
    yield charge(rates[sku])  # RPL203
    yield charge(list(empty))  # RPL203
""",
    "a helper that remembers": """
_memo: dict[str, int] = {}
def price(sku):
    if sku not in _memo:  # RPL203
        _memo[sku] = len(sku)  # RPL203
    return _memo[sku]  # RPL203
@workflow
def order(sku):
    yield charge(price(sku))
""",
}

AGREEMENT: Final[dict[str, str]] = {
    "effects as statements": """
@workflow
def order(sku):
    sleep(5)  # RPL301
    signal("x", str)  # RPL301
    savepoint("x")  # RPL301
    gather(charge(1), charge(2))  # RPL301
    race(charge(1), sleep(1))  # RPL301
    timeout(charge(1), 5)  # RPL301
    spawn(charge(1))  # RPL301
    join(sku)  # RPL301
    cancel(sku)  # RPL301
    shield(charge(1))  # RPL301
    send_signal("x", "y", 1)  # RPL301
    publish("x", 1)  # RPL301
    set_state("x", 1)  # RPL301
    annotate("x")  # RPL301
    log("x")  # RPL301
    start_child(child(1))  # RPL301
    continue_as_new(1)  # RPL301
    llm_call(model="m", messages=[])  # RPL301
    now()  # RPL301
    random()  # RPL301
    uuid()  # RPL301
    info()  # RPL301
    patched("x")  # RPL301
    callback()  # RPL301
    poll(lambda: charge(1), until=bool)  # RPL301
    charge("visa")  # RPL301
    child("x")  # RPL301
    charge("visa").options(queue="gpu")  # RPL301
    replay.sleep(5)  # RPL301
    [charge(x) for x in sku]  # RPL301
    charge(1) if sku else None  # RPL301
    yield charge(1)
""",
    "generators as statements": """
def deliver(sku) -> Workflow[None]:
    yield charge(sku)
def pack(sku):
    yield charge(sku)
@workflow
def order(sku):
    deliver(sku)  # RPL301
    pack(sku)  # RPL301
    yield from gather(pack(sku), deliver(sku))
""",
    "effects kept and never read": """
@workflow
def order(sku):
    pause = sleep(5)  # RPL301
    branches = [charge(x) for x in sku]  # RPL301
    late: Any = charge(1)  # RPL301
    _ = publish("x", 1)  # RPL301
    def inner():
        kept = charge(1)  # RPL301
    yield charge(inner)
""",
    "effects used as their results": """
@workflow
def order(sku):
    receipt = charge(sku)  # RPL301
    if patched("x"):  # RPL301
        yield from charge(receipt.id)
    while not signal("go", bool):  # RPL301
        yield from sleep(1)
    late = now() > sku  # RPL301
    total = charge(sku) + 1  # RPL301
    key = f"{uuid()}-x"  # RPL301
    first = gather(charge(1), charge(2))[0]  # RPL301
    run = info().run_id  # RPL301
    text = str(uuid())  # RPL301
    for part in gather(charge(1), charge(2)):  # RPL301
        yield part
    chosen = "a" if random() else "b"  # RPL301
    both = patched("x") and random() < 0.5  # RPL301
    yield charge([late, total, key, first, run, text, chosen, both])
    return charge(sku)  # RPL301
""",
    "workflows that are no generators": """
@workflow
def order(sku):  # RPL302
    return sku
@workflow(name="delegates")
def delegates(sku):  # RPL302
    return child(sku)
@workflow
def nested(sku):  # RPL302
    def inner():
        yield charge(sku)
    return inner
@workflow
def empty(sku):  # RPL302
    pass
""",
    "yields of what is no effect": """
async def fetch(url): ...
def pack(sku):
    yield charge(sku)
@workflow
def order(sku):
    yield  # RPL303
    yield None  # RPL303
    yield 5  # RPL303
    yield "text"  # RPL303
    yield f"{sku}"  # RPL303
    yield [charge(1), charge(2)]  # RPL303
    yield charge(1), charge(2)  # RPL303
    yield {"a": charge(1)}  # RPL303
    yield (charge(x) for x in sku)  # RPL303
    yield from [charge(1)]  # RPL303
    yield lambda: charge(1)  # RPL303
    yield pack(sku)  # RPL303
    yield fetch(sku)  # RPL303
    yield charge  # RPL303
    yield from sleep  # RPL303
    yield poll(lambda: charge(1), until=bool)  # RPL303
    yield list(sku)  # RPL303
    yield from range(3)  # RPL303
    yield sku == 3  # RPL303
""",
    "handlers that keep what must pass": """
@workflow
def order(sku):
    try:
        yield from charge(sku)
    except:  # RPL304
        pass
    try:
        yield from charge(sku)
    except BaseException as error:  # RPL304
        yield from charge(str(error))
    try:
        yield from charge(sku)
    except (ValueError, GeneratorExit):  # RPL304
        pass
    try:
        yield from charge(sku)
    except ValueError:
        pass
    except BaseException:  # RPL304
        return None
    with suppress(BaseException):  # RPL304
        yield from charge(sku)
    try:
        yield from charge(sku)
    finally:
        return 1  # RPL304
""",
    "generators that an interpreter drives": """
def undo(sku):
    yield sku, 1  # RPL303
def handler(amount):
    yield None  # RPL303
def late(sku):
    yield "late"  # RPL303
def inner(sku):
    yield [charge(sku)]  # RPL303
def body(collected):
    collected.compensate(undo)
    yield from inner(1)
def kept(sku):
    yield 5  # RPL303
@workflow
def order(sku):
    yield from replay.on_update("x", handler)
    yield from saga(body)
    yield from gather(charge(1), late(sku))
    yield from gather(*[kept(x) for x in sku])
""",
    "handlers in helpers and in groups": """
def pack(sku):
    try:
        yield charge(sku)
    except BaseException:  # RPL304
        sku = None
@workflow
def order(sku):
    try:
        yield from pack(sku)
    except* BaseException:  # RPL304
        sku = None
""",
    "steps run past the journal": """
from shop import ship
slow = charge.options(queue="slow")
@workflow
def order(sku):
    a = charge.fn(sku)  # RPL305
    b = child.fn(sku)  # RPL305
    c = ship.fn(sku)  # RPL305
    d = slow.fn(sku)  # RPL305
    yield charge([a, b, c, d])
""",
}
