"""``inspect``: a run's journal on a timeline, or the run as it was at one event.

Rule 1: the journal is shown with or without the workflow's code; with it, more: what the run waits for, and how long it waited.
Rule 2: a past moment is computed by driving the code over the journal up to there; nothing is acted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli import completing, options, render
from replay.cli.facts import command_facts, event_facts, run_facts, savepoint_facts, variables_facts
from replay.cli.layout import Cells, laid_out
from replay.cli.looking import about, draw_pending, place
from replay.cli.options import pass_scene
from replay.cli.requesting import show_request
from replay.cli.scene import Scene
from replay.cli.screen import STATUS_STYLES, facts, styled
from replay.cli.text import compact, plain, shorten
from replay.cli.timeline import answer_of
from replay.errors import InvalidRequest, ReplayError

if TYPE_CHECKING:
    from replay.client import Handle
    from replay.model.effects import WorkflowSpec
    from replay.model.events import Event
    from replay.store.contract import Run


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.option("--at", metavar="N|SAVEPOINT", help="The run's variables and source line at this event.")
@click.option("--request", is_flag=True, help="With --at: what a language model was asked there.")
@click.option("--limit", type=click.IntRange(2), default=200, show_default=True, help="Events that are shown.")
@click.option("--all", "everything", is_flag=True, help="Show every event.")
@options.modules
@options.shared
@pass_scene
def inspect(scene: Scene, /, id: str, at: str | None, request: bool, limit: int, everything: bool) -> None:  # noqa: FBT001 - click passes it by name
    """A run's journal on a timeline, or its variables at one event.

    Full bars are work, light ones waiting, a line is a moment. With --at, the workflow's code is driven over the journal up
    to that event; its local variables and the line where it stood are shown, or, with --request, what the language model was
    asked whose reply the event is: journals hold no requests, the code makes them again.
    """
    if request and at is None:
        raise InvalidRequest("--request", "it needs the event of the reply", "say which: --at N")
    with scene.run(id) as handle:
        if at is not None:
            scene.load()
            _show_moment(scene, handle, at, request=request)
        else:
            scene.try_load()
            _show_journal(scene, handle, limit=1 << 60 if everything or scene.as_json else limit)


# ---- the journal --------------------------------------------------------------------------------------------------------


def _show_journal(scene: Scene, handle: Handle[Any], *, limit: int) -> None:
    from replay.client.travel import savepoints

    run, journal = handle.about(), handle.journal()
    pending, asked_at = _driven(scene, handle, run, journal)
    children = handle.client.find(parent=handle.id, limit=100).runs
    points = savepoints(journal)
    if scene.as_json:
        scene.document(
            {
                "run": run_facts(run),
                "events": [{**event_facts(event), "asked_at": None} | _asked(event, asked_at) for event in journal],
                "pending": pending,
                "savepoints": [savepoint_facts(point) for point in points],
                "children": [run_facts(child) for child in children],
                "notes": handle.notes(),
            }
        )
        return
    screen = scene.screen
    screen.draw(about(run, handle.client.store.now()))
    screen.gap()
    drawn, remarks = render.timeline(journal, asked_at, width=screen.width, limit=limit)
    screen.draw(drawn)
    for remark in remarks:
        screen.draw(styled(remark, "dim"))
    draw_pending(scene, run, pending)
    _draw_children(scene, children)
    notes = [(f"#{point.seq} {plain(point.name)}", _notes(point.notes)) for point in points if any(point.notes.values())]
    if notes:
        screen.gap()
        screen.draw(styled("savepoints", "bold"), facts(notes[-20:]))


def _asked(event: Event, asked_at: Mapping[int, int]) -> dict[str, Any]:
    from replay.cli.text import iso

    return {"asked_at": iso(asked_at[event.seq])} if event.seq in asked_at else {}


def _driven(
    scene: Scene, handle: Handle[Any], run: Run, journal: Sequence[Event]
) -> tuple[list[dict[str, Any]] | None, dict[int, int]]:
    """What driving today's code over the journal tells: what is pending, and when each event's command was issued."""
    from replay.interpreter.interpreter import Interpreter

    spec = scene.code_of(handle.client, run)
    if spec is None:
        return None, {}
    interpreter = Interpreter(spec, run.key.id)
    asked_at: dict[int, int] = {}
    waiting: dict[str, list[int]] = {}
    try:
        for event in journal:
            command = interpreter.pending.get(event.command)
            heard = waiting.get(event.name) if event.kind == "signal_received" else None
            if command is not None:
                asked_at[event.seq] = command.issued_at
            elif heard:
                asked_at[event.seq] = heard[0]
            interpreter.feed(event)
            waiting = {name: [one.issued_at for one in commands] for name, commands in interpreter.listeners.items()}
    except ReplayError as error:
        scene.note(f"replay: {plain(str(error), keep=chr(10))}")
        return None, asked_at
    pending = [command_facts(interpreter, command) for command in interpreter.pending.values()]
    interpreter.close()
    return pending, asked_at


def _notes(notes: Mapping[str, Any]) -> str:
    return "\n".join(f"{plain(key)}: {shorten(compact(value), 300)}" for key, value in notes.items() if value)


def _draw_children(scene: Scene, children: Sequence[Run]) -> None:
    if not children:
        return
    scene.screen.gap()
    listed = list(reversed(children))  # oldest first
    columns = [
        Cells("child", [plain(child.key.id) for child in listed], most=max(24, scene.screen.width // 2)),
        Cells("workflow", [plain(child.workflow) for child in listed], most=32),
        Cells("command", [child.parent_command for child in listed]),
        Cells("status", [child.status for child in listed], styles=[STATUS_STYLES.get(child.status, "") for child in listed]),
        Cells("events", [f"{child.seq:,}" for child in listed], "right"),
    ]
    scene.screen.draw(laid_out(columns, scene.screen.width, ("events", "command"))[0])


# ---- one moment ---------------------------------------------------------------------------------------------------------


def _show_moment(scene: Scene, handle: Handle[Any], at: str, *, request: bool) -> None:
    from replay.client import travel

    spec: WorkflowSpec = handle.spec()
    journal = handle.journal()
    seq = travel.place(journal, event_or_savepoint(at))
    if request:
        show_request(scene, handle, journal, seq)
        return
    moment = travel.moment_at(spec, handle.id, journal, seq)
    event = journal[seq - 1]
    if scene.as_json:
        scene.document(
            {
                "id": handle.id,
                "event": event_facts(event),
                "line": moment.line,
                "source": [{"line": number, "text": text, "here": here} for number, text, here in render.source(moment.line)],
                "variables": variables_facts(moment.variables),
                "pending": list(moment.pending),
            }
        )
        return
    screen = scene.screen
    said = shorten(answer_of(event), 200)
    screen.draw(
        facts(
            [
                ("run", styled(plain(handle.id), "bold")),
                ("event", f"#{seq} of {len(journal)}  {event.kind} {plain(event.name)}".rstrip()),
                ("said", said),
                ("stands at", place(moment.line) or "its end"),
                ("waits for", "\n".join(plain(shorten(effect, 100)) for effect in moment.pending[:20])),
            ]
        )
    )
    if lines := render.source_lines(moment.line):
        screen.gap()
        screen.draw(*lines)
    screen.gap()
    if moment.variables:
        classes = {name: type(value).__name__ for name, value in moment.variables.items()}
        screen.draw(render.variables_table(variables_facts(moment.variables), classes))
    else:
        scene.say("no local variables")


def event_or_savepoint(at: str) -> int | str:
    """What ``--at`` means: an event's number, with or without ``#``, or a savepoint's name."""
    number = at.removeprefix("#")
    return int(number) if number.isdecimal() else at
