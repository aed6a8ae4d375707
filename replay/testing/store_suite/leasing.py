"""Claims and leases: one owner, fences that only grow, and a dead worker needs no janitor."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import itertools
from typing import Any

import pytest

from replay.store.contract import Committed, Lease, RunKey, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
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


class Leasing(StoreCase):
    """What ``claim``, ``renew`` and ``release`` promise."""

    # ---- one owner ------------------------------------------------------------------------------------------------------

    def test_a_claim_brings_all_that_is_needed_to_go_on(self, store: Store) -> None:
        """The index entry as it is from now on, the lease, the journal and the mail."""
        park(store)
        deliver(store, signal("m1"), signal("m2"))

        claimed = take(store, "ben")

        assert Lease(key(), 2, "ben", NOON + TTL) == claimed.lease
        assert journal(2) == list(claimed.journal)
        assert ["m1", "m2"] == texts(claimed.mail)
        assert look(store) == claimed.run
        assert ("running", "ben", 2, NOON + TTL) == (
            claimed.run.status,
            claimed.run.worker,
            claimed.run.fence,
            claimed.run.ready_at,
        )

    def test_a_run_that_is_held_is_not_given_away(self, store: Store, clock: VirtualClock) -> None:
        """Not to another worker, nor twice to the same, until the last microsecond of the lease."""
        begin(store, worker="ann")
        clock.advance(TTL / SECOND)
        clock.set(clock.now() - 1)

        assert ([], []) == (ready(store, "ben"), ready(store, "ann"))

    def test_a_run_whose_lease_ended_is_taken_over(self, store: Store, clock: VirtualClock) -> None:
        """The fence grows, and the recovery is counted."""
        begin(store, worker="ann")
        clock.advance(TTL / SECOND)

        claimed = take(store, "ben")

        assert ("ben", 2, 1) == (claimed.run.worker, claimed.lease.fence, claimed.run.recoveries)

    def test_a_worker_may_take_over_from_itself(self, store: Store, clock: VirtualClock) -> None:
        """One that was started again under its old name: its former lease is void all the same."""
        old = begin(store, worker="ann")
        clock.advance(TTL / SECOND)

        new = take(store, "ann")

        assert (2, 1) == (new.lease.fence, new.run.recoveries)
        assert [Committed.FENCED] == store.commit([turn(old, 1)])

    def test_every_recovery_is_counted(self, store: Store, clock: VirtualClock) -> None:
        """So a run that kills its workers can be set aside."""
        begin(store)
        for name in "bcd":
            clock.advance(TTL / SECOND)
            take(store, name)

        assert (3, 4) == (look(store).recoveries, look(store).fence)

    @pytest.mark.parametrize(
        ("end", "left"),
        [
            ({}, 0),
            ({"events": [answered(2)._replace(kind="signal_received")], "consumed": ["m1"]}, 2),
            ({"events": [], "status": "waiting", "release": True}, 0),
            ({"status": "completed", "release": True}, 0),
            ({"events": [], "state": {"seen": b"1"}}, 2),
            ({"events": [], "status": "stuck", "release": True, "note": "it kills its workers"}, 2),
        ],
    )
    def test_recoveries_are_counted_since_the_run_was_last_taken_on(
        self, store: Store, clock: VirtualClock, end: dict[str, Any], left: int
    ) -> None:
        """What the run did, or giving it back in good order, ends the row; messages, showing state, setting it aside do not."""
        lease = begin(store)
        deliver(store, signal("m1"))
        for name in "bc":
            clock.advance(TTL / SECOND)
            lease = take(store, name).lease

        apply(store, turn(lease, 1, **end))

        assert (left, end.get("note", "")) == (look(store).recoveries, look(store).note)

    def test_giving_a_lease_back_keeps_the_count_of_recoveries(self, store: Store, clock: VirtualClock) -> None:
        """A worker that leaves says nothing about its runs; nor is the next claim a recovery."""
        begin(store)
        clock.advance(TTL / SECOND)
        store.release([take(store, "ben").lease])

        assert 1 == take(store, "cid").run.recoveries

    def test_a_lease_that_was_given_back_is_no_recovery(self, store: Store) -> None:
        """First claims, released runs and parked runs have lost nobody."""
        store.create([order("fresh")])
        store.release([begin(store, "released")])
        park(store, "parked", wake_at=NOON)

        assert [0, 0, 0] == [claimed.run.recoveries for claimed in store.claim(wish()).runs]

    # ---- fences ---------------------------------------------------------------------------------------------------------

    def test_a_deposed_worker_cannot_write(self, store: Store, clock: VirtualClock) -> None:
        """When the lease has moved on, the old fence is refused, whatever the length."""
        old = begin(store, worker="ann")
        clock.advance(TTL / SECOND)
        new = take(store, "ben").lease
        apply(store, turn(new, 1))

        assert [Committed.FENCED] == store.commit([turn(old, 1)])
        assert [Committed.FENCED] == store.commit([turn(old, 2)])
        assert journal(2) == store.journal(key())

    def test_a_deposed_worker_cannot_prolong(self, store: Store, clock: VirtualClock) -> None:
        """Nor does it shorten or move the new owner's lease."""
        old = begin(store, worker="ann")
        clock.advance(TTL / SECOND)
        new = take(store, "ben").lease

        assert [False] == store.renew([old], ttl=999 * SECOND)
        assert ("ben", new.until) == (look(store).worker, look(store).ready_at)

    def test_a_deposed_worker_cannot_release(self, store: Store, clock: VirtualClock) -> None:
        """The new owner keeps the run."""
        old = begin(store, worker="ann")
        clock.advance(TTL / SECOND)
        take(store, "ben")

        store.release([old])

        assert "ben" == look(store).worker
        assert [] == ready(store, "cid")

    def test_a_worker_that_froze_and_was_not_missed_goes_on(self, store: Store, clock: VirtualClock) -> None:
        """As after SIGSTOP and SIGCONT: the fence decides, not the hour."""
        lease = begin(store)
        clock.advance(10 * TTL / SECOND)

        assert [Committed.APPLIED] == store.commit([turn(lease, 1)])
        assert [True] == store.renew([lease], ttl=TTL)
        assert [] == ready(store, "ben")

    @pytest.mark.parametrize("end", [{"status": "completed"}, {"status": "waiting", "release": True}])
    def test_a_run_that_was_passed_over_is_not_claimed_later(self, store: Store, clock: VirtualClock, end: dict[str, Any]) -> None:
        """A claim left it to its slow holder, who then ended its turn: it is nobody's business any more."""
        leases = {name: begin(store, name, "ann") for name in ("a", "b", "c")}
        clock.advance(TTL / SECOND)
        taken = ready(store, "ben", limit=1)

        for name in leases.keys() - set(taken):
            apply(store, turn(leases[name], 1, **end))

        assert [] == ready(store, "ben")

    def test_a_run_that_was_passed_over_and_renewed_is_not_claimed_later(self, store: Store, clock: VirtualClock) -> None:
        """Its slow holder came back in time."""
        leases = {name: begin(store, name, "ann") for name in ("a", "b", "c")}
        clock.advance(TTL / SECOND)
        taken = ready(store, "ben", limit=1)

        assert [True, True] == store.renew([leases[name] for name in leases.keys() - set(taken)], ttl=TTL)

        assert [] == ready(store, "ben")

    def test_a_forged_lease_is_refused(self, store: Store) -> None:
        """Right fence and wrong worker, right worker and wrong fence, a run that does not exist."""
        lease = begin(store)
        forged = [
            lease._replace(worker="ben"),
            lease._replace(worker=""),
            lease._replace(fence=2),
            lease._replace(fence=0),
            lease._replace(key=key("x")),
            lease._replace(key=key(namespace="bank")),
        ]

        assert [[Committed.FENCED]] * 6 == [store.commit([turn(item, 1)]) for item in forged]
        assert [[False]] * 6 == [store.renew([item], ttl=TTL) for item in forged]

    def test_fences_only_grow(self, store: Store, clock: VirtualClock) -> None:
        """However a lease ends: by time, by release, by parking."""
        fences = [begin(store).fence]
        clock.advance(TTL / SECOND)
        for number in range(2, 8):
            lease = take(store).lease
            fences.append(lease.fence)
            if number % 3 == 0:
                store.release([lease])
            elif number % 3 == 1:
                apply(store, turn(lease, look(store).seq, release=True, wake_at=clock.now()))
            else:
                clock.advance(TTL / SECOND)

        assert [1, 2, 3, 4, 5, 6, 7] == fences

    # ---- renewing and releasing -----------------------------------------------------------------------------------------

    def test_a_renewed_lease_lasts_from_now(self, store: Store, clock: VirtualClock) -> None:
        """By the store's clock, and also when less than before is asked for."""
        lease = begin(store)
        clock.advance(20)

        assert [True] == store.renew([lease], ttl=TTL)
        assert NOON + 20 * SECOND + TTL == look(store).ready_at
        assert [True] == store.renew([lease], ttl=SECOND)
        assert NOON + 21 * SECOND == look(store).ready_at

    def test_a_lease_that_is_cut_short_ends_now(self, store: Store) -> None:
        """As for a worker that is known to be dead: the run is taken over at once, and that is a recovery."""
        lease = begin(store, worker="ann")

        assert [True] == store.renew([lease], ttl=0)

        assert ("ben", 1) == (take(store, "ben").lease.worker, look(store).recoveries)
        assert [Committed.FENCED] == store.commit([turn(lease, 1)])

    def test_a_renewed_lease_still_writes(self, store: Store, clock: VirtualClock) -> None:
        """Renewing changes the end, not the fence."""
        lease = begin(store)
        clock.advance(20)
        store.renew([lease], ttl=TTL)
        clock.advance(20)

        assert [] == ready(store, "ben")
        assert [Committed.APPLIED] == store.commit([turn(lease, 1)])

    def test_leases_are_renewed_each_for_itself(self, store: Store, clock: VirtualClock) -> None:
        """One that has moved on, was given back, is closed or never was does not hurt the others."""
        kept, lost, parted, closed = (begin(store, name, "ann") for name in ("kept", "lost", "parted", "closed"))
        store.renew([kept, parted, closed], ttl=2 * TTL)
        clock.advance(TTL / SECOND)
        take(store, "ben")
        store.release([parted])
        apply(store, turn(closed, 1, status="completed"))

        assert [False, True, False, False] == store.renew([lost, kept, parted, closed], ttl=TTL)
        assert [] == store.renew([], ttl=TTL)
        assert None is look(store, "closed").ready_at

    def test_a_released_run_is_ready_at_once(self, store: Store) -> None:
        """Another worker takes it with the next fence; the old lease is void from the release on."""
        lease = begin(store, worker="ann")

        store.release([lease])

        assert ("", NOON) == (look(store).worker, look(store).ready_at)
        assert [Committed.FENCED] == store.commit([turn(lease, 1)])
        assert 2 == take(store, "ben").lease.fence

    def test_releasing_twice_is_releasing_once(self, store: Store) -> None:
        """The second time the lease has moved on; so has one on a run that does not exist."""
        lease = begin(store, worker="ann")
        store.release([lease])
        take(store, "ann")

        store.release([lease, lease._replace(key=key("x"))])
        store.release([])

        assert ("ann", 2) == (look(store).worker, look(store).fence)

    def test_a_paused_run_that_is_released_stays_asleep(self, store: Store) -> None:
        """To give back is not to resume."""
        park(store, status="paused")
        deliver(store, signal("m1"), signal("m2", kind="terminate"))
        lease = take(store).lease
        apply(store, turn(lease, 2, status="paused", consumed=["m2"]))

        store.release([lease])

        assert None is look(store).ready_at

    # ---- which runs, in which order -------------------------------------------------------------------------------------

    def test_a_claim_takes_runs_of_its_namespace_only(self, store: Store) -> None:
        """Whatever their ids."""
        store.create([order("a"), order("b", key=RunKey("bank", "b")), order("c", key=RunKey("", "c"))])

        assert ["a"] == ready(store)
        assert ["b"] == ready(store, namespace="bank")
        assert ["c"] == ready(store, namespace="")

    def test_a_claim_takes_runs_of_its_queues_only(self, store: Store) -> None:
        """Any of those that are named, none when none is."""
        store.create([order(name, queue=name) for name in ("cpu", "gpu", "tpu")])

        assert [] == ready(store, queues=[])
        assert [] == ready(store, queues=["CPU", "cp", "cpu,gpu", "%"])
        assert ["cpu", "tpu"] == sorted(ready(store, queues=["tpu", "cpu"]))

    def test_a_claim_takes_runs_of_its_workflows_only(self, store: Store) -> None:
        """Any of those that are named, none when none is."""
        store.create([order(name, workflow=name) for name in ("order", "refund", "step:ship")])

        assert [] == ready(store, workflows=[])
        assert ["order", "step:ship"] == sorted(ready(store, workflows=["order", "step:ship", "step:pack"]))

    def test_a_claim_takes_no_more_than_its_limit(self, store: Store) -> None:
        """What is left over is there for the next claim."""
        store.create([order(f"run-{number}") for number in range(5)])

        taken = [len(ready(store, limit=limit)) for limit in (0, 2, 1, 100, 100)]

        assert [0, 2, 1, 2, 0] == taken

    def test_higher_priorities_come_first(self, store: Store) -> None:
        """However long the others have waited."""
        ages = itertools.count(NOON - 100)
        for priority in (0, 5, -1, 2, 5):
            at = next(ages)
            store.create([order(f"p{priority}-{at - NOON}", priority=priority, ready_at=at)])

        assert ["p5--99", "p5--96"] == ready(store, limit=2)
        assert ["p2--97", "p0--100", "p-1--98"] == ready(store)

    def test_of_one_priority_the_longest_ready_comes_first(self, store: Store, clock: VirtualClock) -> None:
        """Ready, not created: a run that was parked waits from its wake-up on."""
        park(store, "parked", wake_at=NOON + 3 * SECOND)
        for name in ("b", "a", "c"):
            clock.advance(2)
            store.create([order(name)])

        assert ["b"] == ready(store, limit=1)
        assert ["parked", "a", "c"] == ready(store)

    def test_a_worker_is_told_when_to_come_again(self, store: Store, clock: VirtualClock) -> None:
        """Perhaps too early, never too late for a run that is parked."""
        for name, seconds in (("b", 70), ("a", 50), ("c", 90)):
            park(store, name, wake_at=NOON + seconds * SECOND)
        park(store, "asleep")

        next_at = store.claim(wish()).next_at

        assert next_at is not None
        assert NOON < next_at <= NOON + 50 * SECOND
        clock.set(NOON + 50 * SECOND)
        assert ["a"] == ready(store)

    def test_a_worker_is_told_of_delayed_runs(self, store: Store) -> None:
        """A run that begins later is as good as a parked one."""
        store.create([order(ready_at=NOON + SECOND)])

        next_at = store.claim(wish()).next_at

        assert next_at is not None
        assert NOON < next_at <= NOON + SECOND

    @pytest.mark.parametrize("status", ["paused", "stuck"])
    def test_a_claim_does_not_hide_that_a_run_is_set_aside(self, store: Store, status: str) -> None:
        """A paused or stuck run that a message woke is held, and still shows its status."""
        park(store, status=status, note="why")
        deliver(store, signal(kind="resume"))

        run = take(store, "ben").run
        assert (status, "ben", "why") == (run.status, run.worker, run.note)

    def test_a_waiting_run_that_is_claimed_runs(self, store: Store) -> None:
        """The index shows that someone works on it."""
        park(store, wake_at=NOON)

        assert "running" == take(store).run.status

    def test_closed_runs_are_never_claimed(self, store: Store, clock: VirtualClock) -> None:
        """Not even after the lease would have ended."""
        finish(store)
        clock.advance(2 * TTL / SECOND)

        assert [] == ready(store)

    def test_of_racing_claimers_each_run_has_one(self, store: Store) -> None:
        """Forty runs, eight workers, three at a time."""
        store.create([order(f"run-{number}") for number in range(40)])

        def work(name: str) -> list[str]:
            mine: list[str] = []
            while some := ready(store, name, limit=3):
                mine += some
            return mine

        taken = sorted(itertools.chain(*together(*(lambda name=name: work(name) for name in "abcdefgh"))))

        # a claim that loses a race may come back empty-handed, so someone looks again
        assert sorted(f"run-{number}" for number in range(40)) == sorted(taken + ready(store))

    # ---- clocks ---------------------------------------------------------------------------------------------------------

    def test_the_clock_of_the_store_is_the_one_it_was_given(self, store: Store, clock: VirtualClock) -> None:
        """Microseconds, as an integer."""
        clock.advance(1.5)

        assert NOON + 1_500_000 == store.now()

    def test_a_worker_whose_clock_is_wrong_disturbs_nobody(self, store: Store) -> None:
        """What a worker writes into events is not what leases and wake-ups are measured by."""
        hour = 3600 * SECOND
        fast, slow = (started()._replace(at=NOON + sign * hour) for sign in (1, -1))
        store.create([order("fast", events=[fast]), order("slow", events=[slow])])
        for claimed in store.claim(wish()).runs:
            late = answered(2)._replace(at=claimed.journal[0].at)
            apply(store, turn(claimed.lease, 1, events=[late], status="waiting", wake_at=NOON, release=True))

        claims = store.claim(wish("ben"))

        assert ["fast", "slow"] == sorted(claimed.run.key.id for claimed in claims.runs)
        assert {NOON + TTL} == {claimed.lease.until for claimed in claims.runs}
        assert [] == ready(store, "ann")

    def test_a_clock_that_is_put_back_deposes_nobody(self, store: Store, clock: VirtualClock) -> None:
        """Who holds a run keeps it, writes, renews and gives it back; and no fence is given twice."""
        lease = begin(store, worker="ann")
        clock.advance(-3600)

        assert [] == ready(store, "ben")
        apply(store, turn(lease, 1))
        assert [True] == store.renew([lease], ttl=TTL)
        assert [] == ready(store, "ben")
        apply(store, turn(lease, 2, status="waiting", wake_at=store.now(), release=True))
        assert 2 == take(store, "ben").lease.fence
        assert journal(3) == store.journal(key())

    def test_a_clock_that_is_put_back_hides_no_run(self, store: Store, clock: VirtualClock) -> None:
        """One that was ready is claimed, or a worker is told when it will be again."""
        store.create([order()])
        store.claim(wish(limit=0))
        clock.advance(-3600)

        claims = store.claim(wish())

        assert claims.runs or (claims.next_at is not None and claims.next_at <= NOON)
        clock.set(NOON)
        assert claims.runs or ["order-1"] == ready(store)

    def test_a_clock_that_was_put_back_catches_up(self, store: Store, clock: VirtualClock) -> None:
        """A lease that began before ends by the same clock, and the run is taken over once."""
        old = begin(store, worker="ann")
        clock.advance(-3600)
        clock.advance(3600 + TTL / SECOND)

        new = take(store, "ben")

        assert (2, 1) == (new.lease.fence, new.run.recoveries)
        assert [Committed.FENCED] == store.commit([turn(old, 1)])
        assert [Committed.APPLIED] == store.commit([turn(new.lease, 1)])
