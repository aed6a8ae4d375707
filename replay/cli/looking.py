"""Verbs that look: list, status, logs."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from replay.cli import completing, options
from replay.cli.exits import Exit
from replay.cli.facts import command_facts, entry_facts, run_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import STATUS_STYLES, facts, status_text, styled
from replay.cli.text import ago, compact, count, date_and_time, local, plain, preview, shorten, span
from replay.errors import InvalidRequest, ReplayError
from replay.model.comparison import said_in

if TYPE_CHECKING:
    from replay.client import Client, Handle
    from replay.interpreter.interpreter import Interpreter
    from replay.store.contract import Entry, Page, Run

GROUPS: Final = {
    "open": ("pending", "running", "waiting", "paused", "stuck"),
    "closed": ("completed", "failed", "cancelled", "terminated", "continued"),
}
"""Words for several statuses at once."""
STATUSES: Final = (*GROUPS["open"], *GROUPS["closed"], *GROUPS)
LEFT_OUT: Final = ("events", "changed", "tags", "created", "workflow", "outcome")
"""Columns that go when there is too little room, first those that matter least."""
WHOLE: Final = 1_000
"""Runs on a page, when all pages are asked for."""
LONG: Final = 400
"""Characters of a value that are shown."""
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LEVEL_STYLES: Final = {"warning": "yellow", "error": "red", "critical": "bold red", "note": "cyan", "debug": "dim"}
QUIET: Final = 1.0
"""Seconds that ``--follow`` waits for a store that tells nothing."""


# ---- list ---------------------------------------------------------------------------------------------------------------


@click.command("list")
@click.option("--workflow", metavar="NAME", shell_complete=completing.workflows, help="Runs of this workflow.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Runs that are so; may be repeated.")
@click.option("--stuck", is_flag=True, help="The same as --status stuck: what needs somebody, with the reason.")
@click.option("--tag", multiple=True, type=options.pair, metavar="KEY=VALUE", help="Runs with this tag; all, when repeated.")
@click.option("--since", type=options.time, help="Created since: 2h, 7d, or ISO 8601.")
@click.option("--until", type=options.time, help="Created before.")
@click.option("--prefix", metavar="TEXT", help="Runs whose id begins so.")
@click.option("--parent", metavar="ID", help="Children of this run.")
@click.option("--key", metavar="TEXT", help="Runs that take this key's share of their queue.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Runs on a page.")
@click.option("--cursor", default="", metavar="TEXT", help="Go on where a page ended.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@options.shared
@pass_scene
def list_runs(scene: Scene, /, limit: int, cursor: str, everything: bool, **query: Any) -> None:  # noqa: FBT001 - click passes it by name
    """Runs, newest first.

    With --json one run a line. What is left over is told on standard error, with the cursor that asks for it.
    """
    with scene.client() as client:
        now = client.store.now()
        pages = _pages(client, _filter(query), max(limit, WHOLE) if everything else limit, cursor, everything=everything)
        last = None
        found = 0
        for page in pages:
            last = page
            found += len(page.runs)
            if scene.as_json:
                for run in page.runs:
                    scene.line(run_facts(run))
            elif page.runs:
                scene.screen.draw(_runs_table(page.runs, now, scene.screen.width))
        if not found and not scene.as_json:
            missing = "" if scene.is_there else ", which does not exist yet"
            scene.note(f"no runs in namespace {client.namespace!r} of {plain(scene.settings.store)}{missing}")
        if last is not None and last.cursor and not everything:
            scene.note(f"there are more: --cursor {last.cursor}")


def _filter(query: dict[str, Any]) -> dict[str, Any]:
    words = [*query["status"], *(["stuck"] if query["stuck"] else [])]
    statuses = [status for word in words for status in GROUPS.get(word, (word,))]
    return {
        "workflow": query["workflow"],
        "status": statuses or None,
        "tags": dict(query["tag"]),
        "created_after": query["since"],
        "created_before": query["until"],
        "prefix": query["prefix"],
        "parent": query["parent"],
        "key": query["key"],
    }


def _pages(client: Client, query: dict[str, Any], limit: int, cursor: str, *, everything: bool) -> Iterator[Page]:
    while True:
        page = client.find(**query, limit=limit, cursor=cursor)
        yield page
        cursor = page.cursor
        if not cursor or not everything:
            return


def _runs_table(runs: Sequence[Run], now: int, width: int) -> Any:
    tags = [" ".join(f"{key}={value}" for key, value in sorted(run.tags.items())) for run in runs]
    columns = [
        Cells("id", [plain(run.key.id) for run in runs], most=max(24, width // 2)),
        Cells("workflow", [plain(f"{run.workflow}@{run.version}" if run.version else run.workflow) for run in runs], most=32),
        Cells("status", [run.status for run in runs], styles=[STATUS_STYLES.get(run.status, "") for run in runs]),
        Cells("events", [f"{run.seq:,}" for run in runs], "right"),
        Cells("created", [ago(run.created_at, now) for run in runs], "right"),
        Cells("changed", [ago(run.updated_at, now) for run in runs], "right"),
        Cells("tags", [plain(text) for text in tags], most=40),
        Cells("outcome", [outcome_of(run, now) for run in runs], styles="dim", elastic=True),
    ]
    return laid_out(columns, width, LEFT_OUT)[0]


def outcome_of(run: Run, now: int) -> str:
    """What became of a run, or what it waits for as far as the index knows, on one line."""
    if run.note:
        return plain(run.note.splitlines()[0])
    if run.status == "completed":
        return preview(run.result)
    if run.result:
        said = said_in(run.result)
        if isinstance(said, dict):
            return plain(f"{said['type']}: {said.get('message', '')}" if "type" in said else str(said.get("reason", "")))
        return preview(run.result)
    return f"wakes {ago(run.wake_at, now)}" if run.wake_at is not None else ""


# ---- status -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit code 1 when it has no result.")
@click.option("--timeout", type=options.duration, help="How long to wait.")
@options.modules
@options.shared
@pass_scene
def status(scene: Scene, id: str, wait: bool, timeout: float | None) -> None:  # noqa: FBT001 - click passes it by name
    """What a run is, and what it waits for.

    What it waits for is known when its workflow's code can be imported here.
    """
    if timeout is not None and not wait:
        raise InvalidRequest("--timeout", "nothing is waited for", "give --wait too")
    with scene.run(id) as handle:
        if wait:
            handle.client.ending(handle.key).result(timeout) if timeout is None else _wait(handle, timeout)
        run = handle.about()
        scene.try_load()
        pending = pending_of(scene, handle, run)
        if scene.as_json:
            scene.document({**run_facts(run), "pending": pending})
        else:
            scene.screen.draw(about(run, handle.client.store.now()))
            draw_pending(scene, run, pending)
    if wait and run.status != "completed":
        click.get_current_context().exit(Exit.NEGATIVE)


def _wait(handle: Handle[Any], timeout: float) -> None:
    from concurrent.futures import TimeoutError as FutureTimeout

    from replay.errors import WaitTimedOut

    try:
        handle.client.ending(handle.key).result(timeout)
    except FutureTimeout:
        raise WaitTimedOut(handle.id, timeout, handle.status) from None


def about(run: Run, now: int) -> Any:
    """A run's index entry, for people."""
    from replay.engine.attempts import unpacked

    closed, completed = run.status in GROUPS["closed"], run.status == "completed"
    outcome = shorten(outcome_of(run, now), LONG)
    changed = f"after {span(run.updated_at - run.created_at)}" if closed else ago(run.updated_at, now)
    lease = "" if run.ready_at is None else f", lease ends {ago(run.ready_at, now)}"
    wakes = None if closed else run.wake_at
    state = [
        f"{plain(key)} = {shorten(compact(said_in(value)), LONG)}"
        for key, value in sorted(run.state.items())
        if not key.startswith("~")
    ]
    progress = [f"{command}: {shorten(compact(said_in(told)), LONG)}" for command, told in sorted(unpacked(run.state).items())]
    return facts(
        [
            ("run", styled(plain(run.key.id), "bold")),
            ("workflow", plain(f"{run.workflow} {run.version}".rstrip())),
            ("status", status_text(run.status)),
            ("result", outcome if completed else ""),
            ("error", styled(outcome if closed and not completed else "", "red")),
            ("stuck" if run.status == "stuck" else "note", styled(plain(run.note, keep="\n"), "red")),
            ("events", f"{run.seq:,}"),
            ("started", f"{date_and_time(run.created_at)}, {ago(run.created_at, now)}"),
            ("ended" if closed else "changed", f"{date_and_time(run.updated_at)}, {changed}"),
            ("wakes", "" if wakes is None else f"{date_and_time(wakes)}, {ago(wakes, now)}"),
            ("worker", f"{plain(run.worker)}{lease}" if run.worker else ""),
            ("queue", "" if run.queue == "default" else plain(run.queue)),
            ("key", plain(run.fairness_key)),
            ("priority", str(run.priority or "")),
            ("parent", plain(run.parent)),
            ("forked from", plain(run.source)),
            ("recovered", f"{count(run.recoveries, 'worker')} lost in a row" if run.recoveries else ""),
            ("tags", plain("  ".join(f"{key}={value}" for key, value in sorted(run.tags.items())))),
            ("state", "\n".join(state)),
            ("progress", plain("\n".join(progress), keep="\n")),
        ]
    )


