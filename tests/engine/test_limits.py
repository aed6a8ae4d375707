"""Queues with limits, as engines serve them: how many at once, for whom, how fast, and how many here."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from replay import Client, Engine, InvalidRequest, Queue, Rate, Retry, Start, TimedOut, Workflow, sleep, step, step_info, workflow
from replay.store.contract import Capability
from replay.store.memory import MemoryStore
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, crash, let_pass, named, reaches, until


class Gauge:
    """Counts who is inside, and how many were at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self, *keys: str) -> Gauge:
        with self.lock:
            for key in keys:
                self.inside[key] += 1
                self.most[key] = max(self.most[key], self.inside[key])
        return self

    def leave(self, *keys: str) -> None:
        with self.lock:
            self.inside.subtract(keys)


def test_several_engines_hold_no_more_than_a_queue_allows(open_engine: OpenEngine, store_url: str) -> None:
    """Three engines, thirty runs of three keys, two at once and one of a key; while those two are held up all three ask for more."""
    gauge, gate = Gauge(), Gate()

    @step
    def work(key: str) -> str:
        gauge("all", key)
        gate.enter()
        gauge.leave("all", key)
        return key

    @workflow(name="limits.shared")
    def flow(key: str) -> Workflow[str]:
        first = yield from work(key)
        return first + (yield from work(key))

    queues = [Queue("default", concurrency=2, per_key=1)]
    stores = [between(store_url) for _ in range(3)]
    for store in stores:
        open_engine(store, workflows=[flow], queues=queues, poll=0.2)
    with Client(store_url) as client:
        calls = [flow(key).options(key=key) for key in ("a", "b", "c") for _ in range(10)]
        handles = client.start_many([Start(call, f"r{n}") for n, call in enumerate(calls)])
        gate.await_entry(2)
        asked = [store.calls["claim"] for store in stores]
        until(lambda: all(store.calls["claim"] > before + 1 for store, before in zip(stores, asked, strict=True)), client.store)
        gate.open()
        assert 30 == len([handle.result(PATIENCE) for handle in handles])

    assert 2 == gauge.most["all"]
    assert [1, 1, 1] == [gauge.most[key] for key in ("a", "b", "c")]


def test_a_run_that_this_engine_starts_waits_for_a_slot_too(open_engine: OpenEngine) -> None:
    """It is not taken at birth, as it would be in a queue without limits."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow(name="limits.born")
    def flow() -> Workflow[int]:
        return (yield from hold())

    engine = open_engine(workflows=[flow], queues=[Queue("default", concurrency=1)])
    first, second = engine.start(flow(), id="a"), engine.start(flow(), id="b")
    gate.await_entry()

    assert ("running", "pending") == (first.status, second.status)
    gate.open()
    assert (1, 1) == (first.result(PATIENCE), second.result(PATIENCE))


def test_a_run_that_sleeps_gives_its_slot_away(open_engine: OpenEngine) -> None:
    """At once, without lingering: it does not block its queue."""

    @workflow(name="limits.sleeper")
    def flow(seconds: float) -> Workflow[float]:
        yield from sleep(seconds)
        return seconds

    engine = open_engine(workflows=[flow], queues=[Queue("default", concurrency=1)])
    sleeper = engine.start(flow(30 * 86400), id="month")
    reaches(sleeper, "waiting")

    assert 0.0 == engine.start(flow(0.0), id="quick").result(PATIENCE)
    assert "waiting" == sleeper.status


def test_the_slot_of_a_dead_engine_is_free_when_its_lease_ends(open_engine: OpenEngine, store_url: str) -> None:
    """Another takes the run over, in a queue of one; then the next one goes."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 1

    @workflow(name="limits.dead")
    def flow() -> Workflow[int]:
        return (yield from hold())

    queues = [Queue("default", concurrency=1)]
    store = between(store_url)
    first = open_engine(store, workflows=[flow], queues=queues, ttl=0.3)
    handles = [handle.id for handle in (first.start(flow(), id="a"), first.start(flow(), id="b"))]
    gate.await_entry()
    crash(first, store)
    second = open_engine(workflows=[flow], queues=queues)
    gate.open()

    assert [1, 1] == [second.get(identity, flow).result(PATIENCE) for identity in handles]
    assert [2, 1] == [second.get(identity).about().fence for identity in handles]


