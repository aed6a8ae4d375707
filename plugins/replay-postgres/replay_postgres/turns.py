"""Batches as rows: what is created, committed and posted, as the statements read it.

Rule 1: a turn alone that only adds a few events goes as plain values; everything else as columns.
Rule 2: what belongs to a turn besides its events goes out with it, in the same round trip, each statement asking whether the turn was
applied: nobody waits for an answer in between.
Rule 3: whole blocks of events are written as blocks at once; the rest are rows until their block is full.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replay.hooks import (
    BLOCK_SIZE,
    CLOSED,
    Commit,
    Committed,
    Created,
    Event,
    Lease,
    Message,
    NewRun,
    Posted,
    Run,
    RunKey,
    pack,
    sealed,
    tags_of,
    takes_on,
)
from replay_postgres import statements as sql
from replay_postgres.pool import Ask, Row

KEEPS, RESTS, CLOSES = 0, 1, 2
"""What becomes of the lease after a turn."""


def numbers(count: int) -> list[int]:
    """Numbers that nobody else has, one for each turn; never 0."""
    return [number | 1 for number in struct.unpack(f">{count}q", os.urandom(8 * count))]


def legible(text: str) -> str:
    """A text for people, without what no text column can hold."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def spelt(words: Mapping[str, str | None]) -> str:
    """Tags as JSON; None removes one."""
    return json.dumps(words, ensure_ascii=False) if words else "{}"


