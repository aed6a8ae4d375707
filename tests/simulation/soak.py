"""Thousands of simulated worlds: ``python -m tests.simulation.soak --seeds 2000``.

Every scenario is run under every seed, over the store that is named; the first broken promise of a scenario is shown with the
smallest schedule that breaks it, and makes the exit code 1.
"""

# ruff: noqa: T201 - it talks

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from replay.hooks import Store, open_store
from replay.testing import Scenario, SimulationFailed, VirtualClock, simulate
from replay.testing.script import MakeStore
from tests.simulation.hard_scenarios import HARD
from tests.simulation.programs import programs
from tests.simulation.scenarios import OPTIONS, SCENARIOS, everything

ALL = {scenario.__name__: scenario for scenario in (*SCENARIOS, *HARD, programs, everything)}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--scenario", action="append", choices=sorted(ALL), help="only this one; may be given again")
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory", help="over which store")
    parser.add_argument("--workers", type=int, default=3, help="how many workers (default: %(default)s)")
    parser.add_argument("--ticks", type=int, default=150, help="for how many ticks there is trouble (default: %(default)s)")
    parser.add_argument("--trouble", type=float, default=0.4, help="how often something goes wrong in a tick (default: %(default)s)")
    return parser.parse_args(given)


def stores(kind: str, folder: Path) -> MakeStore | None:
    """What opens a fresh store for every world."""
    if kind == "memory":
        return None
    number = itertools.count()

    def make(clock: VirtualClock) -> Store:
        for old in folder.glob("*"):
            old.unlink()
        return open_store(f"sqlite:///{folder}/{next(number)}.db?durability=relaxed", clock=clock)

    return make


def soak(name: str, scenario: Scenario, wanted: argparse.Namespace, make: MakeStore | None) -> bool:
    """One scenario under all seeds; whether every promise was kept."""
    began = time.perf_counter()
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    try:
        report = simulate(
            scenario, seeds=seeds, workers=wanted.workers, ticks=wanted.ticks, trouble=wanted.trouble, store=make,
            max_rounds=20_000, **OPTIONS,
        )  # fmt: skip
    except SimulationFailed as failed:
        print(f"{name}: {failed}", flush=True)
        return False
    seconds = time.perf_counter() - began
    print(
        f"{name}: {report.worlds:,} worlds, {report.troubles.total():,} troubles, {report.events:,} events, "
        f"{report.executions:,} steps begun, {seconds:.1f} s",
        flush=True,
    )
    return True


def main(given: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    wanted = arguments(given)
    logging.disable(logging.CRITICAL)
    chosen = {name: ALL[name] for name in wanted.scenario or ALL}
    with tempfile.TemporaryDirectory() as folder:
        kept = [soak(name, scenario, wanted, stores(wanted.store, Path(folder))) for name, scenario in chosen.items()]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
