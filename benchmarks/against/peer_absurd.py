"""Absurd, on PostgreSQL: its schema by absurdctl, its Python SDK with one worker thread that has a connection of its own.

Configuration: defaults, but the worker polls every 5 ms instead of every 250, without which W5 would measure that pause. W1: the first
attempt runs the steps and raises, ``work_batch`` of the second is timed: it claims, loads all checkpoints, goes through the function
and completes; names of steps are looked up, their order is not checked. Tasks have no parallel steps, so there is no W4.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from absurd_sdk import Absurd

from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, main, median_ms, process_ms, timed, wait_until

TOOK: list[float] = []
TRIED: list[bool] = []


def sequence(steps: int, context: Any) -> int:
    began = time.perf_counter()
    total = 0
    for number in range(steps):
        total += context.step("work", lambda number=number: number)
    TOOK.append(time.perf_counter() - began)
    return total


def failing_once(steps: int, context: Any) -> int:
    total = sequence(steps, context)
    if not TRIED:
        TRIED.append(True)
        raise RuntimeError("the crash that is wanted")
    return total


def prepared(place: Place) -> Absurd:
    """The schema, a queue, and an application that knows both tasks."""
    program = Path(sys.executable).parent / "absurdctl"
    known = {**os.environ, "PGDATABASE": place.dsn, "ABSURD_DATABASE_URL": place.dsn}
    for arguments in (["init"], ["create-queue", "default"]):
        subprocess.run([sys.executable, program, *arguments], check=True, capture_output=True, env=known)
    return application(place)


def application(place: Place) -> Absurd:
    made = Absurd(place.dsn)
    made.register_task(name="sequence")(sequence)
    made.register_task(name="failing_once")(failing_once)
    return made


def working(place: Place) -> Absurd:
    """A worker in a thread, and an application to ask with."""
    asking = prepared(place)
    worker = application(place)
    threading.Thread(target=worker.start_worker, kwargs={"concurrency": 1, "poll_interval": 0.005}, daemon=True).start()
    ask(asking, WARM)
    return asking


def ask(asking: Absurd, steps: int) -> None:
    task = asking.spawn("sequence", steps)["task_id"]
    snapshot = asking.await_task_result(task, timeout=120)
    assert snapshot.state == "completed", snapshot


def replaying(place: Place) -> Found:
    asking = prepared(place)
    asking.spawn("failing_once", REPLAYED, retry_strategy={"kind": "fixed", "base_seconds": 0})
    asking.work_batch()
    took = timed(asking.work_batch)
    assert len(TOOK) == 2, "the second attempt has run"
    return Found(REPLAYED / took, "claim, load, replay and completion")


def in_sequence(place: Place) -> Found:
    asking = working(place)
    ask(asking, STEPS)
    return Found(STEPS / TOOK[-1], "timed inside the task")


def many_runs(place: Place) -> Found:
    asking = working(place)

    def all_of_them() -> None:
        for _ in range(RUNS):
            asking.spawn("sequence", 5)
        with psycopg.connect(place.dsn, autocommit=True) as connection:
            left = "SELECT count(*) FROM absurd.t_default WHERE state <> 'completed'"
            wait_until(lambda: connection.execute(left).fetchone() == (0,), 120)

    return Found(RUNS / timed(all_of_them), "one worker thread; eight were no faster")


def latency(place: Place) -> Found:
    asking = working(place)
    return Found(median_ms(lambda: ask(asking, 1), 50), "its client polls too")


def importing(place: Place) -> Found:
    return Found(process_ms("import absurd_sdk", place.folder))


if __name__ == "__main__":
    main({"W1": replaying, "W2": in_sequence, "W3": many_runs, "W5": latency, "W7 import": importing})
