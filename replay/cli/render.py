"""A journal as text: the timeline that ``inspect`` draws, and a moment of a run with its source."""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from typing import Any, Final

from replay.cli.layout import Cells, laid_out
from replay.cli.looking import place
from replay.cli.screen import styled, table
from replay.cli.text import compact, local, plain, shorten, span
from replay.cli.timeline import Axis, Row, rows
from replay.model.events import Event

CONTEXT: Final = 4
"""Source lines shown before and after the one where a run stands."""
VALUE: Final = 400
"""Characters of a variable that are shown."""
LEFT_OUT: Final = ("line", "command", "chart", "time", "took", "+")
"""Columns that go when there is too little room, first those that matter least."""
NARROW: Final = {"name": 28, "command": 12, "line": 28, "chart": 32}
"""The widest that a cell may be."""


def timeline(journal: Sequence[Event], asked_at: Mapping[int, int], *, width: int, limit: int) -> tuple[Any, list[str]]:
    """A journal as a table with a chart, and what is to be said about it.

    Args:
        journal: The events.
        asked_at: When what an event answers was asked for, by seq.
        width: Columns there are.
        limit: Rows there may be; those in the middle are left out.
    """
    everything = rows(journal, asked_at)
    head = limit - limit // 2
    shown = everything if len(everything) <= limit else everything[:head] + everything[-(limit // 2) :]
    axis = Axis(shown, min(NARROW["chart"], max(8, width // 6)))
    is_cut = len(shown) < len(everything)
    drawn, kept = laid_out(_columns(shown, axis), width, LEFT_OUT, cut=head if is_cut else None)
    notes = []
    if is_cut:
        notes.append(f"{len(everything) - len(shown):,} events in the middle are not shown: --limit N or --all")
    if axis.is_cut and "chart" in kept:
        notes.append("long waits are drawn short")
    return drawn, notes


def _columns(shown: Sequence[Row], axis: Axis) -> list[Cells]:
    events = [row.event for row in shown]
    several_days = len({local(event.at).date() for event in events}) > 1
    styles = [row.look.style for row in shown]
    tried = any(event.attempt > 1 for event in events)
    return [
        Cells("#", [str(event.seq) for event in events], "right"),
        Cells("time", [_time(event.at, several_days=several_days) for event in events], styles="dim"),
        Cells("+", [span(row.delta) if row.delta else "" for row in shown], "right", "dim"),
        Cells("kind", [f"{row.look.mark} {plain(row.event.kind)}" for row in shown], styles=styles),
        Cells("name", [shorten(plain(event.name), NARROW["name"]) for event in events]),
        Cells("command", [shorten(event.command, NARROW["command"]) for event in events]),
        Cells("try", [str(event.attempt or "") if tried else "" for event in events], "right"),
        Cells("took", [span(event.duration) if event.duration else "" for event in events], "right"),
        Cells("chart", [axis.bar(row) for row in shown], styles=styles, heading=""),
        Cells("value", [row.answer for row in shown], elastic=True),
        Cells("line", [_tail(place(event.line), NARROW["line"]) for event in events], styles="dim"),
    ]


def _tail(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def _time(at: int, *, several_days: bool) -> str:
    moment = local(at)
    if several_days:
        return f"{moment:%m-%d %H:%M:%S}"
    return f"{moment:%H:%M:%S}.{at % 1_000_000 // 1_000:03d}"


def source(line: str) -> list[tuple[int, str, bool]]:
    """Source around a ``file:line``: number, text, and whether it is that line; nothing when the file is not at hand."""
    path, _, number = line.rpartition(":")
    if not number.isdecimal():
        return []
    at = int(number)
    found = [(here, linecache.getline(path, here)) for here in range(max(1, at - CONTEXT), at + CONTEXT + 1)]
    return [(here, text.rstrip("\n"), here == at) for here, text in found if text]


def source_lines(line: str) -> list[Any]:
    """Source around a line, drawn."""
    found = source(line)
    digits = len(str(found[-1][0])) if found else 0
    return [
        styled(f"{'→' if is_here else ' '} {number:>{digits}}  {plain(text, keep=chr(9)).expandtabs(4)}", "bold" if is_here else "dim")
        for number, text, is_here in found
    ]


def variables_table(variables: Mapping[str, Any], classes: Mapping[str, str]) -> Any:
    """Local variables, drawn."""
    columns: list[tuple[str, dict[str, Any]]] = [
        ("variable", {"no_wrap": True}),
        ("type", {"no_wrap": True, "style": "dim"}),
        ("value", {"overflow": "fold"}),
    ]
    made = [(plain(name), plain(classes[name]), shorten(compact(value), VALUE)) for name, value in variables.items()]
    return table(columns, made)
