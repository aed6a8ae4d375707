"""Claims that name a queue with limits: one after the other for each such queue, side by side for all others.

Rule 1: whoever claims from a queue with limits holds an advisory lock of it until the end of the transaction, so that who is held is
counted by one at a time. Those locks are taken in the order of the queues' names; queues without limits are claimed as ever, past
what others have locked.
Rule 2: a look costs what ``LOOK`` says, not what waits: the longest ready come first, and where more are ready than that, the first
runs of each key. Where there are more keys than that, each look begins where the one before ended.
Rule 3: which of them are taken is for ``allotted`` to say, as in every store.
"""

# ruff: noqa: S608 - statements are put together from our own words only; what comes from outside is a parameter

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from replay.hooks import LOOK, PENDING, Claim, Queue, Standing, Waiting, allotted, declared, glance, names, soonest
from replay_postgres import statements as sql
from replay_postgres.arrays import Longs, Names, Shape
from replay_postgres.pool import BEGIN, PLAN, Ask, Hot, Row

HOLD: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))"
STANDING: Final = f"""
    WITH {sql.MOMENT}
    SELECT m.now, q.queue, h.key, h.number, h.first_end, b.moments
    FROM moment m CROSS JOIN unnest($3::text[]) AS q(queue)
    LEFT JOIN LATERAL (
        SELECT r.fairness_key AS key, count(*) AS number, min(r.ready_at) AS first_end FROM @runs r
        WHERE r.namespace = $2::text AND r.queue = q.queue AND r.worker <> '' AND r.ready_at > m.now GROUP BY r.fairness_key) h ON true
    LEFT JOIN @begun b ON b.namespace = $2::text AND b.queue = q.queue"""
REMEMBER: Final = """
    INSERT INTO @begun (namespace, queue, moments) VALUES ($1::text, $2::text, $3::text)
    ON CONFLICT (namespace, queue) DO UPDATE SET moments = excluded.moments"""
FOUND: Final = "d.pk, d.ready_at, d.fairness_key, d.status"
OLDEST: Final = f"""
    WITH RECURSIVE {sql.MOMENT}, {sql.SERVED}
    SELECT l.queue, l.workflow, l.priority,
        (SELECT min(n.ready_at) FROM (SELECT r.ready_at {sql.IN_LANE} AND r.ready_at > m.now ORDER BY r.ready_at LIMIT 1) n), {FOUND}
    FROM moment m CROSS JOIN served l LEFT JOIN LATERAL (
        SELECT r.pk, r.ready_at, r.fairness_key, r.status {sql.IN_LANE} AND r.ready_at <= m.now
        ORDER BY r.ready_at LIMIT $5::int8) d ON true"""
"""The longest ready of each lane, and when its next run is due."""
LANES: Final = Shape("l", "queue workflow priority:number status first")
IN_LINE: Final = f"{sql.IN_LANE} AND r.status = l.status AND r.worker = ''"
BY_KEY: Final = f"""
    WITH RECURSIVE {sql.MOMENT},
    line(queue, workflow, priority, status, key, number) AS (
        SELECT l.queue, l.workflow, l.priority, l.status, k.fairness_key, 1 FROM {LANES.sql(4)} CROSS JOIN LATERAL (
            SELECT r.fairness_key {IN_LINE} AND r.fairness_key >= l.first ORDER BY r.fairness_key LIMIT 1) k
        UNION ALL
        SELECT l.queue, l.workflow, l.priority, l.status, k.fairness_key, l.number + 1 FROM line l CROSS JOIN LATERAL (
            SELECT r.fairness_key {IN_LINE} AND r.fairness_key > l.key ORDER BY r.fairness_key LIMIT 1) k WHERE l.number < {LOOK})
    SELECT l.queue, l.workflow, l.priority, l.status, l.key, d.pk, d.ready_at, d.fairness_key
    FROM line l LEFT JOIN LATERAL (
        SELECT r.pk, r.ready_at, r.fairness_key {IN_LINE} AND r.fairness_key = l.key AND r.ready_at <= (SELECT now FROM moment)
        ORDER BY r.ready_at LIMIT (SELECT greatest(1, least($3::int8, {LOOK} / greatest(1, count(*)))) FROM line)) d ON true"""
"""The first runs of each key; one look-up for each of them."""
ENDED: Final = f"""
    WITH {sql.MOMENT}
    SELECT l.queue, l.workflow, l.priority, {FOUND} FROM {LANES.sql(3)} CROSS JOIN LATERAL (
        SELECT r.pk, r.ready_at, r.fairness_key, r.status {sql.IN_LANE} AND r.worker <> ''
            AND r.ready_at <= (SELECT now FROM moment) ORDER BY r.ready_at LIMIT {LOOK}) d"""
"""Runs whose lease has ended; they stand in no line."""
TAKE: Final = f"""
    WITH {sql.MOMENT},
    chosen AS MATERIALIZED (
        SELECT r.pk, c.place FROM unnest($4::int8[]) WITH ORDINALITY AS c(pk, place) JOIN @runs r USING (pk)
        WHERE r.ready_at <= (SELECT now FROM moment) ORDER BY c.place FOR NO KEY UPDATE OF r SKIP LOCKED)
    {sql.TAKEN.format(worker="$2", ttl="$3")}
    SELECT m.now, t.* FROM moment m CROSS JOIN taken t ORDER BY t.place"""
