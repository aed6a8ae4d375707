"""run, start and worker, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Program

CART = '{"card": "visa", "cents": 1200}'


def test_run_prints_the_result(program: Program) -> None:
    """A text as it stands; what happened is told elsewhere."""
    answer = program("run", "cli-sum", "1", "2", "--arg", "label=sum ", "--id", "s")

    assert (0, "sum 3\n", "") == (answer.code, answer.out, answer.err)


def test_run_prints_other_results_as_json(program: Program) -> None:
    """One line, as a person would write it."""
    assert '{"a": [1, null]}' == program.done("run", "cli-echo", "--arg", 'value={"a": [1, null]}', "--id", "e")


def test_run_again_is_the_same_run(program: Program) -> None:
    """An id names one run: the second call executes nothing and answers the same."""
    first = program.done("run", "cli-sum", "4", "--id", "s")

    assert first == program.done("run", "cli-sum", "4", "--id", "s")
    assert 3 == program("status", "s", "--json").json["events"]


def test_run_again_with_other_input_is_refused(program: Program) -> None:
    """The same id cannot mean two things."""
    program.done("run", "cli-sum", "4", "--id", "s")

    answer = program("run", "cli-sum", "5", "--id", "s")

    assert 1 == answer.code
    assert "run 's' exists" in answer.err


def test_run_without_an_id_tells_the_one_it_chose(program: Program) -> None:
    """Or nobody could find the run again."""
    answer = program("run", "cli-sum", "4")
    chosen = answer.err.split()[-1]

    assert "completed" == program("status", chosen, "--json").json["status"]


def test_run_that_fails_ends_with_code_one(program: Program) -> None:
    """One sentence: which run, how it ended, why."""
    answer = program("run", "cli-order", '{"card": "poor", "cents": 1}', "--id", "poor")

    assert (1, "") == (answer.code, answer.out)
    assert answer.err.startswith("replay: run poor failed: ")
    assert "no answer for poor" in answer.err


def test_run_in_json_tells_all_of_a_run(program: Program) -> None:
    """Also when it failed; the exit code stays."""
    good = program("run", "cli-sum", "4", "--id", "s", "--json")
    bad = program("run", "cli-order", '{"card": "poor", "cents": 1}', "--id", "poor", "--json")

    assert (0, "4", "completed") == (good.code, good.json["result"], good.json["status"])
    assert (1, None, "failed") == (bad.code, bad.json["result"], bad.json["status"])
    assert "no answer for poor" in bad.json["error"]["message"]


def test_run_that_takes_too_long_is_parked(program: Program) -> None:
    """Code 5, and how it goes on; the run is not harmed."""
    answer = program("run", "cli-order", CART, "--id", "slow", "--timeout", "300ms", "-m", "tests.cli.shop", "-q")

    assert (5, "") == (answer.code, answer.out)
    assert "parked slow; nothing is lost. Go on with: replay worker -m tests.cli.shop" in answer.err
    program.done("signal", "slow", "approved", "false")
    assert "refused" == program.done("run", "cli-order", CART, "--id", "slow")


def test_run_tells_events_and_logs_when_asked(program: Program) -> None:
    """-v: each event as it becomes durable; what workflows log comes anyway."""
    answer = program("run", "cli-order", CART, "--id", "v", "-v", "--timeout", "300ms")

    assert "v  #2 step_completed 0 cli-charge" in answer.err
    assert "replay.workflow  v: charged" in answer.err


def test_a_workflow_is_named_by_module_or_file_too(program: Program) -> None:
    """Without any configuration."""
    program.environment["REPLAY_MODULES"] = ""

    assert "3" == program.done("run", "tests.cli.shop:total", "1", "2", "--id", "s")


def test_a_file_of_the_current_folder_can_be_named(program: Program) -> None:
    """`replay run a_file_named_here.py:hello` is what one types first."""
    source = "from replay import workflow, now\n\n@workflow(name='cli-file')\ndef hello():\n    yield now()\n    return 'hi'\n"
    Path("a_file_named_here.py").write_text(source, encoding="utf-8")

    assert "hi" == program.done("run", "a_file_named_here.py:hello", "--id", "f")


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        ("nothing", 3, "no workflow 'nothing'; known: "),
        ("cli-order@7", 3, "no workflow 'cli-order@7'"),
        ("tests.cli.shop:nothing", 3, "known: asking, asks, counter, echo"),
        ("tests.cli.shop:charge", 2, "put @workflow above the function"),
        ("no_such_module:order", 2, "there is no module 'no_such_module'"),
        ("tests.cli.no_such:order", 2, "there is no module 'tests.cli.no_such'"),
        ("/elsewhere/shop.py:order", 2, "lies outside the current folder"),
    ],
)
def test_a_workflow_that_is_none_is_told(program: Program, reference: str, code: int, words: str) -> None:
    """Not found is another thing than badly named."""
    answer = program("start", reference)

    assert code == answer.code
    assert words in answer.err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import shopp_that_is_not", "importing it raised ModuleNotFoundError: No module named 'shopp_that_is_not'"),
        ("def broken(:\n", "importing it raised SyntaxError"),
        ("raise ValueError('no config')", "importing it raised ValueError: no config at"),
        ("raise SystemExit(3)", "importing it raised SystemExit: 3 at"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(program: Program, source: str, words: str) -> None:
    """The user's mistake, not a traceback of ours."""
    Path("broken_of_test.py").write_text(f"{source}\n", encoding="utf-8")

    answer = program("start", "broken_of_test:order")

    assert 2 == answer.code
    assert words in answer.err
    assert "broken_of_test" in answer.err
    assert "Traceback" not in answer.err


