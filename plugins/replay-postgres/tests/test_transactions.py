"""Transactions that are shared: a step's own SQL with its event, a new run with its caller's own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from replay_postgres import PostgresStore
from replay_postgres.testing import TemporaryCluster
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

import replay
from replay.hooks import Commit, Committed, InvalidRequest, Posted
from replay.testing.store_suite.case import SHOP, TTL, begin, journal, key, order, park, signal, texts, turn, wish

pytestmark = pytest.mark.postgres


@pytest.fixture
def stock(cluster: TemporaryCluster, schema: str) -> Iterator[str]:
    """A table of a user's own."""
    cluster.execute(
        f"CREATE TABLE {schema}.stock (sku text PRIMARY KEY, parent text REFERENCES {schema}.stock DEFERRABLE INITIALLY DEFERRED)"
    )
    yield f"{schema}.stock"
    cluster.execute(f"DROP TABLE {schema}.stock")


def held(store: PostgresStore, stock: str) -> list[str]:
    return [row[0] for row in store._with(lambda hot: hot.ask(f"SELECT sku FROM {stock} ORDER BY sku"))]


def put(connection: Connection, stock: str, sku: str, parent: str | None = None) -> None:
    connection.execute(text(f"INSERT INTO {stock} VALUES (:sku, :parent)"), {"sku": sku, "parent": parent})


# ---- steps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_a_step_does_not_end_the_transaction(store: PostgresStore, stock: str, verb: str) -> None:
    """The error says what to do instead, and nothing was written."""
    lease = begin(store)

    def work(connection: Connection) -> Commit:
        put(connection, stock, "a")
        getattr(connection, verb)()
        return turn(lease, 1)

    with pytest.raises((ProgrammingError, psycopg.ProgrammingError), match="return to commit, raise to roll back"):
        store.transact(work)
    assert ([], journal(1)) == (held(store, stock), store.journal(key()))


def test_a_step_that_ends_the_transaction_by_sql_is_refused(store: PostgresStore, stock: str) -> None:
    """Its row and its event would not belong together any more."""
    lease = begin(store)

    def work(connection: Connection) -> Commit:
        connection.execute(text("COMMIT"))
        return turn(lease, 1)

    with pytest.raises(InvalidRequest, match="leave COMMIT and ROLLBACK to the store"):
        store.transact(work)
    assert (journal(1), [Committed.APPLIED]) == (store.journal(key()), store.commit([turn(lease, 1)]))


def test_an_error_that_is_kept_back_is_found(store: PostgresStore, stock: str) -> None:
    """PostgreSQL does nothing more in a transaction in which something failed."""
    lease = begin(store)

    def work(connection: Connection) -> Commit:
        try:
            connection.execute(text("SELECT 1 / 0"))
        except DataError:
            pass
        return turn(lease, 1)

    with pytest.raises(InvalidRequest, match=r"begin_nested\(\)"):
        store.transact(work)


def test_what_may_fail_goes_into_a_savepoint(store: PostgresStore, stock: str) -> None:
    """The rest of the transaction stands."""
    lease = begin(store)

    def work(connection: Connection) -> Commit:
        put(connection, stock, "a")
        try:
            with connection.begin_nested():
                put(connection, stock, "a")
        except IntegrityError:
            put(connection, stock, "b")
        return turn(lease, 1, topics=[("news", b"1")], children=[order("child")], posts=[signal()], state={"k": b"v"}, tags={"a": "b"})

    assert Committed.APPLIED is store.transact(work)
    assert (["a", "b"], journal(2), 1) == (held(store, stock), store.journal(key()), len(store.read(SHOP, "news")))
    assert (1, ["m1"]) == (len(store.journal(key("child"))), texts(store.claim(wish(limit=0)).mail))


def test_a_constraint_that_is_looked_at_last_fails_the_step(store: PostgresStore, stock: str) -> None:
    """Not the store's commit: it is the step's mistake."""
    lease = begin(store)

    def work(connection: Connection) -> Commit:
        put(connection, stock, "a", parent="nobody")
        return turn(lease, 1)

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        store.transact(work)
    assert ([], journal(1)) == (held(store, stock), store.journal(key()))


