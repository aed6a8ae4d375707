"""Asking about runs: handles, pages, topics, events as they come, from threads and from asyncio."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from replay import (
    Client,
    Engine,
    InvalidRequest,
    RunFailed,
    Start,
    UnknownName,
    UnknownRun,
    UpdateRefused,
    WaitTimedOut,
    Workflow,
    info,
    now,
    on_update,
    publish,
    savepoint,
    set_tags,
    signal,
    sleep,
    step,
    workflow,
)
from replay.model.about import EPOCH
from replay.model.codec import from_json
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, OpenEngine, let_pass, reaches, until


@step
def fetch(number: int) -> int:
    return number


@workflow
def fetching(number: int) -> Workflow[int]:
    yield from publish("fetched", number)
    yield from savepoint("before", goal="fetch", decisions=["one"])
    found = yield from fetch(number)
    word = yield from signal("word", int)
    return found + word


@fetching.query
def what_number(number: int) -> int:
    return number


@workflow
def tagged(colour: str) -> Workflow[None]:
    yield from set_tags(colour=colour)
    yield from signal("end")


# ---- asyncio and threads -------------------------------------------------------------------------------------------------------


def test_handles_are_awaited_side_by_side(engine: Engine) -> None:
    """In one event loop that goes on meanwhile."""

    async def main() -> tuple[list[int], int]:
        handles = [engine.start(fetching(n), id=f"r{n}") for n in range(20)]
        turns = 0

        async def tell() -> None:
            nonlocal turns
            for handle in handles:
                await asyncio.sleep(0)
                handle.signal("word", 100)
                turns += 1

        async def wait(handle: Any) -> int:
            found: int = await handle
            return found

        telling = asyncio.create_task(tell())
        answers = await asyncio.wait_for(asyncio.gather(*map(wait, handles)), PATIENCE)
        await telling
        return answers, turns

    assert ([100 + n for n in range(20)], 20) == asyncio.run(main())


def test_awaiting_may_be_cancelled(engine: Engine) -> None:
    """The run goes on, and can be awaited again; failures are raised like those of ``result``."""

    async def main() -> int:
        handle = engine.start(fetching(1), id="a")

        async def wait() -> int:
            return await handle

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)
        handle.signal("word", 1)
        return await wait()

    assert 2 == asyncio.run(main())

    async def fail() -> None:
        handle = engine.start(fetching(2), id="b")
        handle.terminate("enough")
        await handle

    with pytest.raises(RunFailed, match="enough"):
        asyncio.run(fail())


def test_an_update_is_awaited(engine: Engine) -> None:
    """Like a run."""

    @workflow
    def flow() -> Workflow[None]:
        yield from on_update("double", lambda number: 2 * number, type=int)
        yield from signal("end")

    async def main() -> list[int]:
        handle = engine.start(flow())
        replies = [handle.update("double", n) for n in range(3)]
        found = [await reply for reply in replies]
        with pytest.raises(UpdateRefused):
            _ = await handle.update("halve", 1)
        return found

    assert [0, 2, 4] == asyncio.run(main())


@pytest.mark.parametrize("how", ["engine", "client"])
def test_many_threads_use_one_client(open_engine: OpenEngine, store_url: str, how: str) -> None:
    """Starting, telling, asking and waiting, all at once."""
    engine = open_engine()

    with Client(store_url) as client, ThreadPoolExecutor(8) as pool:
        asked = engine if how == "engine" else client

        def use(number: int) -> tuple[int, int, int]:
            handle = asked.start(fetching(number), id=f"r{number}")
            handle.signal("word", number)
            return handle.result(PATIENCE), handle.query("what_number"), len(handle.journal())

        assert [(2 * n, n, 5) for n in range(60)] == list(pool.map(use, range(60)))


def test_a_client_is_told_when_it_is_closed_while_it_waits(store_url: str) -> None:
    """Nobody is left waiting for a client that is gone."""
    client = Client(store_url)
    handle = client.start(fetching(1))
    waiting = client.ending(handle.key)
    client.close()

    assert isinstance(waiting.exception(PATIENCE), InvalidRequest)


# ---- runs --------------------------------------------------------------------------------------------------------------------------


def test_unknown_runs_are_named(engine: Engine) -> None:
    """Whatever is asked of them."""
    handle = engine.get("nobody")

    for ask in (
        lambda: handle.status,
        lambda: handle.result(PATIENCE),
        handle.journal,
        handle.state,
        lambda: handle.signal("x"),
        lambda: handle.update("x"),
        handle.cancel,
        handle.replay,
        lambda: handle.query("x"),
        handle.fork,
        lambda: list(handle.events(timeout=0)),
    ):
        with pytest.raises(UnknownRun, match="nobody"):
            ask()


def test_unknown_savepoints_events_and_workflows_are_named(engine: Engine) -> None:
    """With what there is."""
    handle = engine.start(fetching(1), id="a")
    handle.signal("word", 1)
    handle.result(PATIENCE)

    with pytest.raises(UnknownName, match="savepoint 'after'; known: before"):
        _ = handle.fork("after")
    for number in (0, 6, -1):
        with pytest.raises(UnknownName, match="1 to 5"):
            handle.at(number)
    with pytest.raises(UnknownName, match="what_number"):
        handle.query("what_letter")
    with pytest.raises(UnknownName, match="workflow 'nothing'"):
        engine.spec_for("nothing")


def test_events_are_seen_as_they_come(engine: Engine) -> None:
    """From any event on, until the run has ended."""
    handle = engine.start(fetching(1), id="a")
    seen: list[str] = []
    at_word = threading.Event()

    def watch() -> None:
        for event in handle.events():
            seen.append(event.kind)
            if event.kind == "step_completed":
                at_word.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert at_word.wait(PATIENCE)
    handle.signal("word", 1)
    watcher.join(PATIENCE)

    assert ["started", "savepoint", "step_completed", "signal_received", "completed"] == seen
    assert ["signal_received", "completed"] == [event.kind for event in handle.events(after=3)]


def test_watching_a_quiet_run_ends_in_time(engine: Engine) -> None:
    """When it is asked to."""
    handle = engine.start(tagged("red"))
    reaches(handle, "waiting")

    assert ["started"] == [event.kind for event in handle.events(timeout=0)]


def test_savepoints_tell_what_they_noted(engine: Engine) -> None:
    """Name, number, and what people and agents read."""
    handle = engine.start(fetching(1), id="a")
    until(handle.savepoints, engine.store)
    (point,) = handle.savepoints()

    assert ("before", 2, {"goal": "fetch", "decisions": ["one"]}, False) == (point.name, point.seq, point.notes, point.has_state)


def test_topics_are_read_from_an_offset(engine: Engine) -> None:
    """In order, in pages."""
    for number in range(5):
        reaches(engine.start(fetching(number)), "waiting")
    first = engine.read("fetched", limit=2)
    rest = engine.read("fetched", after=first[-1].offset)

    assert list(range(5)) == [from_json(entry.payload) for entry in [*first, *rest]]
    assert [] == engine.read("nothing")


# ---- finding -----------------------------------------------------------------------------------------------------------------------


def test_runs_are_found_by_what_is_known_of_them(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Workflow, status, time, tags set at the start and changed by an effect, prefix and parent; alone and together."""
    engine = open_engine(clock=clock)
    for number in range(6):
        clock.advance(60)
        _ = engine.start(tagged("red" if number % 2 else "blue"), id=f"t{number}", tags={"nr": str(number), "colour": "none"})
    _ = engine.start(fetching(1), id="f", tags={"nr": "1"})
    ended = engine.get("t0")
    ended.signal("end")
    ended.result(PATIENCE)
    until(lambda: 3 == len(engine.find(tags={"colour": "red"}).runs), engine.store)

    def found(**query: Any) -> list[str]:
        return sorted(run.key.id for run in engine.find(**query).runs)

    created = engine.get("t3").about().created_at
    assert ["t1", "t3", "t5"] == found(tags={"colour": "red"})
    assert ["t3"] == found(tags={"colour": "red", "nr": "3"})
    assert ["f", "t1"] == found(tags={"nr": "1"})
    assert [] == found(tags={"colour": "none"})
    assert ["t0"] == found(status="completed")
    assert ["t0", "t1", "t2", "t3", "t4", "t5"] == found(workflow="tagged", status=["completed", "waiting", "running"])
    assert ["t3", "t4", "t5"] == found(created_after=created, workflow="tagged")
    assert ["t0", "t1", "t2"] == found(created_before=created)
    assert ["t0", "t1", "t2"] == found(created_before=EPOCH + timedelta(microseconds=created))
    assert ["t0", "t1", "t2", "t3", "t4", "t5"] == found(prefix="t")
    assert [] == found(parent="t")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"status": "wating"}, "status: 'wating' is none; use cancelled, completed, "),
        ({"status": ["failed", "done"]}, "status: 'done' is none"),
        ({"created_after": datetime(2024, 5, 1)}, "moment: 2024-05-01T00:00:00 names no time zone; give an aware datetime"),  # noqa: DTZ001 - the mistake itself
    ],
)
def test_a_question_that_no_run_could_answer_is_refused(engine: Engine, query: Any, message: str) -> None:
    """An empty page would look like an answer."""
    with pytest.raises(InvalidRequest, match=message):
        engine.find(**query)


