"""Opening: tables that are made, found, too new; and servers, databases and roles that do not fit."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator

import psycopg
import pytest
from replay_postgres import PostgresStore, open_postgres
from replay_postgres.address import Address
from replay_postgres.migrations import MIGRATIONS, bring_up, migrate
from replay_postgres.testing import GUARDED, TemporaryCluster, free_port

import replay
from replay.hooks import Committed, InvalidRequest, Migrated, SchemaMismatch, StoreUnavailable, open_store
from replay.testing.store_suite.case import begin, key, look, order, signal, together, turn

pytestmark = pytest.mark.postgres

Opened = Callable[[str], PostgresStore]

# ---- tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_the_store_is_found_by_its_schemes(cluster: TemporaryCluster, schema: str, scheme: str) -> None:
    """Installing the distribution is all."""
    store = open_store(cluster.url(f"schema={schema}").replace("postgresql", scheme, 1))

    assert isinstance(store, PostgresStore)
    store.close()


def test_stores_that_start_at_once_make_the_tables_once(cluster: TemporaryCluster, new_schema: str) -> None:
    """Eight of them; each can be used at once."""
    url = cluster.url(f"schema={new_schema}")

    def start(name: str) -> int:
        store = open_postgres(url)
        try:
            return begin(store, name).fence
        finally:
            store.close()

    assert [1] * 8 == together(*(lambda name=name: start(name) for name in "abcdefgh"))


def test_the_planner_believes_in_rows_of_fresh_tables(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """Of an empty one it would read all for each turn of a commit, until somebody looks at it again."""
    opened(cluster.url(f"schema={new_schema}"))
    with cluster.connection() as connection:
        query = "SELECT reltuples > 0 FROM pg_class WHERE relname = 'replay_runs' AND relnamespace = %s::regnamespace"
        found = connection.execute(query, [new_schema]).fetchall()

    assert [(True,)] == found


def test_schemas_do_not_mix(opened: Opened, cluster: TemporaryCluster, schema: str, new_schema: str) -> None:
    """Two stores in one database know nothing of each other."""
    one, other = opened(cluster.url(f"schema={schema}")), opened(cluster.url(f"schema={new_schema}"))
    begin(one)

    assert [None] == other.get([key()])


def test_newer_tables_are_not_touched(cluster: TemporaryCluster, new_schema: str) -> None:
    """They may mean what this code does not know."""
    url = cluster.url(f"schema={new_schema}")
    open_postgres(url).close()
    cluster.execute(f"UPDATE {new_schema}.replay_schema SET version = 99")

    with pytest.raises(SchemaMismatch, match="upgrade") as caught:
        open_postgres(url)
    assert (99, len(MIGRATIONS)) == (caught.value.found, caught.value.supported)


def test_older_tables_are_brought_up_to_date(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """Only what is missing is applied, to what runs there are, and only when the operator says so."""
    address = Address.parse(cluster.url(f"schema={new_schema}&migrate=on"))
    store = opened(cluster.url(f"schema={new_schema}"))
    begin(store)
    newer = [*MIGRATIONS, ["ALTER TABLE @runs ADD COLUMN colour text NOT NULL DEFAULT 'red'"]]

    with store._pool.lent() as raw:
        for usual in ("", "&migrate=off"):
            with pytest.raises(SchemaMismatch, match="run `replay store migrate`"):
                bring_up(raw, Address.parse(cluster.url(f"schema={new_schema}{usual}")), newer)
        bring_up(raw, address, newer)
        bring_up(raw, address, newer)

        assert [("red",)] == raw.execute(f"SELECT colour FROM {new_schema}.replay_runs".encode()).fetchall()
        assert 1 == look(store).seq
        with pytest.raises(SchemaMismatch):
            bring_up(raw, address)


def test_a_migration_that_fails_leaves_nothing(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """A schema is of one version or the other."""
    address = Address.parse(cluster.url(f"schema={new_schema}&migrate=on"))
    store = opened(cluster.url(f"schema={new_schema}"))
    broken = [*MIGRATIONS, ["ALTER TABLE @runs ADD COLUMN colour text", "ALTER TABLE @nothing ADD COLUMN colour text"]]

    with store._pool.lent() as raw:
        with pytest.raises(psycopg.errors.UndefinedTable):
            bring_up(raw, address, broken)
        bring_up(raw, address)

    assert begin(store).fence == 1


def test_without_migrating_no_table_is_made(cluster: TemporaryCluster, new_schema: str) -> None:
    """Where operators apply migrations, workers do not."""
    with pytest.raises(SchemaMismatch, match="replay store migrate"):
        open_postgres(cluster.url(f"schema={new_schema}&migrate=off"))

    with cluster.connection() as connection:
        assert (None,) == connection.execute("SELECT to_regnamespace(%s)", (new_schema,)).fetchone()


def test_an_operator_migrates_while_workers_work(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """Of two operators at once one does it, and both are told; whoever works does not notice."""
    url = cluster.url(f"schema={new_schema}")
    store = opened(url)
    lease = begin(store)
    newer = [*MIGRATIONS, ["ALTER TABLE @runs ADD COLUMN colour text NOT NULL DEFAULT 'red'"]]

    told = together(lambda: migrate(url, newer), lambda: migrate(url, newer))

    assert {len(newer)} == {done.now for done in told}
    assert [Committed.APPLIED] == store.commit([turn(lease, 1)])
    with pytest.raises(SchemaMismatch, match="upgrade"):
        open_postgres(url)


def test_a_migration_gives_up_rather_than_hold_up_workers(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """A table that somebody reads for long cannot be changed; who works meanwhile waits seconds at most, and nothing is changed."""
    url = cluster.url(f"schema={new_schema}")
    store = opened(url)
    newer = [*MIGRATIONS, ["ALTER TABLE @runs ADD COLUMN colour text"]]
    with cluster.connection() as reader, reader.transaction():
        reader.execute(f"SELECT count(*) FROM {new_schema}.replay_runs".encode())

        with pytest.raises(StoreUnavailable, match="lock timeout"):
            migrate(url, newer)
    assert Migrated(store.url, len(MIGRATIONS), len(MIGRATIONS)) == migrate(url)


# ---- roles --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clerk(cluster: TemporaryCluster) -> Iterator[str]:
    """A role without any rights but to connect."""
    cluster.execute("CREATE ROLE clerk LOGIN")
    yield "clerk"
    cluster.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def test_a_role_that_may_not_create_is_told(cluster: TemporaryCluster, new_schema: str, clerk: str) -> None:
    """What is to be granted."""
    with pytest.raises(StoreUnavailable, match=r"permission denied.* grant the role"):
        open_postgres(cluster.url(f"schema={new_schema}", user=clerk))


def test_a_role_that_may_not_read_is_told(cluster: TemporaryCluster, schema: str, clerk: str) -> None:
    """The tables are there, and another's."""
    with pytest.raises(StoreUnavailable, match=r"permission denied.* grant the role"):
        open_postgres(cluster.url(f"schema={schema}", user=clerk))


