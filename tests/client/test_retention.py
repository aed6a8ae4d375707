"""Runs that ended long ago are removed, archived first, and can be brought back."""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay import Client, InvalidRequest, RunExists, StoreUnavailable, UnknownRun
from replay.client.retention import bring_back, name_of, prune
from replay.hooks import open_blobs, open_store
from replay.store.blobs import Blobs, FileBlobs
from replay.store.contract import Filter, Run, RunKey, Store
from replay.testing import VirtualClock
from replay.testing.interposed import Interposed
from replay.testing.store_suite.case import SHOP, begin, finish, look, park

DAY = 86_400.0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path, clock: VirtualClock) -> Iterator[Store]:
    store = open_store(f"sqlite:///{path}", clock=clock)
    yield store
    store.close()


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store, namespace=SHOP)


@pytest.fixture
def archive(tmp_path: Path) -> Blobs:
    return open_blobs((tmp_path / "archive").as_uri())


def left(client: Client) -> set[str]:
    """Ids of the runs that are there."""
    return {run.key.id for run in client.store.find(Filter(namespace=SHOP), limit=1_000).runs}


# ---- what goes ------------------------------------------------------------------------------------------------------------


def test_only_what_ended_long_ago_goes(client: Client, clock: VirtualClock) -> None:
    """Whatever is open stays, however old, and what ended lately stays, however long ago it began."""
    finish(client.store, "old")
    finish(client.store, "old-failed", status="failed")
    park(client.store, "open")
    late = begin(client.store, "late")
    clock.advance(40 * DAY)
    finish(client.store, "new")
    client.store.release([late])
    done = prune(client, older_than=30 * DAY, statuses=["completed"])

    assert (1, 2) == (done.runs, done.events)
    assert {"old-failed", "open", "late", "new"} == left(client)
    assert 1 == prune(client, older_than=30 * DAY).runs


def test_a_dry_run_changes_nothing(client: Client, clock: VirtualClock, archive: Blobs) -> None:
    """It only counts."""
    finish(client.store, "old")
    clock.advance(DAY)

    assert (1, 0) == (prune(client, older_than=0, archive=archive, dry_run=True).runs, len(list(archive.things(""))))
    assert {"old"} == left(client)


def test_thousands_go_in_batches(client: Client, clock: VirtualClock) -> None:
    """Each batch is told, and none is large."""
    for number in range(450):
        finish(client.store, f"old-{number}")
    clock.advance(DAY)
    batches: list[int] = []

    assert 450 == prune(client, older_than=60, told=batches.append).runs
    assert [200, 200, 50] == batches
    assert set() == left(client)


def test_a_status_that_no_closed_run_has_is_refused(client: Client) -> None:
    """Or a slip of the pen would remove nothing, silently."""
    with pytest.raises(InvalidRequest, match="choose among cancelled, completed"):
        prune(client, older_than=0, statuses=["running"])


def test_room_is_used_again(client: Client, clock: VirtualClock, path: Path) -> None:
    """The file does not grow while runs come and go."""
    sizes = []
    for turn in range(5):
        for number in range(60):
            finish(client.store, f"{turn}-{number}", result=b'"' + b"x" * 4_000 + b'"')
        clock.advance(DAY)
        prune(client, older_than=60)
        with sqlite3.connect(path) as raw:
            sizes.append(raw.execute("PRAGMA page_count").fetchone()[0])

    assert sizes[-1] <= 1.1 * sizes[1], sizes


# ---- the archive ----------------------------------------------------------------------------------------------------------


def test_what_was_archived_can_be_brought_back(client: Client, clock: VirtualClock, archive: Blobs) -> None:
    """With the same journal, and its result."""
    finish(client.store, "old")
    journal = client.store.journal(RunKey(SHOP, "old"))
    clock.advance(DAY)
    done = prune(client, older_than=60, archive=archive)

    assert (1, 1, set()) == (done.runs, done.archived, left(client))
    assert "old" == bring_back(client, archive, "old").id
    assert journal == client.store.journal(RunKey(SHOP, "old"))
    assert ("completed", b"1") == (look(client.store, "old").status, look(client.store, "old").result)


