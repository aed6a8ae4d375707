"""What claims and lists cost does not grow with what there is; measured in steps of SQLite's machine, so no test asserts a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from replay.model.queues import Queue
from replay.store.contract import Claim, Filter, NewRun, RunKey
from replay.store.sqlite import SQLiteStore
from replay.store.sqlite_limits import ENDED, KEYS, OF_KEY, OLDEST, STANDING
from replay.store.sqlite_writing import DUE, FORESEE, LANES, LOOK
from replay.testing import VirtualClock
from tests.store.sqlite_case import HOUR, begin, journal, opened

CLAIM = Claim(worker="ann", namespace="default", queues=["default"], workflows=["order"], limit=10, ttl=HOUR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with opened(path) as store:
        yield store


# ---- claims -------------------------------------------------------------------------------------------------------------


def plan(store: SQLiteStore, statement: str, values: tuple[object, ...]) -> list[str]:
    """What SQLite means to do for a statement."""
    with store._connections.reading() as raw:
        return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def test_a_claim_looks_at_one_index(store: SQLiteStore) -> None:
    """Neither question walks over the table, and the order of the list is the order of the index."""
    lanes = plan(store, LANES, ("default", '["default"]', '["order"]', 0))
    due = plan(store, DUE, ("default", "default", "order", 0, 0, 10))

    assert [] == [line for line in (*lanes, *due) if line.startswith("SCAN replay_runs")]
    assert {"replay_runs_ready"} == {line.split("INDEX ")[1].split()[0] for line in (*lanes, *due) if "replay_runs" in line}
    assert [] == [line for line in due if "TEMP B-TREE" in line]


@pytest.mark.parametrize(("statement", "values"), [(LOOK, ("a", "b")), (FORESEE, ("a", '["b", "c"]'))])
def test_a_commit_finds_its_runs_by_their_key(store: SQLiteStore, statement: str, values: tuple[object, ...]) -> None:
    """One run or many."""
    assert any("USING INDEX replay_runs_key" in line for line in plan(store, statement, values))


def work(store: SQLiteStore, deed: Callable[[], object]) -> int:
    """How many instructions of SQLite's machine a deed takes: a measure of cost that no busy machine changes."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with store._connections.writing() as raw:
        writer = raw
    with store._connections.reading() as raw:
        reader = raw
    for connection in (writer, reader):
        connection.set_progress_handler(count, 1)
    deed()
    for connection in (writer, reader):
        connection.set_progress_handler(None, 1)
    return steps


def parked(number: int, first: int = 0, **fields: Any) -> list[NewRun]:
    """Runs that wake up in some years."""
    return [
        NewRun(key=RunKey("default", f"parked-{place}"), workflow="order", events=journal(1), ready_at=10**16 + place, **fields)
        for place in range(first, first + number)
    ]


def test_a_claim_costs_the_same_however_many_runs_are_parked(store: SQLiteStore) -> None:
    """It walks over none of them: neither to find nothing, nor to find one."""
    costs: list[tuple[int, int]] = []
    store.create(parked(100))
    for number in (0, 0, 5_000):
        store.create(parked(number, 100))
        nothing = work(store, lambda: store.claim(CLAIM))
        store.create([NewRun(key=RunKey("default", f"ready-{len(costs)}"), workflow="order", events=journal(1))])
        costs.append((nothing, work(store, lambda: store.claim(CLAIM))))

    assert costs[1] == costs[2]  # the first time, statements are read and understood too


def test_a_claim_walks_over_no_run_of_others(store: SQLiteStore) -> None:
    """A backlog of a workflow that nobody offers here costs nothing here."""
    store.claim(CLAIM)
    before = work(store, lambda: store.claim(CLAIM))
    store.create([NewRun(key=RunKey("default", f"go-{n}"), workflow="go", events=journal(1)) for n in range(500)])

    assert before == work(store, lambda: store.claim(CLAIM))


