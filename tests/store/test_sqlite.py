"""The SQLite store keeps every promise, also with a step's own SQL in its transactions."""

from __future__ import annotations

import contextlib
import functools
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from replay.errors import InvalidRequest, StoreUnavailable
from replay.store.blocks import ROOM, SIZE
from replay.store.contract import Capability, Claim, Commit, Committed, Filter, Lease, Message, NewRun, Posted, RunKey, Store
from replay.store.sqlite import SQLiteStore, open_sqlite
from replay.store.sqlite_files import Address
from replay.store.sqlite_writing import DUE, FORESEE, LANES, LOOK
from replay.testing import StoreContract, TransactionContract, VirtualClock
from replay.testing.store_suite.case import OpenAgain, together
from tests.store.sqlite_case import HOUR, ORDER, PLACE, answer, begin, execute, grow, journal, opened

CLAIM = Claim(worker="ann", namespace="default", queues=["default"], workflows=["order"], limit=10, ttl=HOUR)


class SQLiteCase:
    """A file in a temporary folder, and its stores."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "runs.db"

    @pytest.fixture
    def store(self, path: Path, clock: VirtualClock) -> Iterator[Store]:
        store = open_sqlite(f"sqlite:///{path}", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, path: Path, clock: VirtualClock) -> Iterator[OpenAgain]:
        with contextlib.ExitStack() as stack:

            def open_again() -> Store:
                return stack.enter_context(contextlib.closing(open_sqlite(f"sqlite:///{path}", clock=clock)))

            yield open_again

    def damage(self, store: SQLiteStore, key: RunKey, seq: int) -> None:
        path = store._connections.address.path
        data = execute(path, f"SELECT payload FROM replay_events WHERE {PLACE}", *key, seq)[0][0]
        flipped = bytes([data[0] ^ 1]) + data[1:]
        execute(path, f"UPDATE replay_events SET payload = ? WHERE {PLACE}", flipped, *key, seq)

    def lose(self, store: SQLiteStore, key: RunKey, seq: int) -> None:
        execute(store._connections.address.path, f"DELETE FROM replay_events WHERE {PLACE}", *key, seq)


class TestSQLite(SQLiteCase, StoreContract):
    """What every store promises."""

    def test_it_says_what_it_can_do(self, store: Store) -> None:
        """It survives its process, shares its transactions, and its file."""
        assert Capability.PERSISTENT | Capability.TRANSACTIONS | Capability.SHARED == store.capabilities


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


def test_the_way_to_a_first_result_does_not_import_sqlalchemy(path: Path) -> None:
    """It costs more time than all the rest together."""
    script = f"""
import sys
from replay.store.contract import *
from replay.store.sqlite import open_sqlite
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


# ---- claims -------------------------------------------------------------------------------------------------------------


def plan(store: SQLiteStore, statement: str, values: tuple[object, ...]) -> list[str]:
    """What SQLite means to do for a statement."""
    with store._connections.reading() as raw:
        return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def test_a_claim_looks_at_one_index(store: SQLiteStore) -> None:
    """Neither question walks over the table, and the order of the list is the order of the index."""
    lanes = plan(store, LANES, ("default", '["default"]', '["order"]', 0))
    due = plan(store, DUE, ("default", "default", "order", 0, 0, 10))

    assert [] == [line for line in (*lanes, *due) if line.startswith("SCAN replay_runs")]
    assert {"replay_runs_ready"} == {line.split("INDEX ")[1].split()[0] for line in (*lanes, *due) if "replay_runs" in line}
    assert [] == [line for line in due if "TEMP B-TREE" in line]


@pytest.mark.parametrize(("statement", "values"), [(LOOK, ("a", "b")), (FORESEE, ("a", '["b", "c"]'))])
def test_a_commit_finds_its_runs_by_their_key(store: SQLiteStore, statement: str, values: tuple[object, ...]) -> None:
    """One run or many."""
    assert any("USING INDEX replay_runs_key" in line for line in plan(store, statement, values))


