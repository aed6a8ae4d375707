"""Engines in several processes on one database: work is shared, and nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from replay_postgres import PostgresStore
from replay_postgres.testing import TemporaryCluster

import replay
from replay.hooks import Filter

pytestmark = pytest.mark.postgres

WORKER = """
import asyncio, os, sys
import psycopg
import replay

place = psycopg.connect(sys.argv[2], autocommit=True)


@replay.step
async def add(number: int, deed: int) -> int:
    await asyncio.sleep(0.03)  # long enough that one worker, which holds twenty runs, cannot do them all before the other looks
    place.execute(f"INSERT INTO {sys.argv[3]} VALUES (%s, %s, %s)", (number, deed, os.getpid()))
    return number + deed


@replay.workflow(name="postgres.adding")
def adding(number: int) -> replay.Workflow[int]:
    total = 0
    for deed in range(3):
        total += yield from add(number, deed)
    if (yield from replay.signal("more", bool)):
        total += yield from add(number, 3)
    return total


if __name__ == "__main__":
    with replay.Engine(sys.argv[1], concurrency=20, poll=5, ttl=5) as engine:
        print("ready", flush=True)
        sys.stdin.readline()
place.close()
"""
RUNS = 200


@replay.workflow(name="postgres.adding")
def adding(number: int) -> replay.Workflow[int]:
    """What the workers do; here it is only started."""
    yield from replay.sleep(0)
    return number


def test_two_engines_share_the_work(tmp_path: Path, cluster: TemporaryCluster, url: str, schema: str, store: PostgresStore) -> None:
    """Two hundred runs of four steps and a signal: both take part, every step is done once, every answer is right."""
    cluster.execute(f"CREATE TABLE {schema}.deeds (run int, deed int, pid int)")
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, str(script), url, cluster.url(), f"{schema}.deeds"]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert ["ready\n"] * 2 == [worker.stdout.readline() for worker in workers if worker.stdout]
        with replay.Client(store) as client:
            handles = [client.start(adding(number), id=f"run-{number}") for number in range(RUNS)]
            for handle in handles:
                handle.signal("more", True)
            assert [4 * number + 6 for number in range(RUNS)] == [handle.result(60) for handle in handles]
    finally:
        for worker in workers:
            worker.communicate("stop\n", timeout=60)

    deeds = store._with(lambda hot: hot.ask(f"SELECT run, deed, pid FROM {schema}.deeds"))
    cluster.execute(f"DROP TABLE {schema}.deeds")
    assert {1} == set(Counter((run, deed) for run, deed, _ in deeds).values())
    assert (4 * RUNS, 2) == (len(deeds), len({pid for _, _, pid in deeds}))
    runs = store.find(Filter(statuses=["completed"]), limit=1000).runs
    assert (RUNS, {0}) == (len(runs), {run.recoveries for run in runs})
