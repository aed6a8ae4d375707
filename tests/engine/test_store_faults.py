"""A store that does not answer: unheard commits are resolved, not guessed; what cannot be written holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from replay import (
    Client,
    Engine,
    InvalidRequest,
    RunFailed,
    Start,
    StoreUnavailable,
    Workflow,
    continue_as_new,
    gather,
    info,
    log,
    publish,
    send_signal,
    signal,
    sleep,
    start_child,
    step,
    step_info,
    workflow,
)
from replay.engine.family import new_run
from replay.engine.offers import Offers
from replay.engine.pool import Inline
from replay.engine.requests import PostRequest, StartRequest
from replay.engine.settings import Settings
from replay.engine.worker import Worker
from replay.hooks import open_store
from replay.model.codec import from_json
from replay.model.journal import Started
from replay.store.contract import Committed, Message, RunKey
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Between, OpenEngine, between, kinds, let_pass, until


class Executions:
    """How often each command's step was begun."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun: list[str] = []

    def note(self) -> None:
        with self.lock:
            self.begun.append(step_info().idempotency_key)


@pytest.fixture
def executions() -> Executions:
    return Executions()


def mixed(executions: Executions) -> Any:
    """A workflow with something of everything that a commit can hold."""

    @step
    def work(number: int) -> int:
        executions.note()
        return number

    @workflow(name="mixed_child")
    def child(number: int) -> Workflow[int]:
        return (yield from work(number))

    @workflow(name="mixed")
    def flow(left: int) -> Workflow[int]:
        me = (yield from info()).run_id
        total = sum((yield from gather(work(1), work(2))))
        yield from log(f"round {left}")
        yield from publish("rounds", left)
        yield from send_signal(me, "self", 3)
        total += yield from signal("self", int)
        total += yield from child(4)
        yield from sleep(0.001)
        if left:
            yield from continue_as_new(left - 1)
        return total

    return flow


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_call_of_the_store_may_fail_once(
    store_url: str, open_engine: OpenEngine, executions: Executions, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """Before or after it took effect: each commit's fate is found out, nothing is lost, nothing that was committed is done again."""
    flow = mixed(executions)
    store = between(store_url)
    calls: dict[str, int] = {}

    def fail(verb: str, _answer: Any = None) -> None:
        calls[verb] = calls.get(verb, 0) + 1
        if calls[verb] % 3 == 1 and verb in {"commit", "claim", "renew"}:
            raise StoreUnavailable("test", f"{verb} number {calls[verb]} was not heard")

    setattr(store, when, fail)
    engine = open_engine(store, poll=0.05, ttl=0.3)
    handle = engine.start(flow(2), id="a")

    with caplog.at_level("INFO", logger="replay.workflow"):
        assert 10 == handle.result(PATIENCE)
    for number in (1, 2):
        assert "continued" == engine.get(f"a~{number}").status
    assert sorted(set(executions.begun)) == sorted(executions.begun)
    assert [2, 1, 0] == [from_json(entry.payload) for entry in store.store.read("default", "rounds")]
    lines = [record.getMessage() for record in caplog.records if record.name == "replay.workflow"]
    assert ["a: round 2", "a: round 1", "a: round 0"] == lines


def test_a_commit_that_was_applied_unheard_is_recognised(store_url: str, open_engine: OpenEngine) -> None:
    """The second try is refused, the journal's last events are ours: the turn counts as done, and no other worker is suspected."""
    refused: list[Committed] = []
    store = between(store_url)
    heard: list[int] = []

    def after(verb: str, _answer: Any) -> None:
        if verb == "commit":
            heard.append(1)
            if len(heard) == 1:
                raise StoreUnavailable("test", "no answer")

    store.after = after
    engine = open_engine(store)
    engine.worker.observers.refused = lambda key, fate: refused.append(fate)  # type: ignore[method-assign]  # listened to

    @step
    def one() -> int:
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from one())

    handle = engine.start(flow())

    assert (1, []) == (handle.result(PATIENCE), refused)
    assert ["started", "step_completed", "completed"] == kinds(handle)


