"""What a claim looks at in a queue that is declared as a ``Queue``, in a SQLite file.

Rule 1: a look costs what ``LOOK`` says, not what waits. The longest ready are looked at first (``glance``); where more are ready than
that, the first runs of each key are looked at too, so that no key hides behind another's backlog.
Rule 2: where there are more keys than that, each look begins where the one before ended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from replay.model.queues import Queue
from replay.store.limits import LOOK, PENDING, Begun, Standing, Waiting, glance
from replay.store.sql import Row
from replay.store.sqlite_files import Raw

Lane = tuple[str, str, int]
"""A queue, a workflow and a priority."""
Places = dict[tuple[str, ...], str]
"""Where the next look begins, by lane and status, after one that could not see all keys."""

STANDING: Final = """
    SELECT fairness_key, count(*), min(ready_at) FROM replay_runs INDEXED BY replay_runs_held
    WHERE namespace = ? AND queue = ? AND ready_at > ? AND worker <> '' GROUP BY fairness_key"""
BEGUN: Final = "SELECT moments FROM replay_begun WHERE namespace = ? AND queue = ?"
REMEMBER: Final = """
    INSERT INTO replay_begun (namespace, queue, moments) VALUES (?, ?, ?)
    ON CONFLICT (namespace, queue) DO UPDATE SET moments = excluded.moments"""
IN_LANE: Final = "namespace = ?1 AND queue = ?2 AND workflow = ?3 AND priority = ?4"
OLDEST: Final = f"""
    SELECT ready_at, pk, fairness_key, status FROM replay_runs INDEXED BY replay_runs_ready
    WHERE {IN_LANE} AND ready_at <= ?5 ORDER BY ready_at, pk LIMIT ?6"""  # noqa: S608
ENDED: Final = f"""
    SELECT ready_at, pk, fairness_key, status FROM replay_runs INDEXED BY replay_runs_held
    WHERE {IN_LANE} AND ready_at <= ?5 AND worker <> '' ORDER BY ready_at LIMIT ?6"""  # noqa: S608
IN_LINE: Final = f"""
    FROM replay_runs INDEXED BY replay_runs_line WHERE {IN_LANE} AND status = ?5 AND worker = '' AND ready_at IS NOT NULL"""
KEYS: Final = f"""
    WITH RECURSIVE line(name, number) AS (
        SELECT (SELECT min(fairness_key) {IN_LINE} AND fairness_key >= ?6), 1
        UNION ALL
        SELECT (SELECT min(fairness_key) {IN_LINE} AND fairness_key > line.name), number + 1 FROM line
        WHERE name IS NOT NULL AND number < ?7)
    SELECT name, EXISTS (SELECT 1 {IN_LINE} AND fairness_key = line.name AND ready_at <= ?8) FROM line
    WHERE name IS NOT NULL"""  # noqa: S608
"""One look-up for each key."""
OF_KEY: Final = f"""
    SELECT ready_at, pk, fairness_key, status {IN_LINE} AND fairness_key = ?6 AND ready_at <= ?7
    ORDER BY ready_at LIMIT ?8"""
RESTING: Final = ("waiting", "running", "paused", "stuck")
"""What a run that nobody holds may be when it was taken before."""


def standing(raw: Raw, namespace: str, queue: Queue, now: int) -> Standing:
    """Who holds runs of a queue."""
    rows = raw.execute(STANDING, (namespace, queue.name, now)).fetchall()
    begun: Begun = ()
    if queue.rate is not None and (row := raw.execute(BEGUN, (namespace, queue.name)).fetchone()):
        begun = [(at, number) for at, number in json.loads(row[0])]
    held = Counter({key: number for key, number, _ in rows})
    return Standing(queue, held, min((end for _, _, end in rows), default=None), begun, now)


def remember(raw: Raw, namespace: str, found: Standing) -> None:
    """Write down when runs began, where a rate needs to know."""
    begun = found.remembered()
    if begun is not None:
        raw.execute(REMEMBER, (namespace, found.queue.name, json.dumps(begun)))


def waiting(raw: Raw, namespace: str, lane: Lane, found: Standing, limit: int, places: Places) -> Iterator[Waiting]:
    """Runs of a lane that are ready, as many as a claim looks at."""
    if found.full:
        found.blocked = True
        return
    few = glance(limit)
    rows = raw.execute(OLDEST, (namespace, *lane, found.now, few + 1)).fetchall()
    if len(rows) > few:
        found.partial = True
        rows += raw.execute(ENDED, (namespace, *lane, found.now, LOOK)).fetchall()
        for status in (PENDING, *RESTING) if found.may_begin else RESTING:
            rows += _by_key(raw, (namespace, *lane, status), found, limit, places)
    seen: set[int] = set()
    for ready_at, pk, key, status in rows:
        if pk not in seen:
            seen.add(pk)
            yield Waiting(lane[2], ready_at, lane[0], key, status == PENDING, pk)


def _by_key(raw: Raw, line: tuple[str | int, ...], found: Standing, limit: int, places: Places) -> list[Row]:
    """The first runs of each key."""
    place = tuple(map(str, line))
    first = places.pop(place, "")
    keys: Sequence[Row] = raw.execute(KEYS, (*line, first, LOOK, found.now)).fetchall()
    found.unseen |= bool(first) or len(keys) == LOOK
    if len(keys) == LOOK:
        places[place] = keys[-1][0] + "\x01"  # names hold no such character, so this is behind it and before the next
    due = [name for name, ready in keys if ready]
    share = max(1, min(limit, LOOK // max(1, len(due))))
    return [row for name in due for row in raw.execute(OF_KEY, (*line, name, found.now, share))]
