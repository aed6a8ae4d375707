"""whatif, and time travel with another input, on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Program


def test_a_run_that_is_not_changed_ends_the_same(ended: Program) -> None:
    """Exit code 0, and one line a run."""
    said = ended("whatif", "order-1")

    assert (0, True) == (said.code, "1 run, 0 end otherwise" in said.out)


def test_runs_that_end_otherwise_are_told_with_their_first_difference(ended: Program) -> None:
    """Exit code 1, for scripts; the run itself is as it was."""
    before = ended.done("inspect", "order-1", "--json")
    said = ended("whatif", "--of", "cli-order", "--edit", "approved=false", columns=160)

    assert (1, True) == (said.code, "1 run, 1 end otherwise" in said.out)
    assert "approved True → False" in said.out
    assert before == ended.done("inspect", "order-1", "--json")


def test_a_report_for_programs_has_values_and_costs(ended: Program, tmp_path: Path) -> None:
    """Also of an exported file; answers are given as JSON and taken as their types."""
    ended.done("export", "order-1", "-o", str(tmp_path / "order.jsonl"))
    said = ended("whatif", str(tmp_path / "order.jsonl"), "--edit", "approved=false", "--json")

    assert 1 == said.code
    (row,) = said.json["rows"]
    assert ("order-1", False, "completed", "completed") == (row["run"], row["same"], row["then"]["status"], row["now"]["status"])
    assert {"name": "approved", "then": True, "now": False, "command": ""} in row["changes"]
    assert {"then": 0.0, "now": 0.0} == said.json["cost"]


def test_a_name_that_nothing_bears_is_a_slip_of_the_pen(ended: Program) -> None:
    """It is told with those that are known."""
    said = ended("whatif", "order-1", "--stub", "cli_chrage=1")

    assert 3 == said.code
    assert "no effect for stub= 'cli_chrage'; known: " in said.err


def test_runs_or_a_workflow_must_be_named(ended: Program) -> None:
    """One of them."""
    assert 2 == ended("whatif").code


def test_a_fork_with_another_argument_shares_what_still_fits(program: Program) -> None:
    """It goes on where the code asks for something else."""
    program.done("start", "cli-counter", "2", "--id", "count")
    program.done("worker", "--once", "-q")
    made = program("time-travel", "count", "--arg", "until=1", "--id", "other", "--json").json

    assert ("count#2", 2) == (made["source"], made["events"])
    program.done("worker", "--once", "-q")
    program.done("signal", "other", "go")
    program.done("worker", "--once", "-q")
    assert 1 == program("status", "other", "--json").json["result"]
