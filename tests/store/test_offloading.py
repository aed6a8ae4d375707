"""A store whose large payloads lie elsewhere keeps every promise of a store, and leaves nothing lying about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from replay import Engine, InvalidRequest, JournalDamaged, StoreUnavailable, UnknownScheme, Workflow, step, workflow
from replay.hooks import open_store
from replay.store.blobs import FileBlobs
from replay.store.contract import Commit, Committed, NewRun, RunKey, Store
from replay.store.offloading import MARK, Offloading
from replay.testing import StoreContract, VirtualClock
from replay.testing.store_suite.case import OpenAgain, answered, begin, deliver, journal, key, order, signal, started, take, turn
from tests.store.sqlite_fixtures import SQLiteCase

LARGE = b'"' + b"x" * 5_000 + b'"'


def address(folder: Path, above: int) -> str:
    """A store's URL with a folder for large payloads beside it."""
    return f"sqlite:///{folder}/runs.db?durability=relaxed&blobs={quote((folder / 'blobs').as_uri(), safe='')}&blobs_above={above}"


class TestOffloading(SQLiteCase, StoreContract):
    """The conformance suite, with nearly every payload elsewhere."""

    busy_seconds = 1.0

    @pytest.fixture
    def store(self, tmp_path: Path, clock: VirtualClock) -> Iterator[Store]:
        store = open_store(address(tmp_path, 8), clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, tmp_path: Path, clock: VirtualClock) -> OpenAgain:
        return lambda: open_store(address(tmp_path, 8), clock=clock)

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        super().damage(store.inner, key, seq)

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        super().lose(store.inner, key, seq)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Offloading]:
    """A store with what is larger than a thousand bytes elsewhere."""
    store = open_store(address(tmp_path, 1_000))
    assert isinstance(store, Offloading)
    yield store
    store.close()


def names(store: Offloading) -> list[str]:
    """What lies elsewhere, but who owns it."""
    return [thing.name for thing in store.blobs.things("") if not thing.name.endswith("/owner")]


def age(store: Offloading) -> None:
    """Let what lies elsewhere be old."""
    blobs: Any = store.blobs
    for path in blobs._folder.rglob("*"):
        os.utime(path, (1, 1))


# ---- what goes where ------------------------------------------------------------------------------------------------------


def test_large_payloads_lie_elsewhere_and_come_back_whole(store: Offloading) -> None:
    """Of events, messages, state and results; small ones stay where they were."""
    lease = begin(store)
    store.commit([turn(lease, 1, events=[answered(2, LARGE)], state={"shown": LARGE})])
    deliver(store, signal("m", payload=LARGE))

    assert 3 == len(names(store))
    assert LARGE == store.journal(key())[1].payload
    assert [{"shown": LARGE}] == [run.state for run in store.get([key()]) if run]
    assert store.inner.journal(key())[0] == store.journal(key())[0]
    assert store.inner.journal(key())[1].payload.startswith(MARK)


def test_what_looks_like_a_reference_is_none(store: Offloading) -> None:
    """A payload that begins with the mark comes back as it was."""
    lease = begin(store)
    forged = MARK + b'{"name":"runs/x/y","size":1,"sha256":""}'
    store.commit([turn(lease, 1, events=[answered(2, forged)])])

    assert forged == store.journal(key())[1].payload


def test_a_payload_that_was_changed_is_damage(store: Offloading) -> None:
    """Other bytes under the right name are not handed out."""
    lease = begin(store)
    store.commit([turn(lease, 1, events=[answered(2, LARGE)])])
    (name,) = names(store)
    store.blobs.put(name, LARGE.swapcase())

    with pytest.raises(JournalDamaged, match=r"#2: its payload .* holds other bytes"):
        store.journal(key())


def test_a_payload_that_is_gone_is_damage_that_names_it(store: Offloading) -> None:
    """And its run is set aside, while others are handed out."""
    lease = begin(store)
    store.commit([turn(lease, 1, events=[answered(2, LARGE)])])
    store.release([lease])
    store.create([order("other")])
    store.blobs.delete(names(store))

    with pytest.raises(JournalDamaged, match=r"#2: its payload is gone"):
        store.journal(key())
    assert "other" == take(store).run.key.id
    assert ["stuck"] == [run.status for run in store.inner.get([key()]) if run]


@step
def grow(size: int) -> str:
    """A long answer."""
    return "y" * size


