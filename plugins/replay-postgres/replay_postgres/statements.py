"""Every statement of the store that is asked often, as text.

Rule 1: ``@runs`` stands for the table's full name, ``$1`` and on for parameters; a batch comes as arrays (``Shape``).
Rule 2: ``$1`` is the moment: the injected clock's, or NULL for the database's own.
Rule 3: whoever locks several runs locks them in the order of their ``pk``, topics come after runs, and nobody holds a topic while
waiting for a run. What deadlocks are left (names that change hands) are tried again.
Rule 4: an item of a batch carries a random number, its ``turn``. A commit writes it into the run, in the statement that checks fence
and length, and notes for the rest of the transaction what was applied in it: the statements after it ask that, and need not wait for an
answer. Whoever sends the batch again because the answer was lost is told that it had been applied, by the number in the run.
"""

# ruff: noqa: S608 - statements are put together from our own words only; what comes from outside is a parameter

from __future__ import annotations

import functools
from typing import Final

from replay.hooks import BLOCK_SIZE, CLOSED, CONTROL, EVENT_COLUMNS, MESSAGE_COLUMNS, RUN_COLUMNS
from replay_postgres.arrays import Shape

CLOCK: Final = "coalesce($1::int8, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)"
MOMENT: Final = f"moment AS MATERIALIZED (SELECT {CLOCK} AS now)"


def quoted(names: tuple[str, ...], prefix: str = "") -> str:
    """Column names."""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def words(values: frozenset[str]) -> str:
    """Words as a list of literals; they are names of our own."""
    return ", ".join(f"'{value}'" for value in sorted(values))


IS_CLOSED: Final = f"IN ({words(CLOSED)})"
IS_CONTROL: Final = f"IN ({words(CONTROL)})"
RUN: Final = f"""r.pk, r.mail, r.turn, {quoted(RUN_COLUMNS, "r.")}, r.tags::text,
    CASE WHEN r.shown THEN (SELECT jsonb_object_agg(s.key, encode(s.value, 'hex'))::text FROM @state s WHERE s.run = r.pk)
    ELSE '{{}}' END"""
"""All that an index entry is made of."""


def rows(shape: Shape, first: int, count: int = 1, *, skip: int = 0) -> str:
    """Rows as plain parameters from ``$first`` on, without the first columns of each."""
    kinds = [kind for _, kind in shape.kinds][skip:]
    return ", ".join(
        "(" + ", ".join(f"${first + row * len(kinds) + place}::{kind}" for place, kind in enumerate(kinds)) + ")"
        for row in range(count)
    )


# ---- runs that are created ----------------------------------------------------------------------------------------------

NEW: Final = Shape(
    "i",
    "turn:number namespace id workflow version queue digest priority:number parent parent_command status seq:number base:number "
    "applied:number source ready_at:number result:octets tags shown:number fairness_key",
)
GATE: Final = " gate:number"
EVENTS: Final = Shape(
    "e",
    "turn:number seq:number kind command name at:number payload:octets check:number attempt:number duration:number line worker "
    "seal:number",
)
BLOCKS: Final = Shape("b", "turn:number last:number data:octets")
TAGS: Final = Shape("t", "turn:number name word")
STATE: Final = Shape("s", "turn:number key value:octets")
APPLIED: Final = "= ANY (string_to_array(current_setting('replay.applied', true), ',')::int8[])"
"""Whether a turn was applied in this very transaction: not when it was refused, nor when it had been before."""
PASSED: Final = f"i.gate {APPLIED}"
"""Whether the turn that an item belongs to was."""
BORN_COLUMNS: Final = """namespace, id, workflow, version, queue, digest, priority, parent, parent_command, status, seq, base,
    applied, source, created_at, updated_at, ready_at, wake_at, fence, worker, recoveries, note, result, mail, control, box, journals,
    turn, tags, shown, fairness_key"""


