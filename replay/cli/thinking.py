"""``ledger``: what a run has thought, decided, spent and been told; ``review``: what people say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from replay.cli import completing, options
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import facts
from replay.cli.text import compact, iso, local, plain, shorten, span
from replay.model.ledger import STATUSES
from replay.model.names import SECOND

if TYPE_CHECKING:
    from replay.model.health import Health
    from replay.model.ledger import Entry, Ledger

MARKS = {"approved": "✓", "rejected": "✗", "needs revision": "↻"}
STYLES = {"✓": "green", "✗": "red", "↻": "yellow", "": ""}


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only entries of this kind; may be repeated.")
@click.option("--entry", metavar="ENTRY", help="One entry, with its whole text.")
@click.option("--context", is_flag=True, help="What an agent that takes over should read.")
@click.option("--budget", type=float, metavar="DOLLARS", help="What the run may spend, for its health.")
@options.shared
@pass_scene
def ledger(scene: Scene, id: str, kinds: Sequence[str], entry: str | None, context: bool, budget: float | None) -> None:  # noqa: FBT001 - click passes it by name
    """What a run has thought, decided, spent and been told, and whether its thinking goes well."""
    with scene.run(id) as handle:
        if entry is not None:
            text = handle.raw(entry)
            scene.document({"run": id, "entry": entry, "text": text}) if scene.as_json else scene.say(plain(text, keep="\n\t"))
            return
        found, health = handle.ledger(), handle.health(budget=budget)
    if context:
        scene.document({"run": id, "context": found.context()}) if scene.as_json else scene.say(plain(found.context(), keep="\n\t"))
        return
    timeline = [each for each in found.timeline if not kinds or each.kind in kinds]
    if scene.as_json:
        scene.document(ledger_facts(found, timeline, health))
    else:
        _draw(scene, found, timeline, health)


def ledger_facts(found: Ledger, timeline: Sequence[Entry], health: Health) -> dict[str, Any]:
    """A ledger for programs."""
    return {
        **found.summary,
        "focus": attrs.asdict(found.focus),
        "timeline": [{**attrs.asdict(entry), "at": iso(entry.at)} for entry in timeline],
        "costs": {name: attrs.asdict(cost) for name, cost in found.costs.items()},
        "health": attrs.asdict(health),
    }


def _draw(scene: Scene, found: Ledger, timeline: Sequence[Entry], health: Health) -> None:
    screen, focus = scene.screen, found.focus
    seconds = sum(cost.seconds for cost in found.costs.values())
    screen.draw(
        facts(
            [
                ("run", plain(f"{found.run}  {found.workflow}  {found.status}")),
                ("goal", plain(focus.goal)),
                ("decisions", plain("\n".join(focus.decisions), keep="\n")),
                ("hypotheses", plain("\n".join(focus.hypotheses), keep="\n")),
                ("questions", plain("\n".join(focus.questions), keep="\n")),
                ("next step", plain(focus.next_step)),
                ("cost", f"{found.spent}, {span(seconds * SECOND)} in steps" if found.costs else ""),
            ]
        )
    )
    if timeline:
        marks = ["" if entry.review is None else MARKS.get(entry.review.status, "?") for entry in timeline]
        columns = [
            Cells("entry", [plain(entry.id) for entry in timeline], styles="bold"),
            Cells("at", [f"{local(entry.at):%H:%M:%S}" for entry in timeline], styles="dim"),
            Cells("kind", [plain(entry.kind) for entry in timeline], styles="cyan"),
            Cells("", marks, styles=[STYLES.get(mark, "") for mark in marks]),
            Cells("says", [plain(_said(entry)) for entry in timeline], elastic=True),
        ]
        screen.gap()
        screen.draw(laid_out(columns, screen.width, ("at",))[0])
    for advice in health.advice:
        screen.gap()
        screen.draw(facts([("advice", f"{advice.do}: {plain(advice.why)}"), ("", advice.recipe)]))


def _said(entry: Entry) -> str:
    review = entry.review
    said = shorten(" ".join(entry.text.split()), 200)
    fields = compact(dict(entry.fields)) if entry.fields and entry.kind in {"signal", "update"} else ""
    told = f"  [{review.status}{': ' + review.feedback if review.feedback else ''}]" if review is not None else ""
    return f"{said} {fields}".rstrip() + told


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.argument("entry")
@click.argument("status", type=click.Choice(STATUSES))
@click.argument("feedback", default="")
@click.option("--by", default="", metavar="NAME", help="Who says so.")
@click.option("--timeout", type=options.duration, default="30s", show_default=True, help="How long to wait for a worker to take it.")
@options.shared
@pass_scene
def review(scene: Scene, id: str, entry: str, status: str, feedback: str, by: str, timeout: float) -> None:
    """Say of an entry of a run's ledger that it is approved, rejected, or needs revision.

    An open run is told, when its workflow keeps a recall; of one that has ended it is noted beside its journal.
    """
    with scene.run(id) as handle:
        handle.review(entry, status, feedback, by=by, timeout=timeout)
        if scene.as_json:
            scene.document({"id": handle.id, "entry": entry, "status": status})
        else:
            scene.say(f"{plain(entry)} of {plain(handle.id)}: {status}")
