"""The files of this folder are read by mypy and pyright, as ``make types`` does, and a wrong type in one of them is found.

They are never run: what is tested is what a user's type checker sees.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
CHECKERS = pytest.mark.parametrize("checker", ["mypy", "pyright"])

LIE = """
from typing import assert_type

from replay import Workflow, gather, step, workflow


@step
async def ship(sku: str) -> str:
    return sku


@step
def count(n: int) -> int:
    return n


@workflow
def flow() -> Workflow[None]:
    assert_type((yield from {asked}), {expected})
"""
TRUTHS = [("ship('a')", "str"), ("count(1)", "int"), ("gather(count(1), ship('a'))", "tuple[int, str]")]


def check(checker: str, *paths: Path) -> tuple[int, str]:
    """Exit code and output of a type checker over some files, under the project's own settings."""
    command = [sys.executable, "-m", checker, *map(str, paths)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.slow
@CHECKERS
def test_type_checkers_see_the_types_that_are_promised(checker: str) -> None:
    """And no error but those that are marked, each of which is needed."""
    code, output = check(checker, *sorted(path for path in FOLDER.glob("*.py") if path.name != Path(__file__).name))

    assert 0 == code, output


@pytest.mark.slow
@CHECKERS
def test_a_wrong_type_is_found(checker: str, tmp_path: Path) -> None:
    """If the checkers saw nothing, the test above would always pass."""
    files: list[Path] = []
    for number, (asked, expected) in enumerate(TRUTHS):
        for name, type_ in ((f"true{number}", expected), (f"false{number}", "bytes")):
            path = tmp_path / f"{name}.py"
            path.write_text(LIE.format(asked=asked, expected=type_), encoding="utf-8")
            files.append(path)

    code, output = check(checker, *files)

    assert 1 == code, output
    assert [True] * len(TRUTHS) == [f"false{number}.py" in output for number in range(len(TRUTHS))], output
    assert [False] * len(TRUTHS) == [f"true{number}.py" in output for number in range(len(TRUTHS))], output
