"""A journal and the code that does not fit it: both sides are shown."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Workflow, gather, savepoint, signal, sleep, spawn, step, workflow
from replay.errors import NonDeterminismError
from replay.model import events
from replay.model.codec import to_json
from replay.model.events import Event
from replay.model.failure import Failure
from tests.interpreter.world import START, World, double, echo, fresh, unlisted


@workflow
@unlisted
def chain(n: int) -> Workflow[int]:
    once = yield from double(n)
    return (yield from double(once))


@step(compare_arguments=False)
@unlisted
def lax(n: int) -> int:
    return n


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


def differing(world: World, spec: Any) -> NonDeterminismError:
    """Drive a world's journal through other code."""
    machine = fresh(spec, world.run)
    with pytest.raises(NonDeterminismError) as caught:
        machine.feed_all(world.journal)
    return caught.value


def named(fn: Any) -> Any:
    """The same run, other code."""
    return workflow(name="chain")(unlisted(fn))


def test_another_step_in_its_place_is_shown_with_both_sides() -> None:
    """Recorded and asked, with the line of today's yield."""

    def renamed(n: int) -> Workflow[Any]:
        return (yield from echo(n))

    found = differing(World(chain(1)).answer("0", 2), named(renamed))

    assert ("run", 2) == (found.run, found.seq)
    assert "step_completed double as command 0" == found.recorded
    assert "step echo(1) as command 0" == found.asked
    assert f"{__file__}:{renamed.__code__.co_firstlineno + 1}" == found.asked_line
    assert ("#1 started chain",) == found.before


def test_the_line_that_asked_when_it_was_recorded_is_shown() -> None:
    """As the journal has it."""
    world = World(chain(1))
    event = Event(2, "step_completed", "0", "echo", START, b"1", line="shop.py:12")

    with pytest.raises(NonDeterminismError) as caught:
        world.machine.feed(event)
    assert "shop.py:12" == caught.value.recorded_line


def test_the_report_reads_as_a_whole() -> None:
    """What was recorded, what is asked, what came before, what to do."""

    def renamed(n: int) -> Workflow[Any]:
        yield from double(n)
        return (yield from echo(n))

    world = World(chain(1)).answer("0", 2).answer("1", 4)
    text = str(differing(world, named(renamed)))
    line = f"{__file__}:{renamed.__code__.co_firstlineno + 2}"

    assert [
        "run run does not fit its journal at event #3",
        "  recorded:  step_completed double as command 1",
        f"  now asks:  step echo(1) as command 1   ({line})",
        "  before it: #1 started chain",
        "  before it: #2 step_completed 0 double",
        (
            "  what to do: restore the old order of effects, guard the new code with `if (yield from patched(name))`, "
            "or fork the run before this event"
        ),
    ] == text.split("\n")


def test_other_arguments_are_a_difference() -> None:
    """By their checksum, which is all that was recorded of them."""

    def other(n: int) -> Workflow[Any]:
        return (yield from double(n + 1))

    found = differing(World(chain(1)).answer("0", 2), named(other))

    assert "step double(2) as command 0, with other arguments" == found.asked


def test_a_step_may_leave_its_arguments_uncompared() -> None:
    """For those that hold a time or a path."""

    @workflow
    def lazily(n: int) -> Workflow[int]:
        return (yield from lax(n))

    assert 0 == lax(1).check()
    assert 5 == World(lazily(1)).feed("step_completed", "0", "lax", b"5", check=12345).result


def test_an_answer_without_a_checksum_fits_any_arguments() -> None:
    """It was recorded by a version that did not compare them."""
    assert ["1"] == World(chain(1)).feed("step_completed", "0", "double", b"2").ids


def test_an_answer_that_nobody_waits_for_lists_what_is_waited_for() -> None:
    """Up to a few."""

    @workflow
    def crowd(n: int) -> Workflow[Any]:
        return (yield from gather(*[double(i) for i in range(n)]))

    world = World(crowd(7))
    with pytest.raises(NonDeterminismError) as caught:
        world.feed("step_completed", "9", "double", b"1")

    assert (
        "step double(0) as command 0/0/0; step double(1) as command 0/1/0; step double(2) as command 0/2/0; "
        "step double(3) as command 0/3/0; step double(4) as command 0/4/0; and 2 more" == caught.value.asked
    )