def added(first: int, source: str = "born") -> str:
    """Events and blocks of the runs in ``source``, by their turn; takes sixteen parameters."""
    columns = quoted(EVENT_COLUMNS)
    return f"""
        added AS (INSERT INTO @events (run, {columns})
            SELECT {source}.pk, {quoted(EVENT_COLUMNS, "e.")} FROM {EVENTS.sql(first)} JOIN {source} USING (turn)),
        packed AS (INSERT INTO @blocks (run, last, data)
            SELECT {source}.pk, b.last, b.data FROM {BLOCKS.sql(first + 13)} JOIN {source} USING (turn))"""


def described(first: int) -> str:
    """Tags and state of runs that are created; takes six parameters."""
    return f"""
        tagged AS (INSERT INTO @tags (run, namespace, created_at, name, word)
            SELECT born.pk, born.namespace, born.created_at, t.name, t.word FROM {TAGS.sql(first)} JOIN born USING (turn)),
        stated AS (INSERT INTO @state (run, key, value)
            SELECT born.pk, s.key, s.value FROM {STATE.sql(first + 3)} JOIN born USING (turn))"""


def begetting() -> str:
    """Runs out of items."""
    return f"""
    begun AS (SELECT i.*, m.now, ($2::text <> '' AND NOT i.closed AND i.ready_at <= m.now) AS leased FROM item i, moment m),
    born AS (
        INSERT INTO @runs ({BORN_COLUMNS})
        SELECT namespace, id, workflow, version, queue, digest, priority, parent, parent_command,
            CASE WHEN leased AND status = 'pending' THEN 'running' ELSE status END, seq, base, applied, source, now, now,
            CASE WHEN closed THEN NULL WHEN leased THEN now + $3::int8 WHEN ready_at = 0 THEN now ELSE ready_at END, NULL,
            leased::int, CASE WHEN leased THEN $2::text ELSE '' END, 0, '', result, 0, 0, NULL, 0, turn, tags::jsonb, shown = 1,
            fairness_key
        FROM begun ORDER BY namespace, id
        ON CONFLICT (namespace, id) DO NOTHING
        RETURNING pk, turn, namespace, created_at, fence, ready_at)"""


def creation(shape: Shape, condition: str) -> str:
    """Create runs; the turns of those that are new, with pk, moment, fence and ready_at."""
    first = 4 + len(shape.names)
    return f"""
    WITH {MOMENT},
    item AS (SELECT i.*, i.status {IS_CLOSED} AS closed FROM {shape.sql(4)} WHERE {condition}),
    {begetting()},
    {added(first)}, {described(first + 16)}
    SELECT turn, pk, created_at, fence, ready_at FROM born"""


CREATE: Final = creation(NEW, "true")
"""``$2`` is the creator that wants to hold them, ``$3`` for how long."""
CREATE_ALONE: Final = f"""
    WITH {MOMENT},
    item AS (SELECT i.*, i.status {IS_CLOSED} AS closed FROM (VALUES {rows(NEW, 4)}) AS i({quoted(tuple(NEW.names))})),
    {begetting()},
    added AS (INSERT INTO @events (run, {quoted(EVENT_COLUMNS)})
        SELECT born.pk, e.* FROM born, (VALUES {rows(EVENTS, 4 + len(NEW.names), skip=1)}) AS e)
    SELECT turn, pk, created_at, fence, ready_at FROM born"""
"""The same for one run with one event, without tags and state."""
CREATE_CHILDREN: Final = creation(NEW + GATE, PASSED)
"""The same, for those whose parent's turn was applied."""

# ---- turns --------------------------------------------------------------------------------------------------------------

KEYS: Final = Shape("i", "namespace id")
LOCK: Final = f"""
    SELECT r.pk FROM {KEYS.sql(1)} JOIN @runs r USING (namespace, id) ORDER BY r.pk FOR NO KEY UPDATE OF r"""
