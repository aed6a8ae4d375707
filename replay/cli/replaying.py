"""``replay``: drive recorded journals through today's code; the preflight of an upgrade.

Rule 1: a run is driven as recovery would drive it: from its newest savepoint with state, or from its beginning.
Rule 2: one journal that does not fit, or cannot be read, does not keep the others from being driven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from replay.cli import completing, options
from replay.cli.exits import Exit, code_of, facts_of
from replay.cli.facts import difference_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.looking import GROUPS, place
from replay.cli.options import pass_scene
from replay.cli.recorded import Recorded, Shelf
from replay.cli.scene import Scene
from replay.cli.screen import progress, styled
from replay.cli.text import plain, span
from replay.errors import InvalidRequest, ReplayError, WorkflowError

if TYPE_CHECKING:
    from replay.client.travel import ReplayReport

STYLES = {"fits": "green", "differs": "bold red", "error": "yellow"}


@attrs.frozen
class Verdict:
    """What became of one journal.

    Attributes:
        label: The run's id, or the file's name.
        run: What was driven, when it could be read.
        report: What driving it showed, when it could be driven.
        error: Why not.
    """

    label: str
    run: Recorded | None = None
    report: ReplayReport | None = None
    error: ReplayError | None = None

    @property
    def word(self) -> str:
        """``fits``, ``differs`` or ``error``."""
        if self.report is not None:
            return "fits" if self.report.fits else "differs"
        return "differs" if isinstance(self.error, WorkflowError) else "error"

    @property
    def trouble(self) -> ReplayError | None:
        """What is wrong, in full."""
        return self.error if self.report is None else self.report.difference


@click.command()
@click.argument("targets", nargs=-1, metavar="[FILE|ID]...", shell_complete=completing.runs)
@click.option("--all", "everything", is_flag=True, help="All open runs of the namespace.")
@click.option("--workflow", metavar="NAME", help="With --all: runs of this workflow.")
@click.option("--whole", is_flag=True, help="From the beginning, also where a savepoint with state would do.")
@options.modules
@options.shared
@pass_scene
def replay(scene: Scene, targets: Sequence[str], everything: bool, workflow: str | None, whole: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Drive recorded journals through today's code, without acting; exit code 1 when one does not fit.

    Journals are runs of the store, by id, or files that `replay export` wrote. With --all it tells, before an upgrade, which
    open runs the new code would not fit, and at which line.
    """
    if bool(targets) == everything:
        raise InvalidRequest("replay", "give files or ids, or --all", "`replay replay --all` drives all open runs")
    scene.load()
    with Shelf(scene) as shelf:
        total = None if everything else len(targets)
        labels = _open_runs(shelf, workflow) if everything else iter(targets)
        with progress("replaying", total, quiet=scene.as_json) as advance:
            verdicts = []
            for label in labels:
                verdicts.append(_judge(shelf, label, whole=whole))
                advance(1)
    if scene.as_json:
        scene.document({"verdicts": [_facts(verdict) for verdict in verdicts], "fit": all(v.word == "fits" for v in verdicts)})
    else:
        _draw(scene, verdicts)
    click.get_current_context().exit(_code(verdicts))


def _open_runs(shelf: Shelf, workflow: str | None) -> Iterator[str]:
    cursor = ""
    while True:
        page = shelf.client.find(workflow=workflow, status=GROUPS["open"], limit=500, cursor=cursor)
        yield from (run.key.id for run in page.runs)
        cursor = page.cursor
        if not cursor:
            return


def _judge(shelf: Shelf, label: str, *, whole: bool) -> Verdict:
    from replay.client.travel import replay_journal, spec_for

    run = None
    try:
        run = shelf.take(label)
        spec = spec_for(run.workflow, run.version)
        return Verdict(label, run, replay_journal(spec, run.id, run.journal, base=0 if whole else run.base))
    except ReplayError as error:
        return Verdict(label, run, error=error)


def _code(verdicts: Sequence[Verdict]) -> Exit:
    if any(verdict.word == "differs" for verdict in verdicts):
        return Exit.NEGATIVE
    return next((code_of(verdict.error) for verdict in verdicts if verdict.error is not None), Exit.OK)


def _facts(verdict: Verdict) -> dict[str, Any]:
    report = verdict.report
    return {
        "label": verdict.label,
        "id": None if verdict.run is None else verdict.run.id,
        "workflow": None if verdict.run is None else verdict.run.workflow,
        "verdict": verdict.word,
        "events": None if report is None else report.events,
        "seconds": None if report is None else report.seconds,
        "line": None if report is None else report.line,
        "pending": None if report is None else list(report.pending),
        "outcome": None if report is None else report.outcome,
        "difference": None if report is None else difference_facts(report.difference),
        "error": None if verdict.error is None else facts_of(verdict.error),
    }


def _draw(scene: Scene, verdicts: Sequence[Verdict]) -> None:
    screen = scene.screen
    for verdict in verdicts:
        if verdict.trouble is not None:
            screen.draw(styled(f"{verdict.word}: {plain(verdict.label)}", STYLES[verdict.word]))
            screen.draw(plain(str(verdict.trouble), keep="\n"))
            screen.gap()
    if not verdicts:
        scene.note("no runs are open")
        return
    reports = [verdict.report for verdict in verdicts]
    columns = [
        Cells("journal", [plain(verdict.label) for verdict in verdicts], most=max(24, screen.width // 2)),
        Cells("workflow", [plain(verdict.run.workflow) if verdict.run else "" for verdict in verdicts], most=32),
        Cells("verdict", [verdict.word for verdict in verdicts], styles=[STYLES[verdict.word] for verdict in verdicts]),
        Cells("events", [f"{report.events:,}" if report else "" for report in reports], "right"),
        Cells("took", [span(report.seconds * 1e6) if report else "" for report in reports], "right"),
        Cells("stands at", [_stands_at(report) for report in reports], styles="dim", elastic=True),
    ]
    screen.draw(laid_out(columns, screen.width, ("took", "events", "workflow"))[0])
    fitting = sum(verdict.word == "fits" for verdict in verdicts)
    scene.note(f"{fitting:,} of {len(verdicts):,} fit today's code")


def _stands_at(report: ReplayReport | None) -> str:
    if report is None:
        return ""
    if report.difference is not None:
        return f"#{report.difference.seq}"
    return report.outcome or place(report.line)