def test_a_role_needs_no_more_than_to_read_and_write_rows(opened: Opened, cluster: TemporaryCluster, schema: str, clerk: str) -> None:
    """The owner makes the tables, workers use them."""
    cluster.execute(
        f"GRANT USAGE ON SCHEMA {schema} TO clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO clerk;"
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO clerk"
    )
    store = opened(cluster.url(f"schema={schema}", user=clerk))
    lease = begin(store, tags={"a": "b"}, state={"a": b"b"})

    store.post([signal()])
    store.commit([turn(lease, 1, consumed=["m1"], topics=[("news", b"1")], children=[order("child")], status="completed")])
    assert 1 == store.delete([key()])


def test_a_role_that_may_only_read_is_told(cluster: TemporaryCluster, schema: str, clerk: str) -> None:
    """When it opens the store, not when the first run is under way."""
    cluster.execute(f"GRANT USAGE ON SCHEMA {schema} TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO clerk")

    with pytest.raises(StoreUnavailable, match=r"permission denied: the role lacks replay_runs INSERT.* grant the role"):
        open_postgres(cluster.url(f"schema={schema}", user=clerk))


def test_a_database_that_is_read_only_is_told(cluster: TemporaryCluster, schema: str, clerk: str) -> None:
    """As on a standby."""
    cluster.execute(
        f"GRANT USAGE ON SCHEMA {schema} TO clerk; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO clerk;"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO clerk; ALTER ROLE clerk SET default_transaction_read_only = on"
    )

    with pytest.raises(StoreUnavailable, match=r"takes no writes.* name the primary server"):
        open_postgres(cluster.url(f"schema={schema}", user=clerk))


