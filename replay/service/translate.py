"""The nouns of replay as messages of the wire and back; total both ways, and nothing else.

Rule 1: one pair of functions per noun, named ``x_out`` and ``x_in``. Field names are the same on both sides.
Rule 2: what is absent in the contract (None) is unset on the wire, and never a zero.
Rule 3: a commit names no list that is empty, and none is read: to build one costs as much as its first item, and most commits have
one event only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from replay.model.events import Event
from replay.model.queues import Queue, Rate
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.store.contract import (
    Claim,
    Claimed,
    Commit,
    Committed,
    Created,
    Entry,
    Filter,
    Lease,
    Message,
    NewRun,
    Posted,
    Run,
    RunKey,
)
from replay.store.limits import declared, names

DEFAULT: Final = "default"
"""The namespace of a request that names none."""
ENOUGH: Final = 3 * 1024 * 1024
"""Bytes of events in one answer, after which the rest goes into another: clients of every language take 4 MB by default."""
OVERHEAD: Final = 200
"""Bytes that an event or an entry takes beside its payload, rather more than less."""
FATES: Final[Mapping[Committed, int]] = {
    Committed.APPLIED: pb.COMMITTED_APPLIED,
    Committed.FENCED: pb.COMMITTED_FENCED,
    Committed.CONFLICT: pb.COMMITTED_CONFLICT,
}
FATES_IN: Final = {number: fate for fate, number in FATES.items()}
POSTED: Final[Mapping[Posted, int]] = {
    Posted.DELIVERED: pb.POSTED_DELIVERED,
    Posted.DUPLICATE: pb.POSTED_DUPLICATE,
    Posted.UNKNOWN: pb.POSTED_UNKNOWN,
    Posted.CLOSED: pb.POSTED_CLOSED,
}
POSTED_IN: Final = {number: fate for fate, number in POSTED.items()}


def key_out(key: RunKey) -> pb.RunKey:
    """To the wire."""
    return pb.RunKey(namespace=key.namespace, id=key.id)


def key_in(key: pb.RunKey) -> RunKey:
    """From the wire."""
    return RunKey(key.namespace or DEFAULT, key.id)


def event_out(event: Event) -> pb.Event:
    """To the wire."""
    return pb.Event(
        seq=event.seq,
        kind=event.kind,
        command=event.command,
        name=event.name,
        at=event.at,
        payload=event.payload,
        check=event.check,
        attempt=event.attempt,
        duration=event.duration,
        line=event.line,
        worker=event.worker,
    )


def event_in(event: pb.Event) -> Event:
    """From the wire."""
    return Event(
        event.seq,
        event.kind,
        event.command,
        event.name,
        event.at,
        event.payload,
        event.check,
        event.attempt,
        event.duration,
        event.line,
        event.worker,
    )


def lease_out(lease: Lease) -> pb.Lease:
    """To the wire."""
    return pb.Lease(key=key_out(lease.key), fence=lease.fence, worker=lease.worker, until=lease.until)


def lease_in(lease: pb.Lease) -> Lease:
    """From the wire."""
    return Lease(key_in(lease.key), lease.fence, lease.worker, lease.until)


def message_out(message: Message) -> pb.Message:
    """To the wire."""
    return pb.Message(
        id=message.id,
        key=key_out(message.key),
        kind=message.kind,
        name=message.name,
        payload=message.payload,
        command=message.command,
        at=message.at,
    )


def message_in(message: pb.Message) -> Message:
    """From the wire."""
    return Message(message.id, key_in(message.key), message.kind, message.name, message.payload, message.command, message.at)


def new_run_out(run: NewRun) -> pb.NewRun:
    """To the wire."""
    return pb.NewRun(
        key=key_out(run.key),
        workflow=run.workflow,
        version=run.version,
        queue=run.queue,
        digest=run.digest,
        events=map(event_out, run.events),
        priority=run.priority,
        fairness_key=run.fairness_key,
        ready_at=run.ready_at,
        parent=run.parent,
        parent_command=run.parent_command,
        tags=run.tags,
        state=run.state,
        status=run.status,
        base=run.base,
        applied=run.applied,
        result=run.result,
        source=run.source,
    )


def new_run_in(run: pb.NewRun) -> NewRun:
    """From the wire."""
    return NewRun(
        key=key_in(run.key),
        workflow=run.workflow,
        version=run.version,
        queue=run.queue or "default",
        digest=run.digest,
        events=[event_in(event) for event in run.events],
        priority=run.priority,
        fairness_key=run.fairness_key,
        ready_at=run.ready_at,
        parent=run.parent,
        parent_command=run.parent_command,
        tags=dict(run.tags),
        state=dict(run.state),
        status=run.status or "pending",
        base=run.base,
        applied=run.applied,
        result=run.result,
        source=run.source,
    )


_RUN_FIELDS: Final = (
    "workflow",
    "version",
    "queue",
    "digest",
    "priority",
    "parent",
    "parent_command",
    "status",
    "seq",
    "base",
    "applied",
    "result",
    "source",
    "created_at",
    "updated_at",
    "fence",
    "worker",
    "recoveries",
    "note",
    "fairness_key",
)


def run_out(run: Run) -> pb.Run:
    """To the wire."""
    fields: dict[str, Any] = {name: getattr(run, name) for name in _RUN_FIELDS}
    return pb.Run(key=key_out(run.key), tags=run.tags, state=run.state, ready_at=run.ready_at, wake_at=run.wake_at, **fields)


def run_in(run: pb.Run) -> Run:
    """From the wire."""
    return Run(
        key=key_in(run.key),
        tags=dict(run.tags),
        state=dict(run.state),
        ready_at=run.ready_at if run.HasField("ready_at") else None,
        wake_at=run.wake_at if run.HasField("wake_at") else None,
        **{name: getattr(run, name) for name in _RUN_FIELDS},
    )


def commit_out(commit: Commit) -> pb.Commit:
    """To the wire."""
    return pb.Commit(
        lease=lease_out(commit.lease),
        expected=commit.expected,
        events=map(event_out, commit.events),
        status=commit.status,
        wake_at=commit.wake_at,
        applied=commit.applied,
        base=commit.base,
        consumed=commit.consumed or None,
        posts=[message_out(message) for message in commit.posts] or None,
        children=[new_run_out(run) for run in commit.children] or None,
        topics=[pb.TopicEntry(topic=topic, payload=payload) for topic, payload in commit.topics] or None,
        state=commit.state or None,
        tags=commit.tags or None,
        result=commit.result,
        release=commit.release,
        successor=None if commit.successor is None else new_run_out(commit.successor),
        note=commit.note,
    )


def commit_in(commit: pb.Commit) -> Commit:
    """From the wire."""
    return Commit(
        lease=lease_in(commit.lease),
        expected=commit.expected,
        events=[event_in(event) for event in commit.events],
        status=commit.status or "running",
        wake_at=commit.wake_at if commit.HasField("wake_at") else None,
        applied=commit.applied,
        base=commit.base,
        consumed=list(commit.consumed) if commit.consumed else (),
        posts=[message_in(message) for message in commit.posts] if commit.posts else (),
        children=[new_run_in(run) for run in commit.children] if commit.children else (),
        topics=[(entry.topic, entry.payload) for entry in commit.topics] if commit.topics else (),
        state=dict(commit.state) if commit.state else {},
        tags=dict(commit.tags) if commit.tags else {},
        result=commit.result if commit.HasField("result") else None,
        release=commit.release,
        successor=new_run_in(commit.successor) if commit.HasField("successor") else None,
        note=commit.note,
    )


def created_out(created: Created) -> pb.Created:
    """To the wire."""
    lease = None if created.lease is None else lease_out(created.lease)
    return pb.Created(run=run_out(created.run), new=created.new, lease=lease)


def created_in(created: pb.Created) -> Created:
    """From the wire."""
    return Created(run_in(created.run), created.new, lease_in(created.lease) if created.HasField("lease") else None)


def claim_out(claim: Claim) -> wb.ClaimRequest:
    """To the wire."""
    return wb.ClaimRequest(
        worker=claim.worker,
        namespace=claim.namespace,
        queues=names(claim.queues),
        workflows=claim.workflows,
        limit=claim.limit,
        ttl=claim.ttl,
        limits=map(limits_out, declared(claim.queues).values()),
    )


def claim_in(claim: wb.ClaimRequest) -> Claim:
    """From the wire."""
    limited = {queue.name: limits_in(queue) for queue in claim.limits}
    return Claim(
        worker=claim.worker,
        namespace=claim.namespace or DEFAULT,
        queues=[limited.get(name, name) for name in claim.queues],
        workflows=list(claim.workflows),
        limit=claim.limit,
        ttl=claim.ttl,
    )


def limits_out(queue: Queue) -> wb.QueueLimits:
    """To the wire."""
    rate = queue.rate
    return wb.QueueLimits(
        name=queue.name,
        concurrency=queue.concurrency,
        per_key=queue.per_key,
        rate_count=None if rate is None else rate.count,
        rate_per=0 if rate is None else rate.per,
        here=queue.here,
    )


def limits_in(queue: wb.QueueLimits) -> Queue:
    """From the wire.

    Raises:
        InvalidRequest: A limit is none.
    """

    def given(name: str) -> Any:
        return getattr(queue, name) if queue.HasField(name) else None

    rate = Rate(queue.rate_count, per=queue.rate_per) if queue.HasField("rate_count") else None
    return Queue(queue.name, concurrency=given("concurrency"), per_key=given("per_key"), rate=rate, here=given("here"))


T = TypeVar("T", Event, Entry)


def pages(items: Sequence[T], size: int = ENOUGH) -> Iterator[Sequence[T]]:
    """What goes into one message each: few enough bytes, and one item at least."""
    first, weight = 0, 0
    for place, item in enumerate(items):
        weight += len(item.payload) + OVERHEAD
        if weight > size and place > first:
            yield items[first:place]
            first, weight = place, len(item.payload) + OVERHEAD
    if items:
        yield items[first:]


def claims_out(runs: Sequence[Claimed]) -> list[pb.Claimed]:
    """To the wire; once there is enough in one answer, only the first event of each further journal."""
    made: list[pb.Claimed] = []
    left = ENOUGH
    for claimed in runs:
        part = next(pages(claimed.journal, max(left, 1)), ())
        left -= sum(len(event.payload) + OVERHEAD for event in part)
        made.append(
            pb.Claimed(
                run=run_out(claimed.run),
                lease=lease_out(claimed.lease),
                journal=map(event_out, part),
                mail=map(message_out, claimed.mail),
                partial=len(part) < len(claimed.journal),
            )
        )
    return made


def rest_after(claimed: Claimed) -> int:
    """The seq after which the rest of a partial journal is read."""
    last = claimed.journal[-1].seq
    return last if len(claimed.journal) > 1 else max(last, claimed.run.base - 1)


def claimed_in(claimed: pb.Claimed) -> Claimed:
    """From the wire; ``rest_after`` says where the rest of a partial one begins."""
    return Claimed(
        run_in(claimed.run),
        lease_in(claimed.lease),
        [event_in(event) for event in claimed.journal],
        [message_in(message) for message in claimed.mail],
    )


def filter_out(query: Filter) -> pb.Filter:
    """To the wire."""
    return pb.Filter(
        namespace=query.namespace,
        workflow=query.workflow,
        statuses=query.statuses or (),
        tags=query.tags,
        created_after=query.created_after,
        created_before=query.created_before,
        prefix=query.prefix,
        parent=query.parent,
        fairness_key=query.fairness_key,
    )


def filter_in(query: pb.Filter) -> Filter:
    """From the wire; no statuses means any."""

    def given(name: str) -> Any:
        return getattr(query, name) if query.HasField(name) else None

    return Filter(
        namespace=query.namespace or DEFAULT,
        workflow=given("workflow"),
        statuses=list(query.statuses) or None,
        tags=dict(query.tags),
        created_after=given("created_after"),
        created_before=given("created_before"),
        prefix=given("prefix"),
        parent=given("parent"),
        fairness_key=given("fairness_key"),
    )


def entry_out(entry: Entry) -> pb.Entry:
    """To the wire."""
    return pb.Entry(offset=entry.offset, at=entry.at, payload=entry.payload)


def entry_in(entry: pb.Entry) -> Entry:
    """From the wire."""
    return Entry(entry.offset, entry.at, entry.payload)