CHANGE: Final = """
    seq = r.seq + {count}, status = {status}, wake_at = {wake_at}, applied = greatest(r.applied, {applied}),
    base = CASE WHEN {base} > 0 THEN {base} ELSE r.base END, note = {note}, turn = {turn}, updated_at = {now},
    recoveries = r.recoveries * {lost}"""
"""What every turn does to its run."""
REST: Final = """, result = coalesce({result}, r.result), worker = CASE WHEN {rests} > 0 THEN '' ELSE r.worker END,
    ready_at = CASE {rests} WHEN 0 THEN r.ready_at WHEN 2 THEN NULL ELSE CASE
        WHEN CASE WHEN {status} IN ('paused', 'stuck') THEN r.control - {obeyed} ELSE r.mail - {read} END > 0 THEN {now}
        ELSE {wake_at} END END"""
"""What a turn does that keeps its run and has a result (``rests`` 0), gives it back (1), or closes it (2)."""
FEW: Final = 4
"""Events that a turn alone may have to go the short way."""


@functools.cache
def turn_alone(events: int, *, keeps: bool, marks: bool) -> str:
    """One turn of nothing but some events, in one statement without arrays or locks beside its own.

    Args:
        events: How many.
        keeps: Whether the run is neither given back nor closed, and has no result.
        marks: Whether statements follow that ask whether it was applied.
    """
    kinds = {"turn": "int8", "count": "int8", "status": "text", "wake_at": "int8", "applied": "int8", "base": "int8", "note": "text"}
    kinds |= {"lost": "int8"}
    if not keeps:
        kinds |= {"result": "bytea", "rests": "int8"}
    names = {name: f"${place}::{kind}" for place, (name, kind) in enumerate(kinds.items(), 2)}
    change = (CHANGE if keeps else CHANGE + REST).format(**names, now=CLOCK, read="0", obeyed="0")
    first = 2 + len(kinds)
    namespace, run, fence, worker, expected = (f"${place}" for place in range(first, first + 5))
    append = f""", added AS (INSERT INTO @events (run, {quoted(EVENT_COLUMNS)})
        SELECT done.pk, e.* FROM done, (VALUES {rows(EVENTS, first + 5, events, skip=1)}) AS e)"""
    return f"""
    WITH done AS (
        UPDATE @runs r SET {change}
        WHERE r.namespace = {namespace}::text AND r.id = {run}::text AND r.fence = {fence}::int8 AND r.worker = {worker}::text
            AND r.worker <> '' AND r.seq = {expected}::int8 AND r.turn <> $2::int8 RETURNING r.pk){append if events else ""}
    SELECT pk{", set_config('replay.applied', $2::text, true)" if marks else ""} FROM done"""


LOOK: Final = "SELECT fence, worker, turn FROM @runs WHERE namespace = $1::text AND id = $2::text"
SETTLED: Final = f"{LOOK.replace('fence, worker, ', '')} FOR NO KEY UPDATE"
"""The last turn of a run, once nobody is at it."""
ITEM: Final = Shape(
    "i",
    "turn:number namespace id fence:number worker expected:number count:number status wake_at:number applied:number base:number "
    "result:octets note rests:number tags shown:number lost:number",
)
READ: Final = Shape("c", "turn:number id")
"""Messages that turns have consumed."""


