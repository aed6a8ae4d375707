"""Verbs, their help, and what is common to all of them."""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from replay.cli.exits import MEANINGS
from replay.cli.root import VERBS, Verb, root
from replay.hooks import hookimpl, plugins
from tests.cli.conftest import Program

ALL = {name: verb for group in VERBS.values() for name, verb in group.items()}
LIGHT = {"asyncio", "boto3", "botocore", "grpc", "psycopg", "rich", "sqlalchemy", "sqlite3", "concurrent.futures"}


def test_help_tells_of_every_verb_and_every_exit_code(program: Program) -> None:
    """Whoever knows only `--help` finds everything from there."""
    said = " ".join(program.done("--help").split())

    assert [] == [name for name, verb in ALL.items() if f"{name} {verb.help}" not in said]
    assert [] == [meaning for code, meaning in MEANINGS if f"{int(code)} {meaning}" not in said]


@pytest.mark.parametrize(("name", "verb"), ALL.items(), ids=list(ALL))
def test_a_verb_is_where_the_table_says(name: str, verb: Verb) -> None:
    """The table of verbs and the verbs cannot drift apart."""
    command = getattr(importlib.import_module(f"replay.cli.{verb.family}"), verb.attribute)

    assert isinstance(command, click.Command)
    assert name == command.name


@pytest.mark.parametrize("name", ALL)
def test_a_verb_explains_itself(program: Program, name: str) -> None:
    """Each verb has help, in sentences that end, and takes --json where it shows something."""
    said = program.done(name, "--help")

    assert f"Usage: replay {name}" in said
    assert (name != "completion") == ("--json" in said)


def test_help_loads_no_database_no_loop_and_no_terminal_library() -> None:
    """What only some verbs need loads with those verbs."""
    script = "import sys\nfrom replay.cli.root import root\nroot(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert set() == LIGHT & set(said.splitlines()[-1].split())
    assert "click" in said.splitlines()[-1].split()


def test_help_costs_little_more_than_what_it_cannot_do_without() -> None:
    """Processor time, beside that of importing click and replay: machines differ, and are shared."""

    def cost(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(cost("-m", "replay.cli", "--help"), cost("-c", "import click, replay")) for _ in range(5)]

    assert min(helped for helped, _ in pairs) < 2.5 * min(imported for _, imported in pairs)


def test_a_verb_that_is_nearly_right_is_told(program: Program) -> None:
    """A slip of the fingers is no riddle."""
    answer = program("inpsect", "order-1")

    assert 2 == answer.code
    assert "Did you mean 'inspect'?" in answer.err


def test_options_stand_before_the_verb_or_after_it(program: Program) -> None:
    """Nobody has to remember which option belongs where; the nearer one counts."""
    program.done("start", "cli-sum", "1", "--id", "a", "--namespace", "here")

    assert "a" in program.done("--namespace", "here", "list")
    assert "a" in program.done("list", "--namespace", "here")
    assert "a" in program.done("--namespace", "elsewhere", "list", "--namespace", "here")


def test_a_bug_is_one_line_and_no_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script can tell a broken program from a negative answer; the traceback is there for who asks."""
    monkeypatch.setattr("replay.cli.project.versions", lambda: 1 / 0)

    answer = program("version")

    assert 70 == answer.code
    assert "replay: this is a bug in replay: ZeroDivisionError" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in program("--debug", "version").err


def test_with_json_an_error_is_json_too(program: Program) -> None:
    """Programs read what went wrong without parsing sentences."""
    answer = program("status", "nowhere", "--json")

    assert 3 == answer.code
    assert "" == answer.out
    assert '"type": "UnknownRun"' in answer.err
    assert '"run": "nowhere"' in answer.err
    assert '"exit": 3' in answer.err


class Shouting:
    """A plugin that brings a verb, and one that would take a built-in verb's name."""

    @hookimpl
    def replay_commands(self) -> Sequence[click.Command]:
        """Two commands."""
        return [
            click.Command("shout", callback=lambda: click.echo("HEY"), help="Say it loudly."),
            click.Command("list", callback=lambda: click.echo("not the list")),
        ]


class Broken:
    """A plugin that cannot be loaded."""

    @hookimpl
    def replay_commands(self) -> Sequence[click.Command]:
        """Raises."""
        raise RuntimeError("no such library")


@pytest.fixture
def shouting() -> Iterator[None]:
    """With that plugin installed."""
    plugin = Shouting()
    plugins().register(plugin)
    yield
    plugins().unregister(plugin)


@pytest.fixture
def broken() -> Iterator[None]:
    """With that plugin installed."""
    plugin = Broken()
    plugins().register(plugin)
    yield
    plugins().unregister(plugin)


@pytest.mark.usefixtures("shouting")
def test_a_plugin_brings_verbs(program: Program) -> None:
    """They stand in help and can be called; they cannot take the name of another."""
    assert "shout  Say it loudly." in program.done("--help")
    assert "HEY" == program.done("shout")
    assert "not the list" not in program.done("list")


@pytest.mark.usefixtures("broken")
def test_a_plugin_that_breaks_does_not_break_the_program(program: Program) -> None:
    """It is told, and every other verb works."""
    answer = program("--help")

    assert 0 == answer.code
    assert "inspect" in answer.out
    assert "RuntimeError: no such library" in answer.err


def test_the_program_is_also_a_module(tmp_path: Path) -> None:
    """`python -m replay.cli` works where the script is not on the path."""
    said = subprocess.run(
        [sys.executable, "-m", "replay.cli", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert said.startswith("replay 0.")
    assert "replay" == root.name


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--json", "--status", "odd"],
        ["list", "--status", "odd", "--json"],
        ["--json", "list", "--status", "odd"],
        ["--json", "lst"],
        ["status", "--json"],
    ],
)
def test_a_wrong_command_line_is_an_object_too_where_json_is_asked_for(program: Program, words: list[str]) -> None:
    """A program reads one kind of error."""
    answer = program(*words)
    said = json.loads(answer.err)

    assert (2, 2, "InvalidRequest", "command line") == (answer.code, said["exit"], said["error"]["type"], said["error"]["what"])