def test_a_store_that_is_away_for_long_stops_nothing_for_good(store_url: str, open_engine: OpenEngine) -> None:
    """Hundreds of refusals in a row; then it comes back, and the run goes on where it was."""
    store = between(store_url)
    away = threading.Event()
    enough = threading.Event()

    @step
    def leave() -> int:
        away.set()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from leave()) + (yield from leave())

    refusals = 0

    def before(verb: str) -> None:
        nonlocal refusals
        if away.is_set() and not enough.is_set():
            refusals += 1
            if refusals == 1500:
                enough.set()
            raise StoreUnavailable("test", "away")

    store.before = before
    engine = open_engine(store)
    engine.worker.trouble.sleep = lambda _seconds: None

    assert 2 == engine.start(flow()).result(PATIENCE)
    assert 1500 == refusals


def test_a_request_that_the_store_refuses_is_its_caller_s_error(store_url: str, open_engine: OpenEngine) -> None:
    """The next request is taken as ever."""
    store = between(store_url)
    engine = open_engine(store)

    def before(verb: str) -> None:
        if verb in {"create", "post"}:
            raise OverflowError("bad value")

    handle = engine.start(waiting(), id="a")
    store.before = before
    for call in (lambda: engine.start(waiting()), lambda: handle.signal("go")):
        with pytest.raises(OverflowError, match="bad value"):
            call()
    store.before = lambda _verb: None
    handle.signal("go")

    assert handle.result(PATIENCE) is None


