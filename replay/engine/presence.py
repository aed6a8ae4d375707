"""Who works on a store: every engine tells of itself, in a run of its own.

Rule 1: a worker's entry is a run that it creates and holds, in a namespace beside that of its runs. So it is leased, fenced and
found like any other, over every store and over the wire, without a verb of its own. Nobody offers its workflow: nobody drives it.
Rule 2: a heartbeat is a commit of what the entry shows, so its moment is that of the store's clock. It comes from the thread that
drives runs: a worker that is frozen, or hangs, is late.
Rule 3: whoever leaves takes its entry away. Entries of those who died are taken away by those who live, when their leases have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from replay.engine.family import new_run
from replay.errors import ReplayError
from replay.model.codec import from_json, to_json
from replay.model.journal import Started
from replay.model.names import SECOND
from replay.store.contract import Claim, Commit, Committed, Filter, Lease, Run, RunKey, Store

logger: Final = logging.getLogger("replay")
BESIDE: Final = "~workers:"
"""What the namespace of entries begins with; the namespace of the workers' runs follows. No other begins with a tilde."""
WORKER: Final = "~worker"
"""Workflow, queue and state key of an entry."""
KEPT: Final = 60 * SECOND
"""Microseconds after its last heartbeat at which an entry is no longer shown, and may be taken away."""
LATE: Final = 2.5
"""Heartbeats that a worker misses before it is late."""
FIRST: Final = SECOND
"""Microseconds after which an engine tells of itself at first: a program that ends sooner leaves no trace."""
MOST: Final = 10_000
"""Workers that are listed at most."""


@attrs.frozen(kw_only=True)
class WorkerInfo:
    """A worker, as it told of itself last.

    Attributes:
        id: Its name, as in ``Run.worker``.
        host: Its machine.
        pid: Its process.
        version: Its program, such as ``python/0.1.0``.
        namespace: Whose runs it drives.
        queues: Which queues it serves.
        workflows: Which workflows it offers, as ``name`` or ``name@version``; ``step:NAME`` is a step that it does for other queues.
        capacity: How many runs it holds at most.
        runs: How many it holds.
        step_capacity: How many attempts of steps it has under way at most.
        steps: How many it has.
        started_at: When it began, microseconds.
        heartbeat_at: When it was last heard, microseconds by the store's clock.
        draining: Whether it takes no more runs.
        late: Whether its next heartbeat is overdue: it is frozen, cut off, or dead.
    """

    id: str
    host: str = ""
    pid: int = 0
    version: str = ""
    namespace: str = "default"
    queues: Sequence[str] = ()
    workflows: Sequence[str] = ()
    capacity: int = 0
    runs: int = 0
    step_capacity: int = 0
    steps: int = 0
    started_at: int = 0
    heartbeat_at: int = 0
    draining: bool = False
    late: bool = False


TOLD: Final = frozenset(field.name for field in attrs.fields(WorkerInfo)) - {"id", "namespace", "heartbeat_at", "late"}
"""What an entry shows of itself; the rest the store knows."""


def beside(namespace: str) -> str:
    """The namespace in which the workers of a namespace have their entries."""
    return BESIDE + namespace


def owner_of(namespace: str) -> str:
    """The namespace that entries belong to; any other belongs to itself."""
    return namespace.removeprefix(BESIDE)


def versioned(workflow: str, version: str) -> str:
    """How a workflow of a version is told."""
    return f"{workflow}@{version}" if version else workflow


def workers(store: Store, namespace: str) -> list[WorkerInfo]:
    """The workers of a namespace that were heard in the last minute, the longest at work first."""
    found: list[Run] = []
    cursor = ""
    while len(found) < MOST:
        page = store.find(Filter(namespace=beside(namespace), statuses=("running",)), limit=500, cursor=cursor)
        found += page.runs
        cursor = page.cursor
        if not cursor:
            break
    now = store.now()
    infos = [info_of(run, namespace, now) for run in found if now - run.updated_at < KEPT and WORKER in run.state]
    return sorted(infos, key=lambda info: (info.started_at, info.id))


