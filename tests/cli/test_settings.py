"""Where settings come from, and what is told of those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.cli.settings import DEFAULT_STORE, KEYS, Settings, read_settings
from replay.client.embedded import DEFAULT_STORE as EMBEDDED
from replay.errors import InvalidRequest
from tests.cli.conftest import Program


def written(folder: Path, table: str) -> Path:
    """A project whose pyproject.toml holds a table."""
    (folder / "pyproject.toml").write_text(f"[project]\nname = 'shop'\n[tool.replay]\n{table}\n", encoding="utf-8")
    return folder


def read(folder: Path, environment: dict[str, str] | None = None, **given: Any) -> Settings:
    """The settings of a call in a folder."""
    return read_settings(given, environment or {}, folder)


def test_options_come_before_the_environment_before_the_file_before_defaults(tmp_path: Path) -> None:
    """The nearer to the call, the more it counts."""
    project = written(tmp_path, 'namespace = "file"\nqueues = ["file"]\nthreads = 3')
    variables = {"REPLAY_NAMESPACE": "environment", "REPLAY_QUEUES": "environment, other"}

    found = read(project, variables, namespace="option")

    assert "option" == found.namespace
    assert ("environment", "other") == found.queues
    assert 3 == found.threads
    assert 1_000 == found.concurrency
    assert {"namespace": "option", "queues": "REPLAY_QUEUES"} == {
        key: source for key, source in found.sources.items() if key != "threads"
    }


def test_the_nearest_file_with_the_table_counts_in_every_folder_below(tmp_path: Path) -> None:
    """A verb means the same in every folder of a project; the store does not move with the caller."""
    project = written(tmp_path, 'store = "sqlite:///data/runs.db?durability=relaxed"')
    deep = project / "src" / "deep"
    deep.mkdir(parents=True)
    (project / "src" / "pyproject.toml").write_text("[tool.other]\nreplay = 1\n", encoding="utf-8")

    assert f"sqlite:///{project}/data/runs.db?durability=relaxed" == read(deep).store
    assert project == read(deep).root
    assert "sqlite:///data/runs.db?durability=relaxed" == read(project).store


def test_without_a_store_the_default_lies_beside_the_project(tmp_path: Path) -> None:
    """`replay list` in a subfolder finds the runs that `replay run` made above it."""
    project = written(tmp_path, 'modules = ["shop"]')
    (project / "src").mkdir()

    assert f"sqlite:///{project}/.replay/replay.db" == read(project / "src").store
    assert DEFAULT_STORE == read(project).store


@pytest.mark.parametrize("store", ["sqlite:////var/runs.db", "sqlite:///:memory:", "postgresql://h/db", "memory://"])
def test_other_stores_are_taken_as_they_stand(tmp_path: Path, store: str) -> None:
    """Only a relative SQLite path depends on a folder."""
    project = written(tmp_path, f'store = "{store}"')
    (project / "src").mkdir()

    assert store == read(project / "src").store


def test_a_store_of_the_environment_is_relative_to_the_caller(tmp_path: Path) -> None:
    """Whoever sets a variable means the folder where they stand."""
    project = written(tmp_path, "threads = 1")
    (project / "src").mkdir()

    assert "sqlite:///here.db" == read(project / "src", {"REPLAY_STORE": "sqlite:///here.db"}).store


def test_the_default_is_the_embedded_default() -> None:
    """`replay list` finds what `replay.run(…)` in a script made."""
    assert EMBEDDED == DEFAULT_STORE


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('stroe = "x"', ["pyproject.toml [tool.replay] stroe", "is no setting", "did you mean 'store'?"]),
        ("zzz = 1", ["is no setting", "known keys: store, namespace"]),
        ('modules = "shop"', ["[tool.replay] modules", "expected a list of one or more texts, got 'shop'"]),
        ("modules = [1]", ["expected a list of one or more texts, got [1]"]),
        ("threads = 0", ["expected a number above 0, got 0"]),
        ("threads = true", ["expected a number above 0, got True"]),
        ("store = 7", ["expected a text, got 7"]),
        ("store = [", ["cannot be read", "make it valid TOML"]),
    ],
)
def test_a_setting_that_does_not_fit_is_told_with_its_place(tmp_path: Path, table: str, words: list[str]) -> None:
    """File, key, what was expected and what came."""
    with pytest.raises(InvalidRequest) as caught:
        read(written(tmp_path, table))

    assert [] == [word for word in words if word not in str(caught.value)]


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    """`tool.replay = 3` is a mistake, not a missing table."""
    (tmp_path / "pyproject.toml").write_text("[tool]\nreplay = 3\n", encoding="utf-8")

    with pytest.raises(InvalidRequest, match="expected a table, got 3"):
        read(tmp_path)


def test_a_variable_that_does_not_fit_is_told_by_its_name(tmp_path: Path) -> None:
    """It is not the file that is wrong."""
    with pytest.raises(InvalidRequest, match="REPLAY_THREADS: expected a number above 0, got 'many'"):
        read(tmp_path, {"REPLAY_THREADS": "many"})


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    """`REPLAY_STORE= replay list` means the default."""
    assert DEFAULT_STORE == read(tmp_path, {"REPLAY_STORE": " "}).store


def test_every_setting_has_a_default() -> None:
    """A key that could be set but not read would do nothing."""
    assert set() == set(KEYS) - {field.name for field in Settings.__attrs_attrs__}


def test_a_wrong_setting_ends_the_program_with_code_two(program: Program) -> None:
    """Bad configuration is bad usage, said in one line."""
    written(Path.cwd(), 'modulse = ["shop"]')

    answer = program("list")

    assert 2 == answer.code
    assert "did you mean 'modules'?" in answer.err
    assert 1 == len(answer.err.splitlines())
