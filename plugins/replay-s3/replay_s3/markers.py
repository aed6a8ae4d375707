"""Markers: objects whose keys sort by the moment at which a run is ready, so that what is due is found without a scan.

Rule 1: a marker is a hint; the head decides.
Rule 2: it is written before the head that it is a marker of, and taken away by whoever changed that head. So none is missing, and a
stale one costs a look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from replay.hooks import Claim, Run
from replay_s3.bucket import Bucket, Object
from replay_s3.heads import part, slug

STALE: Final = 60.0
"""Seconds after which a marker that does not fit its head is taken away; no writer takes that long between the two."""
LOOK: Final = 400
"""Markers looked at in one claim and queue."""


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
    return f"ready/{namespace}/{part(run.queue)}/{run.ready_at:020d}/{kind_of(run.workflow)}/{name}"


def kind_of(workflow: str) -> str:
    """A workflow's name, as a marker spells it."""
    return hashlib.sha256(workflow.encode()).hexdigest()[:12]


def head_of(found: Object) -> str:
    """The key of the head that a marker is about."""
    _, namespace, _, _, _, name = found.key.split("/")
    return f"runs/{namespace}/{name}/head"


def mark(bucket: Bucket, run: Run, before: Run | None = None) -> None:
    """Before a head says when it is ready, a marker says so."""
    if run.ready_at is not None and (before is None or before.ready_at != run.ready_at):
        bucket.put(marker(run), json.dumps([*run.key]).encode())


def unmark(bucket: Bucket, before: Run, run: Run | None) -> None:
    """What the head no longer says, its marker need not."""
    if before.ready_at is not None and (run is None or before.ready_at != run.ready_at):
        bucket.delete([marker(before)])


def mend(bucket: Bucket, found: Object, run: Run | None) -> None:
    """Put a marker right that does not fit its head."""
    if found.age > STALE:
        if run is not None:
            mark(bucket, run)
        if run is None or run.ready_at is None or marker(run) != found.key:
            bucket.delete([found.key])


def due(bucket: Bucket, claim: Claim, now: int) -> Due:
    """Markers of what a worker may take."""
    offered = {kind_of(name) for name in claim.workflows}
    markers: list[Object] = []
    next_at: int | None = None
    for queue in claim.queues:
        for found in bucket.entries(f"ready/{part(claim.namespace)}/{part(queue)}/", limit=LOOK):
            moment, workflow = int(found.key.split("/")[3]), found.key.split("/")[4]
            if workflow not in offered:
                continue
            if moment > now:
                next_at = moment if next_at is None else min(next_at, moment)
                break
            markers.append(found)
    return Due(markers, next_at)
