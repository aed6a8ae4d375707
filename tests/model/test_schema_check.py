"""Values against schemas: what fits, and the sentence that says why something does not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.model.codec import from_json, payload_codec
from replay.model.schema import schema_of
from replay.model.schema_check import DEPTH, misfit


@attrs.frozen
class Leaf:
    """A tree of these contains itself."""

    size: int
    next: Leaf | None = None


class Pair(NamedTuple):
    left: int
    right: str = ""


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (int, 1.5, "answer must be an integer, got float 1.5"),
        (int, True, "answer must be an integer, got bool True"),
        (None, 0, "answer must be null, got int 0"),
        (Literal[1, 2], True, "answer must be one of 1, 2, got bool True"),
        (Literal["x"], "y", "answer must be 'x', got str 'y'"),
        (int | str, [], "answer must be an integer, got list []; or answer must be a string, got list []"),
        (list[int], [1, "2"], "answer[1] must be an integer, got str '2'"),
        (tuple[int, str], [1], "answer needs at least 2 items, got 1"),
        (tuple[int, str], [1, "a", 2], "answer takes at most 2 items, got 3"),
        (tuple[int, str], [1, 2], "answer[1] must be a string, got int 2"),
        (dict[str, int], {"a": "b"}, "answer.a must be an integer, got str 'b'"),
        (Leaf, {"size": 1, "next": {"size": "x"}}, "answer.next"),
        (Leaf, {}, "answer lacks 'size'"),
        (Pair, ["x"], "answer[0] must be an integer, got str 'x'"),
    ],
)
def test_the_first_misfit_is_told_with_its_place(kind: Any, value: Any, sentence: str) -> None:
    """Both sides are shown."""
    assert misfit(schema_of(kind), value).startswith(sentence)


def test_a_value_that_is_too_deep_is_refused() -> None:
    """Not looked at."""
    value: dict[str, Any] = {"size": 1}
    for _ in range(DEPTH):
        value = {"size": 1, "next": value}

    assert f"is nested more than {DEPTH} deep" in misfit(schema_of(Leaf), value)


def test_a_keyword_that_is_not_known_demands_nothing() -> None:
    """Another language's schema may have more to say; the workflow has the last word."""
    assert ["", ""] == [misfit({"pattern": "^a"}, "b"), misfit({"type": "colour"}, 3)]


@given(
    st.one_of(
        st.tuples(st.just(int), st.integers()),
        st.tuples(st.just(list[bool | None]), st.lists(st.sampled_from([True, False, None]))),
        st.tuples(st.just(dict[str, Decimal]), st.dictionaries(st.text(), st.decimals(allow_nan=False))),
        st.tuples(st.just(Leaf), st.builds(Leaf, st.integers(), st.builds(Leaf, st.integers()))),
        st.tuples(st.just(set[int]), st.sets(st.integers())),
        st.tuples(st.just(Pair), st.builds(Pair, st.integers(), st.text())),
    )
)
def test_what_the_codec_writes_fits_its_schema(given: tuple[Any, Any]) -> None:
    """Whatever the annotation."""
    kind, value = given
    written = from_json(payload_codec(kind).encode(value, "value"))

    assert "" == misfit(schema_of(kind), written)
