"""Canonical JSON: one value, one spelling."""

from __future__ import annotations

import enum
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import PayloadError
from replay.model.codec import MAX_DEPTH, from_json, to_json
from tests.model.shapes import Level, Pair, Size, dicts, plain, texts


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        (b"null", None),
        (b"[true,false]", [True, False]),
        (b'{"A":1,"a":2,"b":{"c":[]},"\xc3\xa9":3,"\xf0\x9f\x98\x80":4}', {"é": 3, "b": {"c": []}, "😀": 4, "a": 2, "A": 1}),
        (b"[1,2]", (1, 2)),
        (b'"\\u0000\\n\\"\\\\/\xe2\x80\xa8\x7f"', '\0\n"\\/\u2028\x7f'),
        (b"1", 1.0),
        (b"-3", -3.0),
        (b"0", 0.0),
        (b"-0.0", -0.0),
        (b"9007199254740991", 2.0**53 - 1),
        (b"9007199254740992.0", 2.0**53),
        (b"1e+16", 1e16),
        (b"1e+308", 1e308),
        (b"0.1", 0.1),
        (b"5e-324", 5e-324),
        (b"9007199254740993", 2**53 + 1),
        (b'["v1.0",{"2.0":1},1,1.05]', ["v1.0", {"2.0": 1.0}, 1.0, 1.05]),
        (b'["s",1]', [Size.S, Level.LOW]),
    ],
)
def test_a_value_has_one_spelling(spelling: bytes, value: object) -> None:
    """What TypeScript and Go write for the same value, byte for byte."""
    assert spelling == to_json(value)


@given(plain)
def test_what_was_read_is_written_as_it_was(value: object) -> None:
    """Bytes, once canonical, stay."""
    data = to_json(value)

    assert data == to_json(from_json(data))
    assert value == from_json(data)


@given(dicts(texts, plain))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    """Equal dicts are equal bytes."""
    assert to_json(value) == to_json(dict(reversed(value.items())))


@given(plain)
def test_the_standard_reader_agrees(value: object) -> None:
    """Canonical JSON is JSON."""
    assert value == json.loads(to_json(value))


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("path", "expected", "value"),
    [
        ("$", "a finite number", math.nan),
        ("$.a[1]", "a finite number", {"a": [0, -math.inf]}),
        ("$[0]['b c']", "valid Unicode", [{"b c": "\ud800"}]),
        ("$", "valid Unicode", {"\udfff": 1}),
        ("$", "str keys", {1: 2}),
        ("$.a", "str keys", {"a": {None: 2}}),
        ("$[1]", "plain JSON", [1, {1, 2}]),
        ("$.when", "plain JSON", {"when": b"bytes"}),
        ("$[0]", "plain JSON", [Pair(1)]),
        ("$[0]", "plain JSON", [Colour.RED]),
        pytest.param("$", "a number of bounded length", 10**5000, id="digits"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(path: str, expected: str, value: object) -> None:
    """Nothing is guessed, dropped or turned into text."""
    with pytest.raises(PayloadError) as caught:
        to_json(value)

    assert (path, expected) == (caught.value.path, caught.value.expected)


@pytest.mark.parametrize("value", [len, (x for x in (1,)), sys, iter([])])
def test_what_lives_in_this_process_is_said_to_be_no_data(value: object) -> None:
    """The advice is not to annotate it."""
    with pytest.raises(PayloadError, match="it is no data"):
        to_json([value])


def test_nesting_is_bounded_when_written() -> None:
    """What was written can be read on a fuller stack."""
    value: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]

    assert value == from_json(to_json(value))
    with pytest.raises(PayloadError, match=f"at most {MAX_DEPTH} levels"):
        to_json([value])


def test_a_value_that_contains_itself_is_refused() -> None:
    """Neither a crash of the stack nor an endless loop."""
    value: dict[str, Any] = {}
    value["self"] = [value, value]

    with pytest.raises(PayloadError, match="contains itself"):
        to_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"01",
        b"1 2",
        b"{'a':1}",
        b'"\xff"',
        b'"\n"',
        b"[1,]",
        b"\xef\xbb\xbf1",
    ],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Reading is strict."""
    with pytest.raises(PayloadError) as caught:
        from_json(data)

    assert "JSON" == caught.value.where


def test_endless_nesting_is_refused_when_read() -> None:
    """A hostile text is an error, not a RecursionError."""
    with pytest.raises(PayloadError, match="deeper nesting"):
        from_json(b"[" * 100_000)


def test_white_space_is_read() -> None:
    """People write JSON too."""
    assert {"a": [1]} == from_json(b' {"a": [ 1 ]}\n')


@given(st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No other error comes out."""
    try:
        from_json(data)
    except PayloadError:
        return


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Sets and dicts are ordered by what they hold."""
    script = (
        "from replay.model.codec import payload_codec as codec\n"
        "words = 'the quick brown fox jumps over the lazy dog'.split()\n"
        "print(codec(set[str]).encode(set(words), ''), codec(dict[str, int]).encode(dict.fromkeys(set(words), 1), ''))"
    )

    def printed(seed: int) -> str:
        run = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True
        )
        return run.stdout

    assert printed(1) == printed(2)
