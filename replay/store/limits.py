"""Which of the runs that are ready a claim may take: limits of queues, and fairness between keys.

Rule 1: of one priority the queues of a claim take turns, in the order in which it names them. Within a plain queue the longest ready
goes first; within a ``Queue`` the key with the fewest runs held, and of these who has waited longest.
Rule 2: a run is held while its lease lasts. So a limit needs no counter that could be wrong after a crash: who holds what is read
from the runs themselves, and a dead holder's slot is free when its lease ends.
Rule 3: only what begins is counted by a rate: runs that are taken for the first time. Their moments are all that a store remembers
beside the runs, and no more of them than ``GRAINS``.
Rule 4: nothing here speaks to a store. A store hands in what is waiting and what is held, under a lock that other claims of the same
queue wait for, and takes what comes out.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from replay.model.queues import Queue, Rate
from replay.store.contract import Run

GRAINS: Final = 1_000
"""Moments that are remembered for one window; where more runs may begin in it, those of a thousandth of it are counted together."""
LOOK: Final = 1_000
"""Runs, and keys, of one queue, workflow and priority that a claim looks at at most."""
GLANCE: Final = 50
"""Runs of those that have waited longest which it looks at, beside four times as many as it may take."""
AGAIN: Final = 50_000
"""Microseconds after which a claim comes again that found nothing, but could not look at all keys."""
PENDING: Final = "pending"
"""The status of a run that was never taken."""

Begun = Sequence[tuple[int, int]]
"""When runs of a queue began, as (microseconds, how many), oldest first."""


class Waiting(NamedTuple):
    """A run that is ready.

    Attributes:
        priority: Higher first.
        ready_at: Since when, microseconds.
        queue: Where it waits.
        key: Its fairness key, or empty.
        begins: Whether it was never taken.
        run: What the store knows it by.
    """

    priority: int
    ready_at: int
    queue: str
    key: str
    begins: bool
    run: Any


def waiting_of(run: Run, token: Any) -> Waiting:
    """A run that is ready, by its index entry."""
    return Waiting(run.priority, run.ready_at or 0, run.queue, run.fairness_key, run.status == PENDING, token)


@attrs.define
class Standing:
    """What is known of a ``Queue`` before a claim, and what the claim makes of it.

    Attributes:
        queue: Its declaration.
        held: Runs that are held, by key.
        first_end: When the first of their leases ends, or None.
        begun: When runs began.
        now: The moment of the claim.
        taken: Runs that this claim has taken.
        began: Those of them that begin.
        blocked: Whether a run was left although there was room for it in the claim.
        partial: Whether more runs are ready than were looked at.
        unseen: Whether there are keys that were not looked at.
    """

    queue: Queue
    held: Counter[str]
    first_end: int | None
    begun: Begun
    now: int
    taken: int = 0
    began: int = 0
    blocked: bool = False
    partial: bool = False
    unseen: bool = False

    @property
    def full(self) -> bool:
        """Whether no run of it can be taken."""
        queue = self.queue
        crowded = queue.concurrency is not None and self.held.total() >= queue.concurrency
        return crowded or (queue.here is not None and self.taken >= queue.here)

    @property
    def may_begin(self) -> bool:
        """Whether another run may begin."""
        rate = self.queue.rate
        return rate is None or self.began + begun_within(self.begun, self.now, rate) < rate.count

    def admits(self, waiting: Waiting) -> bool:
        """Whether this run may be taken."""
        return (
            not self.full
            and (self.queue.per_key is None or not waiting.key or self.held[waiting.key] < self.queue.per_key)
            and (not waiting.begins or self.may_begin)
        )

    def take(self, waiting: Waiting) -> None:
        """Count a run that is taken."""
        self.held[waiting.key] += 1
        self.taken += 1
        self.began += waiting.begins

    def next_at(self) -> int | None:
        """When a run that was left may be taken, as far as time alone decides; None when nothing was left."""
        if self.partial and not self.full and (self.taken or self.unseen):
            return self.now + (1 if self.taken else AGAIN)
        if not self.blocked:
            return None
        rate = self.queue.rate
        moments = [] if self.first_end is None else [self.first_end]
        if rate is not None and not self.may_begin:
            moments += [at + rate.span for at, _ in recent(self.begun, self.now, rate)[:1]] or [self.now + rate.span]
        return min(moments, default=None)

    def remembered(self) -> Begun | None:
        """The moments to remember from now on; None when they are as they were."""
        rate = self.queue.rate
        if rate is None or not self.began:
            return None
        grain = max(1, rate.span // GRAINS) if rate.count > GRAINS else 1
        at = -(-self.now // grain) * grain  # rounded up: rather too few than too many begin
        past = recent(self.begun, self.now, rate)
        if past and past[-1][0] == at:
            return [*past[:-1], (at, past[-1][1] + self.began)]
        return [*past, (at, self.began)]


def recent(begun: Begun, now: int, rate: Rate) -> list[tuple[int, int]]:
    """What began within the window that ends now; a clock that was put back makes nothing begin later than that."""
    grain = max(1, rate.span // GRAINS)
    return [(min(at, now + grain), number) for at, number in begun if at > now - rate.span]


def begun_within(begun: Begun, now: int, rate: Rate) -> int:
    """How many began within the window that ends now."""
    return sum(number for _, number in recent(begun, now, rate))


def allotted(queues: Iterable[str | Queue], waiting: Iterable[Waiting], standings: Mapping[str, Standing], limit: int) -> list[Waiting]:
    """The runs that a claim takes, in order, at most ``limit``; the standings count them.

    Args:
        queues: The queues of the claim, in its order.
        waiting: Runs of these that are ready.
        standings: What is known of those that are declared as a ``Queue``, by name.
        limit: How many the claim takes at most.
    """
    levels: dict[int, dict[str, list[Waiting]]] = {}
    for item in waiting:
        levels.setdefault(item.priority, {}).setdefault(item.queue, []).append(item)
    taken: list[Waiting] = []
    for _, level in sorted(levels.items(), reverse=True):
        lines = deque(_line(level[name], standings.get(name)) for name in names(queues) if name in level)
        while lines:
            chosen = next(lines[0], None) if len(taken) < limit else None
            if chosen is None:
                lines.popleft()
                continue
            taken.append(chosen)
            lines.rotate(-1)
    return taken


def _line(waiting: list[Waiting], standing: Standing | None) -> Iterator[Waiting]:
    """The runs of one queue and priority, in the order in which they may be taken."""
    waiting.sort(key=lambda item: item.ready_at)
    return iter(waiting) if standing is None else _fair(waiting, standing)


def _fair(waiting: list[Waiting], standing: Standing) -> Iterator[Waiting]:
    """The key with the fewest runs held goes first; of these, who has waited longest."""
    lines: dict[str, deque[Waiting]] = {}
    for item in waiting:
        lines.setdefault(item.key, deque()).append(item)
    heap = [(standing.held[key], line[0].ready_at, key) for key, line in lines.items()]
    heapq.heapify(heap)
    while heap and not standing.full:
        _, _, key = heapq.heappop(heap)
        line = lines[key]
        while line and not standing.admits(line[0]):
            standing.blocked = True
            line.popleft()
        if line:
            chosen = line.popleft()
            standing.take(chosen)
            if line:
                heapq.heappush(heap, (standing.held[key], line[0].ready_at, key))
            yield chosen
    standing.blocked |= bool(heap)


def names(queues: Iterable[str | Queue]) -> list[str]:
    """Names of queues, each once, in their order."""
    return list(dict.fromkeys(queue if isinstance(queue, str) else queue.name for queue in queues))


def declared(queues: Iterable[str | Queue]) -> dict[str, Queue]:
    """Those that are more than a name, by name."""
    return {queue.name: queue for queue in queues if isinstance(queue, Queue)}


def glance(limit: int) -> int:
    """How many of those that have waited longest a claim looks at, before it looks at keys."""
    return min(LOOK, GLANCE + 4 * max(0, limit))


def soonest(*moments: int | None) -> int | None:
    """The earliest of moments; None where there is none."""
    return min((moment for moment in moments if moment is not None), default=None)
