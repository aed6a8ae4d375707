"""``doctor`` tells whether this installation, this project and this store are fit to run workflows.

Rule 1: it changes nothing that stays: what it writes to see whether it can, it takes away again.
Rule 2: each check stands alone; one that fails says what to do, and does not keep the others from being made.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import attrs
import click

from replay.cli import options
from replay.cli.exits import Exit
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.project import versions
from replay.cli.scene import Scene, import_module
from replay.cli.text import count, plain, span
from replay.errors import InvalidRequest, ReplayError
from replay.model.names import SECOND

if TYPE_CHECKING:
    from replay.client import Client
    from replay.store.contract import Run

OLDEST: Final = (3, 11)
SKEW: Final = 2 * SECOND
"""By how much the clocks of machine and store may differ before it is told, microseconds."""
BORN: Final = 1_735_689_600 * SECOND
"""2025-01-01: a machine whose clock shows an earlier day has not been told the time."""
SLOW: Final = 20_000
"""Microseconds that a durable write may take before it is told."""
TRIES: Final = 9
LOOKED_AT: Final = 2_000
"""Runs that are searched for leases nobody holds."""
STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@attrs.frozen
class Check:
    """What was looked at, and what came of it.

    Attributes:
        name: What was looked at.
        verdict: ``ok``, ``warning`` or ``failed``.
        detail: What was found.
        advice: What to do.
    """

    name: str
    verdict: Literal["ok", "warning", "failed"]
    detail: str
    advice: str = ""


@click.command()
@options.modules
@options.shared
@pass_scene
def doctor(scene: Scene) -> None:
    """Check installation, configuration, modules, store, clock and leases; exit code 1 when something fails."""
    found = list(_checks(scene))
    if scene.as_json:
        scene.document({"ok": all(check.verdict != "failed" for check in found), "checks": [attrs.asdict(check) for check in found]})
    else:
        width = scene.screen.width
        columns = [
            Cells("check", [check.name for check in found]),
            Cells("verdict", [check.verdict for check in found], styles=[STYLES[check.verdict] for check in found]),
            Cells("found", [plain(check.detail) for check in found], most=max(20, width - 28)),
        ]
        scene.screen.draw(laid_out(columns, width)[0])
        for check in found:
            if check.advice and check.verdict != "ok":
                scene.note(f"{check.name}: {plain(check.advice)}")
    if any(check.verdict == "failed" for check in found):
        click.get_current_context().exit(Exit.NEGATIVE)


def _checks(scene: Scene) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _plugins()
    try:
        settings = scene.settings
    except InvalidRequest as error:
        yield Check("configuration", "failed", f"{error.what}: {error.problem}", error.advice)
        return
    yield Check("configuration", "ok", f"{settings.file}" if settings.file else "no [tool.replay] in a pyproject.toml; defaults hold")
    yield from _modules(scene)
    yield _disk(settings.root)
    yield from _store(scene)


def _python() -> Check:
    fits = sys.version_info >= OLDEST
    return Check("python", "ok" if fits else "failed", f"{sys.version.split()[0]} at {sys.executable}", "use Python 3.11 or newer")


def _packages() -> Check:
    found = versions()
    return Check("packages", "ok", ", ".join(f"{name} {found[name]}" for name in found if name not in {"python", "platform"}))


def _plugins() -> Check:
    from importlib.metadata import entry_points

    names = [f"{entry.name} ({entry.dist.name} {entry.dist.version})" for entry in entry_points(group="replay") if entry.dist]
    try:
        from replay.hooks import stores

        schemes = ", ".join(f"{scheme}://" for scheme in sorted(stores()))
    except Exception as error:  # noqa: BLE001 - border: a plugin's module may raise anything when it is imported
        detail = f"{type(error).__name__}: {error}; installed: {', '.join(names)}"
        return Check("plugins", "failed", detail, "upgrade or remove the plugin")
    return Check("plugins", "ok", f"{', '.join(names) or 'none'}; stores: {schemes}")


def _modules(scene: Scene) -> Iterator[Check]:
    from replay.authoring.definitions import STEPS, WORKFLOWS

    if not scene.settings.modules:
        advice = "name them with -m, REPLAY_MODULES, or `modules` in pyproject.toml [tool.replay]"
        yield Check("modules", "warning", "none are configured", advice)
        return
    scene.make_importable()
    for name in scene.settings.modules:
        before = len(WORKFLOWS), len(STEPS)
        try:
            import_module(name)
        except ReplayError as error:
            yield Check(f"module {name}", "failed", str(error))
            continue
        workflows, steps = len(WORKFLOWS) - before[0], len(STEPS) - before[1]
        yield Check(f"module {name}", "ok", f"{count(workflows, 'workflow')}, {count(steps, 'step')}")


def _disk(root: Path) -> Check:
    """What one fsync costs in the project's folder."""
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            cost = _median(lambda: _sync(file))
    except OSError as error:
        return Check("disk", "warning", f"{root} cannot be written: {error}", "only a store elsewhere can be used from here")
    slow = cost > SLOW
    return Check("disk", "warning" if slow else "ok", f"an fsync in {root} takes {span(cost)}", "a run commits at least twice")