def test_a_damaged_journal_is_kept_and_told(client: Client, clock: VirtualClock, archive: Blobs, path: Path) -> None:
    """The others go."""
    finish(client.store, "good")
    finish(client.store, "bad")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE replay_events SET payload = x'00' WHERE seq = 2 AND run = (SELECT pk FROM replay_runs WHERE id = 'bad')")
    clock.advance(DAY)
    done = prune(client, older_than=60, archive=archive)

    assert (1, {"bad"}) == (done.runs, left(client))
    assert "damaged at event #2" in done.kept["bad"]


class Dies(Interposed):
    """A store that is killed when it is about to delete."""

    def around(self, verb: str, act: Any) -> Any:
        if verb == "delete":
            raise KeyboardInterrupt
        return act()


def test_pruning_goes_on_where_it_was_killed(client: Client, clock: VirtualClock, archive: Blobs) -> None:
    """Between archive and deletion: what is in the archive is compared again, and not written again."""
    finish(client.store, "old")
    clock.advance(DAY)
    with pytest.raises(KeyboardInterrupt):
        prune(Client(Dies(client.store), namespace=SHOP), older_than=60, archive=archive)
    assert {"old"} == left(client)

    done = prune(client, older_than=60, archive=archive)

    assert (1, 1, 0) == (done.runs, done.archived, done.octets)
    assert set() == left(client)


class Forgetful(FileBlobs):
    """A disk that keeps half of what it is given."""

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data[: len(data) // 2])


def test_nothing_is_deleted_that_cannot_be_read_back(client: Client, clock: VirtualClock, tmp_path: Path) -> None:
    """An archive that lies is found out before it is relied upon."""
    finish(client.store, "old")
    clock.advance(DAY)

    with pytest.raises(StoreUnavailable, match=r"cannot be read back.*the run was not deleted"):
        prune(client, older_than=60, archive=Forgetful(tmp_path / "bad"))
    assert {"old"} == left(client)


def test_an_id_that_was_used_twice_is_archived_twice(client: Client, clock: VirtualClock, archive: Blobs) -> None:
    """The newest comes back; where its id is taken by another run, that is an error."""
    for result in (b"1", b"2"):
        finish(client.store, "old", result=result)
        clock.advance(DAY)
        prune(client, older_than=60, archive=archive)

    assert 2 == len(list(archive.things("journals/")))
    bring_back(client, archive, "old")
    assert b"2" == look(client.store, "old").result
    finish(client.store, "taken")
    clock.advance(DAY)
    prune(client, older_than=60, statuses=["completed"], archive=archive)
    begin(client.store, "taken")
    with pytest.raises(RunExists):
        bring_back(client, archive, "taken")


def test_what_was_never_archived_is_unknown(client: Client, archive: Blobs) -> None:
    """The error names the archive."""
    with pytest.raises(UnknownRun, match="never"):
        bring_back(client, archive, "never")


@pytest.mark.parametrize("name", ["plain", "with space", "../../etc", "é" * 200, "a/b", "CON.", "x" * 512])
def test_any_id_can_be_archived(client: Client, clock: VirtualClock, archive: Blobs, name: str) -> None:
    """Whatever stands in it, and however long it is."""
    finish(client.store, name)
    clock.advance(DAY)

    assert 1 == prune(client, older_than=60, archive=archive).archived
    assert name == bring_back(client, archive, name).id


def test_names_tell_runs_apart(client: Client) -> None:
    """Also those of long ids that begin alike."""
    finish(client.store, "x" * 200 + "a")
    finish(client.store, "x" * 200 + "b")
    runs: list[Run] = [look(client.store, "x" * 200 + end) for end in "ab"]

    assert 2 == len({name_of(run) for run in runs})
