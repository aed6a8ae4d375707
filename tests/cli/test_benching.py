"""bench: what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.cli.benching import Bench, histogram, sequence, tidy, without_password
from replay.hooks import Event, Filter, NewRun, RunKey, Store, open_store
from replay.model.journal import Started
from tests.cli.conftest import Program

EVERYWHERE = "other"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store of its own."""
    return f"sqlite:///{tmp_path}/bench.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """The same store, looked at from outside."""
    with contextlib.closing(open_store(url)) as store:
        yield store


def begun(store: Store, namespace: str) -> RunKey:
    """A run of the bench's workflow that is open and ready."""
    key = RunKey(namespace, "run")
    began = Started(workflow=sequence.name, input=b"[3]", seed="x", patches=())
    store.create([NewRun(key=key, workflow=sequence.name, events=[Event(1, "started", "", sequence.name, 1, began.encode())])])
    return key


def test_bench_tells_what_a_store_gives(program: Program, url: str) -> None:
    """Figures with units, and how latencies are spread."""
    out = program.done("bench", url, "--budget", "1s")

    assert "steps in sequence, one run" in out
    assert "commits/s" in out
    assert "█" in out


def test_bench_answers_programs_in_json(program: Program, url: str) -> None:
    """Every figure is above nothing, and latencies are sorted."""
    told = program("bench", url, "--budget", "1s", "--json").json

    assert {"commits/s", "ms", "steps/s", "runs/s"} == {figure["unit"] for figure in told["figures"]}
    assert all(figure["value"] > 0 and figure["times"] > 0 for figure in told["figures"])
    assert sorted(told["latencies_ms"]) == told["latencies_ms"] != []


def test_bench_leaves_nothing_behind(store: Store, url: str) -> None:
    """Its runs are gone when the last figure has been told."""
    bench = Bench(url, 1, lambda _: None)

    assert 7 == len(list(bench.figures()))
    assert [] == list(store.find(Filter(namespace=bench.namespace)).runs)


def test_bench_touches_no_other_run(store: Store, url: str) -> None:
    """Not even one of its own workflow, in another namespace."""
    key = begun(store, EVERYWHERE)
    before = store.get([key])

    list(Bench(url, 1, lambda _: None).figures())

    assert before == store.get([key])


def test_bench_tidies_up_when_it_is_interrupted(store: Store, url: str) -> None:
    """Between two figures, as by Ctrl-C."""
    bench = Bench(url, 1, lambda _: None)
    figures = bench.figures()
    next(figures)
    next(figures)
    assert store.find(Filter(namespace=bench.namespace)).runs

    figures.close()  # type: ignore[attr-defined]  # a generator is more than an iterator

    assert [] == list(store.find(Filter(namespace=bench.namespace)).runs)


def test_tidying_removes_runs_that_are_still_open(store: Store) -> None:
    """They are closed first, as a store removes closed ones only."""
    key = begun(store, "bench-interrupted")

    tidy(store, key.namespace)

    assert [None] == store.get([key])


def test_a_budget_that_is_too_short_is_refused(program: Program, url: str) -> None:
    """With what would do."""
    answer = program("bench", url, "--budget", "10ms")

    assert 0 != answer.code
    assert "at least 1s" in answer.err


def test_a_password_is_not_shown() -> None:
    """Figures are pasted into issues."""
    assert "postgresql://ann:***@db/shop" == without_password("postgresql://ann:secret@db/shop")
    assert "sqlite:///shop.db" == without_password("sqlite:///shop.db")


def test_the_picture_counts_every_latency() -> None:
    """Also when all are the same, and the longest."""
    assert 1 == len(histogram([0.001, 0.001, 0.001]))
    assert 100 == sum(count for _, _, count in histogram([0.001 * number for number in range(1, 101)]))
