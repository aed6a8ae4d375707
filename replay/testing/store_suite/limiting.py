"""Limits and fairness: a queue that is declared as a ``Queue`` lets no more through than it says, and no key waits behind another's.

These tests ask for ``Capability.LIMITS``; turns between queues, and keys, are for every store.
"""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

import pytest

from replay.model.queues import Queue, Rate
from replay.store.contract import Capability, Claimed, Committed, Filter, Lease, RunKey, Store
from replay.testing.clock import NOON, SECOND, VirtualClock
from replay.testing.store_suite.case import (
    SHOP,
    TTL,
    StoreCase,
    apply,
    begin,
    deliver,
    journal,
    key,
    look,
    order,
    ready,
    signal,
    take,
    together,
    turn,
    wish,
)

TWO: Final = Queue("default", concurrency=2)
MINUTE: Final = Rate(3, per=60)


def line(store: Store, *runs: tuple[str, str], **fields: Any) -> None:
    """Create runs in the order in which they wait, as (id, fairness key)."""
    first = look_back(store) + 1
    store.create([order(run, fairness_key=of, ready_at=first + place, **fields) for place, (run, of) in enumerate(runs)])


def look_back(store: Store) -> int:
    """A moment before now, so that what waits since then is ready."""
    return store.now() - 1_000_000


def of(prefix: str, number: int, key: str | None = None) -> list[tuple[str, str]]:
    """Runs of one key."""
    return [(f"{prefix}{place}", prefix if key is None else key) for place in range(number)]


def leased(store: Store, worker: str = "ann", **fields: Any) -> list[Lease]:
    """Leases of all runs that a claim takes."""
    return [claimed.lease for claimed in store.claim(wish(worker, **fields)).runs]


