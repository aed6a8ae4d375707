"""A world drives real workers over a real store in virtual time."""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import (
    InvalidRequest,
    NonDeterminismError,
    Retry,
    RunFailed,
    StepFailed,
    TimedOut,
    UnknownName,
    Workflow,
    step,
    step_info,
    workflow,
)
from replay.store.memory import MemoryStore
from replay.testing import NoAnswer, RunsOn, StillWaiting, Takes, VirtualClock, World
from replay.testing.clock import SECOND
from tests.testing.shop import asks, charge, counts, note, order, ship, slow, tidy

MONTH = 30 * 86_400 * SECOND


@pytest.fixture
def world() -> Any:
    with World() as made:
        yield made


# ---- time ---------------------------------------------------------------------------------------------------------------


def test_a_month_passes_in_a_moment(world: World) -> None:
    """The clock jumps to the next due moment; nothing sleeps."""
    world.stub(charge, 1200)
    began, before = world.clock(), time.perf_counter()
    handle = world.start(order(1200), id="order")

    assert "refused" == handle.result()
    assert MONTH + 3600 * SECOND == world.clock() - began
    assert time.perf_counter() - before < 5


def test_nothing_happens_before_the_world_is_driven(world: World) -> None:
    """Starting a run runs nothing, so a test can still set its stubs."""
    handle = world.start(order(1), id="order")

    assert "pending" == handle.status
    assert [] == world.calls()


def test_an_idle_world_leaves_timers_alone(world: World) -> None:
    """``run_until_idle`` goes as far as possible without letting time pass."""
    world.stub(charge, 5)
    began = world.clock()
    handle = world.start(order(5), id="order")

    world.run_until_idle()

    assert ("waiting", {"paid": 5}) == (handle.status, handle.state())
    assert world.clock() - began < SECOND


def test_time_that_advances_fires_what_becomes_due_at_its_moment(world: World) -> None:
    """A timer sees its own hour, not that at which the test looked again."""

    @workflow
    def stamps() -> Workflow[list[datetime.datetime]]:
        seen = []
        for _ in range(3):
            yield from replay.sleep(hours=1)
            seen.append((yield from replay.now()))
        return seen

    began = world.clock()
    handle = world.start(stamps())
    world.advance(days=3)

    assert [began + hour * 3600 * SECOND for hour in (1, 2, 3)] == [round(moment.timestamp() * SECOND) for moment in handle.result()]
    assert began + 3 * 86_400 * SECOND == world.clock()


def test_a_message_can_be_sent_later(world: World) -> None:
    """What is to happen later is part of the world's time."""
    handle = world.start(asks())
    world.after(3600, lambda: handle.signal("answer", "yes"))

    assert "yes" == handle.result()


def test_a_run_that_will_never_end_is_an_error_that_says_what_it_waits_for(world: World) -> None:
    """A real handle would wait for ever; this one knows that nothing is due."""
    handle = world.start(asks(), id="question")

    with pytest.raises(StillWaiting) as caught:
        handle.result()

    assert ("question", "waiting", ("signal answer",)) == (caught.value.run, caught.value.status, caught.value.pending)
    assert "shop.py:" in caught.value.line


def test_a_run_in_a_queue_that_nobody_serves_says_so(world: World) -> None:
    """A forgotten queue is the most common reason for a run that does not begin."""
    handle = world.start(asks(), queue="far")

    with pytest.raises(StillWaiting, match="queue 'far', which no worker here serves"):
        handle.result()


def test_a_world_that_does_not_come_to_rest_gives_up() -> None:
    """A workflow that goes on for ever is driven by ``advance``, not to its end."""

    @workflow
    def for_ever() -> Workflow[None]:
        while True:
            yield from replay.sleep(1)

    with World(max_rounds=50) as world:
        world.start(for_ever(), id="endless")
        with pytest.raises(RunsOn) as caught:
            world.run()
        world.advance(seconds=5)

    assert (50, ("endless",)) == (caught.value.rounds, caught.value.runs)


# ---- steps --------------------------------------------------------------------------------------------------------------


def test_a_stub_for_a_step_that_does_not_exist_is_refused(world: World) -> None:
    """A slip of the pen would let the real step run."""
    with pytest.raises(UnknownName) as caught:
        world.stub("kit_chrage", 1)

    assert str(caught.value).startswith("no step 'kit_chrage'; known: ")
    assert "kit_charge" in caught.value.known


def test_a_stub_stands_in_for_a_step_and_its_calls_are_remembered(world: World) -> None:
    """The real bank is not called; what it would have been asked is known."""
    world.stub("kit_charge", lambda card, cents: cents - 1)
    world.stub(ship, ["one", "two"])
    handle = world.start(order(700), id="order")
    handle.signal("approved", True)

    assert "one, two" == handle.result()
    (call,) = world.calls("kit_charge")
    assert ("order", "0", 1, ("visa", 700), {}) == (call.run, call.command, call.attempt, call.args, dict(call.kwargs))
    assert [("hat",), ("coat",)] == [call.args for call in world.calls(ship)]
    assert {("order", "0"): 1, ("order", "3/0/0"): 1, ("order", "3/1/0"): 1} == world.executions


