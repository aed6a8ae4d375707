"""W1 to W10 and W12 on every backend that can do them, each beside its limit, measured in the same run."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits, sdks, workloads
from benchmarks.places import Place, Places
from replay.hooks import open_store
from replay.store.contract import Store

ROUNDS = 5
ONCE = 1
SLOW = frozenset({"s3"})
"""A server in Python that answers 250 times a second: one round says as much as five."""
REPLAYED = {"postgres": 250_000}
MANY = {"sqlite": 2_500, "postgres": 1_500, "grpc": 800}
LATENCY = {"sqlite": 0.9, "postgres": 1.8}
CLAIMED_EVENTS = 7
"""Rows that a run of five steps needs at least: its beginning, its answers, its end."""


def rounds(full: bool, backend: str = "") -> int:
    """How often a workload is measured."""
    return ROUNDS if full and backend not in SLOW else ONCE


def wire(backend: str, workload: str) -> str:
    """The workload's name; over the wire W2 and W3 are W10."""
    return f"W10 {workload[3:]}" if backend == "grpc" else workload


def at_least(value: float, targets: Mapping[str, float], backend: str) -> dict[str, Any]:
    """The target of a backend, and whether it is met."""
    target = targets.get(backend)
    return {} if target is None else {"target": f"≥ {target:,.0f}", "met": value >= target}


def at_most(value: float, targets: Mapping[str, float], backend: str) -> dict[str, Any]:
    """The same where less is better."""
    target = targets.get(backend)
    return {} if target is None else {"target": f"≤ {target:g}", "met": value <= target}


def test_w1_interpreter_alone(benchmark: Any, report: Any, full: bool, largest: int) -> None:
    """Drive journals through the interpreter, without a store."""
    for steps in [size for size in (1_000, 10_000, 100_000, 1_000_000) if min(10_000, largest) <= size <= largest]:
        journal = workloads.journal_of(steps)
        found = min(workloads.seconds_of_feeding(journal) for _ in range(rounds(full)))
        limit = limits.replay_from_memory(steps)
        value = steps / found
        report(f"W1 replay, interpreter alone, {steps:,} steps", "-", value, "steps/s", "≥ 500,000", value >= 5e5, limit)
    journal = workloads.journal_of(1_000)
    benchmark(workloads.seconds_of_feeding, journal)


def test_w1_replay_from_the_store(benchmark: Any, report: Any, full: bool, store: Store, place: Place) -> None:
    """Claim a run and drive it to where it stands."""
    steps = 10_000 if full else 1_000
    workloads.put_journal(store, steps)
    found = min(workloads.seconds_of_recovery(store, f"w{turn}")[0] for turn in range(rounds(full) * 2))
    value = steps / found
    verdict = at_least(value, {"sqlite": 300_000, **REPLAYED}, place.backend)
    report(f"W1 replay from the store, {steps:,} steps", place.backend, value, "steps/s", limit=place.replay(steps), **verdict)
    benchmark.pedantic(workloads.seconds_of_recovery, args=(store, "last"), rounds=1)


def test_w2_steps_in_sequence(benchmark: Any, report: Any, full: bool, place: Place) -> None:
    """One run of 1,000 steps."""
    steps = 1_000 if full else 20
    with workloads.engine_on(place.url) as engine:
        workloads.seconds_of_sequence(engine, 20)
        found, limit = measured_beside(
            lambda: steps / workloads.seconds_of_sequence(engine, steps), lambda: place.commits(steps), rounds(full, place.backend)
        )
        benchmark.pedantic(workloads.seconds_of_sequence, args=(engine, 10), rounds=1)
    verdict: dict[str, Any] = {}
    if place.backend in {"sqlite", "postgres"}:
        verdict = {"target": "≥ 0.5 of the limit", "met": found >= 0.5 * limit}
    elif place.backend == "grpc":
        verdict = at_least(found, {"grpc": 1_200}, "grpc")
    report(wire(place.backend, f"W2 one run, {steps:,} steps in sequence"), place.backend, found, "steps/s", limit=limit, **verdict)