def pending_of(scene: Scene, handle: Handle[Any], run: Run) -> list[dict[str, Any]] | None:
    """What an open run waits for; None when that cannot be told here."""
    if run.status in GROUPS["closed"]:
        return []
    spec = scene.code_of(handle.client, run)
    if spec is None:
        return None
    from replay.client.travel import drive

    try:
        interpreter = drive(spec, run.key.id, handle.journal())
    except ReplayError as error:
        scene.note(f"replay: {plain(str(error), keep=chr(10))}")
        return None
    return close_pending(interpreter)


def close_pending(interpreter: Interpreter) -> list[dict[str, Any]]:
    """What an interpreter waits for; afterwards it is spent."""
    pending = [command_facts(interpreter, command) for command in interpreter.pending.values()]
    interpreter.close()
    return pending


def draw_pending(scene: Scene, run: Run, pending: list[dict[str, Any]] | None) -> None:
    """What a run waits for, below its other facts."""
    if pending is None and run.workflow not in {"", None} and run.status not in GROUPS["closed"]:
        scene.note("what it waits for is known to its code: name the module with -m")
    if pending:
        scene.screen.gap()
        columns = [
            Cells("waits for", [_pending_text(command) for command in pending[:20]], elastic=True),
            Cells("command", [command["command"] for command in pending[:20]]),
            Cells("until", [_until(command) for command in pending[:20]]),
            Cells("line", [place(command["line"]) for command in pending[:20]], styles="dim"),
        ]
        scene.screen.draw(laid_out(columns, scene.screen.width, ("command",))[0])
        if len(pending) > 20:
            scene.say(f"and {len(pending) - 20:,} more")


