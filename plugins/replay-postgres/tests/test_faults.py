"""Connections that break, servers that go away, answers that are lost: nothing is lost, nothing is done twice, nothing is guessed."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from replay_postgres import PostgresStore
from replay_postgres.testing import CutWire, TemporaryCluster
from sqlalchemy import text

from replay.hooks import Commit, Committed, Lease, Posted, StoreUnavailable
from replay.testing.store_suite.case import (
    SHOP,
    TTL,
    answered,
    begin,
    journal,
    key,
    look,
    order,
    ready,
    signal,
    started,
    texts,
    together,
    turn,
    wish,
)

pytestmark = pytest.mark.postgres

Opened = Callable[[str], PostgresStore]


@pytest.fixture
def far(opened: Opened, cluster: TemporaryCluster, schema: str, wire: CutWire) -> PostgresStore:
    """A store at the other end of the wire; it prepares nothing, so that each question is one statement."""
    return opened(cluster.url(f"schema={schema}&listen=off&prepare=off", port=wire.port))


TURNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a topic": {"topics": [("news", b"1")]},
    "without events": {"events": [], "topics": [("news", b"1")]},
    "released": {"release": True, "status": "waiting", "topics": [("news", b"1")]},
    "closed": {"status": "completed", "result": b"7", "topics": [("news", b"1")]},
    "continued": {"status": "continued", "successor": order(), "topics": [("news", b"1")]},
    "with company": {"children": [order("child")], "posts": [signal(run="friend")], "topics": [("news", b"1")]},
}


@pytest.mark.parametrize("lost", ["question", "answer"])
@pytest.mark.parametrize("parts", TURNS.values(), ids=TURNS)
def test_a_commit_whose_connection_breaks_is_applied_once(
    store: PostgresStore, far: PostgresStore, wire: CutWire, parts: dict[str, Any], lost: Any
) -> None:
    """Whether it was done and nobody heard, or never arrived: it is sent again, and recognised."""
    begin(store, "friend", "ben")
    lease = begin(store)
    look(far)  # a connection of its pool is there to be cut
    wire.lose(lost)

    fates = far.commit([turn(lease, 1, **parts)])

    assert [Committed.APPLIED] == fates
    name = "order-1~1" if "successor" in parts else "order-1"
    assert [started(), *parts.get("events", [answered(2)])] == store.journal(key(name))
    assert parts.get("topics", []) == [("news", entry.payload) for entry in store.read(SHOP, "news")]
    assert len(parts.get("children", [])) == len(store.journal(key("child")))
    assert [post.id for post in parts.get("posts", [])] == texts(store.claim(wish("ben", limit=0)).mail)


@pytest.mark.parametrize("parts", TURNS.values(), ids=TURNS)
def test_a_commit_that_is_sent_again_later_is_recognised(
    store: PostgresStore, far: PostgresStore, wire: CutWire, parts: dict[str, Any]
) -> None:
    """The caller was told that the outcome is unknown, and asks again when the server is back: it is told the truth."""
    begin(store, "friend", "ben")
    lease = begin(store)
    look(far)
    batch = [turn(lease, 1, **parts)]

    wire.lose("answer", stay_down=True)
    with pytest.raises(StoreUnavailable):
        far.commit(batch)
    wire.mend()

    assert [Committed.APPLIED] == far.commit(batch)
    assert parts.get("topics", []) == [("news", entry.payload) for entry in store.read(SHOP, "news")]


def test_an_equal_commit_that_is_another_is_refused(store: PostgresStore, far: PostgresStore, wire: CutWire) -> None:
    """Only the very commit whose answer was lost is recognised, not one that looks like it."""
    lease = begin(store)
    look(far)
    wire.lose("answer", stay_down=True)
    with pytest.raises(StoreUnavailable):
        far.commit([turn(lease, 1)])
    wire.mend()

    assert [Committed.CONFLICT] == far.commit([turn(lease, 1)])


def test_a_batch_whose_answer_is_lost_is_applied_once(store: PostgresStore, far: PostgresStore, wire: CutWire) -> None:
    """Each item has its own fate, as if nothing had happened."""
    leases = [begin(store, f"run-{number}") for number in range(5)]
    batch = [turn(lease, 1, topics=[("news", b"%d" % place)]) for place, lease in enumerate(leases)]
    batch[1] = turn(leases[1]._replace(fence=9), 1, topics=[("news", b"lost")])
    batch[2] = turn(leases[2], 7, topics=[("news", b"lost")])
    look(far, "run-0")

    wire.lose("answer")

    yes = Committed.APPLIED
    assert [yes, Committed.FENCED, Committed.CONFLICT, yes, yes] == far.commit(batch)
    assert [b"0", b"3", b"4"] == [entry.payload for entry in store.read(SHOP, "news")]


def test_a_creation_whose_answer_is_lost_is_still_the_creators(store: PostgresStore, far: PostgresStore, wire: CutWire) -> None:
    """It is new, and its creator holds it, as it asked."""
    far.get([key()])
    wire.lose("answer")

    answer = far.create([order()], worker="ann", ttl=TTL)[0]

    assert (True, 1) == (answer.new, answer.lease and answer.lease.fence)
    assert [Committed.APPLIED] == store.commit([turn(answer.lease, 1)] if answer.lease else [])


def test_messages_whose_answer_is_lost_are_told_once(store: PostgresStore, far: PostgresStore, wire: CutWire) -> None:
    """Sent again they are duplicates."""
    begin(store)
    look(far)
    wire.lose("answer")

    assert [Posted.DUPLICATE, Posted.DUPLICATE] == far.post([signal("m1"), signal("m2")])


def test_what_cannot_be_said_twice_is_not(store: PostgresStore, far: PostgresStore, wire: CutWire) -> None:
    """To publish has no id: the caller hears that the outcome is unknown, and decides."""
    far.read(SHOP, "news")
    wire.lose("answer")

    with pytest.raises(StoreUnavailable):
        far.publish(SHOP, [("news", b"1")])

    assert [b"1"] == [entry.payload for entry in store.read(SHOP, "news")]


@pytest.fixture
def words(cluster: TemporaryCluster, schema: str) -> Iterator[str]:
    """A table of a user's own."""
    cluster.execute(f"CREATE TABLE {schema}.words (word text)")
    yield f"{schema}.words"
    cluster.execute(f"DROP TABLE {schema}.words")