def test_a_rate_spreads_the_beginnings(open_engine: OpenEngine) -> None:
    """By the store's clock, three in any minute; what has begun goes on in between."""
    clock = VirtualClock()

    @step
    def work(number: int) -> int:
        return number

    @workflow(name="limits.rated")
    def flow(number: int) -> Workflow[int]:
        return (yield from work(number))

    engine = open_engine(workflows=[flow], queues=[Queue("default", rate=Rate(3, per=60))], clock=clock)
    handles = engine.start_many([Start(flow(number), f"r{number}") for number in range(8)])
    began: list[int] = []
    for _ in range(3):
        until(lambda: sum(handle.status == "completed" for handle in handles) == min(8, 3 * len(began) + 3), engine.store)
        began.append(sum(handle.status == "completed" for handle in handles))
        let_pass(engine, clock, 60)

    assert [3, 6, 8] == began


def test_queues_take_turns_where_there_is_room_for_one_run(open_engine: OpenEngine, store_url: str) -> None:
    """Whichever is named first: a queue that is never empty starves no other."""
    order: list[str] = []

    @workflow(name="limits.turns")
    def flow(queue: str) -> Workflow[None]:
        yield from sleep(0)
        order.append(queue)

    with Client(store_url) as client:
        handles = [client.start(flow(queue), queue=queue) for queue in ("a", "b") for _ in range(8)]
        open_engine(workflows=[flow], queues=["a", "b"], concurrency=1)
        assert [None] * 16 == [handle.result(PATIENCE) for handle in handles]

    assert {"a", "b"} == set(order[:6])


def test_an_engine_holds_no_more_of_a_queue_than_it_has_room_for(open_engine: OpenEngine) -> None:
    """Four GPUs are four runs, however many others it holds."""
    gauge, gate = Gauge(), Gate()

    @step
    def compute() -> int:
        gauge("gpu")
        gate.enter()
        gauge.leave("gpu")
        return 1

    @workflow(name="limits.here")
    def flow() -> Workflow[int]:
        return (yield from compute())

    @workflow(name="limits.elsewhere")
    def other() -> Workflow[int]:
        yield from sleep(0)
        return 2

    engine = open_engine(workflows=[flow, other], queues=["default", Queue("gpu", here=2)])
    handles = [engine.start(flow(), id=f"g{n}", queue="gpu") for n in range(5)]
    gate.await_entry()

    assert 2 == engine.start(other(), id="o").result(PATIENCE)
    assert 2 >= sum(handle.status == "running" for handle in handles)
    gate.open()
    assert [1] * 5 == [handle.result(PATIENCE) for handle in handles]
    assert gauge.most["gpu"] <= 2


def test_children_and_remote_steps_have_the_key_of_their_run(open_engine: OpenEngine) -> None:
    """Unless a call or a declaration gives them another one."""

    @workflow(name="limits.child")
    def child() -> Workflow[int]:
        yield from sleep(0)
        return 1

    @workflow(name="limits.parent")
    def parent() -> Workflow[int]:
        yield from child().options(id="inherited")
        yield from child().options(id="own", key="ben")
        yield from far(1).options(id="x")
        yield from keyed(1)
        return 1

    engine = open_engine(workflows=[parent, child], queues=["default", "limits.far"])
    engine.start(parent(), id="p", key="ann").result(PATIENCE)

    runs = {run.key.id: run for run in engine.find().runs}
    steps = sorted((run.workflow, run.fairness_key) for run in runs.values() if run.workflow.startswith("step:"))
    assert ("ann", "ann", "ben") == tuple(runs[name].fairness_key for name in ("p", "inherited", "own"))
    assert [("step:limits.far", "ann"), ("step:limits.keyed", "stripe")] == steps
    assert {"p", "inherited"} <= {run.key.id for run in engine.find(key="ann").runs}


@step(name="limits.far", queue="limits.far")
def far(number: int) -> int:
    return number


@step(name="limits.keyed", queue="limits.far", key="stripe")
def keyed(number: int) -> int:
    return number


# ---- options of a call reach the step ------------------------------------------------------------------------------------


@step(name="limits.flaky", queue="limits.far")
def flaky(until_attempt: int) -> int:
    if step_info().attempt < until_attempt:
        raise ConnectionError("not yet")
    return step_info().attempt


@step(name="limits.slow", queue="limits.far", retry=Retry(max_attempts=5, initial=0))
async def slow() -> int:
    await asyncio.sleep(3600)
    return 1


