"""Runs that start runs: results, failures, policies when a parent closes, given ids, steps sent to other queues."""

from __future__ import annotations

from typing import Any

import pytest

from replay import (
    Cancelled,
    ChildFailed,
    Client,
    Engine,
    Retry,
    RunFailed,
    StepFailed,
    StepInfo,
    Workflow,
    cancel,
    continue_as_new,
    gather,
    info,
    join,
    race,
    set_state,
    set_tags,
    signal,
    sleep,
    start_child,
    step,
    step_info,
    timeout,
    workflow,
)
from replay.errors import TimedOut
from replay.model.names import SECOND
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, kinds, let_pass, named, reaches, until


@workflow
def child_waits(name: str) -> Workflow[str]:
    word = yield from signal("word", str)
    return f"{name} heard {word}"


@workflow
def child_fails() -> Workflow[str]:
    yield from sleep(0)
    raise ValueError("no good")


@workflow
def child_adds(left: int, right: int) -> Workflow[int]:
    yield from sleep(0)
    return left + right


class DeclinedHere(Exception):
    """Raised by a step elsewhere, caught here as itself."""


@step(queue="gpu")
def on_gpu(number: int) -> str:
    return f"{number} in {step_info().run_id}"


@step(queue="gpu", retry=Retry(max_attempts=3, initial=0, jitter=0), raises=[DeclinedHere])
def fails_on_gpu(kind: str) -> int:
    me = step_info()
    if kind == "once" and me.attempt > 1:
        return me.attempt
    raise DeclinedHere(kind, me.attempt) if kind == "declined" else OSError(kind)


# ---- children -----------------------------------------------------------------------------------------------------------------


def test_a_child_answers_its_parent(engine: Engine) -> None:
    """Its id is its parent's and its command's; its result is typed like a step's."""

    @workflow
    def parent() -> Workflow[int]:
        return (yield from child_adds(40, 2))

    handle = engine.start(parent(), id="p")

    assert 42 == handle.result(PATIENCE)
    assert ["started", "child_completed", "completed"] == kinds(handle)
    assert ("child_adds", "completed", "p", "0") == (
        (run := engine.get("p.0").about()).workflow,
        run.status,
        run.parent,
        run.parent_command,
    )


def test_a_hundred_children_answer(engine: Engine) -> None:
    """Side by side, each under an id of its own."""

    @workflow
    def parent() -> Workflow[int]:
        return sum((yield from gather(*[child_adds(n, 1) for n in range(100)])))

    assert 5050 == engine.start(parent(), id="p").result(PATIENCE)
    assert 100 == len(engine.find(parent="p").runs)


def test_a_failed_child_is_a_failure_of_its_command(engine: Engine) -> None:
    """The parent learns which run, and what it raised."""
    caught: list[ChildFailed] = []

    @workflow
    def parent() -> Workflow[str]:
        try:
            return (yield from child_fails())
        except ChildFailed as error:
            caught.append(error)
            return "caught"

    assert "caught" == engine.start(parent(), id="p").result(PATIENCE)
    error = caught[0]
    assert ("p.0", "child_fails", "ValueError", "no good", "failed") == (
        error.run,
        error.workflow,
        error.error_type,
        error.message,
        error.status,
    )


@pytest.mark.parametrize("how", ["cancelled", "terminated"])
def test_a_child_ended_from_outside_has_failed_for_its_parent(engine: Engine, how: str) -> None:
    """The parent is not left waiting."""

    @workflow
    def parent() -> Workflow[str]:
        try:
            return (yield from child_waits("c"))
        except ChildFailed as error:
            return error.status

    handle = engine.start(parent(), id="p")
    child = engine.get("p.0")
    until(lambda: engine.store.get([child.key])[0], engine.store)
    child.cancel() if how == "cancelled" else child.terminate()

    assert how == handle.result(PATIENCE)