def test_a_step_without_a_stub_is_the_real_one(world: World) -> None:
    """Real bodies run in the test's own thread, async ones too."""
    world.stub(charge, 5)
    handle = world.start(order(5))
    handle.signal("approved", True)

    assert "hat is on its way, coat is on its way" == handle.result()


@pytest.mark.parametrize("failure", [ConnectionError("down"), ConnectionError], ids=["instance", "class"])
def test_a_stub_may_raise(world: World, failure: Any) -> None:
    """It fails as the step would."""
    world.stub(charge, failure)
    handle = world.start(order(5))

    with pytest.raises(RunFailed, match="ConnectionError"):
        handle.result()


def test_a_list_of_answers_is_used_up_call_by_call(world: World) -> None:
    """Failures first, then the answer: the step's own retries are at work, in virtual time."""
    world.stub(charge, 5)
    world.stub(ship, [TimeoutError("busy"), "second time", "coat"])
    handle = world.start(order(5))
    handle.signal("approved", True)

    assert "coat, second time" == handle.result()
    assert [1, 1, 2] == [call.attempt for call in world.calls(ship)]


def test_a_stub_without_an_answer_left_is_an_error_of_the_test(world: World) -> None:
    """Not a failure of the step, which the workflow might catch."""
    world.stub(charge, [])
    world.start(order(5))

    with pytest.raises(NoAnswer, match="kit_charge has 0 answers"):
        world.run()


def test_a_stub_may_take_its_time(world: World) -> None:
    """The step's own timeout is at work."""

    @workflow
    def hasty() -> Workflow[str]:
        try:
            return str((yield from slow(1)))
        except TimedOut:
            return "too late"

    world.stub(slow, [Takes(29, 7), Takes(31, 8), Takes(float("inf"))])

    assert ["7", "too late", "too late"] == [world.start(hasty()).result() for _ in range(3)]


def test_a_stub_answer_that_does_not_fit_the_annotation_fails_the_step(world: World) -> None:
    """A stub is held to the step's own type."""
    world.stub(charge, "many")

    with pytest.raises(RunFailed, match="PayloadError"):
        world.start(order(5)).result()


def test_a_stub_knows_which_attempt_it_is(world: World) -> None:
    """``step_info()`` works in stubs."""
    keys = []

    def charged(card: str, cents: int) -> int:
        keys.append(step_info().idempotency_key)
        return cents

    world.stub(charge, charged)
    world.start(order(5), id="order").result()

    assert ["order#0"] == keys


def test_a_world_can_be_driven_inside_of_a_running_loop() -> None:
    """Tests of asyncio code drive it too, async steps included."""

    async def scene() -> str:
        with World() as world:
            world.stub(charge, 5)
            handle = world.start(order(5))
            handle.signal("approved", True)
            return await handle

    assert "hat is on its way, coat is on its way" == asyncio.run(scene())


# ---- workers --------------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_followed_by_another_that_goes_on(world: World) -> None:
    """What was committed is not done again; the lease of the dead has to end first."""
    world.stub(charge, 5)
    handle = world.start(order(5), id="order")
    handle.signal("approved", True)
    world.stub(ship, Takes(10, "shipped"))
    world.after(31 * 86_400, lambda: None)
    world.advance(days=30)
    assert 2 == len(world.calls(ship))
    died = world.clock()

    world.crash()

    assert "shipped, shipped" == handle.result()
    assert [1, 2, 2] == [world.executions["order", command] for command in ("0", "3/0/0", "3/1/0")]
    assert 15 * SECOND <= world.calls(ship)[-1].at - died <= 16 * SECOND


def test_a_crash_that_is_noticed_needs_no_patience(world: World) -> None:
    """Engines of one machine see that a process is gone, and give its leases back."""
    world.stub(slow, Takes(10, 3))

    @workflow
    def slowly() -> Workflow[int]:
        return (yield from slow(1))

    handle = world.start(slowly())
    world.run_until_idle()
    died = world.clock()
    world.crash(notice=True)

    assert 3 == handle.result()
    assert died == world.calls(slow)[-1].at


def test_several_workers_share_the_runs() -> None:
    """Each run is driven by one of them at a time."""
    with World(workers=3, concurrency=2) as world:
        handles = [world.start(counts(3), id=f"run-{i}") for i in range(6)]
        world.run()

        assert [3] * 6 == [handle.result() for handle in handles]
        assert len({call.worker for call in world.calls()}) > 1


