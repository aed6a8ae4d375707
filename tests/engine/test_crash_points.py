"""An engine may die before or after any call of its store: the next one goes on, and does nothing again that was committed."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import replay.client.embedded
from replay import (
    Engine,
    Retry,
    StepInterrupted,
    StoreUnavailable,
    Workflow,
    gather,
    publish,
    savepoint,
    send_signal,
    signal,
    sleep,
    start_child,
    step,
    step_info,
    workflow,
)
from replay import join as join_child
from replay.engine.identity import worker_name
from replay.hooks import open_store
from replay.model import events
from replay.model.codec import from_json
from replay.store.contract import Filter, RunKey, Store
from replay.store.memory import WORLDS
from tests.helpers.engines import PATIENCE, Between, between, until

LOCK = threading.Lock()
BEGUN: list[tuple[str, int, bool]] = []
"""Key, attempt and whether it may be begun only once."""
STORES: list[Store] = []
"""Where a step looks whether it was answered already."""


def note(*, once: bool = False) -> None:
    """A step that begins: its answer must not be in the journal yet."""
    me = step_info()
    key = next(run.key for run in STORES[0].find(Filter(prefix=me.run_id)).runs if run.key.id == me.run_id)
    answered = {event.command for event in STORES[0].journal(key) if event.kind in {events.STEP_COMPLETED, events.STEP_FAILED}}
    assert me.command not in answered, f"{me.idempotency_key} is begun again after its answer was committed"
    with LOCK:
        BEGUN.append((me.idempotency_key, me.attempt, once))


@step(retry=Retry(max_attempts=3, initial=0, jitter=0))
def crash_work(number: int) -> int:
    note()
    if number == 2 and step_info().attempt == 1:
        raise OSError("once")
    return number


@step(at_most_once=True)
def crash_once() -> int:
    note(once=True)
    return 10


@workflow
def crash_child(number: int) -> Workflow[int]:
    word = yield from signal("word", int)
    return word + (yield from crash_work(number))


@workflow
def crash_flow(state: int | None = None) -> Workflow[int]:
    """A bit of everything; 1 + 2 + 10 + 5 + 3."""
    if state is None:
        first, second = yield from gather(crash_work(1), crash_work(2))
        yield from publish("said", "early")
        yield from savepoint("half", state=first + second)
        state = first + second
    try:
        state += yield from crash_once()
    except StepInterrupted:
        state += 10
    child = yield from start_child(crash_child(3), id="crash-child")
    yield from send_signal("crash-child", "word", 5)
    yield from sleep(0.001)
    yield from publish("said", "late")
    return state + (yield from join_child(child))


def ended() -> bool:
    """Whether the run has ended, as far as its medium knows."""
    (run,) = STORES[0].get([RunKey("default", "a")])
    return run is not None and run.status == "completed"


def live(store: Any, lives: int) -> int:
    """One life of an engine, to the end of the run or of its store; how many calls of the store that took."""
    name = worker_name().rsplit("/", 2)[0] + f"/999999999.{lives}/dead"
    setattr(replay.client.embedded, "worker_name", lambda: name)  # noqa: B010 - a process that is gone when the next one looks
    engine = Engine(store, workflows=[crash_flow, crash_child], poll=1, grace=0, threads=2)
    try:
        handle = engine.start(crash_flow(), id="a")
        if isinstance(store, Dying):
            until(lambda: store.dead.is_set() or ended(), STORES[0])
        else:
            assert 21 == handle.result(PATIENCE)
    except StoreUnavailable:
        assert isinstance(store, Dying)
    finally:
        calls: int = sum(store.calls.values())
        engine.close()
        store.store.close()
    return calls


class Dying(Between):
    """A store that is out of reach from its n-th call on: before that call takes effect, or after it."""

    def __init__(self, store: Store, last: int, *, after: bool) -> None:
        super().__init__(store)
        self.last = last
        self.late = after
        self.dead = threading.Event()
        self.before = self._before
        self.after = self._after

    def _before(self, verb: str) -> None:
        if sum(self.calls.values()) > self.last - (not self.late):
            self.dead.set()
            raise StoreUnavailable("test", f"dead before {verb}")

    def _after(self, verb: str, _answer: Any) -> None:
        if sum(self.calls.values()) >= self.last:
            self.dead.set()
            raise StoreUnavailable("test", f"dead after {verb}")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, store_url: str) -> Any:
    """A fresh medium, and names that are put back."""
    monkeypatch.setattr("replay.client.embedded.worker_name", worker_name)
    BEGUN.clear()
    STORES[:] = [open_store(store_url)]
    yield store_url
    STORES.clear()


def check() -> None:
    """What must be true of the one run, however often its engine died."""
    store = STORES[0]
    for run in store.find(Filter()).runs:
        assert "completed" == run.status
        assert list(range(1, run.seq + 1)) == [event.seq for event in store.journal(run.key)]
    assert ["early", "late"] == [from_json(entry.payload) for entry in store.read("default", "said")]
    once = [key for key, _, only in BEGUN if only]
    assert len(once) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_engine_may_die_at_any_call_of_its_store(whole: str, after: bool) -> None:
    """Dead at its n-th call, for every n (on SQLite for every third); then a healthy engine ends the run."""
    on_disk = whole.endswith(".db")
    calls = live(between(whole), 0)
    check()
    for last in range(1, min(calls, 60) + 1, 3 if on_disk else 1):
        url = whole.replace("runs.db", f"runs{last}.db") if on_disk else f"{whole}-{last}"
        BEGUN.clear()
        STORES[:] = [open_store(url)]
        live(Dying(open_store(url), last, after=after), 1)
        live(between(url), 2)
        check()
        STORES[0].close()
        WORLDS.pop(url.removeprefix("memory://"), None)
