"""Who works on a store: every worker tells of itself, in a run of its own.

Rule 1: a worker's entry is a run that it creates and holds, in a namespace beside that of its runs. So it is leased, fenced and
found like any other, over every store and over the wire. Nobody offers its workflow: nobody drives it.
Rule 2: a heartbeat is a commit of what the entry shows, so its moment is that of the store's clock. It comes from the thread that
drives runs: a worker that is frozen, or hangs, is late.
Rule 3: whoever leaves takes its entry away. Entries of those who died are taken away by those who live, when their leases have ended.
Rule 4: nothing is kept between two heartbeats: the index says who holds the entry and until when. So a server carries them out for
workers of any language, one heartbeat through this server and the next through another, and an entry that was taken away too early
is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from replay.engine.family import new_run
from replay.errors import ReplayError
from replay.model.codec import from_json, to_json
from replay.model.journal import Started
from replay.model.names import SECOND
from replay.store.contract import CLOSED, Claim, Commit, Committed, Filter, Lease, Run, RunKey, Store

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
SWEEP: Final = 100
"""Entries of the dead that one look takes away at most."""


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


def announce(store: Store, namespace: str, name: str, told: Mapping[str, Any]) -> None:
    """Show what a worker tells of itself: fields of ``TOLD``, and ``every``. Now and then it looks after the entries of all."""
    key, state = RunKey(beside(namespace), name), {WORKER: to_json(dict(told))}
    lease = _lease(store, key)
    shown = lease is not None and store.commit([Commit(lease=lease, expected=1, applied=1, state=state)]) == [Committed.APPLIED]
    if lease is not None and shown:
        if lease.until < store.now() + KEPT // 2:
            store.renew([lease], ttl=KEPT)
            _sweep(store, key)
            _bury(store, key.namespace)
        return
    _sweep(store, key)  # first: it may be among them, when it was silent for long
    begin = Started(workflow=WORKER, namespace=key.namespace, seed=name)
    made = attrs.evolve(new_run(key, begin, at=store.now(), queue=WORKER), state=state)
    (entry,) = store.create([made], worker=name, ttl=KEPT)
    if entry.run.status in CLOSED:  # others are just taking it away, or died before they had: it is made at the next heartbeat
        store.delete([key])


def withdraw(store: Store, namespace: str, name: str) -> None:
    """Take a worker's entry away; one that is not there, or that others take away, is left to them."""
    key = RunKey(beside(namespace), name)
    if (lease := _lease(store, key)) is not None:
        _end(store, [lease])
    store.delete([key])


def _lease(store: Store, key: RunKey) -> Lease | None:
    """The lease by which a worker holds its entry, as the index has it."""
    (entry,) = store.get([key])
    return Lease(key, entry.fence, key.id, entry.ready_at or 0) if entry is not None and entry.worker == key.id else None


def _sweep(store: Store, by: RunKey) -> None:
    """Take away the entries of those who died."""
    claim = Claim(worker=by.id, namespace=by.namespace, queues=[WORKER], workflows=[WORKER], limit=SWEEP, ttl=KEPT)
    leases = [dead.lease for dead in store.claim(claim).runs]
    _end(store, leases)
    if leases:
        store.delete([lease.key for lease in leases])


def _bury(store: Store, namespace: str) -> None:
    """Delete entries that had been ended when whoever took them away died. Seldom: to find them may load SQLAlchemy."""
    ended = store.find(Filter(namespace=namespace, statuses=sorted(CLOSED)), limit=SWEEP).runs
    if ended:
        store.delete([run.key for run in ended])


def _end(store: Store, leases: Sequence[Lease]) -> None:
    if leases:
        store.commit([Commit(lease=lease, expected=1, applied=1, status="completed", result=b"null", release=True) for lease in leases])


class Presence:
    """The heartbeat of one worker of this process.

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
        self._began = store.now()
        self.due = self._began + min(every, FIRST)
        self._entry = (store, namespace, name)
        self._every = every
        self._tell = tell
        self._trouble = trouble
        self._told = False

    def beat(self, now: int) -> None:
        """Tell of the worker now; what the store does not take is told next time."""
        self.due = now + self._every
        self._told = True
        try:
            announce(*self._entry, {**self._tell(), "started_at": self._began, "every": self._every})
        except ReplayError as error:
            self._trouble("announce", error)

    def hurry(self) -> None:
        """Tell of the worker at once, if others have heard of it at all."""
        if self._told:
            self.due = 0

    def leave(self) -> None:
        """Take the entry away."""
        if self._told:
            self._told = False
            try:
                withdraw(*self._entry)
            except ReplayError as error:
                self._trouble("announce", error)
