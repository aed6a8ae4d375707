"""time-travel and diff."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Program


def test_a_fork_shares_the_past_and_goes_on(ended: Program) -> None:
    """From a savepoint: what was charged is not charged again, what comes after is open."""
    assert "second" == ended.done("time-travel", "order-1", "--at", "charged", "--id", "second")

    fork = ended("inspect", "second", "--json").json
    assert ("order-1#3", 3) == (fork["run"]["source"], len(fork["events"]))
    ended.done("signal", "second", "approved", "false")
    ended.done("worker", "--once", "-q")
    assert "refused" == ended("status", "second", "--json").json["result"]
    assert "r-1 for 1200" == ended("status", "order-1", "--json").json["result"]


def test_an_edit_replaces_an_answer(ended: Program) -> None:
    """An object becomes what the step would have returned."""
    ended.done("time-travel", "order-1", "--at", "4", "--edit", '2={"number": "r-9", "cents": 5}', "--id", "second")
    ended.done("worker", "--once", "-q")

    assert "r-9 for 5" == ended("status", "second", "--json").json["result"]


def test_a_dry_run_shows_all_and_makes_nothing(ended: Program) -> None:
    """What is shared, edited, left behind, and what would be waited for."""
    answer = ended("time-travel", "order-1", "--at", "charged", "--edit", '2={"number": "r-9", "cents": 5}', "--id", "x", "--dry-run")

    assert 0 == answer.code
    assert "shares         #1 to #3 of order-1; none of it is executed again" in answer.out
    assert '#2 cli-charge: {"cents": 1200, "number": "r-1"} → {"cents": 5, "number": "r-9"}' in answer.out
    assert "leaves behind  #4 to #8" in answer.out
    assert "signal approved" in answer.out
    assert "a dry run: nothing was made" in answer.err
    assert 3 == ended("status", "x").code


def test_a_dry_run_tells_how_the_fork_would_end(ended: Program) -> None:
    """Where nothing is left to wait for."""
    assert "then           it has ended: completed" in ended.done("time-travel", "order-1", "--edit", "4=false", "--dry-run")


def test_a_dry_run_in_json(ended: Program) -> None:
    """The same as data."""
    said = ended("time-travel", "order-1", "--edit", "4=false", "--dry-run", "--json").json

    assert (True, 4, 4, [{"seq": 4, "old": True, "new": False}], []) == (
        said["dry_run"],
        said["shared"],
        said["left_behind"],
        said["edited"],
        said["pending"],
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--edit", '4="perhaps"'], 2, "new answer of event #4: expected bool, got str 'perhaps'"),
        (["--at", "nowhere"], 3, "no savepoint 'nowhere'; known: charged"),
        (["--at", "99"], 3, "no event '99'"),
        (["--edit", "99=1"], 3, "no event '99'"),
        (["--edit", "3=1"], 2, "event #3 is a savepoint, which has no answer to replace"),
        (["--edit", '2="text"'], 2, "new answer of event #2: expected Receipt"),
        (["--at", "1", "--edit", "4=true"], 2, "it changes events after #1"),
        (["--edit", "x"], 2, "is no edit"),
        (["--workflow", "nothing"], 3, "no workflow 'nothing'"),
    ],
)
def test_a_journey_that_cannot_be_made_is_told(ended: Program, words: list[str], code: int, said: str) -> None:
    """And makes nothing."""
    answer = ended("time-travel", "order-1", *words)

    assert code == answer.code
    assert said in answer.err
    assert 2 == len(ended("list", "--json").lines)


@pytest.mark.parametrize("taken", ["order-1", "other"])
def test_a_fork_takes_nobodys_name(ended: Program, taken: str) -> None:
    """An id that another run has is refused."""
    ended.done("run", "cli-sum", "1", "--id", "other")

    answer = ended("time-travel", "order-1", "--at", "charged", "--id", taken)

    assert 1 == answer.code
    assert f"run '{taken}' exists" in answer.err


def test_the_same_fork_twice_is_one_fork(ended: Program) -> None:
    """Like every start."""
    words = ["time-travel", "order-1", "--at", "charged", "--id", "second"]

    assert ended.done(*words) == ended.done(*words)


def test_code_that_does_not_fit_the_past_makes_no_fork(ended: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report shows both sides."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)

    answer = ended("time-travel", "order-1", "--at", "charged")

    assert 1 == answer.code
    assert 'now asks:  step cli-ship("a gift")' in answer.err


# ---- diff ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forked(ended: Program) -> Program:
    """The program, with a run ``second`` that was refused where ``order-1`` was approved."""
    ended.done("time-travel", "order-1", "--edit", "4=false", "--id", "second")
    ended.done("worker", "--once", "-q")
    return ended


def test_diff_shows_where_two_runs_part(forked: Program) -> None:
    """The first difference first; code 1."""
    answer = forked("diff", "order-1", "second", columns=160)

    lines = answer.out.splitlines()
    assert 1 == answer.code
    assert "#1 to #3 agree" in lines
    first = next(line for line in lines if line.startswith("≠"))
    assert "#4 ← signal_received approved  true" in first
    assert first.rstrip().endswith("#4 ← signal_received approved  false")
    assert 'completed "refused"' in answer.out


def test_diff_of_a_run_with_itself_finds_nothing(forked: Program) -> None:
    """Code 0, also between a run and its file."""
    forked.done("export", "order-1", "-o", "order.jsonl")

    assert "all 8 events agree" in forked.done("diff", "order-1", "order-1")
    assert "all 8 events agree" in forked.done("diff", "order.jsonl", "order-1")


def test_diff_in_json(forked: Program) -> None:
    """Every difference with both events."""
    answer = forked("diff", "order-1", "second", "--json")

    assert 1 == answer.code
    said = answer.json
    assert (False, 3) == (said["same"], said["agree"])
    first = said["differences"][0]
    assert ("other", True, False) == (first["verdict"], first["a"]["payload"], first["b"]["payload"])
    assert ("r-1 for 1200", "refused") == (said["a"]["result"], said["b"]["result"])


def test_diff_with_a_run_that_is_none_is_code_three(forked: Program) -> None:
    """Not the code for a difference."""
    assert 3 == forked("diff", "order-1", "nowhere").code
