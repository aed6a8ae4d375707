"""``time-travel``: a new run that shares a run's past up to an event, with other answers or other code if one likes.

Rule 1: the run that it comes from is never touched.
Rule 2: ``--dry-run`` computes all of it, code driven over the shared past included, and creates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli import completing, options
from replay.cli.arguments import read_arguments
from replay.cli.facts import event_facts, run_facts
from replay.cli.inspecting import event_or_savepoint
from replay.cli.looking import close_pending, draw_pending
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import facts, styled
from replay.cli.text import compact, plain, shorten
from replay.errors import UnknownName
from replay.model.comparison import said_in

if TYPE_CHECKING:
    from replay.client import Handle
    from replay.model.events import Event
    from replay.store.contract import NewRun

SHOWN = 300


@click.command("time-travel")
@click.argument("id", shell_complete=completing.runs)
@click.option("--at", metavar="N|SAVEPOINT", help="Up to where the past is shared; by default the last edited event.")
@click.option("--edit", "edits", multiple=True, type=options.edit, metavar="N=JSON", help="A new answer for event N; may be repeated.")
@click.option("--id", "target", metavar="TEXT", help="The new run's id.")
@click.option("--arg", "named", multiple=True, type=options.pair, metavar="KEY=VALUE", help="Another argument, as JSON or text.")
@click.option("--workflow", metavar="NAME", shell_complete=completing.workflows, help="Other code to go on with.")
@click.option("--dry-run", is_flag=True, help="Show what would be made, and make nothing.")
@options.modules
@options.shared
@pass_scene
def time_travel(
    scene: Scene,
    id: str,
    at: str | None,
    edits: Sequence[tuple[int, Any]],
    target: str | None,
    named: Sequence[tuple[str, str]],
    workflow: str | None,
    dry_run: bool,  # noqa: FBT001 - click passes it by name
) -> None:
    """Make a new run that shares a run's past; the old one is not touched.

    Steps of the shared past are not executed again. Answers of steps and children, signals, updates and answers to questions can be
    replaced with --edit. With --arg the past is shared as far as the code asks for the same.
    """
    with scene.run(id) as handle:
        scene.load()
        spec = scene.workflow(workflow) if workflow else handle.spec()
        place = None if at is None else event_or_savepoint(at)
        journal = handle.journal()
        call = other_input(spec, handle.id, journal, named)
        edit = {seq: _typed(spec, journal, seq, answer) for seq, answer in edits}
        if dry_run:
            from replay.client import travel
            from replay.store.contract import RunKey

            name = RunKey(handle.key.namespace, target or f"{id}-fork-…")
            made = travel.fork(spec, handle.key, journal, name, place, edit, call)
            interpreter = travel.drive(spec, made.key.id, made.events)
            ended = "" if interpreter.outcome is None else interpreter.outcome.kind
            _show_plan(scene, handle, journal, made, close_pending(interpreter), ended, edit)
            return
        fork = handle.fork(place, id=target, edit=edit, **({"workflow": spec} if call is None else {"call": call}))
        about = fork.about()
        if scene.as_json:
            scene.document(run_facts(about))
        else:
            scene.say(plain(fork.id))
            scene.note(f"forked from {plain(about.source)}; a worker goes on with it")


def other_input(spec: Any, run: str, journal: Sequence[Event], named: Sequence[tuple[str, str]]) -> Any:
    """A call of the workflow with some of the recorded arguments replaced, or None when none is."""
    if not named:
        return None
    from replay.client.replica import Recording, another_input

    return another_input(
        spec, Recording(run=run, spec=spec, journal=journal), read_arguments(spec.fn, spec.arguments.signature, (), named)[1]
    )


def _typed(spec: Any, journal: Sequence[Event], seq: int, answer: Any) -> Any:
    """A new answer as the value that its step or workflow would have returned, or the signal that would have been sent."""
    from replay.authoring.definitions import STEPS
    from replay.client.travel import require_event, spec_for

    require_event(journal, seq)
    event = journal[seq - 1]
    codec = None
    if event.kind == "step_completed" and event.name in STEPS:
        codec = STEPS[event.name].result
    elif event.kind == "signal_received":
        codec = getattr(spec, "signals", {}).get(event.name)
    elif event.kind == "child_completed":
        try:
            codec = getattr(spec_for(event.name), "result", None)
        except UnknownName:
            codec = None
    return answer if codec is None else codec.from_raw(answer, f"new answer of event #{seq}")


def _show_plan(
    scene: Scene,
    handle: Handle[Any],
    journal: Sequence[Event],
    made: NewRun,
    pending: Sequence[dict[str, Any]],
    ended: str,
    edit: Mapping[int, Any],
) -> None:
    until = len(made.events)
    edited = [(journal[seq - 1], made.events[seq - 1]) for seq in sorted(edit)]
    if scene.as_json:
        scene.document(
            {
                "dry_run": True,
                "id": made.key.id,
                "source": handle.id,
                "shared": until,
                "left_behind": len(journal) - until,
                "edited": [{"seq": new.seq, "old": said_in(old.payload), "new": said_in(new.payload)} for old, new in edited],
                "events": [event_facts(event) for event in made.events],
                "pending": list(pending),
                "ended": ended,
            }
        )
        return
    left = f"#{until + 1} to #{len(journal)}" if until < len(journal) else "nothing"
    changes = [f"#{new.seq} {plain(new.name)}: {_short(old)} → {_short(new)}" for old, new in edited]
    scene.screen.draw(
        facts(
            [
                ("would make", styled(plain(made.key.id), "bold")),
                ("workflow", plain(f"{made.workflow} {made.version}".rstrip())),
                ("shares", f"#1 to #{until} of {plain(handle.id)}; none of it is executed again"),
                ("edits", "\n".join(changes)),
                ("leaves behind", left),
                ("then", f"it has ended: {ended}" if ended else ""),
            ]
        )
    )
    draw_pending(scene, handle.about(), list(pending))
    scene.note("a dry run: nothing was made")


def _short(event: Event) -> str:
    return shorten(compact(said_in(event.payload)), SHOWN)
