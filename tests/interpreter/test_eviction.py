"""Leaving memory: generators are closed, and the run is not over."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest

from replay import Workflow, gather, publish, race, savepoint, shield, signal, sleep, spawn, workflow
from replay.interpreter import Interpreter
from tests.interpreter.world import OPEN, World, double, standing, undo, unlisted


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """What Python could only print, because nobody was there to catch it."""
    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(str(told.exc_value)))
    yield seen
    collect()


def collect() -> None:
    """Drop what the test has closed."""
    OPEN.clear()
    gc.collect()


ran: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


def tidy(n: int) -> Workflow[int]:
    try:
        return (yield from double(n))
    finally:
        ran.append(f"{n} cleans up")
        yield from undo(str(n))
        ran.append("never")


@workflow
@unlisted
def nested() -> Workflow[Any]:
    yield from spawn(tidy(1))
    try:
        yield from gather(tidy(2), race(tidy(3), sleep(5)), shield(tidy(4)), signal("x"))
    finally:
        ran.append("root cleans up")
        yield from publish("news", "never said")
        yield from savepoint("never")


def test_closing_runs_the_finally_blocks_of_every_fiber(ignored: list[str]) -> None:
    """Those of the workflow, its branches, and what was spawned."""
    world = World(nested())
    world.machine.close()

    assert sorted(["root cleans up", "1 cleans up", "2 cleans up", "3 cleans up", "4 cleans up"]) == sorted(ran)
    del world
    collect()
    assert [] == ignored


def test_what_they_yield_is_refused_and_leaves_no_trace() -> None:
    """No command, no output, no outcome."""
    world = World(nested())
    before = standing(world.machine)
    world.machine.issued.clear()
    world.machine.close()

    assert before == standing(world.machine)
    assert [] == world.machine.issued
    assert [] == world.machine.outputs


def test_an_evicted_run_goes_on_from_its_journal() -> None:
    """As if nothing had been."""
    world = World(nested())
    world.machine.close()
    ran.clear()
    machine = world.again()

    assert sorted(world.ids) == sorted(machine.pending)
    assert [] == ran


def test_closing_twice_is_closing_once() -> None:
    """An engine need not remember."""
    world = World(nested())
    world.machine.close()
    count = len(ran)
    world.machine.close()

    assert count == len(ran)


def test_a_run_that_was_never_begun_can_be_closed() -> None:
    """Its first event did not come; it begins nothing any more."""
    machine = Interpreter(nested, "run")
    machine.close()

    assert ([], {}, None) == (ran, machine.pending, machine.outcome)


def test_a_run_that_has_ended_can_be_closed() -> None:
    """There is nothing to close."""

    @workflow
    def brief() -> Workflow[int]:
        return (yield from double(1))

    world = World(brief()).answer("0", 2)
    world.machine.close()

    assert 2 == world.result


def test_a_finally_block_that_raises_disturbs_nobody(ignored: list[str]) -> None:
    """The run is not over, so nothing failed."""

    @workflow
    def angry() -> Workflow[Any]:
        try:
            yield from gather(double(1), tidy(2))
        finally:
            raise ValueError("now of all times")

    world = World(angry())
    world.machine.close()

    assert ["2 cleans up"] == ran
    assert ["0/0/0", "0/1/0"] == world.ids
    del world
    collect()
    assert [] == ignored


def test_code_that_swallows_the_closing_and_yields_on_is_left_in_the_end(ignored: list[str]) -> None:
    """However often it yields."""

    @workflow
    def stubborn() -> Workflow[Any]:
        while True:
            try:
                yield from double(1)
            except BaseException:  # noqa: BLE001 - the worst that an author can write
                continue

    world = World(stubborn())
    world.machine.close()

    assert ["0"] == world.ids
    assert "" == world.ending
    del world
    collect()
    assert ["generator ignored GeneratorExit"] == ignored  # Python's own word on it: this code cannot be closed


def test_clean_up_inside_clean_up_is_closed_to_its_end(ignored: list[str]) -> None:
    """Each of its yields is refused, and every finally block is reached."""

    @workflow
    def layered() -> Workflow[None]:
        try:
            try:
                try:
                    yield from double(1)
                finally:
                    ran.append("one")
                    yield from undo("one")
            finally:
                ran.append("two")
                yield from undo("two")
        finally:
            ran.append("three")
            yield from undo("three")

    world = World(layered())
    world.machine.close()

    assert ["one", "two", "three"] == ran
    del world
    collect()
    assert [] == ignored


def test_a_helper_that_yields_while_it_is_closed_is_no_error_to_its_caller(ignored: list[str]) -> None:
    """Its caller sees the closing itself, and nothing is left behind."""

    def helper() -> Workflow[None]:
        try:
            yield from double(1)
        finally:
            yield from tidy(2)

    @workflow
    def outer() -> Workflow[None]:
        try:
            yield from helper()
        except Exception as error:  # noqa: BLE001 - the point of the test
            ran.append(f"an error: {error}")
        except GeneratorExit:
            ran.append("closed")
            raise

    world = World(outer())
    world.machine.close()

    assert ["2 cleans up", "closed"] == ran
    del world
    collect()
    assert [] == ignored


def test_a_workflow_may_see_that_it_was_evicted_but_not_tell() -> None:
    """GeneratorExit is Python's own."""

    @workflow
    def watching() -> Workflow[None]:
        try:
            yield from double(1)
        except GeneratorExit:
            ran.append("evicted")
            raise

    World(watching()).machine.close()

    assert ["evicted"] == ran


def test_except_exception_does_not_see_an_eviction() -> None:
    """Nor does except Cancelled."""

    @workflow
    def loop() -> Workflow[None]:
        while True:
            try:
                yield from double(1)
            except Exception:  # noqa: BLE001 - the point of the test
                ran.append("never")

    World(loop()).machine.close()

    assert [] == ran


def test_branches_that_never_ran_are_never_begun_by_a_closing() -> None:
    """Behind a limit they wait unborn."""

    @workflow
    def limited() -> Workflow[Any]:
        return (yield from gather(tidy(1), tidy(2), limit=1))

    World(limited()).machine.close()

    assert ["1 cleans up"] == ran


def test_a_spent_interpreter_can_be_closed() -> None:
    """One whose code did not fit its journal."""
    world = World(nested())
    with pytest.raises(Exception, match="does not fit"):
        world.feed("step_completed", "99", "double", b"1")
    world.machine.close()

    assert "root cleans up" in ran
