"""Messages: none is lost, none is told twice, and they wake whom they should."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

from functools import partial

import pytest

from replay.store.contract import MESSAGE_KINDS, Message, Posted, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
    FALSY,
    TTL,
    StoreCase,
    apply,
    begin,
    deliver,
    finish,
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

OTHERS = sorted(set(MESSAGE_KINDS) - {"terminate", "resume"})


class Messaging(StoreCase):
    """What ``post`` and the mail of claims promise."""

    def test_a_message_arrives_as_it_was_posted(self, store: Store, clock: VirtualClock) -> None:
        """Field for field; the moment is the store's."""
        park(store)
        clock.advance(1)
        message = Message("m:1/é", key(), "answer", "step_completed", b"\x00\xff", command="0/1", at=12345)

        deliver(store, message)

        assert [message._replace(at=NOON + SECOND)] == list(take(store).mail)

    def test_each_message_has_its_answer(self, store: Store) -> None:
        """In order: delivered, told already, nobody there, closed; and none disturbs the others."""
        park(store)
        finish(store, "closed")
        batch = [signal("a"), signal("b", "nobody"), signal("a"), signal("c", "closed"), signal("d")]

        answers = store.post(batch)

        assert [Posted.DELIVERED, Posted.UNKNOWN, Posted.DUPLICATE, Posted.CLOSED, Posted.DELIVERED] == answers
        assert ["a", "d"] == texts(take(store).mail)
        assert [] == store.post([])

    def test_messages_are_shown_in_the_order_of_posting(self, store: Store) -> None:
        """Whatever their ids, kinds and moments, in one call or in many."""
        park(store)
        names = [f"m{number * 37 % 100}" for number in range(100)]
        deliver(store, *(signal(name, kind=MESSAGE_KINDS[place % 3]) for place, name in enumerate(names[:50])))
        for name in names[50:]:
            deliver(store, signal(name))

        assert names == texts(take(store).mail)

    def test_messages_are_shown_until_they_are_consumed(self, store: Store) -> None:
        """Their reader may die as often as it likes."""
        park(store)
        deliver(store, signal("m1"), signal("m2"))
        for _ in range(3):
            claimed = take(store)
            assert ["m1", "m2"] == texts(claimed.mail)
            store.release([claimed.lease])

    def test_a_message_is_told_once(self, store: Store) -> None:
        """Posted again before it was read, its second content is ignored."""
        park(store)
        deliver(store, signal("m1", payload=b"1"))

        assert [Posted.DUPLICATE] == store.post([signal("m1", payload=b"2", kind="cancel")])
        assert [b"1"] == [message.payload for message in take(store).mail]

    def test_a_consumed_message_is_not_told_again(self, store: Store) -> None:
        """Nor does it wake the run: an answer that is sent twice, late, is still one answer."""
        park(store)
        deliver(store, signal("m1"))
        apply(store, turn(take(store).lease, 2, consumed=["m1"], status="waiting", release=True))

        assert [Posted.DUPLICATE] == store.post([signal("m1")])
        assert None is look(store).ready_at
        deliver(store, signal("m2"))
        assert ["m2"] == texts(take(store).mail)

    def test_an_id_of_a_message_belongs_to_its_run(self, store: Store) -> None:
        """Two runs, and two namespaces, may each be told ``m1``."""
        park(store, "a")
        park(store, "b")
        store.create([order(key=key("a", "bank"))])

        deliver(store, signal("m1", "a"), signal("m1", "b"), signal("m1", key=key("a", "bank")))

        assert {"a": ["m1"], "b": ["m1"]} == {claimed.run.key.id: texts(claimed.mail) for claimed in store.claim(wish()).runs}

    def test_a_closed_run_that_knew_a_message_says_so(self, store: Store) -> None:
        """Whoever asks again after a lost answer must not take its message for refused."""
        lease = begin(store)
        deliver(store, signal("m1"))
        apply(store, turn(lease, 1, consumed=["m1"], status="completed"))

        assert [Posted.DUPLICATE] == store.post([signal("m1")])
        assert [Posted.CLOSED] == store.post([signal("m2")])

    @pytest.mark.parametrize("payload", FALSY)
    def test_a_payload_is_what_was_posted(self, store: Store, payload: bytes) -> None:
        """Nothing turns into nothing."""
        park(store)
        deliver(store, signal(payload=payload))

        assert [payload] == [message.payload for message in take(store).mail]

    # ---- whom they wake -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", MESSAGE_KINDS)
    def test_any_message_wakes_a_waiting_run(self, store: Store, kind: str) -> None:
        """At once, also when its timer is due later."""
        park(store, wake_at=NOON + 900 * SECOND)

        deliver(store, signal(kind=kind))

        assert NOON == look(store).ready_at
        assert [kind] == [message.kind for message in take(store).mail]

    def test_a_message_does_not_put_off_what_is_due(self, store: Store, clock: VirtualClock) -> None:
        """A run that has been ready for an hour keeps its place in the queue."""
        store.create([order()])
        clock.advance(3600)

        deliver(store, signal())

        assert NOON == look(store).ready_at

    def test_a_message_wakes_a_run_that_begins_later(self, store: Store) -> None:
        """A delayed run can be cancelled before its time."""
        store.create([order(ready_at=NOON + 900 * SECOND)])

        deliver(store, signal(kind="cancel"))

        assert ["cancel"] == [message.kind for message in take(store).mail]

    def test_a_message_takes_nothing_from_its_holder(self, store: Store) -> None:
        """A run that someone holds stays held until its lease ends."""
        lease = begin(store, worker="ann")

        deliver(store, signal())

        assert ("ann", lease.until) == (look(store).worker, look(store).ready_at)
        assert [] == ready(store, "ben")

    def test_a_holder_sees_messages_at_its_next_claim(self, store: Store) -> None:
        """Though it takes no run; again and again until they are consumed; and nobody else sees them."""
        lease = begin(store, worker="ann")
        deliver(store, signal("m1"), signal("m2"))

        seen = [texts(store.claim(wish(name, limit=0)).mail) for name in ("ann", "ben", "ann")]

        assert [["m1", "m2"], [], ["m1", "m2"]] == seen
        apply(store, turn(lease, 1, consumed=["m1"]))
        assert ["m2"] == texts(store.claim(wish("ann")).mail)

    def test_a_holder_sees_mail_for_all_that_it_holds(self, store: Store) -> None:
        """Of every queue and workflow, but of that namespace, and no other run's."""
        begin(store, "a")
        begin(store, "b", queue="gpu", workflow="refund")
        begin(store, "c", key=key("c", "bank"))
        begin(store, "d", "ben")
        deliver(store, *(signal(f"to-{run}", run) for run in "abd"), signal("to-c", key=key("c", "bank")))

        assert ["to-a", "to-b"] == sorted(texts(store.claim(wish("ann")).mail))
        assert ["to-c"] == texts(store.claim(wish("ann", namespace="bank")).mail)

    def test_a_run_that_was_just_taken_brings_its_mail_itself(self, store: Store) -> None:
        """It is not told twice in one answer."""
        park(store)
        deliver(store, signal())

        claims = store.claim(wish())

        assert (["m1"], []) == (texts(claims.runs[0].mail), texts(claims.mail))

    def test_mail_for_a_lease_that_ended_goes_to_the_next_holder(self, store: Store, clock: VirtualClock) -> None:
        """The old one has no business with it any more."""
        begin(store, worker="ann")
        deliver(store, signal())
        clock.advance(TTL / SECOND)

        assert [] == texts(store.claim(wish("ann", limit=0)).mail)
        assert ["m1"] == texts(take(store, "ben").mail)
        assert [] == texts(store.claim(wish("ann")).mail)

    @pytest.mark.parametrize("kind", OTHERS)
    def test_a_paused_run_sleeps_on(self, store: Store, kind: str) -> None:
        """The message is kept, and read when the run is resumed."""
        park(store, status="paused")

        deliver(store, signal("m1", kind=kind))
        assert (None, []) == (look(store).ready_at, ready(store))

        deliver(store, signal("m2", kind="resume"))
        assert ["m1", "m2"] == texts(take(store).mail)

    @pytest.mark.parametrize("kind", ["resume", "terminate"])
    def test_a_paused_run_can_be_resumed_and_terminated(self, store: Store, kind: str) -> None:
        """These wake it, also when they came while it was being paused."""
        park(store, "before", status="paused")
        deliver(store, signal(run="before", kind=kind))
        lease = begin(store, "meanwhile")
        deliver(store, signal(run="meanwhile", kind=kind))
        apply(store, turn(lease, 1, status="paused", release=True))

        assert ["before", "meanwhile"] == sorted(ready(store))

    def test_a_run_that_is_being_paused_leaves_its_mail(self, store: Store) -> None:
        """What it has not read does not keep a paused run awake."""
        lease = begin(store)
        deliver(store, signal())

        apply(store, turn(lease, 1, status="paused", release=True))

        assert None is look(store).ready_at

    def test_a_stuck_run_is_tried_again_when_a_message_comes(self, store: Store) -> None:
        """Once: its old mail does not keep it awake for ever."""
        park(store, status="stuck")
        deliver(store, signal("m1"))
        lease = take(store).lease
        apply(store, turn(lease, 2, events=[], status="stuck", note="still", wake_at=NOON + SECOND, release=True))

        assert NOON + SECOND == look(store).ready_at
        deliver(store, signal("m2"))
        assert ["m1", "m2"] == texts(take(store).mail)

    def test_a_stuck_run_that_is_resumed_is_awake(self, store: Store) -> None:
        """Also when the message came while it was being set aside."""
        lease = begin(store)
        deliver(store, signal(kind="resume"))

        apply(store, turn(lease, 1, status="stuck", release=True))

        assert ["order-1"] == ready(store)

    def test_racing_senders_lose_and_double_nothing(self, store: Store) -> None:
        """Eight threads post the same fifty messages: each is delivered by one of them."""
        park(store)
        names = [f"m{number}" for number in range(50)]

        answers = together(*(lambda: [store.post([signal(name)])[0] for name in names] for _ in range(8)))

        delivered = [sum(answer[place] is Posted.DELIVERED for answer in answers) for place in range(50)]
        assert [1] * 50 == delivered
        assert sorted(names) == sorted(texts(take(store).mail))

    def test_a_message_that_races_with_parking_is_not_lost(self, store: Store) -> None:
        """Either the turn's end sees it, or it wakes the run: afterwards the run is ready with its mail."""
        for number in range(25):
            commit = turn(begin(store, f"run-{number}"), 1, status="waiting", release=True)
            message = signal(run=f"run-{number}")
            together(partial(apply, store, commit), partial(deliver, store, message))

        runs = store.claim(wish()).runs

        assert [["m1"]] * 25 == [texts(claimed.mail) for claimed in runs]
