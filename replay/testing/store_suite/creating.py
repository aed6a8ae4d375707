"""Creating runs: idempotent on the key, and the creator may hold what it created."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import attrs
import pytest

from replay.store.contract import Created, Lease, NewRun, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
    SHOP,
    TTL,
    StoreCase,
    answered,
    begin,
    journal,
    key,
    look,
    order,
    ready,
    started,
    take,
    together,
    wish,
)


class Creating(StoreCase):
    """What ``create`` promises."""

    def test_a_created_run_is_shown_as_it_was_asked_for(self, store: Store) -> None:
        """Every field of the request is a field of the index entry."""
        new = NewRun(
            key=key(),
            workflow="order",
            version="v7",
            queue="gpu",
            digest="d1",
            events=journal(3),
            priority=-2,
            ready_at=NOON + 5,
            parent="cart-1",
            parent_command="0/1",
            tags={"customer": "ann", "größe": "XL"},
            state={"progress": b"0.5"},
            base=2,
            applied=3,
            source="order-0#3",
        )

        run = store.create([new])[0].run

        asked = attrs.asdict(new, recurse=False)
        del asked["events"]
        assert asked == {name: getattr(run, name) for name in asked}

    def test_a_created_run_begins_unheld(self, store: Store) -> None:
        """Nobody has claimed it yet, and it is ready since its creation."""
        run = store.create([order()])[0].run

        assert ("pending", 1, 0, "", 0, NOON, None, "") == (
            run.status,
            run.seq,
            run.fence,
            run.worker,
            run.recoveries,
            run.ready_at,
            run.wake_at,
            run.note,
        )
        assert (NOON, NOON) == (run.created_at, run.updated_at)

    def test_what_was_created_is_what_get_answers(self, store: Store) -> None:
        """Creation and look-up show the same entry."""
        run = store.create([order(tags={"a": "b"}, state={"k": b"v"})])[0].run

        assert [run] == store.get([key()])

    def test_creating_twice_is_creating_once(self, store: Store) -> None:
        """The second answer is the run as it is, and is not new."""
        first = store.create([order()])[0]

        assert [Created(first.run, new=False)] == store.create([order()])
        assert [started()] == store.journal(key())

    def test_creating_with_another_digest_changes_nothing(self, store: Store) -> None:
        """To compare digests is the caller's business: it is shown the run that has the id."""
        store.create([order()])

        answer = store.create([order(digest="d2", workflow="refund", events=journal(2))])[0]

        assert (False, "d1", "order", 1) == (answer.new, answer.run.digest, answer.run.workflow, answer.run.seq)

    def test_a_run_that_has_moved_on_is_not_begun_again(self, store: Store) -> None:
        """The answer shows the run as it is now, whoever holds it."""
        begin(store, worker="ann")

        answer = store.create([order()], worker="ben", ttl=TTL)[0]

        assert (False, None, "ann", 1) == (answer.new, answer.lease, answer.run.worker, answer.run.fence)

    def test_an_id_names_one_run_in_each_namespace(self, store: Store) -> None:
        """Tenants do not see each other's ids."""
        answers = store.create([order(), order(key=key(namespace="bank"), digest="d2")])

        assert [True, True] == [answer.new for answer in answers]
        assert ("d1", "d2") == (look(store).digest, look(store, namespace="bank").digest)

    def test_items_of_a_creation_are_independent(self, store: Store) -> None:
        """One that exists does not keep the others from being created, also when it comes twice in one call."""
        store.create([order("b")])

        answers = store.create([order("a"), order("b"), order("c"), order("c", digest="d2")])

        assert [True, False, True, False] == [answer.new for answer in answers]
        assert "d1" == look(store, "c").digest

    def test_creating_nothing_is_no_error(self, store: Store) -> None:
        """An empty batch has an empty answer."""
        assert [] == store.create([])

    def test_a_creator_may_hold_what_it_creates(self, store: Store) -> None:
        """Its lease is the first, and ends a TTL from now."""
        answer = store.create([order()], worker="ann", ttl=TTL)[0]

        assert Lease(key(), 1, "ann", NOON + TTL) == answer.lease
        assert ("running", "ann", 1, NOON + TTL) == (
            answer.run.status,
            answer.run.worker,
            answer.run.fence,
            answer.run.ready_at,
        )
        assert [] == ready(store, "ben")

    def test_a_creator_does_not_hold_what_begins_later(self, store: Store) -> None:
        """A delayed run belongs to whoever claims it when its time has come."""
        answer = store.create([order(ready_at=NOON + SECOND)], worker="ann", ttl=TTL)[0]

        assert (None, "", "pending") == (answer.lease, answer.run.worker, answer.run.status)

    def test_a_delayed_run_is_claimed_at_its_time(self, store: Store, clock: VirtualClock) -> None:
        """Not a microsecond before."""
        store.create([order(ready_at=NOON + SECOND)])
        clock.set(NOON + SECOND - 1)
        early = ready(store)
        clock.set(NOON + SECOND)

        assert ([], ["order-1"]) == (early, ready(store))

    def test_an_imported_run_that_is_closed_stays_closed(self, store: Store) -> None:
        """It can be read, and nobody is given it."""
        new = order(status="completed", result=b"7", events=journal(3))

        answer = store.create([new], worker="ann", ttl=TTL)[0]

        assert ("completed", b"7", 3, None, None) == (
            answer.run.status,
            answer.run.result,
            answer.run.seq,
            answer.run.ready_at,
            answer.lease,
        )
        assert [] == ready(store, "ben")

    def test_a_run_may_begin_with_many_events(self, store: Store) -> None:
        """A fork shares its past: whoever claims it is given all of it."""
        store.create([order(events=journal(400))])

        assert journal(400) == list(take(store).journal)

    def test_a_run_that_begins_at_a_savepoint_is_claimed_from_there(self, store: Store) -> None:
        """Its first event, then the savepoint and what follows."""
        store.create([order(events=journal(9), base=7)])

        assert [1, 7, 8, 9] == [event.seq for event in take(store).journal]

    def test_first_events_must_be_numbered_from_one(self, store: Store) -> None:
        """Nothing of such a call is created."""
        with pytest.raises(ValueError, match="numbered"):
            store.create([order("a"), order("b", events=[answered(2)])])

        assert [None, None] == store.get([key("a"), key("b")])

    def test_of_racing_creators_one_creates(self, store: Store) -> None:
        """It alone is given the lease; the others see its run."""
        answers = together(*(lambda name=name: store.create([order()], worker=name, ttl=TTL)[0] for name in "abcdefgh"))

        winners = [answer.lease.worker for answer in answers if answer.new and answer.lease]
        assert 1 == len(winners)
        assert set(winners) == {answer.run.worker for answer in answers}

    def test_a_run_that_does_not_exist_is_none(self, store: Store) -> None:
        """It has no entry and no journal, and does not hide the others that were asked for."""
        store.create([order()])

        assert [None, look(store), None] == store.get([key("x"), key(), key(namespace="bank")])
        assert [] == store.journal(key("x"))
        assert [] == store.get([])

    def test_nothing_is_ready_in_an_empty_store(self, store: Store) -> None:
        """A claim takes nothing, and knows of nothing to come."""
        claims = store.claim(wish(namespace=SHOP))

        assert ([], [], None) == (list(claims.runs), list(claims.mail), claims.next_at)