def work(store: SQLiteStore, deed: Callable[[], object]) -> int:
    """How many instructions of SQLite's machine a deed takes: a measure of cost that no busy machine changes."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with store._connections.writing() as raw:
        writer = raw
    with store._connections.reading() as raw:
        reader = raw
    for connection in (writer, reader):
        connection.set_progress_handler(count, 1)
    deed()
    for connection in (writer, reader):
        connection.set_progress_handler(None, 1)
    return steps


def parked(number: int, first: int = 0, **fields: Any) -> list[NewRun]:
    """Runs that wake up in some years."""
    return [
        NewRun(key=RunKey("default", f"parked-{place}"), workflow="order", events=journal(1), ready_at=10**16 + place, **fields)
        for place in range(first, first + number)
    ]


def test_a_claim_costs_the_same_however_many_runs_are_parked(store: SQLiteStore) -> None:
    """It walks over none of them: neither to find nothing, nor to find one."""
    costs: list[tuple[int, int]] = []
    store.create(parked(100))
    for number in (0, 0, 5_000):
        store.create(parked(number, 100))
        nothing = work(store, lambda: store.claim(CLAIM))
        store.create([NewRun(key=RunKey("default", f"ready-{len(costs)}"), workflow="order", events=journal(1))])
        costs.append((nothing, work(store, lambda: store.claim(CLAIM))))

    assert costs[1] == costs[2]  # the first time, statements are read and understood too


def test_a_claim_walks_over_no_run_of_others(store: SQLiteStore) -> None:
    """A backlog of a workflow that nobody offers here costs nothing here."""
    store.claim(CLAIM)
    before = work(store, lambda: store.claim(CLAIM))
    store.create([NewRun(key=RunKey("default", f"go-{n}"), workflow="go", events=journal(1)) for n in range(500)])

    assert before == work(store, lambda: store.claim(CLAIM))


def test_mail_for_held_runs_costs_what_there_is(store: SQLiteStore) -> None:
    """A thousand held runs without mail are not looked at."""
    begin(store, RunKey("default", "a"))
    before = work(store, lambda: store.claim(CLAIM))
    store.create([NewRun(key=RunKey("default", f"held-{n}"), workflow="order", events=journal(1)) for n in range(1_000)])
    assert 1_000 == len(store.claim(CLAIM.__class__(**{**as_dict(CLAIM), "limit": 1_000})).runs)

    assert before + 50 > work(store, lambda: store.claim(CLAIM))


def as_dict(claim: Claim) -> dict[str, Any]:
    """A claim's fields."""
    return {name: getattr(claim, name) for name in ("worker", "namespace", "queues", "workflows", "limit", "ttl")}


# ---- lists --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {"statuses": ["pending"]},
        {"statuses": ["pending", "completed", "stuck"]},
        {"tags": {"team": "a"}},
        {"parent": "boss"},
        {"workflow": "order"},
    ],
    ids=["all", "status", "statuses", "tag", "parent", "workflow"],
)
def test_a_page_costs_what_it_shows(path: Path, narrow: dict[str, Any]) -> None:
    """Not what there is: the second page of three thousand runs is as cheap as that of three hundred."""
    clock = VirtualClock()
    costs = []
    query = Filter(**narrow)
    with opened(path, "?durability=relaxed", clock) as store:
        for first, end in ((0, 300), (300, 3_000)):
            for number in range(first, end, 10):
                clock.advance(1)
                store.create(parked(10, number, tags={"team": "a"}, parent="boss"))
            second = functools.partial(store.find, query, limit=10, cursor=store.find(query, limit=10).cursor)
            costs.append((len(second().runs), work(store, second)))

    assert (10, 10) == (costs[0][0], costs[1][0])
    assert costs[1][1] < 1.2 * costs[0][1]


@pytest.mark.parametrize("prefix", ["a", "ab", "a%", "a_", "\u00e9", "\ud7ff", "\U0010ffff", "\U0010ffffx", "A"])
def test_a_prefix_is_compared_letter_by_letter(store: SQLiteStore, prefix: str) -> None:
    """Capitals, patterns and the last letters of Unicode are letters like any other."""
    ids = ["a", "ab", "aB", "abc", "b", "a%", "a_x", "A", "e", "\u00e9", "\u00e9\u00e9", "\ud7ff", "\ue000"]
    ids += ["\U0010ffff", "\U0010ffffx"]
    store.create([NewRun(key=RunKey("default", name), workflow="order", events=journal(1)) for name in ids])

    found = [run.key.id for run in store.find(Filter(prefix=prefix)).runs]

    assert sorted((name for name in ids if name.startswith(prefix)), reverse=True) == found