RESTING: Final = ("waiting", "running", "paused", "stuck")
"""What a run that nobody holds may be when it was taken before."""

Places = dict[tuple[str, ...], str]
"""Where the next look begins, by lane and status, after one that could not see all keys."""
Lane = tuple[str, str, int]


class Taken(NamedTuple):
    """What a claim has taken: the server's time, ``RUN`` rows in order, and when to come again."""

    now: int
    rows: list[Row]
    next_at: int | None


def claim_limited(hot: Hot, moment: int | None, claim: Claim, schema: str, room: int, places: Places) -> Taken:
    """Take runs in one transaction, which is rolled back by the end of the connection when something is raised."""
    limited = declared(claim.queues)
    locks: list[Ask] = [(HOLD, (f"replay:{schema}:{claim.namespace}:{name}",)) for name in sorted(limited)]
    hot.ask_together([(BEGIN, ()), *locks])
    standings = _standings(hot.ask(STANDING, (moment, claim.namespace, Names(limited))), limited)
    now = next(iter(standings.values())).now
    limit = max(0, claim.limit)
    plain = [name for name in names(claim.queues) if name not in limited]
    free = [name for name, standing in standings.items() if not standing.full]
    served = (claim.namespace, Names(free), Names(claim.workflows))
    _, oldest, others, next_plain = hot.ask_together(
        [
            (PLAN, ()),
            (OLDEST, (moment, *served, glance(limit) + 1)),
            (sql.choosing(room), (moment, claim.namespace, Names(plain), Names(claim.workflows), limit)),
            (sql.NEXT, (moment, claim.namespace, Names(plain), Names(claim.workflows))),
        ]
    )
    found = _found(hot, moment, claim, oldest, standings, places)
    waiting = [Waiting(priority, place, queue, "", False, pk) for queue, priority, pk, place in others]
    chosen = allotted(claim.queues, [*waiting, *found.values()], standings, limit)
    for name in limited.keys() - set(free):
        standings[name].blocked = True
    asks: list[Ask] = [(TAKE, (moment, claim.worker, claim.ttl, Longs(item.run for item in chosen)))] if chosen else []
    for name, standing in standings.items():
        if (begun := standing.remembered()) is not None:
            asks.append((REMEMBER, (claim.namespace, name, json.dumps(begun))))
    answers = hot.ask_together([*asks, ("COMMIT", ())])
    rows = answers[0] if chosen else []
    parked = [row[3] for row in oldest]
    again = [standing.next_at() for standing in standings.values()]
    return Taken(rows[0][0] if rows else now, [row[2:] for row in rows], soonest(next_plain[0][0], *parked, *again))


def _standings(rows: Iterable[Row], limited: Mapping[str, Queue]) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    for now, queue, key, number, first_end, moments in rows:
        standing = found.get(queue)
        if standing is None:
            begun = [(at, count) for at, count in json.loads(moments or "[]")]
            standing = found[queue] = Standing(limited[queue], Counter(), None, begun, now)
        if key is not None:
            standing.held[key] = number
            standing.first_end = soonest(standing.first_end, first_end)
    return found


def _found(
    hot: Hot, moment: int | None, claim: Claim, oldest: Sequence[Row], standings: Mapping[str, Standing], places: Places
) -> dict[int, Waiting]:
    """Runs that are ready in queues with limits, by their numbers."""
    found = {
        pk: Waiting(priority, ready_at, queue, key, status == PENDING, pk)
        for queue, _, priority, _, pk, ready_at, key, status in oldest
        if pk is not None
    }
    many = [lane for lane, number in Counter((row[0], row[1], row[2]) for row in oldest).items() if number > glance(claim.limit)]
    if not many:
        return found
    lines: list[tuple[str, str, int, str, str]] = []
    for lane in many:
        standings[lane[0]].partial = True
        for status in (PENDING, *RESTING) if standings[lane[0]].may_begin else RESTING:
            first = places.pop((*map(str, lane), status), "")
            standings[lane[0]].unseen |= bool(first)
            lines.append((*lane, status, first))
    once = LANES.parameters([(*lane, "", "") for lane in many])
    by_key, ended = hot.ask_together(
        [
            (BY_KEY, (moment, claim.namespace, max(1, claim.limit), *LANES.parameters(lines))),
            (ENDED, (moment, claim.namespace, *once)),
        ]
    )
    seen: dict[tuple[str, ...], set[str]] = {}
    for queue, workflow, priority, status, key, pk, ready_at, _ in by_key:
        seen.setdefault((queue, workflow, str(priority), status), set()).add(key)
        if pk is not None:
            found[pk] = Waiting(priority, ready_at, queue, key, status == PENDING, pk)
    for line, keys in seen.items():
        if len(keys) >= LOOK:
            places[line] = max(keys) + "\x01"  # names hold no such character, so this is behind it and before the next
            standings[line[0]].unseen = True
    found |= {
        pk: Waiting(priority, ready_at, queue, key, status == PENDING, pk) for queue, _, priority, pk, ready_at, key, status in ended
    }
    return found