def test_the_line_of_a_single_effect_is_the_line_of_its_combinator() -> None:
    """Not one inside the interpreter."""

    @workflow
    def pair() -> Workflow[Any]:
        return (yield from gather(double(1), double(2)))

    world = World(pair())
    here = f"{__file__}:{pair.fn.__code__.co_firstlineno + 2}"
    assert [here, here] == [world.machine.line_of(command) for command in world.machine.pending.values()]

    with pytest.raises(NonDeterminismError) as caught:
        world.feed("step_completed", "0/1/0", "echo", b"1")
    assert here == caught.value.asked_line


def test_the_line_of_a_spawned_effect_is_not_guessed() -> None:
    """Its maker has gone on."""

    @workflow
    def beside() -> Workflow[Any]:
        yield from spawn(double(1))
        yield from sleep(1)

    machine = World(beside()).machine

    assert "" == machine.line_of(machine.pending["0/0/0"])


def test_an_answer_of_another_kind_does_not_fit() -> None:
    """A child's result is no step's."""
    with pytest.raises(NonDeterminismError, match="step double\\(1\\) as command 0"):
        World(chain(1)).feed("child_completed", "0", "double", b"2")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("step_completed", "echo"),
        ("step_failed", "echo"),
        ("step_attempt_failed", "echo"),
        ("step_intent", "echo"),
        ("timer_fired", "sleep"),
        ("savepoint", "double"),
        ("child_failed", "double"),
    ],
)
def test_every_kind_of_answer_is_compared(kind: str, name: str) -> None:
    """Also those that only note something."""
    with pytest.raises(NonDeterminismError) as caught:
        World(chain(1)).feed(kind, "0", name, b"{}")
    assert f"{kind} {name} as command 0" == caught.value.recorded


@pytest.mark.parametrize("kind", ["step_attempt_failed", "step_intent"])
def test_notes_about_steps_compare_arguments_too(kind: str) -> None:
    """By the same checksum."""
    with pytest.raises(NonDeterminismError, match="with other arguments"):
        World(chain(1)).feed(kind, "0", "double", b"{}", check=1)


def test_a_timer_in_place_of_a_step_does_not_fit() -> None:
    """The code slept when it was recorded."""

    def slept(n: int) -> Workflow[Any]:
        yield from sleep(n)

    world = World(named(slept)(1)).fire("0")

    assert "step double(1) as command 0" == differing(world, chain).asked


def test_a_savepoint_of_another_name_or_with_other_notes_does_not_fit() -> None:
    """Both are compared."""

    @workflow
    def noting() -> Workflow[None]:
        yield from savepoint("here", goal="g")

    for name, check in (("there", 0), ("here", 1)):
        with pytest.raises(NonDeterminismError):
            World(noting()).feed("savepoint", "0", name, b'{"notes":{}}', check=check)


def test_a_child_with_other_arguments_does_not_fit() -> None:
    """As a step."""

    @workflow
    def parent(n: int) -> Workflow[int]:
        return (yield from child(n))

    with pytest.raises(NonDeterminismError, match="child child\\(3\\) as command 0, with other arguments"):
        World(parent(3)).feed("child_completed", "0", "child", b"6", check=1)


def test_what_is_for_people_is_never_compared() -> None:
    """Worker, path, attempt, duration."""
    world = World(chain(1))
    check = world.command("0").effect.check()
    world.machine.feed(Event(2, "step_completed", "0", "double", START, b"2", check, 3, 99, "/other/path.py:1", "worker-9"))

    assert ["1"] == world.ids


def test_the_traceback_of_a_failure_is_never_compared() -> None:
    """Two machines have two paths."""

    @workflow
    def broken() -> Workflow[None]:
        yield from double(1)
        raise ValueError("no")

    world = World(broken()).answer("0", 2)
    world.feed("failed", name="broken", payload=Failure(type="ValueError", message="no", traceback="elsewhere").encode())

    assert "failed" == world.ending


# ---- the end -----------------------------------------------------------------------------------------------------------------


def test_a_workflow_that_ends_while_its_journal_goes_on_does_not_fit() -> None:
    """The result that it came to is shown."""

    def shorter(n: int) -> Workflow[int]:
        return (yield from double(n))

    found = differing(World(chain(1)).answer("0", 2).answer("1", 4), named(shorter))

    assert "the workflow has ended: completed 2" == found.asked
    assert "step_completed double as command 1" == found.recorded