# ---- transactions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(store: SQLiteStore, path: Path) -> None:
    execute(path, "CREATE TABLE own (word TEXT NOT NULL UNIQUE)")


INSERT = text("INSERT INTO own (word) VALUES (:word)")


class TestTransactions(SQLiteCase, TransactionContract):
    """What a step's own SQL is promised."""

    @pytest.fixture(autouse=True)
    def table(self, path: Path, store: Store) -> None:
        execute(path, "CREATE TABLE own (word TEXT NOT NULL)")

    def write_own(self, connection: Any, word: str) -> None:
        connection.execute(INSERT, {"word": word})

    def own_words(self, store: SQLiteStore) -> list[str]:
        return [row[0] for row in execute(store._connections.address.path, "SELECT word FROM own")]


def words(path: Path) -> list[str]:
    """What the user's own table holds."""
    return [row[0] for row in execute(path, "SELECT word FROM own ORDER BY word")]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_only_the_store_ends_a_transaction(store: SQLiteStore, path: Path, verb: str) -> None:
    """A step that commits by itself would part its writing from its answer; it is refused at that line."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(INSERT, {"word": "sold"})
        getattr(connection, verb)()
        return Commit(lease=lease, expected=1, events=[answer(2)])

    with pytest.raises(ProgrammingError, match="in a transaction that the store ends"):
        store.transact(step)

    assert ([], 1) == (words(path), len(store.journal(ORDER)))


@pytest.mark.usefixtures("own")
def test_a_transaction_that_was_ended_by_sql_is_noticed(store: SQLiteStore) -> None:
    """SQL that says COMMIT cannot be stopped, but it is not taken for success."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(text("COMMIT"))
        return Commit(lease=lease, expected=1, events=[answer(2)])

    with pytest.raises(InvalidRequest, match="leave COMMIT and ROLLBACK to the store"):
        store.transact(step)

    assert 1 == len(store.journal(ORDER))
    grow(store, lease, 1, to=3)


@pytest.mark.usefixtures("own")
def test_a_part_of_a_transaction_can_be_undone(store: SQLiteStore, path: Path) -> None:
    """Savepoints are the step's own; so are errors that it handles."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        connection.execute(INSERT, {"word": "sold"})
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            connection.execute(INSERT, {"word": "undone"})
            connection.execute(INSERT, {"word": "sold"})
        return Commit(lease=lease, expected=1, events=[answer(2)])

    assert (Committed.APPLIED, ["sold"]) == (store.transact(step), words(path))


@pytest.mark.usefixtures("own")
def test_transactions_follow_each_other(store: SQLiteStore, path: Path) -> None:
    """Also after one that failed, and from several threads."""
    leases = [begin(store, RunKey("default", f"run-{number}")) for number in range(4)]

    def sell(lease: Lease) -> None:
        for seq in range(2, 12):

            def step(connection: Any, seq: int = seq) -> Commit:
                connection.execute(INSERT, {"word": f"{lease.key.id}/{seq:02}"})
                return Commit(lease=lease, expected=seq - 1, events=[answer(seq)])

            def fail(connection: Any, seq: int = seq) -> Commit:
                step(connection, seq)
                raise LookupError

            with pytest.raises(LookupError):
                store.transact(fail)
            assert Committed.APPLIED is store.transact(step)

    together(*(lambda lease=lease: sell(lease) for lease in leases))

    assert [f"run-{number}/{seq:02}" for number in range(4) for seq in range(2, 12)] == words(path)


def test_a_store_cannot_be_written_to_within_its_own_transaction(store: SQLiteStore) -> None:
    """It would wait for itself for ever; reading sees what was before."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        assert 1 == len(store.journal(ORDER))
        with pytest.raises(InvalidRequest, match="a transaction of this thread is open already"):
            store.post([Message("m", ORDER, "signal", "s", b"1")])
        return Commit(lease=lease, expected=1, events=[answer(2)])

    assert Committed.APPLIED is store.transact(step)


def test_an_error_of_a_users_other_database_stays_its_own(store: SQLiteStore) -> None:
    """The store does not claim that its file is at fault."""
    lease = begin(store)

    def step(connection: Any) -> Commit:
        raise sqlite3.OperationalError("database is locked")

    with pytest.raises(sqlite3.OperationalError):
        store.transact(step)

    grow(store, lease, 1, to=2)


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
