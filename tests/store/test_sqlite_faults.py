"""What happens to the file happens to nobody's data: every fault has its own words, and the store goes on when it is over."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.errors import JournalDamaged, StoreError, StoreUnavailable
from replay.store.blocks import SIZE
from replay.store.contract import Claim, Lease, Message, RunKey
from replay.store.sqlite import SQLiteStore
from replay.testing.store_suite.case import together
from tests.store.sqlite_case import HOUR, ORDER, PLACE, begin, execute, grow, journal, opened

pytestmark = pytest.mark.faults

CLAIM = Claim(worker="ben", namespace="default", queues=["default"], workflows=["order"], limit=10, ttl=HOUR)
IMPATIENT = "?busy_timeout=0.05"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def refused(path: Path) -> StoreUnavailable:
    """What is said when a file cannot be opened."""
    with pytest.raises(StoreUnavailable) as caught, opened(path, IMPATIENT):
        pass
    assert caught.value.store == f"sqlite:///{path}{IMPATIENT}"
    return caught.value


# ---- no room ------------------------------------------------------------------------------------------------------------


def fill(store: SQLiteStore, lease: Lease) -> tuple[int, StoreUnavailable]:
    """Append to a run until the store has no more room: the length that was reached, and what was said."""
    for length in range(1, 5_000):
        try:
            grow(store, lease, length, to=length + 1)
        except StoreUnavailable as error:
            return length, error
    raise AssertionError("there was always room")


def pages(store: SQLiteStore, number: int) -> None:
    """Let a file have so many pages and no more."""
    with store._connections.writing() as raw:
        raw.execute(f"PRAGMA max_page_count = {number}")


def test_a_full_disk_loses_nothing(path: Path) -> None:
    """The error says what to do; when there is room again, the same store and the same lease go on."""
    with opened(path) as store:
        lease = begin(store)
        pages(store, 60)

        length, error = fill(store, lease)

        assert "disk is full; make room on its disk; nothing was lost" in str(error)
        assert journal(length) == store.journal(ORDER)
        pages(store, 1_000_000)
        grow(store, lease, length, to=length + 200)
        assert journal(length + 200) == store.journal(ORDER)


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_disk_that_fails_while_it_is_written_loses_nothing(path: Path) -> None:
    """The system refuses a write in the middle of a commit: it is undone, and later commits are taken."""
    with opened(path) as store:
        lease = begin(store)

        with small_files(300_000):
            length, error = fill(store, lease)

        assert "disk I/O error; make room on its disk, or look into the system's log" in str(error)
        assert journal(length) == store.journal(ORDER)
        grow(store, lease, length, to=length + 200)
        assert journal(length + 200) == store.journal(ORDER)
    assert [("ok",)] == execute(path, "PRAGMA integrity_check")


# ---- no way in ----------------------------------------------------------------------------------------------------------


HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process writes to the file, and does not end."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        yield
        process.communicate("go\n")


def test_a_file_that_another_process_holds_too_long(path: Path) -> None:
    """Writing is refused after the busy timeout, reading goes on; afterwards all is well."""
    with opened(path, IMPATIENT) as store:
        lease = begin(store)
        with held(path):
            with pytest.raises(StoreUnavailable) as caught:
                grow(store, lease, 1, to=2)
            assert journal(1) == store.journal(ORDER)
            assert [] == store.claim(CLAIM).runs

        grow(store, lease, 1, to=3)
    assert "database is locked; another process holds it: end that process, or open the store with a longer" in str(caught.value)


def test_a_file_that_another_process_holds_for_a_moment(path: Path) -> None:
    """Within the busy timeout nothing is noticed."""
    with opened(path, "?busy_timeout=60") as store, contextlib.ExitStack() as stack:
        lease = begin(store)
        stack.enter_context(held(path))

        together(stack.close, lambda: grow(store, lease, 1, to=3))

        assert journal(3) == store.journal(ORDER)


def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    """It wants a file in it."""
    assert f"{tmp_path} is a folder; name a file in it" in str(refused(tmp_path))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where it should be."""
    (tmp_path / "a").write_text("")

    assert "cannot make folder" in str(refused(tmp_path / "a/b/runs.db"))


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, as root may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that anyone may enter, but only its owner may write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_is_read_only(public: Path) -> None:
    """SQLite needs to write beside its file."""
    public.chmod(0o555)
    with unprivileged():
        assert f"{public} is read-only; make the file and its folder writable for this user" in str(refused(public / "runs.db"))


