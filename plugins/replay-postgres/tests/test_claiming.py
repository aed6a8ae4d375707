"""Claims: as fast among many parked runs as among few, and fair between queues."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replay_postgres import PostgresStore, limiting
from replay_postgres import statements as sql
from replay_postgres.testing import TemporaryCluster

from replay.hooks import Claim
from replay.testing.store_suite.case import SHOP, TTL, key, order, ready, together, wish

pytestmark = pytest.mark.postgres

PARKED = 100_000
PARK = """
    INSERT INTO {schema}.replay_runs (namespace, id, workflow, version, queue, digest, priority, parent, parent_command, status, seq,
        base, applied, source, created_at, updated_at, ready_at, wake_at, fence, worker, recoveries, note, result, mail, control,
        journals, turn, tags, shown)
    SELECT 'shop', 'parked-' || n, 'order', '', 'default', '', n % 3, '', '', 'waiting', 1, 0, 0, '', n, n,
        CASE WHEN n % 2 = 0 THEN 7258118400000000 + n END, NULL, 1, '', 0, '', '', 0, 0, 0, 0, '{{}}', false
    FROM generate_series(1, {count}) n"""
"""Half of them wait for a timer after the year 2200, half for a message."""


@pytest.fixture(scope="module")
def parking(cluster: TemporaryCluster, tables: str) -> Iterator[str]:
    """A schema with very many parked runs."""
    cluster.execute(PARK.format(schema=tables, count=PARKED))
    cluster.execute(f"ANALYZE {tables}.replay_runs")
    yield tables
    cluster.execute(f"DELETE FROM {tables}.replay_runs")


def explained(store: PostgresStore, mode: str) -> dict[str, Any]:
    """How the server does a claim of twenty runs, left to itself."""
    with store._pool.lent() as raw:
        raw.execute(f"SET plan_cache_mode = {mode}".encode())
        raw.execute("SET enable_seqscan = on")
        raw.execute(f"PREPARE claiming AS {store._pool.spell(sql.claiming(128))}".encode())
        raw.execute("BEGIN")
        arguments = "NULL, 'shop', '{default}', '{order,refund}', 20, 'ann', 30000000"
        rows = raw.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claiming({arguments})".encode()).fetchall()
        raw.execute("ROLLBACK")
        raw.close()
    plan: dict[str, Any] = rows[0][0][0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and all its parts."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.fixture
def crowded(parking: str, opened: Callable[[str], PostgresStore], cluster: TemporaryCluster) -> PostgresStore:
    return opened(cluster.url(f"schema={parking}"))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_claim_walks_over_no_parked_run(crowded: PostgresStore, mode: str) -> None:
    """It looks into the index once for each queue, workflow and priority, and reads a few dozen pages of a hundred thousand runs."""
    plan = explained(crowded, mode)

    reads = [node for node in nodes(plan) if node.get("Relation Name") == "replay_runs"]
    assert {"Seq Scan", "Bitmap Heap Scan"} & {node["Node Type"] for node in reads} == set()
    assert {"replay_runs_ready", "replay_runs_mail", "replay_runs_pkey"} == {
        node["Index Name"] for node in reads if "Index Name" in node
    }
    assert max(node["Actual Rows"] for node in reads) <= 1
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150


def test_a_claim_among_parked_runs_takes_those_that_are_ready(crowded: PostgresStore) -> None:
    """And says when the first of the others is due."""
    crowded.create([order(f"run-{number}", priority=number % 4) for number in range(10)])

    claims = crowded.claim(wish(limit=6))

    assert [3, 3, 2, 2, 1, 1] == [claimed.run.priority for claimed in claims.runs]
    assert 7_258_118_400_000_002 == claims.next_at


LANE = "ARRAY['default'], ARRAY['order'], ARRAY[0::int8]"
QUESTIONS = {
    "who holds what": (limiting.STANDING, "NULL, 'shop', '{default}'", "replay_runs_held"),
    "who has waited longest": (limiting.OLDEST, "NULL, 'shop', '{default}', '{order}', 60", "replay_runs_ready"),
    "the first of each key": (limiting.BY_KEY, f"NULL, 'shop', 10, {LANE}, ARRAY['waiting'], ARRAY['']", "replay_runs_line"),
    "whose lease has ended": (limiting.ENDED, f"NULL, 'shop', {LANE}, ARRAY[''], ARRAY['']", "replay_runs_held"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_claim_with_limits_walks_over_no_parked_run(crowded: PostgresStore, question: str) -> None:
    """Each of its questions is answered by one index, in a few pages."""
    statement, arguments, index = QUESTIONS[question]
    with crowded._pool.lent() as raw:
        raw.execute(b"SET plan_cache_mode = force_custom_plan")
        raw.execute(f"PREPARE asking AS {crowded._pool.spell(statement)}".encode())
        rows = raw.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asking({arguments})".encode()).fetchall()
        raw.close()
    plan = rows[0][0][0]["Plan"]

    reads = [node for node in nodes(plan) if node.get("Relation Name") == "replay_runs"]
    assert {"Seq Scan", "Bitmap Heap Scan"} & {node["Node Type"] for node in reads} == set()
    assert index in {node["Index Name"] for node in reads}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150


# ---- fairness -----------------------------------------------------------------------------------------------------------

BOTH = ["busy", "quiet"]


def test_queues_take_turns(store: PostgresStore) -> None:
    """A queue that is flooded does not keep another one waiting; the answer is in the order of their turns."""
    store.create([order(f"busy-{number:02}", queue="busy", ready_at=1 + number) for number in range(50)])
    store.create([order(f"quiet-{number}", queue="quiet", ready_at=1000 + number) for number in range(2)])

    assert ["busy-00", "quiet-0", "busy-01", "quiet-1"] == ready(store, queues=BOTH, limit=4)
    assert ["busy-02", "busy-03", "busy-04"] == ready(store, queues=BOTH, limit=3)


def test_priority_comes_before_fairness(store: PostgresStore) -> None:
    """What matters more goes first, of whichever queue."""
    store.create([order(f"busy-{number}", queue="busy", priority=1, ready_at=1 + number) for number in range(5)])
    store.create([order("quiet", queue="quiet", ready_at=1)])

    assert ["busy-0", "busy-1", "busy-2", "busy-3", "busy-4", "quiet"] == ready(store, queues=BOTH)


def test_workers_that_claim_at_once_do_not_wait_for_each_other(store: PostgresStore) -> None:
    """While one has not committed yet, another takes other runs."""
    store.create([order(f"run-{number}") for number in range(10)])
    claim = (None, SHOP, "{default}", "{order}", 4, "ann", TTL)
    with store._pool.lent() as raw:
        raw.execute("BEGIN")
        held = {row[8] for row in raw.execute(literal(store, claim)).fetchall()}
        taken = set(ready(store, "ben", limit=4))
        raw.execute("COMMIT")

    assert (4, 4, set()) == (len(held), len(taken), held & taken)


def literal(store: PostgresStore, claim: tuple[Any, ...]) -> bytes:
    """A claim as text, to be run in a transaction of the test's own."""
    text = store._pool.spell(sql.claiming(128))
    for place, value in reversed(list(enumerate(claim, 1))):
        text = text.replace(f"${place}", "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value))
    return text.encode()


def test_racing_claimers_take_everything(store: PostgresStore) -> None:
    """Eight workers, two hundred runs, each taken once."""
    store.create([order(f"run-{number}", queue=BOTH[number % 2], priority=number % 3) for number in range(200)])

    def work(name: str) -> list[str]:
        mine: list[str] = []
        while some := ready(store, name, limit=7, queues=BOTH):
            mine += some
        return mine

    taken = list(itertools.chain(*together(*(lambda name=name: work(name) for name in "abcdefgh"))))
    taken += ready(store, queues=BOTH, limit=200)

    assert sorted(f"run-{number}" for number in range(200)) == sorted(taken)


def test_a_claim_may_ask_for_very_many(store: PostgresStore) -> None:
    """More than anyone should."""
    store.create([order(f"run-{number}") for number in range(1500)])

    assert 1200 == len(ready(store, limit=1200))


def test_a_worker_that_offers_little_is_told_of_little(store: PostgresStore) -> None:
    """Runs of workflows that it does not offer, and of queues that it does not serve, are none of its business."""
    store.create([order("other", workflow="refund", ready_at=5), order("elsewhere", queue="gpu", ready_at=5)])

    claims = store.claim(Claim(worker="ann", namespace=SHOP, queues=["default"], workflows=["order"], limit=5, ttl=TTL))

    assert ([], None) == (list(claims.runs), claims.next_at)
    assert [""] == [run.worker for run in store.get([key("other")]) if run]
