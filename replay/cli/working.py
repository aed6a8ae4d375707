"""``worker``: drive runs until told to stop.

Rule 1: SIGTERM and Ctrl-C drain: no more runs are taken, steps come to their end for ``--grace``, everything is given back. A second
signal does not wait for steps; their runs go on elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from replay.cli import options
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.settings import words
from replay.cli.text import count
from replay.errors import InvalidRequest
from replay.model.names import SECOND

DRAINING = "draining; once more to stop at once"


@click.command()
@click.option(
    *("--queues", "--queue", "queues"),
    multiple=True,
    metavar="NAMES",
    help="Queues it serves, by commas; with limits as gpu:concurrency=4:per_key=1:rate=10/60s:here=2.",
)
@click.option("--concurrency", type=click.IntRange(1), help="Runs it holds at most.  [default: 1000]")
@click.option("--threads", type=click.IntRange(1), help="Plain steps it runs at once.  [default: 32]")
@click.option("--ttl", type=options.duration, default="15s", show_default=True, help="Length of a lease.")
@click.option("--grace", type=options.duration, default="10s", show_default=True, help="What steps get to end.")
@click.option("--once", is_flag=True, help="End when no run is ready.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each run.")
@options.modules
@options.shared
@pass_scene
def worker(scene: Scene, /, queues: Sequence[str], once: bool, quiet: bool, **settings: Any) -> None:  # noqa: FBT001 - click passes it by name
    """Drive runs until told to stop.

    One line for each run that is taken or ends; with --json, JSON lines. SIGTERM and Ctrl-C drain it, a second one does not
    wait for steps. Nothing is lost either way.
    """
    from replay.authoring.definitions import STEPS, WORKFLOWS
    from replay.cli.serving import Clerk

    scene.load()
    if not WORKFLOWS and not STEPS:
        advice = "name their modules: -m shop, REPLAY_MODULES, or `modules` in pyproject.toml [tool.replay]"
        raise InvalidRequest("worker", "it has no workflows and no steps", advice)
    scene.listen(talkative=not quiet)
    chosen = {key: value for key, value in settings.items() if value is not None}
    if queues:
        chosen["queues"] = tuple(word for text in queues for word in words(text))
    clerk = Clerk(scene, quiet=quiet)
    if not quiet:
        names = ", ".join(sorted({name for name, _ in WORKFLOWS}))
        served = ", ".join(chosen.get("queues", scene.settings.queues))
        scene.note(f"worker on {scene.settings.store}, queues {served}: {names}")
    if once:
        _serve_until_idle(scene, clerk, chosen)
    else:
        _serve(scene, clerk, chosen)
    if not quiet:
        scene.note(f"stopped: {count(clerk.taken, 'claim')}, {count(clerk.closed, 'run')} ended")


def _serve(scene: Scene, clerk: Any, chosen: dict[str, Any]) -> None:
    from replay.cli.serving import Bell

    with Bell() as bell:
        engine = scene.engine(observers=[clerk], **chosen)
        bell.wait()
        bell.leave(engine, lambda: scene.note(DRAINING))


def _serve_until_idle(scene: Scene, clerk: Any, chosen: dict[str, Any]) -> None:
    """Drive what is ready, in this thread: a worker that finds nothing and holds nothing is idle."""
    from replay.cli.queueing import queues_of
    from replay.cli.serving import Bell
    from replay.engine.identity import end_orphans, worker_name
    from replay.engine.observers import Observers
    from replay.engine.pool import Pool
    from replay.engine.requests import Stop, Wake
    from replay.engine.settings import Settings
    from replay.engine.worker import Worker

    grace, threads = chosen.pop("grace"), chosen.pop("threads", scene.settings.threads)
    mine = scene.settings
    given = {"namespace": mine.namespace, "queues": mine.queues, "concurrency": mine.concurrency, **chosen}
    given["queues"] = queues_of(given["queues"])
    with Bell() as bell, scene.client(making=True) as client:
        end_orphans(client.store, mine.namespace)
        pool = Pool(threads)
        driven = Worker(client.store, name=worker_name(), executor=pool, settings=Settings(**given), observers=Observers([clerk]))
        bell.wake = lambda: driven.inbox.put(Wake())
        until = 0
        while not driven.stopped:
            for _ in bell.rings():
                until = 0 if until else client.store.now() + round(grace * SECOND)  # the second one does not wait
                driven.inbox.put(Stop(until))
                scene.note(DRAINING)
            if not driven.live:
                driven.held.claim_at = 0
            if not driven.pump(driven.patience() if driven.live else 0.0) and not driven.live:
                break
        pool.close()
