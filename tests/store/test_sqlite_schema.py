"""Files of every version: new ones are made, older ones brought up, newer ones refused."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy

from replay.errors import SchemaMismatch
from replay.model.queues import Queue
from replay.store.contract import Claim, RunKey
from replay.store.sql_schema import VERSION, metadata
from replay.store.sqlite_migrations import MIGRATIONS, bring_up
from tests.store.sqlite_case import ORDER, begin, execute, grow, journal, opened

SECOND = ("ALTER TABLE replay_runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'", "CREATE INDEX colours ON replay_runs (colour)")
"""What a next release might bring."""
LATER = (*MIGRATIONS, SECOND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def schema(path: Path) -> dict[str, str]:
    """How the tables and indexes of a file were made."""
    rows = execute(path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", made)).strip() for name, made in rows}


def bring(path: Path, migrations: Sequence[Sequence[str]]) -> None:
    """Bring a file to a version."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        bring_up(raw, "sqlite:///runs.db", migrations)


def test_the_migrations_make_what_sqlalchemy_knows(path: Path, tmp_path: Path) -> None:
    """Tables, columns, keys and indexes, to the letter."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'core.db'}")
    metadata.create_all(engine)
    engine.dispose()
    with opened(path):
        pass

    assert schema(tmp_path / "core.db") == schema(path)
    assert VERSION == len(MIGRATIONS)


def test_a_new_file_is_of_the_newest_version(path: Path) -> None:
    """And says so in a table of its own."""
    with opened(path):
        assert [(VERSION,)] == execute(path, "SELECT version FROM replay_schema")


def test_an_older_file_is_brought_up_with_all_that_is_in_it(path: Path) -> None:
    """Runs are there before and after."""
    with opened(path) as store:
        grow(store, begin(store), 1, to=3)

    bring(path, LATER)

    assert [(VERSION + 1,)] == execute(path, "SELECT version FROM replay_schema")
    assert [("order-1", "red")] == execute(path, "SELECT id, colour FROM replay_runs")
    execute(path, f"UPDATE replay_schema SET version = {VERSION}")
    with opened(path) as store:
        assert journal(3) == store.journal(ORDER)


def test_runs_of_the_first_version_are_claimed_as_ever(path: Path) -> None:
    """They have no fairness key, and count among those that are held."""
    bring(path, MIGRATIONS[:1])
    columns = "namespace, id, workflow, version, queue, digest, priority, parent, parent_command, status, seq, base, applied, source"
    more = "created_at, updated_at, ready_at, fence, worker, recoveries, note, mail, journals, result"
    rows = [
        f"('default', 'old-{n}', 'order', '', 'default', 'd', 0, '', '', 'pending', 0, 0, 0, '', {n}, {n}, 1, 0, '', 0, '', 0, 0, x'')"
        for n in range(3)
    ]
    execute(path, f"INSERT INTO replay_runs ({columns}, {more}) VALUES {', '.join(rows)}")

    with opened(path) as store:
        limited = Claim(
            worker="ann", namespace="default", queues=[Queue("default", concurrency=2)], workflows=["order"], limit=9, ttl=10**9
        )
        taken = [claimed.run for claimed in store.claim(limited).runs]

        assert [("old-0", ""), ("old-1", "")] == [(run.key.id, run.fairness_key) for run in taken]
        assert [] == store.claim(limited).runs


def test_what_is_there_already_is_not_done_again(path: Path) -> None:
    """A second opening changes nothing, and takes no lock: it works while someone else writes."""
    bring(path, LATER)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        bring(path, LATER)

    assert 1 == schema(path)["replay_runs"].count("colour")


def test_a_migration_that_fails_leaves_the_version_before(path: Path) -> None:
    """All of it, or none: what came before it in the same step is undone too."""
    with opened(path) as store:
        begin(store)

    with pytest.raises(sqlite3.OperationalError):
        bring(path, (*MIGRATIONS, (*SECOND, "CREATE TABLE (")))

    assert [(VERSION,)] == execute(path, "SELECT version FROM replay_schema")
    assert "colour" not in schema(path)["replay_runs"]
    bring(path, LATER)


def test_a_newer_file_is_refused(path: Path) -> None:
    """Older code might damage what it does not know; nothing is changed."""
    with opened(path) as store:
        begin(store)
    execute(path, "UPDATE replay_schema SET version = 99")

    with pytest.raises(SchemaMismatch) as caught, opened(path):
        pass

    assert (99, VERSION) == (caught.value.found, caught.value.supported)
    assert "upgrade replay-engine" in str(caught.value)
    assert [(99,)] == execute(path, "SELECT version FROM replay_schema")


def test_a_file_with_tables_of_its_owner_is_shared(path: Path) -> None:
    """A program's own database can hold its runs too, whatever its tables are called."""
    for name in ("runs", "events", "messages", "tags", "schema"):
        execute(path, f"CREATE TABLE {name} (word TEXT)")

    with opened(path) as store:
        begin(store)
        assert journal(1) == store.journal(ORDER)


OPEN = """
import sys
from replay.model.events import Event
from replay.store.contract import NewRun, RunKey
from replay.store.sqlite import open_sqlite
sys.stdin.readline()
store = open_sqlite(sys.argv[1])
key = RunKey("default", sys.argv[2])
print(store.create([NewRun(key=key, workflow="order", events=[Event(1, "started", "", "order", 1, b"{}")])])[0].new)
store.close()
"""


@pytest.mark.faults
def test_many_processes_may_open_a_new_file_at_once(path: Path) -> None:
    """One of them makes the tables, the others wait; all work."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, f"sqlite:///{path}", f"run-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    assert ["True\n"] * 6 == [process.communicate()[0] for process in processes]
    with opened(path) as store:
        assert all(store.get([RunKey("default", f"run-{number}") for number in range(6)]))
