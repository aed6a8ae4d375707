"""The SQLite store keeps every promise, also with a step's own SQL in its transactions."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.errors import InvalidRequest, StoreUnavailable
from replay.store.blocks import ROOM, SIZE
from replay.store.contract import Capability, Claim, Commit, Committed, Filter, Message, NewRun, Posted, RunKey, Store
from replay.store.sqlite import SQLiteStore, open_sqlite
from replay.store.sqlite_address import Address
from replay.testing import StoreContract, VirtualClock
from replay.testing.store_suite.case import together
from tests.store.sqlite_case import HOUR, ORDER, answer, begin, execute, grow, journal, opened
from tests.store.sqlite_fixtures import SQLiteCase

CLAIM = Claim(worker="ann", namespace="default", queues=["default"], workflows=["order"], limit=10, ttl=HOUR)


class TestSQLite(SQLiteCase, StoreContract):
    """What every store promises."""

    def test_it_says_what_it_can_do(self, store: Store) -> None:
        """It survives its process, shares its transactions and its file, and keeps to limits."""
        assert Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED | Capability.LIMITS == store.capabilities


class TestRelaxedSQLite(SQLiteCase, StoreContract):
    """Without an fsync per commit the promises are the same, as long as the power stays on."""

    busy_seconds = 1.0

    @pytest.fixture
    def store(self, path: Path, clock: VirtualClock) -> Iterator[Store]:
        with opened(path, "?durability=relaxed", clock) as store:
            yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with opened(path) as store:
        yield store


# ---- address ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///runs.db", Path.cwd() / "runs.db"),
        ("sqlite:///.replay/runs.db", Path.cwd() / ".replay/runs.db"),
        ("sqlite:////var/lib/runs.db", Path("/var/lib/runs.db")),
        ("sqlite:////var/a%20b/r%C3%BCns%3F.db", Path("/var/a b/rüns?.db")),
        ("sqlite:////var/runs.db?durability=relaxed&busy_timeout=0.5", Path("/var/runs.db")),
    ],
)
def test_an_address_names_a_file(url: str, path: Path) -> None:
    """Three slashes are relative, four are absolute; options are no part of it."""
    assert path == Address.parse(url).path


def test_options_stand_in_the_query() -> None:
    """Without them a store is durable and patient."""
    usual, other = Address.parse("sqlite:///a.db"), Address.parse("sqlite:///a.db?durability=relaxed&busy_timeout=0.5")

    assert [("full", 10.0), ("relaxed", 0.5)] == [(address.durability, address.busy_timeout) for address in (usual, other)]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://runs.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a.db?durability=none", "no durability 'none'; choose one of full, relaxed"),
        ("sqlite:///a.db?busy_timeout=soon", "busy_timeout=soon is no number of seconds"),
        ("sqlite:///a.db?busy_timeout=-1", "busy_timeout=-1 is no number of seconds"),
        ("sqlite:///a.db?journal=off&wal=1", "unknown options journal, wal; known are durability and busy_timeout"),
    ],
)
def test_a_bad_address_is_refused(url: str, problem: str) -> None:
    """The error names the URL and says what to write."""
    with pytest.raises(InvalidRequest) as caught:
        open_sqlite(url)

    assert problem in str(caught.value)
    assert url in str(caught.value)


def test_a_file_with_an_odd_name_is_opened_under_that_name(tmp_path: Path) -> None:
    """Signs that mean something in URLs mean nothing in paths."""
    with opened(tmp_path / "a%20b #1%3F ü.db"):
        assert ["a b #1? ü.db"] == [path.name for path in tmp_path.glob("*.db")]


def test_its_folder_is_made(tmp_path: Path) -> None:
    """The default store lies in a folder that is not there at first."""
    with opened(tmp_path / "a/b/runs.db") as store:
        begin(store)

    assert (tmp_path / "a/b/runs.db").is_file()


@pytest.mark.parametrize(("options", "synchronous"), [("", 2), ("?durability=full", 2), ("?durability=relaxed", 1)])
def test_durability_is_what_was_asked_for(path: Path, options: str, synchronous: int) -> None:
    """Full: WAL with an fsync per commit; relaxed: WAL with an fsync per checkpoint."""
    with opened(path, options) as store, store._connections.writing() as raw:
        assert ("wal", synchronous) == tuple(raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))


def test_a_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail later, at a statement that it does not know."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(StoreUnavailable, match=r"is too old; use SQLite 3\.35\.0 or newer"):
        open_sqlite(f"sqlite:///{path}")


def test_the_way_to_a_first_result_does_not_import_sqlalchemy(path: Path) -> None:
    """It costs more time than all the rest together."""
    script = f"""
