"""Debounce: many starts within a while become one run with the newest input, and none is lost."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest

from replay import Client, DefinitionError, InvalidRequest, WaitTimedOut, Workflow, step, workflow
from replay.client.debouncing import COLLECTOR
from replay.engine.debounce import Wanted, collect
from replay.model.events import STARTED
from replay.testing import VirtualClock, crash_everywhere
from replay.testing.store_suite.case import together
from tests.helpers.engines import PATIENCE, OpenEngine, let_pass, reaches, until

SHORT = 0.05


@step(name="debouncing.index")
def index(shop: str, number: int) -> str:
    return f"{shop} {number}"


@workflow(name="debouncing.reindex")
def reindex(shop: str, number: int) -> Workflow[str]:
    return (yield from index(shop, number))


def test_many_starts_become_one_run_with_the_newest_input(open_engine: OpenEngine) -> None:
    """Each call answers with the same run."""
    engine = open_engine(workflows=[reindex])

    handles = [engine.debounce(reindex("books", number), key="books", delay=SHORT) for number in range(10)]

    assert {"books 9"} == {handle.result(PATIENCE) for handle in handles}
    assert 1 == len(engine.find(workflow="debouncing.reindex").runs)


def test_keys_and_workflows_are_collected_apart(open_engine: OpenEngine) -> None:
    """Each key has a silence of its own."""
    engine = open_engine(workflows=[reindex])

    handles = [engine.debounce(reindex(shop, 1), key=shop, delay=SHORT) for shop in ("books", "shoes")]

    assert ["books 1", "shoes 1"] == [handle.result(PATIENCE) for handle in handles]


def test_it_works_again_after_it_fired_and_leaves_no_open_run(open_engine: OpenEngine) -> None:
    """The next start begins anew, with another run; what has collected is closed."""
    engine = open_engine(workflows=[reindex])
    first = engine.debounce(reindex("books", 1), key="books", delay=SHORT)
    first.result(PATIENCE)
    collecting = engine.get(f"{COLLECTOR}debouncing.reindex:books")
    reaches(collecting, "completed")

    second = engine.debounce(reindex("books", 2), key="books", delay=SHORT)

    assert "books 2" == second.result(PATIENCE)
    assert first.id != second.id
    reaches(collecting, "completed")
    assert [] == engine.find(status=["pending", "running", "waiting"]).runs


def test_each_start_begins_the_silence_anew_up_to_the_longest_wait(open_engine: OpenEngine) -> None:
    """By the store's clock: a call every three seconds holds a delay of five back, but not beyond twelve."""
    clock = VirtualClock()
    engine = open_engine(workflows=[reindex], clock=clock)
    collecting = engine.get(f"{COLLECTOR}debouncing.reindex:books")
    handle = None
    for number in range(4):
        handle = engine.debounce(reindex("books", number), key="books", delay=5, max_wait=12)
        until(lambda number=number: sum(event.kind != STARTED for event in collecting.journal()) == number, engine.store)  # type: ignore[misc]
        assert [] == engine.find(workflow="debouncing.reindex").runs
        let_pass(engine, clock, 3)

    def begun() -> bool:
        let_pass(engine, clock, 0.01)
        return bool(engine.find(workflow="debouncing.reindex").runs)

    until(begun, engine.store)
    assert handle is not None
    assert "books 3" == handle.result(PATIENCE)


def test_options_of_the_call_are_those_of_the_run(open_engine: OpenEngine) -> None:
    """Its id, queue, key, priority and tags."""
    engine = open_engine(workflows=[reindex], queues=["slow"])
    call = reindex("books", 1).options(id="nightly", queue="slow", key="ann", priority=3, tags={"kind": "index"})

    handle = engine.debounce(call, key="books", delay=SHORT)
    handle.result(PATIENCE)

    run = handle.about()
    assert ("nightly", "slow", "ann", 3, {"kind": "index"}) == (handle.id, run.queue, run.fairness_key, run.priority, run.tags)


def test_starts_are_kept_while_nobody_works(open_engine: OpenEngine, store_url: str) -> None:
    """Whoever asks needs no worker; what was asked for is durable."""
    with Client(store_url) as client:
        handle = [client.debounce(reindex("books", number), key="books", delay=SHORT) for number in range(3)][-1]
        with pytest.raises(WaitTimedOut):
            handle.result(0.01)

    engine = open_engine(workflows=[reindex])
    until(lambda: engine.find(workflow="debouncing.reindex", status="completed").runs, engine.store)
    assert "books 2" == engine.get(handle.id, reindex).result(PATIENCE)


def test_racing_starts_are_all_heard(open_engine: OpenEngine) -> None:
    """Four callers, around the moments at which runs begin: each is told of a run that begins, with an input that somebody asked for.

    Mostly it is the newest of that run's own callers; a worker that stalls while it ends a burst makes one of them begin twice.
    """
    engine = open_engine(workflows=[reindex])
    tickets = itertools.count()
    asked: list[tuple[str, int]] = []

    def call() -> None:
        for _ in range(25):
            number = next(tickets)
            asked.append((engine.debounce(reindex("race", number), key="race", delay=0.002).id, number))

    together(*[call] * 4)
    runs = {identity: engine.get(identity, reindex) for identity, _ in asked}
    until(lambda: engine.find(prefix=f"{COLLECTOR}", status=["pending", "running", "waiting"]).runs == [], engine.store)

    assert {int(handle.result(PATIENCE).split()[1]) for handle in runs.values()} <= set(range(100))
    assert set(runs) == {run.key.id for run in engine.find(workflow="debouncing.reindex", limit=1000).runs}


def test_what_is_no_debounce_is_refused(open_engine: OpenEngine) -> None:
    """Where it came in."""
    engine = open_engine(workflows=[reindex])

    for given in (
        {"key": "", "delay": 1},
        {"key": "a", "delay": 0},
        {"key": "a", "delay": 1, "max_wait": -1},
        {"key": "a", "delay": "1"},
    ):
        with pytest.raises(InvalidRequest):
            _ = engine.debounce(reindex("books", 1), **given)
    with pytest.raises(InvalidRequest):
        _ = engine.debounce(index("books", 1), key="a", delay=1)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError):
        reindex("books", 1).options(key="\n")


# ---- crashes ------------------------------------------------------------------------------------------------------------


def wanted(number: int, **fields: Any) -> Wanted:
    """What is to begin."""
    options: dict[str, Any] = {"queue": None, "key": None, "priority": 0, "delay": 0, "deadline": None, "tags": {}}
    return {
        "workflow": "debouncing.reindex",
        "version": "",
        "patches": [],
        "input": ["books", number],
        "options": options,
        "run": "the-run",
        "delay": 5.0,
        "max_wait": None,
        "token": uuid.UUID(int=number).hex,
        **fields,
    }


def test_a_worker_may_die_anywhere_while_it_collects() -> None:
    """At every store call and every event: the run begins once, with the newest input."""
    signals = [("start", wanted(2), 3.0), ("start", wanted(3), 6.0)]

    report = crash_everywhere(
        collect(wanted(1)), id=f"{COLLECTOR}x", signals=signals, stubs={index: lambda shop, number: f"{shop} {number}"}, same="outcome"
    )

    assert report.worlds > 20
