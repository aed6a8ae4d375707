"""replay, export and import: journals that leave their store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Program


@pytest.fixture
def exported(ended: Program) -> Program:
    """The program, with a file ``order.jsonl`` that holds the run ``order-1``."""
    ended.done("export", "order-1", "-o", "order.jsonl")
    return ended


# ---- export and import --------------------------------------------------------------------------------------------------


def test_an_exported_run_can_be_taken_in_elsewhere(exported: Program) -> None:
    """With all its events, values and its end."""
    there = Program("sqlite:///there.db")

    assert "order-1  completed  8 events" == there.done("import", "order.jsonl")
    before, after = exported("inspect", "order-1", "--json").json, there("inspect", "order-1", "--json").json
    assert before["events"] == after["events"]
    assert before["run"]["result"] == after["run"]["result"]


def test_export_writes_to_standard_output_and_import_reads_standard_input(ended: Program) -> None:
    """So that both can stand in a pipe."""
    lines = ended.done("export", "order-1")

    assert ["8", "order-1"] == [str(len(lines.splitlines()) - 1), json.loads(lines.splitlines()[0])["run"]["id"]]
    assert "order-1  completed  8 events" == Program("sqlite:///there.db").done("import", "-", given=lines)


def test_an_open_run_goes_on_where_it_was_taken_in(waiting: Program) -> None:
    """A run moves from one store to another."""
    waiting.done("export", "order-1", "-o", "order.jsonl")
    there = Program("sqlite:///there.db")
    there.done("import", "order.jsonl")
    there.done("signal", "order-1", "approved", "false")
    there.done("worker", "--once", "-q")

    assert "refused" == there("status", "order-1", "--json").json["result"]


def test_taking_in_twice_changes_nothing(exported: Program) -> None:
    """But another run of that name is not overwritten."""
    assert ["order-1  completed  8 events"] * 2 == [exported.done("import", "order.jsonl") for _ in range(2)]
    there = Program("sqlite:///there.db")
    there.done("run", "cli-sum", "1", "--id", "order-1")

    answer = there("import", "order.jsonl")

    assert 1 == answer.code
    assert "run 'order-1' exists" in answer.err


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda lines: lines[:-1], 4, "at event #8: it is missing"),
        (lambda lines: [*lines[:3], *lines[4:]], 4, "damaged at event #3"),
        (lambda lines: [*lines[:2], lines[2].replace("1200", "1"), *lines[3:]], 4, "event #2: its checksum does not fit"),
        (lambda _: ["hello"], 2, "not that of an exported journal"),
        (lambda _: [], 2, "the file is empty"),
    ],
)
def test_a_damaged_file_is_not_taken_in(exported: Program, damage: object, code: int, words: str) -> None:
    """Cut short, a line out, a changed byte, something else: each is told, nothing is made."""
    file = Path("order.jsonl")
    file.write_text("".join(f"{line}\n" for line in damage(file.read_text().splitlines())))  # type: ignore[operator]  # a function
    there = Program("sqlite:///there.db")

    answer = there("import", "order.jsonl")

    assert code == answer.code
    assert words in answer.err
    assert [] == there("list", "--json").lines


def test_a_file_that_cannot_be_written_leaves_nothing_behind(ended: Program) -> None:
    """No half file, and a sentence."""
    answer = ended("export", "order-1", "-o", "no/such/folder/x.jsonl")

    assert 2 == answer.code
    assert "No such file or directory" in answer.err
    assert [] == list(Path.cwd().iterdir())


def test_an_export_that_fails_keeps_the_old_file(exported: Program) -> None:
    """It takes its name when it is complete."""
    before = Path("order.jsonl").read_text()

    assert 3 == exported("export", "nowhere", "-o", "order.jsonl").code
    assert before == Path("order.jsonl").read_text()


def test_a_file_that_is_missing_is_bad_usage(program: Program) -> None:
    """Before the store is opened."""
    assert 2 == program("import", "nothing.jsonl").code


# ---- replay -------------------------------------------------------------------------------------------------------------


def test_journals_that_fit_are_told_and_code_zero(exported: Program) -> None:
    """Runs and files alike; nothing is executed."""
    answer = exported("replay", "order-1", "order.jsonl")

    assert 0 == answer.code
    assert 2 == answer.out.count("fits")
    assert "2 of 2 fit today's code" in answer.err


def test_a_journal_that_does_not_fit_is_shown_with_both_lines(exported: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preflight of an upgrade: code 1."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)

    answer = exported("replay", "order.jsonl")

    assert 1 == answer.code
    assert "recorded:  savepoint charged as command 1" in answer.out
    assert 'now asks:  step cli-ship("a gift")' in answer.out
    assert 2 == sum("shop.py:" in line for line in answer.out.splitlines() if "recorded:" in line or "now asks:" in line)


def test_all_open_runs_are_driven(waiting: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have ended are left out; a workflow can be chosen."""
    waiting.done("run", "cli-sum", "1", "--id", "over")
    waiting.done("start", "cli-mailbox", "--id", "box")
    fitting = waiting("replay", "--all", "--json")
    monkeypatch.setattr("tests.cli.shop.EDITED", True)
    differing = waiting("replay", "--all", "--json")

    assert (0, True, {"order-1", "box"}) == (fitting.code, fitting.json["fit"], {one["id"] for one in fitting.json["verdicts"]})
    assert (1, False) == (differing.code, differing.json["fit"])
    assert {"order-1": "differs", "box": "fits"} == {one["id"]: one["verdict"] for one in differing.json["verdicts"]}
    assert ["box"] == [one["id"] for one in waiting("replay", "--all", "--workflow", "cli-mailbox", "--json").json["verdicts"]]


def test_a_difference_in_json_has_its_facts(exported: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides, both lines, and what lay before."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)

    (verdict,) = exported("replay", "order.jsonl", "--json").json["verdicts"]

    assert {"seq", "recorded", "asked", "recorded_line", "asked_line", "before"} == verdict["difference"].keys()
    assert 3 == verdict["difference"]["seq"]


def test_a_run_is_driven_as_recovery_would(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies before its newest savepoint with state is edited freely; --whole looks there too."""
    program("run", "cli-counter", "3", "--id", "c", "--timeout", "200ms", "-q")
    monkeypatch.setattr("tests.cli.shop.EDITED", True)

    assert 0 == program("replay", "c").code
    assert 1 == program("replay", "c", "--whole").code


def test_one_that_cannot_be_driven_does_not_keep_the_others_from_it(exported: Program) -> None:
    """Its reason is told; the code is that of the first trouble, unless one differs."""
    answer = exported("replay", "nowhere", "order-1", "--json")

    assert 3 == answer.code
    assert ["error", "fits"] == [one["verdict"] for one in answer.json["verdicts"]]
    assert "UnknownRun" == answer.json["verdicts"][0]["error"]["type"]


def test_a_workflow_that_is_not_imported_is_told(exported: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be neither right nor wrong."""
    monkeypatch.setattr("replay.client.travel.WORKFLOWS", {})
    exported.environment["REPLAY_MODULES"] = ""

    answer = exported("replay", "order.jsonl")

    assert 3 == answer.code
    assert "no workflow 'cli-order'" in answer.out


@pytest.mark.parametrize("words", [[], ["order-1", "--all"]])
def test_what_to_replay_is_said_once(program: Program, words: list[str]) -> None:
    """Names or --all."""
    assert 2 == program("replay", *words).code


def test_no_open_runs_are_no_trouble(program: Program) -> None:
    """Nothing stands in the way of the upgrade."""
    answer = program("replay", "--all")

    assert (0, "no runs are open\n") == (answer.code, answer.err)
