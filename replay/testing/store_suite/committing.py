"""Commits: what belongs together becomes durable together, or not at all."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from replay.store.contract import Commit, Committed, Filter, Lease, Posted, Run, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
    FALSY,
    SHOP,
    TTL,
    StoreCase,
    answered,
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
    started,
    take,
    texts,
    together,
    turn,
    wish,
)


def everything(store: Store) -> list[Any]:
    """All that can be seen of the shop without changing it: runs, journals, the topic."""
    runs = store.find(Filter(namespace=SHOP)).runs
    return [runs, [store.journal(run.key) for run in runs], store.read(SHOP, "news")]


def full(lease: Lease, expected: int, **fields: Any) -> Commit:
    """A turn that does everything that a turn can do."""
    parts: dict[str, Any] = {
        "status": "waiting",
        "wake_at": NOON + 77,
        "applied": expected + 1,
        "base": expected + 1,
        "consumed": ["m1"],
        "posts": [signal("p1", "friend")],
        "children": [order("child", parent="order-1", parent_command="4")],
        "topics": [("news", b"1"), ("news", b"2")],
        "state": {"progress": b"0.5"},
        "tags": {"customer": "ann"},
        "result": b"0",
        "note": "because",
        "release": True,
    }
    return turn(lease, expected, **{**parts, **fields})


class Committing(StoreCase):
    """What ``commit`` promises."""

    # ---- the journal ----------------------------------------------------------------------------------------------------

    def test_committed_events_are_the_journal(self, store: Store) -> None:
        """In order, and field for field."""
        lease = begin(store)
        events = [
            answered(2)._replace(name="größe", attempt=3, duration=1_500_000, line="shop.py:12", worker="ann@host"),
            answered(3, b"\x00\xff")._replace(command="0/1/2", check=0),
        ]

        apply(store, turn(lease, 1, events=events))

        assert [started(), *events] == store.journal(key())
        assert [bytes] * 3 == [type(event.payload) for event in store.journal(key())]

    def test_a_turn_may_have_no_events(self, store: Store) -> None:
        """To park again, to note why, to consume."""
        apply(store, turn(begin(store), 1, events=[], status="waiting", release=True))

        assert ("waiting", 1) == (look(store).status, look(store).seq)

    def test_turns_follow_each_other_under_one_lease(self, store: Store) -> None:
        """Whoever holds the lease commits as often as it likes."""
        lease = begin(store)
        for length in range(1, 30):
            apply(store, turn(lease, length))

        assert journal(30) == store.journal(key())
        assert 30 == look(store).seq

    def test_a_commit_that_expects_another_length_is_a_conflict(self, store: Store) -> None:
        """Too short, too long, or already committed: the journal keeps one truth."""
        lease = begin(store)
        apply(store, turn(lease, 1, events=[answered(2), answered(3)]))

        answers = [store.commit([turn(lease, expected)])[0] for expected in (0, 1, 2, 4)]

        assert [Committed.CONFLICT] * 4 == answers
        assert journal(3) == store.journal(key())

    def test_a_late_and_deposed_worker_hears_of_the_fence(self, store: Store, clock: VirtualClock) -> None:
        """The fence is looked at before the length: it has lost more than a race."""
        lease = begin(store)
        clock.advance(TTL / SECOND)
        take(store, "ben")

        assert [Committed.FENCED] == store.commit([turn(lease, 5)])

    def test_a_commit_that_contradicts_itself_is_refused(self, store: Store) -> None:
        """Nothing of its batch is applied: the caller has a bug."""
        one, two = begin(store, "one"), begin(store, "two")
        wrong = [
            turn(two, 1, events=[answered(3)]),
            turn(two, 1, events=[answered(2), answered(4)]),
            turn(two, 1, children=[order("child", events=[answered(2)])]),
            turn(two, 1, status="continued", successor=order("two", events=[answered(2)])),
            turn(two, 1, status="continued", successor=order("three")),
            turn(two, 1, status="running", successor=order("two")),
        ]

        for commit in wrong:
            with pytest.raises(ValueError, match=r"numbered|takes over"):
                store.commit([turn(one, 1), commit])

        assert (1, 1) == (look(store, "one").seq, look(store, "two").seq)

    def test_racing_committers_leave_no_gap(self, store: Store) -> None:
        """Eight threads of one muddled worker, ten events each: every event that was accepted is there, once, in its place."""
        lease = begin(store)

        def work(name: bytes) -> list[tuple[int, bytes]]:
            mine: list[tuple[int, bytes]] = []
            while len(mine) < 10:
                place = look(store).seq + 1
                answer = store.commit([turn(lease, place - 1, events=[answered(place, name)])])
                assert answer[0] is not Committed.FENCED
                if answer[0] is Committed.APPLIED:
                    mine.append((place, name))
            return mine

        done = [pair for pairs in together(*(lambda n=n: work(b"%d" % n) for n in range(8))) for pair in pairs]

        assert sorted(done) == [(event.seq, event.payload) for event in store.journal(key(), after=1)]
        assert list(range(2, 82)) == [place for place, _ in sorted(done)]

    # ---- the index ------------------------------------------------------------------------------------------------------

    def test_a_commit_sets_the_index(self, store: Store, clock: VirtualClock) -> None:
        """Everything that the run shows comes with the events that led to it."""
        lease = begin(store)
        clock.advance(5)

        apply(store, full(lease, 1))

        run = look(store)
        assert {
            "status": "waiting",
            "seq": 2,
            "wake_at": NOON + 77,
            "applied": 2,
            "base": 2,
            "state": {"progress": b"0.5"},
            "tags": {"customer": "ann"},
            "result": b"0",
            "note": "because",
            "worker": "",
            "fence": 1,
            "created_at": NOON,
            "updated_at": NOON + 5 * SECOND,
        } == {
            name: getattr(run, name)
            for name in (
                "status",
                "seq",
                "wake_at",
                "applied",
                "base",
                "state",
                "tags",
                "result",
                "note",
                "worker",
                "fence",
                "created_at",
                "updated_at",
            )
        }

    def test_state_and_tags_are_set_key_by_key(self, store: Store) -> None:
        """Other keys stay; an empty word removes a tag, an empty value is a value."""
        lease = begin(store, tags={"a": "1", "b": "2"}, state={"x": b"1", "y": b"2"})

        apply(store, turn(lease, 1, tags={"b": "", "c": "3", "none": ""}, state={"y": b"", "z": b"0"}))

        assert {"a": "1", "c": "3"} == look(store).tags
        assert {"x": b"1", "y": b"", "z": b"0"} == look(store).state

    def test_applied_never_falls(self, store: Store) -> None:
        """An output that took effect is not forgotten by a later turn that says nothing of it."""
        lease = begin(store)
        apply(store, turn(lease, 1, applied=2))
        apply(store, turn(lease, 2))

        assert 2 == look(store).applied

    def test_a_savepoint_shortens_recovery(self, store: Store, clock: VirtualClock) -> None:
        """A claim brings the first event, the savepoint and what follows; the journal keeps all."""
        lease = begin(store)
        apply(store, turn(lease, 1, events=journal(6)[1:], base=4))
        apply(store, turn(lease, 6))
        clock.advance(TTL / SECOND)

        claimed = take(store)

        assert 4 == claimed.run.base
        assert [1, 4, 5, 6, 7] == [event.seq for event in claimed.journal]
        assert journal(7) == store.journal(key())

    def test_a_newer_savepoint_replaces_the_older(self, store: Store) -> None:
        """Also when it is the last event."""
        lease = begin(store)
        apply(store, turn(lease, 1, base=2))
        apply(store, turn(lease, 2, base=3, release=True, wake_at=NOON))

        assert [1, 3] == [event.seq for event in take(store).journal]

    def test_a_note_goes_when_its_reason_goes(self, store: Store) -> None:
        """A run that is no longer stuck does not say why it was."""
        lease = begin(store)
        apply(store, turn(lease, 1, status="stuck", note="does not fit"))
        apply(store, turn(lease, 2))

        assert "" == look(store).note

    # ---- parking and closing --------------------------------------------------------------------------------------------

    def test_a_turn_that_does_not_release_keeps_the_lease(self, store: Store) -> None:
        """Its end does not move, and a wake-up is remembered without ending it."""
        lease = begin(store)

        apply(store, turn(lease, 1, wake_at=NOON))

        assert ("ann", lease.until, NOON) == (look(store).worker, look(store).ready_at, look(store).wake_at)
        assert [] == ready(store, "ben")

    def test_a_parked_run_is_ready_at_its_wake_up(self, store: Store, clock: VirtualClock) -> None:
        """Not a microsecond before, and its former holder has no right to it."""
        lease = begin(store)
        apply(store, turn(lease, 1, status="waiting", wake_at=NOON + SECOND, release=True))

        assert ("", NOON + SECOND) == (look(store).worker, look(store).ready_at)
        assert [Committed.FENCED] == store.commit([turn(lease, 2)])
        clock.set(NOON + SECOND - 1)
        assert [] == ready(store)
        clock.advance(0.000001)
        assert ["order-1"] == ready(store)

    def test_a_parked_run_without_a_wake_up_sleeps_on(self, store: Store, clock: VirtualClock) -> None:
        """A run that waits for a message is a row, however long."""
        park(store)
        clock.advance(10_000_000)

        assert None is look(store).ready_at
        assert [] == ready(store)

    def test_a_message_that_came_meanwhile_keeps_a_run_awake(self, store: Store) -> None:
        """Posted after the claim, not seen by the turn: no wake-up is lost."""
        lease = begin(store)
        deliver(store, signal("late"))

        apply(store, turn(lease, 1, status="waiting", wake_at=NOON + SECOND, release=True))

        assert NOON == look(store).ready_at
        assert ["late"] == texts(take(store).mail)

    def test_a_run_that_has_read_its_mail_rests(self, store: Store) -> None:
        """Messages that this very turn consumed wake nobody."""
        lease = begin(store)
        deliver(store, signal("m1"), signal("m2"))

        apply(store, turn(lease, 1, status="waiting", consumed=["m2", "m1"], release=True))

        assert None is look(store).ready_at

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "terminated", "continued"])
    def test_a_closed_run_is_out_of_the_way(self, store: Store, clock: VirtualClock, status: str) -> None:
        """It is held by nobody, ready never, and takes no more turns."""
        lease = begin(store)
        deliver(store, signal("unread"))
        apply(store, turn(lease, 1, status=status, result=b"null", wake_at=NOON))
        clock.advance(2 * TTL / SECOND)

        run = look(store)
        assert (status, b"null", "", None, None) == (run.status, run.result, run.worker, run.ready_at, run.wake_at)
        assert [] == ready(store)
        assert [Committed.FENCED] == store.commit([turn(lease, 2)])

    @pytest.mark.parametrize("result", FALSY)
    def test_a_result_is_what_was_committed(self, store: Store, result: bytes) -> None:
        """Nothing turns into nothing, nor into what was there before; a turn that has none leaves it."""
        lease = begin(store)
        apply(store, turn(lease, 1, result=b"before"))
        apply(store, turn(lease, 2))
        before = look(store).result
        apply(store, turn(lease, 3, status="completed", result=result))

        assert (b"before", result) == (before, look(store).result)

    # ---- what comes with the events -------------------------------------------------------------------------------------

    def test_posts_are_delivered_with_the_commit(self, store: Store) -> None:
        """To a sleeping run, which wakes; to a run that someone holds; and to itself."""
        park(store, "asleep")
        begin(store, "held", "ben")
        lease = begin(store)

        apply(store, turn(lease, 1, posts=[signal("a", "asleep"), signal("b", "held"), signal("c")]))

        assert ["a"] == texts(take(store, "cid").mail)
        assert ["b"] == texts(store.claim(wish("ben")).mail)
        assert ["c"] == texts(store.claim(wish("ann")).mail)

    def test_a_run_that_posts_to_itself_is_awake(self, store: Store) -> None:
        """Its own message came after it rested."""
        apply(store, turn(begin(store), 1, status="waiting", posts=[signal("self")], release=True))

        assert ["self"] == texts(take(store).mail)

    def test_a_post_is_stamped_and_told_once(self, store: Store, clock: VirtualClock) -> None:
        """As by ``post``: the store's clock, and the same id again is nothing new."""
        park(store, "friend")
        lease = begin(store)
        clock.advance(1)
        apply(store, turn(lease, 1, posts=[signal("p", "friend", payload=b"first")]))
        apply(store, turn(lease, 2, posts=[signal("p", "friend", payload=b"second")]))

        assert [Posted.DUPLICATE] == store.post([signal("p", "friend")])
        assert [(b"first", NOON + SECOND)] == [(message.payload, message.at) for message in take(store).mail]

    def test_a_post_that_nobody_can_take_is_dropped(self, store: Store) -> None:
        """The run is gone, closed, or never was; the turn stands."""
        finish(store, "closed")
        lease = begin(store)

        apply(store, turn(lease, 1, posts=[signal("a", "closed"), signal("b", "nobody"), signal("c")]))

        assert ["c"] == texts(store.claim(wish()).mail)

    def test_children_are_created_with_the_commit(self, store: Store) -> None:
        """Nobody holds them; any worker takes them."""
        lease = begin(store)

        apply(store, turn(lease, 1, children=[order(name, parent="order-1", parent_command=name) for name in "ab"]))

        runs = [look(store, name) for name in "ab"]
        assert [("order-1", "a", 0), ("order-1", "b", 0)] == [(run.parent, run.parent_command, run.fence) for run in runs]
        assert ["a", "b"] == sorted(ready(store, "ben"))

    def test_a_child_that_exists_is_left_as_it_is(self, store: Store) -> None:
        """The same turn, committed after a crash that hid that it was committed, has no second child."""
        begin(store, "child", "ben")
        lease = begin(store)

        apply(store, turn(lease, 1, children=[order("child", digest="d2", parent="order-1"), order("other")]))

        run = look(store, "child")
        assert ("d1", "", "ben") == (run.digest, run.parent, run.worker)
        assert ["other"] == ready(store, "cid")

    def test_a_message_reaches_a_child_of_the_same_commit(self, store: Store) -> None:
        """A workflow may start a child and write to it in one breath."""
        lease = begin(store)

        apply(store, turn(lease, 1, children=[order("child")], posts=[signal("hello", "child")]))

        assert ["hello"] == texts(take(store, "ben").mail)

    def test_topics_are_published_with_the_commit(self, store: Store) -> None:
        """In order, in the run's namespace, beside what others publish."""
        store.publish(SHOP, [("news", b"0")])

        apply(store, turn(begin(store), 1, topics=[("news", b"1"), ("other", b"x"), ("news", b"2")]))

        assert [b"0", b"1", b"2"] == [entry.payload for entry in store.read(SHOP, "news")]
        assert [b"x"] == [entry.payload for entry in store.read(SHOP, "other")]

    def test_consumed_messages_are_not_shown_again(self, store: Store, clock: VirtualClock) -> None:
        """Those that were not consumed are; ids that nobody knows do no harm."""
        lease = begin(store)
        deliver(store, *(signal(name) for name in ("m1", "m2", "m3")))

        apply(store, turn(lease, 1, consumed=["m2", "unknown"]))

        assert ["m1", "m3"] == texts(store.claim(wish()).mail)
        clock.advance(TTL / SECOND)
        assert ["m1", "m3"] == texts(take(store, "ben").mail)

    # ---- all or nothing -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("part", ["fence", "worker", "length"])
    def test_a_refused_commit_leaves_no_trace(self, store: Store, part: str) -> None:
        """No event, post, child, entry, tag, state, consumed message or release."""
        park(store, "friend")
        lease = begin(store)
        deliver(store, signal("m1"))
        before = everything(store)
        refused = {
            "fence": full(lease._replace(fence=lease.fence + 1), 1),
            "worker": full(lease._replace(worker="ben"), 1),
            "length": full(lease, 2),
        }

        assert [Committed.APPLIED] != store.commit([refused[part]])

        assert before == everything(store)
        assert ["m1"] == texts(store.claim(wish()).mail)
        deliver(store, signal("p1", "friend"))

    @pytest.mark.parametrize("part", ["fence", "length"])
    def test_a_refused_successor_leaves_no_trace(self, store: Store, part: str) -> None:
        """The id is not renamed, nor is anything created."""
        lease = begin(store)
        before = everything(store)
        refused = {"fence": (lease._replace(fence=0), 1), "length": (lease, 7)}

        store.commit([full(*refused[part], status="continued", successor=order())])

        assert before == everything(store)

    def test_items_of_a_batch_are_independent(self, store: Store) -> None:
        """Each has its own answer, in order, and the losers take nobody with them."""
        leases = [begin(store, f"run-{number}") for number in range(6)]
        batch = [turn(lease, 1) for lease in leases]
        batch[1] = turn(leases[1]._replace(fence=9), 1)
        batch[3] = turn(leases[3], 4)
        batch[4] = turn(leases[4]._replace(key=key("gone")), 1)

        answers = store.commit(batch)

        yes, fenced, conflict = Committed.APPLIED, Committed.FENCED, Committed.CONFLICT
        assert [yes, fenced, yes, conflict, fenced, yes] == answers
        assert [2, 1, 2, 1, 1, 2] == [look(store, f"run-{number}").seq for number in range(6)]
        assert [] == store.commit([])

    def test_a_large_batch_is_one_commit_for_each_run(self, store: Store) -> None:
        """Five hundred turns, none mixed up with another."""
        names = [f"run-{number}" for number in range(500)]
        created = store.create([order(name) for name in names], worker="ann", ttl=TTL)
        leases = [answer.lease for answer in created if answer.lease]
        batch = [turn(lease, 1, events=[answered(2, lease.key.id.encode())], result=lease.key.id.encode()) for lease in leases]

        assert [Committed.APPLIED] * 500 == store.commit(batch)
        runs = store.get([key(name) for name in names])
        assert [name.encode() for name in names] == [run.result for run in runs if run]
        assert b"run-77" == store.journal(key("run-77"))[1].payload

    # ---- successors -----------------------------------------------------------------------------------------------------

    def continued(self, store: Store, **fields: Any) -> Run:
        """A run that continued as new once; its first journal has two events."""
        lease = begin(store, parent="cart", parent_command="3", tags={"customer": "ann"})
        successor = order(digest="d2", parent="cart", parent_command="3", **fields)
        apply(store, turn(lease, 1, status="continued", result=b"7", successor=successor))
        return look(store)

    def test_a_successor_takes_over_the_id(self, store: Store, clock: VirtualClock) -> None:
        """A fresh journal under the old name, and whoever waits for it waits on."""
        run = self.continued(store)

        assert ("pending", 1, "d2", "cart", "3", "") == (
            run.status,
            run.seq,
            run.digest,
            run.parent,
            run.parent_command,
            run.worker,
        )
        assert [started()] == store.journal(key())
        assert ["order-1"] == ready(store)

    def test_a_successor_shows_what_it_was_given(self, store: Store) -> None:
        """State and tags of its own, and nothing of its predecessor's by itself."""
        run = self.continued(store, state={"page": b"7"}, tags={"kind": "long"})

        assert ({"page": b"7"}, {"kind": "long"}) == (run.state, run.tags)

    def test_a_predecessor_keeps_its_journal_under_a_new_name(self, store: Store) -> None:
        """It is closed, and nobody's child any more."""
        self.continued(store)

        past = look(store, "order-1~1")
        assert ("continued", 2, b"7", "", "", None, {"customer": "ann"}) == (
            past.status,
            past.seq,
            past.result,
            past.parent,
            past.parent_command,
            past.ready_at,
            past.tags,
        )
        assert journal(2) == store.journal(key("order-1~1"))
        assert ["order-1"] == [run.key.id for run in store.find(Filter(namespace=SHOP, parent="cart")).runs]

    def test_a_run_has_any_number_of_predecessors(self, store: Store) -> None:
        """Numbered from one on."""
        begin(store)
        store.release([Lease(key(), 1, "ann", 0)])
        for number in range(3):
            lease = take(store).lease
            apply(store, turn(lease, 1, events=[answered(2, b"%d" % number)], status="continued", successor=order()))

        assert [b"0", b"1", b"2"] == [store.journal(key(f"order-1~{n}"))[1].payload for n in (1, 2, 3)]
        assert ["order-1"] == ready(store)

    def test_a_taken_name_is_passed_over(self, store: Store) -> None:
        """A run that happens to be called so is nobody's predecessor."""
        begin(store, "order-1~1", "ben")

        self.continued(store)

        assert ("ben", "continued") == (look(store, "order-1~1").worker, look(store, "order-1~2").status)

    def test_the_fence_outlives_the_predecessor(self, store: Store) -> None:
        """A worker that held it cannot write to its successor, nor to its past."""
        lease = begin(store)
        apply(store, turn(lease, 1, status="continued", successor=order()))
        heir = take(store, "ann").lease

        assert heir.fence > lease.fence
        assert [Committed.FENCED] == store.commit([turn(lease, 1)])
        assert [Committed.FENCED] == store.commit([turn(lease._replace(key=key("order-1~1")), 2)])
        assert [Committed.APPLIED] == store.commit([turn(heir, 1)])

    def test_unread_messages_pass_on(self, store: Store) -> None:
        """In order, without those that were consumed, with those of the same commit; and none is told twice."""
        lease = begin(store)
        deliver(store, *(signal(name) for name in ("m1", "m2", "m3")))
        apply(store, turn(lease, 1, status="continued", consumed=["m2"], posts=[signal("self")], successor=order()))

        assert [Posted.DUPLICATE] * 4 == store.post([signal(name) for name in ("m1", "m2", "m3", "self")])
        assert ["m1", "m3", "self"] == texts(take(store).mail)
        assert ["m1", "m3", "self"] == texts(store.claim(wish(limit=0)).mail)
        assert [Posted.CLOSED] == store.post([signal("m9", "order-1~1")])

    def test_a_successor_may_begin_later(self, store: Store, clock: VirtualClock) -> None:
        """As a retry of the whole run does, after a pause."""
        lease = begin(store)
        apply(store, turn(lease, 1, status="failed", successor=order(ready_at=NOON + SECOND)))

        assert ("failed", []) == (look(store, "order-1~1").status, ready(store))
        clock.advance(1)
        assert ["order-1"] == ready(store)

    def test_messages_do_not_wait_for_a_later_successor(self, store: Store) -> None:
        """They make it ready, those that passed on as well as those that come."""
        for name, messages in (("before", [signal("m1", "before")]), ("after", [])):
            lease = begin(store, name)
            deliver(store, *messages)
            apply(store, turn(lease, 1, status="failed", successor=order(name, ready_at=NOON + SECOND)))
        deliver(store, signal("m2", "after"))

        assert ["after", "before"] == sorted(ready(store))
        assert ["m1", "m2"] == sorted(texts(store.claim(wish(limit=0)).mail))

    def test_children_and_entries_come_with_a_successor_too(self, store: Store) -> None:
        """The last turn of a journal is a turn like any other."""
        lease = begin(store)

        apply(store, full(lease, 1, status="continued", successor=order(), consumed=[]))

        assert ("order-1", [b"1", b"2"]) == (look(store, "child").parent, payloads(store))


def payloads(store: Store) -> Sequence[bytes]:
    """What was published to the topic."""
    return [entry.payload for entry in store.read(SHOP, "news")]
