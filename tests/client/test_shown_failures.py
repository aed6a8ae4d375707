"""Whoever sees a run fail sees where: in the workflow and in the step."""

from __future__ import annotations

import traceback

import pytest

from replay import Engine, RunFailed, Workflow, step, workflow
from tests.helpers.engines import PATIENCE


def helper(number: int) -> int:
    """Where it goes wrong."""
    return 1 // number


@step
def divide_by(number: int) -> int:
    return helper(number)


@workflow
def dividing_by(number: int) -> Workflow[int]:
    return (yield from divide_by(number))


def test_a_failed_run_shows_the_lines_of_workflow_and_step(engine: Engine) -> None:
    """Printed like any exception, it names the yield and the line in the step's helper."""
    with pytest.raises(RunFailed) as caught:
        engine.start(dividing_by(0), id="d").result(PATIENCE)

    printed = "".join(traceback.format_exception(caught.value))
    expected = ["return (yield from divide_by(number))", "In step divide_by:", "in helper", "return 1 // number"]
    assert expected == [text for text in expected if text in printed]
    assert "run d failed: replay.errors.StepFailed: step divide_by failed once: ZeroDivisionError" in str(caught.value)
    assert "In step divide_by" not in str(caught.value)
