"""Bad workflows, one mistake or a few each: ``# RPL101`` at the end of a line says what must be found there, and no more.

Each text is checked below ``PRELUDE``.
"""

from __future__ import annotations

from typing import Final

PRELUDE: Final = """\
import asyncio, collections, concurrent.futures, datetime, functools, itertools, json, logging, multiprocessing, os, platform
import queue, secrets, shutil, socket, sqlite3, subprocess, sys, threading, time, urllib.request
import random as chance
import uuid as uuids
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
import httpx, requests, numpy as np
import replay
from replay import (
    Workflow, annotate, callback, cancel, continue_as_new, gather, info, join, llm_call, log, now, patched, poll, publish, race,
    random, saga, savepoint, send_signal, set_state, shield, signal, sleep, spawn, start_child, step, timeout, uuid, workflow,
)

@step
def charge(card, cents=1): ...

@step
def tags_of(sku) -> set[str]: ...

@workflow
def child(sku):
    yield charge(sku)
"""

WORLD: Final[dict[str, str]] = {
    "clocks": """
from datetime import datetime as moment, date
from time import sleep as pause, perf_counter
@workflow
def order(sku):
    a = time.time()  # RPL101
    b = time.monotonic() - perf_counter()  # RPL101
    time.sleep(3)  # RPL101
    pause(3)  # RPL101
    c = moment.now(), moment.utcnow()  # RPL101
    d = datetime.datetime.now(datetime.timezone.utc)  # RPL101
    e = date.today()  # RPL101
    f = time.strftime("%Y")  # RPL101
    g = time.localtime().tm_year  # RPL101
    clock = time.time_ns  # RPL101
    yield from charge([a, b, c, d, e, f, g, clock])
""",
    "a clock as an argument": """
@workflow
def order(items):
    stamps = list(map(lambda item: (item, time.time()), items))  # RPL101
    items.sort(key=chance.random)  # RPL102
    yield from charge(stamps)
""",
    "a clock behind an alias of the module": """
clock = time.monotonic
@workflow
def order(items):
    yield from charge(clock())  # RPL101
""",
    "randomness": """
from random import choice, SystemRandom
from uuid import uuid4
@workflow
def order(items):
    a = chance.random()  # RPL102
    b = choice(items)  # RPL102
    c = uuid4().hex, uuids.uuid1()  # RPL102
    d = os.urandom(8)  # RPL102
    e = secrets.token_hex()  # RPL102
    f = np.random.rand(3), np.random.default_rng().random()  # RPL102
    g = chance.Random()  # RPL102
    h = SystemRandom()  # RPL102
    yield from charge([a, b, c, d, e, f, g, h])
""",
    "environment": """
from os import environ, getenv
@workflow
def order(sku):
    a = os.environ["HOME"]  # RPL103
    b = environ.get("HOME", getenv("X"))  # RPL103
    c = sys.argv[1:]  # RPL103
    d = platform.node()  # RPL103
    e = socket.gethostname()  # RPL103
    f = os.getpid()  # RPL103
    g = Path.cwd()  # RPL103
    h = os.path.expanduser("~")  # RPL103
    i = sys.platform == "linux"  # RPL103
    yield from charge([a, b, c, d, e, f, g, h, i])
""",
    "what a module took at import": """
DEBUG = os.environ.get("DEBUG") == "1"
STARTED = datetime.datetime.now()
SESSION = uuids.uuid4()
dice = chance.Random()
@workflow
def order(sku):
    if DEBUG:  # RPL103
        yield from charge(sku)
    yield from charge(str(STARTED))  # RPL101
    yield from charge(SESSION.hex)  # RPL102
    yield from charge(dice.random())  # RPL102
""",
    "files": """
@workflow
def order(folder: Path, name: str):
    with open(name) as file:  # RPL104
        text = file.read()
    here = Path(name)
    a = here.read_text()  # RPL104
    (here / "b").write_text("b")  # RPL104
    for path in folder.glob("*"):  # RPL104
        yield from charge(str(path))
    if folder.parent.exists() or os.path.exists(name):  # RPL104
        os.remove(name)  # RPL104
    shutil.copy(name, "there")  # RPL104
    Path("x").with_suffix(".y").unlink()  # RPL104
    b = os.listdir(".")  # RPL104
    return [text, a, b]
""",
    "networks, processes, databases": """
from httpx import Client
@workflow
def order(url):
    a = requests.get(url)  # RPL104
    b = httpx.post(url)  # RPL104
    c = Client()  # RPL104
    d = urllib.request.urlopen(url)  # RPL104
    e = subprocess.run(["ls"])  # RPL104
    f = sqlite3.connect("x")  # RPL104
    g = socket.socket()  # RPL104
    h = os.system("ls")  # RPL104
    i = subprocess.Popen(["ls"])  # RPL104
    yield from charge([a, b, c, d, e, f, g, h, i])
""",
    "clients from outside": """
session = requests.Session()
db = sqlite3.connect("x")
lock = threading.Lock()
@workflow
def order(url, client: httpx.Client, maybe: sqlite3.Connection | None = None):
    a = session.get(url)  # RPL104
    b = client.get(url)  # RPL104
    c = db.execute("select 1")  # RPL104
    d = maybe.execute("select 1")  # RPL104
    with lock:  # RPL106
        yield from charge([a, b, c, d])
    lock.acquire()  # RPL106
""",
    "a person at the terminal": """
@workflow
def order(sku):
    answer = input("ship?")  # RPL104
    yield from charge(answer)
""",
    "an engine inside of a workflow": """
@workflow
def order(sku):
    a = replay.run(child(sku))  # RPL104
    with replay.Engine("memory://") as engine:  # RPL104
        engine.start(child(sku))
    yield from charge(a)
""",
    "output": """
from logging import getLogger
logger = getLogger(__name__)
@workflow
def order(sku):
    print(sku)  # RPL105
    logging.info("x")  # RPL105
    logger.warning("x")  # RPL105
    getLogger("other").error("x")  # RPL105
    sys.stdout.write("x")  # RPL105
    yield from charge(sku)
""",
    "threads and processes": """
from concurrent.futures import ThreadPoolExecutor
@workflow
def order(sku):
    worker = threading.Thread(target=print)  # RPL105 RPL106
    other = multiprocessing.Process()  # RPL106
    with ThreadPoolExecutor(2) as pool:  # RPL106
        pool.map(str, [1])
    letters = queue.Queue()  # RPL106
    done = concurrent.futures.wait([])  # RPL106
    os.fork()  # RPL106
    yield from charge([worker, other, letters, done])
""",
    "an async workflow": """
@workflow
async def order(sku):  # RPL107
    await charge(sku)

@workflow
async def asynchronous(sku):  # RPL107
    yield charge(sku)
""",
    "asyncio": """
async def fetch(url): ...
@workflow
def order(sku):
    asyncio.run(fetch(sku))  # RPL107
    task = asyncio.create_task(fetch(sku))  # RPL107
    answer = await task  # RPL107
    async for part in answer:  # RPL107
        yield charge(part)
    async with part:  # RPL107
        pass
    parts = [x async for x in answer]  # RPL107
    async def inner():  # RPL107
        await task
    yield from charge(parts)
    yield asyncio.sleep(1)  # RPL107
""",
    "hash and id": """
@workflow
def order(sku):
    a = hash(sku)  # RPL202
    b = id(sku)  # RPL202
    c = sorted([sku], key=id)  # RPL202
    yield from charge([a, b, c])
""",
    "nested functions and lambdas": """
@workflow
def order(sku):
    def stamp():
        return time.time()  # RPL101
    key = lambda: chance.random()  # RPL102
    class Local:
        started = time.time()  # RPL101
    yield from charge([stamp(), key(), Local])
""",
    "helpers that a workflow calls": """
def stamp():
    return time.time()  # RPL101
def price(sku):
    return json.loads(sku)["price"] * rate()
def rate():
    return float(os.environ["RATE"])  # RPL103
def by_chance(item):
    return chance.random()  # RPL102
def never_called():
    return time.time()
@workflow
def order(skus):
    yield from charge(sorted(skus, key=by_chance), [stamp(), price(skus[0])])
""",
    "helper generators": """
def deliver(sku):
    yield from charge(sku)
    time.sleep(1)  # RPL101
    yield from pack(sku)
def pack(sku):
    yield charge(sku)
    yield  # RPL303
    sleep(3)  # RPL301
def annotated(sku) -> Workflow[None]:
    print(sku)  # RPL105
    yield charge(sku)
class Shop:
    @workflow
    def order(self, sku):
        yield from deliver(sku)
        yield from self.close()
    def close(self):
        yield charge(time.time())  # RPL101
""",
    "workflows by assignment, by other names and by star": """
from replay import workflow as wf
from replay import *
import replay as r
def _order(sku):
    yield charge(time.time())  # RPL101
order = workflow(name="order")(_order)
named = r.workflow(version="2")
@wf
def one():
    yield charge(time.time())  # RPL101
@r.workflow(name="two")
def two():
    yield charge(time.time())  # RPL101
@named
def three():
    yield charge(time.time())  # RPL101
""",
    "a comment that allows something else": """
@workflow
def order(sku):
    yield charge(time.time())  # replay: allow[RPL102] # RPL101
    a = [hash(sku), time.time()]  # replay: allow[hash] # RPL101
    b = "# replay: allow", time.time()  # RPL101
    yield charge([a, b])
""",
}