def test_pages_hold_everything_once(engine: Engine) -> None:
    """Also while runs are started between two of them."""
    engine.start_many([Start(tagged("x"), f"r{n:02}") for n in range(25)])
    seen: list[str] = []
    cursor = ""
    for page_number in range(10):
        page = engine.find(limit=7, cursor=cursor)
        seen += [run.key.id for run in page.runs]
        _ = engine.start(tagged("x"), id=f"new{page_number}")
        cursor = page.cursor
        if not cursor:
            break

    assert sorted(f"r{n:02}" for n in range(25)) == sorted(seen)
    with pytest.raises(InvalidRequest, match="cursor"):
        engine.find(cursor="no cursor")


def test_a_result_may_be_waited_for_in_vain(store_url: str) -> None:
    """Nobody drives it: who waits is told so, and how it stands."""
    with Client(store_url) as client:
        handle = client.start(fetching(1), id="a")

        with pytest.raises(WaitTimedOut, match="still pending after"):
            handle.result(0.05)
        with pytest.raises(WaitTimedOut):
            handle.update("x").result(0.05)


def test_a_result_is_read_without_its_workflow(store_url: str, open_engine: OpenEngine) -> None:
    """A client that has not imported the code gets the result as plain data."""

    @workflow
    def local() -> Workflow[dict[str, int]]:
        yield from sleep(0)
        return {"found": 1}

    open_engine().start(local(), id="a").result(PATIENCE)
    with Client(store_url) as client:
        assert {"found": 1} == client.get("a").result(PATIENCE)


def test_what_a_run_knows_of_itself(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """``info()`` and ``now()``."""
    engine = open_engine(clock=clock, namespace="shop")

    @workflow(version="7")
    def flow() -> Workflow[list[Any]]:
        me = yield from info()
        here = yield from now()
        return [me.run_id, me.workflow, me.version, me.namespace, me.attempt, me.journal_length, here.isoformat(), str(me.deadline)]

    handle = engine.start(flow(), id="a", deadline=60)
    let_pass(engine, clock, 0)

    expected = ["a", "flow", "7", "shop", 1, 1, "2026-01-01T12:00:00+00:00", "2026-01-01 12:01:00+00:00"]
    assert expected == handle.result(PATIENCE)
