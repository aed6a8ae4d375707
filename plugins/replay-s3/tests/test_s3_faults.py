"""What a bucket's server and the line to it may do, and what the store makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from replay_s3.heads import INLINE
from replay_s3.store import S3Store, open_s3
from replay_s3.testing import between

from replay import Engine, InvalidRequest, StoreUnavailable, Workflow, gather, signal, sleep, step, workflow
from replay.hooks import Commit, Committed, Event, NewRun, Posted, RunKey
from replay.testing import VirtualClock
from replay.testing.store_suite.case import apply, begin, park, texts, together, wish
from replay.testing.store_suite.case import order as new_order
from replay.testing.store_suite.case import signal as message


@pytest.fixture
def line(endpoint: str) -> Iterator[tuple[str, Any]]:
    """A proxy before the server, and what it does."""
    with between(endpoint) as (address, meddler):
        yield address, meddler


@pytest.fixture
def store(line: tuple[str, Any], bucket: str) -> Iterator[S3Store]:
    """A store behind the proxy."""
    opened = open_s3(f"s3://{bucket}/faults?endpoint={line[0]}&timeout=1")
    yield opened
    opened.close()


def begun(store: S3Store, name: str = "order-1") -> Any:
    """A run that ann holds."""
    event = Event(1, "started", "", "order", 1, b"{}")
    (made,) = store.create([NewRun(key=RunKey("shop", name), workflow="order", events=[event])], worker="ann", ttl=60_000_000)
    return made.lease


def answered(seq: int) -> Event:
    """An answer to a step."""
    return Event(seq, "step_completed", str(seq), "charge", seq, b'"r-1"')


def first_time(kind: str, part: str, verdict: str) -> Any:
    """A judge that meddles once with the first such request whose path has this part."""
    left = [verdict]
    return lambda method, path: left.pop() if method == kind and part in path and left else "pass"


@pytest.mark.faults
@pytest.mark.parametrize("verdict", ["lose", "hang", "fail", "busy"])
def test_a_commit_whose_answer_is_lost_is_found_out_about(store: S3Store, line: tuple[str, Any], verdict: str) -> None:
    """Applied or not, in the end it stands in the journal once."""
    lease = begun(store)
    line[1].judge = first_time("PUT", "/head", verdict)

    assert [Committed.APPLIED] == store.commit([Commit(lease=lease, expected=1, events=[answered(2)])])
    assert [1, 2] == [event.seq for event in store.journal(lease.key)]


@pytest.mark.faults
@pytest.mark.parametrize("status", ["waiting", "completed"])
def test_what_a_dying_worker_had_to_send_is_sent(endpoint: str, bucket: str, line: tuple[str, Any], status: str) -> None:
    """It parked or ended its run, and died before the message, the child and the word that belong to that turn were on their way."""
    clock = VirtualClock()
    dying, other = (open_s3(f"s3://{bucket}/outbox?endpoint={place}", clock=clock) for place in (line[0], endpoint))
    park(other, "partner")
    turn = Commit(
        lease=begin(dying, "sender"),
        expected=1,
        status=status,
        release=True,
        posts=[message("ball", "partner")],
        children=[new_order("child")],
        topics=[("news", b"1")],
    )
    written: list[str] = []

    def die_after_the_head(method: str, path: str) -> str:
        if written:
            return "busy"
        if method == "PUT" and "/runs/shop/sender" in path:
            written.append(path)
        return "pass"

    line[1].judge = die_after_the_head
    with pytest.raises(StoreUnavailable):
        dying.commit([turn])
    clock.advance(3_600)
    other.claim(wish("ben"))
    clock.advance(1)
    claimed = {found.run.key.id: texts(found.mail) for found in other.claim(wish("ben")).runs}

    assert {"partner": ["ball"], "child": []} == claimed
    assert [b"1"] == [entry.payload for entry in other.read("shop", "news")]
    dying.close()
    other.close()


@pytest.mark.faults
def test_who_is_slow_to_take_a_marker_away_takes_none_that_came_after(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run waits for a moment, is woken by a message, and waits for the same moment again, before the sender has tidied up."""
    clock = VirtualClock()
    store = open_s3(url, clock=clock)
    noon = clock.now() + 60_000_000
    lease = begun(store)
    apply(store, Commit(lease=lease, expected=1, status="waiting", wake_at=noon, release=True))
    late: list[list[str]] = []
    with monkeypatch.context() as slow:
        slow.setattr(store.bucket, "delete", late.append)
        assert [Posted.DELIVERED] == store.post([message("m1", lease.key.id)])
    (woken,) = store.claim(wish("ben")).runs
    apply(store, Commit(lease=woken.lease, expected=1, status="waiting", wake_at=noon, release=True, consumed=["m1"]))
    assert late
    for keys in late:
        store.bucket.delete(keys)
    clock.advance(61)

    assert [lease.key] == [claimed.run.key for claimed in store.claim(wish("ben")).runs]
    store.close()


