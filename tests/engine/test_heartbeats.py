"""Steps that tell that they are alive, and how far they have come."""

from __future__ import annotations

import asyncio
import os
import signal as signals
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from replay import (
    Cancelled,
    Client,
    DefinitionError,
    PayloadError,
    PayloadTooLarge,
    Retry,
    StoreUnavailable,
    TimedOut,
    Workflow,
    race,
    set_state,
    signal,
    step,
    step_info,
    workflow,
)
from replay.engine.attempts import EVERY, PROGRESS, PROGRESS_LIMIT, Pulse
from replay.errors import EffectError
from replay.model.names import SECOND
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, between, kinds, let_pass, named, until

TWICE = Retry(max_attempts=2, initial=0.01, jitter=0)


def test_the_next_attempt_reads_how_far_the_last_one_came(open_engine: OpenEngine) -> None:
    """What was told last is saved with the failure, however soon after the one before it."""
    begun: list[Any] = []

    @step(retry=TWICE)
    def carry(boxes: int) -> int:
        info = step_info()
        begun.append(info.progress)
        for box in range(info.progress or 0, boxes):
            info.heartbeat(box + 1)
            if box == 6 and info.attempt == 1:
                raise OSError("dropped")
        return boxes

    @workflow(name="heartbeats.carrying")
    def carrying() -> Workflow[int]:
        return (yield from carry(10))

    handle = open_engine().start(carrying(), id="a")

    assert (10, [None, 7]) == (handle.result(PATIENCE), begun)
    assert ["started", "step_attempt_failed", "step_completed", "completed"] == kinds(handle)


def test_a_coroutine_tells_its_progress_too(open_engine: OpenEngine) -> None:
    """The same for async steps, with anything that is spelt as JSON."""
    begun: list[Any] = []

    @step(retry=TWICE)
    async def fetch() -> str:
        info = step_info()
        begun.append(info.progress)
        info.heartbeat({"page": 3, "seen": ["a", "b"]})
        await asyncio.sleep(0)
        if info.attempt == 1:
            raise OSError("gone")
        return "done"

    @workflow(name="heartbeats.fetching")
    def fetching() -> Workflow[str]:
        return (yield from fetch())

    assert "done" == open_engine().start(fetching(), id="a").result(PATIENCE)
    assert [None, {"page": 3, "seen": ["a", "b"]}] == begun


def test_progress_is_shown_while_the_step_runs_and_dropped_with_its_answer(open_engine: OpenEngine) -> None:
    """It never reaches the journal, nor what the run shows to people as its state."""
    gate = Gate()

    @step
    def dig() -> str:
        step_info().heartbeat(41)
        gate.enter()
        return "water"

    @workflow(name="heartbeats.digging")
    def digging() -> Workflow[str]:
        yield from set_state("depth", 3)
        return (yield from dig())

    handle = open_engine().start(digging(), id="a")
    gate.await_entry()
    until(lambda: b'{"0":41}' == handle.about().state.get(PROGRESS), handle.client.store)
    shown = handle.state()
    gate.open()

    assert ("water", {"depth": 3}) == (handle.result(PATIENCE), shown)
    assert b"{}" == handle.about().state[PROGRESS]
    assert not any(b"41" in event.payload for event in handle.journal())


