"""Verbs that move runs between stores and files: export, import."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from replay.cli import completing, options
from replay.cli.facts import run_facts
from replay.cli.options import STDIN, pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import progress
from replay.cli.text import count, plain

if TYPE_CHECKING:
    from replay.client import Client, Handle


@click.command()
@click.argument("id", shell_complete=completing.runs)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
@options.shared
@pass_scene
def export(scene: Scene, id: str, output: Path | None) -> None:
    """Write a run's journal as JSON lines: for `import`, `replay`, `diff`, or to keep.

    A file is written whole or not at all.
    """
    from replay.client.transfer import export_run

    with scene.run(id) as handle:
        total = handle.about().seq + 1
        with _writing(output) as file, progress("exporting", total, quiet=output is None) as advance:
            for line in export_run(handle):
                file.write(f"{line}\n")
                advance(1)
    if output is not None:
        if scene.as_json:
            scene.document({"id": id, "file": str(output), "events": total - 1})
        else:
            scene.note(f"{plain(id)}: {count(total - 1, 'event')} in {output}")


@contextlib.contextmanager
def _writing(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that takes its name when it is complete."""
    if output is None:
        yield sys.stdout
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--archive", metavar="URL", help="Bring runs back that `store prune` archived there; then name their ids.")
@options.shared
@pass_scene
def import_(scene: Scene, files: Sequence[str], archive: str | None) -> None:
    """Take runs in from files that `export` wrote; one that was open goes on here.

    To import the same again changes nothing. `-` reads standard input.
    """
    with scene.client(making=True) as client, progress("importing", len(files), quiet=scene.as_json) as advance:
        for handle in _from_files(client, files) if archive is None else _from_archive(client, archive, files):
            advance(1)
            run = handle.about()
            if scene.as_json:
                scene.line(run_facts(run))
            else:
                scene.say(f"{plain(handle.id)}  {run.status}  {count(run.seq, 'event')}")


def _from_files(client: Client, files: Sequence[str]) -> Iterator[Handle[Any]]:
    from replay.client.transfer import import_run

    for name in files:
        with contextlib.ExitStack() as stack:
            lines = sys.stdin if name == STDIN else stack.enter_context(_open(name))
            yield import_run(client, lines)


def _from_archive(client: Client, archive: str, ids: Sequence[str]) -> Iterator[Handle[Any]]:
    from replay.client.retention import bring_back
    from replay.hooks import open_blobs

    with contextlib.closing(open_blobs(archive)) as place:
        for run in ids:
            yield bring_back(client, place, run)


def _open(name: str) -> TextIO:
    try:
        return Path(name).open(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise click.BadParameter(f"{name!r} cannot be read: {error.strerror}", param_hint="FILE") from None
