"""What a shell offers at Tab: ids of runs and names of workflows; where they cannot be had, nothing, quickly and in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from replay.cli.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 50


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> Sequence[str]:
    """Ids of runs that begin so, newest first."""
    del param
    try:
        with ctx.ensure_object(Scene).client() as client:
            return [run.key.id for run in client.find(prefix=incomplete or None, limit=LIMIT).runs]
    except Exception:  # noqa: BLE001 - border: a shell's prompt is no place for an error
        return []


def workflows(ctx: click.Context, param: click.Parameter, incomplete: str) -> Sequence[str]:
    """Names of workflows in the configured modules."""
    del param
    try:
        ctx.ensure_object(Scene).load()
        from replay.authoring.definitions import WORKFLOWS

        return sorted({name for name, _ in WORKFLOWS if name.startswith(incomplete)})
    except Exception:  # noqa: BLE001 - border: a shell's prompt is no place for an error
        return []
