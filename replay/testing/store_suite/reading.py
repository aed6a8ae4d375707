"""Reading: journals, pages of runs, topics and blobs; and what is damaged is never handed out as whole."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from replay.errors import InvalidRequest, JournalDamaged, StoreUnavailable
from replay.store.contract import Filter, Lease, Posted, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
    SHOP,
    TTL,
    StoreCase,
    apply,
    begin,
    deliver,
    finish,
    journal,
    key,
    look,
    order,
    park,
    ready,
    signal,
    take,
    texts,
    together,
    turn,
    wish,
)

PATIENCE: Final = 30.0
"""Seconds after which nobody was told."""


def found(store: Store, limit: int = 100, **query: Any) -> list[str]:
    """Ids of the runs that a query finds, in order."""
    return [run.key.id for run in store.find(Filter(**{"namespace": SHOP, **query}), limit=limit).runs]


class Reading(StoreCase):
    """What everything else promises."""

    # ---- journals -------------------------------------------------------------------------------------------------------

    def test_a_journal_can_be_read_in_parts(self, store: Store) -> None:
        """After a seq, up to a number of events; past its end there is nothing."""
        store.create([order(events=journal(10))])

        assert journal(10)[4:7] == store.journal(key(), after=4, limit=3)
        assert journal(10)[8:] == store.journal(key(), after=8)
        assert [] == store.journal(key(), after=10)
        assert [] == store.journal(key(), after=99)
        assert [] == store.journal(key(), limit=0)

    def test_journals_do_not_mix(self, store: Store) -> None:
        """Not even of runs whose names are alike, in two namespaces."""
        store.create([order("a"), order("a", key=key("a", "bank"), events=journal(3)), order("a~1", events=journal(2))])

        assert [1, 3, 2] == [len(store.journal(run)) for run in (key("a"), key("a", "bank"), key("a~1"))]

    def test_a_flipped_bit_is_found(self, store: Store) -> None:
        """The error names run and event; what lies before can still be read."""
        store.create([order(events=journal(5))])
        self.damage(store, key(), 3)

        with pytest.raises(JournalDamaged) as caught:
            store.journal(key())

        assert ("order-1", 3) == (caught.value.run, caught.value.seq)
        assert journal(2) == store.journal(key(), limit=2)

    @pytest.mark.parametrize("seq", [1, 3, 5])
    def test_a_missing_event_is_found(self, store: Store, seq: int) -> None:
        """The first one, one in the middle, and the last."""
        store.create([order(events=journal(5))])
        self.lose(store, key(), seq)

        with pytest.raises(JournalDamaged) as caught:
            store.journal(key())

        assert ("order-1", seq) == (caught.value.run, caught.value.seq)

    def test_a_damaged_run_is_set_aside(self, store: Store) -> None:
        """It is given to nobody, says why, and keeps nobody else from being claimed."""
        store.create([order("bad", events=journal(5), priority=1), order("good")])
        self.damage(store, key("bad"), 4)

        assert ["good"] == ready(store)
        run = look(store, "bad")
        assert ("stuck", "", None) == (run.status, run.worker, run.ready_at)
        assert "#4" in run.note
        assert [] == ready(store, "ben")

    def test_a_damaged_run_is_tried_again_when_it_is_resumed(self, store: Store) -> None:
        """Whoever restored it says so."""
        store.create([order(events=journal(5), base=4)])
        self.damage(store, key(), 5)
        ready(store)
        self.damage(store, key(), 5)  # to flip a bit twice is to restore it

        deliver(store, signal(kind="resume"))

        assert [1, 4, 5] == [event.seq for event in take(store).journal]

    # ---- finding --------------------------------------------------------------------------------------------------------

    def test_runs_are_found_newest_first(self, store: Store, clock: VirtualClock) -> None:
        """By the moment of creation, whatever became of them; of one moment, by id."""
        for name in ("b", "d", "a"):
            begin(store, name)
            clock.advance(1)
        store.create([order("c1"), order("c3"), order("c2")])
        park(store, "b2")
        clock.advance(1)
        apply(store, turn(take(store, limit=1).lease, 1))

        assert ["c3", "c2", "c1", "b2", "a", "d", "b"] == found(store)

    def test_a_query_narrows_by_all_that_it_names(self, store: Store, clock: VirtualClock) -> None:
        """Each filter alone, and together."""
        store.create([order("a", tags={"who": "ann", "size": "XL"}), order("b", workflow="refund", tags={"who": "ann"})])
        clock.advance(1)
        finish(store, "c", tags={"who": "ben"})
        clock.advance(1)
        store.create([order("d", parent="a", tags={"who": "ann", "size": "XL"}), order("e", key=key("e", "bank"))])

        after, before = NOON + SECOND, NOON + 2 * SECOND
        expected: dict[str, dict[str, Any]] = {
            "dcba": {},
            "e": {"namespace": "bank"},
            "b": {"workflow": "refund"},
            "dca": {"workflow": "order"},
            "c": {"statuses": ["completed"]},
            "cd": {"statuses": ["pending", "completed"], "created_after": after},
            "": {"statuses": []},
            "dba": {"tags": {"who": "ann"}},
            "da": {"tags": {"who": "ann", "size": "XL"}},
            "dc": {"created_after": after},
            "cba": {"created_before": before},
            " c": {"created_after": after, "created_before": before},
            " d": {"parent": "a"},
            " a": {"prefix": "a"},
            " da": {"tags": {"size": "XL"}, "workflow": "order", "statuses": ["pending"]},
        }
        for names, query in expected.items():
            assert sorted(names.strip()) == sorted(found(store, **query)), query

    def test_an_empty_parent_is_no_filter_for_children(self, store: Store) -> None:
        """None asks for all, the empty word for runs that nobody waits for."""
        store.create([order("a"), order("b", parent="a")])

        assert (["b", "a"], ["a"]) == (found(store), found(store, parent=""))

    def test_tags_are_compared_whole(self, store: Store) -> None:
        """Name and value, to the letter, also where they look like patterns, paths or quotes."""
        tags = {"a.b": "x%", "q\"uo'te": "[1]", "$.who": "ann", "größe": "ß", "a": "1"}
        store.create([order("a", tags=tags), order("b", tags={"a.b": "xy", "a": "10", "größe": "ẞ"}), order("c")])

        for name, word in tags.items():
            assert ["a"] == found(store, tags={name: word})
        assert [] == found(store, tags={"a": "", "who": "ann"})
        assert [] == found(store, tags={"A": "1"})

    @pytest.mark.parametrize("prefix", ["order_", "order%", "order[a]", "Order", "order*", "ord\\", "größe/", "order_1", "ΩΩ"])
    def test_a_prefix_is_taken_literally(self, store: Store, prefix: str) -> None:
        """It is no pattern, and case matters."""
        names = [
            "order_1",
            "order%1",
            "orderX1",
            "order[a]1",
            "ordera1",
            "Order_1",
            "order*1",
            "ord\\er",
            "größe/1",
            "ΩΩ1",
            "ωω1",
        ]
        store.create([order(name) for name in names])

        assert sorted(name for name in names if name.startswith(prefix)) == sorted(found(store, prefix=prefix))

    def test_tags_that_were_set_later_are_found(self, store: Store) -> None:
        """And those that were removed are not."""
        lease = begin(store, tags={"old": "1", "who": "ann"})
        apply(store, turn(lease, 1, tags={"old": "", "new": "2", "who": "ben"}))

        queries = [{"old": "1"}, {"who": "ann"}, {"new": "2"}, {"who": "ben", "new": "2"}]

        assert [[], [], ["order-1"], ["order-1"]] == [found(store, tags=tags) for tags in queries]

    @pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 30])
    def test_pages_make_up_the_whole(self, store: Store, clock: VirtualClock, total: int) -> None:
        """Ten at a time, some created in the same moment; the last page has no cursor."""
        for number in range(total):
            store.create([order(f"run-{number:02}")])
            clock.advance(number % 3)

        pages = [store.find(Filter(namespace=SHOP), limit=10)]
        while pages[-1].cursor:
            pages.append(store.find(Filter(namespace=SHOP), limit=10, cursor=pages[-1].cursor))

        assert found(store) == [run.key.id for page in pages for run in page.runs]
        assert max(1, -(-total // 10)) == len(pages)

    def test_pages_are_steady_while_runs_are_created(self, store: Store, clock: VirtualClock) -> None:
        """What was there when the first page was read is shown once, whatever comes meanwhile."""
        store.create([order(f"run-{number:02}") for number in range(25)])
        page = store.find(Filter(namespace=SHOP, workflow="order"), limit=10)
        shown = [run.key.id for run in page.runs]
        while page.cursor:
            clock.advance(1)
            store.create([order(f"new-{len(shown)}-{number}") for number in range(7)])
            page = store.find(Filter(namespace=SHOP, workflow="order"), limit=10, cursor=page.cursor)
            shown += [run.key.id for run in page.runs]

        assert [f"run-{number:02}" for number in reversed(range(25))] == shown

    def test_pages_pass_over_runs_that_were_removed(self, store: Store, clock: VirtualClock) -> None:
        """Also when the run that a cursor points at is gone."""
        for number in range(6):
            finish(store, f"run-{number}")
            clock.advance(1)
        page = store.find(Filter(namespace=SHOP), limit=2)
        store.delete([page.runs[-1].key, key("run-3")])

        rest = store.find(Filter(namespace=SHOP), limit=2, cursor=page.cursor)

        assert ["run-2", "run-1"] == [run.key.id for run in rest.runs]

    def test_a_cursor_that_is_none_is_refused(self, store: Store) -> None:
        """The caller errs; it is not shown the first page again."""
        with pytest.raises(InvalidRequest):
            store.find(Filter(namespace=SHOP), cursor="no cursor")

    # ---- deleting -------------------------------------------------------------------------------------------------------

    def test_closed_runs_can_be_removed(self, store: Store) -> None:
        """With entry and journal; open ones and unknown ones are passed over."""
        finish(store, "closed")
        begin(store, "held")
        park(store, "asleep")

        assert 1 == store.delete([key("closed"), key("held"), key("asleep"), key("nobody")])
        assert [] == store.journal(key("closed"))
        assert ["asleep", "held"] == sorted(found(store))
        assert 0 == store.delete([])

    def test_an_id_that_was_removed_is_free(self, store: Store) -> None:
        """A run that is created under it afterwards knows nothing of the old one."""
        lease = begin(store, events=journal(5))
        deliver(store, signal("m1"), signal("m2"))
        apply(store, turn(lease, 5, consumed=["m1"], status="completed"))
        store.delete([key()])
        assert [Posted.UNKNOWN] == store.post([signal("m1")])

        answer = store.create([order()])[0]

        assert (True, 1) == (answer.new, len(store.journal(key())))
        deliver(store, signal("m1"))
        assert ["m1"] == texts(take(store).mail)

    # ---- topics ---------------------------------------------------------------------------------------------------------

    def test_entries_of_a_topic_are_read_in_order(self, store: Store, clock: VirtualClock) -> None:
        """From any offset, in parts, with the moment of publishing."""
        store.publish(SHOP, [("news", b"%d" % number) for number in range(5)])
        clock.advance(1)
        store.publish(SHOP, [("news", b"5")])

        entries = store.read(SHOP, "news")

        assert [b"0", b"1", b"2", b"3", b"4", b"5"] == [entry.payload for entry in entries]
        assert [NOON] * 5 + [NOON + SECOND] == [entry.at for entry in entries]
        assert entries[3:5] == store.read(SHOP, "news", after=entries[2].offset, limit=2)
        assert [] == store.read(SHOP, "news", after=entries[-1].offset)

    def test_offsets_grow(self, store: Store) -> None:
        """From above zero, whatever is published elsewhere meanwhile."""
        for number in range(10):
            store.publish(SHOP, [("news", b""), ("other", b""), ("news", b"")])
            store.publish("bank", [("news", b"%d" % number)])

        offsets = [entry.offset for entry in store.read(SHOP, "news")]

        assert 20 == len(offsets)
        assert offsets == sorted(set(offsets))
        assert offsets[0] > 0

    def test_topics_do_not_mix(self, store: Store) -> None:
        """Neither do those of two namespaces; one that nobody published to is empty."""
        store.publish(SHOP, [("news", b"a"), ("news/2", b"b")])
        store.publish("bank", [("news", b"c")])

        topics = [(SHOP, "news"), (SHOP, "news/2"), ("bank", "news"), ("bank", "news/2"), (SHOP, "new%")]

        assert [[b"a"], [b"b"], [b"c"], [], []] == [[entry.payload for entry in store.read(*topic)] for topic in topics]

    # ---- blobs ----------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 1_000, 5_000_000])
    def test_a_blob_is_found_by_what_it_is(self, store: Store, size: int) -> None:
        """Its name is its SHA-256, and keeping it twice is keeping it once."""
        data = (bytes(range(256)) * (size // 256 + 1))[:size]

        name = store.put_blob(data)

        assert hashlib.sha256(data).hexdigest() == name == store.put_blob(data)
        assert data == store.get_blob(name)

    @pytest.mark.parametrize("name", ["0" * 64, "", "../blob", "é", "0" * 63])
    def test_a_blob_that_is_not_there_is_an_error(self, store: Store, name: str) -> None:
        """Whatever the name looks like."""
        store.put_blob(b"other")

        with pytest.raises(JournalDamaged):
            store.get_blob(name)

    # ---- waiting and closing --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("change", ["create", "post", "commit", "release", "publish"])
    def test_a_change_wakes_who_waits(self, store: Store, change: str) -> None:
        """Made by another thread, through the same store; twenty times, so that it surely slept at one of them."""
        leases = [begin(store, f"run-{number}") for number in range(20)]
        changes: dict[str, Callable[[Lease], object]] = {
            "create": lambda lease: store.create([order(f"new-{lease.key.id}")]),
            "post": lambda lease: store.post([signal(run=lease.key.id)]),
            "commit": lambda lease: store.commit([turn(lease, 1)]),
            "release": lambda lease: store.release([lease]),
            "publish": lambda _: store.publish(SHOP, [("news", b"1")]),
        }
        turns = threading.Semaphore(0)

        def wait() -> float:
            seen, slowest = store.wait(0, 0), 0.0
            for _ in leases:
                turns.release()
                begun = time.monotonic()
                seen = store.wait(seen, PATIENCE)
                slowest = max(slowest, time.monotonic() - begun)
                if slowest >= PATIENCE:
                    turns.release(len(leases))
                    break
            return slowest

        def act() -> float:
            for lease in leases:
                turns.acquire()
                changes[change](lease)
            return 0.0

        assert max(together(wait, act)) < PATIENCE

    def test_who_waits_in_vain_is_not_kept(self, store: Store) -> None:
        """After the time that it gave, it goes on, and what it saw stays good."""
        seen = store.wait(0, 0)

        assert seen == store.wait(seen, 0) == store.wait(seen, 0.01)

    def test_a_closed_store_says_so(self, store: Store, clock: VirtualClock) -> None:
        """Every verb is an error that names the store; closing again is none."""
        lease = begin(store)
        store.close()
        store.close()
        verbs: list[Any] = [
            lambda: store.create([order("new")]),
            lambda: store.claim(wish()),
            lambda: store.renew([lease], ttl=TTL),
            lambda: store.release([lease]),
            lambda: store.commit([turn(lease, 1)]),
            lambda: store.post([signal()]),
            lambda: store.journal(key()),
            lambda: store.get([key()]),
            lambda: store.find(Filter()),
            lambda: store.delete([key()]),
            lambda: store.publish(SHOP, [("news", b"1")]),
            lambda: store.read(SHOP, "news"),
            lambda: store.put_blob(b"1"),
            lambda: store.get_blob("0" * 64),
        ]

        for verb in verbs:
            with pytest.raises(StoreUnavailable):
                verb()
