"""list, status and logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.cli.looking import STATUSES
from replay.hooks import CLOSED, OPEN, Run, RunKey
from tests.cli.conftest import Program

RUN_KEYS = {
    "id", "namespace", "workflow", "version", "status", "events", "result", "error", "created_at", "updated_at", "ready_at",
    "wake_at", "queue", "fairness_key", "priority", "parent", "source", "tags", "state", "worker", "recoveries", "note",
}  # fmt: skip
"""What scripts lean on."""


# ---- list ---------------------------------------------------------------------------------------------------------------


def test_list_shows_runs_newest_first(ended: Program) -> None:
    """What they are, and what became of them."""
    heading, _, first, second = ended.done("list").splitlines()

    assert heading.split() == ["id", "workflow", "status", "events", "created", "changed", "tags", "outcome"]
    assert first.startswith("order-1.4  cli-parcel  completed")
    assert second.startswith("order-1    cli-order   completed")
    assert second.rstrip().endswith('customer=ada paid=yes  "r-1 for 1200"')


def test_list_in_json_is_one_run_a_line_with_keys_that_stay(ended: Program) -> None:
    """Payloads are JSON, moments are ISO."""
    child, run = ended("list", "--json").lines

    assert RUN_KEYS == run.keys() == child.keys()
    assert ("r-1 for 1200", {"progress": "charged"}) == (run["result"], run["state"])
    assert "order-1" == child["parent"]
    assert run["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--workflow", "cli-order"], {"order-1"}),
        (["--status", "completed"], {"s1", "s2"}),
        (["--status", "open"], {"order-1"}),
        (["--status", "waiting", "--status", "closed"], {"order-1", "s1", "s2"}),
        (["--tag", "customer=ada"], {"order-1"}),
        (["--tag", "customer=ada", "--tag", "paid=no"], set()),
        (["--prefix", "s"], {"s1", "s2"}),
        (["--since", "1h"], {"order-1", "s1", "s2"}),
        (["--until", "1h"], set()),
        (["--since", "2020-01-01", "--until", "2021-01-01T00:00Z"], set()),
        (["--parent", "order-1"], set()),
        (["--key", "ann"], {"s2"}),
        (["--namespace", "other"], set()),
    ],
)
def test_list_narrows(waiting: Program, words: list[str], expected: set[str]) -> None:
    """By workflow, status, tag, time, id, parent and key."""
    waiting.done("run", "cli-sum", "1", "--id", "s1")
    waiting.done("run", "cli-sum", "1", "--id", "s2", "--key", "ann")

    assert expected == {run["id"] for run in waiting("list", *words, "--json").lines}


def test_list_goes_page_by_page_or_through_all(program: Program) -> None:
    """The cursor of what is left over is told beside the output."""
    for number in range(5):
        program.done("start", "cli-sum", "1", "--id", f"run-{number}")

    first = program("list", "--limit", "2", "--json")
    cursor = first.err.split()[-1]
    second = program("list", "--limit", "2", "--cursor", cursor, "--json")

    assert ["run-4", "run-3"] == [run["id"] for run in first.lines]
    assert ["run-2", "run-1"] == [run["id"] for run in second.lines]
    assert 5 == len(program("list", "--limit", "2", "--all", "--json").lines)
    assert "" == program("list", "--all").err


def test_a_cursor_that_is_none_is_told(program: Program) -> None:
    """Bad usage."""
    answer = program("list", "--cursor", "nonsense")

    assert 2 == answer.code
    assert "cursor: 'nonsense' is none" in answer.err


def test_an_empty_list_says_where_it_looked(program: Program) -> None:
    """A wrong store or namespace is the usual reason; for programs nothing is an answer."""
    answer = program("list", "--namespace", "other")

    assert (0, "") == (answer.code, answer.out)
    assert "no runs in namespace 'other' of sqlite:///" in answer.err
    assert ("", "") == (program("list", "--json").out, program("list", "--json").err)


@pytest.mark.parametrize("words", [["list"], ["status", "x"], ["cancel", "x"], ["replay", "--all"], ["export", "x"]])
def test_whoever_only_looks_makes_no_store(program: Program, words: list[str]) -> None:
    """Or a slip in a path, or a Tab in the wrong folder, would leave a database behind."""
    program.store = "sqlite:///nothing/here.db"

    answer = program(*words)

    assert [] == list(Path.cwd().iterdir())
    assert answer.code in {0, 3}
    assert words != ["list"] or "here.db, which does not exist yet" in answer.err


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_no_id_is_cut(ended: Program, columns: int) -> None:
    """Columns that tell less are left out first."""
    said = ended.done("list", columns=columns)

    assert max(map(len, said.splitlines())) <= columns
    assert "order-1.4 " in said
    assert "completed" in said


ODD = ["größe 名前 🎈", "[bold]red[/]", ":smile:", "--help", "a/b c'd\"e", "\u202ereversed", "x" * 300]


@pytest.mark.parametrize("identity", ODD)
def test_ids_with_odd_characters_are_ids(program: Program, identity: str) -> None:
    """They are found by every verb, shown as they are, and nothing in them is markup."""
    program.done("start", "cli-sum", "1", "--id", identity)

    assert identity == program("status", "--json", "--", identity).json["id"]
    shown = "".join(line.split("cli-sum")[0].strip() for line in program.done("list").splitlines()[2:])
    assert identity.replace("\u202e", "\\u202e") in shown.replace("  pending  ", "")
    assert 0 == program("inspect", "--", identity).code
    assert 0 == program("logs", "--", identity).code


def test_a_huge_result_is_short_in_a_table_and_whole_in_json(program: Program) -> None:
    """A megabyte is no table."""
    program.done("run", "cli-echo", "--input", '["' + "ab" * 500_000 + '"]', "--id", "big", "-q")

    assert len(program.done("list")) < 1_000
    assert len(program.done("status", "big")) < 2_000
    assert len(program.done("inspect", "big")) < 3_000
    assert 1_000_000 == len(program("status", "big", "--json").json["result"])
    assert 1_000_000 == len(program("inspect", "big", "--json").json["events"][0]["payload"]["input"][0])


def test_statuses_are_those_of_the_store_contract() -> None:
    """A status that the contract learns can be asked for."""
    assert OPEN | CLOSED | {"open", "closed"} == set(STATUSES)


def test_every_field_of_the_index_is_told_to_programs() -> None:
    """But those that only stores use; a field that the contract learns must be decided on here."""
    ours = {"key", "seq", "digest", "parent_command", "base", "applied", "fence"}
    renamed = {"id", "namespace", "events", "error"}

    assert RUN_KEYS - renamed == {field.name for field in Run.__attrs_attrs__} - ours
    assert {"id", "namespace"} == set(RunKey._fields)


# ---- status -------------------------------------------------------------------------------------------------------------


def test_status_tells_what_a_run_waits_for(waiting: Program) -> None:
    """The effect, its line, and until when; with the code at hand."""
    said = waiting.done("status", "order-1")

    assert "status    waiting" in said
    assert 'state     progress = "charged"' in said
    assert "signal approved" in said
    assert "shop.py:" in said


def test_status_without_the_code_says_what_is_missing(waiting: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells what the store knows, and how to learn more."""
    monkeypatch.setattr("replay.authoring.definitions.WORKFLOWS", {})
    monkeypatch.setattr("replay.client.travel.WORKFLOWS", {})
    waiting.environment["REPLAY_MODULES"] = ""

    answer = waiting("status", "order-1")

    assert 0 == answer.code
    assert "what it waits for is known to its code: name the module with -m" in answer.err
    assert waiting("status", "order-1", "--json").json["pending"] is None


