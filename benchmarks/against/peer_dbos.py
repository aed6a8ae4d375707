"""DBOS Transact for Python, on SQLite and on PostgreSQL.

Configuration: one system database, logging at ERROR. The SQLite file is put into WAL mode first, which DBOS does not do by itself and
which makes it half as fast again; ``synchronous`` stays at SQLite's default, FULL. W2, W3 and W5 use sync workflows and steps, W4 async
steps under ``asyncio.gather``: of each the faster. W1 is its start-up recovery: a process runs the steps and dies before the workflow
returns, another one launches DBOS on the same database; timed from the first to the last line of the workflow.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

from dbos import DBOS

from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, again, leave, main, median_ms, process_ms, timed

DIES = threading.Event()
ENDED = threading.Event()
TOOK: list[float] = []
HELLO = """
from dbos import DBOS
@DBOS.step()
def greet(name): return "hello " + name
@DBOS.workflow()
def hello(name): return greet(name)
DBOS(config={"name": "hello", "system_database_url": "sqlite:///hello.db", "log_level": "ERROR"})
DBOS.launch()
print(hello("you"), flush=True)
import os; os._exit(0)
"""


@DBOS.step()
def work(number: int) -> int:
    return number


@DBOS.step()
async def work_async(number: int) -> int:
    return number


@DBOS.workflow()
def sequence(steps: int) -> int:
    began = time.perf_counter()
    total = 0
    for number in range(steps):
        total += work(number)
    TOOK.append(time.perf_counter() - began)
    if DIES.is_set():
        leave(Found(0))
    ENDED.set()
    return total


@DBOS.workflow()
async def at_once(steps: int) -> int:
    return len(await asyncio.gather(*(work_async(number) for number in range(steps))))


def launch(place: Place) -> None:
    """DBOS on an empty database, or on the one that is there."""
    url = place.dsn
    if place.backend == "sqlite":
        path = place.folder / "dbos.db"
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        url = f"sqlite:///{path}"
    DBOS(config={"name": "bench", "system_database_url": url, "application_version": "1", "executor_id": "bench", "log_level": "ERROR"})
    DBOS.launch()


def running_and_dying(place: Place) -> Found:
    launch(place)
    DIES.set()
    sequence(REPLAYED)
    return Found(0)


def recovering(place: Place) -> Found:
    launch(place)
    if not ENDED.wait(120):
        raise TimeoutError("the workflow was not recovered")
    return Found(REPLAYED / TOOK[-1])


def replaying(place: Place) -> Found:
    again(__spec__.name, "die", place)
    return Found(again(__spec__.name, "recover", place), "recovery at launch, timed inside the workflow")


def in_sequence(place: Place) -> Found:
    launch(place)
    sequence(WARM)
    return Found(STEPS / timed(lambda: sequence(STEPS)))


def many_runs(place: Place) -> Found:
    launch(place)
    sequence(WARM)

    def all_of_them() -> None:
        for handle in [DBOS.start_workflow(sequence, 5) for _ in range(RUNS)]:
            handle.get_result()

    return Found(RUNS / timed(all_of_them), "start_workflow")


def side_by_side(place: Place) -> Found:
    launch(place)
    asyncio.run(at_once(WARM))
    return Found(timed(lambda: asyncio.run(at_once(STEPS))), "asyncio.gather of async steps")


def latency(place: Place) -> Found:
    launch(place)
    sequence(WARM)
    return Found(median_ms(lambda: sequence(1)), "a direct call of the workflow")


def importing(place: Place) -> Found:
    return Found(process_ms("import dbos", place.folder))


def hello(place: Place) -> Found:
    return Found(process_ms(HELLO, place.folder), "left with os._exit, as DBOS.destroy() takes another second")


if __name__ == "__main__":
    main(
        {
            "W1": replaying,
            "die": running_and_dying,
            "recover": recovering,
            "W2": in_sequence,
            "W3": many_runs,
            "W4": side_by_side,
            "W5": latency,
            "W7 import": importing,
            "W7 hello": hello,
        }
    )