def test_more_runs_than_requests_at_once_are_claimed_with_their_mail(url: str) -> None:
    """Each brings several objects, and none waits for threads that wait for it."""
    store = open_s3(f"{url}&requests=2")
    names = [f"order-{number}" for number in range(4)]
    store.create([new_order(name) for name in names])
    store.post([message(f"{name}-{number}", name) for name in names for number in range(3)])

    assert [3, 3, 3, 3] == [len(claimed.mail) for claimed in store.claim(wish(limit=4)).runs]
    store.close()


def test_a_long_journal_that_comes_at_once_is_read_in_part(url: str) -> None:
    """A run that is forked or imported with thousands of events recovers from its savepoint with three reads: head, beginning, end."""
    store = open_s3(url)
    journal = [Event(1, "started", "", "order", 1, b"{}"), *(answered(seq) for seq in range(2, 5_000))]
    store.create([NewRun(key=RunKey("shop", "order-1"), workflow="order", events=journal, base=4_998)])
    before = store.bucket.counts["get"]
    (claimed,) = store.claim(wish()).runs

    assert [1, *range(4_998, 5_000)] == [event.seq for event in claimed.journal]
    assert 3 == store.bucket.counts["get"] - before
    assert max(found.size for found in store.bucket.entries("runs/")) < 2 * INLINE
    assert journal == store.journal(claimed.run.key)
    store.close()


@pytest.mark.faults
def test_an_entry_is_there_once_however_many_deliver_it(endpoint: str, bucket: str) -> None:
    """The worker that committed it, slow but alive, and others that take it for dead; also when its place was taken meanwhile."""
    stores = [open_s3(f"s3://{bucket}/topics?endpoint={endpoint}") for _ in range(4)]
    (posting,) = stores[0]._topics.addressed("shop", [("news", b"1")], "mark")
    stores[1].publish("shop", [("news", b"0")])

    together(*[partial(store._topics.deliver, posting) for store in stores for _ in range(2)])

    assert [(1, b"0"), (2, b"1")] == [(entry.offset, entry.payload) for entry in stores[0].read("shop", "news")]
    for store in stores:
        store.close()


@pytest.mark.faults
def test_a_server_that_ignores_conditions_is_refused(line: tuple[str, Any], bucket: str) -> None:
    """Two workers would overwrite each other on it."""
    line[1].deaf = True

    with pytest.raises(StoreUnavailable, match="ignores the conditions of writes"):
        open_s3(f"s3://{bucket}/deaf?endpoint={line[0]}")


@pytest.mark.parametrize("url", ["s3:///prefix", "s3://bucket/x?colour=red", "s3://key:secret@bucket/x"])
def test_a_url_that_does_not_fit_is_refused(url: str) -> None:
    """And its secret is not repeated."""
    with pytest.raises(InvalidRequest) as caught:
        open_s3(url)

    assert "secret" not in str(caught.value)


def test_two_prefixes_of_one_bucket_are_two_stores(endpoint: str, bucket: str) -> None:
    """Neither sees the other's runs."""
    one, two = (open_s3(f"s3://{bucket}/{name}?endpoint={endpoint}") for name in ("one", "two"))
    begun(one)

    assert [None] == two.get([RunKey("shop", "order-1")])
    one.close()
    two.close()


@step
def charge(cents: int) -> int:
    """Answer."""
    return cents


@workflow
def order(steps: int) -> Workflow[int]:
    """Steps in sequence, then some at once, a pause and a message."""
    total = 0
    for cents in range(steps):
        total += yield from charge(cents)
    total += sum((yield from gather(charge(1), charge(2))))
    yield from sleep(0.05)
    total += yield from signal("tip", int)
    return total


def test_an_order_runs_on_nothing_but_a_bucket(url: str) -> None:
    """Steps, branches, a timer and a message."""
    with Engine(url, workflows=[order]) as engine:
        handle = engine.start(order(3), id="order-1")
        handle.signal("tip", 10)

        assert 0 + 1 + 2 + 3 + 10 == handle.result(timeout=60)


@workflow
def long(steps: int) -> Workflow[int]:
    """Steps in sequence."""
    total = 0
    for cents in range(steps):
        total += yield from charge(cents)
    return total


def test_a_step_in_sequence_costs_little_more_than_one_write(url: str) -> None:
    """At most 1.3 requests a step, all of them told by the store itself."""
    opened = open_s3(url)
    with Engine(opened, workflows=[long]) as engine:
        engine.start(long(1)).result(timeout=60)
        before = sum(opened.bucket.counts.values())
        engine.start(long(100)).result(timeout=110)
        asked = sum(opened.bucket.counts.values()) - before
    opened.close()

    assert asked <= 1.3 * 100 + 10, dict(opened.bucket.counts)


def test_a_run_is_gone_on_with_by_another_engine(url: str) -> None:
    """What one engine gave back the next one finishes."""
    with Engine(url, workflows=[order]) as engine:
        started = engine.start(order(2), id="order-1")
    assert "order-1" == started.id
    with Engine(url, workflows=[order]) as engine:
        handle = engine.get("order-1")
        handle.signal("tip", 1)

        assert 0 + 1 + 3 + 1 == handle.result(timeout=60)