def test_status_goes_on_when_a_module_cannot_be_imported(waiting: Program) -> None:
    """Looking needs no code."""
    answer = waiting("status", "order-1", "-m", "no_such_module")

    assert 0 == answer.code
    assert "going on without the workflows' code: module 'no_such_module'" in answer.err


def test_status_in_json_tells_what_is_pending(waiting: Program) -> None:
    """As data."""
    (pending,) = waiting("status", "order-1", "--json").json["pending"]

    assert ("2", "signal approved") == (pending["command"], pending["effect"])
    assert pending["due_at"] > pending["issued_at"]


def test_status_can_wait_for_the_end(ended: Program) -> None:
    """The exit code says how it ended."""
    ended("run", "cli-order", '{"card": "poor", "cents": 1}', "--id", "poor", "-q")

    assert 0 == ended("status", "order-1", "--wait").code
    assert 1 == ended("status", "poor", "--wait").code
    assert 0 == ended("status", "poor").code


def test_status_stops_waiting_in_time(waiting: Program) -> None:
    """Code 5; the run goes on."""
    answer = waiting("status", "order-1", "--wait", "--timeout", "50ms")

    assert 5 == answer.code
    assert "run order-1 is still waiting after 0.05 s" in answer.err


def test_a_timeout_without_waiting_is_told(waiting: Program) -> None:
    """It would do nothing."""
    assert 2 == waiting("status", "order-1", "--timeout", "5").code


def test_an_unknown_run_is_code_three(program: Program) -> None:
    """With the verb that shows what there is."""
    answer = program("status", "nowhere")

    assert 3 == answer.code
    assert "replay: no run 'nowhere' in namespace 'default'; `replay list` shows what there is\n" == answer.err


# ---- logs ---------------------------------------------------------------------------------------------------------------


def test_logs_shows_log_and_notes_in_order_and_once(ended: Program) -> None:
    """However often the workflow was driven over its journal."""
    first, second = ended.done("logs", "order-1").splitlines()

    assert first.endswith('info    charged  receipt="r-1"')
    assert second.endswith('info    sent  goods=["shipped pen", "shipped ink"]')


def test_logs_in_json_is_one_entry_a_line(ended: Program) -> None:
    """With its fields."""
    first, _ = ended("logs", "order-1", "--json").lines

    assert {"level": "info", "text": "charged", "fields": {"receipt": "r-1"}} == {
        key: value for key, value in first.items() if key != "at"
    }


def test_logs_can_leave_out_what_matters_less(ended: Program) -> None:
    """By level."""
    assert "" == ended.done("logs", "order-1", "--level", "error")


def test_logs_that_are_followed_end_with_the_run(ended: Program) -> None:
    """A run that has ended says nothing more."""
    assert 2 == len(ended.done("logs", "order-1", "--follow").splitlines())