def measured_beside(work: Callable[[], float], limit: Callable[[], float], times: int) -> tuple[float, float]:
    """The best of some times, and the limit, taken in turns: a disk has its moods."""
    found = [(work(), limit()) for _ in range(times)]
    return max(one for one, _ in found), max(one for _, one in found)


def test_w3_many_runs(benchmark: Any, report: Any, full: bool, place: Place) -> None:
    """500 runs of five steps."""
    runs = 500 if full else 10
    with workloads.engine_on(place.url) as engine:
        workloads.seconds_of_many(engine, 10)
        found = runs / min(workloads.seconds_of_many(engine, runs) for _ in range(rounds(full, place.backend)))
        benchmark.pedantic(workloads.seconds_of_many, args=(engine, 5), rounds=1)
    verdict = at_least(found, MANY, place.backend)
    report(
        wire(place.backend, f"W3 {runs} runs of 5 steps"),
        place.backend,
        found,
        "runs/s",
        limit=place.rows() / CLAIMED_EVENTS,
        **verdict,
    )


def test_w4_steps_at_once(benchmark: Any, report: Any, full: bool, place: Place) -> None:
    """One run of 1,000 steps side by side."""
    steps = 1_000 if full else 20
    with workloads.engine_on(place.url) as engine:
        workloads.seconds_at_once(engine, 20)
        value = min(workloads.seconds_at_once(engine, steps) for _ in range(rounds(full, place.backend)))
        benchmark.pedantic(workloads.seconds_at_once, args=(engine, 20), rounds=1)
    verdict = at_most(value, dict.fromkeys(("memory", "sqlite", "postgres"), 0.08), place.backend)
    limit = 2 / place.commits(100) if place.backend in {"s3", "grpc"} else steps / place.rows()
    report(f"W4 one run, {steps:,} steps at once", place.backend, value, "s", limit=limit, **verdict)