def test_a_claim_with_limits_looks_at_indexes_only(store: SQLiteStore) -> None:
    """Every question of it is answered by one, in its order."""
    lane: tuple[object, ...] = ("default", "default", "order", 0)
    asked: list[tuple[str, tuple[object, ...], str]] = [
        (STANDING, ("default", "default", 0), "held"),
        (OLDEST, (*lane, 0, 10), "ready"),
        (ENDED, (*lane, 0, 10), "held"),
        (KEYS, (*lane, "pending", "", 10, 0), "line"),
        (OF_KEY, (*lane, "pending", "a", 0, 10), "line"),
    ]
    for statement, values, index in asked:
        lines = plan(store, statement, values)
        assert {f"replay_runs_{index}"} == {line.split("INDEX ")[1].split()[0] for line in lines if "replay_runs" in line}
        assert [] == [line for line in lines if line.startswith("SCAN replay_runs")]


LIMITED = attrs.evolve(CLAIM, queues=[Queue("default", concurrency=1_000_000, per_key=1_000_000)])


def test_a_claim_with_limits_costs_the_same_however_many_runs_are_parked(store: SQLiteStore) -> None:
    """Also when each of them has a key of its own."""
    costs: list[tuple[int, int]] = []
    for number in (100, 100, 4_000):
        store.create([attrs.evolve(run, fairness_key=run.key.id) for run in parked(number, 10_000 * len(costs))])
        nothing = work(store, lambda: store.claim(LIMITED))
        store.create([NewRun(key=RunKey("default", f"ready-{len(costs)}"), workflow="order", events=journal(1))])
        costs.append((nothing, work(store, lambda: store.claim(LIMITED))))

    assert costs[2][0] - costs[1][0] < 50  # one more run is held, and counted
    assert costs[2][1] - costs[1][1] < 50


def test_a_claim_behind_a_backlog_costs_what_it_looks_at(store: SQLiteStore) -> None:
    """Not what waits: ten times as many runs of one key make no difference to another's."""
    costs: list[int] = []
    few = attrs.evolve(LIMITED, limit=2)
    for number in (1_000, 1_000, 9_000):
        first = 10_000 * len(costs)
        store.create([attrs.evolve(run, fairness_key="big", ready_at=1 + first) for run in parked(number, first)])
        store.create([NewRun(key=RunKey("default", f"small-{len(costs)}"), workflow="order", events=journal(1), fairness_key="small")])
        taken: list[str] = []
        costs.append(work(store, lambda taken=taken: taken.extend(item.run.fairness_key for item in store.claim(few).runs)))  # type: ignore[misc]
        assert ["big", "small"] == sorted(taken)

    assert costs[2] < 1.1 * costs[1]


def test_mail_for_held_runs_costs_what_there_is(store: SQLiteStore) -> None:
    """A thousand held runs without mail are not looked at."""
    begin(store, RunKey("default", "a"))
    before = work(store, lambda: store.claim(CLAIM))
    store.create([NewRun(key=RunKey("default", f"held-{n}"), workflow="order", events=journal(1)) for n in range(1_000)])
    assert 1_000 == len(store.claim(CLAIM.__class__(**{**as_dict(CLAIM), "limit": 1_000})).runs)

    assert before + 50 > work(store, lambda: store.claim(CLAIM))


def as_dict(claim: Claim) -> dict[str, Any]:
    """A claim's fields."""
    return {name: getattr(claim, name) for name in ("worker", "namespace", "queues", "workflows", "limit", "ttl")}


# ---- lists --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {"statuses": ["pending"]},
        {"statuses": ["pending", "completed", "stuck"]},
        {"tags": {"team": "a"}},
        {"parent": "boss"},
        {"workflow": "order"},
    ],
    ids=["all", "status", "statuses", "tag", "parent", "workflow"],
)
def test_a_page_costs_what_it_shows(path: Path, narrow: dict[str, Any]) -> None:
    """Not what there is: the second page of three thousand runs is as cheap as that of three hundred."""
    clock = VirtualClock()
    costs = []
    query = Filter(**narrow)
    with opened(path, "?durability=relaxed", clock) as store:
        for first, end in ((0, 300), (300, 3_000)):
            for number in range(first, end, 10):
                clock.advance(1)
                store.create(parked(10, number, tags={"team": "a"}, parent="boss"))
            second = functools.partial(store.find, query, limit=10, cursor=store.find(query, limit=10).cursor)
            costs.append((len(second().runs), work(store, second)))

    assert (10, 10) == (costs[0][0], costs[1][0])
    assert costs[1][1] < 1.2 * costs[0][1]