def test_a_file_that_is_read_only(public: Path) -> None:
    """It is said at once, not at the first commit."""
    path = public / "runs.db"
    with opened(path) as store:
        begin(store)
    path.chmod(0o444)
    public.chmod(0o777)
    with unprivileged():
        assert f"{path} is read-only" in str(refused(path))


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at" * 99, b"PK\3\4" * 1000], ids=["text", "zip"])
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    """It is left as it is."""
    path.write_bytes(content)

    assert "file is not a database; it is no SQLite database: name another file" in str(refused(path))
    assert content == path.read_bytes()


@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
def test_a_file_that_was_cut_short(path: Path, part: float) -> None:
    """It is no smaller database, it is a broken one."""
    with opened(path) as store:
        grow(store, begin(store), 1, to=1_000, step=100)
    os.truncate(path, int(path.stat().st_size * part))

    assert "malformed; restore it from a backup, or save what can be read" in str(refused(path))


def test_a_database_with_foreign_tables_of_our_names(path: Path) -> None:
    """They are not filled with ours."""
    execute(path, "CREATE TABLE replay_runs (a)")

    assert "table replay_runs already exists; its tables are not as replay made them" in str(refused(path))


@pytest.mark.parametrize("again", [False, True], ids=["removed", "replaced"])
def test_a_file_that_is_taken_away_while_it_is_open(path: Path, tmp_path: Path, again: bool) -> None:
    """What is written into a file without a name is lost at the end, so it is refused; with a file in place it goes on."""
    with opened(tmp_path / "other.db") as other:
        lease = begin(other)
    with opened(path) as store:
        begin(store)
        path.rename(tmp_path / "gone.db")
        if again:
            (tmp_path / "other.db").rename(path)

        with pytest.raises(StoreUnavailable, match="its file was removed or replaced while it was open; bring the file back"):
            store.put_blob(b"")

        if not again:
            with pytest.raises(StoreUnavailable):
                store.get([ORDER])
            (tmp_path / "other.db").rename(path)
        grow(store, lease, 1, to=3)
        assert journal(3) == store.journal(ORDER)


# ---- damage -------------------------------------------------------------------------------------------------------------


LENGTH = 2 * SIZE + 20


def long_run(path: Path) -> None:
    """A file with a run whose journal lies in blocks and rows; it is given back."""
    with opened(path) as store:
        lease = begin(store)
        grow(store, lease, 1, to=LENGTH, step=50)
        store.release([lease])


def flip(path: Path, table: str, column: str, where: str, *values: object) -> None:
    """Flip a bit of the last payload in some bytes."""
    data = execute(path, f"SELECT {column} FROM {table} WHERE {where}", *values)[0][0]
    place = data.rindex(b'"ok":') + 5
    changed = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
    execute(path, f"UPDATE {table} SET {column} = ? WHERE {where}", changed, *values)


def damaged(path: Path) -> JournalDamaged:
    """What is said about the run; it is not handed out, but set aside with the same words."""
    with opened(path) as store:
        with pytest.raises(JournalDamaged) as caught:
            store.journal(ORDER)
        assert ([], []) == (list(store.claim(CLAIM).runs), list(store.claim(CLAIM).runs))
        (run,) = store.get([ORDER])
        assert run is not None
        assert ("stuck", str(caught.value), None, "") == (run.status, run.note, run.ready_at, run.worker)
    assert "order-1" == caught.value.run
    return caught.value


def test_a_flipped_bit_in_a_row(path: Path) -> None:
    """The event is named."""
    long_run(path)
    flip(path, "replay_events", "payload", PLACE, *ORDER, LENGTH - 3)

    error = damaged(path)

    assert (LENGTH - 3, "its checksum does not fit") == (error.seq, error.problem)


def test_a_flipped_bit_in_a_block(path: Path) -> None:
    """The event is named here too."""
    long_run(path)
    flip(path, "replay_blocks", "data", "last = ?", 2 * SIZE)

    assert 2 * SIZE == damaged(path).seq