def test_what_was_told_before_a_silence_is_saved(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """A second after the last saving the engine looks by itself."""
    gate = Gate()

    @step
    def ponder() -> None:
        step_info().heartbeat(1)
        step_info().heartbeat(2)
        gate.enter()

    @workflow(name="heartbeats.pondering")
    def pondering() -> Workflow[None]:
        yield from ponder()

    engine = open_engine(clock=clock)
    handle = engine.start(pondering(), id="a")
    gate.await_entry()
    until(lambda: b'{"0":1}' == handle.about().state.get(PROGRESS), engine.store)
    let_pass(engine, clock, EVERY / SECOND)
    until(lambda: b'{"0":2}' == handle.about().state.get(PROGRESS), engine.store)
    gate.open()

    handle.result(PATIENCE)


def test_a_step_that_falls_silent_is_tried_again(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """After ``heartbeat`` seconds without one, counted from the last; a thread sees it in its next heartbeat."""
    gate, told = Gate(), threading.Event()

    @step(retry=TWICE, heartbeat=30)
    def listen() -> int:
        info = step_info()
        if info.attempt == 1:
            info.heartbeat("still here")
            gate.enter()
            try:
                info.heartbeat()
            except Cancelled:
                told.set()
        return info.attempt

    @workflow(name="heartbeats.listening")
    def listening() -> Workflow[int]:
        return (yield from listen())

    engine, began = open_engine(clock=clock, ttl=3600), clock.now()
    handle = engine.start(listening(), id="a")
    gate.await_entry()
    let_pass(engine, clock, 29)
    let_pass(engine, clock, 2)
    (failed,) = until(lambda: named(handle, "step_attempt_failed"), engine.store)
    let_pass(engine, clock, 1)

    assert (2, began + 31 * SECOND) == (handle.result(PATIENCE), failed.at)
    assert b"the silence of step listen" in failed.payload
    gate.open()
    assert told.wait(PATIENCE)


def test_a_step_that_is_heard_may_take_as_long_as_it_likes(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Silence counts from the last heartbeat, not from the beginning."""
    turns = [Gate() for _ in range(3)]

    @step(heartbeat=30)
    def walk() -> str:
        for gate in turns:
            step_info().heartbeat()
            gate.enter()
        return "there"

    @workflow(name="heartbeats.walking")
    def walking() -> Workflow[str]:
        return (yield from walk())

    engine = open_engine(clock=clock, ttl=3600)
    handle = engine.start(walking(), id="a")
    for gate in turns:
        gate.await_entry()
        let_pass(engine, clock, 29)
        gate.open()

    assert "there" == handle.result(PATIENCE)


def test_a_silent_coroutine_is_stopped(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """It is cancelled where it waits."""
    begun = threading.Event()

    @step(heartbeat=5)
    async def stare() -> None:
        begun.set()
        await asyncio.Event().wait()

    @workflow(name="heartbeats.staring")
    def staring() -> Workflow[str]:
        try:
            yield from stare()
        except TimedOut as late:
            return str(late)
        return "seen"

    engine = open_engine(clock=clock)
    handle = engine.start(staring(), id="a")
    assert begun.wait(PATIENCE)
    let_pass(engine, clock, 6)

    assert "the silence of step stare did not end within 5 s" == handle.result(PATIENCE)


def test_a_heartbeat_tells_a_step_that_it_was_cancelled(open_engine: OpenEngine) -> None:
    """A loop that tells its progress needs no other look at whether somebody waits for it."""
    gate, ended = Gate(), threading.Event()

    @step
    def toil() -> None:
        gate.enter()
        try:
            while True:
                step_info().heartbeat()
        except Cancelled:
            ended.set()
            raise

    @workflow(name="heartbeats.toiling")
    def toiling() -> Workflow[int]:
        index, _ = yield from race(toil(), signal("enough", bool))
        return index

    handle = open_engine().start(toiling(), id="a")
    gate.await_entry()
    handle.signal("enough", True)
    assert 1 == handle.result(PATIENCE)
    gate.open()

    assert ended.wait(PATIENCE)


def test_progress_that_cannot_be_saved_is_refused_where_it_is_told(open_engine: OpenEngine) -> None:
    """What has no spelling, and what is too large."""
    seen: list[type[Exception]] = []

    @step
    def boast() -> None:
        for progress in (object(), "x" * PROGRESS_LIMIT):
            try:
                step_info().heartbeat(progress)
            except (PayloadError, PayloadTooLarge) as error:
                seen.append(type(error))
            until_next_second()

    def until_next_second() -> None:
        info = step_info()
        assert isinstance(info._beat.__self__, Pulse)  # type: ignore[union-attr]  # the engine's
        info._beat.__self__._next = 0  # type: ignore[union-attr]  # as a second later

    @workflow(name="heartbeats.boasting")
    def boasting() -> Workflow[None]:
        yield from boast()

    open_engine().start(boasting(), id="a").result(PATIENCE)

    assert [PayloadError, PayloadTooLarge] == seen


def test_a_million_heartbeats_are_few_commits(store_url: str, open_engine: OpenEngine, clock: VirtualClock) -> None:
    """What a loop tells is a note in memory; it is saved once a second."""

    @step
    def count() -> int:
        beat = step_info().heartbeat
        for number in range(1_000_000):
            beat(number)
        return 7

    @workflow(name="heartbeats.counting")
    def counting() -> Workflow[int]:
        return (yield from count())

    store = between(store_url, clock)
    handle = open_engine(store).start(counting(), id="a")

    assert 7 == handle.result(PATIENCE)
    assert store.calls["commit"] <= 2
    assert ["started", "step_completed", "completed"] == kinds(handle)


@pytest.mark.parametrize("heartbeat", [0, -1, "30", float("inf")])
def test_a_heartbeat_that_cannot_be_kept_is_refused_where_it_is_written(heartbeat: Any) -> None:
    """Like a timeout."""
    with pytest.raises(DefinitionError, match="heartbeat must be more than 0 seconds"):

        @step(heartbeat=heartbeat)
        def odd() -> None: ...


def test_a_transactional_step_has_no_heartbeat() -> None:
    """It runs in the engine's own thread, which could not listen."""
    with pytest.raises(DefinitionError, match="transactional"):

        @step(transactional=True, heartbeat=3)
        def booked(connection: Any) -> None: ...


def test_a_call_may_have_a_heartbeat_of_its_own() -> None:
    """As it may have a timeout."""

    @step
    def plain() -> None: ...

    assert 3 == plain().options(heartbeat=3).options_.heartbeat


def test_a_user_s_state_key_is_none_of_replay_s() -> None:
    """Keys that begin with a tilde are kept for it."""
    with pytest.raises(EffectError, match="tilde"):
        set_state(PROGRESS, 1)


PROGRAM = """
    import sys
    from replay import Engine, Workflow, step, step_info, workflow

    @step(queue=QUEUE)
    def copy(files: int) -> list:
        info = step_info()
        begin = info.progress or 0
        for number in range(begin, files):
            info.heartbeat(number + 1)
            if sys.argv[2] == "dies" and number == 4:
                print("told", flush=True)
                sys.stdin.readline()
        return [begin, files]

    @workflow(name="heartbeats.copying")
    def copying() -> Workflow[list]:
        return (yield from copy(9))

    with Engine(sys.argv[1], queues=["default", "disk"], ttl=1) as engine:
        print(engine.start(copying(), id="a").result(20))
"""


@pytest.mark.parametrize("queue", ["None", "'disk'"], ids=["here", "remote"])
def test_another_process_goes_on_where_a_killed_one_was(tmp_path: Path, queue: str) -> None:
    """After SIGKILL, in the workflow's own queue and in another one; what was saved is at most a second old."""
    url, program = f"sqlite:///{tmp_path}/runs.db", textwrap.dedent(PROGRAM).replace("QUEUE", queue)
    run = "a" if queue == "None" else "a.0"
    command, pipe = [sys.executable, "-c", program, url], subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*command, "dies"], stdin=pipe, stdout=pipe, text=True, env=environment) as dying, Client(url) as client:
        assert dying.stdout is not None
        assert "told\n" == dying.stdout.readline()
        until(lambda: b'{"0":5}' == client.get(run).about().state.get(PROGRESS), client.store)
        dying.send_signal(signals.SIGKILL)
    done = subprocess.run([*command, "lives"], capture_output=True, text=True, check=False, timeout=60, env=environment)

    assert ("[5, 9]\n", "") == (done.stdout, done.stderr)


def cut_off(verb: str) -> None:
    """Of what a worker says, only what its runs have to say comes through."""
    if verb in {"claim", "renew"}:
        raise StoreUnavailable("test", "cut off")


def test_a_stale_attempt_s_heartbeat_is_refused_and_its_step_is_told(
    store_url: str, open_engine: OpenEngine, clock: VirtualClock
) -> None:
    """Another worker took the run over: the progress that it reads is what was saved before, and the old step stops."""
    gate, told = Gate(), threading.Event()

    @step
    def haul() -> list[Any]:
        info = step_info()
        if info.progress is not None:
            return ["from", info.progress]
        info.heartbeat("half-way")
        gate.enter()
        info.heartbeat("stale")
        clock.advance(2)
        try:
            while True:
                info.heartbeat("stale")
        except Cancelled:
            told.set()
            raise

    @workflow(name="heartbeats.hauling")
    def hauling() -> Workflow[list[Any]]:
        return (yield from haul())

    store = between(store_url, clock)
    old = open_engine(store, poll=3600, workflows=[hauling])
    handle = old.start(hauling(), id="a")
    gate.await_entry()
    until(lambda: b'{"0":"half-way"}' == handle.about().state.get(PROGRESS), old.store)
    store.before = cut_off  # it cannot renew, and does not notice
    clock.advance(60)
    new = open_engine(clock=clock, workflows=[hauling])

    assert ["from", "half-way"] == new.get("a", hauling).result(PATIENCE)
    gate.open()
    assert told.wait(PATIENCE)
    assert ["started", "step_completed", "completed"] == kinds(handle)