# ---- servers and databases ----------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(cluster: TemporaryCluster) -> Iterator[str]:
    """A role that needs its password."""
    cluster.execute(f"CREATE ROLE {GUARDED} SUPERUSER LOGIN PASSWORD 'right'")
    yield GUARDED
    cluster.execute(f"DROP OWNED BY {GUARDED}; DROP ROLE {GUARDED}")


def test_a_wrong_password_is_told_and_not_shown(cluster: TemporaryCluster, schema: str, guarded: str) -> None:
    """Not in the error, nor in the traceback that goes to a log."""
    url = cluster.url(f"schema={schema}", user=f"{guarded}:wr0ng")

    with pytest.raises(StoreUnavailable, match=r"password authentication failed.* check user and password") as caught:
        open_postgres(url)

    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))
    assert cluster.url(f"schema={schema}", user=guarded) == caught.value.store


def test_a_right_password_is_not_shown_either(opened: Opened, cluster: TemporaryCluster, schema: str, guarded: str) -> None:
    """A store is known by its URL, in logs too."""
    store = opened(cluster.url(f"schema={schema}", user=f"{guarded}:right"))

    assert cluster.url(f"schema={schema}", user=guarded) == store.url
    assert begin(store).fence == 1


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist.*createdb'),
        ({"user": "nobody"}, 'role "nobody" does not exist.*createuser'),
        ({"port": 1}, "check that the server runs and that host and port are right"),
        ({"user": GUARDED}, "no password supplied.* check user and password"),
    ],
)
def test_what_is_not_there_is_told(cluster: TemporaryCluster, guarded: str, place: dict[str, str], expected: str) -> None:
    """Database, role, server, password."""
    with pytest.raises(StoreUnavailable, match=expected):
        open_postgres(cluster.url("connect_timeout=5", **place))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("host", ["no.such.host.invalid", "%2Fno%2Fsuch%2Ffolder"])
def test_a_host_that_is_not_there_is_told(host: str) -> None:
    """By name and by socket."""
    with pytest.raises(StoreUnavailable, match="check"):
        open_postgres(f"postgresql://postgres@{host}:{free_port()}/postgres?connect_timeout=5")


def test_a_server_that_has_no_room_for_connections_is_told(cluster: TemporaryCluster, schema: str, clerk: str) -> None:
    """And what to do."""
    cluster.execute(f"GRANT USAGE ON SCHEMA {schema} TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO clerk")
    cluster.execute("ALTER ROLE clerk CONNECTION LIMIT 0")

    with pytest.raises(StoreUnavailable, match=r"too many connections.* max_connections"):
        open_postgres(cluster.url(f"schema={schema}", user=clerk))


def test_a_database_that_cannot_hold_every_text_is_refused(cluster: TemporaryCluster) -> None:
    """At start, not when the first such text comes."""
    cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(StoreUnavailable, match=r"LATIN1.* ENCODING 'UTF8'"):
            open_postgres(cluster.url(database="latin"))
    finally:
        cluster.execute("DROP DATABASE latin WITH (FORCE)")


def test_tables_that_vanish_are_told(opened: Opened, cluster: TemporaryCluster, new_schema: str) -> None:
    """Somebody dropped the schema of a running worker; opening the store makes it anew."""
    store = opened(cluster.url(f"schema={new_schema}"))
    cluster.execute(f"DROP SCHEMA {new_schema} CASCADE")

    with pytest.raises(StoreUnavailable, match=r"does not exist.* open it again"):
        store.get([key()])
    assert begin(opened(cluster.url(f"schema={new_schema}"))).fence == 1