def test_w5_latency(benchmark: Any, report: Any, full: bool, place: Place) -> None:
    """Start to result of a one-step run."""
    with workloads.engine_on(place.url) as engine:
        workloads.latencies(engine, 10)
        found = workloads.latencies(engine, 10 if not full else 50 if place.backend in SLOW else 500)
        limit = 2_000 / place.commits(300 if full else 20)
        benchmark.pedantic(workloads.latencies, args=(engine, 5), rounds=1)
    median = statistics.median(found) * 1_000
    verdict = at_most(median, LATENCY, place.backend)
    report("W5 start to result of a one-step run, p50", place.backend, median, "ms", limit=limit, **verdict)
    report("W5 start to result of a one-step run, p99", place.backend, sorted(found)[int(len(found) * 0.99) - 1] * 1_000, "ms")


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
    """Import, hello world and the command line's help, each in a fresh process."""
    times = rounds(full)
    bare = workloads.process_ms(["-c", "pass"], times)
    imported = workloads.process_ms(["-c", "import replay"], times)
    report("W7 import replay", "-", imported, "ms", "≤ 90", imported <= 90, bare)
    for backend in ("memory", "sqlite"):
        script = workloads.write_hello(tmp_path / f"hello_{backend}.py", "memory://" if backend == "memory" else None)
        ran = workloads.process_ms([str(script)], times, cwd=tmp_path)
        report("W7 hello world", backend, ran, "ms", "≤ 350", ran <= 350, bare)
    helped = workloads.process_ms(["-m", "replay.cli", "--help"], times)
    report("W7 replay --help", "-", helped, "ms", "≤ 250", helped <= 250, bare)
    benchmark.pedantic(workloads.process_ms, args=(["-c", "import replay"], 1), rounds=1)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_w8_claiming_beside_parked_runs(benchmark: Any, report: Any, largest: int, place: Place, tmp_path: Path) -> None:
    """The cost of a claim as the table grows."""
    found: dict[int, float] = {}
    store = open_store(place.url + ("?durability=relaxed" if place.backend == "sqlite" else ""))
    have = 0
    for runs in [size for size in (100, 1_000, 10_000, 100_000, 1_000_000) if min(1_000, largest // 10) <= size <= largest]:
        workloads.fill_with_parked_from(store, have, runs)
        have = runs
        found[runs] = min(workloads.seconds_of_claiming(store, 200, f"{runs}-{turn}") for turn in range(3)) / 200 * 1e6
        limit = limits.claims_by_index(tmp_path / f"index{runs}.db", runs) if place.backend == "sqlite" else None
        report(f"W8 a claim beside {runs:,} parked runs", place.backend, found[runs], "µs", limit=limit)
    benchmark.pedantic(workloads.seconds_of_claiming, args=(store, 50, "last"), rounds=1)
    store.close()
    growth = found[max(found)] / found[min(found)]
    report("W8 growth of a claim over the table", place.backend, growth, "times", "≤ 1.5", growth <= 1.5, 1.0)


@pytest.mark.parametrize("backend", ["s3"])
def test_w9_requests(benchmark: Any, report: Any, full: bool, place: Place) -> None:
    """Requests to the bucket for a step, as the store counts them."""
    steps, runs = (300, 500) if full else (20, 10)
    with workloads.engine_on(place.url) as engine:
        workloads.seconds_of_sequence(engine, 10)
        sequence = workloads.requests_of(engine, lambda: workloads.seconds_of_sequence(engine, steps)) / steps
        many = workloads.requests_of(engine, lambda: workloads.seconds_of_many(engine, runs)) / (runs * 5)
        benchmark.pedantic(workloads.seconds_of_sequence, args=(engine, 5), rounds=1)
    report(
        f"W9 requests a step, {steps} steps in sequence", "s3", sequence, "requests", "≤ 1.3", sequence <= 1.3 if full else None, 1.0
    )
    report(f"W9 requests a step, {runs} runs of 5 steps", "s3", many, "requests", "≤ 0.2", many <= 0.2)


def test_w10_calls_and_messages(report: Any, full: bool) -> None:
    """What a commit of its own call would cost at least, beside a message of the stream that commits go over."""
    times = 1_000 if full else 20
    calls, messages = limits.unary_calls(times), limits.streamed_messages(times)
    report("W10 bare calls, one after the other", "grpc", calls, "calls/s", limit=messages)


def test_other_languages(report: Any, full: bool, places: Places, tmp_path: Path) -> None:
    """What the bench of each SDK measures that is built here; too long for a small run."""
    for sdk in sdks.present() if full else []:
        folder = tmp_path / sdk
        folder.mkdir()
        with places.place("grpc", folder) as place:
            found = sdks.measure(sdk, place.url)
            steps, runs = place.commits(), place.rows() / CLAIMED_EVENTS
        report("W10 one run, 1,000 steps in sequence", sdk, found.sequence, "steps/s", "≥ 1,200", found.sequence >= 1_200, steps)
        report("W10 500 runs of 5 steps", sdk, found.many, "runs/s", "≥ 800", found.many >= 800, runs)
        report("W5 start to result of a one-step run, p50", sdk, found.latency, "ms", limit=2_000 / steps)
        report("W1 replay, interpreter alone, 10,000 steps", sdk, found.replay, "steps/s")


def test_w12_savepoint_recovery(benchmark: Any, report: Any, full: bool, store: Store, place: Place) -> None:
    """Recovery from a savepoint with state, after many turns."""
    keep = 500 if not full else 10_000 if place.backend in {"s3", "grpc"} else 100_000
    workloads.put_turns(store, 10_000_000, keep)
    value = min(workloads.seconds_of_savepoint_recovery(store)[0] for _ in range(rounds(full))) * 1_000
    limit = 1_000 / place.calls(200 if full else 20)
    report(f"W12 recovery after {keep:,} turns", place.backend, value, "ms", "≤ 20", value <= 20, limit)
    benchmark.pedantic(workloads.seconds_of_savepoint_recovery, args=(store,), rounds=1)
