"""Who waits for a run may ask from any thread, also at the moment at which it ends."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from replay.engine.held import Held
from replay.engine.observers import Observers
from replay.engine.recoveries import Line
from replay.engine.trouble import Trouble
from replay.engine.waiters import Waiters
from replay.hooks import open_store
from replay.store.contract import RunKey
from replay.testing.store_suite.case import together

KEY = RunKey("default", "a")
TOLD = ("completed", b"7")


@pytest.fixture
def held() -> Held:
    """What a worker holds: no run."""
    return Held(Line(10, 0))


@pytest.fixture
def waiters(held: Held) -> Waiters:
    """Those of this worker."""
    return Waiters(open_store("memory://"), held, poll=1_000_000, trouble=Trouble(Observers(()), lambda _: None))


def test_who_asks_after_the_end_needs_no_other_thread(waiters: Waiters) -> None:
    """The ending is remembered, and told where it is asked for."""
    waiters.ended(KEY, TOLD, 0)
    future: Future[Any] = Future()

    assert waiters.add(KEY, future)
    assert TOLD == future.result(timeout=0)


def test_nobody_who_asks_while_a_run_ends_is_forgotten(held: Held, waiters: Waiters) -> None:
    """Each is told, or hears that the store is to be asked."""
    live: dict[RunKey, Any] = held.live

    def end() -> None:
        del live[KEY]
        waiters.ended(KEY, TOLD, 0)

    for _ in range(200):
        live[KEY] = "driven here"
        futures: list[Future[Any]] = [Future() for _ in range(4)]
        *enough, _ = together(*[lambda future=future: waiters.add(KEY, future) for future in futures], end)

        assert [] == [future for future, said in zip(futures, enough, strict=True) if said and not future.done()]
        waiters.leave()
        waiters.fresh.clear()