@functools.cache
def turns(*, reads: bool, marks: bool) -> str:
    """Many turns, whose runs are locked: for each its turn, the run's pk if it was applied, and the run as it was before.

    Args:
        reads: Whether messages are consumed.
        marks: Whether statements follow that ask which of them were applied.
    """
    fields = {name: f"f.{name}" for name in ITEM.names} | {"now": "m.now"}
    fields |= {"read": "coalesce(f.read, 0)", "obeyed": "coalesce(f.obeyed, 0)"} if reads else {"read": "0", "obeyed": "0"}
    fits = """seen AS MATERIALIZED (
        SELECT i.*, r.pk, coalesce(r.box, r.pk) AS box, r.fence AS held, r.worker AS holder, r.turn AS last,
            r.fence = i.fence AND r.worker = i.worker AND r.worker <> '' AND r.seq = i.expected AND r.turn <> i.turn AS fits
        FROM item i LEFT JOIN @runs r USING (namespace, id)),
    fit AS MATERIALIZED (SELECT * FROM seen WHERE fits)"""
    used = f""",
    used AS (
        UPDATE @messages m SET posted = NULL, payload = '' FROM fit f JOIN {READ.sql(35)} USING (turn)
        WHERE m.box = f.box AND m.id = c.id AND m.posted IS NOT NULL RETURNING f.turn, m.kind),
    less AS (SELECT turn, count(*) AS read, count(*) FILTER (WHERE kind {IS_CONTROL}) AS obeyed FROM used GROUP BY turn)"""
    mark = "SELECT set_config('replay.applied', coalesce(string_agg(turn::text, ','), ''), true) FROM done"
    source = f"({'SELECT * FROM fit LEFT JOIN less USING (turn)' if reads else 'SELECT * FROM fit'}) f"
    return f"""
    WITH {MOMENT}, item AS MATERIALIZED (SELECT * FROM {ITEM.sql(2)}), {fits}{used if reads else ""},
    done AS (
        UPDATE @runs r SET {(CHANGE + REST).format(**fields)},
            mail = r.mail - {fields["read"]}, control = r.control - {fields["obeyed"]},
            tags = CASE WHEN f.tags IS NULL THEN r.tags ELSE jsonb_strip_nulls(r.tags || f.tags::jsonb) END,
            shown = r.shown OR f.shown = 1
        FROM moment m, {source} WHERE r.pk = f.pk RETURNING f.turn, r.pk),
    {added(19, "done")}
    SELECT s.turn, d.pk, s.held, s.holder, s.last{f", ({mark}) IS NULL" if marks else ""}
    FROM seen s LEFT JOIN done d ON d.turn = s.turn"""


PART: Final = Shape("i", "gate:number namespace id")
PART_RUN: Final = f"r.namespace = i.namespace AND r.id = i.id AND {PASSED}"
TAG: Final = f"""
    INSERT INTO @tags (run, namespace, created_at, name, word)
    SELECT r.pk, r.namespace, r.created_at, i.name, i.word FROM {(PART + "name word").sql(1)} JOIN @runs r ON {PART_RUN}
    WHERE i.word <> '' ON CONFLICT (run, name) DO UPDATE SET word = excluded.word"""
UNTAG: Final = f"""
    DELETE FROM @tags t USING {(PART + "name word").sql(1)}, @runs r
    WHERE {PART_RUN} AND i.word = '' AND t.run = r.pk AND t.name = i.name"""
SHOW: Final = f"""
    INSERT INTO @state (run, key, value)
    SELECT r.pk, i.key, i.value FROM {(PART + "key value:octets").sql(1)} JOIN @runs r ON {PART_RUN}
    ON CONFLICT (run, key) DO UPDATE SET value = excluded.value"""
PUBLISHED: Final = Shape("i", "namespace topic payload:octets place:number")


def publication(shape: Shape, condition: str) -> str:
    """Append to topics; whoever does so holds the topic's end until its commit, so that offsets come to be seen in their order."""
    return f"""
    WITH {MOMENT}, item AS MATERIALIZED (
        SELECT i.*, row_number() OVER (PARTITION BY i.namespace, i.topic ORDER BY i.place) AS number
        FROM {shape.sql(2)} WHERE {condition}),
    ending AS (
        INSERT INTO @ends AS t (namespace, topic, last) SELECT namespace, topic, count(*) FROM item GROUP BY namespace, topic
        ORDER BY namespace, topic ON CONFLICT (namespace, topic) DO UPDATE SET last = t.last + excluded.last
        RETURNING namespace, topic, last),
    total AS (SELECT namespace, topic, count(*) AS number FROM item GROUP BY namespace, topic)
    INSERT INTO @topics (namespace, topic, "offset", at, payload)
    SELECT i.namespace, i.topic, ending.last - total.number + i.number, m.now, i.payload
    FROM item i JOIN ending USING (namespace, topic) JOIN total USING (namespace, topic), moment m"""


