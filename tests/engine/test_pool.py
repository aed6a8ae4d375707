"""Where steps run: threads that are made when they are needed, one loop, and a machine that gives no more threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from replay.engine.pool import Inline, Pool
from tests.helpers.engines import PATIENCE, Gate


def test_no_more_jobs_run_than_there_are_threads() -> None:
    """The others wait for their turn."""
    pool, gate = Pool(2), Gate()
    ended = threading.Semaphore(0)

    def job() -> None:
        gate.enter()
        ended.release()

    for _ in range(5):
        pool.submit(job)
    gate.await_entry(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open()
    for _ in range(5):
        assert ended.acquire(timeout=PATIENCE)
    assert 2 == len(pool._threads)
    pool.close()


def test_a_thread_is_used_again() -> None:
    """Jobs one after the other need one thread."""
    pool = Pool(8)
    names: list[str] = []
    for _ in range(20):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.append(threading.current_thread().name)
            done.set()

        pool.submit(job)
        assert done.wait(PATIENCE)
    pool.close()

    assert len(set(names)) <= 2  # a thread may still be on its way back when the next job comes


def test_a_machine_that_gives_no_more_threads_is_made_do_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there is one; without any, the caller is told."""
    pool, gate = Pool(8), Gate()
    pool.submit(gate.enter)
    gate.await_entry()

    def refuse(_self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = threading.Event()
    pool.submit(done.set)
    assert 1 == len(pool._threads)
    gate.open()
    assert done.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="thread"):
        Pool(1).submit(done.set)
    pool.close()


def test_a_coroutine_that_is_cancelled_at_once_has_begun_all_the_same() -> None:
    """So it can say how it ended: one that never began would be waited for by its engine for ever."""
    pool = Pool(1)
    ends: list[str] = []
    told = threading.Semaphore(0)

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append(name)
            told.release()

    for number in range(50):
        pool.spawn(work(f"{number}"))()
    for _ in range(50):
        assert told.acquire(timeout=PATIENCE)
    pool.close()

    assert sorted(map(str, range(50))) == sorted(ends)


def test_closing_cancels_coroutines_and_ends_the_loop() -> None:
    """What it was doing is over, its thread too; closing a pool that never ran anything is fine."""
    pool = Pool(1)
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    pool.spawn(work())
    assert begun.wait(PATIENCE)
    (loop,) = [thread for thread in threading.enumerate() if thread.name == "replay-step-loop" and thread.is_alive()][-1:]
    pool.close()
    assert (True, False) == (ended.is_set(), loop.is_alive())
    Pool(3).close()


def test_what_coroutines_used_is_closed_when_the_pool_is() -> None:
    """As connections are, which nobody holds any more when their engine is gone."""
    pool, opened, closed = Pool(1), threading.Event(), threading.Event()

    async def connection() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            closed.set()

    async def use() -> None:
        await anext(kept)
        opened.set()

    kept = connection()
    pool.spawn(use())
    assert opened.wait(PATIENCE)
    pool.close()

    assert closed.is_set()


def test_inline_steps_run_where_they_are_asked_for() -> None:
    """For virtual time: order does not depend on threads."""
    order: list[str] = []

    async def work() -> None:
        order.append("coroutine")

    inline = Inline()
    inline.submit(lambda: order.append("job"))
    inline.spawn(work())()
    inline.close()

    assert ["job", "coroutine"] == order