def _sync(file: IO[bytes]) -> None:
    file.write(b"replay")
    file.flush()
    os.fsync(file.fileno())


def _median(work: Callable[[], object]) -> float:
    """Microseconds that it takes, in the middle of some tries."""
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


# ---- the store ----------------------------------------------------------------------------------------------------------


def _store(scene: Scene) -> Iterator[Check]:
    began = time.perf_counter()
    try:
        with scene.client(making=True) as client:
            client.find(limit=1)
            took = span((time.perf_counter() - began) * 1e6)
            yield Check("store", "ok", f"{scene.settings.store} answers within {took}, its schema fits")
            for look in (_clock, _writing, _leases, _stuck):
                yield look(client)
    except ReplayError as error:
        yield Check("store", "failed", str(error))


def _clock(client: Client) -> Check:
    here, there = time.time_ns() // 1_000, client.store.now()
    newest = client.find(limit=1).runs
    if here < BORN:
        return Check("clock", "failed", "this machine's clock shows a day before 2025", "set it, with NTP")
    if newest and newest[0].created_at > there + SKEW:
        ahead = span(newest[0].created_at - there)
        return Check(
            "clock", "warning", f"the newest run was created {ahead} in the future", "the clock was set back; timers come late"
        )
    if abs(here - there) > SKEW:
        detail = f"this machine and the store differ by {span(abs(here - there))}"
        return Check("clock", "warning", detail, "leases go by the store's clock; set both with NTP")
    return Check("clock", "ok", f"this machine and the store differ by {span(abs(here - there))}")


def _writing(client: Client) -> Check:
    """Whether the store takes a run, gives it back, and lets it go; and what a durable commit costs."""
    from replay.model import events
    from replay.model.events import Event
    from replay.model.journal import Started
    from replay.store.contract import NewRun, RunKey

    store, mark = client.store, uuid.uuid4().hex
    made: list[RunKey] = []

    def create() -> None:
        key = RunKey("~doctor", f"{mark}-{len(made)}")
        now = store.now()
        begin = Event(1, events.STARTED, "", "~doctor", now, Started(workflow="~doctor", seed=key.id).encode())
        end = Event(2, events.COMPLETED, "", "~doctor", now, b"null")
        store.create([NewRun(key=key, workflow="~doctor", events=[begin, end], status="completed", result=b"null")])
        made.append(key)

    cost = _median(create)
    read = store.journal(made[0])
    removed = store.delete(made)
    if len(read) != 2 or removed != len(made):
        detail = f"{len(read)} of 2 events were read back, {removed} of {len(made)} runs removed"
        return Check("writing", "failed", detail, "the store does not keep its contract")
    slow = cost > SLOW
    return Check("writing", "warning" if slow else "ok", f"a durable commit takes {span(cost)}", "steps commit together under load")


def _leases(client: Client) -> Check:
    from replay.engine.identity import is_dead

    now = client.store.now()
    held = [run for run in _running(client) if run.worker]
    lost = [run for run in held if is_dead(run.worker) or (run.ready_at is not None and run.ready_at < now)]
    if lost:
        ids = ", ".join(run.key.id for run in lost[:5])
        detail = f"{len(lost)} of {len(held)} leases are held by workers that are gone: {ids}"
        return Check("leases", "warning", detail, "start a worker; it takes them over")
    return Check("leases", "ok", f"{count(len(held), 'run')} held, each by a worker that may live")


def _running(client: Client) -> Iterator[Run]:
    def pages() -> Iterator[Run]:
        cursor = ""
        while True:
            page = client.find(status="running", limit=500, cursor=cursor)
            yield from page.runs
            cursor = page.cursor
            if not cursor:
                return

    return itertools.islice(pages(), LOOKED_AT)


def _stuck(client: Client) -> Check:
    found = client.find(status="stuck", limit=20).runs
    if not found:
        return Check("stuck runs", "ok", "none")
    some = "; ".join(f"{run.key.id}: {run.note.splitlines()[0] if run.note else 'no reason noted'}" for run in found[:3])
    more = "or more " if len(found) == 20 else ""
    return Check("stuck runs", "warning", f"{len(found)} {more}runs: {some}", f"`replay replay {found[0].key.id}` shows the difference")
