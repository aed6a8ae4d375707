"""Where the events of a run are: the newest in its head, the older ones in segments.

Rule 1: a segment is written once, under a key that nobody else chooses, before the head that names it; one that no head names is
nobody's. It is bounded, also when many events come at once, so that a recovery reads no more than it needs.
Rule 2: whoever reads events checks each against its seal and that none is missing, also at the end.
"""

from __future__ import annotations

import json
import uuid
from itertools import accumulate, groupby
from typing import Any

from replay.hooks import Event, JournalDamaged, RunKey, gapless
from replay_s3.bucket import Bucket
from replay_s3.heads import INLINE, Head, Segment, slug, unpack_events


def cut(bucket: Bucket, key: RunKey, head: Head) -> None:
    """When the newest events have grown large, they become a segment of their own."""
    sizes = [len(row[5]) + 100 for row in head.tail]
    if sum(sizes) <= INLINE:
        return
    pieces = groupby(zip(accumulate(sizes), head.tail, strict=True), key=lambda sized: sized[0] // INLINE)
    made = [[row for _, row in piece] for _, piece in pieces]
    head.segments += bucket.together(lambda rows: write(bucket, key, rows), made)
    head.tail = []


def write(bucket: Bucket, key: RunKey, rows: list[list[Any]]) -> Segment:
    """Make a segment of events."""
    first, last = rows[0][0], rows[-1][0]
    place = f"runs/{slug(key)}/seg/{first:012d}-{uuid.uuid4().hex[:12]}"
    bucket.put(place, json.dumps(rows, ensure_ascii=False).encode())
    return first, last, place


def events(bucket: Bucket, head: Head, *spans: tuple[int, int]) -> list[Event]:
    """Events after one seq and up to another, for each such span, from the segments that hold them and the head.

    Raises:
        JournalDamaged: One is missing or damaged.
    """
    run = head.run
    wanted = [segment for segment in head.segments if any(segment[1] > after and segment[0] <= until for after, until in spans)]
    parts = bucket.together(lambda segment: read(bucket, run.key, segment), wanted)
    parts.append(unpack_events(run.key.id, [row for row in head.tail if any(after < row[0] <= until for after, until in spans)]))
    whole: list[Event] = []
    for after, until in spans:
        found = gapless(run.key, [event for part in parts for event in part if after < event.seq <= until], after)
        if len(found) < min(until, run.seq) - after:
            raise JournalDamaged(run.key.id, after + len(found) + 1, "it is missing, and so is all after it")
        whole += found
    return whole


def recovery(bucket: Bucket, head: Head) -> list[Event]:
    """The events that a run goes on from."""
    run = head.run
    return events(bucket, head, (0, run.seq)) if run.base <= 1 else events(bucket, head, (0, 1), (run.base - 1, run.seq))


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
