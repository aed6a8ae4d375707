"""Law 1 where import-linter cannot see it: calls that reach clock, chance or files without an import of their own.

Which modules the core floors may import is a contract of import-linter, in pyproject.toml.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPLAY = Path(__file__).parents[2] / "replay"
CORE_ROOMS = ("errors", "model", "authoring", "interpreter")
CORE = sorted(path for room in CORE_ROOMS for path in (*REPLAY.glob(f"{room}.py"), *REPLAY.glob(f"{room}/**/*.py")))
IMPURE = {
    "open", "input", "print", "breakpoint", "eval", "exec", "__import__",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4",
}  # fmt: skip


def impure_calls(source: str) -> Iterator[str]:
    """Lines and names of the impure calls in a module's source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ".".join(ast.unparse(node.func).split(".")[-2:])
            if name in IMPURE:
                yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(REPLAY)))
def test_a_module_of_the_core_calls_nothing_impure(path: Path) -> None:
    """Replay cannot be told from the first run by code that sees no clock, chance or file."""
    assert [] == list(impure_calls(path.read_text(encoding="utf-8")))


def test_impure_calls_are_seen_through_their_module() -> None:
    """If the search were blind, the test above would always pass."""
    source = "import datetime\nstamp = datetime.datetime.now(tz)\ntext = open(name)\n"

    assert ["line 2: datetime.now", "line 3: open"] == sorted(impure_calls(source))
