"""One measurement of one system: a process that does one workload once, and says on its last line what came out.

Rule 1: a process a measurement. Nothing idles beside what is measured, and no system is warmer than another.
Rule 2: only the standard library, as it runs in replay's environment and in that of its peers.
Rule 3: a step is a plain function that returns its int; every system does the same number of them.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

STEPS: Final = 1_000
"""Steps of W2, in sequence, and of W4, at once."""
RUNS: Final = 500
"""Runs of W3, of five steps each."""
REPLAYED: Final = 10_000
"""Steps of W1."""
ASKED: Final = 200
"""One-step runs of W5."""
WARM: Final = 20
"""Steps before the clock starts."""


class Place(NamedTuple):
    """Where a measurement takes place.

    Attributes:
        backend: ``memory``, ``sqlite``, ``postgres`` or ``server``.
        folder: An empty folder on the disk that is measured.
        dsn: An empty database of a PostgreSQL server, or empty.
    """

    backend: str
    folder: Path
    dsn: str


class Found(NamedTuple):
    """What came out: a figure, and what must be known to read it."""

    value: float
    note: str = ""


Workload = Callable[[Place], Found]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median_ms(work: Callable[[], object], times: int = ASKED) -> float:
    """Milliseconds that it takes, in the middle of some times."""
    return statistics.median(timed(work) for _ in range(times)) * 1_000


def process_ms(code: str, folder: Path, times: int = 3) -> float:
    """Milliseconds of a fresh process that runs this code to its end."""
    return median_ms(lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder), times)


def again(module: str, workload: str, place: Place) -> float:
    """The figure of another workload of this module, in a process of its own, as after a crash.

    Raises:
        ValueError: It ended without one.
    """
    said = subprocess.run(
        [sys.executable, "-m", module, workload, *map(str, place)], capture_output=True, text=True, check=False, timeout=300
    )
    return read(said.stdout, said.stderr).value


def read(said: str, complained: str = "") -> Found:
    """The figure on the last line of what a measurement said.

    Raises:
        ValueError: There is none.
    """
    lines = said.strip().splitlines()
    try:
        return Found(**json.loads(lines[-1]))
    except (IndexError, TypeError, json.JSONDecodeError):
        last = (complained.strip().splitlines() or lines or ["it said nothing"])[-1]
        raise ValueError(last[:300]) from None


def tell(found: Found) -> None:
    """Say the figure on a line of its own; nothing may follow it."""
    assert math.isfinite(found.value)
    sys.stdout.write(f"\n{json.dumps(found._asdict())}\n")
    sys.stdout.flush()


def leave(found: Found | None = None) -> None:
    """Say the figure and end the process at once: how a system shuts down is not measured, and a crash is meant."""
    if found is not None:
        tell(found)
    os._exit(0)


def main(workloads: Mapping[str, Workload]) -> None:
    """Do the workload that the command line names: ``WORKLOAD BACKEND FOLDER DSN``."""
    name, backend, folder, dsn = (*sys.argv[1:], "")[:4]
    leave(workloads[name](Place(backend, Path(folder), dsn)))


def wait_until(is_so: Callable[[], Any], patience: float = 60, every: float = 0.02) -> None:
    """Look until it is so.

    Raises:
        TimeoutError: Patience ended first.
    """
    end = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"still not so after {patience:g} s")
        time.sleep(every)
