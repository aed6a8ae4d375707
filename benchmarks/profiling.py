"""Where the time goes: W1, W2 and W3 under cProfile in every thread, added up by room.

Rule 1: a function's own time belongs to the room of its file; a built-in's to the room that called it, but SQLite and waiting have
rows of their own.
Rule 2: the profiler makes calls dearer than loops, so what is told is shares of its own sum, and beside them what the unprofiled run
took; shares of a tenth are real, single percents are not.
Rule 3: threads are told apart: what caller, engine and pool do at the same time is no sum. A line says for how much
of the time a thread was busy, and with what; the rest of the time it waited for another one.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import pstats
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import replay
from benchmarks import workloads
from benchmarks.machine import look_at_machine
from benchmarks.tables import markdown, write_between
from replay.hooks import open_store

PACKAGE: Final = str(Path(replay.__file__).parent)
HERE: Final = Path(__file__).parent
WAITING: Final = ("'acquire' of '_thread", "'get' of '_queue", "sleep", "'poll' of 'select", "'wait'", "_wait_for_tstate_lock")
"""Built-ins in which a thread waits for another one."""
WAITS: Final = "waiting for another thread"
SQLITE: Final = ("sqlite3", "_sqlite3")
SMALL: Final = 0.02
"""Shares below this are left out."""
Spent = collections.Counter[tuple[str, str]]
"""Seconds by thread and room."""


class Case(NamedTuple):
    """A workload under the profiler: its name, its unit, and what does it; a call says how many units it did in how many seconds."""

    title: str
    unit: str
    work: Callable[[Any], tuple[int, float]]
    url: str


def feeding(_: Any) -> tuple[int, float]:
    """W1, the interpreter alone."""
    journal = workloads.journal_of(10_000)
    return 10_000, workloads.seconds_of_feeding(journal)


def recovering(store: Any) -> tuple[int, float]:
    """W1 from a store."""
    return 10_000, workloads.seconds_of_recovery(store, "profile")[0]


def in_sequence(engine: Any) -> tuple[int, float]:
    """W2."""
    return 1_000, workloads.seconds_of_sequence(engine, 1_000)


def many_runs(engine: Any) -> tuple[int, float]:
    """W3."""
    return 500, workloads.seconds_of_many(engine, 500)


CASES: Final = (
    Case("W1 the interpreter alone", "step", feeding, ""),
    Case("W1 from SQLite", "step", recovering, "sqlite"),
    Case("W2 on memory", "step", in_sequence, "memory"),
    Case("W2 on SQLite", "step", in_sequence, "sqlite"),
    Case("W3 on SQLite", "run", many_runs, "sqlite"),
)


@contextmanager
def scene(case: Case) -> Iterator[Any]:
    """What the workload needs: nothing, a store with a journal, or an engine."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/profile.db" if case.url == "sqlite" else "memory://"
        if case.work is recovering:
            store = open_store(url)
            workloads.put_journal(store, 10_000)
            yield store
            store.close()
        elif case.work is feeding:
            yield None
        else:
            with workloads.engine_on(url) as engine:
                yield engine


@contextmanager
def profiled() -> Iterator[dict[str, list[cProfile.Profile]]]:
    """A profiler in this thread and in each that begins meanwhile, by the kind of thread."""
    found: dict[str, list[cProfile.Profile]] = collections.defaultdict(list)

    def begin(*_: object) -> None:
        mine = cProfile.Profile()
        found[kind(threading.current_thread().name)].append(mine)
        mine.enable()

    threading.setprofile(begin)
    own = cProfile.Profile()
    found["caller"].append(own)
    own.enable()
    try:
        yield found
    finally:
        own.disable()
        threading.setprofile(None)


def kind(thread: str) -> str:
    """A thread's name without its number."""
    return thread.removeprefix("replay-").rstrip("-0123456789")


def room(place: tuple[str, int, str]) -> str:
    """The room of a function, or empty for a built-in."""
    file, _, name = place
    if file == "~":
        if any(word in name for word in WAITING):
            return WAITS
        return "SQLite and the disk" if any(word in name for word in SQLITE) else ""
    if file.startswith(PACKAGE):
        parts = Path(file).relative_to(PACKAGE).parts
        if parts[0] == "model" and parts[-1].startswith("codec"):
            return "codec"
        return parts[0].removesuffix(".py")
    if file.startswith(str(HERE)):
        return "the workflow itself"
    return "standard library"


def by_room(thread: str, profiles: list[cProfile.Profile]) -> Spent:
    """Seconds of a kind of thread, by room."""
    spent: Spent = collections.Counter()
    for profile in profiles:
        profile.create_stats()
        for place, (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed keeps it out
            where = room(place)
            if where:
                spent[thread, where] += own
                continue
            for caller, (_, _, its, _) in callers.items():
                spent[thread, room(caller) or "standard library"] += its
            if not callers:
                spent[thread, "standard library"] += own
    return spent


def measure(case: Case, rounds: int) -> tuple[float, float, Spent]:
    """Microseconds a unit without the profiler, the best of some; with it, seconds in all, and by thread and room."""
    with scene(case) as given:
        case.work(given)
        found = [case.work(given) for _ in range(rounds)]
        alone = min(seconds / units for units, seconds in found) * 1e6
    spent: Spent = collections.Counter()
    with profiled() as profiles:
        own = profiles["caller"][0]
        own.disable()
        with scene(case) as given:
            case.work(given)
            for profile in [each for kind_of in profiles.values() for each in kind_of]:
                profile.clear()
            began = time.perf_counter()
            own.enable()
            for _ in range(rounds):
                case.work(given)
            own.disable()
            wall = time.perf_counter() - began
    for thread, each in profiles.items():
        spent += by_room(thread, each)
    return alone, wall, spent


def rows(case: Case, alone: float, wall: float, spent: Spent) -> Iterator[list[str]]:
    """Lines of the table: each thread, the rooms that cost most first."""
    for thread in dict.fromkeys(name for name, _ in spent):
        mine = collections.Counter({where: seconds for (name, where), seconds in spent.items() if name == thread and where != WAITS})
        busy = sum(mine.values())
        if busy < SMALL * wall:
            continue
        shares = ", ".join(f"{where} {seconds / busy:.0%}" for where, seconds in mine.most_common() if seconds >= SMALL * busy)
        yield [f"{case.title}", f"{alone:,.3g} µs a {case.unit}", thread, f"{min(1, busy / wall):.0%}", shares]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile", description="Where the time of W1, W2 and W3 goes, by room.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    given = parser.parse_args()
    lines = [line for case in CASES for line in rows(case, *measure(case, given.rounds))]
    table = markdown(["workload", "unprofiled", "thread", "busy", "with"], lines, right=(1, 3))
    print(table)
    if given.write:
        write_between(HERE / "README.md", "profile", f"{look_at_machine()}.\n\n{table}")


if __name__ == "__main__":
    main()
