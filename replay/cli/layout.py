"""Tables that fit: columns are as wide as what stands in them, one takes what is left, and where there is too little room columns go.

Rule 1: a column that names something is never cut, at most wrapped; one that tells something may be left out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs

from replay.cli.screen import cut_to, styled, table

GAP: Final = 2
"""Columns of the terminal between two cells."""
ELASTIC_LEAST: Final = 24
"""What the elastic column gets before others are left out."""


@attrs.frozen(slots=False)
class Cells:
    """One column.

    Attributes:
        key: Its name; also its heading, unless ``heading`` says otherwise.
        texts: What stands in it, from the first row on.
        justify: On which side.
        styles: How; one for all, or one for each.
        heading: What stands above it.
        most: The widest that it may be; what is wider is wrapped.
        elastic: Whether it takes what is left, and is cut to that.
    """

    key: str
    texts: Sequence[str]
    justify: Literal["left", "right"] = "left"
    styles: Sequence[str] | str = ""
    heading: str | None = None
    most: int = 1 << 30
    elastic: bool = False

    @property
    def shown(self) -> str:
        """Its heading."""
        return self.key if self.heading is None else self.heading

    @functools.cached_property
    def width(self) -> int:
        """How wide it is."""
        from rich.cells import cell_len

        return min(self.most, max(map(cell_len, [self.shown, *self.texts])))

    def cell(self, number: int, room: int) -> Any:
        """What stands in one row."""
        style = self.styles if isinstance(self.styles, str) else self.styles[number]
        return cut_to(self.texts[number], room, style) if self.elastic else styled(self.texts[number], style)


def laid_out(columns: Sequence[Cells], width: int, left_out: Sequence[str] = (), *, cut: int | None = None) -> tuple[Any, set[str]]:
    """A table of columns.

    Args:
        columns: The columns; those where nothing stands are left out.
        width: Columns of the terminal.
        left_out: Keys of columns that go when there is too little room, first those that matter least.
        cut: Row before which a row of dots says that something is missing.

    Returns:
        The table, and the keys of the columns that are in it.
    """
    kept = [column for column in columns if any(column.texts)]
    for key in left_out:
        if _room(kept, width) >= ELASTIC_LEAST:
            break
        kept = [column for column in kept if column.key != key]
    room = max(8, _room(kept, width))
    made = table([(column.shown, _settings(column)) for column in kept], [])
    for number in range(len(kept[0].texts) if kept else 0):
        if number == cut:
            made.add_row(*["…" for _ in kept], style="dim")
        made.add_row(*[column.cell(number, room) for column in kept])
    return made, {column.key for column in kept}


def _room(columns: Sequence[Cells], width: int) -> int:
    """What is left for the elastic column."""
    fixed = [column.width + GAP for column in columns if not column.elastic]
    return width - sum(fixed) + (GAP if len(fixed) == len(columns) else 0)


def _settings(column: Cells) -> dict[str, Any]:
    wraps = column.most < 1 << 30
    return {
        "justify": column.justify,
        "no_wrap": not wraps,
        "overflow": "fold" if wraps else "ellipsis",
        "max_width": column.most if wraps else None,
    }
