"""Verbs of whoever runs a store: migrate, prune."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import click

from replay.cli import options
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import progress
from replay.cli.text import count, plain


@click.group("store")
@options.output
def store() -> None:
    """Care for a store: bring its tables up to date, remove runs that ended long ago."""


def _named(scene: Scene, url: str | None) -> None:
    """The store that is meant: by the argument, or as for every verb."""
    if url is not None:
        scene.given["store"] = url


@store.command()
@click.argument("url", required=False)
@options.shared
@pass_scene
def migrate(scene: Scene, url: str | None) -> None:
    """Bring the tables of a store up to date with this version of replay.

    Workers go on meanwhile. It is safe to call it twice, also at once; where nothing is to be done, nothing is. URL is the store's,
    by default the one that every verb uses.
    """
    from replay.hooks import migrate_store

    _named(scene, url)
    done = migrate_store(scene.settings.store)
    if scene.as_json:
        scene.document({"store": done.store, "found": done.found, "now": done.now})
    elif done.now is None:
        scene.say(f"{plain(done.store)} is up to date")
    elif done.found == done.now:
        scene.say(f"{plain(done.store)} is up to date: version {done.now}")
    else:
        scene.say(f"{plain(done.store)}: from version {done.found} to {done.now}")


@store.command()
@click.argument("url", required=False)
@click.option("--older-than", type=options.duration, default="30d", metavar="TIME", help="How long ago they ended; 30d by default.")
@click.option("--status", multiple=True, metavar="STATUS", help="Only runs that ended so; may be repeated.")
@click.option("--archive", metavar="URL", help="Write them there first: file:///folder, s3://bucket/prefix.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@options.shared
@pass_scene
def prune(scene: Scene, url: str | None, older_than: float, status: Sequence[str], archive: str | None, *, dry_run: bool) -> None:
    """Remove runs that ended some time ago, with their journals and messages.

    It works in batches, beside workers, and may be stopped and begun again. With --archive every journal is written, read back and
    compared before it is removed; `replay import --archive URL ID` brings one back. URL is the store's, by default the one that every
    verb uses.
    """
    from replay.client import retention
    from replay.hooks import open_blobs

    _named(scene, url)
    with contextlib.ExitStack() as stack:
        place = None
        if archive is not None:
            place = open_blobs(archive)
            stack.callback(place.close)
        client = stack.enter_context(scene.client())
        told = stack.enter_context(progress("pruning", None, quiet=scene.as_json))
        done = retention.prune(client, older_than=older_than, statuses=status, archive=place, dry_run=dry_run, told=told)
    if scene.as_json:
        kept = [{"id": run, "reason": reason} for run, reason in done.kept.items()]
        facts = {"runs": done.runs, "events": done.events, "archived": done.archived, "bytes": done.octets, "swept": done.swept}
        scene.document({**facts, "kept": kept, "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    scene.say(f"{verb} {count(done.runs, 'run')} with {count(done.events, 'event')}")
    if place is not None and not dry_run:
        scene.say(f"archived {count(done.archived, 'run')} in {plain(place.url)}, {done.octets} bytes of them now")
    if done.swept:
        scene.say(f"removed {count(done.swept, 'payload')} that nobody referred to any more")
    for run, reason in done.kept.items():
        scene.note(f"kept {plain(run)}: {plain(reason)}")
