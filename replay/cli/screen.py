"""The terminal: rich, loaded when something is drawn, and told to take every text as it is.

Rule 1: no markup, no emoji codes, no highlighting: texts come from journals.
Rule 2: no colour where nobody sees it (``NO_COLOR``, a pipe), and no line cut short for a terminal that is none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WIDE: Final = 160
"""Columns of an output that is no terminal, unless ``COLUMNS`` says otherwise."""
DULL: Final = "dim"
STATUS_STYLES: Final = {
    "pending": "cyan",
    "running": "blue",
    "waiting": "cyan",
    "paused": "yellow",
    "stuck": "bold red",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "terminated": "yellow",
    "continued": "green",
}


class Screen:
    """What is drawn goes here."""

    @functools.cached_property
    def console(self) -> Console:
        """Standard output, as rich knows it."""
        from rich.console import Console

        return Console(
            file=sys.stdout,
            width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def width(self) -> int:
        """Columns."""
        return self.console.width

    def draw(self, *things: RenderableType) -> None:
        """Draw one below the other."""
        for thing in things:
            self.console.print(thing, soft_wrap=isinstance(thing, str))

    def gap(self) -> None:
        """An empty line."""
        self.console.print()


def table(columns: Sequence[tuple[str, dict[str, Any]]], rows: Iterable[Sequence[Any]]) -> Table:
    """A table without frames; a column is a heading and what rich needs to know of it."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading, settings in columns:
        made.add_column(heading, **settings)
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: Iterable[tuple[str, RenderableType | None]]) -> Table:
    """Names and values, one pair a line; pairs without a value are left out."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style=DULL, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            made.add_row(name, value)
    return made


def styled(text: str, style: str) -> Any:
    """A text in a style."""
    from rich.text import Text

    return Text(text, style)


def cut_to(text: str, width: int, style: str = "") -> Any:
    """A text cut to so many columns of the terminal; only as much of it is looked at."""
    from rich.text import Text

    made = Text(text[: width + 1], style, no_wrap=True)
    made.truncate(width, overflow="ellipsis")
    return made


def status_text(status: str) -> Any:
    """A status in its colour."""
    return styled(status, STATUS_STYLES.get(status, ""))


@contextlib.contextmanager
def progress(label: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for work that takes a while; nothing where no terminal shows it.

    Args:
        label: What is done.
        total: How many steps it has, or None when nobody knows.
        quiet: Whether nothing is to be shown anyway.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)
