"""Many events, many branches, deep nesting: nothing recurses, and nothing starves the others."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

from replay import Cancelled, Workflow, gather, join, now, publish, race, random, shield, spawn, timeout, workflow
from replay.errors import StepFailed
from replay.model.events import Event
from tests.interpreter.world import START, World, double, fresh, standing, unlisted

MANY = 100_000
DEEP = 3_000
"""Deeper than Python's stack."""


@pytest.fixture(autouse=True)
def _ordinary_stack() -> Generator[None]:
    """Nobody may have raised the limit for us."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


@workflow
@unlisted
def crowd(n: int, limit: int | None = None) -> Workflow[int]:
    return sum((yield from gather(*[double(1) for _ in range(n)], limit=limit)))


@workflow
@unlisted
def long_loop(n: int) -> Workflow[int]:
    total = 0
    for i in range(n):
        total += yield from double(i)
    return total


@workflow
@unlisted
def thoughtful(n: int) -> Workflow[float]:
    total = 0.0
    for _ in range(n):
        total += yield from random()
    yield from publish("news", "done")
    return total


def answers(ids: list[str], begin: int = 2) -> list[Event]:
    return [Event(begin + i, "step_completed", each, "double", START, b"2") for i, each in enumerate(ids)]


def test_a_hundred_thousand_branches_work() -> None:
    """Answered in any order."""
    world = World(crowd(MANY))
    assert MANY == len(world.ids)

    world.machine.feed_all(answers(world.ids[::-1]))
    assert 2 * MANY == world.result


def test_a_hundred_thousand_branches_can_be_cancelled() -> None:
    """All at once."""
    world = World(crowd(MANY)).cancel()

    assert MANY == len(world.withdrawn)
    assert "cancelled" == world.ending


def test_a_hundred_thousand_branches_with_a_limit_work() -> None:
    """Each starts when another ends."""
    world = World(crowd(20_000, 3))
    world.machine.feed_all(answers([f"0/{i}/0" for i in range(20_000)]))

    assert 40_000 == world.result


def test_a_hundred_thousand_answers_in_sequence_work() -> None:
    """Each leads to the next command."""
    world = World(long_loop(MANY))
    world.machine.feed_all(answers([str(i) for i in range(MANY)]))

    assert 2 * MANY == world.result


def test_a_hundred_thousand_immediate_branches_end_without_the_world() -> None:
    """In their order."""

    def instant(n: int) -> Workflow[int]:
        yield from now()
        return n

    @workflow
    def quick() -> Workflow[bool]:
        got = yield from gather(*[instant(i) for i in range(MANY)])
        return got == tuple(range(MANY))

    assert World(quick()).result is True


# ---- budget ------------------------------------------------------------------------------------------------------------------


def test_a_million_immediate_answers_need_no_more_stack_than_one() -> None:
    """And no event."""

    @workflow
    def busy() -> Workflow[int]:
        ask = now()
        for _ in range(1_000_000):
            yield ask
        return 1

    assert 1 == World(busy()).result


def test_by_budget_a_busy_run_lets_others_run() -> None:
    """It rests after that many immediate answers, and goes on when it is asked to."""
    whole = World(thoughtful(1_000))
    machine = fresh(thoughtful)

    assert machine.feed(whole.journal[0], 64) is False
    rests = 1
    while not machine.advance(64):
        rests += 1
        assert machine.outcome is None

    assert rests == 1_001 // 64
    assert standing(whole.machine) == standing(machine)
    assert 1 == len(machine.outputs)


def test_a_run_that_waits_within_its_budget_has_settled() -> None:
    """Whatever is left of it."""
    world = World(long_loop(2))
    machine = fresh(long_loop)

    assert machine.feed(world.journal[0], 5) is True
    assert ["0"] == list(machine.pending)


@pytest.mark.parametrize("budget", [1, 2, 3, 7])
def test_any_budget_leads_to_the_same_place(budget: int) -> None:
    """Rests are not seen by the workflow, nor by the order of its fibers."""
    order: list[str] = []

    def branch(name: str) -> Workflow[None]:
        for i in range(5):
            yield from now()
            order.append(f"{name}{i}")
        yield from double(1)
        order.append(name)

    @workflow
    def both() -> Workflow[None]:
        yield from gather(branch("a"), branch("b"), branch("c"))

    world = World(both()).answer("0/1/0", 1)
    expected = list(order)
    order.clear()

    machine = fresh(both)
    for event in world.journal:
        settled = machine.feed(event, budget)
        while not settled:
            settled = machine.advance(budget)
    assert expected == order
    assert standing(world.machine) == standing(machine)


def test_an_event_that_comes_before_the_run_has_settled_waits_its_turn() -> None:
    """Else the order of fibers would hang on the budget."""

    def branch(name: str) -> Workflow[float]:
        drawn = 0.0
        for _ in range(5):
            drawn += yield from random()
        yield from publish("news", name)
        return drawn + (yield from double(1))

    @workflow
    def both() -> Workflow[Any]:
        handle = yield from spawn(double(1))
        result = yield from gather(branch("a"), branch("b"))
        return result, (yield from join(handle))

    world = World(both()).answer("0/0/0", 2).answer("1/1/0", 3)
    whole = world.again()

    machine = fresh(both)
    for event in world.journal:
        machine.feed(event, 3)
    while not machine.advance(3):
        pass
    assert standing(whole) == standing(machine)
    assert [each for each, _ in whole.outputs] == [each for each, _ in machine.outputs]


# ---- depth -------------------------------------------------------------------------------------------------------------------


def onion(depth: int, layer: Any, core: Any) -> Any:
    for _ in range(depth):
        core = layer(core)
    return core


LAYERS: dict[str, Any] = {
    "gather": gather,
    "race": race,
    "timeout": lambda inner: timeout(inner, 60),
    "shield": shield,
}


@workflow
@unlisted
def peeling(layer: str) -> Workflow[str]:
    try:
        yield from onion(DEEP, LAYERS[layer], double(1))
    except Cancelled:
        return "cancelled"
    except StepFailed:
        return "failed"
    return "answered"


def innermost(world: World) -> str:
    return max(world.ids, key=len)


@pytest.mark.parametrize("layer", LAYERS)
def test_deeply_nested_combinators_answer(layer: str) -> None:
    """Level by level, through the queue."""
    world = World(peeling(layer))

    assert "answered" == world.answer(innermost(world), 1).result


@pytest.mark.parametrize("layer", LAYERS)
def test_deeply_nested_combinators_fail(layer: str) -> None:
    """The failure climbs out."""
    world = World(peeling(layer))

    assert "failed" == world.fail(innermost(world)).result


@pytest.mark.parametrize("layer", ["gather", "race", "timeout"])
def test_deeply_nested_combinators_can_be_cancelled(layer: str) -> None:
    """Down to the innermost."""
    assert "cancelled" == World(peeling(layer)).cancel().result


def test_deeply_nested_combinators_can_be_evicted() -> None:
    """Down to the innermost, whose generator is closed."""
    closed: list[str] = []

    def core() -> Workflow[int]:
        try:
            return (yield from double(1))
        finally:
            closed.append("core")

    @workflow
    @unlisted
    def wrapped() -> Workflow[None]:
        yield from onion(DEEP, gather, core())

    world = World(wrapped())
    world.machine.close()

    assert ["core"] == closed


def test_a_long_chain_of_joins_answers() -> None:
    """Each fiber waits for the one before."""

    def after(handle: Any) -> Workflow[int]:
        before: int = yield from join(handle)
        return 1 + before

    @workflow
    def chain() -> Workflow[int]:
        handle: Any = yield from spawn(double(0))
        for _ in range(DEEP):
            handle = yield from spawn(after(handle))
        whole: int = yield from join(handle)
        return whole

    assert DEEP == World(chain()).answer("0/0/0", 0).result