# ---- what no text column can hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\0b", "\0", "half \ud800 a pair"])
def test_a_name_that_postgresql_cannot_hold_is_refused(store: PostgresStore, name: str) -> None:
    """As an id, a tag, a message's id, a topic; with what is wrong with it, and nothing done by halves."""
    lease = begin(store)
    verbs: list[Callable[[], object]] = [
        lambda: store.create([order(name)]),
        lambda: store.create([order("tagged", tags={"who": name})]),
        lambda: store.post([signal(name)]),
        lambda: store.publish("shop", [(name, b"1")]),
        lambda: store.commit([turn(lease, 1, tags={name: "1"})]),
        lambda: store.commit([turn(lease, 1, topics=[(name, b"1")])]),
        lambda: store.get([key(name)]),
    ]

    for verb in verbs:
        with pytest.raises(InvalidRequest, match=re.compile("cannot hold|can hold")):
            verb()

    assert (1, [None]) == (look(store).seq, store.get([key("tagged")]))


def test_a_tag_that_is_too_long_to_look_for_is_refused(store: PostgresStore) -> None:
    """It is told at once, and the run can go on without it."""
    lease = begin(store)
    word = random.Random(1).randbytes(4000).hex()

    with pytest.raises(InvalidRequest, match=r"below 2,000 bytes"):
        store.commit([turn(lease, 1, tags={"word": word})])
    assert [Committed.APPLIED] == store.commit([turn(lease, 1, tags={"word": word[:1000]}, state={"word": word.encode()})])


def test_a_number_that_postgresql_cannot_hold_is_refused(store: PostgresStore) -> None:
    """It is the caller's mistake, not the server's."""
    lease = begin(store)

    for verb in (
        lambda: store.create([order("a", priority=2**63)]),
        lambda: store.commit([turn(lease, 1, wake_at=2**63)]),
        lambda: store.renew([lease], ttl=2**63),
    ):
        with pytest.raises(InvalidRequest):
            verb()


def test_a_note_may_say_anything(store: PostgresStore) -> None:
    """It is for people, and may quote what made a run stuck."""
    store.commit([turn(begin(store), 1, status="stuck", note="bad byte \0 in \udc80 é")])

    assert "bad byte \ufffd in ? é" == look(store).note


def test_a_workflow_runs_on_it(url: str) -> None:
    """From start to result."""

    @replay.step
    def double(number: int) -> int:
        return number * 2

    @replay.workflow(name="doubling-on-postgres")
    def doubling(number: int) -> replay.Workflow[int]:
        return (yield from double(number))

    assert 42 == replay.run(doubling(21), id="d", store=url)


def test_plans_are_made_anew_without_forgetting_statements(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As happens every few seconds."""
    monkeypatch.setattr("replay_postgres.pool.REPLAN", 0.0)
    lease = begin(store)

    for length in range(1, 6):
        assert [Committed.APPLIED] == store.commit([turn(lease, length)])
        assert length + 1 == look(store).seq


def test_the_way_to_a_first_result_does_not_import_sqlalchemy(url: str) -> None:
    """It costs more time than all the rest together."""
    script = f"""
import sys
from replay.hooks import Claim, Commit, Event, NewRun, RunKey, open_store
store = open_store({url!r})
key = RunKey("default", "order-1")
new = NewRun(key=key, workflow="order", events=[Event(1, "started", "", "order", 1, b"{{}}")])
lease = store.create([new], worker="ann", ttl=10**9)[0].lease
store.commit([Commit(lease=lease, expected=1, events=[Event(2, "step_completed", "0", "charge", 2, b"1")])])
store.claim(Claim(worker="ann", namespace="default", queues=["default"], workflows=["order"], limit=1, ttl=1))
assert len(store.journal(key)) == 2
store.close()
print([name for name in sys.modules if name.startswith("sqlalchemy")])
"""
    assert "[]" == subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
