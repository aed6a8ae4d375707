"""Good workflows, continued: the plain Python around effects. Checked below the prelude of ``good_workflows``."""

from __future__ import annotations

from typing import Final

PLAIN: Final[dict[str, str]] = {
    "sets that are asked, combined and sorted": """
ALLOWED = {"a", "b"}
COLOURS: Final[frozenset[str]] = frozenset({"red", "blue"})

@workflow
def tags(sku: str, wanted: set[str]):
    found = set((yield from tags_of(sku)))
    both = found & wanted | ALLOWED
    for tag in sorted(both - COLOURS):
        yield from ship(tag)
    names = list(found)
    names.sort()
    counts = [len(list(found)), sum(len(tag) for tag in found), max(found), *sorted(wanted)]
    fine = any(tag in ALLOWED for tag in found) and all(tag for tag in wanted) and sku in found
    found.add("x")
    upper = {tag.upper() for tag in found}
    (only,) = {sku}
    return [fine, names, counts, sorted([tag.lower() for tag in upper]), only, len(upper | found), found.pop]
""",
    "dicts and their views keep their order": """
RATES = {"eu": 0.2, "us": 0.1}

@workflow
def totals(cart: dict[str, int]):
    for region, rate in RATES.items():
        yield from charge(region, int(cart[region] * rate))
    for sku in cart.keys() | RATES if False else cart:
        yield ship(sku)
    counted = collections.Counter(cart)
    return {key: RATES.get(key, 0) for key in cart} | dict(counted)
""",
    "constants of the module": """
LIMITS: dict[str, int] = {"visa": 100}
NAMES = ["a", "b"]
_RATES: Final = {"eu": 1}
defaults: Mapping[str, int] = {"a": 1}
nothing: Final[dict[str, int]] = {}
pause = 5
VERSION = "1." + "2"
ROOT = Path(__file__).resolve().parent
NOBODY = None
charge_later = charge.options(queue="slow")

@workflow
def order(card):
    options = dict(nothing, **defaults)
    yield from sleep(pause)
    yield from charge_later(card, LIMITS[card] + _RATES["eu"])
    return [NAMES[0], VERSION, str(ROOT / "data"), options, NOBODY]
""",
    "local names that hide builtins and modules": """
@workflow
def hidden(id: str, input: dict, open: bool, hash: str, time: list, print):
    random = time[0]
    for os in input:
        yield from ship(os.environ)
    return [id, open, hash, random.choice(time), print(id), input.get("x")]
""",
    "time that comes from the workflow": """
@workflow
def reminder(at: datetime.datetime):
    start = yield from now()
    gone = (at - start).total_seconds()
    stamp = time.strftime("%Y", time.gmtime(start.timestamp()))
    day = datetime.date(2030, 1, 1) + datetime.timedelta(days=1)
    parsed = datetime.datetime.fromisoformat("2030-01-01")
    yield from sleep(max(gone, 0))
    return [stamp, day.isoformat(), parsed.year, start.astimezone(datetime.timezone.utc)]
""",
    "a generator of random numbers with a seed": """
@workflow
def sample(items: list[str], seed: int):
    dice = chance.Random(seed)
    dice.shuffle(items)
    yield from ship(dice.choice(items))
    return uuids.uuid5(uuids.NAMESPACE_DNS, hashlib.sha256(items[0].encode()).hexdigest())
""",
    "paths that are only calculated": """
@workflow
def report(folder: Path, name: str):
    target = (folder / name).with_suffix(".txt").parent
    yield from ship(str(PurePosixPath("/a") / target.name))
    return [os.path.join("a", "b"), os.path.basename(name), os.fspath(target), os.sep]
""",
    "state in a loop": """
@workflow
def agent(goal: str, state: dict | None = None) -> Workflow[str]:
    turns = (state or {}).get("turns", 0)
    memory: list[str] = []
    while True:
        reply = yield from llm_call(model="m", messages=[*memory, goal])
        memory.append(reply.text)
        turns += 1
        yield from savepoint("turn", state={"turns": turns})
        if "done" in reply.text:
            return reply.text
""",
    "a saga": """
@workflow
def trip(sku: str):
    def body(undo):
        receipt = yield from charge("visa", 1)
        undo.compensate(refund(receipt))
        undo.compensate(lambda: refund(receipt))
        return (yield from ship(sku))
    return (yield from saga(body))

def steps_of(undo):
    yield from ship("x")

@workflow
def short():
    yield from saga(steps_of)
""",
    "updates and queries": """
@workflow
def counter():
    total = 0
    def add(amount: int) -> int:
        nonlocal total
        total += amount
        return total
    def slow(amount: int):
        yield from sleep(amount)
        return total
    def positive(amount: int) -> None:
        if amount < 0:
            raise ValueError("negative")
    yield from on_update("add", add, type=int, returns=int, validator=positive)
    yield from on_update("slow", slow)
    yield from signal("stop")

@counter.query
def progress(total: int) -> dict:
    return {"total": total, "asked": time.time()}
""",
    "workflows and steps made by assignment": """
def _fetch(url: str) -> str:
    return subprocess.check_output(["curl", url]).decode()

def _order(url: str):
    page = yield from fetch(url)
    again = yield from step(retry=Retry(max_attempts=2))(_fetch)(url)
    return page + again

fetch = step(_fetch)
order = workflow(name="order")(_order)
careful_step = functools.partial(step, retry=Retry(max_attempts=9))
plain_step = step(timeout=3)

@careful_step()
def slow(url): return open(url).read()

@plain_step
def quick(url): return open(url).read()

@workflow
def all_of_them(url):
    yield from gather(fetch(url), slow(url), quick(url), order(url))
""",
    "decorators that are not known may make a step": """
from shop import our_step

@our_step
def fetch(url):
    return open(url).read()

@workflow
def order(url):
    page = yield from fetch(url)
    return page
""",
    "workflows without anything to yield": """
@workflow
def empty():
    return 1
    yield

@workflow
def never():
    if False:
        yield

@workflow
def nothing():
    yield from ()

@workflow
def elsewhere(name: str) -> Workflow[int]:
    'Written in Go.'
    ...
""",
    "methods": """
class Shop:
    limit = 3

    @workflow
    def order(self, sku):
        yield from self.deliver(sku)
        return self.price(sku)

    def deliver(self, sku) -> Workflow[None]:
        yield from ship(sku)

    def price(self, sku):
        return len(sku) * self.limit

    def report(self):
        print(time.time())
""",
    "generators of branches, and of pairs, and of parts": """
def branches(skus):
    for sku in skus:
        yield ship(sku)

def pairs(skus):
    for sku in skus:
        yield sku, ship(sku)

def flat(rows):
    yield from parts(rows)

def parts(rows):
    for row in rows:
        yield row[0]

@workflow
def order(skus):
    yield from gather(*branches(skus))
    yield from gather(*[branch for _, branch in pairs(skus)])
    for effect in branches(skus):
        yield effect
    return [part for part in flat(skus)] + list(branches(skus)) + list(map(parts, skus))
""",
    "policy that comes from the environment": """
patient = charge.options(queue=os.environ["QUEUE"])
slow = step(timeout=float(os.environ["TIMEOUT"]))(print)

@workflow
def order(card):
    yield from patient(card, 1)
    yield from slow(card)
""",
    "match, walrus, comprehension and lambda": """
@workflow
def shapes(event):
    match event:
        case {"kind": "sleep", "seconds": seconds, **rest}:
            yield from sleep(seconds)
        case [first, *others]:
            yield from gather(*map(ship, others))
        case other if (text := str(other)):
            yield ship(text)
    by_length = sorted(event, key=lambda item: (len(item), item))
    while (word := (yield from signal("word", str))) != "stop":
        yield from ship(word)
    return [x for row in by_length for x in row if x]
""",
    "a constant table of steps": """
ACTIONS = {"ship": ship, "refund": refund}

@workflow
def act(kind: str, what: str):
    return (yield from ACTIONS[kind](what))
""",
    "plain code beside a workflow may do anything": """
seen = []

def record(item):
    seen.append(item)
    print(time.time(), chance.random(), os.environ["HOME"])

@contextmanager
def quiet():
    yield

@functools.lru_cache
def parse(text: str) -> dict:
    return json.loads(text)

@workflow
def order(text):
    with quiet():
        yield from ship(parse(text)["sku"])

if __name__ == "__main__":
    record(replay.run(order("{}")))
""",
    "a dropped generator of another module is not known to be one": """
from shop import notify, items

@workflow
def order():
    notify("began")
    for item in items():
        yield from ship(item)
""",
    "exceptions of modules that do I/O": """
import asyncio, requests, sqlite3

@workflow
def order(sku):
    try:
        yield from ship(sku)
    except (subprocess.CalledProcessError, requests.RequestException, sqlite3.Error, asyncio.TimeoutError, socket.timeout):
        raise subprocess.CalledProcessError(1, "ship") from None
    return requests.codes.ok
""",
    "annotated as what Workflow stands for": """
def helper(sku: str) -> Generator[Effect[Any], Any, str]:
    return (yield ship(sku))

def quoted(sku: str) -> "Workflow[str]":
    return (yield ship(sku))
""",
    "an optional import": """
try:
    import numpy as np
except ImportError:
    np = None

@workflow
def order(values):
    yield ship("x")
    return np.array(values).sum() + np.random.default_rng(7).random()
""",
    "a nested step": """
@workflow
def order(sku):
    @step
    def local(name):
        return open(name).read()
    return (yield from local(sku))
""",
    "other people's workflows": """
from elsewhere import workflow, flow

@workflow
def order(sku):
    time.sleep(1)

@flow.workflow
def other():
    return open("x")
""",
    "allowed by a comment": """
@workflow
def order(sku):
    began = time.time()  # replay: allow[RPL101]
    ended = time.time()  # replay: allow
    both = [hash(sku), time.time()]  # replay: allow[hash, clock] because of a test
    print(  # replay: allow[RPL105]
        sku,
    )
    print(
        sku,
    )  # replay: allow[output]
    yield ship(str([began, ended, both]))

@workflow  # replay: allow[not-a-generator]
def later():
    return 1
""",
}