def test_start_only_begins(program: Program) -> None:
    """It prints the id; nothing of the workflow runs until a worker takes it."""
    assert "order-7" == program.done("start", "cli-order", CART, "--id", "order-7", "--tag", "a=b", "--priority", "3")

    found = program("status", "order-7", "--json").json
    assert ("pending", 1, {"a": "b"}, 3) == (found["status"], found["events"], found["tags"], found["priority"])


def test_a_delayed_start_waits_for_its_time(program: Program) -> None:
    """--delay: no worker takes it before."""
    program.done("start", "cli-sum", "1", "--id", "later", "--delay", "1h")
    program.done("worker", "--once")

    assert "pending" == program("status", "later", "--json").json["status"]


def test_bad_arguments_start_nothing(program: Program) -> None:
    """They are told before anything is written."""
    answer = program("start", "cli-order", '{"card": "visa"}', "--id", "x")

    assert 2 == answer.code
    assert "argument 'cart'" in answer.err
    assert 3 == program("status", "x").code


# ---- worker -------------------------------------------------------------------------------------------------------------


def test_worker_once_drives_what_is_ready_and_ends(program: Program) -> None:
    """One line a run; runs that wait are parked."""
    program.done("start", "cli-sum", "1", "--id", "a")
    program.done("start", "cli-order", CART, "--id", "b")

    answer = program("worker", "--once")

    assert {"claimed    a  cli-sum", "claimed    b  cli-order"} <= set(answer.out.splitlines())
    assert "completed  a  cli-sum  3 events" in answer.out
    assert "stopped: 2 claims, 1 run ended" in answer.err
    assert "waiting" == program("status", "b", "--json").json["status"]


def test_worker_once_drives_children_too(ended: Program) -> None:
    """It is not idle before what it has started has ended."""
    found = ended("list", "--json").lines

    assert {"cli-order": "completed", "cli-parcel": "completed"} == {run["workflow"]: run["status"] for run in found}


def test_worker_in_json_writes_lines_for_programs(program: Program) -> None:
    """Stable keys."""
    program.done("start", "cli-sum", "1", "--id", "a")

    first, last = program("worker", "--once", "--json").lines

    assert ("claimed", "a", "cli-sum", 1) == (first["event"], first["id"], first["workflow"], first["events"])
    assert ("completed", "a", 3) == (last["event"], last["id"], last["events"])


def test_worker_serves_the_queues_it_was_given(program: Program) -> None:
    """Runs of other queues are left alone."""
    program.done("start", "cli-sum", "1", "--id", "a", "--queue", "slow")
    program.done("start", "cli-sum", "1", "--id", "b", "--queue", "fast")
    program.done("start", "cli-sum", "1", "--id", "c")

    program.done("worker", "--once", "--queues", "fast, default")

    assert {"a": "pending", "b": "completed", "c": "completed"} == {run["id"]: run["status"] for run in program("list", "--json").lines}


def test_worker_keeps_to_the_limits_it_was_given(program: Program) -> None:
    """A rate lets two runs begin; the third waits for another minute."""
    for number in range(3):
        program.done("start", "cli-sum", "1", "--id", f"r{number}", "--queue", "slow")

    program.done("worker", "--once", "--queue", "slow:concurrency=1:rate=2/60s")

    assert ["completed", "completed", "pending"] == sorted(run["status"] for run in program("list", "--json").lines)


def test_worker_tells_of_a_run_that_does_not_fit(waiting: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stuck, and why; the others go on."""
    monkeypatch.setattr("tests.cli.shop.EDITED", True)
    waiting.done("signal", "order-1", "approved", "true")

    answer = waiting("worker", "--once")

    assert 0 == answer.code
    assert "stuck      order-1  run order-1 does not fit its journal at event #3" in answer.out


def test_worker_without_workflows_is_told(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever for nothing."""
    monkeypatch.setattr("replay.authoring.definitions.WORKFLOWS", {})
    monkeypatch.setattr("replay.authoring.definitions.STEPS", {})
    program.environment["REPLAY_MODULES"] = ""

    answer = program("worker")

    assert 2 == answer.code
    assert "it has no workflows and no steps" in answer.err


def test_a_store_that_cannot_be_used_is_code_four(program: Program) -> None:
    """Whoever must act is the operator."""
    Path("no.db").write_text("no database" * 1_000, encoding="utf-8")
    missing = program("list", "--store", "nosuch://x")
    closed = program("start", "cli-sum", "--store", "sqlite:////proc/no/such.db")
    other = program("list", "--store", "sqlite:///no.db")

    assert (4, 4, 4) == (missing.code, closed.code, other.code)
    assert "no store for 'nosuch'; installed: " in missing.err
    assert "sqlite:////proc/no/such.db" in closed.err
    assert "nosuch" == json.loads(program("list", "--store", "nosuch://x", "--json").err)["error"]["scheme"]