def test_a_transaction_whose_answer_is_lost_is_resolved(store: PostgresStore, far: PostgresStore, wire: CutWire, words: str) -> None:
    """The user's row and the event were committed together, so the event tells of both; the step is not run again."""
    lease = begin(store)

    def work(connection: Any) -> Commit:
        connection.execute(text(f"INSERT INTO {words} VALUES ('sold')"))
        wire.lose("answer")  # the next end of a transaction is this one's
        return turn(lease, 1)

    assert Committed.APPLIED is far.transact(work)
    assert (journal(2), 1) == (store.journal(key()), count(store, words))


def test_a_transaction_that_is_cut_has_done_nothing(store: PostgresStore, far: PostgresStore, wire: CutWire, words: str) -> None:
    """Neither row nor event; the caller hears of it."""
    lease = begin(store)

    def work(connection: Any) -> Commit:
        connection.execute(text(f"INSERT INTO {words} VALUES ('sold')"))
        wire.lose("question")
        return turn(lease, 1)

    with pytest.raises(StoreUnavailable):
        far.transact(work)
    assert (journal(1), 0) == (store.journal(key()), count(store, words))


def count(store: PostgresStore, table: str) -> int:
    return int(store._with(lambda hot: hot.ask(f"SELECT count(*) FROM {table}"))[0][0])


# ---- servers and backends that go away ----------------------------------------------------------------------------------


def persist(store: PostgresStore, lease: Lease, done: threading.Event) -> int:
    """Commit turn after turn, each until there is an answer; how long the journal should be."""
    length = 1
    while not done.is_set():
        batch = [turn(lease, length, topics=[("news", f"{lease.key.id}/{length}".encode())] if length % 3 else [])]
        answer = None
        while answer is None:
            with contextlib.suppress(StoreUnavailable):
                answer = store.commit(batch)
        assert [Committed.APPLIED] == answer
        length += 1
    return length


def persevere(store: PostgresStore, trouble: Callable[[], None]) -> None:
    """Six runs go on while there is trouble; then their journals and the topic hold every turn exactly once."""
    leases = [begin(store, f"run-{number}", f"worker-{number}") for number in range(6)]
    done = threading.Event()

    def make_trouble() -> int:
        try:
            trouble()
        finally:
            done.set()
        return 0

    lengths = together(*(lambda lease=lease: persist(store, lease, done) for lease in leases), make_trouble)[:-1]

    assert min(lengths) > 1
    assert [journal(length) for length in lengths] == [store.journal(lease.key) for lease in leases]
    said = sorted(f"run-{run}/{at}" for run, length in enumerate(lengths) for at in range(1, length) if at % 3)
    assert said == sorted(entry.payload.decode() for entry in store.read(SHOP, "news", limit=10**6))


