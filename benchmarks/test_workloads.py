"""W1 to W8, W10 and W12 on memory and SQLite, each with its limit measured in the same run."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits, workloads
from replay.hooks import open_store
from replay.store.contract import Store

ROUNDS = 5
ONCE = 1


def rounds(full: bool) -> int:
    """How often a workload is measured."""
    return ROUNDS if full else ONCE


def test_w1_interpreter_alone(benchmark: Any, report: Any, full: bool) -> None:
    """Drive journals through the interpreter, without a store."""
    for steps in (10_000, 100_000, 1_000_000) if full else (1_000,):
        journal = workloads.journal_of(steps)
        found = min(workloads.seconds_of_feeding(journal) for _ in range(rounds(full)))
        limit = limits.replay_from_memory(steps)
        value = steps / found
        report(f"W1 replay, interpreter alone, {steps:,} steps", "-", value, "steps/s", "≥ 500,000", value >= 5e5, limit)
    journal = workloads.journal_of(1_000)
    benchmark(workloads.seconds_of_feeding, journal)


def test_w1_replay_from_the_store(benchmark: Any, report: Any, full: bool, store: Store, backend: str, tmp_path: Path) -> None:
    """Claim a run and drive it to where it stands."""
    steps = 10_000 if full else 1_000
    workloads.put_journal(store, steps)
    found = min(workloads.seconds_of_recovery(store, f"w{turn}")[0] for turn in range(rounds(full) * 2))
    limit = limits.replay_from_sqlite(tmp_path / "limit.db", steps) if backend == "sqlite" else limits.replay_from_memory(steps)
    value = steps / found
    report(f"W1 replay from the store, {steps:,} steps", backend, value, "steps/s", "≥ 300,000", value >= 3e5, limit)
    benchmark.pedantic(workloads.seconds_of_recovery, args=(store, "last"), rounds=1)


def test_w2_steps_in_sequence(benchmark: Any, report: Any, full: bool, url: str, backend: str, tmp_path: Path) -> None:
    """One run of 1,000 steps."""
    steps = 1_000 if full else 50
    limit = limits.sqlite_commits(tmp_path / "limit.db", steps) if backend == "sqlite" else None
    with workloads.engine_on(url) as engine:
        workloads.seconds_of_sequence(engine, 50)
        found = min(workloads.seconds_of_sequence(engine, steps) for _ in range(rounds(full)))
        benchmark.pedantic(workloads.seconds_of_sequence, args=(engine, 50), rounds=1)
    value = steps / found
    met = None if limit is None else value >= 0.5 * limit
    report(f"W2 one run, {steps:,} steps in sequence", backend, value, "steps/s", "≥ 0.5 of the limit", met, limit)


def test_w3_many_runs(benchmark: Any, report: Any, full: bool, url: str, backend: str, tmp_path: Path) -> None:
    """500 runs of five steps."""
    runs = 500 if full else 20
    limit = limits.sqlite_rows(tmp_path / "limit.db") / 7 if backend == "sqlite" else None
    with workloads.engine_on(url) as engine:
        workloads.seconds_of_many(engine, 20)
        found = min(workloads.seconds_of_many(engine, runs) for _ in range(rounds(full)))
        benchmark.pedantic(workloads.seconds_of_many, args=(engine, 20), rounds=1)
    value = runs / found
    report(f"W3 {runs} runs of 5 steps", backend, value, "runs/s", "≥ 2,500", value >= 2_500, limit)


def test_w4_steps_at_once(benchmark: Any, report: Any, full: bool, url: str, backend: str) -> None:
    """One run of 1,000 steps side by side."""
    steps = 1_000 if full else 50
    with workloads.engine_on(url) as engine:
        workloads.seconds_at_once(engine, 50)
        value = min(workloads.seconds_at_once(engine, steps) for _ in range(rounds(full)))
        benchmark.pedantic(workloads.seconds_at_once, args=(engine, 50), rounds=1)
    report(f"W4 one run, {steps:,} steps at once", backend, value, "s", "≤ 0.08", value <= 0.08)


def test_w5_latency(benchmark: Any, report: Any, full: bool, url: str, backend: str, tmp_path: Path) -> None:
    """Start to result of a one-step run."""
    limit = 2_000 / limits.sqlite_commits(tmp_path / "limit.db", 300) if backend == "sqlite" else None
    with workloads.engine_on(url) as engine:
        workloads.latencies(engine, 20)
        found = workloads.latencies(engine, 500 if full else 20)
        benchmark.pedantic(workloads.latencies, args=(engine, 20), rounds=1)
    median = statistics.median(found) * 1000
    report("W5 start to result of a one-step run, p50", backend, median, "ms", "≤ 0.9", median <= 0.9, limit)
    report("W5 start to result of a one-step run, p99", backend, sorted(found)[int(len(found) * 0.99) - 1] * 1000, "ms")


def test_w6_parked_runs(benchmark: Any, report: Any, full: bool, tmp_path: Path) -> None:
    """Memory of parked runs, and what an idle engine costs."""
    runs = 100_000 if full else 1_000
    with workloads.engine_on(f"sqlite:///{tmp_path}/parked.db") as engine:
        workloads.park(engine, 40_000 if full else 1_000, "base")  # by then caches and pools have their size: the fixed base
        before = workloads.memory_of_process()
        benchmark.pedantic(workloads.park, args=(engine, runs), rounds=1)
        grown = (workloads.memory_of_process() - before) / 1024 / runs
        used = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        idle = 5.0 if full else 0.2
        time.sleep(idle)
        after = resource.getrusage(resource.RUSAGE_SELF)
        took = time.perf_counter() - began
    share = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / took * 100
    if full:
        report(f"W6 memory of a parked run ({runs:,})", "sqlite", grown, "KB", "≤ 0.1", grown <= 0.1)
        report(f"W6 idle engine beside {runs:,} parked runs", "sqlite", share, "% of a core", "≤ 1", share <= 1)


def test_w7_start_up(benchmark: Any, report: Any, full: bool, tmp_path: Path) -> None:
    """Import, and hello world in a fresh process."""
    hello = tmp_path / "hello.py"
    hello.write_text(
        "import replay\n"
        "@replay.step\ndef greet(name: str) -> str: return f'hello {name}'\n"
        "@replay.workflow\ndef hello(name: str): return (yield from greet(name))\n"
        "print(replay.run(hello('you')))\n",
        encoding="utf-8",
    )
    times = rounds(full)
    bare = workloads.process_ms(["-c", "pass"], times)
    imported = workloads.process_ms(["-c", "import replay"], times)
    ran = workloads.process_ms([str(hello)], times, cwd=tmp_path)
    benchmark.pedantic(workloads.process_ms, args=(["-c", "import replay"], 1), rounds=1)
    report("W7 import replay", "-", imported, "ms", "≤ 90", imported <= 90, bare)
    report("W7 hello world", "sqlite", ran, "ms", "≤ 350", ran <= 350, bare)


@pytest.mark.timeout(0)
def test_w8_claiming_beside_parked_runs(benchmark: Any, report: Any, full: bool, tmp_path: Path) -> None:
    """The cost of a claim as the table grows."""
    found: dict[int, float] = {}
    store = open_store(f"sqlite:///{tmp_path}/claims.db?durability=relaxed")
    have = 0
    for runs in (1_000, 10_000, 100_000, 1_000_000) if full else (100, 1_000):
        workloads.fill_with_parked_from(store, have, runs)
        have = runs
        found[runs] = min(workloads.seconds_of_claiming(store, 200, f"{runs}-{turn}") for turn in range(3)) / 200 * 1e6
        report(f"W8 a claim beside {runs:,} parked runs", "sqlite", found[runs], "µs")
    benchmark.pedantic(workloads.seconds_of_claiming, args=(store, 50, "last"), rounds=1)
    store.close()
    growth = found[max(found)] / found[min(found)]
    report("W8 growth of a claim over the table", "sqlite", growth, "times", "≤ 1.5", growth <= 1.5 if full else None)


def test_w10_over_the_wire(benchmark: Any, report: Any, full: bool, tmp_path: Path) -> None:
    """W2 and W3 with the store behind `replay serve` on SQLite, in another process."""
    steps, runs = (1_000, 500) if full else (20, 10)
    limit = limits.unary_calls(1_000 if full else 50)
    with workloads.served(tmp_path / "served.db") as url, workloads.engine_on(url) as engine:
        workloads.seconds_of_sequence(engine, 20)
        sequence = steps / min(workloads.seconds_of_sequence(engine, steps) for _ in range(rounds(full)))
        many = runs / min(workloads.seconds_of_many(engine, runs) for _ in range(rounds(full)))
        benchmark.pedantic(workloads.seconds_of_sequence, args=(engine, 20), rounds=1)
    report(f"W10 over the wire, {steps:,} steps in sequence", "grpc", sequence, "steps/s", "≥ 1,200", sequence >= 1_200, limit)
    report(f"W10 over the wire, {runs} runs of 5 steps", "grpc", many, "runs/s", "≥ 800", many >= 800, limit)


def test_w12_savepoint_recovery(benchmark: Any, report: Any, full: bool, store: Store, backend: str) -> None:
    """Recovery from a savepoint with state, after many turns."""
    keep = 100_000 if full else 500
    workloads.put_turns(store, 10_000_000, keep)
    value = min(workloads.seconds_of_savepoint_recovery(store)[0] for _ in range(rounds(full))) * 1000
    report(f"W12 recovery after {keep:,} turns", backend, value, "ms", "≤ 20", value <= 20)
    benchmark.pedantic(workloads.seconds_of_savepoint_recovery, args=(store,), rounds=1)
