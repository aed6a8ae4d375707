"""ledger and review on the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replay import Engine
from tests.cli.conftest import Program
from tests.cli.shop import pondering
from tests.helpers.engines import until


@pytest.fixture
def thinking(program: Program) -> Iterator[Program]:
    """The program, with a run that has thought and waits, driven by an engine."""
    with Engine(program.store) as engine:
        handle = engine.start(pondering(), id="think-1")
        until(lambda: handle.status == "running" and len(handle.journal()) == 2, engine.store)
        yield program


def test_a_ledger_is_drawn(thinking: Program) -> None:
    """Where it stands, then what came."""
    said = thinking.done("ledger", "think-1", columns=100)

    assert ["goal", "find out"] == said.splitlines()[1].strip().split(maxsplit=1)
    assert any(line.split()[0] == "r1" and line.rstrip().endswith("it may rain") for line in said.splitlines()[3:])


def test_a_ledger_for_programs_has_everything(thinking: Program) -> None:
    """Summary, focus, timeline, costs, health."""
    found = thinking("ledger", "think-1", "--json").json

    assert {"goal": "find out", "entries": 2, "status": "open"} == {key: found[key] for key in ("goal", "entries", "status")}
    assert ["note", "savepoint"] == [entry["kind"] for entry in found["timeline"]]
    assert [] == found["health"]["advice"]
    assert ["savepoint"] == [entry["kind"] for entry in thinking("ledger", "think-1", "--kind", "savepoint", "--json").json["timeline"]]


def test_one_entry_or_the_context_is_shown_whole(thinking: Program) -> None:
    """For agents that take over."""
    assert "it may rain" == thinking.done("ledger", "think-1", "--entry", "r1")
    assert "Goal: find out\nSince then:\n- it may rain" == thinking.done("ledger", "think-1", "--context")
    assert 3 == thinking("ledger", "think-1", "--entry", "r9").code


def test_an_entry_is_reviewed(thinking: Program) -> None:
    """Its status is shown with its feedback; what is no status is refused."""
    assert "r1 of think-1: rejected" == thinking.done("review", "think-1", "r1", "rejected", "look out of the window", "--by", "ada")
    assert "[rejected: look out of the window]" in thinking.done("ledger", "think-1")
    assert 2 == thinking("review", "think-1", "r1", "fine").code