def _pending_text(command: dict[str, Any]) -> str:
    failed = f" ({command['attempts']} attempts failed)" if command["attempts"] else ""
    return plain(command["effect"]) + failed


def _until(command: dict[str, Any]) -> str:
    due = command["due_at"]
    return "" if due is None else f"{datetime.datetime.fromisoformat(due).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def place(line: str) -> str:
    """A source line, as seen from the current folder."""
    from pathlib import Path

    path, _, number = line.rpartition(":")
    if not path:
        return plain(line)
    try:
        return plain(f"{Path(path).relative_to(Path.cwd())}:{number}")
    except ValueError:
        return plain(line)


# ---- logs ---------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Leave out what matters less.")
@options.shared
@pass_scene
def logs(scene: Scene, id: str, follow: bool, level: str) -> None:  # noqa: FBT001 - click passes it by name
    """What a run logged and noted, each line once, however often it was replayed.

    With --json one line an entry. Ctrl-C ends --follow.
    """
    with scene.run(id) as handle:
        offsets: dict[str, int] = {}
        seen = 0
        while True:
            closed = handle.about().status in GROUPS["closed"]  # asked first: what it said before its end is not missed
            for entry in _new_entries(handle, offsets):
                _show_entry(scene, entry, level)
            if closed or not follow:
                return
            seen = handle.client.store.wait(seen, QUIET)


def _new_entries(handle: Handle[Any], offsets: dict[str, int]) -> Iterator[Entry]:
    """Entries of log and notes that were not read yet, by time."""
    from replay.engine.outputs import LOG, NOTES

    return heapq.merge(*(_entries(handle, prefix + handle.id, offsets) for prefix in (LOG, NOTES)), key=lambda entry: entry.at)


def _entries(handle: Handle[Any], topic: str, offsets: dict[str, int]) -> Iterator[Entry]:
    while page := handle.client.read(topic, after=offsets.get(topic, 0)):
        for entry in page:
            offsets[topic] = entry.offset
            yield entry


def _show_entry(scene: Scene, entry: Entry, level: str) -> None:
    said = entry_facts(entry)
    if said["level"] in LEVELS and LEVELS.index(said["level"]) < LEVELS.index(level):
        return
    if scene.as_json:
        scene.line(said)
        return
    from rich.text import Text

    fields = "  ".join(f"{key}={compact(value)}" for key, value in said["fields"].items())
    shown = Text(f"{local(entry.at):%m-%d %H:%M:%S}.{entry.at % 1_000_000 // 1_000:03d}  ", style="dim")
    shown.append(f"{said['level']:<8}", LEVEL_STYLES.get(said["level"], ""))
    shown.append(plain(str(said["text"])), "default")
    shown.append(f"  {plain(fields)}" if fields else "", "dim")
    scene.screen.console.print(shown, soft_wrap=True)


__all__ = ["GROUPS", "STATUS_STYLES", "about", "draw_pending", "list_runs", "logs", "outcome_of", "pending_of", "place", "status"]
