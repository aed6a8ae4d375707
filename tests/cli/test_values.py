"""Words of the command line as values."""

from __future__ import annotations

import datetime
from typing import Any

import click
import pytest

from replay.cli import options
from replay.cli.arguments import read_call
from replay.errors import InvalidRequest, PayloadError, ReplayError
from tests.cli.shop import Cart, echo, order, total


def arguments(workflow: Any, *texts: str, whole: str | None = None, **named: str) -> tuple[Any, Any]:
    """What the workflow would be called with."""
    call = read_call(workflow, texts, list(named.items()), whole)
    args, kwargs = workflow.arguments.decode(call.payload)
    return tuple(args), kwargs


@pytest.mark.parametrize(
    ("text", "expected"),
    [("42", "42"), ('"quoted"', "quoted"), ("null", "null"), ("plain words", "plain words"), ("", ""), ("ünï 🎈", "ünï 🎈")],
)
def test_a_text_parameter_takes_a_word_as_it_stands(text: str, expected: str) -> None:
    """Nobody must quote a text twice, though one may."""
    assert ((expected,), {}) == arguments(echo, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("42", 42), ("null", None), ("[1, 2]", [1, 2]), ("{}", {}), ("NaN", "NaN"), ("words", "words"), ("0", 0), ("false", False)],
)
def test_a_parameter_of_any_type_takes_json_or_text(text: str, expected: Any) -> None:
    """Falsy values stay what they are; what is no JSON is text."""
    assert {"value": expected} == arguments(echo, value=text)[1]


def test_values_become_what_annotations_say() -> None:
    """An object becomes the class, positions beyond the last go to `*numbers`."""
    assert ((Cart("visa", 5),), {}) == arguments(order, '{"card": "visa", "cents": 5}')
    assert ((1, 2, 3), {"label": "7"}) == arguments(total, "1", "2", "3", label="7")


@pytest.mark.parametrize("whole", ["[1, 2]", '{"args": [1, 2]}'])
def test_all_arguments_can_be_given_at_once(whole: str) -> None:
    """As a list."""
    assert ((1, 2), {}) == arguments(total, whole=whole)


def test_all_arguments_can_be_given_by_name() -> None:
    """As an object."""
    assert Cart("visa", 5) in [*arguments(order, whole='{"cart": {"card": "visa", "cents": 5}}')[0], None]


@pytest.mark.parametrize(
    ("workflow", "texts", "whole", "words"),
    [
        (order, ['{"card": "visa", "cents": "x"}'], None, ["argument 'cart'", "$.cents", "expected int"]),
        (order, [], None, ["cli-order", "missing", "its signature is cli-order(cart:"]),
        (order, ["{}", "{}"], None, ["argument"]),
        (total, ["x"], None, ["argument 'numbers'", "expected int, got str 'x'"]),
        (total, [], "7", ["--input", "expected a JSON list or object, got int"]),
        (total, [], "[1", ["--input", "it is no JSON"]),
        (total, ["1"], "[1]", ["--input", "arguments were given besides it"]),
        (total, [], '["x"]', ["expected int"]),
    ],
)
def test_arguments_that_do_not_fit_are_told(workflow: Any, texts: list[str], whole: str | None, words: list[str]) -> None:
    """Which one, what was expected, and what came; before anything is started."""
    with pytest.raises((InvalidRequest, PayloadError)) as caught:
        read_call(workflow, texts, [], whole)

    assert [] == [word for word in words if word not in str(caught.value)]
    assert isinstance(caught.value, ReplayError)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("200ms", 0.2), ("5m", 300), ("5 min", 300), ("2h", 7200), ("1w", 604_800)]
)
def test_durations_are_written_as_people_do(text: str, seconds: float) -> None:
    """Seconds, unless a unit says otherwise."""
    assert pytest.approx(seconds) == options.duration(text)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1y", "1h30"])
def test_what_is_no_duration_is_told(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(click.BadParameter, match="write 90, 1"):
        options.duration(text)


def test_a_moment_is_some_time_ago_or_a_date() -> None:
    """Both become microseconds UTC."""
    now = datetime.datetime.now(datetime.UTC).timestamp() * 1e6

    assert pytest.approx(now - 7200e6, abs=60e6) == options.time("2h")
    assert 1_767_225_600_000_000 == options.time("2026-01-01T00:00Z")


@pytest.mark.parametrize("text", ["", "17", "yesterday", "2026-13-01", "9999999999d"])
def test_what_is_no_moment_is_told(text: str) -> None:
    """A bare number could mean anything."""
    with pytest.raises(click.BadParameter, match="is no time"):
        options.time(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("3=true", (3, True)), ('#3="x=y"', (3, "x=y")), ("12=null", (12, None)), ("1={}", (1, {}))]
)
def test_an_edit_is_a_number_and_json(text: str, expected: tuple[int, Any]) -> None:
    """The answer may hold an equals sign."""
    assert expected == options.edit(text)


@pytest.mark.parametrize("text", ["3", "x=1", "3=words", "=1", "-1=1"])
def test_what_is_no_edit_is_told(text: str) -> None:
    """A text must be quoted here: a slip would rewrite history."""
    with pytest.raises(click.BadParameter):
        options.edit(text)


@pytest.mark.parametrize(("text", "expected"), [("a=b", ("a", "b")), ("a=", ("a", "")), ("a=b=c", ("a", "b=c"))])
def test_a_pair_is_split_at_the_first_equals_sign(text: str, expected: tuple[str, str]) -> None:
    """Values may be empty and may hold more of them."""
    assert expected == options.pair(text)
