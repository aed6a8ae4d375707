"""Columns on the wire: whatever is sent comes back, in one type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_postgres import PostgresStore
from replay_postgres.arrays import Longs, LongsDumper, Octets, OctetsDumper, Shape, Texts, TextsDumper

pytestmark = pytest.mark.postgres

NUMBERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
TEXTS = st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
BYTES = st.lists(st.none() | st.binary())


def test_columns_come_back_as_they_were_sent(store: PostgresStore) -> None:
    """Numbers of any size, texts of any letters, bytes of any kind, and what is missing."""

    @given(NUMBERS, TEXTS, BYTES)
    def check(numbers: list[Any], texts: list[Any], octets: list[Any]) -> None:
        asked = (Longs(numbers), Texts(texts), Octets(octets))
        with store._pool.lent() as raw:
            assert [(numbers, texts, octets)] == raw.hot.ask("SELECT $1::int8[], $2::text[], $3::bytea[]", asked)

    check()


def test_a_batch_is_a_table(store: PostgresStore) -> None:
    """Its rows come back in order; an empty one has none."""
    shape = Shape("i", "place:number name data:octets") + "more"
    rows = [(1, "a", b"x", "y"), (2, "", b"", ""), (3, None, None, None)]
    with store._pool.lent() as raw:
        for some in (rows, rows[:1], [], rows * 50):
            assert some == raw.hot.ask(f"SELECT * FROM {shape.sql(1)}", shape.parameters(some))


@pytest.mark.parametrize(
    ("dumper", "column"),
    [(LongsDumper(Longs), Longs([2**63])), (LongsDumper(Longs), Longs([-(2**63) - 1, None])), (TextsDumper(Texts), Texts(["\ud800"]))],
)
def test_what_no_column_can_hold_is_refused(dumper: Any, column: Any) -> None:
    """Before it is sent."""
    with pytest.raises((OverflowError, UnicodeEncodeError)):
        dumper.dump(column)


def test_an_empty_column_has_its_type() -> None:
    """Or the server would have to guess."""
    columns = [LongsDumper(Longs).dump(Longs()), TextsDumper(Texts).dump(Texts()), OctetsDumper(Octets).dump(Octets())]

    assert [20, 25, 17] == [int.from_bytes(column[8:12], "big") for column in columns]
