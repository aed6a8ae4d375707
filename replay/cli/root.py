"""The program's root: a table of verbs, each loaded when it is used.

Rule 1: what ``--help`` shows stands in this table, so that it needs to load no verb; a test holds both together.
Rule 2: a plugin's verbs come after the built-in ones and cannot take their names; a plugin that cannot be loaded is told, and
breaks no other verb.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Final, NamedTuple

import click

from replay.cli import options
from replay.cli.exits import MEANINGS, Exit, tell
from replay.cli.scene import Scene
from replay.errors import InvalidRequest


class Verb(NamedTuple):
    """Where a verb lives, and what help says of it."""

    family: str
    attribute: str
    help: str


VERBS: Final[dict[str, dict[str, Verb]]] = {
    "Begin": {
        "init": Verb("project", "init", "Set a project up: configuration and a first workflow."),
        "run": Verb("running", "run", "Start a run, drive it here, and print its result."),
        "start": Verb("running", "start", "Start a run; workers drive it."),
        "worker": Verb("working", "worker", "Drive runs until told to stop."),
    },
    "Look": {
        "list": Verb("looking", "list_runs", "Runs, newest first."),
        "status": Verb("looking", "status", "What a run is, and what it waits for."),
        "inspect": Verb("inspecting", "inspect", "A run's journal on a timeline, or its variables at one event."),
        "costs": Verb("costing", "costs", "What runs have spent on language models."),
        "asks": Verb("asking", "asks", "Open questions, of one run or of all."),
        "logs": Verb("looking", "logs", "What a run logged and noted."),
        "ledger": Verb("thinking", "ledger", "What a run has thought, decided, spent and been told."),
        "query": Verb("telling", "query", "Ask a run's live variables."),
    },
    "Tell": {
        "signal": Verb("telling", "signal", "Send a run a message."),
        "update": Verb("telling", "update", "Send a run a request, and wait for its reply."),
        "answer": Verb("asking", "answer", "Answer a question that a run has asked; `replay asks` lists them."),
        "review": Verb("thinking", "review", "Approve or reject an entry of a run's ledger."),
        "pause": Verb("telling", "pause", "Let runs begin nothing new."),
        "resume": Verb("telling", "resume", "Let paused runs go on, or stuck ones try again."),
        "cancel": Verb("telling", "cancel", "Ask runs to stop; they may clean up first."),
        "terminate": Verb("telling", "terminate", "End runs where they stand."),
    },
    "Travel": {
        "time-travel": Verb("travelling", "time_travel", "Make a new run that shares a run's past."),
        "whatif": Verb("supposing", "what_if", "Run recorded runs again with other answers, and compare."),
        "diff": Verb("comparing", "diff", "Compare two runs, event by event."),
        "replay": Verb("replaying", "replay", "Drive recorded journals through today's code."),
        "export": Verb("moving", "export", "Write a run's journal to a file."),
        "import": Verb("moving", "import_", "Take runs in from a file."),
    },
    "Care": {
        "store": Verb("storing", "store", "Migrate a store, or prune runs that ended long ago."),
        "check": Verb("checking", "check", "Find what makes workflows differ from their replay."),
        "workers": Verb("staff", "workers", "Who works on the store: load, queues, last heartbeat."),
        "doctor": Verb("doctoring", "doctor", "Check installation, store, modules and leases."),
        "bench": Verb("benching", "bench", "Measure a store from here."),
        "completion": Verb("project", "completion", "Print a completion script for a shell."),
        "version": Verb("project", "version", "Versions of replay and of what it stands on."),
    },
}
"""Every verb, as help shows them."""
_FLAT: Final = {name: verb for group in VERBS.values() for name, verb in group.items()}
_CODES: Final = ", ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS)


class Root(click.Group):
    """Loads verbs when they are used, and ends the program as errors tell."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb's name."""
        del ctx
        return [*_FLAT, *_plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb, loaded now."""
        del ctx
        verb = _FLAT.get(cmd_name)
        if verb is None:
            return _plugin_commands().get(cmd_name)
        found: click.Command = getattr(importlib.import_module(f"replay.cli.{verb.family}"), verb.attribute)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """A verb by its name; one that is not known is told with those that are close."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else " `replay --help` lists the verbs."
            ctx.fail(f"There is no verb {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of verbs, without loading them."""
        del ctx
        for group, verbs in VERBS.items():
            with formatter.section(group):
                formatter.write_dl([(name, verb.help) for name, verb in verbs.items()])
        if plugged := _plugin_commands():
            with formatter.section("From plugins"):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in sorted(plugged.items())])

    def invoke(self, ctx: click.Context) -> Any:
        """Call the verb; an error becomes one sentence and an exit code."""
        scene = ctx.ensure_object(Scene)
        as_json = "--json" in ctx.args  # of the verb, which may stumble before it has read it
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except click.ClickException as error:
            if not (as_json or scene.as_json):
                raise
            ctx.exit(tell(InvalidRequest("command line", error.format_message()), as_json=True, debug=scene.debug))
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - border: the end of the program; nothing is above it to hear
            if scene.debug:
                scene.listen()
            ctx.exit(tell(error, as_json=scene.as_json, debug=scene.debug))


def _plugin_commands() -> dict[str, click.Command]:
    """Verbs that plugins bring, by name."""
    try:
        from replay.hooks import plugins

        offered = plugins().hook.replay_commands()
    except Exception as error:  # noqa: BLE001 - border: a plugin's module may raise anything when it is imported
        click.echo(f"replay: a plugin's commands could not be loaded: {type(error).__name__}: {error}", err=True)
        return {}
    found = [command for commands in offered for command in commands]
    return {command.name: command for command in found if command.name and command.name not in _FLAT}


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click passes it by place
    del param
    if value and not ctx.resilient_parsing:
        from replay import __version__

        click.echo(f"replay {__version__}")
        ctx.exit()


@click.group(
    "replay",
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {_CODES}. "
    "Settings: options, then REPLAY_STORE, REPLAY_NAMESPACE, REPLAY_MODULES and others, then [tool.replay] in pyproject.toml.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version.")
@options.modules
@options.shared
def root() -> None:
    """Durable execution: start runs, drive them, look into them, and travel in their time."""
