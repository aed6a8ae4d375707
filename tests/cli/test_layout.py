"""Tables that fit."""

from __future__ import annotations

import io

from rich.console import Console

from replay.cli.layout import Cells, laid_out


def drawn(columns: list[Cells], width: int, left_out: tuple[str, ...] = (), cut: int | None = None) -> list[str]:
    """A table's lines, without heading."""
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(laid_out(columns, width, left_out, cut=cut)[0])
    return file.getvalue().splitlines()[2:]


NAME = Cells("name", ["charge", "ship"])
NOTE = Cells("note", ["n" * 20, "n" * 20])
VALUE = Cells("value", ["v" * 100, "w"], elastic=True)


def test_the_elastic_column_takes_what_is_left() -> None:
    """And is cut to it."""
    assert ["charge  " + "v" * 31 + "…", "ship    w"] == [line.rstrip() for line in drawn([NAME, VALUE], 40)]


def test_where_room_is_short_columns_go_in_order() -> None:
    """A column that names something stays."""
    assert "n" * 20 in drawn([NAME, NOTE, VALUE], 60, ("note",))[0]
    assert "n" not in drawn([NAME, NOTE, VALUE], 50, ("note",))[0]


def test_a_column_where_nothing_stands_is_left_out() -> None:
    """It would be a heading over nothing."""
    _, kept = laid_out([NAME, Cells("empty", ["", ""]), VALUE], 60)

    assert {"name", "value"} == kept


def test_a_wide_name_is_wrapped_and_not_cut() -> None:
    """Every character of it is there."""
    wide = "".join(map(str, range(40)))

    assert wide == "".join(line.split()[0] for line in drawn([Cells("id", [wide], most=24), Cells("v", ["x"], elastic=True)], 60))


def test_wide_characters_count_for_what_they_take() -> None:
    """A table with Chinese names does not fray."""
    lines = drawn([Cells("id", ["名前", "abcd"]), Cells("status", ["x", "y"])], 40)

    assert ["名前  x", "abcd  y"] == [line.rstrip() for line in lines]


def test_a_gap_is_marked() -> None:
    """Where rows are missing."""
    assert ["charge", "…", "ship"] == [line.split()[0] for line in drawn([NAME, VALUE], 40, cut=1)]
