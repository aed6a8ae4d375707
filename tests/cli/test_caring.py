"""check, doctor, init, version, completion."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from replay import __version__
from replay.cli.project import versions
from replay.engine.identity import worker_name
from replay.hooks import Claim, open_store
from tests.cli.conftest import Program

WRONG = """
import time
from replay import workflow, sleep

@workflow(name="cli-wrong")
def wrong():
    began = time.time()
    sleep(3)
    yield from sleep(1)
    return began
"""


# ---- check --------------------------------------------------------------------------------------------------------------


def test_check_tells_place_rule_and_advice(program: Program) -> None:
    """Of each finding; code 1."""
    Path("wrong.py").write_text(WRONG, encoding="utf-8")

    answer = program("check", "wrong.py")

    assert 1 == answer.code
    assert "wrong.py:7:13: RPL101 clock: " in answer.out
    assert "write `yield from now()`" in answer.out
    assert "wrong.py:8:5: RPL301" in answer.out
    assert "2 findings in 1 file" in answer.err


def test_check_looks_at_modules_folders_and_what_is_configured(program: Program) -> None:
    """Without targets: the configured modules, else the current folder."""
    Path("wrong.py").write_text(WRONG, encoding="utf-8")
    configured = program("check")
    module = program("check", "wrong")
    program.environment["REPLAY_MODULES"] = ""

    assert (0, 1, 1) == (configured.code, module.code, program("check").code)
    assert "no findings" in configured.err


def test_check_in_json(program: Program) -> None:
    """One document; empty when nothing is wrong."""
    Path("wrong.py").write_text(WRONG, encoding="utf-8")

    assert ["RPL101", "RPL301"] == [finding["code"] for finding in program("check", "wrong.py", "--json").json["findings"]]
    assert {"findings": []} == program("check", "tests.cli.shop", "--json").json


def test_check_of_what_is_not_there_fails(program: Program) -> None:
    """A check that could not look is no success."""
    assert 1 == program("check", "missing.py").code
    assert 2 == program("check", "no_such_module").code


def test_check_explains_its_rules(program: Program) -> None:
    """What is looked for, and why."""
    assert "RPL101 clock\n    A replay happens later" in program.done("check", "--rules")
    assert "RPL101" in [rule["code"] for rule in program("check", "--rules", "--json").json["rules"]]


# ---- doctor -------------------------------------------------------------------------------------------------------------


def verdicts(program: Program, *words: str) -> dict[str, str]:
    """What doctor says, by check."""
    return {check["name"]: check["verdict"] for check in program("doctor", *words, "--json").json["checks"]}


def test_doctor_finds_a_sound_installation_sound(program: Program) -> None:
    """Every check is made, and is ok."""
    assert 0 == program("doctor").code
    assert {
        "python": "ok", "packages": "ok", "plugins": "ok", "configuration": "ok", "module tests.cli.shop": "ok", "disk": "ok",
        "store": "ok", "clock": "ok", "writing": "ok", "leases": "ok", "stuck runs": "ok",
    } | verdicts(program) == verdicts(program)  # fmt: skip
    assert set() == {"failed"} & set(verdicts(program).values())


def test_doctor_leaves_nothing_behind(program: Program) -> None:
    """What it writes to see whether it can, it takes away."""
    program.done("doctor")

    assert [] == program("list", "--namespace", "~doctor", "--json").lines
    assert [] == program("list", "--json").lines
    assert [] == list(Path.cwd().iterdir())


def test_doctor_tells_what_is_wrong_and_goes_on(program: Program) -> None:
    """A module, a store: each fails for itself; code 1."""
    answer = program("doctor", "-m", "no_such_module", "--store", "nosuch://x", "--json")

    assert 1 == answer.code
    found = {check["name"]: check for check in answer.json["checks"]}
    assert ("failed", "failed", "ok") == tuple(found[name]["verdict"] for name in ("module no_such_module", "store", "disk"))
    assert "no store for 'nosuch'" in found["store"]["detail"]


def test_doctor_tells_of_a_configuration_that_cannot_be_read(program: Program) -> None:
    """The very thing one calls it for."""
    Path("pyproject.toml").write_text("[tool.replay]\nstroe = 'x'\n", encoding="utf-8")

    assert "failed" == verdicts(program)["configuration"]


def test_doctor_finds_leases_of_workers_that_are_gone(program: Program) -> None:
    """Their runs go on with the next worker."""
    program.done("start", "cli-sum", "1", "--id", "lost")
    host, _, rest = worker_name().rpartition("/")
    home, _, _ = host.rpartition("/")
    gone = f"{home}/999999999.1/{rest}"
    store = open_store(program.store)
    store.claim(Claim(worker=gone, namespace="default", queues=["default"], workflows=["cli-sum"], limit=1, ttl=60_000_000))
    store.close()

    answer = program("doctor")

    assert 0 == answer.code
    assert "1 of 1 leases are held by workers that are gone: lost" in " ".join(answer.out.split())
    assert "leases: start a worker; it takes them over" in answer.err


def test_doctor_finds_stuck_runs(waiting: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and the verb that shows it."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)
    waiting.done("signal", "order-1", "approved", "true")
    waiting.done("worker", "--once", "-q")

    answer = waiting("doctor")

    assert 0 == answer.code
    assert "`replay replay order-1` shows the difference" in answer.err


# ---- init ---------------------------------------------------------------------------------------------------------------


def test_init_makes_a_project_that_runs(program: Program) -> None:
    """Three files; the first workflow keeps the rules and runs."""
    answer = program("init", "--module", "flows_of_test")

    assert 0 == answer.code
    assert ["created", "created", "created"] == [line.split()[0] for line in answer.out.splitlines()]
    assert {"pyproject.toml", "flows_of_test.py", ".gitignore"} == {path.name for path in Path.cwd().iterdir()}
    assert ["flows_of_test"] == tomllib.loads(Path("pyproject.toml").read_text())["tool"]["replay"]["modules"]
    program.environment["REPLAY_MODULES"] = ""
    assert 0 == program("check").code
    assert "Hello, Ada! Hello, world!" == program.done("run", "hello", "Ada", "--id", "h", "-q")


def test_init_keeps_what_is_there(program: Program) -> None:
    """A pyproject.toml is extended, a workflow and its configuration are kept; --force writes the workflow anew."""
    Path("pyproject.toml").write_text('[project]\nname = "mine"\n', encoding="utf-8")
    Path("flows.py").write_text("mine = 1\n", encoding="utf-8")
    Path(".gitignore").write_text("*.pyc", encoding="utf-8")
    first = program.done("init").split()[::2]
    again = program.done("init").split()[::2]
    kept = Path("flows.py").read_text()

    assert (["extended", "kept", "extended"], ["kept", "kept", "kept"], "mine = 1\n") == (first, again, kept)
    assert "mine" == tomllib.loads(Path("pyproject.toml").read_text())["project"]["name"]
    assert ["*.pyc", ".replay/"] == Path(".gitignore").read_text().splitlines()
    assert ["kept", "replaced", "kept"] == program.done("init", "--force").split()[::2]


@pytest.mark.parametrize(("words", "said"), [(["--module", "a-b"], "is no name of a module"), (["file"], "is a file")])
def test_init_refuses_what_cannot_work(program: Program, words: list[str], said: str) -> None:
    """Nothing is written."""
    Path("file").write_text("", encoding="utf-8")

    answer = program("init", *words)

    assert 2 == answer.code
    assert said in answer.err


def test_init_leaves_a_broken_pyproject_alone(program: Program) -> None:
    """It would be the user's loss."""
    Path("pyproject.toml").write_text("[project", encoding="utf-8")

    assert 2 == program("init").code
    assert "[project" == Path("pyproject.toml").read_text()


