"""``workers``: who works on the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from replay.cli import options
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.text import ago, iso, plain

if TYPE_CHECKING:
    from replay.client import WorkerInfo

LEFT_OUT: Final = ("version", "workflows", "began", "queues", "steps")
"""Columns that go when there is too little room, first those that matter least."""
STYLES: Final = {"alive": "green", "draining": "yellow", "late": "bold red"}


@click.command()
@options.shared
@pass_scene
def workers(scene: Scene) -> None:
    """Workers that were heard in the last minute, the longest at work first.

    A worker that missed its heartbeats is late: it is frozen, cut off, or dead; its runs go to others when their leases end. With
    --json one worker a line.
    """
    with scene.client() as client:
        found, now = client.workers(), client.store.now()
        if scene.as_json:
            for info in found:
                scene.line(facts_of(info))
        elif found:
            scene.screen.draw(_table(found, now, scene.screen.width))
        else:
            scene.note(f"no worker of namespace {client.namespace!r} was heard in the last minute")


def state_of(info: WorkerInfo) -> str:
    """How a worker is, in one word."""
    return "late" if info.late else "draining" if info.draining else "alive"


def facts_of(info: WorkerInfo) -> dict[str, Any]:
    """A worker, for programs."""
    told = attrs.asdict(info)
    return {**told, "state": state_of(info), "started_at": iso(info.started_at), "heartbeat_at": iso(info.heartbeat_at)}


def _table(found: Sequence[WorkerInfo], now: int, width: int) -> Any:
    states = [state_of(info) for info in found]
    columns = [
        Cells("worker", [plain(f"{info.host} {info.pid}") for info in found]),
        Cells("state", states, styles=[STYLES[state] for state in states]),
        Cells("heartbeat", [ago(info.heartbeat_at, now) for info in found], "right"),
        Cells("runs", [f"{info.runs:,}/{info.capacity:,}" for info in found], "right"),
        Cells("steps", [f"{info.steps:,}/{info.step_capacity:,}" for info in found], "right"),
        Cells("began", [ago(info.started_at, now) for info in found], "right"),
        Cells("queues", [plain(", ".join(info.queues)) for info in found], most=30),
        Cells("version", [plain(info.version) for info in found]),
        Cells("workflows", [plain(", ".join(info.workflows)) for info in found], elastic=True),
    ]
    return laid_out(columns, width, LEFT_OUT)[0]