PUBLISH: Final = publication(PUBLISHED, "true")
PUBLISH_WITH: Final = publication(PUBLISHED + GATE, PASSED)

SUCCEED: Final = f"""
    WITH {MOMENT},
    item AS (SELECT i.*, i.status {IS_CLOSED} AS closed FROM {NEW.sql(2)}),
    old AS MATERIALIZED (
        SELECT r.pk, r.fence, r.mail, r.control, coalesce(r.box, r.pk) AS box, free.number
        FROM item i JOIN @runs r USING (namespace, id) CROSS JOIN LATERAL (
            SELECT s.number FROM (SELECT generate_series(r.journals + 1, r.journals + 1000000) AS number) s
            WHERE NOT EXISTS (SELECT 1 FROM @runs o WHERE o.namespace = r.namespace AND o.id = r.id || '~' || s.number) LIMIT 1) free
        WHERE i.turn {APPLIED}),
    past AS (
        UPDATE @runs r SET id = r.id || '~' || old.number, parent = '', parent_command = '', mail = 0, control = 0, box = 0
        FROM old WHERE r.pk = old.pk RETURNING r.pk),
    born AS (
        INSERT INTO @runs ({BORN_COLUMNS})
        SELECT i.namespace, i.id, i.workflow, i.version, i.queue, i.digest, i.priority, i.parent, i.parent_command, i.status, i.seq,
            i.base, i.applied, i.source, m.now, m.now,
            CASE WHEN i.closed THEN NULL
                WHEN CASE WHEN i.status IN ('paused', 'stuck') THEN old.control ELSE old.mail END > 0 OR i.ready_at = 0 THEN m.now
                ELSE i.ready_at END,
            NULL, old.fence + 1, '', 0, '', i.result, old.mail, old.control, old.box, old.number, i.turn, i.tags::jsonb, i.shown = 1,
            i.fairness_key
        FROM past JOIN old USING (pk), item i, moment m
        RETURNING pk, turn, namespace, created_at),
    {added(2 + len(NEW.names))}, {described(18 + len(NEW.names))}
    SELECT pk FROM born"""
"""The run that was just closed gives its name, its mail and the memory of all messages to a new one."""

# ---- messages -----------------------------------------------------------------------------------------------------------

LETTERS: Final = Shape("i", "place:number namespace run id kind name payload:octets command")


def posting(shape: Shape, condition: str) -> str:
    """Leave messages: for each its place, the run's status if there is one, whether it was told now, and whether it was before."""
    return f"""
    WITH {MOMENT}, item AS MATERIALIZED (SELECT i.* FROM {shape.sql(2)} WHERE {condition}),
    target AS MATERIALIZED (
        SELECT i.*, r.pk, coalesce(r.box, r.pk) AS box, r.status FROM item i
        JOIN @runs r ON r.namespace = i.namespace AND r.id = i.run ORDER BY r.pk FOR NO KEY UPDATE OF r),
    put AS (
        INSERT INTO @messages (box, id, kind, name, payload, command, at, posted)
        SELECT t.box, t.id, t.kind, t.name, t.payload, t.command, m.now, nextval('@posted'::regclass)
        FROM (SELECT * FROM target WHERE NOT status {IS_CLOSED} ORDER BY place) t, moment m
        ON CONFLICT (box, id) DO NOTHING RETURNING box, id, kind),
    more AS (
        SELECT t.pk, count(*) AS mail, count(*) FILTER (WHERE kind {IS_CONTROL}) AS control
        FROM put JOIN (SELECT DISTINCT pk, box FROM target) t USING (box) GROUP BY t.pk),
    woken AS (
        UPDATE @runs r SET mail = r.mail + more.mail, control = r.control + more.control,
            ready_at = CASE WHEN r.worker = '' AND (r.status <> 'paused' OR more.control > 0) THEN least(r.ready_at, m.now)
                ELSE r.ready_at END
        FROM more, moment m WHERE r.pk = more.pk)
    SELECT i.place, t.status, put.id IS NOT NULL,
        EXISTS (SELECT 1 FROM @messages o WHERE o.box = t.box AND o.id = i.id)
    FROM item i LEFT JOIN target t USING (place) LEFT JOIN put ON put.box = t.box AND put.id = i.id"""


