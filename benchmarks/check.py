"""A guard against slowing down: ``make bench-check``.

Five hot paths, each in slices of a few milliseconds; between any two slices runs a slice of a reference: plain Python that does no more
than a generator, some objects and a dictionary. What is compared is the ratio of their processor times, against ``baselines.json``.

Rule 1: no absolute time. Both sides meet the same neighbours, the same clock speed and the same interpreter, so they cancel out.
Rule 2: processor time, not the wall's: waiting for a disk or for another process is not the code's doing, and not seen here.
Rule 3: a path is too slow when it is so in every one of some tries: noise comes and goes, a slow-down stays.
Rule 4: processors differ in what they do well, so a baseline belongs to one. On another the bound is wide; ``--record`` adds one.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import workloads
from benchmarks.machine import look_at_machine
from replay.hooks import open_store
from replay.store.contract import Commit, NewRun, RunKey, Store

BASELINES: Final = Path(__file__).with_name("baselines.json")
TOLERANCE: Final = 0.075
"""How much slower than its baseline a path may be on the same processor; a path's lowest ratios differ by 4 %, also under load."""
ELSEWHERE: Final = 0.35
"""The same on a processor without a baseline."""
TRIES: Final = 5
SLICES: Final = 120
IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where SQLite's files lie: what writing to a busy disk costs the kernel is not the code's doing."""
Slice = Callable[[], object]


class Box:
    """What the reference yields."""

    __slots__ = ("name", "number", "rest")

    def __init__(self, number: int, name: str, rest: tuple[int, ...]) -> None:
        self.number = number
        self.name = name
        self.rest = rest


def reference(rounds: int = 2_000) -> list[tuple[str, int]]:
    """Plain Python: a generator that is sent answers, an object for each, a dictionary of those that wait."""

    def asking() -> Generator[Box, int, int]:
        total = 0
        for number in range(rounds):
            total += yield Box(number, "work", (number,))
        return total

    machine = asking()
    waiting: dict[int, Box] = {}
    log: list[tuple[str, int]] = []
    box = next(machine)
    for number in range(rounds - 1):
        waiting[box.number] = box
        answered = waiting.pop(number)
        log.append((answered.name, int(b"%d" % number)))
        box = machine.send(number)
    return log


@contextmanager
def interpreting() -> Iterator[Slice]:
    """W1, the interpreter alone."""
    journal = workloads.journal_of(1_000)
    yield lambda: workloads.seconds_of_feeding(journal)


@contextmanager
def recovering() -> Iterator[Slice]:
    """W1 from SQLite: claim, read, verify, drive."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        store = open_store(f"sqlite:///{folder}/check.db")
        workloads.put_journal(store, 1_000)
        yield lambda: workloads.seconds_of_recovery(store, "check")
        store.close()


@contextmanager
def committing() -> Iterator[Slice]:
    """The store's share of W2: commits of one event each, on SQLite; without fsync, whose cost is the kernel's."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        store = open_store(f"sqlite:///{folder}/check.db?durability=relaxed")
        yield functools.partial(commit_events, store, workloads.journal_of(50))
        store.close()


def commit_events(store: Store, journal: list[Any]) -> None:
    """A run of its own, and its events one by one."""
    key = RunKey("default", f"check-{time.perf_counter_ns()}")
    (created,) = store.create([NewRun(key=key, workflow="sequence", events=journal[:1])], worker="check", ttl=60_000_000)
    assert created.lease is not None
    for event in journal[1:]:
        store.commit([Commit(lease=created.lease, expected=event.seq - 1, events=[event])])


@contextmanager
def in_sequence() -> Iterator[Slice]:
    """W2 on memory: the engine's part of a step."""
    with workloads.engine_on("memory://") as engine:
        yield lambda: workloads.seconds_of_sequence(engine, 50)


@contextmanager
def many_runs() -> Iterator[Slice]:
    """W3 on memory: the engine's part of a run."""
    with workloads.engine_on("memory://") as engine:
        yield lambda: workloads.seconds_of_many(engine, 20)


PATHS: Final[dict[str, Callable[[], Any]]] = {
    "interpreter": interpreting,
    "recovery": recovering,
    "commit": committing,
    "sequence": in_sequence,
    "many runs": many_runs,
}


def seconds(work: Slice) -> float:
    """Processor seconds of this process that it takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(path: Slice, slices: int = SLICES) -> float:
    """How many times the reference's processor time the path needs, in slices that take turns."""
    mine, theirs = [], []
    for _ in range(slices):
        theirs.append(seconds(reference))
        mine.append(seconds(path))
    return undisturbed(mine) / undisturbed(theirs)


def undisturbed(times: list[float]) -> float:
    """The fifth percentile: what it takes when nobody disturbs, and not the luckiest case."""
    return sorted(times)[len(times) // 20]


def slowed(path: Slice, share: float) -> Slice:
    """The path, made slower by a share of its own processor time: to see whether the guard barks."""

    def work() -> None:
        took = seconds(path)
        end = time.process_time() + took * share
        while time.process_time() < end:
            pass

    return work


def lowest(path: Slice, bound: float) -> float:
    """The lowest ratio of some tries; the first that is within the bound is enough."""
    found = ratio(path)
    for _ in range(TRIES - 1):
        if found <= bound:
            break
        found = min(found, ratio(path))
    return found


def check(baseline: dict[str, float], tolerance: float, slow: float) -> list[str]:
    """Names of the paths that are too slow; a line is told of each path."""
    late = []
    for name, opened in PATHS.items():
        with opened() as path:
            work = slowed(path, slow) if slow else path
            work()
            bound = baseline[name] * (1 + tolerance)
            found = lowest(work, bound)
        is_late = found > bound
        late += [name] * is_late
        change = (found / baseline[name] - 1) * 100
        verdict = "  TOO SLOW" if is_late else ""
        print(f"{name:14}{found:8.2f} times the reference, baseline {baseline[name]:6.2f}, {change:+6.1f} %{verdict}")
    return late


def record() -> dict[str, float]:
    """Each path's ratio on this machine: the lowest of some tries, as ``check`` takes it."""
    found = {}
    for name, opened in PATHS.items():
        with opened() as path:
            path()
            found[name] = round(lowest(path, 0), 3)
    return found


def one_processor() -> None:
    """Stay on one processor: threads that run side by side wait for the interpreter's lock, and in calm the more so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-check", description="Guard five hot paths against slowing down.")
    parser.add_argument("--record", action="store_true", help="make what is measured the baseline of this processor")
    parser.add_argument(
        "--slow", type=float, default=0, metavar="SHARE", help="slow every path down by this share; 0.15 must be caught"
    )
    given = parser.parse_args()
    processor = look_at_machine().processor
    known: dict[str, dict[str, float]] = json.loads(BASELINES.read_text(encoding="utf-8")) if BASELINES.exists() else {}
    one_processor()
    gc.collect()
    gc.freeze()
    with ExitStack() as stack:
        gc.disable()
        stack.callback(gc.enable)
        if given.record:
            known[processor] = record()
            BASELINES.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            return
        tolerance = TOLERANCE
        if processor not in known:
            tolerance = ELSEWHERE
            print(f"no baseline for {processor}: the bound is {ELSEWHERE:.0%} above the highest of the others")
        highest = {name: max(each[name] for each in known.values()) for name in PATHS}
        late = check(known.get(processor, highest), tolerance, given.slow)
    if late:
        sys.exit(f"bench-check: {', '.join(late)}: more than {tolerance:.1%} over the baseline in each of {TRIES} tries")


if __name__ == "__main__":
    main()