def test_a_text_that_is_no_text(path: Path) -> None:
    """A bit may make a name undecodable."""
    long_run(path)
    execute(path, f"UPDATE replay_events SET name = CAST(x'63ff' AS TEXT) WHERE {PLACE}", *ORDER, LENGTH - 3)

    assert LENGTH - 3 == damaged(path).seq


def test_a_block_that_is_missing(path: Path) -> None:
    """The first event of the gap is named."""
    long_run(path)
    execute(path, "DELETE FROM replay_blocks WHERE last = ?", 2 * SIZE)

    assert SIZE + 1 == damaged(path).seq


def test_a_journal_whose_end_is_missing(path: Path) -> None:
    """The index knows how long it was."""
    long_run(path)
    execute(path, "DELETE FROM replay_events WHERE seq > ?", LENGTH - 5)

    error = damaged(path)

    assert (LENGTH - 4, "it is missing, and so is all after it") == (error.seq, error.problem)


def test_an_index_that_knows_less_than_the_journal(path: Path) -> None:
    """A journal is not silently cut short."""
    long_run(path)
    execute(path, "UPDATE replay_runs SET seq = seq - 5")

    assert f"the index says that the journal has {LENGTH - 5} events" == damaged(path).problem


def test_damage_does_not_stop_the_journal_from_growing(path: Path) -> None:
    """Whoever holds the run knows its past; damaged rows stay rows, so that the damage can still be looked at."""
    with opened(path) as store:
        lease = begin(store)
        grow(store, lease, 1, to=SIZE - 8)
        flip(path, "replay_events", "payload", PLACE, *ORDER, 7)

        grow(store, lease, SIZE - 8, to=2 * SIZE + 3)

        assert journal(2 * SIZE + 3)[SIZE:] == store.journal(ORDER, after=SIZE)
        with pytest.raises(JournalDamaged) as caught:
            store.journal(ORDER)
    assert 7 == caught.value.seq


def test_damage_to_one_run_stops_no_other(path: Path) -> None:
    """It is set aside, and wakes for one more try when someone sends it a message, as after a repair."""
    long_run(path)
    with opened(path) as store:
        store.release([begin(store, RunKey("default", "order-2"))])
        flip(path, "replay_events", "payload", PLACE, *ORDER, LENGTH - 3)

        assert ["order-2"] == [claimed.run.key.id for claimed in store.claim(CLAIM).runs]

        flip(path, "replay_events", "payload", PLACE, *ORDER, LENGTH - 3)
        store.post([Message("m", ORDER, "resume", "", b"null")])
        assert ["order-1"] == [claimed.run.key.id for claimed in store.claim(CLAIM).runs]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_bit_of_the_file_is_flipped_no_journal_is_read_wrongly(path: Path, seed: int) -> None:
    """It reads as it was written, or says that it cannot be read, or the run is not found: never anything else."""
    long_run(path)
    chance = random.Random(seed)
    content = path.read_bytes()
    facts = [event[:7] for event in journal(LENGTH)]
    for _ in range(60):
        place = chance.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with contextlib.suppress(StoreError), opened(path, IMPATIENT) as store:
            events = store.journal(ORDER)
            assert facts == [event[:7] for event in events] or store.get([ORDER]) == [None]
        for beside in ("-wal", "-shm"):
            Path(f"{path}{beside}").unlink(missing_ok=True)


def test_a_file_whose_pages_are_overwritten_is_not_believed(path: Path) -> None:
    """The same with whole pages of noise, one at a time."""
    long_run(path)
    chance = random.Random(1)
    content = path.read_bytes()
    facts = [event[:7] for event in journal(LENGTH)]
    for begin_at in range(0, len(content), 4096):
        path.write_bytes(content[:begin_at] + chance.randbytes(4096) + content[begin_at + 4096 :])
        with contextlib.suppress(StoreError), opened(path, IMPATIENT) as store:
            events = store.journal(ORDER)
            assert facts == [event[:7] for event in events] or store.get([ORDER]) == [None]
        for beside in ("-wal", "-shm"):
            Path(f"{path}{beside}").unlink(missing_ok=True)


def test_a_mistake_in_a_statement_is_not_blamed_on_the_file(path: Path) -> None:
    """Only what the file does is ``StoreUnavailable``."""
    with opened(path) as store, pytest.raises(sqlite3.IntegrityError), store._connections.writing() as raw:
        raw.execute("INSERT INTO replay_blobs (name, data) VALUES (NULL, NULL)")