POST: Final = posting(LETTERS, "true")
POST_WITH: Final = posting(LETTERS + GATE, PASSED)

# ---- leases -------------------------------------------------------------------------------------------------------------

LEASES: Final = Shape("i", "place:number namespace id fence:number worker")


def holding(first: int) -> str:
    """The runs whose leases still hold, locked."""
    return f"""mine AS MATERIALIZED (
        SELECT i.place, r.pk FROM {LEASES.sql(first)} JOIN @runs r USING (namespace, id)
        WHERE r.fence = i.fence AND r.worker = i.worker AND r.worker <> '' ORDER BY r.pk FOR NO KEY UPDATE OF r)"""


RENEW: Final = f"""
    WITH {MOMENT}, {holding(3)}
    UPDATE @runs r SET ready_at = m.now + $2::int8 FROM mine, moment m WHERE r.pk = mine.pk RETURNING mine.place"""
RELEASE: Final = f"""
    WITH {MOMENT}, {holding(2)}
    UPDATE @runs r SET worker = '',
        ready_at = CASE WHEN r.status = 'paused' AND r.control = 0 THEN r.wake_at ELSE m.now END
    FROM mine, moment m WHERE r.pk = mine.pk RETURNING mine.place"""
STICK: Final = """
    UPDATE @runs SET worker = '', ready_at = NULL, status = 'stuck', note = $1::text
    WHERE namespace = $2::text AND id = $3::text AND fence = $4::int8 AND worker = $5::text"""

LANE: Final = "FROM @runs r WHERE r.namespace = $2::text AND r.queue = {lane}.queue AND r.ready_at IS NOT NULL"
IN_LANE: Final = LANE.format(lane="l") + " AND r.workflow = l.workflow AND r.priority = l.priority"


SERVED: Final = f"""lane(queue, workflow, priority, turn) AS (
        SELECT first.*, q.turn FROM unnest($3::text[]) WITH ORDINALITY AS q(queue, turn) CROSS JOIN LATERAL (
            SELECT r.queue, r.workflow, r.priority {LANE.format(lane="q")} ORDER BY r.workflow, r.priority LIMIT 1) first
        UNION ALL
        SELECT next.*, l.turn FROM lane l CROSS JOIN LATERAL (
            SELECT r.queue, r.workflow, r.priority {LANE.format(lane="l")} AND (r.workflow, r.priority) > (l.workflow, l.priority)
            ORDER BY r.workflow, r.priority LIMIT 1) next),
    served AS MATERIALIZED (SELECT * FROM lane WHERE workflow = ANY($4::text[]))"""
"""One look-up for each queue, workflow and priority that has runs with a ``ready_at``: none that is not due is walked over."""
NEXT_AT: Final = f"""
    SELECT min(d.ready_at) FROM served l CROSS JOIN LATERAL (
        SELECT r.ready_at {IN_LANE} AND r.ready_at > m.now ORDER BY r.ready_at LIMIT 1) d"""
