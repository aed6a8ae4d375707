"""What `import replay` loads: attrs, cattrs, pluggy and light parts of the standard library."""

from __future__ import annotations

import subprocess
import sys

import pytest

# With what they bring themselves.
ALLOWED = {"attr", "attrs", "cattr", "cattrs", "pluggy", "typing_extensions"}
# They cost ten milliseconds and more, or open doors that a workflow's module never needs.
HEAVY = {"asyncio", "concurrent.futures", "http", "multiprocessing", "socket", "sqlite3", "ssl", "subprocess"}


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a statement loads in a fresh process, beyond what Python starts with."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What `import replay` loads."""
    return modules_after("import replay")


def test_importing_replay_loads_no_backend(loaded: set[str]) -> None:
    """Database, network, model and terminal libraries load when they are named."""
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"replay"}

    assert set() == foreign - ALLOWED


def test_importing_replay_loads_no_heavy_part_of_the_standard_library(loaded: set[str]) -> None:
    """A workflow's author pays for no loop, thread pool, database or socket."""
    assert set() == loaded & HEAVY


def test_importing_replay_loads_no_higher_floor(loaded: set[str]) -> None:
    """Command line, services, linter and test kit load when they are used."""
    rooms = {f"replay.{room}" for room in ("cli", "http", "lint", "service", "testing")}

    assert set() == loaded & rooms


def test_the_measure_sees_what_a_statement_loads() -> None:
    """If the probe were blind, the tests above would always pass."""
    assert "sqlite3" in modules_after("import sqlite3")