class Limiting(StoreCase):
    """What ``claim`` promises for queues with limits, and between queues."""

    backlog: int = 1_500
    """How many runs of one key wait before another's, in the test of that."""

    @pytest.fixture
    def limited(self, store: Store) -> Store:
        """The store, if it keeps to limits."""
        if Capability.LIMITS not in store.capabilities:
            pytest.skip("this store keeps to no limits")
        return store

    # ---- keys -----------------------------------------------------------------------------------------------------------

    def test_a_run_keeps_its_fairness_key(self, store: Store) -> None:
        """From its creation, as a child, and through whatever becomes of it."""
        lease = begin(store, fairness_key="ann's")
        child = order("child", fairness_key="ben's", parent="order-1")
        apply(store, turn(lease, 1, children=[child], status="waiting", release=True))
        deliver(store, signal())

        assert ["ann's", "ben's"] == sorted(claimed.run.fairness_key for claimed in store.claim(wish()).runs)
        assert ("ann's", "ben's") == (look(store).fairness_key, look(store, "child").fairness_key)

    def test_a_successor_has_its_own_fairness_key(self, store: Store) -> None:
        """The journal before keeps the one that it had."""
        lease = begin(store, fairness_key="old")
        apply(store, turn(lease, 1, status="continued", successor=order(fairness_key="new")))

        assert ("new", "old") == (look(store).fairness_key, look(store, "order-1~1").fairness_key)

    def test_runs_are_found_by_their_fairness_key(self, store: Store) -> None:
        """Newest first, in pages; an empty key means those that have none."""
        line(store, ("a", "ann"), ("b", "ben"), ("c", "ann"), ("d", ""), ("e", "Ann"))

        first = store.find(Filter(namespace=SHOP, fairness_key="ann"), limit=1)
        second = store.find(Filter(namespace=SHOP, fairness_key="ann"), limit=1, cursor=first.cursor)

        assert ["c", "a"] == [run.key.id for page in (first, second) for run in page.runs]
        assert ["d"] == [run.key.id for run in store.find(Filter(namespace=SHOP, fairness_key="")).runs]
        assert [] == store.find(Filter(namespace=SHOP, fairness_key="an")).runs

    # ---- between queues -------------------------------------------------------------------------------------------------

    def test_of_one_priority_queues_take_turns(self, store: Store) -> None:
        """In the order in which the claim names them, however long one of them has waited."""
        line(store, *of("a", 5), queue="a")
        line(store, *of("b", 2), queue="b")

        assert ["b0", "a0", "b1"] == ready(store, queues=["b", "a"], limit=3)
        assert ["a1", "a2", "a3", "a4"] == ready(store, queues=["a", "b"])

    def test_priorities_come_before_turns(self, store: Store) -> None:
        """A higher one of a queue goes before all lower ones of the others."""
        line(store, *of("a", 2), queue="a")
        line(store, *of("b", 2), queue="b", priority=1)

        assert ["b0", "b1", "a0"] == ready(store, queues=["a", "b"], limit=3)

    def test_queues_with_limits_take_turns_with_others(self, limited: Store) -> None:
        """Neither waits for the other, and priorities hold across both."""
        line(limited, *of("a", 4), queue="a")
        line(limited, *of("b", 4), queue="b")
        line(limited, ("c0", ""), queue="a", priority=7)

        assert ["c0", "b0", "a0", "b1", "a1", "a2"] == ready(limited, queues=[Queue("b", concurrency=2), "a"], limit=6)

    # ---- concurrency ----------------------------------------------------------------------------------------------------

    def test_no_more_runs_are_held_than_a_queue_allows(self, limited: Store) -> None:
        """By whomever."""
        line(limited, *of("a", 5))

        taken = [ready(limited, worker, queues=[TWO]) for worker in ("ann", "ben", "ann")]

        assert [["a0", "a1"], [], []] == taken

    @pytest.mark.parametrize(
        "end",
        [
            {"status": "waiting", "release": True},
            {"status": "waiting", "release": True, "wake_at": NOON + 9_999 * SECOND},
            {"status": "completed"},
            {"status": "failed", "result": b"1"},
            {"status": "continued", "successor": order("a0", ready_at=NOON + 9_999 * SECOND)},
        ],
    )
    def test_a_run_that_rests_or_has_ended_holds_no_slot(self, limited: Store, end: dict[str, Any]) -> None:
        """One that sleeps for a month does not block its queue."""
        line(limited, *of("a", 4))
        first, _ = leased(limited, queues=[TWO])

        apply(limited, turn(first, 1, **end))

        assert ["a2"] == ready(limited, "ben", queues=[TWO])

    def test_a_slot_that_is_given_back_is_free(self, limited: Store) -> None:
        """The run waits again, and whoever has waited longest goes first."""
        line(limited, *of("a", 3))
        first, _ = leased(limited, queues=[TWO])

        limited.release([first])

        assert ["a2"] == ready(limited, "ben", queues=[TWO], limit=1)

    def test_the_slot_of_a_dead_worker_is_free_when_its_lease_ends(self, limited: Store, clock: VirtualClock) -> None:
        """Not a microsecond before; and its runs wait as they did."""
        line(limited, *of("a", 4))
        ready(limited, "ann", queues=[TWO])
        clock.advance(TTL / SECOND)
        clock.set(clock.now() - 1)
        early = ready(limited, "ben", queues=[TWO])
        clock.set(clock.now() + 1)

        assert ([], ["a2", "a3"]) == (early, ready(limited, "ben", queues=[TWO]))
        assert [] == ready(limited, "cid", queues=[TWO])

    def test_a_lease_that_is_renewed_keeps_its_slot(self, limited: Store, clock: VirtualClock) -> None:
        """Also beyond the end that it had at first."""
        line(limited, *of("a", 3))
        leases = leased(limited, queues=[TWO])
        clock.advance(0.9 * TTL / SECOND)
        limited.renew(leases, ttl=TTL)
        clock.advance(0.9 * TTL / SECOND)

        assert [] == ready(limited, "ben", queues=[TWO])

    def test_a_run_that_is_taken_over_needs_one_slot(self, limited: Store, clock: VirtualClock) -> None:
        """In a queue of one, a run whose worker died goes on."""
        line(limited, ("a0", ""))
        ready(limited, "ann", queues=[Queue("default", concurrency=1)])
        clock.advance(TTL / SECOND)

        assert ["a0"] == ready(limited, "ben", queues=[Queue("default", concurrency=1)])

    def test_each_claims_by_its_own_declaration(self, limited: Store) -> None:
        """Who declares more may take more."""
        line(limited, *of("a", 5))

        taken = [ready(limited, queues=[Queue("default", concurrency=number)]) for number in (2, 1, 3)]

        assert [["a0", "a1"], [], ["a2"]] == taken

    def test_limits_are_of_a_namespace(self, limited: Store) -> None:
        """What another one holds does not count."""
        limited.create([order(name, key=RunKey(space, name)) for space in (SHOP, "bank") for name in "abc"])

        assert 2 == len(ready(limited, queues=[TWO]))
        assert 2 == len(ready(limited, queues=[TWO], namespace="bank"))

    def test_limits_are_of_a_queue_not_of_a_workflow(self, limited: Store) -> None:
        """Workers that offer different workflows share the slots."""
        line(limited, *of("a", 2))
        line(limited, *of("b", 2), workflow="refund")

        assert 2 == len(ready(limited, queues=[TWO]))
        assert [] == ready(limited, "ben", queues=[TWO], workflows=["refund"])

    def test_a_claim_may_take_fewer_of_a_queue(self, limited: Store) -> None:
        """As many as its worker has room for."""
        line(limited, *of("a", 5))
        line(limited, *of("b", 2), queue="b")

        assert ["a0", "b0", "b1"] == sorted(ready(limited, queues=[Queue("default", here=1), "b"]))
        assert [] == ready(limited, queues=[Queue("default", here=0)])

    # ---- keys and fairness ----------------------------------------------------------------------------------------------

    def test_no_more_runs_of_a_key_are_held_than_allowed(self, limited: Store) -> None:
        """Other keys go on, and so do runs that have none."""
        line(limited, *of("a", 3), *of("b", 3), *of("c", 3, ""))
        queues = [Queue("default", per_key=1)]

        assert ["a0", "b0", "c0", "c1", "c2"] == sorted(ready(limited, queues=queues))
        assert [] == ready(limited, "ben", queues=queues)

    def test_a_key_has_room_again_when_its_run_rests(self, limited: Store) -> None:
        """Its next one goes."""
        line(limited, *of("a", 3))
        queues = [Queue("default", per_key=1)]
        (lease,) = leased(limited, queues=queues)
        apply(limited, turn(lease, 1, status="waiting", release=True))

        assert ["a1"] == ready(limited, "ben", queues=queues)

    def test_the_key_with_the_fewest_held_runs_goes_first(self, limited: Store) -> None:
        """Then who has waited longest; held runs of claims before count too."""
        line(limited, *of("a", 6), *of("b", 2), ("c0", "c"))
        queues = [Queue("default")]

        assert ["a0", "b0"] == ready(limited, queues=queues, limit=2)
        assert ["c0", "a1", "b1", "a2"] == ready(limited, queues=queues, limit=4)

    def test_a_plain_queue_knows_no_keys(self, store: Store) -> None:
        """First come, first served."""
        line(store, *of("a", 3), *of("b", 1))

        assert ["a0", "a1", "a2"] == ready(store, limit=3)

    def test_priorities_come_before_fairness(self, limited: Store) -> None:
        """A key that asks for more than its share gets it, where it is given a priority."""
        line(limited, ("b0", "b"))
        line(limited, *of("a", 3), priority=1)

        assert ["a0", "a1", "a2", "b0"] == ready(limited, queues=[Queue("default")])

    def test_no_key_waits_behind_the_backlog_of_another(self, limited: Store) -> None:
        """One run is taken at once although very many of others have waited longer, also when those are at their limit."""
        line(limited, *of("a", self.backlog))
        line(limited, ("b0", "b"), ("c0", ""))

        assert ["a0", "b0"] == ready(limited, queues=[Queue("default")], limit=2)
        assert ["c0"] == ready(limited, "ben", queues=[Queue("default", per_key=1)])

    # ---- rates ----------------------------------------------------------------------------------------------------------

    def test_no_more_runs_begin_than_a_rate_allows(self, limited: Store, clock: VirtualClock) -> None:
        """In any window of its length, however they were spread over the one before."""
        line(limited, *of("a", 9))
        queues = [Queue("default", rate=MINUTE)]
        long = 9_999 * SECOND
        taken = [len(ready(limited, queues=queues, limit=2, ttl=long))]
        for seconds in (30, 29.9, 0.1, 0.1, 29.9, 0.1):
            clock.advance(seconds)
            taken.append(len(ready(limited, queues=queues, ttl=long)))

        assert [2, 1, 0, 2, 0, 1, 0] == taken

    def test_a_rate_counts_what_begins_not_what_goes_on(self, limited: Store) -> None:
        """A run that was woken, given back or taken over was counted when it began."""
        line(limited, *of("a", 4))
        queues = [Queue("default", rate=MINUTE)]
        leases = leased(limited, queues=queues)
        limited.release(leases[:1])
        apply(limited, turn(leases[1], 1, status="waiting", release=True))
        deliver(limited, signal(run="a1"))

        assert ["a0", "a1"] == sorted(ready(limited, "ben", queues=queues))

    def test_a_rate_forgets_no_run_that_was_deleted(self, limited: Store) -> None:
        """What has begun has begun."""
        line(limited, *of("a", 5))
        queues = [Queue("default", rate=MINUTE)]
        for lease in leased(limited, queues=queues):
            apply(limited, turn(lease, 1, status="completed"))
            limited.delete([lease.key])

        assert [] == ready(limited, queues=queues)

    def test_a_large_rate_is_kept_too(self, limited: Store, clock: VirtualClock) -> None:
        """More than can be remembered one by one; it may be a thousandth of the window late, never early."""
        line(limited, *of("a", 9))
        queues = [Queue("default", rate=Rate(1_000_000, per=1))]
        many = [len(ready(limited, queues=queues, limit=3))]
        clock.advance(0.5)
        many.append(len(ready(limited, queues=queues)))

        assert [3, 6] == many

    # ---- when to come again ---------------------------------------------------------------------------------------------

    def test_who_is_held_back_is_told_when_a_lease_ends(self, limited: Store, clock: VirtualClock) -> None:
        """If nothing else happens, that is when there is room, also where the holder's workflow is not offered."""
        line(limited, ("b0", ""), workflow="refund")
        ready(limited, workflows=["refund"], queues=[Queue("default", concurrency=1)])
        line(limited, *of("a", 2))

        assert NOON + TTL == limited.claim(wish("ben", queues=[Queue("default", concurrency=1)])).next_at

    def test_who_is_held_back_by_a_rate_is_told_when_its_window_has_passed(self, limited: Store, clock: VirtualClock) -> None:
        """Not too late, and not so early that it asks in vain again and again."""
        line(limited, *of("a", 5))
        queues = [Queue("default", rate=Rate(2, per=10))]
        leases = leased(limited, queues=queues)
        for lease in leases:
            apply(limited, turn(lease, 1, status="completed"))

        assert NOON + 10 * SECOND == limited.claim(wish("ben", queues=queues)).next_at
        clock.set(NOON + 10 * SECOND)
        assert ["a2", "a3"] == ready(limited, "ben", queues=queues)

    # ---- races ----------------------------------------------------------------------------------------------------------

    def test_racing_claimers_never_exceed_a_limit(self, limited: Store) -> None:
        """Six workers, three slots, two of a key; each run is held, counted, and ended when its worker has asked for more."""
        line(limited, *of("a", 12), *of("b", 12))
        queues = [Queue("default", concurrency=3, per_key=2)]
        gate, held, most = threading.Lock(), Counter[str](), Counter[str]()

        def work(name: str) -> int:
            ended, mine = 0, list[Claimed]()
            for _ in range(400):
                taken = limited.claim(wish(name, queues=queues, limit=2)).runs
                with gate:
                    held.update(word for claimed in taken for word in ("all", claimed.run.fairness_key))
                    most.update({word: max(0, held[word] - most[word]) for word in held})
                for claimed in mine:
                    with gate:
                        held.subtract(["all", claimed.run.fairness_key])
                    assert [Committed.APPLIED] == limited.commit([turn(claimed.lease, 1, status="completed")])
                ended, mine = ended + len(mine), list(taken)
                if not mine and all(run is not None and run.status == "completed" for run in limited.get([key("a11"), key("b11")])):
                    break
            return ended

        assert 24 == sum(together(*(lambda name=name: work(name) for name in "abcdef"))) + len(drain(limited, queues))
        assert most["all"] <= 3
        assert max(most["a"], most["b"]) <= 2

    def test_racing_claimers_never_exceed_a_rate(self, limited: Store) -> None:
        """Six at once, and no more begin than one alone may begin."""
        line(limited, *of("a", 30))
        queues = [Queue("default", rate=Rate(10, per=60))]

        taken = together(*(lambda name=name: ready(limited, name, queues=queues, limit=3) for name in "abcdef"))
        rest = ready(limited, "g", queues=queues)

        assert 10 == sum(map(len, taken)) + len(rest)
        assert journal(1) == limited.journal(key("a0"))
        assert [] == ready(limited, "h", queues=queues)

    def test_a_slot_is_taken_once(self, limited: Store) -> None:
        """Eight workers want it at the same moment; who comes back empty-handed may ask again."""
        line(limited, *of("a", 8))
        queues = [Queue("default", concurrency=1)]

        taken = together(*(lambda name=name: ready(limited, name, queues=queues) for name in "abcdefgh"))

        assert 1 == sum(map(len, taken)) + len(ready(limited, "i", queues=queues))
        assert 1 == len({run.worker for run in limited.get([key(f"a{n}") for n in range(8)]) if run and run.worker})

    def test_a_damaged_run_takes_no_slot(self, limited: Store) -> None:
        """It is set aside, and the next one goes."""
        line(limited, *of("a", 3))
        queues = [Queue("default", concurrency=1)]
        self.damage(limited, key("a0"), 1)

        assert [] == ready(limited, queues=queues)
        assert "stuck" == look(limited, "a0").status
        assert 1 == take(limited, queues=queues).lease.fence


def drain(store: Store, queues: list[Queue]) -> list[str]:
    """Take and end what is left."""
    ended: list[str] = []
    while claims := store.claim(wish("last", queues=queues)).runs:
        for claimed in claims:
            apply(store, turn(claimed.lease, 1, status="completed"))
            ended.append(claimed.run.key.id)
    return ended
