"""A worker that is asked to leave: it waits for its steps, and sleeps while it waits."""

from __future__ import annotations

import logging

import pytest

from replay.engine.requests import Stop
from replay.testing import Takes, World, simulate
from replay.testing.clock import SECOND
from tests.simulation.scenarios import OPTIONS, double, everything, fan, sums


@pytest.fixture
def world() -> World:
    """A world whose steps take five seconds, and a run that waits for one."""
    world = World()
    world.stub(double, Takes(5, 0))
    world.start(fan(1), id="run")  # type: ignore[unused-awaitable]  # driven by hand
    world.run_until_idle()
    return world


def test_a_worker_that_waits_for_a_step_sleeps_until_something_is_due(world: World) -> None:
    """It claims nothing more, so the moment of the next claim, however long past, is no reason to wake."""
    worker = world.members[0].worker
    worker.inbox.put(Stop(world.clock() + 10 * SECOND))
    world.clock.advance(1)
    worker.pump(0.0)

    assert 3.5 < worker.patience() <= 9
    assert not worker.stopped
    world.close()


def test_a_worker_that_leaves_takes_the_answer_of_its_step_with_it(world: World) -> None:
    """What came to its end in time is committed, then everything is given back."""
    worker = world.members[0].worker
    worker.inbox.put(Stop(world.clock() + 10 * SECOND))
    world.advance(6)

    assert worker.stopped
    assert ["started", "step_completed"] == [event.kind for event in world.get("run").journal()]
    assert "" == world.get("run").about().worker
    world.close()


def test_a_worker_that_leaves_does_not_wait_for_ever(world: World) -> None:
    """Its patience has an end; the step will be begun again elsewhere."""
    worker = world.members[0].worker
    worker.inbox.put(Stop(world.clock() + 2 * SECOND))
    world.advance(3)

    assert worker.stopped
    assert ["started"] == [event.kind for event in world.get("run").journal()]
    world.crash()
    assert [0, 1, -1, 3] == world.get("run").result()
    world.close()


def test_workers_that_come_and_go_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A rolling deployment, all the time."""
    caplog.set_level(logging.CRITICAL, "replay")

    assert 6 == simulate(everything, seeds=range(6), kinds=["drain", "slow"], trouble=0.8, **OPTIONS).worlds
    assert 1 == simulate(lambda world: world.start(sums(3)), seed=1, kinds=["drain"]).worlds
