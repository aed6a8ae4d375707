"""The law of savepoints: going on equals starting again."""

from __future__ import annotations

from typing import Any

import pytest

import replay
from replay import Workflow, workflow
from replay.testing import CheckFailed, check_savepoints
from tests.simulation.scenarios import agent
from tests.testing.shop import counts, forgets, note


def test_a_workflow_that_keeps_the_law_passes() -> None:
    """It is begun again at every savepoint."""
    report = check_savepoints(counts(3))

    assert ((3, 5, 7), 8) == (report.savepoints, report.events)


def test_messages_chance_and_outputs_are_part_of_the_law() -> None:
    """Unread messages are carried over, chance is counted anew, outputs are said once."""

    @workflow
    def rich(state: list[Any] | None = None) -> Workflow[list[Any]]:
        seen = list(state or [])
        while len(seen) < 4:
            seen.append((yield from replay.signal("item", str, timeout=50, default="none")))
            yield from replay.publish("items", [seen[-1], (yield from replay.random())])
            yield from replay.savepoint("item", state=seen)
        return seen

    assert 4 == len(check_savepoints(rich(), signals=[("item", "a"), ("item", "b"), ("item", "c", 100)]).savepoints)


def test_a_loop_with_timers_keeps_it_too() -> None:
    """Deadlines are counted from the workflow's clock, which the savepoint carries."""
    assert 6 == len(check_savepoints(agent(6)).savepoints)


def test_a_variable_that_is_not_in_the_state_is_found() -> None:
    """Both sides are shown."""
    with pytest.raises(CheckFailed) as caught:
        check_savepoints(forgets(3))

    first, second, third = caught.value.problems
    assert 'going on:  asks command 2: step kit_note ["turn 1 of 2"]' in first
    assert 'starting again:  asks command 2: step kit_note ["turn 1 of 1"]' in first
    assert first.startswith("savepoint turn (#3)")
    assert second.startswith("savepoint turn (#5)")
    assert "going on:  ends completed 3" in third
    assert "starting again:  ends completed 0" in third


def test_an_update_that_is_not_handled_again_is_found() -> None:
    """A workflow that starts again must say again what it handles."""

    @workflow
    def deaf(state: int = 0) -> Workflow[int]:
        if not state:
            yield from replay.on_update("stop", lambda value: value)
        yield from note("a")
        yield from replay.savepoint("here", state=1)
        yield from note("b")
        return 1

    with pytest.raises(CheckFailed, match=r"going on:.*handles update stop"):
        check_savepoints(deaf())


def test_a_workflow_that_cannot_start_again_is_found() -> None:
    """Code that raises when it is given its state is a broken law, not a crash of the check."""

    @workflow
    def brittle(state: int = 0) -> Workflow[int]:
        if state:
            raise RuntimeError("no way back")
        yield from note("a")
        yield from replay.savepoint("here", state=1)
        yield from note("b")
        return 1

    with pytest.raises(CheckFailed, match=r"(?s)starting again:.*no way back"):
        check_savepoints(brittle())


def test_a_run_without_a_savepoint_is_no_success() -> None:
    """A check that checked nothing must say so."""
    with pytest.raises(CheckFailed, match="nothing was checked"):
        check_savepoints(counts(0))