import sys
from replay.store.contract import *
from replay.store.sqlite import open_sqlite
from tests.store.sqlite_fixtures import SQLiteCase
from tests.store.sqlite_case import begin, grow
store = open_sqlite("sqlite:///{path}")
grow(store, begin(store), 1, to=5)
store.post([Message("m", RunKey("default", "order-1"), "signal", "s", b"1")])
store.claim(Claim(worker="ann", namespace="default", queues=["default"], workflows=["order"], limit=1, ttl=1))
store.journal(RunKey("default", "order-1"))
store.close()
print([name for name in sys.modules if name.startswith("sqlalchemy")])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "[]" == done.stdout.strip()


# ---- journals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, SIZE, 3 * SIZE + 1])
def test_a_long_journal_reads_as_it_was_written(store: SQLiteStore, path: Path, step: int) -> None:
    """However it grew: its full parts lie in blocks, its first event and its end in rows."""
    length = 5 * SIZE + 3
    grow(store, begin(store), 1, to=length, step=step)

    assert journal(length) == store.journal(ORDER)
    assert [(SIZE * number,) for number in range(1, 6)] == execute(path, "SELECT last FROM replay_blocks ORDER BY last")
    assert [(1,), (5 * SIZE + 1,)] == execute(path, "SELECT seq FROM replay_events ORDER BY seq LIMIT 2")


@pytest.mark.parametrize("length", [1, 2, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE + 5])
def test_a_long_journal_may_be_born(store: SQLiteStore, length: int) -> None:
    """A fork or an import brings all its events at once."""
    begin(store, length=length)

    assert journal(length) == store.journal(ORDER)


def test_any_part_of_a_long_journal_can_be_read(store: SQLiteStore) -> None:
    """Wherever it begins and ends among rows and blocks."""
    length = 3 * SIZE + 9
    grow(store, begin(store), 1, to=length, step=50)
    places = [0, 1, 2, 5, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 3 * SIZE - 1, 3 * SIZE, 3 * SIZE + 4, length - 1, length, length + 9]
    whole = journal(length)

    for after in places:
        for limit in [0, *places]:
            assert whole[after : after + limit] == store.journal(ORDER, after=after, limit=limit)


def test_recovery_reads_the_first_event_and_what_follows_the_savepoint(store: SQLiteStore) -> None:
    """Also where the savepoint lies within a block."""
    length, base = 4 * SIZE, 2 * SIZE + 40
    lease = begin(store)
    grow(store, lease, 1, to=length - 1, step=60)
    store.commit([Commit(lease=lease, expected=length - 1, events=[answer(length)], base=base, release=True, wake_at=1)])

    (claimed,) = store.claim(CLAIM).runs

    whole = journal(length)
    assert [whole[0], *whole[base - 1 :]] == claimed.journal


@pytest.mark.parametrize(
    "odd",
    [
        answer(100)._replace(name="two\nlines"),
        answer(100)._replace(command="two\nlines"),
        answer(100)._replace(check=2**40),
        answer(100)._replace(payload=bytes(ROOM + 1)),
    ],
    ids=["name", "command", "number", "payload"],
)
def test_what_does_not_fit_into_a_block_stays_in_rows(store: SQLiteStore, path: Path, odd: Any) -> None:
    """Its neighbours too; the blocks after it are made all the same."""
    lease = begin(store)
    grow(store, lease, 1, to=99, step=98)
    store.commit([Commit(lease=lease, expected=99, events=[odd])])
    grow(store, lease, 100, to=3 * SIZE + 1)

    whole = journal(3 * SIZE + 1)
    whole[99] = odd
    assert whole == store.journal(ORDER)
    assert [(2 * SIZE,), (3 * SIZE,)] == execute(path, "SELECT last FROM replay_blocks ORDER BY last")


def test_a_payload_is_never_mistaken(store: SQLiteStore) -> None:
    """Empty ones, line feeds, zero bytes and words of JSON come back as they were, from rows and from blocks."""
    chance = random.Random(7)
    lease = begin(store)
    payloads = [chance.choice([b"", b"\n", b"\0", b"null", b"0", b"a\nb", chance.randbytes(9)]) for _ in range(2 * SIZE)]
    events = [answer(seq, payload) for seq, payload in enumerate(payloads, 2)]
    store.commit([Commit(lease=lease, expected=1, events=events)])

    assert payloads == [event.payload for event in store.journal(ORDER, after=1)]


