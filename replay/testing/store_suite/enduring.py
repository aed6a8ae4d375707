"""Crashes and crowds: between any two calls a process may die, and many may call at once."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from replay.model.events import Event
from replay.store.contract import Claimed, Commit, Committed, Filter, Lease, Message, Posted, RunKey, Store
from replay.testing.clock import SECOND, VirtualClock
from replay.testing.store_suite.case import (
    SHOP,
    TTL,
    OpenAgain,
    StoreCase,
    answered,
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
    texts,
    together,
    turn,
    wish,
)


def picture(store: Store) -> list[Any]:
    """All that can be seen of the shop without changing it."""
    runs = store.find(Filter(namespace=SHOP), limit=1000).runs
    return [runs, [store.journal(run.key) for run in runs], [store.read(SHOP, topic) for topic in ("news", "other")]]


class Enduring(StoreCase):
    """What holds when processes die and when many threads call."""

    # ---- another handle -------------------------------------------------------------------------------------------------

    def test_a_crash_between_any_two_calls_changes_nothing(self, store: Store, open_again: OpenAgain, clock: VirtualClock) -> None:
        """After each call the process dies, its store never closed; the next one sees the same and goes on with its leases."""
        leases: dict[str, Lease] = {}

        def create(now: Store) -> None:
            leases["a"] = begin(now, "a")
            now.create([order("b", ready_at=clock.now() + SECOND), order("c", tags={"who": "ann"}, state={"k": b"0"})])

        def hold(now: Store) -> None:
            leases.update({item.run.key.id: item.lease for item in now.claim(wish()).runs})

        steps: list[Callable[[Store], object]] = [
            create,
            lambda now: deliver(now, signal("m1", "a"), signal("m2", "a"), signal("m3", "b")),
            hold,
            lambda now: apply(now, turn(leases["a"], 1, consumed=["m1"], children=[order("d")], topics=[("news", b"1")])),
            lambda now: now.renew([leases["a"]], ttl=2 * TTL),
            lambda now: now.publish(SHOP, [("other", b"x"), ("news", b"2")]),
            lambda now: now.release([leases["b"]]),
            lambda _: clock.advance(TTL / SECOND),
            hold,
            lambda now: apply(now, turn(leases["c"], 1, status="continued", successor=order("c", tags={"who": "ben"}))),
            lambda now: apply(now, turn(leases["b"], 1, status="completed", result=b"null", posts=[signal("m4", "a")])),
            lambda now: now.delete([key("b")]),
            lambda now: apply(now, turn(leases["a"], 2, status="waiting", release=True, base=3, wake_at=clock.now() + SECOND)),
        ]
        handles = [store]
        for step in steps:
            step(handles[-1])
            before = picture(handles[-1])
            handles.append(open_again())
            assert before == picture(handles[-1])

        last = handles[-1]
        claimed = {item.run.key.id: item for item in last.claim(wish("ben")).runs}
        assert {"a": ["m2", "m4"], "c": []} == {name: texts(item.mail) for name, item in claimed.items()}
        assert [Posted.DUPLICATE] == last.post([signal("m1", "a")])
        assert [Committed.FENCED] == last.commit([turn(leases["a"], 3)])
        for handle in handles:
            handle.close()

    def test_what_was_closed_can_be_opened_again(self, store: Store, open_again: OpenAgain) -> None:
        """Runs, journals, mail, topics, blobs and leases are there."""
        lease = begin(store)
        deliver(store, signal())
        name = store.put_blob(b"data")
        apply(store, turn(lease, 1, topics=[("news", b"1")]))
        before = picture(store)
        store.close()

        again = open_again()

        assert before == picture(again)
        assert b"data" == again.get_blob(name)
        assert ["m1"] == texts(again.claim(wish("ann")).mail)
        apply(again, turn(lease, 2))
        again.close()

    def test_two_handles_share_one_truth(self, store: Store, open_again: OpenAgain, clock: VirtualClock) -> None:
        """What one writes the other reads; a run that one holds the other cannot take or write to."""
        other = open_again()
        old = begin(store, worker="ann")

        assert [] == ready(other, "ben")
        deliver(other, signal())
        assert ["m1"] == texts(store.claim(wish("ann")).mail)
        clock.advance(TTL / SECOND)
        new = take(other, "ben").lease
        assert [Committed.FENCED] == store.commit([turn(old, 1)])
        apply(other, turn(new, 1))
        assert journal(2) == store.journal(key())
        other.close()

    def test_closing_one_handle_leaves_the_other(self, store: Store, open_again: OpenAgain) -> None:
        """Each lets go of its own."""
        other = open_again()
        lease = begin(other)

        other.close()

        apply(store, turn(lease, 1))

    # ---- crowds ---------------------------------------------------------------------------------------------------------

    def test_a_reader_of_a_topic_misses_nothing(self, store: Store) -> None:
        """While four threads publish, whoever goes on from the last offset it saw sees every entry once."""
        done = threading.Event()
        writers = 4

        def write(name: int) -> list[bytes]:
            mine = [b"%d-%d" % (name, number) for number in range(50)]
            for payload in mine:
                store.publish(SHOP, [("news", payload)])
            return mine

        def follow() -> list[bytes]:
            seen: list[bytes] = []
            offset, last = 0, False
            while not last:
                last = done.is_set()
                for entry in store.read(SHOP, "news", after=offset, limit=7):
                    assert entry.offset > offset
                    seen.append(entry.payload)
                    offset, last = entry.offset, False
            return seen

        def write_all() -> list[bytes]:
            try:
                return [payload for mine in together(*(lambda n=n: write(n) for n in range(writers))) for payload in mine]
            finally:
                done.set()

        written, seen = together(write_all, follow)

        assert sorted(written) == sorted(seen)

    def test_a_mixed_load_keeps_every_promise(self, store: Store, clock: VirtualClock) -> None:
        """Eight threads create, claim, commit, post, die, and let time pass, for some seconds; then the books are balanced."""
        until = time.monotonic() + self.busy_seconds
        crowd = [Clerk(store, clock, f"clerk-{number}", random.Random(number)) for number in range(8)]  # noqa: S311

        together(*(lambda clerk=clerk: clerk.work(until) for clerk in crowd))

        settle(store, clock, crowd)
        balance(store, crowd)


RUNS = 12
"""So few runs that eight clerks meet at each of them."""


@attrs.define
class Clerk:
    """One thread of the mixed load; it writes down what the store told it.

    Attributes:
        store: Where it works.
        clock: What it may push on.
        name: Its name as a worker.
        dice: Its own chance.
        leases: Every lease that it was ever given.
        held: The newest lease for each run that it has not given back, with the length that it believes in.
        created: Runs that it was told are new.
        events: What was applied of its own events.
        posted: Messages that were delivered.
        consumed: Messages that a commit of its own, applied, consumed.
        shown: Ids of messages that it was shown, by run.
    """

    store: Store
    clock: VirtualClock
    name: str
    dice: random.Random
    leases: list[Lease] = attrs.field(factory=list)
    held: dict[RunKey, tuple[Lease, int]] = attrs.field(factory=dict)
    created: list[RunKey] = attrs.field(factory=list)
    events: list[tuple[RunKey, Event]] = attrs.field(factory=list)
    posted: list[tuple[RunKey, str]] = attrs.field(factory=list)
    consumed: list[tuple[RunKey, str]] = attrs.field(factory=list)
    mail: dict[RunKey, set[str]] = attrs.field(factory=dict)
    made: itertools.count[int] = attrs.field(factory=itertools.count)

    def work(self, until: float) -> None:
        """Do this and that until the time is over."""
        deeds = [self.create, self.claim, self.claim, self.commit, self.commit, self.commit, self.post, self.post]
        deeds += [self.renew, self.release, self.die, self.pass_time, self.look_around]
        while time.monotonic() < until:
            self.dice.choice(deeds)()

    def some_run(self) -> RunKey:
        """One of the runs."""
        return key(f"run-{self.dice.randrange(RUNS)}")

    def create(self) -> None:
        """Create a run, which most often exists."""
        created = self.store.create([order(self.some_run().id)], worker=self.name, ttl=TTL)[0]
        assert created.new or created.lease is None
        if created.new:
            self.created.append(created.run.key)
        if created.lease:
            self.take(created.lease, 1, [])

    def claim(self) -> None:
        """Claim some runs, and see new mail."""
        claims = self.store.claim(wish(self.name, limit=2))
        for message in claims.mail:
            self.mail.setdefault(message.key, set()).add(message.id)
        for run, lease, events, mail in claims.runs:
            assert [event.seq for event in events] == list(range(1, run.seq + 1))
            self.take(lease, run.seq, mail)

    def take(self, lease: Lease, length: int, mail: Any) -> None:
        """Note a lease."""
        self.leases.append(lease)
        self.held[lease.key] = (lease, length)
        self.mail[lease.key] = {message.id for message in mail}

    def commit(self) -> None:
        """Commit a turn for each run held, all in one batch, some parking, some with a wrong length."""
        batch = [self.turn(*self.held[run]) for run in sorted(self.held)[:3]]
        for commit, answer in zip(batch, self.store.commit(batch), strict=True):
            run = commit.lease.key
            if answer is Committed.APPLIED:
                self.events += [(run, event) for event in commit.events]
                self.consumed += [(run, message) for message in commit.consumed]
                self.posted += [(post.key, post.id) for post in commit.posts]
                self.mail[run] -= set(commit.consumed)
                self.held[run] = (commit.lease, commit.expected + len(commit.events))
            if answer is Committed.FENCED or (answer is Committed.APPLIED and commit.release):
                del self.held[run]

    def turn(self, lease: Lease, length: int) -> Commit:
        """A turn that shows whose it is in the journal and in the topic."""
        expected = length if self.dice.random() < 0.9 else max(0, length - 1)
        mark = f"{self.name}/{next(self.made)}".encode()
        park = self.dice.random() < 0.4
        return turn(
            lease,
            expected,
            events=[answered(seq, mark) for seq in range(expected + 1, expected + 1 + self.dice.randrange(3))],
            consumed=sorted(self.mail[lease.key])[: self.dice.randrange(4)],
            topics=[("news", mark)],
            posts=[signal(f"post/{mark.decode()}", lease.key.id)],
            status="waiting" if park else "running",
            wake_at=self.clock.now() + SECOND * self.dice.randrange(90),
            release=park,
        )

    def post(self) -> None:
        """Leave a message, at times twice."""
        message = signal(f"{self.name}/{next(self.made)}", self.some_run().id)
        answer = self.store.post([message])[0]
        if answer is Posted.DELIVERED:
            self.posted.append((message.key, message.id))
            if self.dice.random() < 0.3:
                assert [Posted.DUPLICATE] == self.store.post([message])

    def renew(self) -> None:
        """Prolong what is held, and forget what has moved on."""
        leases = [lease for lease, _ in self.held.values()]
        for lease, kept in zip(leases, self.store.renew(leases, ttl=TTL), strict=True):
            if not kept:
                del self.held[lease.key]

    def release(self) -> None:
        """Give everything back."""
        self.store.release([lease for lease, _ in self.held.values()])
        self.held.clear()

    def die(self) -> None:
        """Forget what is held, as a process does that was killed."""
        if self.dice.random() < 0.2:
            self.held.clear()

    def pass_time(self) -> None:
        """Some seconds go by for all."""
        self.clock.advance(self.dice.randrange(12))

    def look_around(self) -> None:
        """Read a run, twice: its fence and its length never fall."""
        run = self.some_run()
        first = self.store.get([run])[0]
        events = self.store.journal(run)
        second = self.store.get([run])[0]
        if first and second:
            assert first.fence <= second.fence
            assert first.seq <= len(events) <= second.seq
        assert len(self.store.find(Filter(namespace=SHOP), limit=RUNS + 1).runs) <= RUNS


def settle(store: Store, clock: VirtualClock, crowd: list[Clerk]) -> None:
    """Let every lease end, and claim what there is: what remains in the mail is what nobody consumed."""
    clock.advance(3600)
    left: list[Message] = []
    taken: list[Claimed] = []
    while some := store.claim(wish("auditor", ttl=10**12)).runs:
        taken += some
        left += [message for claimed in some for message in claimed.mail]
    assert sorted(run for clerk in crowd for run in clerk.created) == sorted(claimed.run.key for claimed in taken)
    consumed = {pair for clerk in crowd for pair in clerk.consumed}
    posted = {pair for clerk in crowd for pair in clerk.posted}
    assert sorted(posted - consumed) == sorted((message.key, message.id) for message in left)
    crowd[0].leases += [claimed.lease for claimed in taken]


def balance(store: Store, crowd: list[Clerk]) -> None:
    """Every answer that anyone was given agrees with what the store holds."""
    applied = sorted(pair for clerk in crowd for pair in clerk.events)
    runs = sorted(run.key for run in store.find(Filter(namespace=SHOP)).runs)
    assert applied == [(run, event) for run in runs for event in store.journal(run, after=1)]

    fences = Counter((lease.key, lease.fence) for clerk in crowd for lease in clerk.leases)
    assert [] == [pair for pair, times in fences.items() if times > 1]
    assert [max(fence for run, fence in fences if run == name) for name in runs] == [look(store, run.id).fence for run in runs]

    consumed = Counter(pair for clerk in crowd for pair in clerk.consumed)
    assert [] == [pair for pair, times in consumed.items() if times > 1]

    marks = {event.payload for clerk in crowd for _, event in clerk.events}
    entries = Counter(entry.payload for entry in store.read(SHOP, "news", limit=1_000_000))
    assert set() == marks - set(entries)
    assert {1} == set(entries.values())