NEXT: Final = f"WITH RECURSIVE {MOMENT}, {SERVED} SELECT ({NEXT_AT}) FROM moment m"
"""When the next run is due."""
TAKEN: Final = f""", taken AS (
        UPDATE @runs r SET worker = {{worker}}::text, ready_at = m.now + {{ttl}}::int8, fence = r.fence + 1,
            recoveries = r.recoveries + (r.worker <> '')::int,
            status = CASE WHEN r.status IN ('paused', 'stuck') THEN r.status ELSE 'running' END
        FROM chosen c, moment m WHERE r.pk = c.pk RETURNING c.place, {RUN.replace("{", "{{").replace("}", "}}")})"""
"""What was chosen, leased."""


def looking(room: int) -> str:
    """Choose, and lock, at most ``$5`` of at most ``room`` runs that are looked at.

    Of one priority the queues take turns. The number of those looked at is part of the text, as the planner must know that it is
    small.
    """
    return f"""
    WITH RECURSIVE {MOMENT}, {SERVED},
    due AS (
        SELECT l.queue, l.priority, l.turn, d.pk, d.ready_at FROM served l CROSS JOIN LATERAL (
            SELECT r.pk, r.ready_at {IN_LANE} AND r.ready_at <= (SELECT now FROM moment) ORDER BY r.ready_at LIMIT {room}) d
        WHERE $5::int8 > 0),
    queued AS (SELECT *, row_number() OVER (PARTITION BY priority, queue ORDER BY ready_at, pk) AS number FROM due),
    looked AS (
        SELECT pk, row_number() OVER (ORDER BY priority DESC, number, turn, pk) AS place FROM queued ORDER BY place LIMIT {room}),
    chosen AS MATERIALIZED (
        SELECT r.pk, looked.place, r.queue, r.priority FROM looked JOIN @runs r USING (pk)
        WHERE r.ready_at <= (SELECT now FROM moment) ORDER BY looked.place LIMIT $5::int8 FOR NO KEY UPDATE OF r SKIP LOCKED)"""


@functools.cache
def choosing(room: int) -> str:
    """Lock at most ``$5`` runs that are ready, in order."""
    return f"{looking(room)} SELECT queue, priority, pk, place FROM chosen ORDER BY place"


@functools.cache
def claiming(room: int) -> str:
    """Take at most ``$5`` runs for the worker ``$6``, until ``$7`` from now."""
    return f"""{looking(room)}{TAKEN.format(worker="$6", ttl="$7")}
    SELECT m.now, ({NEXT_AT}),
        EXISTS (SELECT 1 FROM @runs r WHERE r.namespace = $2::text AND r.worker = $6::text AND r.mail > 0 AND r.worker <> ''
            AND r.ready_at > m.now),
        t.*
    FROM moment m LEFT JOIN taken t ON true ORDER BY t.place"""


# ---- reading ------------------------------------------------------------------------------------------------------------

EVENT_NULLS: Final = f"""NULL, NULL, NULL, NULL, %s, {", ".join(["NULL"] * 6)}"""
ONE_JOURNAL: Final = f"""
    WITH r AS (SELECT pk, seq FROM @runs WHERE namespace = $1::text AND id = $2::text)
    (SELECT {quoted(EVENT_COLUMNS, "e.")} FROM r JOIN @events e ON e.run = r.pk AND e.seq > $3::int8 AND e.seq <= $4::int8
        ORDER BY e.seq)
    UNION ALL (SELECT b.last, {EVENT_NULLS % "b.data"} FROM r JOIN @blocks b ON b.run = r.pk AND b.last > $3::int8
        AND b.last < $4::int8 + {BLOCK_SIZE} ORDER BY b.last)
    UNION ALL SELECT r.seq, {EVENT_NULLS % "NULL"} FROM r"""