def test_commits_survive_that_their_backends_are_killed(store: PostgresStore, cluster: TemporaryCluster) -> None:
    """A connection is killed every few milliseconds, in whatever it is doing."""
    dice = random.Random(7)

    def kill() -> None:
        for _ in range(60):
            with cluster.connection() as connection:
                pids = [row[0] for row in connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'replay'")]
                if pids:
                    connection.execute("SELECT pg_terminate_backend(%s)", (dice.choice(pids),))

    persevere(store, kill)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_commits_survive_a_restart_of_the_server(store: PostgresStore, cluster: TemporaryCluster, mode: str) -> None:
    """As for maintenance, and as after a crash."""

    def restart() -> None:
        cluster.stop(mode)
        cluster.start()

    persevere(store, restart)


def test_an_idle_store_does_not_notice_a_restart(store: PostgresStore, cluster: TemporaryCluster) -> None:
    """Connections that died in their sleep are found out before they are used."""
    together(*(lambda: look_for_nothing(store) for _ in range(4)))
    cluster.stop()
    cluster.start()

    store.publish(SHOP, [("news", b"1")])  # which is not tried again by itself
    assert [b"1"] == [entry.payload for entry in store.read(SHOP, "news")]


def look_for_nothing(store: PostgresStore) -> None:
    assert [None] == store.get([key("nothing")])


def test_a_server_that_is_down_is_an_error_until_it_is_back(store: PostgresStore, cluster: TemporaryCluster) -> None:
    """Every verb says so at once; the same object goes on afterwards."""
    lease = begin(store)
    cluster.stop()
    try:
        for verb in (lambda: store.get([key()]), lambda: store.commit([turn(lease, 1)]), lambda: store.renew([lease], ttl=TTL)):
            with pytest.raises(StoreUnavailable, match="check that the server runs"):
                verb()
        assert store.now() > 0
    finally:
        cluster.start()

    assert [Committed.APPLIED] == store.commit([turn(lease, 1)])


def test_transactions_that_get_in_each_others_way_are_tried_again(store: PostgresStore) -> None:
    """Runs that post to each other in a ring, all at once: nobody sees a deadlock, every message arrives."""
    leases = [begin(store, f"run-{number}", f"worker-{number}") for number in range(8)]

    def work(place: int) -> None:
        for number in range(15):
            posts = [signal(f"{place}/{number}/{other}", f"run-{other}") for other in range(8)]
            assert [Committed.APPLIED] == store.commit([turn(leases[place], number + 1, posts=posts)])

    together(*(lambda place=place: work(place) for place in range(8)))

    assert [(8 * 15,)] * 8 == store._with(lambda hot: hot.ask("SELECT mail FROM @runs"))


# ---- the pool -----------------------------------------------------------------------------------------------------------


def test_one_connection_serves_many_threads(opened: Opened, url: str) -> None:
    """They wait for each other."""
    store = opened(f"{url}&pool=1&listen=off")

    names = [f"run-{number}" for number in range(8)]
    together(*(lambda name=name: begin(store, name) for name in names))

    assert [1] * 8 == [look(store, name).fence for name in names]


def test_who_waits_too_long_for_a_connection_is_told(opened: Opened, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do about it."""
    store = opened(f"{url}&pool=2")
    monkeypatch.setattr("replay_postgres.pool.PATIENCE", 0.05)

    with store._pool.lent(), store._pool.lent(), pytest.raises(StoreUnavailable, match=r"all 2 connections .* raise \?pool="):
        look(store)
    assert [None] == store.get([key()])


def test_a_store_outlives_a_fork(url: str) -> None:
    """The child's connections are its own, and the parent's are left alone."""
    script = f"""
import os, sys
from replay_postgres import open_postgres
from replay.hooks import Event, NewRun, RunKey
store = open_postgres({url!r})
def create(name):
    new = NewRun(key=RunKey("shop", name), workflow="order", events=[Event(1, "started", "", "order", 1, b"{{}}")])
    return store.create([new])[0].new
seen = store.wait(0, 0)
create("before")
child = os.fork()
if child == 0:
    fine = create("child") and store.wait(seen, 5) != seen
    os._exit(0 if fine else 1)
status = os.waitpid(child, 0)[1]
print(status, create("parent"), [run.key.id for run in store.get([RunKey("shop", name) for name in ("before", "child", "parent")])])
store.close()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert ("", "0 True ['before', 'child', 'parent']") == (done.stderr, done.stdout.strip())


# ---- waking -------------------------------------------------------------------------------------------------------------


def woken(store: PostgresStore, change: Callable[[], object]) -> float:
    """Seconds until who waits at ``store`` is woken by a change made elsewhere."""
    seen = store.wait(0, 0)
    begun = time.monotonic()
    told, _ = together(lambda: store.wait(seen, 30), lambda: change() and 0)
    assert told != seen
    return time.monotonic() - begun


@pytest.mark.parametrize("verb", ["create", "post", "commit", "release", "publish"])
def test_a_change_wakes_who_waits_in_another_process(opened: Opened, url: str, verb: str) -> None:
    """Another handle is as good as another process: they share nothing but the database."""
    one, other = opened(url), opened(url)
    lease = begin(other)
    changes: dict[str, Callable[[], object]] = {
        "create": lambda: other.create([order("new")]),
        "post": lambda: other.post([signal()]),
        "commit": lambda: other.commit([turn(lease, 1, status="completed")]),
        "release": lambda: other.release([lease]),
        "publish": lambda: other.publish(SHOP, [("news", b"1")]),
    }

    woken(one, changes[verb])


def test_many_changes_are_told(opened: Opened, url: str) -> None:
    """However fast they come, the last one is not swallowed."""
    one, other = opened(url), opened(url)
    other.wait(0, 0)
    seen = one.wait(0, 0)

    for number in range(200):
        other.publish(SHOP, [("news", b"%d" % number)])
    while not (entries := one.read(SHOP, "news")) or entries[-1].payload != b"199":
        before, seen = seen, one.wait(seen, 30)
        assert before != seen


def test_who_listens_goes_on_when_its_connection_is_killed(opened: Opened, url: str, cluster: TemporaryCluster) -> None:
    """The connection is made again, and what changed meanwhile is not slept through."""
    one, other = opened(url), opened(url)
    seen = one.wait(0, 0)
    assert one._herald.listening

    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")

    before, seen = seen, one.wait(seen, 30)
    assert before != seen  # it may have missed something
    until_listening(one, seen)
    woken(one, lambda: other.publish(SHOP, [("news", b"1")]))


def until_listening(store: PostgresStore, seen: int) -> None:
    while not store._herald.listening:
        seen = store.wait(seen, 30)


def test_without_listening_changes_are_found_by_looking(opened: Opened, url: str) -> None:
    """As through a proxy that shares its connections: later, but found."""
    one, other = opened(f"{url}&listen=off"), opened(url)
    begin(other)

    woken(one, lambda: other.publish(SHOP, [("news", b"1")]))

    assert ["order-1"] == [run.key.id for run in one.get([key()]) if run]


def test_a_server_that_cannot_be_listened_to_is_still_a_store(
    opened: Opened, cluster: TemporaryCluster, schema: str, wire: CutWire
) -> None:
    """Where ``direct=`` leads nowhere, it looks by itself."""
    wire.close()
    store = opened(cluster.url(f"schema={schema}&direct=127.0.0.1:{wire.port}"))

    woken(store, lambda: store.publish(SHOP, [("news", b"1")]))

    assert not store._herald.listening
    assert [] == ready(store)


def test_closing_wakes_who_waits(opened: Opened, url: str) -> None:
    """A worker that is asleep in the store hears that it closes."""
    store = opened(url)

    woken(store, store.close)


def test_closing_leaves_no_connection(opened: Opened, url: str, cluster: TemporaryCluster) -> None:
    """Neither of the pool nor the one that listens."""
    store = opened(url.replace("?", "?application_name=leaving&"))
    store.wait(0, 0)
    look_for_nothing(store)
    store.close()

    with cluster.connection() as connection:
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaving'"
        while connection.execute(left.encode()).fetchone() != (0,):  # the server needs a moment to notice
            connection.execute("SELECT pg_sleep(0.01)")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=1, connect_timeout=1)


def test_events_of_a_commit_are_numbered_on(store: PostgresStore) -> None:
    """A turn of many events goes another way than one of few; both lead to the same."""
    lease = begin(store)
    length = 1
    for size in (0, 1, 2, 3, 4, 5, 6, 140, 1):
        events = [answered(seq) for seq in range(length + 1, length + 1 + size)]
        assert [Committed.APPLIED] == store.commit([turn(lease, length, events=events)])
        length += size

    assert journal(length) == store.journal(key())
