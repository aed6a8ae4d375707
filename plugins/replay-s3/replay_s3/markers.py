"""Markers: objects whose keys sort by the moment at which a run is ready, so that what is due is found without a scan.

Rule 1: a marker is a hint; the head decides.
Rule 2: it is written before the head that it is a marker of, and taken away by whoever changed that head. So none is missing, and a
stale one costs a look. Its key holds the run's fence: who is slow to take one away takes none that came after, though a run may wait
for the moment that it waited for before.
Rule 3: a run with a fairness key that nobody holds has a second one, in the line of its key, so that in queues with limits no key hides
behind the backlog of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from replay.hooks import Claim, Run, declared, names
from replay_s3.bucket import Bucket, Object
from replay_s3.heads import part, slug

STALE: Final = 60.0
"""Seconds after which a marker that does not fit its head is taken away; no writer takes that long between the two."""
LOOK: Final = 400
"""Markers looked at in one claim and queue."""
KEYS: Final = 100
"""Keys whose lines are looked at in one claim and queue, where there are more markers than that."""


class Due(NamedTuple):
    """What the markers say.

    Attributes:
        now: Markers of runs that may be ready.
        next_at: The earliest moment to come, or None.
    """

    now: Sequence[Object]
    next_at: int | None


def marker(run: Run) -> str:
    """The key of a run's marker."""
    namespace, _, name = slug(run.key).partition("/")
    return f"ready/{namespace}/{part(run.queue)}/{run.ready_at:020d}.{run.fence}/{kind_of(run.workflow)}/{name}"


def in_line(run: Run) -> list[str]:
    """The key of a run's second marker, if it has one."""
    if not run.fairness_key or run.worker:
        return []
    _, namespace, queue, *rest = marker(run).split("/")
    return [f"lines/{namespace}/{queue}/{part(run.fairness_key)}/{'/'.join(rest)}"]


def _moment(cell: str) -> int:
    """When a run is ready, by its marker; those of earlier releases hold no fence."""
    return int(cell.partition(".")[0])


def _is_same(one: Run, other: Run | None) -> bool:
    """Whether two states of a run have one marker."""
    return other is not None and (one.ready_at, one.fence) == (other.ready_at, other.fence)


def kind_of(workflow: str) -> str:
    """A workflow's name, as a marker spells it."""
    return hashlib.sha256(workflow.encode()).hexdigest()[:12]


def head_of(found: Object) -> str:
    """The key of the head that a marker is about."""
    cells = found.key.split("/")
    return f"runs/{cells[1]}/{cells[-1]}/head"


def mark(bucket: Bucket, run: Run, before: Run | None = None) -> None:
    """Before a head says when it is ready, a marker says so."""
    if run.ready_at is not None and not _is_same(run, before):
        for place in (marker(run), *in_line(run)):
            bucket.put(place, json.dumps([*run.key]).encode())


def unmark(bucket: Bucket, before: Run, run: Run) -> None:
    """What the head no longer says, its marker need not."""
    if before.ready_at is not None and not _is_same(before, run):
        bucket.delete([marker(before), *in_line(before)])


def mend(bucket: Bucket, found: Object, run: Run | None) -> None:
    """Put a marker right that does not fit its head."""
    if found.age > STALE:
        if run is not None:
            mark(bucket, run)
        if run is None or run.ready_at is None or found.key not in {marker(run), *in_line(run)}:
            bucket.delete([found.key])


def due(bucket: Bucket, claim: Claim, now: int, *, full: Collection[str] = (), places: dict[str, str] | None = None) -> Due:
    """Markers of what a worker may take.

    Args:
        bucket: Where they are.
        claim: What the worker asks for.
        now: The moment.
        full: Queues of which nothing can be taken.
        places: Where the last look into a queue's lines ended that could not see all keys.
    """
    offered = {kind_of(name) for name in claim.workflows}
    limited = declared(claim.queues)
    markers: list[Object] = []
    next_at: int | None = None
    for queue in names(claim.queues):
        if queue in full:
            continue
        entries = bucket.entries(f"ready/{part(claim.namespace)}/{part(queue)}/", limit=LOOK)
        if queue in limited and len(entries) == LOOK:
            markers += _first_of_lines(bucket, f"lines/{part(claim.namespace)}/{part(queue)}/", now, {} if places is None else places)
        for found in entries:
            moment, workflow = _moment(found.key.split("/")[3]), found.key.split("/")[4]
            if workflow not in offered:
                continue
            if moment > now:
                next_at = moment if next_at is None else min(next_at, moment)
                break
            markers.append(found)
    wanted = [found for found in markers if found.key.split("/")[-2] in offered]
    return Due(list({head_of(found): found for found in wanted}.values()), next_at)


def _first_of_lines(bucket: Bucket, below: str, now: int, places: dict[str, str]) -> list[Object]:
    """The first markers of each key's line that are due."""
    keys = bucket.folders(below, limit=KEYS, after=places.pop(below, ""))
    if len(keys) == KEYS:
        places[below] = keys[-1]
    share = max(1, LOOK // max(1, len(keys)))
    lines = bucket.together(lambda key: bucket.entries(key, limit=share), keys)
    return [found for line in lines for found in line if _moment(found.key.split("/")[4]) <= now]