"""Events after ``$3`` up to ``$4``; those of blocks lie in payloads without a kind; the journal's length has not even a payload."""
FROM: Final = Shape("w", "run:number begin:number")
JOURNALS: Final = f"""
    WITH w AS MATERIALIZED (SELECT * FROM {FROM.sql(1)})
    SELECT w.run, {quoted(EVENT_COLUMNS, "e.")} FROM w JOIN @events e ON e.run = w.run AND e.seq >= w.begin
    UNION ALL SELECT w.run, {quoted(EVENT_COLUMNS, "e.")} FROM w JOIN @events e ON e.run = w.run AND e.seq = 1 AND w.begin > 1
    UNION ALL SELECT w.run, b.last, {EVENT_NULLS % "b.data"} FROM w JOIN @blocks b ON b.run = w.run AND b.last >= w.begin"""
"""The first events of runs and those from ``begin`` on."""
MAIL: Final = f"""
    SELECT r.pk, r.id, {quoted(MESSAGE_COLUMNS, "m.")} FROM @runs r JOIN @messages m ON m.box = coalesce(r.box, r.pk)
    WHERE r.namespace = $1::text AND r.worker = $2::text AND r.worker <> '' AND r.mail > 0 AND m.posted IS NOT NULL
        AND (r.ready_at > $3::int8 OR r.pk = ANY($4::int8[])) ORDER BY r.pk, m.posted"""
GET: Final = f"""
    SELECT {RUN} FROM {KEYS.sql(1)} JOIN @runs r USING (namespace, id)"""
GET_BY_PK: Final = f"SELECT {RUN} FROM @runs r WHERE r.pk = ANY($1::int8[])"
DELETE: Final = f"""
    WITH chosen AS MATERIALIZED (
        SELECT r.pk, coalesce(r.box, r.pk) AS box FROM {KEYS.sql(1)} JOIN @runs r USING (namespace, id)
        WHERE r.status {IS_CLOSED} ORDER BY r.pk FOR UPDATE OF r),
    gone AS (DELETE FROM @runs r USING chosen c WHERE r.pk = c.pk RETURNING r.pk),
    events AS (DELETE FROM @events e USING gone WHERE e.run = gone.pk),
    blocks AS (DELETE FROM @blocks b USING gone WHERE b.run = gone.pk),
    tags AS (DELETE FROM @tags t USING gone WHERE t.run = gone.pk),
    state AS (DELETE FROM @state s USING gone WHERE s.run = gone.pk),
    mail AS (DELETE FROM @messages m USING gone JOIN chosen USING (pk) WHERE m.box = chosen.box)
    SELECT count(*) FROM gone"""

ENTRIES: Final = """
    SELECT "offset", at, payload FROM @topics WHERE namespace = $1::text AND topic = $2::text AND "offset" > $3::int8
    ORDER BY "offset" LIMIT $4::int8"""
KEEP: Final = """
    INSERT INTO @blobs AS b (name, data) VALUES ($1::text, $2::bytea)
    ON CONFLICT (name) DO UPDATE SET data = excluded.data WHERE b.data <> excluded.data"""
BLOB: Final = "SELECT data FROM @blobs WHERE name = $1::text"
TELL: Final = "SELECT pg_notify($1::text, '')"
NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"

# ---- packing ------------------------------------------------------------------------------------------------------------

SPANS: Final = Shape("w", "run:number begin:number last:number")
LOOSE: Final = f"""
    SELECT w.run, {quoted(EVENT_COLUMNS, "e.")} FROM {SPANS.sql(1)}
    JOIN @events e ON e.run = w.run AND e.seq >= w.begin AND e.seq <= w.last ORDER BY w.run, e.seq"""
PACKED: Final = Shape("w", "run:number begin:number last:number data:octets")
PACK: Final = f"""
    WITH w AS MATERIALIZED (SELECT w.* FROM {PACKED.sql(1)} JOIN @runs r ON r.pk = w.run FOR KEY SHARE OF r),
    kept AS (INSERT INTO @blocks (run, last, data) SELECT run, last, data FROM w ON CONFLICT DO NOTHING RETURNING run, last)
    DELETE FROM @events e USING w JOIN kept USING (run, last) WHERE e.run = w.run AND e.seq >= w.begin AND e.seq <= w.last"""
