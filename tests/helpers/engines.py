"""Real engines for tests: on memory and on SQLite, each closed when its test ends.

A test asks for ``open_engine`` (a factory) or ``engine`` (one made by it). Nothing here sleeps: what a test waits for comes through
``handle.result``, ``until`` or an event.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from replay import Engine, StoreUnavailable
from replay.client import Handle
from replay.engine.requests import Wake
from replay.hooks import open_store
from replay.model.events import Event
from replay.store.contract import Store
from replay.store.memory import WORLDS
from replay.testing import VirtualClock

PATIENCE = 20.0
"""Seconds after which a test that waits has failed; nothing waits that long when all is well."""

OpenEngine = Callable[..., Engine]


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store of one's own, on each medium."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/runs.db"
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    WORLDS.pop(name, None)


@pytest.fixture
def open_engine(store_url: str) -> Iterator[OpenEngine]:
    """Opens engines over the test's store; they are closed in the end."""
    opened: list[Engine] = []

    def make(store: str | Store | None = None, **settings: Any) -> Engine:
        engine = Engine(store if store is not None else store_url, **{"grace": 2.0, **settings})
        opened.append(engine)
        return engine

    yield make
    for engine in reversed(opened):
        engine.close()


@pytest.fixture
def engine(open_engine: OpenEngine) -> Engine:
    """One engine."""
    return open_engine()


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that goes when it is told to."""
    return VirtualClock()


def let_pass(engine: Engine, clock: VirtualClock, seconds: float) -> None:
    """Put the clock on, and wait until the engine has looked at it: whatever was due by then has had its turn."""
    clock.advance(seconds)
    engine.worker.inbox.put(Wake())
    for _ in range(2):  # the second is answered after the round in which the first was taken in
        engine.post([])


def until(condition: Callable[[], Any], store: Store, seconds: float = PATIENCE) -> Any:
    """Wait for a condition over a store, looking whenever the store has changed; what it answered."""
    seen = 0
    for _ in range(round(seconds / 0.05)):
        found = condition()
        if found:
            return found
        seen = store.wait(seen, 0.05)
    raise AssertionError(f"waited {seconds} s for {condition}")


def reaches(handle: Handle[Any], *statuses: str) -> str:
    """Wait until a run has one of these statuses; which."""
    found: str = until(lambda: handle.status if handle.status in statuses else "", handle.client.store)
    return found


def kinds(handle: Handle[Any]) -> list[str]:
    """What its journal is made of."""
    return [event.kind for event in handle.journal()]


def named(handle: Handle[Any], kind: str) -> list[Event]:
    """Its events of one kind."""
    return [event for event in handle.journal() if event.kind == kind]


class Between:
    """Stands between an engine and its store: sees every call, and may raise before or after it.

    Attributes:
        calls: How often each verb was called.
        before: Called with a verb's name before it.
        after: Called with a verb's name and its answer after it took effect; what it raises hides the answer.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], None] = lambda _verb: None
        self.after: Callable[[str, Any], None] = lambda _verb, _answer: None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        return partial(self._call, name, found) if name in VERBS else found

    def _call(self, name: str, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls[name] += 1
        self.before(name)
        answer = verb(*args, **kwargs)
        self.after(name, answer)
        return answer


VERBS: Final = frozenset(
    {
        "create",
        "claim",
        "renew",
        "release",
        "commit",
        "transact",
        "post",
        "journal",
        "get",
        "find",
        "delete",
        "publish",
        "read",
        "put_blob",
        "get_blob",
    }
)
"""What of a store reaches its medium."""


def crash(engine: Engine, between: Between) -> None:
    """End an engine as a crash would: from here on it reaches its store no more, so nothing is given back."""

    def gone(verb: str) -> None:
        raise StoreUnavailable("test", f"{verb} of a crashed engine")

    between.before = gone
    engine.grace = 0
    engine.close()


class Gate:
    """A step waits here until a test lets it go; and a test waits here until the step has come."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def enter(self) -> None:
        """Called by a step."""
        self.entered.release()
        assert self.opened.wait(PATIENCE), "nobody opened the gate"

    def await_entry(self, times: int = 1) -> None:
        """Called by a test."""
        for _ in range(times):
            assert self.entered.acquire(timeout=PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        """Let everyone through."""
        self.opened.set()


def between(url: str, clock: VirtualClock | None = None) -> Any:
    """A handle on the medium that a URL names, with someone in between; typed loosely, as it stands for any store."""
    return Between(open_store(url, clock=clock))
