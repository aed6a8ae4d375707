"""``whatif``: recorded runs again, in memory, with other answers, code or input, and a table of what becomes of them.

Rule 1: nothing recorded is touched; only what ``--live`` and ``--llm`` name is asked of the world.
Rule 2: the exit code says whether any run ends otherwise, so that a script can stand guard over prompts and code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli import completing, options
from replay.cli.arguments import read_arguments
from replay.cli.exits import Exit
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene, read_value
from replay.cli.recorded import Recorded, Shelf
from replay.cli.scene import Scene
from replay.cli.screen import STATUS_STYLES, progress
from replay.cli.text import count, plain
from replay.errors import InvalidRequest
from replay.model.budgets import dollars

if TYPE_CHECKING:
    from replay.client.replica import Recording
    from replay.client.whatif import Ending, Row, WhatIf


def _change(text: str) -> tuple[int | str, Any]:
    """``N=JSON`` or ``NAME=JSON``; what is no JSON is text."""
    name, value = options.pair(text)
    number = name.removeprefix("#")
    return int(number) if number.isdecimal() else name, read_value(value)


@click.command("whatif")
@click.argument("targets", nargs=-1, metavar="[FILE|ID]...", shell_complete=completing.runs)
@click.option("--of", "recorded", metavar="NAME", help="Runs of this workflow, newest first, instead of ids.")
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="With --of: how many.")
@click.option("--edit", "edits", multiple=True, type=_change, metavar="N|NAME=JSON", help="A new answer; may be repeated.")
@click.option("--stub", "stubs", multiple=True, type=_change, metavar="NAME=JSON", help="An answer instead of a step; may be repeated.")
@click.option("--live", multiple=True, metavar="NAME", help="A step that is really done, a child that is run again.")
@click.option("--llm", multiple=True, type=options.pair, metavar="KEY=VALUE", help="Ask models again: model=…, temperature=….")
@click.option("--arg", "named", multiple=True, type=options.pair, metavar="KEY=VALUE", help="Another argument, as JSON or text.")
@click.option("--workflow", metavar="NAME[@VERSION]", shell_complete=completing.workflows, help="Other code to drive.")
@options.modules
@options.shared
@pass_scene
def what_if(
    scene: Scene,
    targets: Sequence[str],
    recorded: str | None,
    limit: int,
    edits: Sequence[tuple[int | str, Any]],
    stubs: Sequence[tuple[str, Any]],
    live: Sequence[str],
    llm: Sequence[tuple[str, str]],
    named: Sequence[tuple[str, str]],
    workflow: str | None,
) -> None:
    """Run recorded runs again with other answers, and compare; exit code 1 when one ends otherwise.

    Runs are those of the store, by id, or files that `replay export` wrote. They are run in memory, without waiting; what was
    recorded is answered from the record, and nothing is really done but what --live and --llm name.
    """
    from replay.client.whatif import whatif

    if bool(targets) == (recorded is not None):
        raise InvalidRequest("whatif", "give files or ids, or --of WORKFLOW", "`replay whatif --of order --live classify`")
    scene.load()
    spec = scene.workflow(workflow) if workflow else None
    with Shelf(scene) as shelf:
        names = list(targets) if recorded is None else list(_runs_of(shelf, recorded, limit))
        found = [_recording(shelf, shelf.take(name)) for name in names]
        given = None
        if named and found:
            code: Any = spec or found[0].spec
            given = read_arguments(code.fn, code.arguments.signature, (), named)[1]
        with progress("what if", len(found), quiet=scene.as_json) as advance:
            report = whatif(
                found,
                edit=dict(edits),
                stub=dict(stubs),
                live=live,
                llm={key: read_value(value) for key, value in llm} or None,
                input=given,
                workflow=spec,
                progress=lambda _: advance(1),
            )
    if scene.as_json:
        scene.document(report_facts(report))
    else:
        _draw(scene, report)
    if report.changed:
        click.get_current_context().exit(Exit.NEGATIVE)


def _runs_of(shelf: Shelf, workflow: str, limit: int) -> Iterator[str]:
    page = shelf.client.find(workflow=workflow, limit=limit)
    return (run.key.id for run in page.runs)


def _recording(shelf: Shelf, run: Recorded) -> Recording:
    from replay.client.replica import Recording
    from replay.client.travel import spec_for
    from replay.client.whatif import recording_of

    if run.label == run.id:
        return recording_of(shelf.client.get(run.id))
    return Recording(run=run.id, spec=spec_for(run.workflow, run.version), journal=run.journal)


def _draw(scene: Scene, report: WhatIf) -> None:
    from replay.client.whatif import UNFINISHED

    rows = report.rows
    marks = ["=" if row.same else "≠" for row in rows]
    columns = [
        Cells("", marks, styles=["dim" if row.same else "bold red" for row in rows]),
        Cells("run", [plain(row.run) for row in rows], most=40),
        Cells("then", [plain(str(row.then)) for row in rows], styles=[_style(row.then) for row in rows], most=40),
        Cells("now", [plain(str(row.now)) for row in rows], styles=[_style(row.now) for row in rows], most=40),
        Cells("cost", [_cost(row) for row in rows], justify="right"),
        Cells("first difference", [plain(row.difference) for row in rows], elastic=True),
    ]
    scene.screen.draw(laid_out(columns, scene.screen.width, ("cost",))[0])
    scene.screen.gap()
    for row in rows:
        if row.now.status in UNFINISHED and row.notes:
            scene.screen.draw(plain(f"{row.run} is {row.now.status}: {'; '.join(row.notes)}"))
    scene.screen.draw(f"{count(len(rows), 'run')}, {len(report.changed)} end otherwise; cost {report.then} then, {report.now} now")


def _style(ending: Ending) -> str:
    return STATUS_STYLES.get(ending.status, "yellow")


def _cost(row: Row) -> str:
    then, now = row.then.spent, row.now.spent
    return "" if not (then.calls or now.calls) else f"{dollars(then.usd)} → {dollars(now.usd)}"


def report_facts(report: WhatIf) -> dict[str, Any]:
    """A report for programs."""
    return {
        "runs": len(report.rows),
        "changed": len(report.changed),
        "cost": {"then": report.then.usd, "now": report.now.usd},
        "rows": [
            {
                "run": row.run,
                "workflow": row.workflow,
                "same": row.same,
                "then": _ending_facts(row.then),
                "now": _ending_facts(row.now),
                "changes": [
                    {"command": change.command, "name": change.name, "then": change.then, "now": change.now} for change in row.changes
                ],
                "notes": list(row.notes),
            }
            for row in report.rows
        ],
    }


def _ending_facts(ending: Ending) -> dict[str, Any]:
    spent = ending.spent
    return {
        "status": ending.status,
        "value": ending.value,
        "events": ending.events,
        "cost": spent.usd,
        "unpriced": spent.unpriced,
        "tokens": spent.tokens,
    }
