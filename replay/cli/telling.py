"""Verbs that send a run something or ask it: signal, update, query, and what stops and lets go on.

Rule 1: a message is durable when the verb ends; a worker acts on it. Only ``update`` and ``query`` wait for an answer.
Rule 2: a value is read as the type that the workflow declares, when its code is at hand; else as JSON or text.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli import completing, options
from replay.cli.arguments import read_arguments, read_with
from replay.cli.exits import Exit, tell
from replay.cli.facts import value_facts
from replay.cli.options import pass_scene, read_text, read_value
from replay.cli.scene import Scene
from replay.cli.text import compact, plain
from replay.errors import ReplayError, RunFailed, UnknownName

if TYPE_CHECKING:
    from replay.client import Handle


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.argument("name")
@click.argument("value", required=False)
@click.option("--message-id", metavar="TEXT", help="Sending the same again changes nothing.")
@options.modules
@options.shared
@pass_scene
def signal(scene: Scene, id: str, name: str, value: str | None, message_id: str | None) -> None:
    """Send a run a message; it waits until the workflow asks for one of that name.

    VALUE is JSON, or text when it is none; `-` reads standard input; without it, null is sent.
    """
    with scene.run(id) as handle:
        scene.try_load()
        handle.signal(name, _signal_value(handle, name, value), id=message_id)
        if scene.as_json:
            scene.document({"id": handle.id, "sent": "signal", "name": name})
        else:
            scene.say(f"sent {plain(name)} to {plain(handle.id)}")


def _signal_value(handle: Handle[Any], name: str, text: str | None) -> Any:
    if text is None:
        return None
    text = read_text(text)
    try:
        declared = getattr(handle.spec(), "signals", {})
    except UnknownName:
        declared = {}
    return read_with(declared[name], text, f"signal {name!r}") if name in declared else read_value(text)


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.argument("name")
@click.argument("value", required=False)
@click.option("--timeout", type=options.duration, default="30s", show_default=True, help="How long to wait.")
@click.option("--message-id", metavar="TEXT", help="Sending the same again changes nothing.")
@options.shared
@pass_scene
def update(scene: Scene, id: str, name: str, value: str | None, timeout: float, message_id: str | None) -> None:
    """Send a run a request, and wait for its reply; a worker must drive it.

    VALUE is JSON, or text when it is none; `-` reads standard input.
    """
    with scene.run(id) as handle:
        given = None if value is None else read_value(read_text(value))
        reply = handle.update(name, given, id=message_id).result(timeout)
        _show(scene, {"id": handle.id, "update": name}, reply)


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@click.option("--arg", "named", multiple=True, type=options.pair, metavar="KEY=VALUE", help="An argument by name, as JSON or text.")
@options.modules
@options.shared
@pass_scene
def query(scene: Scene, id: str, name: str, arguments: Sequence[str], named: Sequence[tuple[str, str]]) -> None:
    """Ask a run's live variables; it also works when the run has ended.

    The workflow's code is driven here over the journal; where it is not imported, the worker that drives the run is asked, as long as
    the run is open. An ARG is for a parameter that is no variable of the workflow.
    """
    with scene.run(id) as handle:
        scene.load()
        args, kwargs = _asked(handle, name, arguments, named)
        try:
            answer = handle.query(name, *args, **kwargs)
        except ReplayError:
            raise
        except Exception as error:
            shown = "".join(traceback.format_exception(error))
            raise RunFailed(handle.id, f"query {name} failed", type(error).__qualname__, str(error), shown) from error
        _show(scene, {"id": handle.id, "query": name}, value_facts(answer))


def _asked(
    handle: Handle[Any], name: str, arguments: Sequence[str], named: Sequence[tuple[str, str]]
) -> tuple[list[Any], dict[str, Any]]:
    """A query's arguments, each as what its parameter's annotation asks for; without the code, as JSON or text."""
    try:
        fn = getattr(handle.spec(), "queries", {}).get(name)
    except UnknownName:
        return read_arguments(_any, inspect.signature(_any), arguments, named)
    if fn is None:
        return [], {}
    signature = inspect.signature(fn)
    _, kwargs = read_arguments(fn, signature, (), named)
    if not arguments:
        return [], kwargs
    known = {*kwargs, *handle.at(len(handle.journal())).variables}
    free = signature.replace(parameters=[each for each in signature.parameters.values() if each.name not in known])
    args, _ = read_arguments(fn, free, arguments, ())
    return args, kwargs


def _any(*_args: Any, **_kwargs: Any) -> None:
    """The signature of what is done elsewhere."""


def _show(scene: Scene, about: dict[str, Any], answer: Any) -> None:
    if scene.as_json:
        scene.document({**about, "result": answer})
    else:
        scene.say(plain(answer, keep="\n\t") if isinstance(answer, str) else compact(answer))


# ---- to several runs ----------------------------------------------------------------------------------------------------


def _to_runs(scene: Scene, ids: Sequence[str], sent: str, post: Callable[[Handle[Any]], None]) -> None:
    """Post to each run; those that cannot be told do not keep the others from it."""
    worst = Exit.OK
    with scene.client() as client:
        for identity in ids:
            try:
                handle = client.get(identity)
                post(handle)
            except ReplayError as error:
                code = tell(error, as_json=scene.as_json, debug=scene.debug)
                worst = worst or code
                continue
            if scene.as_json:
                scene.line({"id": handle.id, "sent": sent})
            else:
                scene.say(f"sent {sent} to {plain(handle.id)}")
    if worst:
        click.get_current_context().exit(worst)


_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completing.runs)
_reason = click.option("--reason", metavar="TEXT", help="Why; the workflow and its journal see it.")


@click.command()
@_ids
@options.shared
@pass_scene
def pause(scene: Scene, ids: Sequence[str]) -> None:
    """Let runs begin nothing new until they are resumed; steps that run come to their end."""
    _to_runs(scene, ids, "pause", lambda handle: handle.pause())


@click.command()
@_ids
@options.shared
@pass_scene
def resume(scene: Scene, ids: Sequence[str]) -> None:
    """Let paused runs go on, or stuck ones try again now."""
    _to_runs(scene, ids, "resume", lambda handle: handle.resume())


@click.command()
@_ids
@_reason
@options.shared
@pass_scene
def cancel(scene: Scene, ids: Sequence[str], reason: str | None) -> None:
    """Ask runs to stop; their workflows may clean up first, or refuse."""
    _to_runs(scene, ids, "cancel", lambda handle: handle.cancel(*[reason] if reason else []))


@click.command()
@_ids
@_reason
@options.shared
@pass_scene
def terminate(scene: Scene, ids: Sequence[str], reason: str | None) -> None:
    """End runs where they stand; nothing of their code runs."""
    _to_runs(scene, ids, "terminate", lambda handle: handle.terminate(*[reason] if reason else []))
