"""``diff``: two journals, event by event, drawn side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from replay.cli import completing, options
from replay.cli.exits import Exit
from replay.cli.facts import event_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.recorded import Recorded, Shelf
from replay.cli.scene import Scene
from replay.cli.screen import facts, styled
from replay.cli.text import count, plain, shorten
from replay.cli.timeline import LOOKS, answer_of
from replay.model.comparison import Comparison, Verdict, compare, said_in
from replay.model.events import Event

SHOWN: Final = 100
"""Differences that are drawn."""
MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "other": ("≠", "red"),
    "only_a": ("-", "yellow"),
    "only_b": ("+", "yellow"),
    "moved": ("~", "dim"),
}
# ---- the verb -----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("a", shell_complete=completing.runs)
@click.argument("b", shell_complete=completing.runs)
@options.shared
@pass_scene
def diff(scene: Scene, a: str, b: str) -> None:
    """Compare two runs, event by event; exit code 1 when they differ.

    A and B are ids of runs, or files that `replay export` wrote.
    """
    with Shelf(scene) as shelf:
        one, other = shelf.take(a), shelf.take(b)
    found = compare(one.journal, other.journal)
    if scene.as_json:
        scene.document(_facts(one, other, found))
    else:
        _draw(scene, one, other, found)
    if not found.is_same:
        click.get_current_context().exit(Exit.NEGATIVE)


def _facts(one: Recorded, other: Recorded, found: Comparison) -> dict[str, Any]:
    return {
        "a": _side(one),
        "b": _side(other),
        "same": found.is_same,
        "agree": found.agree,
        "differences": [
            {
                "verdict": difference.verdict,
                "a": None if difference.a is None else event_facts(difference.a),
                "b": None if difference.b is None else event_facts(difference.b),
            }
            for difference in found.differences
        ],
    }


def _side(run: Recorded) -> dict[str, Any]:
    closing = run.closing
    return {
        "id": run.id,
        "workflow": run.workflow,
        "events": len(run.journal),
        "ended": None if closing is None else closing.kind,
        "result": None if closing is None else said_in(closing.payload),
    }


def _draw(scene: Scene, one: Recorded, other: Recorded, found: Comparison) -> None:
    screen = scene.screen
    screen.draw(facts([("a", _title(one)), ("b", _title(other))]))
    screen.gap()
    if found.is_same:
        screen.draw(f"all {count(found.agree, 'event')} agree")
        return
    screen.draw(f"#1 to #{found.agree} agree" if found.agree else "no event agrees")
    shown = found.differences[:SHOWN]
    styles = [f"bold {MARKS[one.verdict][1]}" if number == 0 else MARKS[one.verdict][1] for number, one in enumerate(shown)]
    columns = [
        Cells("", [MARKS[difference.verdict][0] for difference in shown], styles=styles),
        Cells("a", list(_texts(difference.a for difference in shown)), styles=styles, most=max(24, screen.width // 2 - 6)),
        Cells("b", list(_texts(difference.b for difference in shown)), styles=styles, elastic=True),
    ]
    screen.gap()
    screen.draw(laid_out(columns, screen.width)[0])
    if len(found.differences) > SHOWN:
        screen.draw(f"and {count(len(found.differences) - SHOWN, 'more difference')}")
    if found.elsewhere and all(difference.verdict != "moved" for difference in shown):
        screen.draw(styled(f"{count(found.elsewhere, 'event')} after that agree", "dim"))


def _title(run: Recorded) -> str:
    closing = run.closing
    ended = "open" if closing is None else f"{closing.kind} {shorten(answer_of(closing), 60)}".rstrip()
    return f"{plain(run.label)}  {plain(run.workflow)}  {count(len(run.journal), 'event')}  {ended}"


def _texts(some: Iterator[Event | None]) -> Iterator[str]:
    for event in some:
        if event is None:
            yield ""
            continue
        mark = LOOKS[event.kind].mark if event.kind in LOOKS else "?"
        said = shorten(answer_of(event), 200)
        yield f"#{event.seq} {mark} {plain(event.kind)} {plain(event.name)}  {said}".rstrip()