@workflow(name="offloading.long")
def long(size: int) -> Workflow[int]:
    """Its argument is short, its answers are long."""
    first = yield from grow(size)
    second = yield from grow(size + len(first))
    return len(second)


def test_a_workflow_does_not_see_where_its_payloads_lie(tmp_path: Path) -> None:
    """Also when another engine goes on with it."""
    with Engine(address(tmp_path, 1_000), workflows=[long]) as engine:
        assert 20_000 == engine.start(long(10_000), id="a").result(timeout=30)
        assert 3 == len(engine.get("a").journal()) - 1
    with Engine(address(tmp_path, 1_000), workflows=[long]) as engine:
        assert 20_000 == engine.get("a").result(timeout=5)


# ---- what is left over ----------------------------------------------------------------------------------------------------


def closed(store: Offloading, name: str) -> RunKey:
    """A run with a long answer that has ended."""
    lease = begin(store, name)
    assert [Committed.APPLIED] == store.commit([turn(lease, 1, events=[answered(2, LARGE)])])
    assert [Committed.APPLIED] == store.commit([turn(lease, 2, status="completed", result=b"1")])
    return lease.key


def test_payloads_go_with_their_run(store: Offloading) -> None:
    """Those of others stay."""
    gone, kept = closed(store, "gone"), closed(store, "kept")
    age(store)

    assert 1 == store.delete([gone])
    assert 1 == len(names(store))
    assert LARGE == store.journal(kept)[1].payload


def test_what_was_just_written_waits_for_a_later_sweep(store: Offloading) -> None:
    """Somebody may be about to refer to it."""
    store.delete([closed(store, "gone")])
    assert 1 == len(names(store))
    age(store)

    assert 1 == store.sweep()
    assert [] == list(store.blobs.things(""))


def test_a_payload_whose_writer_died_is_swept(store: Offloading) -> None:
    """It was written, and nobody came to refer to it."""
    store._new(NewRun(key=key("never"), workflow="order", events=[started(payload=LARGE)]))
    age(store)

    assert 1 == store.sweep()


def test_payloads_of_an_earlier_journal_stay_while_a_later_one_lives(store: Offloading) -> None:
    """They are one owner's: ``order-1`` and ``order-1~1``."""
    lease = begin(store)
    store.commit([turn(lease, 1, events=[answered(2, LARGE)])])
    heir = NewRun(key=key(), workflow="order", events=journal(1))
    assert [Committed.APPLIED] == store.commit([Commit(lease=lease, expected=2, status="continued", successor=heir)])
    age(store)

    store.delete([key("order-1~1")])
    assert 1 == len(names(store))
    heirs = take(store).lease
    assert [Committed.APPLIED] == store.commit([turn(heirs, 1, status="completed", result=b"1")])
    age(store)
    store.delete([key()])
    assert [] == names(store)


# ---- bad addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("blobs=ftp%3A%2F%2Fhost", UnknownScheme, "no store for 'ftp'; installed: file, s3"),
        ("blobs=", InvalidRequest, "blobs names no place"),
        ("blobs=file%3A%2F%2F%2Ftmp&blobs_above=lots", InvalidRequest, "blobs_above=lots is no number"),
        ("blobs=file%3A%2F%2Frelative", InvalidRequest, "it names no folder"),
        ("blobs=file%3A%2F%2F%2Fproc%2Fnone", StoreUnavailable, "name a folder that this process may write"),
    ],
)
def test_a_place_that_cannot_be_used_is_an_error_at_the_start(query: str, error: type[Exception], words: str) -> None:
    """It says what to do."""
    with pytest.raises(error, match=words):
        open_store(f"memory://?{query}")


@pytest.mark.parametrize("name", ["../up", "a/../b", "/etc/passwd", "a//b", "", "a b"])
def test_a_file_is_never_outside_its_folder(tmp_path: Path, name: str) -> None:
    """Whatever it is called."""
    with pytest.raises(InvalidRequest):
        FileBlobs(tmp_path).put(name, b"x")


def test_things_are_listed_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Below a prefix, without what is being written."""
    blobs = FileBlobs(tmp_path)
    for name in ("b/2", "b/1", "a"):
        blobs.put(name, name.encode())
    (tmp_path / "b" / "3.part").touch()

    assert ["b/1", "b/2"] == [thing.name for thing in blobs.things("b/")]
    assert all(0 <= thing.age + 1 < 60 for thing in blobs.things(""))
    blobs.delete(["b/1", "b/1"])
    assert (None, b"b/2") == (blobs.get("b/1"), blobs.get("b/2"))
