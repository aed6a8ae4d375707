"""Long journals: what fills a block becomes one, and reads as before."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from replay_postgres import PostgresStore
from replay_postgres.packing import pack_rows
from replay_postgres.testing import TemporaryCluster

from replay.hooks import BLOCK_SIZE, Committed, JournalDamaged, Lease, StoreUnavailable
from replay.testing.store_suite.case import SHOP, answered, begin, finish, journal, key, order, take, together, turn

pytestmark = pytest.mark.postgres


def kept(store: PostgresStore) -> tuple[int, list[int]]:
    """How many events are rows, and which blocks there are."""
    rows, blocks = store._with(lambda hot: (hot.ask("SELECT count(*) FROM @events"), hot.ask("SELECT last FROM @blocks ORDER BY last")))
    return rows[0][0], [block[0] for block in blocks]


def grow(store: PostgresStore, lease: Lease, begin: int, *, to: int, step: int = 1) -> None:
    """Commit turns until a journal has a length."""
    while begin < to:
        end = min(to, begin + step)
        assert [Committed.APPLIED] == store.commit([turn(lease, begin, events=[answered(seq) for seq in range(begin + 1, end + 1)])])
        begin = end


def test_rows_that_fill_a_block_become_one(store: PostgresStore) -> None:
    """All but the first event, which every recovery reads."""
    lease = begin(store)

    grow(store, lease, 1, to=BLOCK_SIZE - 1)
    assert (BLOCK_SIZE - 1, []) == kept(store)
    grow(store, lease, BLOCK_SIZE - 1, to=2 * BLOCK_SIZE + 3)

    assert (4, [BLOCK_SIZE, 2 * BLOCK_SIZE]) == kept(store)
    assert journal(2 * BLOCK_SIZE + 3) == store.journal(key())


@pytest.mark.parametrize("step", [1, 7, 127, 128, 129, 300, 1000])
def test_journals_read_the_same_however_they_grew(store: PostgresStore, step: int) -> None:
    """In turns of any size, whole, in parts, and by a claim."""
    lease = begin(store)
    grow(store, lease, 1, to=700, step=step)
    store.release([lease])

    assert journal(700) == store.journal(key())
    for after, limit in [(0, 1), (1, 1), (126, 3), (127, 1), (128, 1), (250, 12), (255, 300), (511, 1), (690, 100), (0, 700)]:
        assert journal(700)[after : after + limit] == store.journal(key(), after=after, limit=limit)
    assert journal(700) == list(take(store).journal)
    rows, blocks = kept(store)
    assert rows <= 2 * BLOCK_SIZE + step
    assert blocks


@pytest.mark.parametrize("base", [1, 2, 127, 128, 129, 256, 300, 400])
def test_recovery_begins_at_a_savepoint_wherever_it_lies(store: PostgresStore, base: int) -> None:
    """Before, at and behind the edge of a block."""
    store.create([order(events=journal(400), base=base)])

    expected = [event for event in journal(400) if event.seq == 1 or event.seq >= base]
    assert expected == list(take(store).journal)


def test_a_long_creation_is_packed_at_once(store: PostgresStore) -> None:
    """As a fork or an import is."""
    store.create([order(events=journal(1000))])

    assert (1 + 1000 % BLOCK_SIZE, 7) == (kept(store)[0], len(kept(store)[1]))
    assert journal(1000) == store.journal(key())


def test_a_batch_packs_every_run(store: PostgresStore) -> None:
    """Those whose turn was refused keep what they have."""
    leases = [begin(store, f"run-{number}", events=journal(127)) for number in range(4)]
    batch = [turn(lease, 127) for lease in leases]
    batch[2] = turn(leases[2]._replace(fence=7), 127)

    store.commit(batch)

    assert (3 + 127, [BLOCK_SIZE] * 3) == kept(store)
    assert [journal(128), journal(127)] == [store.journal(key(f"run-{number}")) for number in (1, 2)]


def test_a_reader_misses_nothing_while_rows_become_blocks(opened: Callable[[str], PostgresStore], url: str) -> None:
    """It sees rows or the block, never both and never neither."""
    one, other = opened(url), opened(url)
    lease = begin(one)
    done = threading.Event()

    def write() -> None:
        try:
            grow(one, lease, 1, to=1500, step=5)
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            events = other.journal(key())
            assert journal(len(events)) == events

    together(write, read, read)

    assert journal(1500) == other.journal(key())


def test_packing_that_fails_harms_nobody(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows stay, and the next block is packed as usual."""
    lease = begin(store)

    def fail(*_: object) -> None:
        raise StoreUnavailable(store.url, "no room")

    with monkeypatch.context() as patch:
        patch.setattr("replay_postgres.store.pack_rows", fail)
        grow(store, lease, 1, to=130, step=10)
    grow(store, lease, 130, to=300, step=10)

    assert (128 + 300 % BLOCK_SIZE, [2 * BLOCK_SIZE]) == kept(store)
    assert journal(300) == store.journal(key())


def test_packing_twice_is_packing_once(store: PostgresStore) -> None:
    """Two that try it at the same moment do not double anything."""
    lease = begin(store, events=journal(127))
    grow(store, lease, 127, to=128)
    pk = store._with(lambda hot: hot.ask("SELECT pk FROM @runs"))[0][0]

    store._with(lambda hot: pack_rows(hot, [(pk, 2, BLOCK_SIZE)]))

    assert (1, [BLOCK_SIZE]) == kept(store)


def test_damaged_rows_are_not_packed(store: PostgresStore) -> None:
    """A block would vouch for what is wrong."""
    lease = begin(store, events=journal(100))
    store._with(lambda hot: hot.ask("UPDATE @events SET payload = 'x' WHERE seq = 50"))

    grow(store, lease, 100, to=140, step=10)

    assert (140, []) == kept(store)
    with pytest.raises(JournalDamaged, match="#50"):
        store.journal(key())


@pytest.mark.parametrize("harm", ["data = set_byte(data, 900, get_byte(data, 900) # 1)", "data = substr(data, 1, 500)", "data = ''"])
def test_a_damaged_block_is_found(store: PostgresStore, harm: str) -> None:
    """What lies before it can still be read."""
    store.create([order(events=journal(300))])
    store._with(lambda hot: hot.ask(f"UPDATE @blocks SET {harm} WHERE last = 256"))

    with pytest.raises(JournalDamaged):
        store.journal(key())
    assert journal(128) == store.journal(key(), limit=128)


def test_deleting_leaves_nothing(store: PostgresStore, cluster: TemporaryCluster) -> None:
    """No row of any table, but the ends of topics, whose offsets must not come again."""
    lease = begin(store, events=journal(400), tags={"a": "b"}, state={"a": b"b"})
    store.commit([turn(lease, 400, status="continued", successor=order(tags={"c": "d"}))])
    finish(store, "other")
    store.commit([turn(take(store).lease, 1, status="completed")])

    assert 3 == store.delete([key(), key("order-1~1"), key("other")])

    with cluster.connection() as connection:
        tables = ("runs", "events", "blocks", "tags", "state", "messages")
        counts = [
            connection.execute(f"SELECT count(*) FROM {store._address.schema}.replay_{name}".encode()).fetchone() for name in tables
        ]
    assert [(0,)] * 6 == counts
    assert [] == store.read(SHOP, "news")
