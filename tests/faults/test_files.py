"""What may happen to the file: a disk without room, a disk that is read-only, a lock held by another process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay import Engine, Start, StoreUnavailable, Workflow, sleep, step, workflow
from replay.engine.observers import Observer
from replay.store.contract import Filter
from tests.faults.conftest import Disk
from tests.helpers.engines import PATIENCE, Gate, until

pytestmark = pytest.mark.faults

DONE: list[tuple[int, int]] = []
GATES: list[Gate] = []
"""Where the second step of each run waits, when there is one."""


@step
def fill_page(run: int, number: int) -> str:
    DONE.append((run, number))
    if number == 1 and GATES:
        GATES[0].enter()
    return "x" * 20_000


@workflow
def filling(run: int) -> Workflow[int]:
    length = 0
    for number in range(10):
        length += len((yield from fill_page(run, number)))
        yield from sleep(0.001)
    return length


class Refusals(Observer):
    """How often the store did not answer, and why."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def unavailable(self, verb: str, error: Exception) -> None:
        self.heard.append(f"{verb}: {error}")


def sound(engine: Engine, runs: int) -> None:
    """Every run has ended well, every journal is whole, every step was begun once."""
    for run in engine.store.find(Filter(), limit=1000).runs:
        assert ("completed", run.seq) == (run.status, len(engine.store.journal(run.key)))
    assert sorted((run, number) for run in range(runs) for number in range(10)) == sorted(set(DONE))


@pytest.fixture
def gate() -> Iterator[Gate]:
    """What happens to the file happens while every run is in its second step."""
    DONE.clear()
    GATES[:] = [Gate()]
    yield GATES[0]
    GATES.clear()


def test_a_disk_that_takes_no_more_stops_nothing_for_good(disk: Disk, gate: Gate) -> None:
    """The engine waits, says why, and goes on when there is room again; nothing is lost, and no answer is asked for twice."""
    refusals = Refusals()
    with Engine(f"sqlite:///{disk.folder}/runs.db", observers=[refusals], grace=0.5) as engine:
        handles = engine.start_many([Start(filling(n), f"r{n}") for n in range(5)])
        gate.await_entry(5)
        disk.fill()
        gate.open()
        until(lambda: refusals.heard, engine.store)
        assert any(handle.status != "completed" for handle in handles)
        disk.free()

        assert [200_000] * 5 == [handle.result(PATIENCE) for handle in handles]
        sound(engine, 5)
    assert len(DONE) == len(set(DONE))
    assert any("make room" in text for text in refusals.heard)


def test_nothing_can_be_started_on_a_full_disk(disk: Disk) -> None:
    """The caller is told at once, with advice; with room again the same call works."""
    with Engine(f"sqlite:///{disk.folder}/runs.db", grace=0.5) as engine:
        engine.start(filling(0), id="r0").result(PATIENCE)
        disk.fill()
        many = [Start(filling(number), f"s{number}") for number in range(5_000)]
        with pytest.raises(StoreUnavailable, match="make room"):
            engine.start_many(many)
        disk.free()

        assert 200_000 == engine.start(filling(1), id="r1").result(PATIENCE)


HOLD = textwrap.dedent(
    """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()
    connection.execute("ROLLBACK")
    """
)


class Holder:
    """Another process that holds the file's lock until it is told to let go."""

    def __init__(self, path: Path) -> None:
        process: Any = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process = process
        assert "held\n" == self.process.stdout.readline()

    def let_go(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def test_a_lock_held_by_another_process_is_waited_for(tmp_path: Path, gate: Gate) -> None:
    """Longer than the busy timeout: callers are told, runs wait, and go on when it is let go."""
    refusals = Refusals()
    with Engine(f"sqlite:///{tmp_path}/runs.db?busy_timeout=0.1", observers=[refusals]) as engine:
        handle = engine.start(filling(0), id="a")
        gate.await_entry()
        holder = Holder(tmp_path / "runs.db")
        gate.open()
        until(lambda: len(refusals.heard) >= 3, engine.store)
        assert handle.status in {"running", "waiting"}
        holder.let_go()

        assert 200_000 == handle.result(PATIENCE)
        sound(engine, 1)
    assert len(DONE) == len(set(DONE))
    assert any("locked" in text for text in refusals.heard)


def test_a_request_during_a_lock_is_told_so(tmp_path: Path) -> None:
    """Nothing of it is left behind: the same request works later."""
    with Engine(f"sqlite:///{tmp_path}/runs.db?busy_timeout=0.1", poll=30) as engine:
        engine.start(filling(0), id="a").result(PATIENCE)
        holder = Holder(tmp_path / "runs.db")
        with pytest.raises(StoreUnavailable, match="another process holds it"):
            _ = engine.start(filling(1), id="b")
        holder.let_go()

        assert 200_000 == engine.start(filling(1), id="b").result(PATIENCE)


def test_a_file_that_cannot_be_written_is_refused_when_it_is_opened(disk: Disk) -> None:
    """With what to do about it."""
    with Engine(f"sqlite:///{disk.folder}/runs.db") as engine:
        engine.start(filling(0), id="a").result(PATIENCE)
    disk.freeze()

    with pytest.raises(StoreUnavailable) as caught:
        Engine(f"sqlite:///{disk.folder}/runs.db")
    disk.thaw()
    assert "writ" in str(caught.value) or "room" in str(caught.value)
    with Engine(f"sqlite:///{disk.folder}/runs.db") as engine:
        assert 200_000 == engine.get("a", filling).result(PATIENCE)


def test_a_file_that_is_removed_under_an_engine_is_missed(tmp_path: Path) -> None:
    """What would be written into a file without a name would be gone with the process: it is refused instead."""
    with Engine(f"sqlite:///{tmp_path}/runs.db", grace=0.2) as engine:
        engine.start(filling(0), id="a").result(PATIENCE)
        for path in tmp_path.iterdir():
            path.unlink()

        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            _ = engine.start(filling(1), id="b")
