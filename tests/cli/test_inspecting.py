"""inspect: the timeline, and moments of the past."""

from __future__ import annotations

import contextlib
import re
import sqlite3

import pytest

from tests.cli.conftest import Program


def test_the_timeline_shows_every_event_with_what_it_answered(ended: Program) -> None:
    """Number, kind, name, value; below it what belongs to the run."""
    said = ended.done("inspect", "order-1", columns=200)

    rows = [line for line in said.splitlines() if re.match(r"\s*\d+  ", line)]
    assert list(range(1, 9)) == [int(row.split()[0]) for row in rows]
    assert re.search(r"2 .*✓ step_completed +cli-charge +0 .*\{\"cents\": 1200, \"number\": \"r-1\"\}", rows[1])
    assert re.search(r"4 .*← signal_received +approved .*true", rows[3])
    assert re.search(r"8 .*■ completed +cli-order", rows[7])
    assert 'goal: "ship it"' in said
    assert re.search(r"order-1\.4 +cli-parcel +4 +completed", said)


def test_the_timeline_shows_where_in_the_source_an_answer_was_asked_for(ended: Program) -> None:
    """Branches of a gather have its line."""
    said = ended("inspect", "order-1", "--json").json

    lines = {event["name"]: event["line"].rpartition("/")[2] for event in said["events"] if event["line"]}
    assert {"cli-charge", "cli-ship", "charged", "cli-parcel"} == lines.keys()
    assert {"shop.py"} == {line.partition(":")[0] for line in lines.values()}


def test_parallel_spans_are_drawn_side_by_side(ended: Program) -> None:
    """Both steps of the gather have a bar."""
    said = ended.done("inspect", "order-1", columns=150)

    assert 3 <= sum("█" in line for line in said.splitlines())


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 160, 200])
def test_the_timeline_fits_the_terminal(ended: Program, columns: int) -> None:
    """Whatever its width: number, kind and name are always there."""
    said = ended.done("inspect", "order-1", columns=columns)

    assert max(map(len, said.splitlines())) <= max(columns, 60)
    assert "step_completed" in said
    assert "cli-charge" in said


def test_a_long_journal_is_shown_from_both_ends(program: Program) -> None:
    """What is left out is told, and how to see it."""
    program("run", "cli-counter", "50", "--id", "c", "--timeout", "200ms", "-q")

    said = program.done("inspect", "c", "--limit", "4")
    whole = program.done("inspect", "c", "--all")

    assert "47 events in the middle are not shown: --limit N or --all" in said
    assert (3, 50) == (said.count("◆ savepoint"), whole.count("◆ savepoint"))
    assert 51 == len(program("inspect", "c", "--json", "--limit", "4").json["events"])


def test_inspect_in_json_holds_everything(ended: Program) -> None:
    """Run, events, what is pending, savepoints, children, notes; keys that stay."""
    said = ended("inspect", "order-1", "--json").json

    assert {"run", "events", "pending", "savepoints", "children", "notes"} == said.keys()
    assert {
        "seq", "kind", "command", "name", "at", "payload", "check", "attempt", "duration", "line", "worker", "asked_at"
    } == said["events"][0].keys()  # fmt: skip
    assert ("completed", [], 1, "sent") == (
        said["run"]["status"],
        said["pending"],
        len(said["children"]),
        said["notes"][0]["text"],
    )
    assert [("charged", 3, False)] == [(point["name"], point["seq"], point["has_state"]) for point in said["savepoints"]]


def test_inspect_tells_since_when_an_answer_was_waited_for(ended: Program) -> None:
    """With the code at hand: a signal has no duration, but its wait has a beginning."""
    events = ended("inspect", "order-1", "--json").json["events"]

    signal = next(event for event in events if event["kind"] == "signal_received")
    assert events[2]["at"] == signal["asked_at"] <= signal["at"]


def test_inspect_of_an_open_run_shows_what_it_waits_for(waiting: Program) -> None:
    """Below the timeline."""
    assert re.search(r"waits for +command +until +line *\n─+\nsignal approved +2 ", waiting.done("inspect", "order-1"))


def test_inspect_works_when_todays_code_does_not_fit(ended: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is shown; that the code differs is told."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)

    answer = ended("inspect", "order-1")

    assert 0 == answer.code
    assert "step_completed" in answer.out
    assert "run order-1 does not fit its journal at event #3" in answer.err


def test_a_damaged_journal_is_told_and_not_shown(ended: Program) -> None:
    """Code 4: the operator must act; other runs are not concerned."""
    with contextlib.closing(sqlite3.connect(ended.store.removeprefix("sqlite:///"))) as file, file:
        file.execute("UPDATE replay_events SET name = 'cli-chrage' WHERE name = 'cli-charge'")

    answer = ended("inspect", "order-1")

    assert (4, "") == (answer.code, answer.out)
    assert "journal of order-1 is damaged at event #2" in answer.err
    assert 4 == ended("replay", "order-1").code
    assert 0 == ended("list").code


# ---- one moment ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["3", "#3", "charged"])
def test_a_past_moment_shows_variables_source_and_what_was_waited_for(ended: Program, at: str) -> None:
    """By number or by savepoint."""
    said = ended.done("inspect", "order-1", "--at", at)

    assert "event      #3 of 8  savepoint charged" in said
    assert "waits for  signal approved" in said
    assert re.search(r"→ \d+ +approved = yield from signal\(\"approved\"", said)
    assert re.search(r"cart +Cart +\{\"card\": \"visa\", \"cents\": 1200\}", said)
    assert re.search(r"receipt +Receipt +\{\"cents\": 1200, \"number\": \"r-1\"\}", said)
    assert "shipped" not in said.partition("variable")[2]


def test_the_last_moment_shows_where_it_ended(ended: Program) -> None:
    """No line, but variables."""
    said = ended.done("inspect", "order-1", "--at", "8")

    assert "stands at  its end" in said
    assert "shipped pen" in said


def test_a_past_moment_in_json(ended: Program) -> None:
    """Variables as values, source as lines."""
    said = ended("inspect", "order-1", "--at", "2", "--json").json

    assert {"id", "event", "line", "source", "variables", "pending"} == said.keys()
    assert {"card": "visa", "cents": 1200} == said["variables"]["cart"]
    assert 1 == sum(line["here"] for line in said["source"])


@pytest.mark.parametrize(("at", "words"), [("9", "no event '9'; known: 1 to 8"), ("0", "no event '0'"), ("later", "known: charged")])
def test_a_moment_that_never_was_is_code_three(ended: Program, at: str, words: str) -> None:
    """With the moments that there were."""
    answer = ended("inspect", "order-1", "--at", at)

    assert 3 == answer.code
    assert words in answer.err


def test_a_past_moment_needs_the_code(ended: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike the journal, it must be computed."""
    monkeypatch.setattr("replay.client.travel.WORKFLOWS", {})
    ended.environment["REPLAY_MODULES"] = ""

    answer = ended("inspect", "order-1", "--at", "2")

    assert 3 == answer.code
    assert "no workflow 'cli-order'" in answer.err
