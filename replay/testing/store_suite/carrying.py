"""What a store carries comes back as it was: large, empty, foreign, or strange."""

# ruff: noqa: SIM300 - expected value first is the house's order
# ruff: noqa: RUF001 - strange letters are the subject

from __future__ import annotations

from typing import Final

import pytest

from replay.model.events import KINDS
from replay.store.contract import Filter, Store
from replay.testing.clock import NOON
from replay.testing.store_suite.case import (
    FALSY,
    SHOP,
    StoreCase,
    answered,
    apply,
    begin,
    deliver,
    key,
    look,
    order,
    ready,
    signal,
    started,
    take,
    texts,
    turn,
    wish,
)

STRANGE: Final = (
    "🛒-42-👩‍👩‍👧",
    "הזמנה-٤٢",
    "日本語/ご注文",
    "a/b//c/",
    "/etc/passwd",
    "..",
    "../../up",
    ".",
    'it\'s "quoted" `here`',
    "'; drop table runs; --",
    "100%",
    "%00%2F%s%(x)s{0}",
    "under_score*?[a-z]",
    "back\\slash\\n",
    " led and trailed ",
    "tab\tline\nreturn\r",
    "null",
    "0",
    "~",
    "#?&=+;:,@!$",
    "x" * 200,
    "é" * 100,
)
ALIKE: Final = ("order", "Order", "ORDER", "order ", " order", "ordеr", "caf\u00e9", "cafe\u0301", "1", "01", "1.0", "ﬀ", "ff")
"""Names that a careless index takes for each other: case, blanks, a Cyrillic letter, two spellings of one accent, numbers."""


class Carrying(StoreCase):
    """What every payload and every name may be."""

    @pytest.mark.parametrize("name", STRANGE)
    def test_a_run_may_have_any_name(self, store: Store, name: str) -> None:
        """Created, told, claimed, committed, read, found and continued like any other."""
        store.create([order(name), order("plain")])
        deliver(store, signal(name, name))
        claimed = next(item for item in store.claim(wish()).runs if item.run.key == key(name))
        apply(store, turn(claimed.lease, 1, consumed=[name], tags={name: name}, topics=[(name, b"1")], state={name: b"1"}))

        assert [started(), answered(2)] == store.journal(key(name))
        assert [name] == texts(claimed.mail)
        assert [name] == [run.key.id for run in store.find(Filter(namespace=SHOP, tags={name: name}, prefix=name)).runs]
        assert [b"1"] == [entry.payload for entry in store.read(SHOP, name)]
        assert {name: b"1"} == look(store, name).state
        apply(store, turn(claimed.lease, 2, status="continued", successor=order(name)))
        assert 3 == look(store, f"{name}~1").seq

    @pytest.mark.parametrize("name", STRANGE)
    def test_namespaces_queues_and_workflows_may_have_any_name(self, store: Store, name: str) -> None:
        """And workers, too."""
        store.create([order(key=key("a", name), queue=name, workflow=name, parent=name, version=name, digest=name)])

        claims = store.claim(wish(name, namespace=name, queues=[name], workflows=[name]))

        assert [(name, "a", name)] == [(*claimed.run.key, claimed.run.worker) for claimed in claims.runs]
        assert ["a"] == [run.key.id for run in store.find(Filter(namespace=name, workflow=name, parent=name)).runs]

    def test_names_that_look_alike_are_different(self, store: Store) -> None:
        """As runs, as messages and as topics."""
        store.create([order(name, digest=str(place)) for place, name in enumerate(ALIKE)])
        begin(store, "reader", "ben")
        deliver(store, *(signal(name, "reader") for name in ALIKE))
        store.publish(SHOP, [(name, name.encode()) for name in ALIKE])

        assert [str(place) for place in range(len(ALIKE))] == [look(store, name).digest for name in ALIKE]
        assert list(ALIKE) == texts(store.claim(wish("ben", limit=0)).mail)
        assert [[name.encode()] for name in ALIKE] == [[item.payload for item in store.read(SHOP, name)] for name in ALIKE]

    @pytest.mark.parametrize("payload", FALSY)
    def test_a_payload_that_looks_like_nothing_is_kept(self, store: Store, payload: bytes) -> None:
        """In events, state, results, topics, blobs and messages of a commit."""
        lease = begin(store, events=[started(payload=payload)])
        begin(store, "friend", "ben")
        apply(
            store,
            turn(
                lease,
                1,
                events=[answered(2, payload)],
                state={"key": payload},
                topics=[("news", payload)],
                posts=[signal(run="friend", payload=payload)],
                status="completed",
                result=payload,
            ),
        )

        run = look(store)
        assert [payload, payload] == [event.payload for event in store.journal(key())]
        assert ({"key": payload}, payload) == (run.state, run.result)
        assert [payload] == [entry.payload for entry in store.read(SHOP, "news")]
        assert [payload] == [message.payload for message in store.claim(wish("ben")).mail]
        assert payload == store.get_blob(store.put_blob(payload))

    def test_a_large_payload_is_kept(self, store: Store) -> None:
        """A megabyte in an event, in a message, in state, in a result."""
        large = bytes(range(256)) * 4096
        lease = begin(store, events=[started(payload=large)])
        deliver(store, signal(payload=large))
        message = store.claim(wish(limit=0)).mail[0]
        apply(store, turn(lease, 1, events=[answered(2, large)], state={"key": large}, status="completed", result=large))

        run = look(store)
        assert (large, large, large) == (message.payload, run.state["key"], run.result)
        assert [started(payload=large), answered(2, large)] == store.journal(key())

    def test_a_long_journal_is_kept(self, store: Store) -> None:
        """Three thousand events of every kind, in turns of all sizes."""
        lease = begin(store)
        events = [started()]
        while len(events) < 3000:
            place = len(events)
            size = place * 7 % 400 + 1
            more = [answered(seq, b"%d" % seq)._replace(kind=KINDS[seq % len(KINDS)]) for seq in range(place + 1, place + 1 + size)]
            apply(store, turn(lease, place, events=more))
            events += more
        store.release([lease])

        assert events == store.journal(key())
        assert events == list(take(store).journal)
        assert events[1234:1300] == store.journal(key(), after=1234, limit=66)

    def test_numbers_are_kept_at_their_edges(self, store: Store) -> None:
        """Moments after the year 2200, the largest checksum, negative and large priorities."""
        far = 7_258_118_400_000_000
        edge = answered(2)._replace(at=far, check=2**32 - 1, attempt=2**31 - 1, duration=2**53)
        lease = begin(store, priority=-(2**31))
        apply(store, turn(lease, 1, events=[edge], wake_at=far, status="waiting", release=True))
        store.create([order("top", priority=2**31 - 1, ready_at=1)])

        assert edge == store.journal(key())[1]
        run = look(store)
        assert (far, far, NOON, -(2**31)) == (run.ready_at, run.wake_at, run.created_at, run.priority)
        assert ["top"] == ready(store)
