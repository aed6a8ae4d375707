"""The program, run inside the test's process: quick, and with everything it prints at hand."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from replay.cli.root import root


@attrs.frozen
class Answer:
    """What a call of the program came to.

    Attributes:
        code: Its exit code.
        out: What it wrote on standard output.
        err: What it wrote on standard error.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@attrs.define
class Program:
    """Calls the program.

    Attributes:
        store: URL of the store that it is told of by the environment.
        environment: Further variables.
    """

    store: str
    environment: dict[str, str] = attrs.field(factory=dict)

    def __call__(self, *words: str, given: str | None = None, columns: int = 120) -> Answer:
        variables = {
            "REPLAY_STORE": self.store,
            "REPLAY_MODULES": "tests.cli.shop",
            "REPLAY_NAMESPACE": "",
            "COLUMNS": str(columns),
            "NO_COLOR": "1",
            **self.environment,
        }
        found = CliRunner(env=variables).invoke(root, list(words), input=given)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Answer(found.exit_code, found.stdout, found.stderr)

    def done(self, *words: str, **settings: Any) -> str:
        """What it wrote on standard output, when all is well."""
        answer = self(*words, **settings)
        assert 0 == answer.code, answer.err
        return answer.out.strip()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """The program over a SQLite store of the test's own, called in a folder of the test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    library, workflows = logging.getLogger("replay"), logging.getLogger("replay.workflow")
    before = library.handlers, library.propagate, library.level, workflows.level
    yield Program(f"sqlite:///{tmp_path}/runs.db")
    library.handlers, library.propagate = before[0], before[1]
    library.setLevel(before[2])
    workflows.setLevel(before[3])


@pytest.fixture
def waiting(program: Program) -> Program:
    """The program, with a run ``order-1`` that was charged and waits for its approval."""
    program.done("start", "cli-order", '{"card": "visa", "cents": 1200}', "--id", "order-1", "--tag", "customer=ada")
    program.done("worker", "--once", "-q")
    return program


@pytest.fixture
def ended(waiting: Program) -> Program:
    """The program, with a run ``order-1`` that was approved and has ended."""
    waiting.done("signal", "order-1", "approved", "true")
    waiting.done("worker", "--once", "-q")
    return waiting
