"""Savepoints: places to fork from, and, with state, to recover from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import (
    DefinitionError,
    EffectError,
    PayloadError,
    Workflow,
    gather,
    join,
    now,
    on_update,
    publish,
    random,
    savepoint,
    signal,
    sleep,
    spawn,
    uuid,
    workflow,
)
from replay.errors import JournalDamaged
from replay.interpreter import Interpreter
from replay.interpreter.issue import savepoint_payload
from replay.model.codec import from_json, to_json
from replay.model.journal import Resume
from tests.interpreter.world import SECOND, World, double, drain, fresh, standing, unlisted


def payload_of(world: World, command: str) -> Any:
    """What an engine would write."""
    pending = world.command(command)
    effect: Any = pending.effect
    return from_json(savepoint_payload(world.machine, pending.fiber, effect))


def recovered(world: World) -> Interpreter:
    """An interpreter that begins at the newest savepoint with state, and is fed what follows."""
    at = max(e.seq for e in world.journal if e.kind == "savepoint" and Resume.decode(e.payload) is not None)
    machine = fresh(world.spec, world.run)
    machine.recover(world.journal[0], world.journal[at - 1])
    machine.feed_all(world.journal[at:])
    return machine


# ---- without state -----------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def thinking() -> Workflow[str]:
    yield from savepoint("here", goal="win", decisions=["go"], mood="good", hypotheses=None)
    return "on"


def test_a_savepoint_is_a_command_that_its_event_answers() -> None:
    """Until it is durable, nothing goes on."""
    world = World(thinking())

    assert ["0 savepoint here"] == world.pending
    assert "on" == world.answer("0").result


def test_its_notes_are_what_was_said() -> None:
    """What is None is left out, and there is no state."""
    assert {"notes": {"decisions": ["go"], "goal": "win", "mood": "good"}} == payload_of(World(thinking()), "0")


def test_without_state_it_may_stand_anywhere() -> None:
    """In branches, with others in flight."""

    def branch(n: int) -> Workflow[int]:
        yield from savepoint(f"branch {n}")
        return n

    @workflow
    def both() -> Workflow[Any]:
        yield from spawn(double(1))
        return list((yield from gather(branch(1), branch(2))))

    world = World(both())
    assert ["0/0/0", "1/0/0", "1/1/0"] == world.ids
    assert [1, 2] == world.answer("1/1/0").answer("1/0/0").result


def test_a_journal_cannot_be_recovered_from_one_without_state() -> None:
    """It does not say enough."""
    world = World(thinking()).answer("0")

    with pytest.raises(JournalDamaged, match="event #2: it is no savepoint with state"):
        fresh(thinking).recover(world.journal[0], world.journal[1])


@pytest.mark.parametrize("kind", ["step_completed", "signal_received"])
def test_a_journal_cannot_be_recovered_from_another_kind_of_event(kind: str) -> None:
    """Whatever its payload looks like."""
    world = World(looping(3)).answer("0", 2).answer("1")
    event = world.journal[2]._replace(kind=kind)

    with pytest.raises(JournalDamaged, match="it is no savepoint with state"):
        fresh(looping).recover(world.journal[0], event)


# ---- with state --------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def looping(turns: int, state: list[int] | None = None) -> Workflow[list[int]]:
    done = list(state or [])
    while len(done) < turns:
        done.append((yield from double(len(done))))
        yield from savepoint(f"turn {len(done)}", state=done)
    return done


@workflow
@unlisted
def chatty(state: list[Any] | None = None) -> Workflow[list[Any]]:
    """A bit of everything, between savepoints."""
    said: list[Any] = list(state or [])

    def add(value: Any) -> int:
        said.append(value)
        return len(said)

    yield from on_update("add", add)
    while True:
        word = yield from signal("word", timeout=60, default="nothing")
        said += [word, (yield from random()), str((yield from uuid())), (yield from now()).isoformat()]
        yield from publish("news", word)
        said += yield from gather(double(len(said)), double(1))
        handle = yield from spawn(double(7))
        said.append((yield from join(handle)))
        if word == "stop":
            return said
        yield from savepoint("turn", state=said)


def test_its_event_holds_all_that_recovery_needs() -> None:
    """State, the root's numbers, updates, patches, unread mail, notes."""

    @workflow(patches=["b", "a"])
    def rich(state: dict[str, int] | None = None) -> Workflow[None]:
        yield from on_update("x", lambda value: value)
        yield from publish("t", 1)
        yield from signal("go")
        yield from savepoint("here", state={"n": 1}, goal="g")
        yield from double(1)

    world = World(rich()).signal("other", [2]).update("x", 1).signal("third", "3").signal("other", None).signal("go")

    assert {
        "mail": [["other", [2]], ["other", None], ["third", "3"]],
        "next": 2,
        "notes": {"goal": "g"},
        "outs": 1,
        "patches": ["a", "b"],
        "state": {"n": 1},
        "updates": 1,
    } == payload_of(world, "1")


