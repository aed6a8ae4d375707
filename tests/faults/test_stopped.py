"""A worker that is stopped past its lease and then goes on, on one SQLite file with another that does not stop."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from replay import Client
from tests.faults import load
from tests.faults.chaos import Audit, Load, Report, Workers
from tests.helpers.engines import until

pytestmark = pytest.mark.faults

LEASE = 0.6
"""Seconds; a stopped worker's runs are taken over after it."""


def held_by(client: Client, process: int) -> int:
    """How many leases a process holds."""
    runs = client.find(status="running", limit=1000).runs
    return sum(f"/{process}." in run.worker for run in runs)


def busy(client: Client, processes: list[int]) -> int | None:
    """The process that holds most leases, if any."""
    held = {process: held_by(client, process) for process in processes}
    most = max(held, key=held.__getitem__)
    return most if held[most] else None


def stands_still(process: int) -> bool:
    """Whether all of its threads have stopped; one that waits for the disk does so a little later."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{process}/task").glob("*/stat")]
    return {"T"} == set(states)


def holds_the_file(path: Path) -> bool:
    """Whether it was stopped in the middle of a transaction: then nobody else can write, and there is nothing to see."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.5)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def going_on(under_way: Load, processes: list[int]) -> int | None:
    """More is started; who is busy with it."""
    under_way.go_on(more=True)
    return busy(under_way.client, processes)


def ending(under_way: Load) -> bool:
    """Nothing more is started; whether all has ended."""
    under_way.go_on(more=False)
    return not under_way.open


def is_free(client: Client, process: int) -> bool:
    """Whether it holds no lease."""
    return not held_by(client, process)


@pytest.mark.slow
def test_two_processes_never_both_commit_to_one_run(url: str, log: Path, tmp_path: Path) -> None:
    """One that holds runs is stopped until the other has taken all of them, and then goes on where it was; again and again."""
    path = tmp_path / "runs.db"
    load.prepare(url)
    crew = Workers(url, str(log), 2, ttl=LEASE)
    with Client(url) as client:
        under_way = Load(client, random.Random(7), 10)
        crew.fill()
        processes = crew.all_ready()
        try:
            taken_over = 0
            while taken_over < 3:
                process = until(partial(going_on, under_way, processes), client.store)
                os.kill(process, signal.SIGSTOP)
                until(partial(stands_still, process), client.store)
                if not holds_the_file(path):
                    until(partial(is_free, client, process), client.store)
                    taken_over += 1
                os.kill(process, signal.SIGCONT)
            until(partial(ending, under_way), client.store, 60)
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
            crew.end()
        report = Report(seed=7)
        Audit(client, report, load.executions(log)).of(under_way.errands)

    # A step may be begun by a worker that does not know yet that it was stopped; what it answers is refused.
    assert {**report.violations, "done_again": []} == {name: [] for name in report.violations}
    assert report.recoveries > 0