def test_a_message_after_the_end_does_not_fit() -> None:
    """An ended run takes none."""
    with pytest.raises(NonDeterminismError, match="the workflow has ended: completed 4"):
        World(chain(1)).answer("0", 2).answer("1", 4).signal("late")


def test_a_journal_that_ends_before_the_code_does_not_fit() -> None:
    """It still asks."""

    def longer(n: int) -> Workflow[Any]:
        yield from double(n)
        yield from double(2)
        return (yield from echo("more"))

    world = World(chain(1)).answer("0", 2).answer("1", 4).close()

    assert "completed chain" == differing(world, named(longer)).recorded
    assert 'step echo("more") as command 2' == differing(world, named(longer)).asked


def test_another_result_does_not_fit() -> None:
    """Both are shown."""

    def other(n: int) -> Workflow[int]:
        yield from double(n)
        return 1 + (yield from double(2))

    found = differing(World(chain(1)).answer("0", 2).answer("1", 4).close(), named(other))

    assert ("completed chain 4", "the workflow has ended: completed 5") == (found.recorded, found.asked)


@pytest.mark.parametrize("kind", ["failed", "cancelled", "continued"])
def test_another_kind_of_end_does_not_fit(kind: str) -> None:
    """Completed is not failed."""
    with pytest.raises(NonDeterminismError):
        World(chain(1)).answer("0", 2).answer("1", 4).feed(kind, name="chain", payload=b"{}")


@pytest.mark.parametrize("kind", events.KINDS)
def test_after_the_closing_event_nothing_fits(kind: str) -> None:
    """Not even another one."""
    world = World(chain(1)).answer("0", 2).answer("1", 4).close()

    with pytest.raises(NonDeterminismError):
        world.feed(kind, "1", "chain", b"4")


# ---- terminated --------------------------------------------------------------------------------------------------------------


TERMINATED = to_json({"type": "Terminated", "message": "by hand"})


def test_a_terminated_run_fits_wherever_it_stood() -> None:
    """It was ended from outside; its code was not asked."""
    world = World(chain(1)).answer("0", 2).feed("failed", name="terminated", payload=TERMINATED)

    assert "" == world.ending
    assert 3 == world.machine.seq


@pytest.mark.parametrize("kind", events.KINDS)
def test_after_termination_nothing_fits(kind: str) -> None:
    """Its pending step is not answered any more."""
    world = World(chain(1)).feed("failed", name="terminated", payload=TERMINATED)

    with pytest.raises(NonDeterminismError):
        world.feed(kind, "0", "double", b"2")
    with pytest.raises(NonDeterminismError):
        fresh(chain).feed_all([*world.journal, Event(3, "failed", "", "terminated", START, TERMINATED)])


def test_a_run_may_be_terminated_after_its_code_has_ended() -> None:
    """The closing event of the code had not been written yet."""
    world = World(chain(1)).answer("0", 2).answer("1", 4).feed("failed", name="terminated", payload=TERMINATED)

    assert 4 == world.machine.seq


def test_a_workflow_may_be_named_terminated() -> None:
    """Its own end is compared like any other's."""

    @workflow(name="terminated")
    def unlucky(n: int) -> Workflow[int]:
        return (yield from double(n))

    with pytest.raises(NonDeterminismError):
        World(unlucky(1)).answer("0", 2).feed("completed", name="terminated", payload=b"9")


def test_a_signal_never_fails_to_fit_while_the_run_is_open() -> None:
    """It waits in its buffer."""

    @workflow
    def waiting() -> Workflow[Any]:
        yield from sleep(1)
        return (yield from signal("x"))

    assert ["0"] == World(waiting()).signal("y").signal("z").ids


def test_what_lies_after_the_last_answer_may_change_freely() -> None:
    """Commands are not journaled."""

    def longer(n: int) -> Workflow[Any]:
        once = yield from double(n)
        yield from sleep(5)
        return (yield from echo(once))

    world = World(chain(1)).answer("0", 2)
    machine = fresh(named(longer), world.run)
    machine.feed_all(world.journal)

    assert ["sleep 5 s"] == [str(command.effect) for command in machine.pending.values()]