def test_recovery_goes_on_where_the_savepoint_stood() -> None:
    """With the next number and the given state; what lies before is not needed."""
    world = World(looping(3)).answer("0", 10).answer("1").answer("2", 20).answer("3")
    machine = recovered(world)

    assert ["4 step double(2)"] == [f"{command.id} {command.effect}" for command in machine.pending.values()]
    assert 5 == machine.seq


def test_going_on_equals_starting_again() -> None:
    """The law of savepoints, over everything that a run can do."""
    world = World(chatty(), run="law")
    moves: list[Any] = [
        lambda: world.signal("word", "one"),
        lambda: world.later(5).answer("1/1/0", 2),
        lambda: world.signal("word", "early"),
        lambda: world.answer("1/0/0", 8),
        lambda: world.update("add", "x"),
        lambda: world.answer("2/0/0", 14),
        lambda: world.answer("3"),
        lambda: world.later(2).answer("5/0/0", 1),
        lambda: world.answer("5/1/0", 2),
        lambda: world.signal("other", 0),
        lambda: world.answer("6/0/0", 3),
        lambda: world.later(1).answer("7"),
        lambda: world.update("add", "y"),
        lambda: world.fire("8"),
        lambda: world.answer("9/0/0", 1).answer("9/1/0", 2).answer("10/0/0", 3),
        lambda: world.signal("word", "stop"),
        lambda: world.answer("11"),
        lambda: world.answer("13/0/0", 1).answer("13/1/0", 2).answer("14/0/0", 3),
        world.close,
    ]
    past_savepoint = False
    for move in moves:
        move()
        past_savepoint = past_savepoint or world.journal[-1].kind == "savepoint"
        if past_savepoint:
            assert standing(world.machine) == standing(recovered(world))
    assert "completed" == world.ending
    assert 3 == sum(event.kind == "savepoint" for event in world.journal)


def test_a_recovered_run_says_what_comes_after_its_savepoint_under_the_same_ids() -> None:
    """So that a message is sent once, recovered or not."""
    world = World(chatty(), run="law").signal("word", "one").answer("1/0/0", 1).answer("1/1/0", 2).answer("2/0/0", 3).answer("3")
    drain(world.machine)
    event = world.signal("word", "two").journal[-1]
    machine = fresh(chatty, "law")
    machine.recover(world.journal[0], world.journal[-2])
    drain(machine)
    machine.feed(event)

    assert drain(world.machine) == drain(machine)


def test_chance_counts_anew_at_a_savepoint() -> None:
    """Under its number, so that recovery need not know what was drawn before."""

    @workflow
    def drawing(state: int = 0) -> Workflow[list[float]]:
        drawn: list[float] = []
        for n in range(state, 2):
            drawn.append((yield from random()))
            yield from savepoint("here", state=n + 1)
        drawn.append((yield from random()))
        return drawn

    world = World(drawing(), run="r").answer("0").answer("1")
    machine = recovered(world)
    assert machine.outcome is not None

    assert world.result[-1:] == from_json(machine.outcome.payload)
    assert 3 == len(set(world.result))


