"""The heads of runs in their bucket: read, written conditionally, changed while others change them too.

Rule 1: of two who write over the same head one wins; the other reads again and decides anew.
Rule 2: a write whose answer was lost is looked for by the head's nonce, never repeated blindly.
Rule 3: the heads of runs that are held here are remembered, so that a step of one costs one request and no reading.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple

from replay.hooks import Created, Lease, NewRun, Run, RunKey, StoreUnavailable, granted, index_entry
from replay_s3.bucket import Bucket, Taken, Unheard
from replay_s3.heads import Head, pack_events, slug
from replay_s3.markers import mark, unmark
from replay_s3.segments import cut

TRIES: Final = 20
"""How often a change is tried while others change the same head."""


class Held(NamedTuple):
    """A head as it was last read or written, and its tag."""

    tag: str
    head: Head


class Runs:
    """The heads of a bucket.

    Attributes:
        bucket: Where they are.
        held: Those that are held here, as they were last written.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], int]) -> None:
        self.bucket = bucket
        self.held: dict[RunKey, Held] = {}
        self._now = now

    def load(self, key: RunKey) -> Held | None:
        """A head as it is now, or None."""
        found = self.bucket.get(place_of(key))
        return None if found is None else Held(found.tag, Head.decode(found.body))

    def own(self, lease: Lease, *, fresh: bool) -> Held | None:
        """The head of a run that this lease holds, or None."""
        held = None if fresh else self.held.get(lease.key)
        if held is None:
            held = self.load(lease.key)
        if held is None or (held.head.run.fence, held.head.run.worker) != (lease.fence, lease.worker):
            return None if fresh else self.own(lease, fresh=True)
        return held

    def write(self, key: RunKey, head: Head, tag: str | None) -> Held:
        """Write a head over the one with this tag, or as a new one.

        Raises:
            Taken: Somebody else was quicker.
        """
        head.nonce = uuid.uuid4().hex
        cut(self.bucket, key, head)
        place, body = place_of(key), head.encode()
        for turn in range(TRIES):
            try:
                return Held(self.bucket.create(place, body) if tag is None else self.bucket.replace(place, body, tag), head)
            except (Taken, Unheard) as error:
                found = self.bucket.get(place)
                if found is not None and Head.decode(found.body).nonce == head.nonce:
                    return Held(found.tag, head)  # it was ours, unheard
                if isinstance(error, Taken) or (found.tag if found is not None else None) != tag:
                    raise Taken(place) from None
                time.sleep(min(1.0, 0.05 * 2**turn))
        raise StoreUnavailable(self.bucket.url, f"writes to {place} are not answered")

    def change(self, key: RunKey, step: Callable[[Head], bool]) -> Head | None:
        """Change a head that is not held here, as often as others change it meanwhile; None when there is none or ``step`` declines."""
        for _ in range(TRIES):
            held = self.load(key)
            if held is None:
                return None
            before, head = held.head.run, held.head.copy()
            if not step(head):
                return None
            mark(self.bucket, head.run, before)
            try:
                self.write(key, head, held.tag)
            except Taken:
                continue
            unmark(self.bucket, before, head.run)
            return head
        raise StoreUnavailable(self.bucket.url, f"too many others change run {key.id}")

    def create(self, new: NewRun, worker: str = "", ttl: int = 0) -> Created:
        """Create a run, leased to its creator when that asks for it."""
        known = self.load(new.key)
        if known is not None:
            return Created(known.head.run, new=False)
        now = self._now()
        head = Head(index_entry(new, now), pack_events(new.events))
        lease = None
        if worker and head.run.ready_at is not None and head.run.ready_at <= now:
            lease = take(head, worker, now + ttl)
        mark(self.bucket, head.run)
        try:
            held = self.write(new.key, head, None)
        except Taken:
            found = self.load(new.key)
            if found is None:
                raise StoreUnavailable(self.bucket.url, f"run {new.key.id} was created and deleted at once") from None
            unmark(self.bucket, head.run, found.head.run)
            return Created(found.head.run, new=False)
        if lease is not None:
            self.held[new.key] = held
        return Created(head.run, new=True, lease=lease)


def place_of(key: RunKey) -> str:
    """The key of a run's head."""
    return f"runs/{slug(key)}/head"


def is_due(run: Run, now: int) -> bool:
    """Whether a run may be claimed."""
    return run.ready_at is not None and run.ready_at <= now


def take(head: Head, worker: str, until: int) -> Lease:
    """Lease a run: the head says so once it is written."""
    lease, fields = granted(head.run, worker, until)
    head.change(**fields)
    return lease