def portions(turn: int, before: int, events: Sequence[Event]) -> tuple[list[Row], list[Row]]:
    """Events that follow on ``before`` others, as rows and as blocks."""
    loose: list[Event] = []
    blocks: list[Row] = []
    start = 0
    while len(events) - start >= BLOCK_SIZE - 1:
        last = -(-(before + start + 1) // BLOCK_SIZE) * BLOCK_SIZE
        part = events[start : last - before]
        start += len(part)
        if part[0].seq == 1:  # the first event stays a row: every recovery reads it
            loose.append(part[0])
            part = part[1:]
        whole = part[-1].seq == last and part[0].seq == max(2, last - BLOCK_SIZE + 1)
        block = pack(part) if whole else None
        if block is None:
            loose += part
        else:
            blocks.append((turn, last, block))
    return sealed(turn, [*loose, *events[start:]]), blocks


# ---- creating -----------------------------------------------------------------------------------------------------------


def new_row(turn: int, new: NewRun) -> Row:
    """A run to be created."""
    return (
        *(turn, *new.key, new.workflow, new.version, new.queue, new.digest, new.priority, new.parent, new.parent_command),
        *(new.status, len(new.events), new.base, new.applied, new.source, new.ready_at, new.result, spelt(tags_of(new))),
        int(bool(new.state)),
        new.fairness_key,
    )


def belongings(births: Iterable[tuple[int, NewRun]]) -> list[Any]:
    """Events, blocks, tags and state of runs to be created, each by its turn."""
    events: list[Row] = []
    blocks: list[Row] = []
    tags: list[Row] = []
    state: list[Row] = []
    for turn, new in births:
        loose, packed = portions(turn, 0, new.events)
        events += loose
        blocks += packed
        tags += [(turn, name, word) for name, word in tags_of(new).items()]
        state += [(turn, key, value) for key, value in new.state.items()]
    return [
        *sql.EVENTS.parameters(events),
        *sql.BLOCKS.parameters(blocks),
        *sql.TAGS.parameters(tags),
        *sql.STATE.parameters(state),
    ]


def creation(now: int | None, births: Sequence[tuple[int, NewRun]], worker: str, ttl: int) -> Ask:
    """The statement that creates runs."""
    rows = [new_row(turn, new) for turn, new in births]
    if len(births) == 1:
        (_, new), (row,) = births[0], rows
        if len(new.events) == 1 and not new.tags and not new.state:
            return sql.CREATE_ALONE, [now, worker, ttl, *row, *sealed(0, new.events)[0][1:]]
    return sql.CREATE, [now, worker, ttl, *sql.NEW.parameters(rows), *belongings(births)]


# ---- turns --------------------------------------------------------------------------------------------------------------


def rests(commit: Commit) -> int:
    """What becomes of the lease."""
    return CLOSES if commit.status in CLOSED else RESTS if commit.release else KEEPS


def is_short(commits: Sequence[Commit]) -> bool:
    """Whether this is one turn that adds a few events and looks at nothing but its own run."""
    (first, *others) = commits
    return not (others or first.consumed or first.posts or first.tags or first.state) and len(first.events) <= sql.FEW


def is_lone(commit: Commit) -> bool:
    """Whether all that a turn does is done in the statement that applies it."""
    return not (commit.posts or commit.children or commit.topics or commit.state or commit.tags or commit.successor)


def alone(now: int | None, turn: int, commit: Commit) -> Ask:
    """The statement for a short turn."""
    lease = commit.lease
    end, keeps = rests(commit), not rests(commit) and commit.result is None
    parameters: list[Any] = [
        *(now, turn, len(commit.events), commit.status, wake_at(commit), commit.applied, commit.base, legible(commit.note)),
        0 if takes_on(commit) else 1,
        *(() if keeps else (commit.result, end)),
        *(*lease.key, lease.fence, lease.worker, commit.expected),
    ]
    for row in sealed(0, commit.events):
        parameters += row[1:]
    return sql.turn_alone(len(commit.events), keeps=keeps, marks=not is_lone(commit)), parameters


def wake_at(commit: Commit) -> int | None:
    """When the run's next timer is due; a closed one has none."""
    return None if commit.status in CLOSED else commit.wake_at


def item_row(turn: int, commit: Commit) -> Row:
    """A turn's own run."""
    lease = commit.lease
    tags = spelt({name: word or None for name, word in commit.tags.items()}) if commit.tags else None
    return (
        *(turn, *lease.key, lease.fence, lease.worker, commit.expected, len(commit.events), commit.status, wake_at(commit)),
        *(commit.applied, commit.base, commit.result, legible(commit.note), rests(commit), tags, int(bool(commit.state))),
        0 if takes_on(commit) else 1,
    )


class Batch:
    """Turns that go out together, and where their answers are found.

    Attributes:
        asks: Statements, in order.
        turns: Which of them tells what became of the turns.
        short: Whether it tells that only by answering at all.
        posts: Which of them tells what became of messages, or None.
        letters: Those messages.
    """

    def __init__(self, now: int | None, commits: Sequence[Commit], turns: Sequence[int]) -> None:
        self.now = now
        self.asks: list[Ask] = []
        self.posts: int | None = None
        self.letters: list[Message] = []
        pairs = list(zip(turns, commits, strict=True))
        self.short = is_short(commits)
        if self.short:
            self.turns = 0
            self.asks.append(alone(now, turns[0], commits[0]))
        else:
            self._lock(commits)
            self.turns = len(self.asks)
            self._turn(pairs)
            self._describe(pairs)
        for turn, commit in pairs:
            if commit.successor is not None:
                parameters = [now, *sql.NEW.parameters([new_row(turn, commit.successor)]), *belongings([(turn, commit.successor)])]
                self.asks.append((sql.SUCCEED, parameters))
        self._beget(pairs)
        self._post(pairs)
        self._publish(pairs)

    def _lock(self, commits: Sequence[Commit]) -> None:
        """Lock every run that is written to, before anything is looked at."""
        keys: dict[RunKey, None] = {commit.lease.key: None for commit in commits}
        keys |= {message.key: None for commit in commits for message in commit.posts}
        self.asks.append((sql.LOCK, sql.KEYS.parameters(list(keys))))

    def _turn(self, pairs: Sequence[tuple[int, Commit]]) -> None:
        events: list[Row] = []
        blocks: list[Row] = []
        for turn, commit in pairs:
            loose, packed = portions(turn, commit.expected, commit.events)
            events += loose
            blocks += packed
        parameters = [
            self.now,
            *sql.ITEM.parameters([item_row(turn, commit) for turn, commit in pairs]),
            *sql.EVENTS.parameters(events),
            *sql.BLOCKS.parameters(blocks),
        ]
        read = [(turn, message) for turn, commit in pairs for message in dict.fromkeys(commit.consumed)]
        columns = sql.READ.parameters(read) if read else []
        statement = sql.turns(reads=bool(read), marks=any(not is_lone(commit) for _, commit in pairs))
        self.asks.append((statement, [*parameters, *columns]))

    def _describe(self, pairs: Sequence[tuple[int, Commit]]) -> None:
        tags = [(turn, *commit.lease.key, *tag) for turn, commit in pairs for tag in commit.tags.items()]
        if tags:
            columns = (sql.PART + "name word").parameters(tags)
            self.asks += [(sql.UNTAG, columns), (sql.TAG, columns)]
        state = [(turn, *commit.lease.key, *pair) for turn, commit in pairs for pair in commit.state.items()]
        if state:
            self.asks.append((sql.SHOW, (sql.PART + "key value:octets").parameters(state)))

    def _beget(self, pairs: Sequence[tuple[int, Commit]]) -> None:
        children = [
            (turn, child) for turn, commit in pairs for child in {child.key: child for child in reversed(commit.children)}.values()
        ]
        if not children:
            return
        births = [(number, child) for number, (_, child) in zip(numbers(len(children)), children, strict=True)]
        rows = [(*new_row(number, child), turn) for (number, child), (turn, _) in zip(births, children, strict=True)]
        parameters = [self.now, "", 0, *(sql.NEW + sql.GATE).parameters(rows), *belongings(births)]
        self.asks.append((sql.CREATE_CHILDREN, parameters))

    def _post(self, pairs: Sequence[tuple[int, Commit]]) -> None:
        posts = [(turn, message) for turn, commit in pairs for message in commit.posts]
        if posts:
            self.letters = [message for _, message in posts]
            rows = [(*letter(place, message), turn) for place, (turn, message) in enumerate(posts)]
            self.posts = len(self.asks)
            self.asks.append((sql.POST_WITH, [self.now, *(sql.LETTERS + sql.GATE).parameters(rows)]))

    def _publish(self, pairs: Sequence[tuple[int, Commit]]) -> None:
        entries = [(turn, commit.lease.key.namespace, entry) for turn, commit in pairs for entry in commit.topics]
        if entries:
            rows = [(namespace, *entry, place, turn) for place, (turn, namespace, entry) in enumerate(entries)]
            self.asks.append((sql.PUBLISH_WITH, [self.now, *(sql.PUBLISHED + sql.GATE).parameters(rows)]))

    def unknown(self, answers: Sequence[Sequence[Row]]) -> list[Message]:
        """Messages whose run was not found."""
        if self.posts is None:
            return []
        return [self.letters[place] for place, status, _, _ in answers[self.posts] if status is None]


def letter(place: int, message: Message) -> Row:
    """A message to be posted."""
    return (place, *message.key, message.id, message.kind, message.name, message.payload, message.command)


# ---- blocks that have become full -----------------------------------------------------------------------------------------


def full_blocks(pk: int, commit: Commit) -> list[Row]:
    """The span of rows that this turn completed to a block, if it did."""
    before, after = commit.expected, commit.expected + len(commit.events)
    last = (before // BLOCK_SIZE + 1) * BLOCK_SIZE
    if before % BLOCK_SIZE == 0 or after < last:
        return []
    return [(pk, max(2, last - BLOCK_SIZE + 1), last)]


# ---- what came of it ------------------------------------------------------------------------------------------------------


def newborn(new: NewRun, row: Row, worker: str, ttl: int) -> Created:
    """A run that was just created, from the little that the database has added."""
    _, _, now, fence, ready_at = row
    leased = fence > 0
    run = Run(
        key=new.key,
        workflow=new.workflow,
        version=new.version,
        queue=new.queue,
        digest=new.digest,
        priority=new.priority,
        parent=new.parent,
        parent_command=new.parent_command,
        tags=tags_of(new),
        state=dict(new.state),
        status="running" if leased and new.status == "pending" else new.status,
        seq=len(new.events),
        base=new.base,
        applied=new.applied,
        result=new.result,
        source=new.source,
        created_at=now,
        updated_at=now,
        ready_at=ready_at,
        wake_at=None,
        fence=fence,
        worker=worker if leased else "",
        recoveries=0,
        fairness_key=new.fairness_key,
    )
    return Created(run, new=True, lease=Lease(new.key, fence, worker, now + ttl) if leased else None)


def fate_of(lease: Lease, turn: int, fence: int | None, worker: str | None, last: int | None) -> Committed:
    """What became of a turn that changed nothing now: it had been applied, or was refused for its fence, or for its length."""
    if last == turn:
        return Committed.APPLIED
    return Committed.CONFLICT if worker and (fence, worker) == (lease.fence, lease.worker) else Committed.FENCED


def posted(messages: Sequence[Message], rows: Iterable[Row]) -> dict[int, Posted]:
    """Answers to messages, by their places."""
    answers: dict[int, Posted] = {}
    told: set[tuple[RunKey, str]] = set()
    for place, status, new, known in sorted(rows):
        message = messages[place]
        if status is None:
            answers[place] = Posted.UNKNOWN
        elif status in CLOSED:
            answers[place] = Posted.DUPLICATE if known else Posted.CLOSED
        else:
            first = new and (message.key, message.id) not in told
            answers[place] = Posted.DELIVERED if first else Posted.DUPLICATE
            told.add((message.key, message.id))
    return answers


# ---- small things -------------------------------------------------------------------------------------------------------


def lease_rows(leases: Sequence[Lease]) -> list[Any]:
    """Leases as columns."""
    return sql.LEASES.parameters([(place, *lease.key, lease.fence, lease.worker) for place, lease in enumerate(leases)])


def waves(batch: Sequence[Commit]) -> list[list[Commit]]:
    """A batch in parts, in order, none of which has two turns of one run."""
    parts: list[list[Commit]] = []
    seen: set[RunKey] = set()
    for commit in batch:
        if not parts or commit.lease.key in seen:
            parts.append([])
            seen = set()
        seen.add(commit.lease.key)
        parts[-1].append(commit)
    return parts


def concerns_others(commit: Commit) -> bool:
    """Whether anyone but the run's holder may have waited for this turn."""
    return bool(rests(commit) or commit.posts or commit.children or commit.topics)