def test_options_of_a_call_reach_a_step_on_another_queue(open_engine: OpenEngine) -> None:
    """Its retries and its timeout are the caller's; the journal says so only where they differ from the declaration."""

    @workflow(name="limits.asking")
    def flow() -> Workflow[list[Any]]:
        plain = yield from flaky(1)
        told = yield from flaky(3).options(retry=Retry(max_attempts=3, initial=0))
        try:
            yield from slow().options(timeout=0.01, retry=Retry(max_attempts=1))
        except TimedOut as error:
            return [plain, told, type(error).__name__]
        return []

    engine = open_engine(workflows=[flow], queues=["default", "limits.far"])

    assert [1, 3, "TimedOut"] == engine.start(flow(), id="a").result(PATIENCE)
    steps = sorted(engine.find(parent="a").runs, key=lambda run: run.created_at)
    payloads = [engine.get(run.key.id).journal()[0].payload for run in steps]
    assert [False, True, True] == [b'"step":' in payload for payload in payloads]


def test_a_step_on_another_queue_that_may_not_be_tried_again_fails(open_engine: OpenEngine) -> None:
    """A call can also ask for less than the step declares."""

    @workflow(name="limits.once")
    def flow() -> Workflow[int]:
        return (yield from patient(2).options(retry=Retry(max_attempts=1)))

    engine = open_engine(workflows=[flow], queues=["default", "limits.far"])

    with pytest.raises(Exception, match="not yet"):
        engine.start(flow(), id="a").result(PATIENCE)
    assert [] == named(engine.get("a"), "step_attempt_failed")


@step(name="limits.patient", queue="limits.far", retry=Retry(max_attempts=9, initial=0))
def patient(until_attempt: int) -> int:
    attempt: int = flaky.fn(until_attempt)
    return attempt


# ---- what does not fit -----------------------------------------------------------------------------------------------------


REFUSED: dict[str, Any] = {
    "no name": lambda: Queue(""),
    "no slot": lambda: Queue("a", concurrency=0),
    "fewer than none": lambda: Queue("a", per_key=-1),
    "half a run": lambda: Queue("a", here=1.5),  # type: ignore[arg-type]
    "no Rate": lambda: Queue("a", rate=10),  # type: ignore[arg-type]
    "none at all": lambda: Rate(0),
    "no window": lambda: Rate(1, per=0),
    "an endless window": lambda: Rate(1, per=float("inf")),
    "twice": lambda: Engine("memory://", queues=[Queue("a"), "a"]),
    "no list": lambda: Engine("memory://", queues=Queue("a")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", REFUSED)
def test_limits_that_cannot_be_are_refused(what: str) -> None:
    """Where they are written."""
    with pytest.raises(InvalidRequest):
        REFUSED[what]()


class Unlimited(MemoryStore):
    """A store that was written before there were limits."""

    capabilities = Capability.NONE


def test_a_store_that_keeps_to_no_limits_is_refused() -> None:
    """When the engine is made, not when the first run is too many."""
    with pytest.raises(InvalidRequest, match="keeps to no limits"):
        Engine(Unlimited(), queues=[Queue("gpu", concurrency=1)])


# ---- processes -------------------------------------------------------------------------------------------------------------


def holding(url: str, folder: str) -> None:
    """Take runs, note that they are held in the file system, and end them: in a process of its own."""
    from replay.hooks import open_store
    from replay.store.contract import Claim, Commit

    store = open_store(url)
    claim = Claim(
        worker=f"w{folder}", namespace="default", queues=[Queue("default", concurrency=2)], workflows=["a"], limit=1, ttl=60_000_000
    )
    for _ in range(2_000):
        for claimed in store.claim(claim).runs:
            mark = Path(folder) / claimed.run.key.id
            mark.touch()
            inside = len(list(Path(folder).glob("r*")))
            if inside > 2:
                (Path(folder) / "too-many").write_text(str(inside))
            mark.unlink()
            store.commit([Commit(lease=claimed.lease, expected=1, status="completed")])
        if all(run is not None and run.status == "completed" for run in store.get(keys())):
            break
    store.close()


def keys() -> list[Any]:
    from replay.store.contract import RunKey

    return [RunKey("default", f"r{n}") for n in range(40)]


@pytest.mark.faults
def test_processes_that_race_never_exceed_a_limit(tmp_path: Path) -> None:
    """Four of them on one file: of two slots none is ever given twice."""
    from replay.hooks import open_store
    from replay.model.events import Event
    from replay.store.contract import NewRun

    url, folder = f"sqlite:///{tmp_path}/runs.db", tmp_path / "held"
    folder.mkdir()
    store = open_store(url)
    store.create([NewRun(key=key, workflow="a", events=[Event(1, "started", "", "a", 1, b"{}")]) for key in keys()])
    context = multiprocessing.get_context("spawn")

    workers = [context.Process(target=holding, args=(url, str(folder))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)

    assert [0] * 4 == [worker.exitcode for worker in workers]
    assert {"completed"} == {run.status for run in store.get(keys()) if run}
    assert [] == list(folder.iterdir())
    store.close()