# ---- lists --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["a", "ab", "a%", "a_", "\u00e9", "\ud7ff", "\U0010ffff", "\U0010ffffx", "A"])
def test_a_prefix_is_compared_letter_by_letter(store: SQLiteStore, prefix: str) -> None:
    """Capitals, patterns and the last letters of Unicode are letters like any other."""
    ids = ["a", "ab", "aB", "abc", "b", "a%", "a_x", "A", "e", "\u00e9", "\u00e9\u00e9", "\ud7ff", "\ue000"]
    ids += ["\U0010ffff", "\U0010ffffx"]
    store.create([NewRun(key=RunKey("default", name), workflow="order", events=journal(1)) for name in ids])

    found = [run.key.id for run in store.find(Filter(prefix=prefix)).runs]

    assert sorted((name for name in ids if name.startswith(prefix)), reverse=True) == found


# ---- values, life and noise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "workflow"), [("caf\udce9", "order"), ("a", "\ud800")])
def test_text_that_is_none_is_refused(store: SQLiteStore, name: str, workflow: str) -> None:
    """Half a surrogate cannot be written as UTF-8."""
    with pytest.raises(InvalidRequest, match="use valid Unicode"):
        store.create([NewRun(key=RunKey("default", name), events=journal(1), workflow=workflow)])

    begin(store)


def test_a_number_that_is_too_large_is_refused(store: SQLiteStore) -> None:
    """SQLite counts to 2⁶³ - 1."""
    with pytest.raises(InvalidRequest, match="64-bit"):
        begin(store, priority=2**63)

    begin(store, priority=2**63 - 1)


def test_odd_names_are_only_names(store: SQLiteStore) -> None:
    """Quotes, zero characters, patterns and JSON in ids, workers and messages; one by one and in batches."""
    names = ["'; DROP TABLE replay_runs; --", "a\0b", "a", "%", "_", '["x"]', "{}", "", " ", "\n", "\U0001d518", "\u00e9", "e\u0301"]
    news = [NewRun(key=RunKey(name, name), workflow=name, queue=name, events=journal(1), tags={name: name or "-"}) for name in names]
    leases = [created.lease for created in store.create(news, worker="a\0'\"", ttl=HOUR)]

    commits = [Commit(lease=lease, expected=1, events=[answer(2)], state={lease.key.id: b"\0"}) for lease in leases if lease]
    assert [Committed.APPLIED] * len(names) == store.commit(commits)
    assert [Posted.DELIVERED] * len(names) == store.post([Message(name, RunKey(name, name), "signal", name, b"") for name in names])
    for name in names:
        (run,) = store.find(Filter(namespace=name, prefix=name, workflow=name, tags={name: name or "-"})).runs
        assert (name, "a\0'\"", {name: b"\0"}, 2) == (run.key.id, run.worker, run.state, run.seq)
        mail = store.claim(Claim(worker="a\0'\"", namespace=name, queues=[name], workflows=[name], limit=1, ttl=1)).mail
        assert [Message(name, run.key, "signal", name, b"")] == [message._replace(at=0) for message in mail]


def test_another_handle_of_this_process_hears_at_once(path: Path) -> None:
    """An engine and a client in one program need no polling between them."""
    with opened(path) as one, opened(path) as two:
        seen = two.wait(0, 0)

        heard, _ = together(lambda: two.wait(seen, 60), lambda: begin(one).fence)

        assert heard != seen


def test_another_process_is_heard(path: Path) -> None:
    """By looking now and then; what this process did itself is not heard twice."""
    with opened(path) as store:
        begin(store)
        seen = store.wait(0, 0)
        assert seen == store.wait(seen, 0)

        script = f"import sqlite3; sqlite3.connect({str(path)!r}, isolation_level=None).execute('UPDATE replay_runs SET priority = 1')"
        subprocess.run([sys.executable, "-c", script], check=True)

        heard = store.wait(seen, 60)
        assert heard != seen
        assert heard == store.wait(heard, 0)


def test_closing_ends_waiting(path: Path) -> None:
    """Nobody sleeps on at a store that is gone."""
    with opened(path) as store:
        deeds: list[Callable[[], object]] = [lambda: store.wait(0, 60), store.close]
        together(*deeds)


def test_a_closed_store_says_so(path: Path) -> None:
    """Reading, writing and waiting alike."""
    store = open_sqlite(f"sqlite:///{path}")
    store.close()
    store.close()

    for verb in (lambda: store.get([ORDER]), lambda: store.put_blob(b""), lambda: store.find(Filter()), lambda: store.claim(CLAIM)):
        with pytest.raises(StoreUnavailable, match="it is closed; open it again"):
            verb()