def test_the_clock_stands_at_the_savepoint() -> None:
    """A timer issued right after it is due at the same moment."""

    @workflow
    def napping(state: int = 0) -> Workflow[None]:
        if not state:
            yield from double(1)
            yield from savepoint("here", state=1)
        yield from sleep(10)

    world = World(napping()).later(5).answer("0", 2).later(2).answer("1")

    assert [world.command("2").due] == [command.due for command in recovered(world).pending.values()]
    assert world.journal[-1].at + 10 * SECOND == world.command("2").due


def test_a_falsy_state_is_a_state() -> None:
    """Not the beginning."""

    @workflow
    def counting(state: int | None = None) -> Workflow[str]:
        if state is None:
            yield from double(1)
            yield from savepoint("zero", state=0)
            return "went on"
        yield from double(2)
        return "began again"

    world = World(counting()).answer("0", 2).answer("1")

    assert "went on" == world.result
    assert ["2 step double(2)"] == [f"{command.id} {command.effect}" for command in recovered(world).pending.values()]


@given(turns=st.integers(1, 6), cut=st.integers(0, 12), values=st.lists(st.integers(), min_size=6, max_size=6))
def test_any_point_after_a_savepoint_recovers_alike(turns: int, cut: int, values: list[int]) -> None:
    """Whatever the answers were."""
    world = World(looping(turns))
    for turn in range(turns):
        world.answer(str(2 * turn), values[turn]).answer(str(2 * turn + 1))
    world.journal = world.journal[: max(3, cut)]

    assert standing(recovered(world)) == standing(world.again())


# ---- where it may stand ------------------------------------------------------------------------------------------------------


def refusal(body: Any) -> str:
    """What a workflow is told that takes a savepoint with state."""

    @workflow
    def careless(state: Any = None) -> Workflow[str]:
        try:
            yield from body()
        except (EffectError, DefinitionError, PayloadError) as error:
            return str(error)
        return "accepted"

    world = World(careless())
    for _ in range(3):
        for command in world.ids:
            world.answer(command, 1)
    return str(world.result)


def in_a_branch() -> Workflow[None]:
    yield from gather(savepoint("s", state=1))


def beside_a_spawned_fiber() -> Workflow[None]:
    yield from spawn(double(1))
    yield from savepoint("s", state=1)


def inside_a_spawned_fiber() -> Workflow[None]:
    handle = yield from spawn(savepoint("s", state=1))
    yield from join(handle)


def after_a_spawned_fiber() -> Workflow[None]:
    handle = yield from spawn(double(1))
    yield from join(handle)
    yield from savepoint("s", state=1)


@pytest.mark.parametrize("body", [in_a_branch, beside_a_spawned_fiber, inside_a_spawned_fiber])
def test_with_state_it_is_refused_while_anything_else_is_in_flight(body: Any) -> None:
    """Recovery would forget it."""
    assert refusal(body).startswith("savepoint 's' with state while something else is in flight; ")


def test_with_state_it_is_taken_once_all_else_has_ended() -> None:
    """A spawned fiber that was joined is no hindrance."""
    assert "accepted" == refusal(after_a_spawned_fiber)


def test_a_workflow_without_a_state_parameter_cannot_give_one() -> None:
    """It could not be begun again with it."""

    @workflow
    def stateless() -> Workflow[None]:
        yield from savepoint("s", state=1)

    message = World(stateless()).failure.message
    assert "workflow stateless: a savepoint has state=, but the workflow cannot be begun again with it; " in message


def test_a_state_that_does_not_fit_its_annotation_is_refused_at_its_line() -> None:
    """Before it is written."""

    @workflow
    def typed(state: int = 0) -> Workflow[None]:
        yield from savepoint("s", state="x")

    world = World(typed())

    assert "state of a savepoint in workflow typed: expected int, got str 'x'" == world.failure.message
    assert [] == world.pending


def test_a_recorded_state_that_no_longer_fits_is_an_error() -> None:
    """The annotation changed while the run was open."""
    world = World(looping(3)).answer("0", 2).answer("1")
    event = world.journal[2]._replace(payload=to_json({**from_json(world.journal[2].payload), "state": "x"}))

    with pytest.raises(PayloadError, match="state of a savepoint in workflow looping"):
        fresh(looping).recover(world.journal[0], event)