def test_a_world_does_the_same_again() -> None:
    """Ids, order and chance come from the seed."""

    def journals() -> list[Any]:
        with World(seed=7, workers=2) as world:
            world.stub(note, [OSError("no"), *"abcdefgh"])
            for i in range(3):
                world.start(counts(i))
            world.run()
            return [world.get(run.key.id).journal() for run in world.find().runs]

    assert [[event[:7] for event in journal] for journal in journals()] == [[event[:7] for event in journal] for journal in journals()]


# ---- what a client can do ---------------------------------------------------------------------------------------------------


def test_an_update_is_replied_to(world: World) -> None:
    """Waiting for the reply drives the world, over timers too."""

    @workflow
    def adds() -> Workflow[int]:
        total = 0

        def add(by: int) -> Workflow[int]:
            nonlocal total
            yield from replay.sleep(hours=2)
            total += by
            return total

        yield from replay.on_update("add", add, type=int, returns=int)
        yield from replay.signal("stop")
        return total

    handle = world.start(adds())

    assert 4 == handle.update("add", 4).result()
    handle.signal("stop")
    assert 4 == handle.result()


def test_a_run_is_cancelled_and_cleans_up(world: World) -> None:
    """As anywhere else."""
    handle = world.start(tidy())
    world.advance(days=3)
    handle.cancel()

    assert "tidied up" == handle.result()


def test_workflows_and_steps_inside_of_a_test_need_no_import(world: World) -> None:
    """What is asked for is offered, children and remote steps included."""

    @step
    def local(n: int) -> int:
        return n + 1

    @workflow
    def child(n: int) -> Workflow[int]:
        return (yield from local(n))

    @workflow
    def parent() -> Workflow[list[int]]:
        return list((yield from replay.gather(child(1), local(5).options(queue="far"))))

    with World(queues=("default", "far")) as wide:
        assert [2, 6] == wide.start(parent()).result()


def test_only_what_is_given_is_offered() -> None:
    """A world with ``workflows=`` leaves runs of others alone, and says so."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    with World(store=store, clock=clock) as one:
        one.start(asks(), id="question")
    with World(store=store, clock=clock, workflows=[order]) as other, pytest.raises(StillWaiting, match="kit_asks"):
        other.get("question").result()


# ---- what is raised ---------------------------------------------------------------------------------------------------------


def _diverging(store: MemoryStore, clock: VirtualClock) -> None:
    """Leave a run whose journal today's code does not fit."""

    @workflow(name="kit_changed")
    def before() -> Workflow[str]:
        yield from note("old")
        return (yield from replay.signal("go", str))

    with World(store=store, clock=clock) as world:
        world.start(before(), id="run")
        world.run()


@workflow(name="kit_changed")
def changed() -> Workflow[str]:
    yield from note("new")
    return "new"


def test_a_run_that_is_stuck_is_raised_when_the_world_is_driven(caplog: pytest.LogCaptureFixture) -> None:
    """A test must not pass because it did not look."""
    caplog.set_level(logging.CRITICAL, "replay")
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    _diverging(store, clock)

    with World(store=store, clock=clock) as world:
        world.get("run").signal("go", "on")
        with pytest.raises(NonDeterminismError):
            world.run()
        assert "stuck" == world.get("run").status
        with pytest.raises(RunFailed, match="does not fit its journal"):
            world.get("run").result()


def test_a_store_with_another_clock_is_refused() -> None:
    """Virtual time needs a store that goes by it."""
    with pytest.raises(InvalidRequest, match="does not go by the world's clock"):
        World(store=MemoryStore())


def test_a_world_over_sqlite(tmp_path: Path) -> None:
    """Any store by its URL; the world opens it, and closes it."""
    url = f"sqlite:///{tmp_path}/runs.db"
    clock = VirtualClock()
    with World(store=url, clock=clock) as world:
        world.stub(charge, 5)
        world.start(order(5), id="order")
        world.run_until_idle()
    with World(store=url, clock=clock) as world:
        world.stub(ship, "shipped")
        world.get("order").signal("approved", True)

        assert "shipped, shipped" == world.get("order").result()
        assert [] == world.calls(charge)


def test_a_world_needs_a_worker() -> None:
    """Nobody would drive anything."""
    with pytest.raises(InvalidRequest, match="workers"):
        World(workers=0)


def test_retries_of_the_run_and_of_its_steps_pass_in_virtual_time(world: World) -> None:
    """A back-off of hours costs nothing."""

    @step(retry=Retry(max_attempts=2, initial=3600, max_delay=3600, jitter=0))
    def fails() -> int:
        raise ValueError("no")

    @workflow(retry=Retry(max_attempts=2, initial=7200, max_delay=7200, jitter=0))
    def tries() -> Workflow[int]:
        return (yield from fails())

    began = world.clock()
    with pytest.raises(RunFailed, match=StepFailed.__name__):
        world.start(tries()).result()

    assert 4 == len(world.calls())
    assert 4 * 3600 <= (world.clock() - began) / SECOND < 4 * 3600 + 1
