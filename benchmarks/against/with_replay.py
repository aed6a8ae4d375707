"""replay itself, by the same harness as its peers: the workloads of ``benchmarks/workloads.py`` on each backend.

Configuration: ``Engine(url)`` with all settings at their defaults; SQLite in WAL with ``synchronous=FULL``, PostgreSQL as it comes.
"""

from __future__ import annotations

from typing import Final

from benchmarks import workloads
from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, main, process_ms
from replay.hooks import open_store

HELLO: Final = """
import replay
@replay.step
def greet(name: str) -> str: return "hello " + name
@replay.workflow
def hello(name: str): return (yield from greet(name))
print(replay.run(hello("you")))
"""


def url(place: Place) -> str:
    """The store's URL."""
    return {"memory": "memory://", "sqlite": f"sqlite:///{place.folder}/replay.db", "postgres": place.dsn}[place.backend]


def replaying(place: Place) -> Found:
    """W1: claim a run with its journal, verify it, and drive it to where it stands."""
    store = open_store(url(place))
    workloads.put_journal(store, REPLAYED)
    workloads.seconds_of_recovery(store, "warm")
    return Found(REPLAYED / workloads.seconds_of_recovery(store, "bench")[0])


def feeding(_: Place) -> Found:
    """W1, the interpreter alone, fed from memory."""
    journal = workloads.journal_of(REPLAYED)
    workloads.seconds_of_feeding(journal)
    return Found(REPLAYED / workloads.seconds_of_feeding(journal))


def in_sequence(place: Place) -> Found:
    """W2."""
    with workloads.engine_on(url(place)) as engine:
        workloads.seconds_of_sequence(engine, WARM)
        return Found(STEPS / workloads.seconds_of_sequence(engine, STEPS))


def many_runs(place: Place) -> Found:
    """W3."""
    with workloads.engine_on(url(place)) as engine:
        workloads.seconds_of_many(engine, WARM)
        return Found(RUNS / workloads.seconds_of_many(engine, RUNS))


def at_once(place: Place) -> Found:
    """W4."""
    with workloads.engine_on(url(place)) as engine:
        workloads.seconds_at_once(engine, WARM)
        return Found(workloads.seconds_at_once(engine, STEPS))


def latency(place: Place) -> Found:
    """W5."""
    with workloads.engine_on(url(place)) as engine:
        workloads.latencies(engine, WARM)
        found = sorted(workloads.latencies(engine, 200))
        return Found(found[len(found) // 2] * 1_000)


def importing(place: Place) -> Found:
    """W7: the import."""
    return Found(process_ms("import replay", place.folder))


def hello(place: Place) -> Found:
    """W7: a one-step run in a fresh process, on SQLite."""
    return Found(process_ms(HELLO, place.folder))


def from_snapshot(place: Place) -> Found:
    """W12: recovery from a savepoint with state, after as many turns as W1 has steps."""
    store = open_store(url(place))
    workloads.put_turns(store, REPLAYED + 1, REPLAYED)
    workloads.seconds_of_savepoint_recovery(store)
    return Found(
        workloads.seconds_of_savepoint_recovery(store)[0] * 1_000, "a claim, whose lease is a durable write, and the events after it"
    )


if __name__ == "__main__":
    main(
        {
            "W1": replaying,
            "W1 alone": feeding,
            "W2": in_sequence,
            "W3": many_runs,
            "W4": at_once,
            "W5": latency,
            "W7 import": importing,
            "W7 hello": hello,
            "W12": from_snapshot,
        }
    )