@pytest.mark.parametrize("policy", ["cancel", "abandon", "wait"])
def test_a_parent_that_closes_does_by_its_child_what_it_said(engine: Engine, policy: Any) -> None:
    """It cancels it, lets it go on by itself, or waits for it."""

    @workflow
    def parent() -> Workflow[str]:
        child = yield from start_child(child_waits("c"), id="c", on_parent_close=policy)
        yield from set_state("child", child.run_id)
        yield from signal("close")
        return "closed"

    handle = engine.start(parent(), id="p")
    child = engine.get("c", child_waits)
    until(lambda: engine.store.get([child.key])[0], engine.store)
    assert {"child": "c"} == until(handle.state, engine.store)
    handle.signal("close")

    if policy == "wait":
        assert handle.status in {"running", "waiting"}
        child.signal("word", "go")
        assert "closed" == handle.result(PATIENCE)
        assert "completed" == child.status
    elif policy == "cancel":
        assert "closed" == handle.result(PATIENCE)
        with pytest.raises(RunFailed, match="cancelled"):
            child.result(PATIENCE)
    else:
        assert "closed" == handle.result(PATIENCE)
        child.signal("word", "go")
        assert "c heard go" == child.result(PATIENCE)


@pytest.mark.parametrize(("policy", "fate"), [("cancel", "cancelled"), ("abandon", "completed"), ("wait", "completed")])
def test_a_terminated_parent_does_by_its_child_what_it_said(engine: Engine, policy: Any, fate: str) -> None:
    """None of its code runs, so it cannot wait; the others go on by themselves."""

    @workflow
    def parent() -> Workflow[str]:
        yield from start_child(child_waits("c"), id="c", on_parent_close=policy)
        return (yield from signal("never", str))

    handle = engine.start(parent(), id="p")
    child = engine.get("c", child_waits)
    until(lambda: engine.store.get([child.key])[0], engine.store)
    handle.terminate()
    with pytest.raises(RunFailed, match="terminated"):
        handle.result(PATIENCE)
    if policy != "cancel":
        child.signal("word", "go")

    assert fate == reaches(child, "cancelled", "completed")


def test_a_cancelled_parent_takes_its_child_along(engine: Engine) -> None:
    """The child is asked, not killed."""

    @workflow
    def parent() -> Workflow[str]:
        return (yield from child_waits("c"))

    handle = engine.start(parent(), id="p")
    child = engine.get("p.0")
    until(lambda: engine.store.get([child.key])[0], engine.store)
    handle.cancel("enough")

    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)
    assert "cancelled" == reaches(child, "cancelled")


def test_a_child_may_be_joined_or_cancelled(engine: Engine) -> None:
    """``start_child`` gives a handle that is waited for later."""

    @workflow
    def parent() -> Workflow[list[str]]:
        one = yield from start_child(child_waits("one"), id="one")
        two = yield from start_child(child_waits("two"), id="two")
        yield from signal("cancel")
        yield from cancel(two, "not needed")
        try:
            yield from join(two)
        except Cancelled as error:  # its fiber's end, as with any that was cancelled
            return [(yield from join(one)), error.reason]
        return []

    handle = engine.start(parent(), id="p")
    until(lambda: engine.store.get([engine.get("two").key])[0], engine.store)
    handle.signal("cancel")
    engine.get("one").signal("word", "go")

    assert ["one heard go", "not needed"] == handle.result(PATIENCE)
    assert "cancelled" == reaches(engine.get("two"), "cancelled")


def test_a_given_id_that_is_taken_is_a_failure(engine: Engine) -> None:
    """A run that somebody else started will not answer this parent: it is told so instead of waiting for ever."""
    taken = engine.start(child_waits("mine"), id="taken")

    @workflow
    def parent() -> Workflow[str]:
        try:
            return (yield from start_and_join())
        except ChildFailed as error:
            return f"{error.run}: {error.error_type}"

    def start_and_join() -> Workflow[str]:
        child = yield from start_child(child_waits("other"), id="taken")
        return (yield from join(child))

    assert "taken: replay.errors.RunExists" == engine.start(parent(), id="p").result(PATIENCE)
    assert "waiting" == reaches(taken, "waiting")


def test_a_taken_id_is_told_also_to_a_parent_that_was_put_aside_at_once(open_engine: OpenEngine) -> None:
    """With one place only, a parent that waits leaves memory with the very commit that asks for its child."""
    engine = open_engine(concurrency=1, poll=30)
    taken = engine.start(child_waits("mine"), id="taken")

    @workflow
    def parent() -> Workflow[str]:
        return (yield from join((yield from start_child(child_waits("other"), id="taken"))))

    with pytest.raises(RunFailed, match="RunExists"):
        engine.start(parent(), id="p").result(PATIENCE)
    taken.signal("word", "go")
    assert "mine heard go" == taken.result(PATIENCE)


