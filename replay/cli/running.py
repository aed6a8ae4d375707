"""Verbs that begin runs: run drives one here to its end, start leaves it to workers.

Rule 1: a run that was begun is not lost: Ctrl-C, SIGTERM and a timeout park it, and say how it goes on.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from replay.cli import completing, options
from replay.cli.arguments import read_call
from replay.cli.exits import Exit
from replay.cli.facts import run_facts
from replay.cli.options import C, pass_scene
from replay.cli.scene import Scene, dotted
from replay.cli.text import compact, count, plain, shorten
from replay.errors import ReplayError, RunFailed
from replay.model.comparison import said_in

if TYPE_CHECKING:
    from replay.client import Client, Engine, Handle
    from replay.interpreter.fibers import Command
    from replay.model.effects import Call
    from replay.store.contract import Run

READABLE: Final = 5_000
"""Events of a journal that is read to tell what a run waits for."""
NAMES: Final = ("id", "delay", "deadline", "queue", "key", "priority")


def beginning(command: C) -> C:
    """Arguments and options of a run to be begun."""
    for option in reversed(_BEGINNING):
        command = option(command)
    return command


_BEGINNING: Final[tuple[Any, ...]] = (
    click.argument("workflow", shell_complete=completing.workflows),
    click.argument("arguments", nargs=-1, metavar="[ARG]..."),
    click.option("--arg", "named", multiple=True, type=options.pair, metavar="KEY=VALUE", help="An argument by name, as JSON or text."),
    click.option("--input", "whole", metavar="JSON", help="All arguments: a JSON list, or an object of names."),
    click.option("--id", metavar="TEXT", help="The run's id; starting it again with the same input is the same run."),
    click.option("--tag", "tags", multiple=True, type=options.pair, metavar="KEY=VALUE", help="A tag to find it by; may be repeated."),
    click.option("--queue", metavar="NAME", help="Whose workers drive it."),
    click.option("--key", metavar="TEXT", help="Whose share of the queue it takes, such as a customer's."),
    click.option("--priority", type=int, help="Higher first."),
    click.option("--delay", type=options.duration, help="How long before it may begin."),
    click.option("--deadline", type=options.duration, help="How long it may take in all."),
    options.modules,
    options.shared,
)


def _call(scene: Scene, given: dict[str, Any]) -> Call[Any]:
    workflow = scene.workflow(given["workflow"])
    return read_call(workflow, given["arguments"], given["named"], given["whole"])


def _start(client: Client, call: Call[Any], given: dict[str, Any]) -> Handle[Any]:
    chosen = {name: given[name] for name in NAMES if given[name] is not None}
    return client.start(call, tags=dict(given["tags"]) or None, **chosen)


# ---- start --------------------------------------------------------------------------------------------------------------


@click.command()
@beginning
@pass_scene
def start(scene: Scene, /, **given: Any) -> None:
    """Start a run; workers drive it.

    WORKFLOW is `module:name`, `file.py:name`, or the name (`name@version`) of one in the configured modules. An ARG is JSON
    when it reads as its parameter's type, else text. Its id is printed.
    """
    call = _call(scene, given)
    with scene.client(making=True) as client:
        handle = _start(client, call, given)
        if scene.as_json:
            scene.document(run_facts(handle.about()))
        else:
            scene.say(plain(handle.id))


# ---- run ----------------------------------------------------------------------------------------------------------------


@click.command()
@beginning
@click.option("--timeout", type=options.duration, help="How long to wait; then it is parked.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each event as it becomes durable.")
@click.option("-q", "--quiet", is_flag=True, help="Tell nothing but the result.")
@pass_scene
def run(scene: Scene, /, timeout: float | None, verbose: bool, quiet: bool, **given: Any) -> None:  # noqa: FBT001 - click passes it by name
    """Start a run, drive it here, and print its result.

    WORKFLOW is `module:name`, `file.py:name`, or the name (`name@version`) of one in the configured modules. An ARG is JSON
    when it reads as its parameter's type, else text. Given the id of a run that was begun before, it goes on where it was.
    Like any worker, it also drives other runs of its workflows meanwhile. Ctrl-C parks it; nothing is lost.
    """
    from replay.cli.serving import Bell, Teller

    call = _call(scene, given)
    scene.listen(talkative=not quiet)
    with Bell() as bell:
        engine = scene.engine(observers=[Teller(scene)] if verbose else [])
        try:
            handle = _start(engine, call, given)
            if not quiet and given["id"] is None:
                scene.note(f"run {handle.id}")
            rung = bell.wait_for(engine.ending(handle.key), timeout, _describing(engine, handle), show=not quiet)
            about = handle.about()
        finally:
            bell.leave(engine)
    if rung is not None:
        if scene.as_json:
            scene.document(run_facts(about))
        scene.note(f"parked {plain(handle.id)}; nothing is lost. Go on with: {_again(scene, given['workflow'])}")
        click.get_current_context().exit(rung)
    show_end(scene, about)


def _describing(engine: Engine, handle: Handle[Any]) -> Callable[[], str]:
    """What tells, while one waits, what the run waits for: as long as it is in memory by a look there, else by its journal."""
    from replay.client.travel import drive

    said = ""
    seen = -1

    def describe() -> str:
        nonlocal said, seen
        try:
            live = engine.worker.live.get(handle.key)
            if live is not None:
                said = _shown(live.committed, list(live.interp.pending.values()))
            elif (about := handle.about()).seq != seen and about.seq <= READABLE:
                seen = about.seq
                interpreter = drive(handle.spec(), handle.id, handle.journal())
                said = _shown(seen, list(interpreter.pending.values()))
                interpreter.close()
        except (ReplayError, RuntimeError):  # it moves while one looks; the next look is near
            pass
        return f"{plain(handle.id)}  {said}"

    return describe


def _shown(events: int, pending: Sequence[Command]) -> str:
    waits = ", ".join(str(command.effect) for command in pending[:3])
    return f"{count(events, 'event')}  {shorten(plain(waits), 80)}"


def show_end(scene: Scene, about: Run) -> None:
    """Show how a run ended.

    Raises:
        RunFailed: It has no result.
    """
    if scene.as_json:
        scene.document(run_facts(about))
        if about.status != "completed":
            click.get_current_context().exit(Exit.NEGATIVE)
        return
    result = said_in(about.result)
    if about.status != "completed":
        said = result if isinstance(result, dict) else {}
        error_type, message = said.get("type", "Stuck" if about.note else "Cancelled"), said.get("message", about.note)
        raise RunFailed(about.key.id, about.status, error_type, message or said.get("reason", ""), said.get("traceback", ""))
    scene.say(plain(result, keep="\n\t") if isinstance(result, str) else compact(result))


def _again(scene: Scene, workflow: str) -> str:
    """The command that goes on with a parked run."""
    settings = scene.settings
    module = workflow.rpartition(":")[0]
    words = ["replay", "worker"]
    named = settings.modules if settings.sources.get("modules") == "option" else ()
    for name in [dotted(module)] if module else named:
        words += ["-m", name]
    if settings.sources.get("store") == "option":
        words += ["--store", settings.store]
    if settings.sources.get("namespace") == "option":
        words += ["--namespace", settings.namespace]
    return shlex.join(words)
