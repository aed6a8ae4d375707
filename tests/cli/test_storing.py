"""Verbs of whoever runs a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Program


def test_what_ended_is_archived_removed_and_brought_back(ended: Program, tmp_path: Path) -> None:
    """Counted first, then done; in words and in JSON."""
    place = (tmp_path / "archive").as_uri()
    ended.done("start", "cli-order", '{"card": "visa", "cents": 1}', "--id", "open")

    assert "removed 0 runs with 0 events" == ended.done("store", "prune")
    assert "would remove 2 runs with" in ended.done("store", "prune", "--older-than", "0", "--dry-run")  # it had a child
    told = ended("store", "prune", "--older-than", "0", "--archive", place, "--json").json
    assert (2, 2, [], False) == (told["runs"], told["archived"], told["kept"], told["dry_run"])
    assert "order-1" not in ended.done("list")
    assert ended.done("import", "--archive", place, "order-1").startswith("order-1  completed")
    assert "open" in ended.done("list")


def test_the_store_may_be_named_in_the_verb(ended: Program) -> None:
    """As an argument, since it is the store that the verb is about."""
    elsewhere = ended.store.replace("runs.db", "other.db")

    assert f"{elsewhere} is up to date" == ended.done("store", "migrate", elsewhere)
    assert {"store": elsewhere, "found": None, "now": None} == ended("store", "migrate", elsewhere, "--json").json
    assert "removed 0 runs with 0 events" == ended.done("store", "prune", elsewhere, "--older-than", "0")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["store", "prune", "--older-than", "soon"], "is no duration"),
        (["store", "prune", "--status", "running"], "none of a closed run"),
        (["store", "prune", "--archive", "ftp://host"], "no store for 'ftp'; installed: file"),
        (["store", "prune", "--archive", "file://relative"], "names no folder"),
        (["store", "migrate", "nowhere://x"], "no store for 'nowhere'"),
        (["import", "--archive", "file:///tmp/replay-none", "never"], "never"),
        (["import", "no-such-file"], "cannot be read"),
        (["store"], "Usage"),
    ],
)
def test_what_does_not_fit_is_an_error(ended: Program, words: list[str], problem: str) -> None:
    """It says what was wrong, and nothing is removed."""
    answer = ended(*words)

    assert 0 != answer.code
    assert problem in answer.err + answer.out
    assert "order-1" in ended.done("list")
