"""Where the events of a run are: the newest in its head, the older ones in segments.

Rule 1: a segment is written once, under a key that nobody else chooses, before the head that names it; one that no head names is
nobody's.
Rule 2: whoever reads events checks each against its seal and that none is missing, also at the end.
"""

from __future__ import annotations

import json
import uuid

from replay.hooks import Event, JournalDamaged, RunKey, gapless
from replay_s3.bucket import Bucket
from replay_s3.heads import INLINE, Head, Segment, slug, unpack_events


def cut(bucket: Bucket, key: RunKey, head: Head) -> None:
    """When the newest events have grown large, they become a segment of their own."""
    if sum(len(row[5]) + 100 for row in head.tail) <= INLINE:
        return
    first, last = head.tail[0][0], head.tail[-1][0]
    place = f"runs/{slug(key)}/seg/{first:012d}-{uuid.uuid4().hex[:12]}"
    bucket.put(place, json.dumps(head.tail, ensure_ascii=False).encode())
    head.segments.append((first, last, place))
    head.tail = []


def events(bucket: Bucket, head: Head, after: int, until: int) -> list[Event]:
    """Events after one seq and up to another, from the segments that hold them and the head.

    Raises:
        JournalDamaged: One is missing or damaged.
    """
    run = head.run
    wanted = [segment for segment in head.segments if segment[1] > after and segment[0] <= until]
    parts = bucket.together(lambda segment: read(bucket, run.key, segment), wanted)
    found = [event for part in parts for event in part if after < event.seq <= until]
    found += unpack_events(run.key.id, [row for row in head.tail if after < row[0] <= until])
    whole = gapless(run.key, found, after)
    if len(whole) < min(until, run.seq) - after:
        raise JournalDamaged(run.key.id, after + len(whole) + 1, "it is missing, and so is all after it")
    return whole


def recovery(bucket: Bucket, head: Head) -> list[Event]:
    """The events that a run goes on from."""
    run = head.run
    if run.base <= 1:
        return events(bucket, head, 0, run.seq)
    return [*events(bucket, head, 0, 1), *events(bucket, head, run.base - 1, run.seq)]


def read(bucket: Bucket, key: RunKey, segment: Segment) -> list[Event]:
    """The events of a segment.

    Raises:
        JournalDamaged: It is gone, or cannot be read.
    """
    first, _, place = segment
    found = bucket.get(place)
    if found is None:
        raise JournalDamaged(key.id, first, f"its segment {place} is gone")
    try:
        return unpack_events(key.id, json.loads(found.body))
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise JournalDamaged(key.id, first, f"its segment {place} cannot be read: {error}") from None