def info_of(run: Run, namespace: str, now: int) -> WorkerInfo:
    """What an entry tells; fields of other versions are passed over."""
    told = from_json(run.state[WORKER])
    fields = {name: value for name, value in told.items() if name in TOLD}
    late = now - run.updated_at > LATE * told.get("every", KEPT)
    return WorkerInfo(id=run.key.id, namespace=namespace, heartbeat_at=run.updated_at, late=late, **fields)


class Presence:
    """The entry of one worker.

    Args:
        store: Where.
        name: The worker's name.
        namespace: Whose runs it drives.
        every: Microseconds between two heartbeats.
        tell: What it tells of itself, at this moment.
        trouble: Told of what the store did not take.

    Attributes:
        due: When the next heartbeat is due, by the store's clock.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        namespace: str,
        *,
        every: int,
        tell: Callable[[], Mapping[str, Any]],
        trouble: Callable[[str, Exception], None],
    ) -> None:
        now = store.now()
        self.due = now + min(every, FIRST)
        self._store = store
        self._key = RunKey(beside(namespace), name)
        self._every = every
        self._tell = tell
        self._trouble = trouble
        self._lease: Lease | None = None
        self._began = now
        self._sweep_at = 0
        self._renew_at = 0

    def beat(self, now: int) -> None:
        """Tell of the worker now; what the store does not take is told next time."""
        self.due = now + self._every
        try:
            if self._lease is None or not self._show(self._lease):
                self._appear(now)
            if now >= self._sweep_at:
                self._sweep_at = now + KEPT
                self._sweep()
        except ReplayError as error:
            self._trouble("announce", error)

    def leave(self) -> None:
        """Take the entry away."""
        if self._lease is None:
            return
        try:
            self._end(self._lease)
        except ReplayError as error:
            self._trouble("announce", error)
        self._lease = None

    def _shown(self) -> dict[str, bytes]:
        return {WORKER: to_json({**self._tell(), "started_at": self._began, "every": self._every})}

    def _appear(self, now: int) -> None:
        """Create the entry, or find that an earlier try has done so."""
        begin = Started(workflow=WORKER, namespace=self._key.namespace, seed=self._key.id)
        made = attrs.evolve(new_run(self._key, begin, at=now, queue=WORKER), state=self._shown())
        (entry,) = self._store.create([made], worker=self._key.id, ttl=KEPT)
        mine = entry.run.worker == self._key.id
        self._lease = entry.lease or (Lease(self._key, entry.run.fence, self._key.id, 0) if mine else None)
        self._renew_at = now + KEPT // 2

    def _show(self, lease: Lease) -> bool:
        """Whether the entry was still there to show something."""
        (fate,) = self._store.commit([Commit(lease=lease, expected=1, applied=1, state=self._shown())])
        if fate is not Committed.APPLIED:  # it was late for so long that others took it away
            self._lease = None
            return False
        if self.due >= self._renew_at:
            self._renew_at = self.due + KEPT // 2
            self._store.renew([lease], ttl=KEPT)
        return True

    def _sweep(self) -> None:
        """Take away the entries of those who died."""
        claim = Claim(worker=self._key.id, namespace=self._key.namespace, queues=[WORKER], workflows=[WORKER], limit=100, ttl=KEPT)
        for dead in self._store.claim(claim).runs:
            self._end(dead.lease)

    def _end(self, lease: Lease) -> None:
        (fate,) = self._store.commit([Commit(lease=lease, expected=1, applied=1, status="completed", result=b"null", release=True)])
        if fate is Committed.APPLIED:
            self._store.delete([lease.key])
        else:
            logger.warning("the entry of worker %s was not taken away: %s", lease.key.id, fate.value)