def test_a_taken_id_of_a_step_elsewhere_is_a_failure_too(open_engine: OpenEngine) -> None:
    """``.options(id=)`` of a remote step names its run."""
    engine = open_engine(queues=["default", "gpu"])

    @workflow
    def flow() -> Workflow[str]:
        return (yield from on_gpu(1).options(id="mine"))

    assert "1 in mine" == engine.start(flow(), id="a").result(PATIENCE)
    with pytest.raises(RunFailed, match="'mine' exists as step:on_gpu"):
        engine.start(flow(), id="b").result(PATIENCE)


def test_one_id_given_twice_by_one_parent_is_a_failure(engine: Engine) -> None:
    """The second command is another command, whose answer would never come."""

    def named_child(number: int) -> Workflow[int]:
        child = yield from start_child(child_adds(number, 0), id="same")
        return (yield from join(child))

    @workflow
    def outer() -> Workflow[list[str]]:
        return [type(found).__name__ for found in (yield from gather(named_child(0), named_child(1), return_errors=True))]

    assert ["int", "ChildFailed"] == engine.start(outer(), id="p").result(PATIENCE)


def test_a_child_outlives_a_restart_of_both(open_engine: OpenEngine) -> None:
    """Its answer is a message like any other."""

    @workflow
    def parent() -> Workflow[str]:
        return (yield from child_waits("c"))

    first = open_engine(workflows=[parent, child_waits])
    _ = first.start(parent(), id="p")
    until(lambda: first.store.get([first.get("p.0").key])[0], first.store)
    first.close()
    second = open_engine(workflows=[parent, child_waits])
    second.get("p.0").signal("word", "hello")

    assert "c heard hello" == second.get("p", parent).result(PATIENCE)


def test_a_child_that_continues_as_new_answers_in_the_end(engine: Engine) -> None:
    """Its parent waits for the last of its journals."""

    @workflow
    def counting(number: int) -> Workflow[int]:
        yield from sleep(0)
        if number < 5:
            yield from continue_as_new(number + 1)
        return number

    @workflow
    def parent() -> Workflow[int]:
        return (yield from counting(0))

    assert 5 == engine.start(parent(), id="p").result(PATIENCE)


def test_what_a_run_shows_is_carried_into_its_next_journal(engine: Engine) -> None:
    """State and tags belong to the run, not to one of its journals; one that was taken away stays away."""

    @workflow
    def showing(number: int) -> Workflow[int]:
        if number == 0:
            yield from set_state("seen", [1])
            yield from set_tags(kind="long", gone="soon")
        if number == 1:
            yield from set_tags(gone="")
        if number < 2:
            yield from continue_as_new(number + 1)
        yield from signal("end", int)
        return number

    handle = engine.start(showing(0).options(tags={"team": "blue"}), id="shows")
    run = until(lambda: (found := handle.about()).status == "waiting" and found.key.id == "shows" and found, engine.store)

    assert ({"seen": b"[1]"}, {"team": "blue", "kind": "long"}) == (run.state, run.tags)
    assert {"team": "blue", "kind": "long", "gone": "soon"} == engine.get("shows~1").about().tags


def test_a_run_that_begins_again_shows_nothing_of_its_last_attempt(engine: Engine) -> None:
    """What a failed attempt had set says nothing about the next one."""

    @workflow(retry=Retry(max_attempts=2, initial=0, jitter=0))
    def again() -> Workflow[str]:
        if (yield from info()).attempt == 1:
            yield from set_state("half", True)
            yield from set_tags(half="yes")
            raise OSError("first")
        return "second"

    handle = engine.start(again(), id="again")
    assert "second" == handle.result(PATIENCE)

    assert ({}, {}) == (handle.state(), handle.about().tags)


def test_a_run_is_begun_again_by_its_own_policy(open_engine: OpenEngine) -> None:
    """``@workflow(retry=)``: the same id, a fresh journal, and a parent that waits for the last attempt."""
    engine = open_engine()

    @workflow(retry=Retry(max_attempts=3, initial=0, jitter=0))
    def flaky() -> Workflow[int]:
        attempt = (yield from info()).attempt
        if attempt < 3:
            raise OSError(f"attempt {attempt}")
        return attempt

    @workflow
    def parent() -> Workflow[int]:
        return (yield from flaky())

    assert 3 == engine.start(flaky(), id="f").result(PATIENCE)
    assert 3 == engine.start(parent(), id="p").result(PATIENCE)
    assert ["failed", "failed"] == [engine.get(f"f~{number}").status for number in (1, 2)]


