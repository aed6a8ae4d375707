"""Verbs about a project and this program: init, completion, version."""

from __future__ import annotations

import platform
import tomllib
from pathlib import Path
from typing import Final

import click

from replay.cli import options
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import facts
from replay.cli.settings import DEFAULT_STORE, FILE, TABLE
from replay.errors import InvalidRequest

SECTION: Final = f"""{TABLE}
# Where journals are kept; options and the environment (REPLAY_STORE) come first.
store = "{DEFAULT_STORE}"
# Modules that hold workflows.
modules = ["{{module}}"]
"""
FLOW: Final = '''"""A first workflow. Try, in this folder:

    replay run hello Ada --id hello-1     # and once more: nothing is executed again
    replay inspect hello-1                # its journal, on a timeline
    replay inspect hello-1 --at 2         # its variables as they were at event 2
    replay check                          # does every workflow keep the rules?
"""

from __future__ import annotations

from replay import Retry, Workflow, gather, log, sleep, step, workflow


@step(retry=Retry(max_attempts=3))
def greet(name: str) -> str:
    """A step may do anything: call, read, write. Its result is journaled, so it is not done again after a crash."""
    return f"Hello, {name}!"


@workflow
def hello(name: str) -> Workflow[str]:
    """A workflow decides what happens next. It is driven again after a crash, so it asks the world only through `yield from`."""
    mine, everyones = yield from gather(greet(name), greet("world"))
    yield from log("greeted", name=name)
    yield from sleep(1)  # durable: kill it here, run it again, and it goes on
    return f"{mine} {everyones}"
'''
IGNORED: Final = ".replay/"
GITIGNORE: Final = ".gitignore"


# ---- init ---------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--module", "name", default="flows", show_default=True, help="Name of the module with the first workflow.")
@click.option("--force", is_flag=True, help="Write files anew that exist.")
@options.output
@pass_scene
def init(scene: Scene, folder: Path, name: str, force: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Set a project up: `[tool.replay]` in pyproject.toml, a first workflow, and a line in .gitignore.

    What exists is kept.
    """
    if not name.isidentifier():
        raise InvalidRequest("--module", f"{name!r} is no name of a module", "use letters, digits and underscores")
    folder.mkdir(parents=True, exist_ok=True)
    done = {
        FILE: _configure(folder / FILE, SECTION.format(module=name)),
        f"{name}.py": _write(folder / f"{name}.py", FLOW, force=force),
        GITIGNORE: _ignore(folder / GITIGNORE),
    }
    if scene.as_json:
        scene.document({"folder": str(folder), "files": done})
        return
    for file, what in done.items():
        scene.say(f"{what:<8} {folder / file}")
    scene.note("next: " + (f"cd {folder} && " if folder != Path() else "") + "replay run hello Ada --id hello-1")


def _configure(file: Path, section: str) -> str:
    """Add the table to a pyproject.toml that has none; one that is there is the user's."""
    if not file.exists():
        file.write_text(section, encoding="utf-8")
        return "created"
    text = file.read_text(encoding="utf-8")
    try:
        if "replay" in tomllib.loads(text).get("tool", {}):
            return "kept"
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(str(file), f"cannot be read: {error}", "make it valid TOML") from error
    file.write_text(f"{text.rstrip()}\n\n{section}", encoding="utf-8")
    return "extended"


def _write(file: Path, text: str, *, force: bool) -> str:
    if file.exists() and not force:
        return "kept"
    what = "replaced" if file.exists() else "created"
    file.write_text(text, encoding="utf-8")
    return what


def _ignore(file: Path) -> str:
    """Journals are no source."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if IGNORED in (line.strip().lstrip("/") for line in text.splitlines()):
        return "kept"
    file.write_text(f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{IGNORED}\n", encoding="utf-8")
    return "extended" if text else "created"


# ---- completion ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for a shell.

    For bash: `eval "$(replay completion bash)"`, in ~/.bashrc. For zsh the same with zsh, in ~/.zshrc. For fish:
    `replay completion fish | source`, in config.fish.
    """
    from click.shell_completion import get_completion_class

    from replay.cli.root import root

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "replay", "_REPLAY_COMPLETE").source())


# ---- version ------------------------------------------------------------------------------------------------------------


@click.command()
@options.output
@pass_scene
def version(scene: Scene) -> None:
    """Versions of replay and of what it stands on."""
    found = versions()
    if scene.as_json:
        scene.document(found)
    else:
        scene.screen.draw(facts(found.items()))


def versions() -> dict[str, str]:
    """What runs here, by name."""
    import sqlite3
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    import replay

    found: dict[str, str] = {
        "replay": replay.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
    }
    for name in PACKAGES:
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return found


PACKAGES: Final = ("attrs", "cattrs", "click", "pluggy", "rich", "sqlalchemy", "psycopg", "boto3", "grpcio", "openai", "pydantic")
"""Packages whose versions matter when something is wrong."""
