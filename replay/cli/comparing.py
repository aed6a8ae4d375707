"""``diff``: two journals, event by event.

Rule 1: what counts is what replay reads. Moments, attempts, durations, workers and tracebacks differ between any two runs and are
not compared; nor is what names the run itself.
Rule 2: up to the first difference events are paired by place, after it by what they answer, so that one event more or less does not
make all others look different.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final, Literal

import attrs
import click

from replay.cli import completing, options
from replay.cli.exits import Exit
from replay.cli.facts import event_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.recorded import Recorded, Shelf
from replay.cli.scene import Scene
from replay.cli.screen import facts, styled
from replay.cli.text import count, data, plain, shorten
from replay.cli.timeline import LOOKS, answer_of
from replay.model import events
from replay.model.codec import to_json
from replay.model.events import Event

SHOWN: Final = 100
"""Differences that are drawn."""
Verdict = Literal["other", "only_a", "only_b", "moved"]
MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "other": ("≠", "red"),
    "only_a": ("-", "yellow"),
    "only_b": ("+", "yellow"),
    "moved": ("~", "dim"),
}
_IDENTITY: Final = frozenset({"seed", "parent", "parent_command", "deadline", "tags", "namespace", "mail", "chain"})
_FAILED: Final = frozenset({events.STEP_FAILED, events.STEP_ATTEMPT_FAILED, events.CHILD_FAILED, events.FAILED})


@attrs.frozen
class Difference:
    """One place where two journals differ.

    Attributes:
        verdict: How: another answer, only in one of them, or the same at another place.
        a: The event of the first journal, or None.
        b: That of the second.
    """

    verdict: Verdict
    a: Event | None
    b: Event | None


@attrs.frozen
class Comparison:
    """What two journals have in common.

    Attributes:
        agree: How many events they begin with that are the same.
        differences: All that differs after that.
        elsewhere: How many events after that are the same though at another place.
    """

    agree: int
    differences: Sequence[Difference]
    elsewhere: int

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and not self.elsewhere


def compare(a: Sequence[Event], b: Sequence[Event]) -> Comparison:
    """Compare two journals."""
    agree = sum(1 for _ in itertools.takewhile(lambda pair: essence(pair[0]) == essence(pair[1]), zip(a, b, strict=False)))
    rest_a, rest_b = _named(a[agree:]), _named(b[agree:])
    found: list[Difference] = []
    moved: list[Difference] = []
    for key, event in rest_a.items():
        other = rest_b.get(key)
        if other is None:
            found.append(Difference("only_a", event, None))
        elif essence(event) != essence(other):
            found.append(Difference("other", event, other))
        else:
            moved.append(Difference("moved", event, other))
    found += [Difference("only_b", None, event) for key, event in rest_b.items() if key not in rest_a]
    if not found:  # the same answers in another order
        found = [pair for pair in moved if pair.a is not None and pair.b is not None and pair.a.seq != pair.b.seq]
    return Comparison(agree, sorted(found, key=_place), len(moved))


def essence(event: Event) -> tuple[Any, ...]:
    """What counts of an event."""
    payload: Any = event.payload
    if event.kind == events.STARTED or event.kind in _FAILED:
        said = data(event.payload)
        if isinstance(said, dict):
            kept = {"type", "message"} if event.kind in _FAILED else said.keys() - _IDENTITY
            payload = to_json({key: said.get(key) for key in sorted(kept)})
    return event.kind, event.command, event.name, event.check, payload


def _named(journal: Sequence[Event]) -> dict[Hashable, Event]:
    """Events by what they answer, or by kind and name for those that answer nothing, numbered where that is not unique."""
    counts: Counter[Hashable] = Counter()
    named: dict[Hashable, Event] = {}
    for event in journal:
        what = event.command or ("closing" if event.kind in events.CLOSING else (event.kind, event.name))
        named[what, counts[what]] = event
        counts[what] += 1
    return named


def _place(difference: Difference) -> tuple[int, bool]:
    event = difference.a or difference.b
    return (event.seq if event else 0), difference.a is None


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
        "result": None if closing is None else data(closing.payload),
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