def test_a_retried_run_waits_for_its_time_and_gives_up(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Its pauses are as durable as any timer; the last failure is the run's."""
    engine, began = open_engine(clock=clock), clock.now()

    @workflow(retry=Retry(max_attempts=2, initial=600, max_delay=600, jitter=0))
    def broken() -> Workflow[int]:
        yield from sleep(0)
        raise OSError(f"attempt {(yield from info()).attempt}")

    handle = engine.start(broken(), id="b")
    until(lambda: engine.store.get([engine.get("b~1").key])[0], engine.store)
    assert "pending" == handle.status
    let_pass(engine, clock, 599)
    let_pass(engine, clock, 2)

    with pytest.raises(RunFailed, match="attempt 2"):
        handle.result(PATIENCE)
    assert began + 601 * SECOND == named(handle, "timer_fired")[0].at


def test_a_deadline_reaches_the_children(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """What the parent may not outlive, its child may not either, also when it was abandoned."""
    engine = open_engine(clock=clock)

    @workflow
    def parent() -> Workflow[str]:
        yield from start_child(child_waits("left"), id="left", on_parent_close="abandon")
        return (yield from child_waits("c"))

    handle = engine.start(parent(), id="p", deadline=60)
    child = engine.get("p.1")
    until(lambda: engine.store.get([child.key])[0], engine.store)
    let_pass(engine, clock, 59)
    assert handle.status in {"waiting", "running"}
    let_pass(engine, clock, 2)

    for run in (handle, child, engine.get("left")):
        with pytest.raises(RunFailed, match="cancelled"):
            run.result(PATIENCE)


# ---- steps elsewhere ----------------------------------------------------------------------------------------------------------


def test_a_step_is_done_where_its_queue_is_served(open_engine: OpenEngine) -> None:
    """One engine asks, another does; the answer comes back as a message."""
    engine = open_engine()

    @workflow
    def flow() -> Workflow[list[str]]:
        return list((yield from gather(on_gpu(1), on_gpu(2))))

    handle = engine.start(flow(), id="a")
    until(lambda: 2 == len(engine.find(workflow="step:on_gpu").runs), engine.store)
    assert {"pending"} == {run.status for run in engine.find(workflow="step:on_gpu").runs}
    open_engine(queues=["gpu"])

    assert ["1 in a.0/0/0", "2 in a.0/1/0"] == handle.result(PATIENCE)
    assert ["started", "step_completed", "step_completed", "completed"] == kinds(handle)


def test_a_step_elsewhere_is_tried_again_there(open_engine: OpenEngine) -> None:
    """Its retry policy is its own run's business."""
    engine = open_engine(queues=["default", "gpu"])

    @workflow
    def flow() -> Workflow[int]:
        return (yield from fails_on_gpu("once"))

    handle = engine.start(flow(), id="a")

    assert 2 == handle.result(PATIENCE)
    assert ["started", "step_attempt_failed", "step_completed", "completed"] == kinds(engine.get("a.0"))


def test_a_failure_elsewhere_comes_back_as_if_it_were_here(open_engine: OpenEngine) -> None:
    """As itself when it is named in ``raises=``, else as ``StepFailed`` with its attempts."""
    engine = open_engine(queues=["default", "gpu"])

    @workflow
    def flow(kind: str) -> Workflow[str]:
        try:
            return str((yield from fails_on_gpu(kind)))
        except DeclinedHere as error:
            return f"declined {error.args}"
        except StepFailed as error:
            return f"{error.error_type} after {error.attempts}"

    assert "declined ('declined', 3)" == engine.start(flow("declined")).result(PATIENCE)
    assert "OSError after 3" == engine.start(flow("broken")).result(PATIENCE)


def test_the_loser_elsewhere_is_cancelled_by_a_message(open_engine: OpenEngine) -> None:
    """A remote step that nobody waits for any more is withdrawn, whether it has begun or not."""
    engine = open_engine()

    @workflow
    def flow() -> Workflow[Any]:
        return (yield from race(on_gpu(1), signal("go", int)))

    handle = engine.start(flow(), id="a")
    until(lambda: engine.find(workflow="step:on_gpu").runs, engine.store)
    handle.signal("go", 3)

    assert [1, 3] == list(handle.result(PATIENCE))
    open_engine(queues=["gpu"])
    assert "cancelled" == reaches(engine.get("a.0/0/0"), "cancelled")


def test_a_terminated_run_withdraws_its_steps_elsewhere(open_engine: OpenEngine) -> None:
    """Nobody would read the answer."""
    engine = open_engine()

    @workflow
    def flow() -> Workflow[str]:
        return (yield from on_gpu(1))

    handle = engine.start(flow(), id="a")
    until(lambda: engine.find(workflow="step:on_gpu").runs, engine.store)
    handle.terminate()
    reaches(handle, "terminated")  # its last commit calls the step off
    open_engine(queues=["gpu"])

    assert "cancelled" == reaches(engine.get("a.0"), "cancelled", "completed")


def test_a_timeout_around_a_step_elsewhere_is_kept_here(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Also when nobody serves its queue."""
    engine = open_engine(clock=clock)

    @workflow
    def flow() -> Workflow[str]:
        try:
            return (yield from timeout(on_gpu(1), 60))
        except TimedOut:
            return "nobody came"

    handle = engine.start(flow(), id="a")
    until(lambda: engine.find(workflow="step:on_gpu").runs, engine.store)
    let_pass(engine, clock, 61)

    assert "nobody came" == handle.result(PATIENCE)


def test_a_queue_may_be_chosen_for_one_call(open_engine: OpenEngine) -> None:
    """``.options(queue=)``; the engine that serves the run's own queue leaves it alone."""
    engine = open_engine()

    @workflow
    def flow() -> Workflow[str]:
        return (yield from on_gpu(5).options(queue="cpu"))

    handle = engine.start(flow(), id="a")
    until(lambda: engine.find(workflow="step:on_gpu").runs, engine.store)
    assert "cpu" == engine.find(workflow="step:on_gpu").runs[0].queue
    open_engine(queues=["cpu"])

    assert "5 in a.0" == handle.result(PATIENCE)


def test_a_run_is_driven_by_who_serves_its_queue(open_engine: OpenEngine, store_url: str) -> None:
    """A client may start what it does not drive; priority decides who is first."""
    order: list[str] = []

    @workflow
    def flow(name: str) -> Workflow[str]:
        yield from sleep(0)
        order.append(name)
        return name

    with Client(store_url) as client:
        late = client.start(flow("late"), queue="slow", priority=1)
        soon = client.start(flow("soon"), queue="slow", priority=5)
        open_engine(queues=["slow"], workflows=[flow], concurrency=1)
        assert ["late", "soon"] == [late.result(PATIENCE), soon.result(PATIENCE)]

    assert ["soon", "late"] == order


def test_a_slow_step_elsewhere_sees_that_it_was_cancelled(open_engine: OpenEngine) -> None:
    """The message reaches the run of the step; its body sees it in ``step_info()``."""
    gate = GATES["slow"] = Gate()
    engine = open_engine(queues=["default", "gpu"])

    @workflow
    def flow() -> Workflow[Any]:
        return (yield from race(slow_on_gpu(), signal("go", int)))

    handle = engine.start(flow(), id="a")
    gate.await_entry()
    handle.signal("go", 3)
    handle.result(PATIENCE)

    until(lambda: ON_GPU["slow"].cancelled, engine.store)
    gate.open()


GATES: dict[str, Gate] = {}
ON_GPU: dict[str, StepInfo] = {}


@step(queue="gpu")
def slow_on_gpu() -> int:
    ON_GPU["slow"] = step_info()
    GATES["slow"].enter()
    return 1


def test_an_answer_that_today_s_code_does_not_ask_for_is_noted(open_engine: OpenEngine) -> None:
    """Code changed after the last answered command: the child's answer is dropped and said, not journaled."""

    @workflow(name="changing")
    def before() -> Workflow[str]:
        return (yield from child_waits("c"))

    @workflow(name="changing")
    def after() -> Workflow[str]:
        return (yield from signal("else", str))

    first = open_engine(workflows=[before, child_waits])
    handle = first.start(before(), id="p")
    until(lambda: first.store.get([first.get("p.0").key])[0], first.store)
    first.close()
    second = open_engine(workflows=[after, child_waits])
    second.get("p.0").signal("word", "x")
    handle = second.get("p", after)
    until(handle.notes, second.store)
    handle.signal("else", "done")

    assert "done" == handle.result(PATIENCE)
    assert "does not ask for" in handle.notes()[0]["text"]
    assert [] == named(handle, "child_completed")
