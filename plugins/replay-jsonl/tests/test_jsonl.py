"""The store of JSON lines keeps every promise, is found by its scheme, and survives what happens to files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from replay_jsonl import JsonlStore, open_jsonl

import replay
from replay import InvalidRequest, SchemaMismatch, StoreUnavailable, Workflow, step, workflow
from replay.hooks import Filter, RunKey, Store, open_store
from replay.testing import StoreContract, VirtualClock


class TestJsonl(StoreContract):
    """The suite needs a store, and, to test more, a second handle and ways to damage the medium."""

    @pytest.fixture
    def store(self, clock: VirtualClock, tmp_path: Path) -> Iterator[Store]:
        store = open_jsonl(f"jsonl:///{tmp_path}/runs.jsonl", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, clock: VirtualClock, tmp_path: Path) -> Callable[[], Store]:
        return lambda: open_jsonl(f"jsonl:///{tmp_path}/runs.jsonl", clock=clock)

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        change = store._log.change(place := store._book.records[key].places[seq])
        change[8] = chr(ord(change[8][0]) ^ 1) + change[8][1:]
        overwrite(store, place, json.dumps(change, separators=(",", ":")).encode())

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        place = store._book.records[key].places[seq]
        overwrite(store, place, b" " * len(json.dumps(store._log.change(place), separators=(",", ":"))))


def overwrite(store: Any, place: int, data: bytes) -> None:
    """Put other bytes into the file."""
    with store._log.path.open("r+b") as file:
        file.seek(place)
        file.write(data)


@step
def jsonl_double(number: int) -> int:
    return number * 2


@workflow
def jsonl_doubling(number: int) -> Workflow[int]:
    return (yield from jsonl_double(number))


def test_the_store_is_found_by_its_scheme(tmp_path: Path) -> None:
    """Installing the distribution is all: the entry point registers it."""
    url = f"jsonl:///{tmp_path}/deep/er/runs.jsonl"

    assert 42 == replay.run(jsonl_doubling(21), id="d", store=url)

    store = open_store(url)
    assert isinstance(store, JsonlStore)
    assert ["completed"] == [run.status for run in store.find(Filter()).runs]
    store.close()


def test_a_group_that_was_cut_short_never_happened(tmp_path: Path) -> None:
    """A process that dies while it writes leaves the file as it was before, for others and for itself."""
    url = f"jsonl:///{tmp_path}/runs.jsonl"
    replay.run(jsonl_doubling(1), id="whole", store=url)
    file = tmp_path / "runs.jsonl"
    whole = file.read_bytes()
    replay.run(jsonl_doubling(2), id="cut", store=url)
    group = file.read_bytes()[len(whole) :]
    first_group = group[: group.index(b"\n[]\n") + 4]

    for length in range(len(first_group)):
        file.write_bytes(whole + first_group[:length])
        store = open_jsonl(url)
        assert ["whole"] == [run.key.id for run in store.find(Filter()).runs]
        store.publish("default", [("news", b"1")])
        assert [b"1"] == [entry.payload for entry in store.read("default", "news")]
        store.close()
        assert whole == file.read_bytes()[: len(whole)]


def test_a_full_disk_is_an_error_that_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half written is taken back, and the store goes on when there is room again."""
    store = open_jsonl(f"jsonl:///{tmp_path}/runs.jsonl")
    store.publish("default", [("news", b"1")])
    before = (tmp_path / "runs.jsonl").read_bytes()

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", _no_room)
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.publish("default", [("news", b"2")])

    assert before == (tmp_path / "runs.jsonl").read_bytes()
    assert [b"1"] == [entry.payload for entry in store.read("default", "news")]
    store.publish("default", [("news", b"3")])
    assert [b"1", b"3"] == [entry.payload for entry in store.read("default", "news")]
    store.close()


def _no_room(_file: int) -> None:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("url", ["jsonl://", "jsonl:///", "jsonl:////", "jsonl:///runs.jsonl?sync=off", "jsonl://runs.jsonl"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    """With what to write instead."""
    with pytest.raises(InvalidRequest, match=r"jsonl:///runs\.jsonl"):
        open_jsonl(url)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """The operator is told what the system said."""
    with pytest.raises(StoreUnavailable, match="Is a directory"):
        open_jsonl(f"jsonl:///{tmp_path}")


def test_a_file_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    """It may mean what this code does not know."""
    file = tmp_path / "runs.jsonl"
    file.write_text('["format",2]\n[]\n', encoding="utf-8")

    with pytest.raises(SchemaMismatch):
        open_jsonl(f"jsonl:///{file}")

    assert '["format",2]\n[]\n' == file.read_text(encoding="utf-8")


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    """Not skipped: what it said is missing."""
    file = tmp_path / "runs.jsonl"
    file.write_text('["format",1]\n[]\n["said",\n[]\n', encoding="utf-8")

    with pytest.raises(StoreUnavailable, match="line at byte 16"):
        open_jsonl(f"jsonl:///{file}")


WORKER = """
import sys, threading, time
import replay
from replay import Workflow, step, workflow

@step
def jsonl_add(a: int, b: int) -> int:
    time.sleep(0.05)  # or all is over before anybody sees the file grow
    return a + b

@workflow
def jsonl_adding(number: int) -> Workflow[int]:
    total = 0
    for term in range(10):
        total = yield from jsonl_add(total, number)
    return total

if __name__ == "__main__":
    with replay.Engine(sys.argv[1]):
        threading.Event().wait()
"""


@pytest.mark.faults
def test_a_killed_process_leaves_whole_journals(tmp_path: Path) -> None:
    """Another process goes on with every run, from what was committed, and no group of lines is lost or torn."""
    (tmp_path / "flows.py").write_text(WORKER, encoding="utf-8")
    url = f"jsonl:///{tmp_path}/runs.jsonl"
    spec = importlib.util.spec_from_file_location("flows", tmp_path / "flows.py")
    assert spec is not None
    assert spec.loader is not None
    flows: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flows)
    client = replay.Client(url)
    runs = client.start_many([replay.Start(flows.jsonl_adding(number), f"run-{number}") for number in range(20)])
    seen = (tmp_path / "runs.jsonl").stat().st_size

    with subprocess.Popen([sys.executable, tmp_path / "flows.py", url]) as process:
        while client.store.wait(seen, 60) < seen + 20_000:
            assert process.poll() is None
        process.kill()
    kept = {run.id: run.journal() for run in runs}

    with replay.Engine(url, workflows=[flows.jsonl_adding]) as engine:
        assert [10 * number for number in range(20)] == [engine.get(run.id, flows.jsonl_adding).result(60) for run in runs]
        assert [kept[run.id] for run in runs] == [engine.get(run.id).journal()[: len(kept[run.id])] for run in runs]
    assert any(1 < len(journal) < 12 for journal in kept.values())
    client.close()
