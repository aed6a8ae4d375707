"""signal, update, query, and what stops runs and lets them go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replay import Engine
from tests.cli import shop
from tests.cli.conftest import Program


@pytest.fixture
def mailbox(program: Program) -> Program:
    """The program, with a run ``box`` that collects messages."""
    program.done("start", "cli-mailbox", "--id", "box")
    program.done("worker", "--once", "-q")
    return program


@pytest.fixture
def working(mailbox: Program) -> Iterator[Program]:
    """The same, with an engine that drives it."""
    with Engine(mailbox.store, workflows=[shop.mailbox]):
        yield mailbox


@pytest.mark.parametrize(
    ("word", "value"),
    [("7", 7), ("null", None), ("false", False), ('""', ""), ("[]", []), ("some words", "some words"), ('{"a": 1}', {"a": 1})],
)
def test_a_signal_carries_json_or_text(mailbox: Program, word: str, value: object) -> None:
    """Falsy values arrive as what they are."""
    mailbox.done("signal", "box", "message", word)
    mailbox.done("signal", "box", "message", "stop")
    mailbox.done("worker", "--once", "-q")

    assert [value] == mailbox("status", "box", "--json").json["result"]


def test_a_signal_without_a_value_is_null_and_one_of_standard_input_is_read(mailbox: Program) -> None:
    """For what is too long for a command line."""
    mailbox.done("signal", "box", "message")
    mailbox.done("signal", "box", "message", "-", given='{"long": "text"}\n')
    mailbox.done("signal", "box", "message", "stop")
    mailbox.done("worker", "--once", "-q")

    assert [None, {"long": "text"}] == mailbox("status", "box", "--json").json["result"]


def test_the_same_message_id_twice_is_one_message(mailbox: Program) -> None:
    """A script that is run again does no harm."""
    for _ in range(2):
        mailbox.done("signal", "box", "message", "1", "--message-id", "m1")
    mailbox.done("signal", "box", "message", "stop")
    mailbox.done("worker", "--once", "-q")

    assert [1] == mailbox("status", "box", "--json").json["result"]


def test_a_signal_of_the_wrong_type_is_refused_where_it_is_sent(waiting: Program) -> None:
    """The workflow declares a bool; nothing is posted."""
    answer = waiting("signal", "order-1", "approved", "perhaps")

    assert 2 == answer.code
    assert "signal 'approved': expected bool, got str 'perhaps'" in answer.err
    waiting.done("worker", "--once", "-q")
    assert "waiting" == waiting("status", "order-1", "--json").json["status"]


def test_a_signal_to_a_run_that_has_ended_is_refused(ended: Program) -> None:
    """Code 1: it exists, and says no."""
    answer = ended("signal", "order-1", "approved", "true")

    assert 1 == answer.code
    assert "run 'order-1' is completed and takes no more messages" in answer.err


def test_an_update_waits_for_its_reply(working: Program) -> None:
    """A worker drives the run meanwhile."""
    assert "41" == working.done("update", "box", "add", "41", "--timeout", "20s")
    assert {"id", "update", "result"} == working("update", "box", "add", "1", "--json").json.keys()


def test_an_update_that_is_refused_is_code_one(working: Program) -> None:
    """With the workflow's reason."""
    answer = working("update", "box", "nothing", "1")

    assert 1 == answer.code
    assert "refused update 'nothing'" in answer.err


def test_an_update_that_nobody_replies_to_times_out(mailbox: Program) -> None:
    """No worker: code 5."""
    assert 5 == mailbox("update", "box", "add", "1", "--timeout", "50ms").code


def test_a_query_reads_live_variables(waiting: Program) -> None:
    """Arguments are for what is no variable."""
    assert "1200 EUR" == waiting.done("query", "order-1", "paid")
    assert "1200 USD" == waiting.done("query", "order-1", "paid", "--arg", "currency=USD")
    assert '{"cents": 1200, "number": "r-1"}' == waiting.done("query", "order-1", "whole_receipt")


def test_a_query_of_a_run_that_has_ended_works_too(ended: Program) -> None:
    """Its variables are computed again; in JSON with what was asked."""
    assert {"id": "order-1", "query": "paid", "result": "1200 EUR"} == ended("query", "order-1", "paid", "--json").json


@pytest.mark.parametrize("words", [["4"], ["--arg", "people=4"], ["--arg", 'of={"card": "amex", "cents": 1200}', "4"]])
def test_a_querys_arguments_are_read_as_their_parameters_ask(waiting: Program, words: list[str]) -> None:
    """By place or by name, as those of a workflow are."""
    assert "300" == waiting.done("query", "order-1", "share", *words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["four"], 2, "argument 'people': expected int, got str 'four'"),
        (["4", "5"], 2, "argument 'of': expected"),
        (["4", "null", "5"], 2, "query 'share': it takes no 5"),
        (["4", "--arg", "nobody=5"], 2, "query 'share': it takes no nobody=5"),
        (["0"], 1, "run order-1 query share failed: ZeroDivisionError"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(waiting: Program, words: list[str], code: int, said: str) -> None:
    """It is the caller's or the author's, never a bug of replay."""
    answer = waiting("query", "order-1", "share", *words)

    assert code == answer.code
    assert said in answer.err


def test_an_unknown_query_is_code_three(waiting: Program) -> None:
    """With those that there are."""
    answer = waiting("query", "order-1", "nothing")

    assert 3 == answer.code
    assert "no query 'nothing'; known: paid, share, whole_receipt" in answer.err


def test_cancel_asks_and_the_worker_does(waiting: Program) -> None:
    """The reason stands in the journal."""
    assert "sent cancel to order-1" == waiting.done("cancel", "order-1", "--reason", "changed my mind")
    waiting.done("worker", "--once", "-q")

    found = waiting("status", "order-1", "--json").json
    assert ("cancelled", "changed my mind") == (found["status"], found["error"]["reason"])


def test_terminate_ends_it_where_it_stands(waiting: Program) -> None:
    """None of its code runs."""
    waiting.done("terminate", "order-1")
    waiting.done("worker", "--once", "-q")

    assert "terminated" == waiting("status", "order-1", "--json").json["status"]


def test_a_paused_run_goes_on_when_it_is_resumed(waiting: Program) -> None:
    """What comes meanwhile is kept."""
    waiting.done("pause", "order-1")
    waiting.done("worker", "--once", "-q")
    waiting.done("signal", "order-1", "approved", "true")
    waiting.done("worker", "--once", "-q")
    paused = waiting("status", "order-1", "--json").json["status"]
    waiting.done("resume", "order-1")
    waiting.done("worker", "--once", "-q")

    assert ("paused", "completed") == (paused, waiting("status", "order-1", "--json").json["status"])


def test_several_runs_are_told_and_those_that_cannot_be_do_not_stop_the_rest(waiting: Program) -> None:
    """The exit code is that of the first that failed."""
    waiting.done("run", "cli-sum", "1", "--id", "over")

    answer = waiting("cancel", "nowhere", "over", "order-1")

    assert (3, "sent cancel to order-1\n") == (answer.code, answer.out)
    assert ["no run 'nowhere'" in answer.err, "'over' is completed" in answer.err] == [True, True]


def test_messages_in_json_are_one_line_a_run(waiting: Program) -> None:
    """For programs that tell many."""
    assert [{"id": "order-1", "sent": "pause"}] == waiting("pause", "order-1", "--json").lines