def test_a_connection_serves_many_transactions(opened: Callable[[str], PostgresStore], url: str, stock: str) -> None:
    """Whatever became of those before."""
    store = opened(f"{url}&pool=1")
    lease = begin(store)
    fates = []
    for number in range(1, 8):

        def work(connection: Connection, number: int = number) -> Commit:
            put(connection, stock, str(number))
            return turn(lease if number % 2 else lease._replace(fence=9), 1 + number // 2)

        fates.append(store.transact(work))

    yes, no = Committed.APPLIED, Committed.FENCED
    assert ([yes, no, yes, no, yes, no, yes], ["1", "3", "5", "7"]) == (fates, held(store, stock))


def test_turns_go_on_after_a_transaction_was_refused(opened: Callable[[str], PostgresStore], url: str) -> None:
    """Over the same connection, whose prepared statements are gone after a rollback."""
    store = opened(f"{url}&pool=1")
    lease = begin(store)
    for length in range(1, 6):
        assert [Committed.APPLIED] == store.commit([turn(lease, length)])
        assert Committed.FENCED is store.transact(lambda _, length=length: turn(lease._replace(fence=9), length))  # type: ignore[misc]

    assert journal(6) == store.journal(key())


def test_a_workflow_writes_its_own_rows_exactly_once(url: str, store: PostgresStore, stock: str) -> None:
    """Through the engine: the row and the event, also when the first attempt raises after it has written."""
    attempts = []

    @replay.step(transactional=True, retry=replay.Retry(max_attempts=3, initial=0.001))
    def reserve(sku: str, connection: Any) -> str:
        put(connection, stock, sku)
        attempts.append(sku)
        if len(attempts) == 1:
            raise RuntimeError("after the row was written")
        return sku

    @replay.workflow(name="reserving")
    def reserving(sku: str) -> replay.Workflow[str]:
        return (yield from reserve(sku))  # type: ignore[call-arg]  # the engine hands the connection in

    assert "a" == replay.run(reserving("a"), id="r", store=url, timeout=30)
    assert (["a", "a"], ["a"]) == (attempts, held(store, stock))


# ---- callers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def alchemy(cluster: TemporaryCluster) -> Iterator[Any]:
    engine = create_engine(cluster.url().replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


def test_a_run_begins_with_its_callers_own_rows(store: PostgresStore, alchemy: Any, stock: str) -> None:
    """Nobody sees it before the commit; then it is ready."""
    park(store, "asleep")
    with alchemy.begin() as connection:
        put(connection, stock, "a")
        inside = store.within(connection)
        assert [True, False] == [answer.new for answer in inside.create([order(), order("asleep")])]
        assert [Posted.DELIVERED] == inside.post([signal(run="asleep")])
        inside.publish(SHOP, [("news", b"1")])
        assert ([None], []) == (store.get([key()]), store.read(SHOP, "news"))

    assert (["a"], journal(1), 1) == (held(store, stock), store.journal(key()), len(store.read(SHOP, "news")))
    assert {"order-1": [], "asleep": ["m1"]} == {item.run.key.id: texts(item.mail) for item in store.claim(wish()).runs}


def test_a_run_never_was_when_its_caller_rolls_back(store: PostgresStore, alchemy: Any, stock: str) -> None:
    """As with every other row of that transaction."""
    with alchemy.connect() as connection:
        put(connection, stock, "a")
        store.within(connection).create([order(f"run-{number}") for number in range(40)], worker="ann", ttl=TTL)
        connection.rollback()

    assert ([], [None]) == (held(store, stock), store.get([key("run-7")]))


def test_a_client_starts_workflows_so(store: PostgresStore, alchemy: Any, stock: str) -> None:
    """The transactional outbox, without an outbox; through a session, too, and through psycopg."""

    @replay.workflow(name="shipping")
    def shipping(sku: str) -> replay.Workflow[str]:
        yield from replay.sleep(0)
        return sku

    with Session(alchemy) as session:
        session.execute(text(f"INSERT INTO {stock} VALUES ('a')"))
        assert "session" == replay.Client(store.within(session)).start(shipping("a"), id="session").id
        session.commit()
    with psycopg.connect(alchemy.url.render_as_string().replace("+psycopg", "")) as connection:
        assert "psycopg" == replay.Client(store.within(connection)).start(shipping("b"), id="psycopg").id

    with replay.Engine(store, workflows=[shipping]) as engine:
        assert ["a", "b"] == [engine.get(name).result(30) for name in ("session", "psycopg")]


def test_who_waits_is_woken_by_its_callers_commit(store: PostgresStore, alchemy: Any) -> None:
    """Not before."""
    seen = store.wait(0, 0)
    with alchemy.begin() as connection:
        store.within(connection).create([order()])
        assert seen == store.wait(seen, 0.02)

    assert seen != store.wait(seen, 30)


def test_other_verbs_have_no_place_in_it(store: PostgresStore, alchemy: Any) -> None:
    """Leases and turns are the store's own business; and what is no connection is refused."""
    lease = begin(store)
    with alchemy.connect() as connection:
        inside = store.within(connection)
        for verb in (lambda: inside.commit([turn(lease, 1)]), lambda: inside.release([lease]), lambda: inside.within(connection)):
            with pytest.raises(InvalidRequest, match="no place in a transaction of your own"):
                verb()
    with pytest.raises(InvalidRequest, match="pass a SQLAlchemy Connection"):
        store.within("connection")
