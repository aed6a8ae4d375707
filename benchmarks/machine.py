"""The machine that figures were taken on, in a line: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path

import attrs


@attrs.frozen
class Machine:
    """Where figures were taken.

    Attributes:
        processor: Its name.
        cores: How many there are.
        memory_gb: Gigabytes.
        system: Kernel and machine.
        python: Interpreter and version.
        sqlite: Version of the library.
        flushes: 4 kB appends with fsync a second, in the folder for temporary files.
        load: Load average over a minute when it began: what else ran.
    """

    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    sqlite: str
    flushes: int
    load: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gb} GB, {self.system}, {self.python}, SQLite {self.sqlite}, "
            f"{self.flushes:,} fsync/s, load {self.load:.1f} at the beginning"
        )


def look_at_machine() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        flushes=_flushes(),
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _flushes(times: int = 300) -> int:
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        for _ in range(times):
            file.write(b"x" * 4_096)
            file.flush()
            os.fsync(file.fileno())
        return round(times / (time.perf_counter() - began))