# ---- version and completion ---------------------------------------------------------------------------------------------


def test_version_tells_what_runs_here(program: Program) -> None:
    """For a bug report."""
    assert __version__ == program("version", "--json").json["replay"]
    assert {"replay", "python", "platform", "sqlite", "attrs", "click"} <= versions().keys()
    assert f"replay {__version__}" == program.done("--version")


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o nosort"), ("zsh", "#compdef replay"), ("fish", "complete --no-files")]
)
def test_completion_prints_a_script(program: Program, shell: str, mark: str) -> None:
    """For each shell."""
    said = program.done("completion", shell)

    assert mark in said
    assert f"_REPLAY_COMPLETE={shell}_complete" in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("replay ins", {"inspect"}),
        ("replay status ord", {"order-1"}),
        ("replay start cli-o", {"cli-order"}),
        ("replay list --status wai", {"waiting"}),
        ("replay cancel ", {"order-1"}),
    ],
)
def test_a_shell_is_offered_verbs_ids_and_workflows(waiting: Program, typed: str, offered: set[str]) -> None:
    """At Tab."""
    words = typed.split(" ")
    waiting.environment |= {"_REPLAY_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}

    assert offered == {line.partition(",")[2] for line in waiting.done().splitlines()}


def test_where_nothing_can_be_offered_a_shell_hears_nothing(waiting: Program) -> None:
    """A prompt is no place for errors."""
    waiting.environment |= {"_REPLAY_COMPLETE": "bash_complete", "COMP_WORDS": "replay status o", "COMP_CWORD": "2"}
    waiting.store = "nosuch://x"

    assert ("", "") == (waiting().out.strip(), waiting().err)
