"""The engine in worlds full of trouble: workers die, stop and err, stores fail, clocks jump, messages repeat; nothing is broken.

A few seeds here; ``python -m tests.simulation.soak --seeds 2000`` runs thousands.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
from pathlib import Path

import pytest

from replay.testing import Scenario, Simulation, crash_everywhere, simulate
from tests.simulation import soak
from tests.simulation.hard_scenarios import HARD, banks
from tests.simulation.programs import make, program, programs
from tests.simulation.scenarios import OPTIONS, SCENARIOS, agents, everything, families, payments, plain


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Trouble is told to the log, at length."""
    caplog.set_level(logging.CRITICAL, "replay")


@pytest.mark.parametrize("scenario", [*SCENARIOS, *HARD], ids=lambda scenario: scenario.__name__)
def test_no_trouble_breaks_a_promise(scenario: Scenario) -> None:
    """Every run ends, no step is done again after it was committed, no output is lost or repeated."""
    assert 25 == simulate(scenario, seeds=range(25), **OPTIONS).worlds


def test_no_trouble_breaks_a_promise_when_all_happens_at_once() -> None:
    """One store, all kinds of runs."""
    assert 8 == simulate(everything, seeds=range(8), **OPTIONS).worlds


@pytest.mark.parametrize("scenario", [plain, families, agents, payments], ids=lambda scenario: scenario.__name__)
def test_no_trouble_breaks_a_promise_over_sqlite(scenario: Scenario, tmp_path: Path) -> None:
    """The same worlds over files."""
    assert 4 == simulate(scenario, seeds=range(4), store=soak.stores("sqlite", tmp_path), **OPTIONS).worlds


def test_a_step_in_a_transaction_is_done_exactly_once(tmp_path: Path) -> None:
    """Its own rows and its answer are there together, or not at all."""

    def balanced(world: Simulation) -> None:
        path = world.medium.url.removeprefix("sqlite:///").partition("?")[0]
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("select name, cents from accounts order by name, cents").fetchall()
        assert [(f"bank-{i}", cents) for i in range(2) for cents in range(4)] == rows

    simulate(banks, seeds=range(8), store=soak.stores("sqlite", tmp_path), check=balanced)


def test_random_programs_survive_trouble() -> None:
    """Effects meet that no person would put together."""
    assert 60 == simulate(programs, seeds=range(60), **OPTIONS).worlds


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_survive_a_crash_everywhere(seed: int) -> None:
    """With the same outcome."""
    tree = make(random.Random(seed), 4)

    assert crash_everywhere(program(tree), signals=[("s1", 10, 0.5), ("s2", 20, 7.7)], same="outcome").crashes > 0


def test_results_do_not_depend_on_trouble() -> None:
    """The same runs end with the same results in every world."""

    def results(world: Simulation) -> None:
        assert [3, 6, 10] == [world.get(f"sums-{i}").result() for i in range(3)]

    simulate(plain, seeds=range(30), check=results)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_does_not_matter(workers: int) -> None:
    """One that dies and comes back, or many that get in each other's way."""
    assert 3 == simulate(everything, seeds=range(3), workers=workers, **OPTIONS).worlds


def test_the_soak_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a scenario, and an exit code."""
    assert 0 == soak.main(["--seeds", "3", "--scenario", "plain"])
    assert "plain: 3 worlds" in capsys.readouterr().out
