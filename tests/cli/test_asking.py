"""Questions and answers on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from replay import Engine
from replay.cli.asking import read_answer, shape
from replay.errors import InvalidRequest
from replay.model.schema import schema_of
from tests.cli.conftest import Program
from tests.cli.shop import Verdict, asking
from tests.helpers.engines import PATIENCE, until


@pytest.fixture
def asked(program: Program) -> Iterator[tuple[Program, Engine]]:
    """The program, and an engine that drives a run which has asked."""
    with Engine(program.store) as engine:
        handle = engine.start(asking(), id="ask-1")
        until(handle.asks, engine.store)
        yield program, engine


def test_open_questions_are_listed_with_what_an_answer_looks_like(asked: tuple[Program, Engine]) -> None:
    """Of all runs, or of one."""
    program, _ = asked
    everywhere, of_one = (program.done(*words, columns=100).splitlines()[-1].split()[:7] for words in (["asks"], ["asks", "ask-1"]))

    assert ["ask-1", "1", "Who", "are", "you?", "string", "ada"] == everywhere == of_one
    assert "" == program.done("asks", "--assignee", "bob")


def test_questions_are_listed_for_programs(asked: tuple[Program, Engine]) -> None:
    """With their schemas."""
    program, _ = asked
    (question,) = program("asks", "--json").json

    assert ("ask-1", "1", "Who are you?", {"type": "string"}, "ada", None) == tuple(
        question[key] for key in ("run", "ask", "prompt", "schema", "assignee", "due_at")
    )


def test_questions_are_answered_until_the_run_ends(asked: tuple[Program, Engine]) -> None:
    """Text as it is, a choice, and a form by its fields."""
    program, engine = asked
    handle = engine.get("ask-1")
    for words in (["Ada"], ["40"], ["good=yes", "stars=5"]):
        (question,) = until(handle.asks, engine.store)
        assert f"answered {question.id} of ask-1" == program.done("answer", "ask-1", question.id, *words)
        assert question.id not in {each.id for each in handle.asks()}

    assert ["Ada", 40, True, 5, ""] == handle.result(PATIENCE)


@pytest.mark.parametrize(
    ("word", "code", "sentence"),
    [
        ("ada", 1, "question '1' of run ask-1 stays open, the answer was refused: ValueError: str 'ada' is not accepted"),
        ("a b", 1, "stays open"),
    ],
)
def test_a_refused_answer_says_why(asked: tuple[Program, Engine], word: str, code: int, sentence: str) -> None:
    """And the exit code is that of a no."""
    program, _ = asked
    said = program("answer", "ask-1", "1", word)

    assert (code, True) == (said.code, sentence in said.err)
    assert ["1"] == [question["ask"] for question in program("asks", "--json").json]


def test_a_question_that_is_not_open_cannot_be_answered(asked: tuple[Program, Engine]) -> None:
    """The open ones are named."""
    program, _ = asked
    said = program("answer", "ask-1", "7", "x")

    assert (1, "replay: question '7' of run ask-1 is closed: it was answered, given up or withdrawn, or never asked; open: 1\n") == (
        said.code,
        said.err,
    )


def test_an_answer_needs_a_value_where_no_terminal_asks_for_it(asked: tuple[Program, Engine]) -> None:
    """The error says what it would look like."""
    program, _ = asked
    said = program("answer", "ask-1", "1")

    assert (2, "replay: answer: no value was given; write one that is string\n") == (said.code, said.err)


@pytest.mark.parametrize(
    ("kind", "shown", "words", "read"),
    [
        (str, "string", ["3"], "3"),
        (int, "integer", ["3"], 3),
        (bool, "boolean", ["Yes"], True),
        (bool | None, "boolean | null", ["null"], None),
        (str | int, "string | integer", ["x"], "x"),
        (list[int], "array", ["[1, 2]"], [1, 2]),
        (Verdict, "{good: boolean, stars: integer, remark?: string}", ['{"good": true}'], {"good": True}),
        (Verdict, "{good: boolean, stars: integer, remark?: string}", ["good=no", "remark=a=b"], {"good": False, "remark": "a=b"}),
        (Any, "any JSON", ["some text"], "some text"),
    ],
)
def test_an_answer_is_read_by_its_schema(kind: Any, shown: str, words: list[str], read: Any) -> None:
    """As people write it."""
    schema = schema_of(kind)

    assert (shown, read) == (shape(schema, schema), read_answer(schema, words))


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        (int, ["three"], "answer: 'three' is no integer; write JSON"),
        (str, ["two", "words"], "answer: 2 words are no answer; put quotes around it"),
        (Verdict, ["bad=yes"], "answer: the form has no field 'bad'; its fields are good, stars, remark"),
    ],
)
def test_words_that_cannot_be_an_answer_are_refused(kind: Any, words: list[str], sentence: str) -> None:
    """Before anything is asked."""
    with pytest.raises(InvalidRequest) as caught:
        read_answer(schema_of(kind), words)

    assert str(caught.value).startswith(sentence)