class Choosy(Between):
    """A store that cannot take what is meant for one run."""

    def _call(self, name: str, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name in {"create", "post"} and any(item.key.id == "bad" for item in args[0]):
            raise OverflowError("bad value")
        return super()._call(name, verb, *args, **kwargs)


def test_of_requests_that_came_together_each_has_its_own_fate(store_url: str) -> None:
    """What the store refuses as a whole is tried one by one: one caller's mistake is not another's."""
    store: Any = Choosy(open_store(store_url))
    worker = Worker(store, name="w", executor=Inline(), settings=Settings(), offers=Offers({}))
    keys = [RunKey("default", name) for name in ("good", "bad", "fine")]
    starts = [StartRequest([new_run(key, Started(workflow="absent"), at=1)], [], Future()) for key in keys]
    posts = [PostRequest([Message("m", key, "signal", "go", b"null")], Future()) for key in keys]
    for requests in (starts, posts):
        for request in requests:
            worker.inbox.put(request)
        worker.pump(0)

    for requests in (starts, posts):
        assert [False, True, False] == [isinstance(request.future.exception(0), OverflowError) for request in requests]
    assert [True, False, True] == [run is not None and run.status == "pending" for run in store.get(keys)]
    store.close()


@workflow
def waiting() -> Workflow[None]:
    yield from signal("go")


def test_a_commit_that_cannot_be_written_sticks_its_own_run_only(store_url: str, open_engine: OpenEngine) -> None:
    """A value that no database can hold, such as a lone surrogate in a child's id."""

    @workflow
    def child() -> Workflow[int]:
        yield from sleep(0)
        return 1

    @workflow
    def bad() -> Workflow[int]:
        yield from signal("go")
        yield from start_child(child(), id="\ud800")
        return (yield from signal("never", int))

    @workflow
    def good() -> Workflow[str]:
        yield from signal("go")
        yield from sleep(0)
        return "good"

    engine = open_engine()
    handles = [engine.start(good(), id=f"good-{n}") for n in range(5)]
    spoilt = engine.start(bad(), id="bad")
    for handle in handles:
        handle.signal("go")
    spoilt.signal("go")

    assert ["good"] * 5 == [handle.result(PATIENCE) for handle in handles]
    with pytest.raises(RunFailed, match="surrogate"):
        spoilt.result(PATIENCE)
    assert "stuck" == spoilt.status


class Picky(Between):
    """A store with a bug: it cannot write what one run wants to commit."""

    def _call(self, name: str, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name == "commit" and any(commit.lease.key.id == "bad" and commit.events for commit in args[0]):
            raise OverflowError("cannot be written")
        return super()._call(name, verb, *args, **kwargs)


def test_a_commit_that_the_store_chokes_on_harms_no_other_in_its_batch(store_url: str, open_engine: OpenEngine) -> None:
    """Each is sent alone; the one is set aside with what the store said, and goes on when the store can."""
    store = Picky(open_store(store_url))
    engine = open_engine(store)
    names = ["good-1", "bad", "good-2"]
    handles = engine.start_many([Start(waiting(), name) for name in names])
    engine.post([Message("m", handle.key, "signal", "go", b"null") for handle in handles])

    assert [None, None] == [engine.get(name, waiting).result(PATIENCE) for name in ("good-1", "good-2")]
    with pytest.raises(RunFailed, match="OverflowError: cannot be written"):
        engine.get("bad").result(PATIENCE)
    assert ("stuck", ["started"]) == (engine.get("bad").status, kinds(engine.get("bad")))
    engine.close()
    again = open_engine()
    again.get("bad").resume()
    until(lambda: "completed" == again.get("bad").status, again.store)


def test_an_engine_outlives_what_nobody_expected(store_url: str, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture) -> None:
    """A store with a bug: the engine's round fails, is logged, and its runs are read again."""
    store = between(store_url)
    raised: list[int] = []

    def before(verb: str) -> None:
        if verb == "claim" and len(raised) < 2:
            raised.append(1)
            raise RuntimeError("a bug in the store")

    engine = open_engine(store)
    handle = engine.start(waiting(), id="a")
    store.before = before
    engine.worker.held.claim_at = 0
    handle.signal("go")

    assert handle.result(PATIENCE) is None
    assert "the engine's round failed" in caplog.text


def test_an_engine_whose_store_is_gone_can_be_closed(store_url: str, open_engine: OpenEngine) -> None:
    """Closing does not wait for a store that will not come back."""

    @step
    def one() -> int:
        return 1

    @workflow
    def flow() -> Workflow[int]:
        total = 0
        for _ in range(10_000):
            total += yield from one()
        return total

    for broken in (StoreUnavailable("test", "away"), RuntimeError("a bug")):
        store: Between = between(store_url)
        engine = open_engine(store, grace=0.2)
        handle = engine.start(flow())
        until(lambda handle=handle: handle.about().seq > 3, store.store)  # type: ignore[misc]  # bound by default

        def before(verb: str, error: Exception = broken) -> None:
            raise error

        store.before = before
        engine.close()
        assert not engine._driver.is_alive()


def test_a_clock_that_goes_back_an_hour_makes_nobody_deaf(open_engine: OpenEngine, clock: VirtualClock, caplog: Any) -> None:
    """New runs are taken, messages are heard, leases are renewed, and a warning says what happened."""
    engine = open_engine(clock=clock, poll=0.5)
    first = engine.start(waiting(), id="a")
    let_pass(engine, clock, -3600)
    first.signal("go")
    assert first.result(PATIENCE) is None
    second = engine.start(waiting(), id="b")
    let_pass(engine, clock, 1)
    second.signal("go")

    assert second.result(PATIENCE) is None
    assert "went back by 3600.000 s" in caplog.text
    moments = [event.at for event in first.journal()]
    assert sorted(moments) == moments


def later_ended(engine: Engine, clock: VirtualClock, seconds: float) -> bool:
    """Whether the run has ended, some time later."""
    let_pass(engine, clock, seconds)
    return engine.get("a").status == "completed"


def test_a_clock_that_goes_back_hides_no_message_of_others(store_url: str, clock: VirtualClock, open_engine: OpenEngine) -> None:
    """What another client posts is found by looking, as ever."""
    engine = open_engine(clock=clock, poll=0.2)
    handle = engine.start(waiting(), id="a")
    let_pass(engine, clock, 1)
    let_pass(engine, clock, -3600)
    with Client(store_url, clock=clock) as client:
        client.get("a").signal("go")
    until(partial(later_ended, engine, clock, 0.1), engine.store)

    assert ["started", "signal_received", "completed"] == kinds(handle)


def test_a_clock_that_jumps_an_hour_ahead_loses_nothing(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Every timer is due, every lease has ended: runs go on all the same, and no step that was answered is done again."""
    engine = open_engine(clock=clock, ttl=10)
    done: list[int] = []

    @step
    def work(number: int) -> int:
        done.append(number)
        clock.advance(3600)
        return number

    @workflow
    def flow() -> Workflow[int]:
        total = 0
        for number in range(5):
            total += yield from work(number)
            yield from sleep(60)
        return total

    handle = engine.start(flow(), id="a")
    for _ in range(10):
        let_pass(engine, clock, 61)
    until(partial(later_ended, engine, clock, 61), engine.store)

    assert 10 == handle.result(PATIENCE)
    assert [0, 1, 2, 3, 4] == done


def test_a_closed_store_is_named(store_url: str) -> None:
    """An engine over a store that its owner closed: callers are told, and the engine can still be closed."""
    store = open_store(store_url)
    with Engine(store, grace=0) as engine:
        store.close()
        with pytest.raises(StoreUnavailable, match="it is closed"):
            _ = engine.start(waiting())
    with pytest.raises(InvalidRequest):
        _ = engine.start(waiting())
