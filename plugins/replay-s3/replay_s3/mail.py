"""Messages: objects named by run and message, so that posting twice is posting once.

Rule 1: a poster writes the message first and then looks at the head; a parking worker writes the head first and then looks for
messages: one of the two sees the other.
Rule 2: a message for a run that is held leaves a notice in the inbox of its worker, who looks there at each claim.
Rule 3: the object of a consumed message is emptied, not deleted: its name remembers that it was posted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from replay.hooks import CLOSED, Claim, Lease, Message, Posted, RunKey, wakes
from replay_s3.bucket import Taken, Unheard
from replay_s3.heads import Head, pack_message, slug, unpack_message
from replay_s3.runs import Held, Runs, is_due

CONSUMED: Final = 64
"""Ids of consumed messages that a head holds before their objects are emptied."""

Letter: TypeAlias = tuple[int, int, Message]
"""A message, after what it is ordered by."""


class Mail:
    """The messages of a bucket, and which of them this store has read."""

    def __init__(self, runs: Runs, now: Callable[[], int]) -> None:
        self._runs = runs
        self._bucket = runs.bucket
        self._now = now
        self._read: dict[str, Letter] = {}

    # ---- leaving --------------------------------------------------------------------------------------------------------

    def post(self, message: Message) -> Posted:
        """Leave a message and wake its run."""
        held = self._runs.load(message.key)
        if held is None:
            return Posted.UNKNOWN
        place = letter(message.key, message.id)
        if held.head.run.status in CLOSED:
            return Posted.CLOSED if self._bucket.get(place) is None else Posted.DUPLICATE
        stamped = message._replace(at=self._now())
        body = json.dumps({"order": time.monotonic_ns(), **pack_message(stamped)}, ensure_ascii=False).encode()
        fate = Posted.DELIVERED
        try:
            self._bucket.create(place, body)
        except Taken:
            fate = Posted.DUPLICATE
        except Unheard:
            if self._bucket.get(place) is None:
                return self.post(message)
        if fate is Posted.DUPLICATE and message.id in held.head.consumed:
            return fate
        self._wake(stamped, place)
        return fate

    def _wake(self, message: Message, place: str) -> None:
        """Tell who holds the run, or make it ready when nobody does."""
        now = self._now()

        def step(head: Head) -> bool:
            run = head.run
            if run.worker:
                self._bucket.put(f"{inbox(run.worker)}{place}", b"")
                return False
            if not wakes(message.kind, run.status) or is_due(run, now):
                return False
            head.change(ready_at=now)
            return True

        self._runs.change(message.key, step)

    # ---- reading --------------------------------------------------------------------------------------------------------

    def rouse(self, key: RunKey) -> None:
        """After a run was parked: a message that came meanwhile makes it ready."""

        def step(head: Head) -> bool:
            run, now = head.run, self._now()
            if run.worker or run.status in CLOSED or is_due(run, now):
                return False
            if not any(wakes(message.kind, run.status, resting=True) for _, _, message in self._letters(head)):
                return False
            head.change(ready_at=now)
            return True

        if self._bucket.entries(f"mail/{slug(key)}/", limit=1):
            self._runs.change(key, step)

    def unread(self, head: Head) -> list[Message]:
        """Unconsumed messages for a run that was just taken, in the order in which they were posted."""
        letters = self._letters(head)
        self._read.update({letter(head.run.key, found[2].id): found for found in letters})
        return [message for _, _, message in letters]

    def _letters(self, head: Head) -> list[Letter]:
        key = head.run.key
        places = [found.key for found in self._bucket.entries(f"mail/{slug(key)}/", limit=100_000) if found.size]
        consumed = {letter(key, message) for message in head.consumed}
        letters = self._bucket.together(self._open, [place for place in places if place not in consumed])
        return sorted(letter for letter in letters if letter is not None)

    def _open(self, place: str) -> Letter | None:
        found = self._bucket.get(place)
        if found is None or not found.body:
            return None
        data = json.loads(found.body)
        order = data.pop("order")
        message = unpack_message(data)
        return message.at, order, message

    def noticed(self, claim: Claim, now: int) -> list[Message]:
        """Unconsumed messages for runs that a worker holds."""
        below = inbox(claim.worker)
        places = [found.key.removeprefix(below) for found in self._bucket.entries(below, limit=100_000)]
        letters = self._bucket.together(self._open, [place for place in places if place not in self._read])
        self._read.update({letter(found[2].key, found[2].id): found for found in letters if found is not None})
        found = sorted(self._read.values())  # those that came with a claim, and those that came since
        mine = {key: held for key in {message.key for _, _, message in found} if (held := self._held(key, claim.worker, now))}
        for place, (_, _, message) in list(self._read.items()):
            if message.key not in self._runs.held:
                self._read.pop(place, None)  # whoever holds the run now reads them again
        return [
            message
            for _, _, message in found
            if message.key in mine and message.key.namespace == claim.namespace and message.id not in mine[message.key].head.consumed
        ]

    def _held(self, key: RunKey, worker: str, now: int) -> Held | None:
        held = self._runs.held.get(key) or self._runs.load(key)
        return held if held is not None and held.head.run.worker == worker and (held.head.run.ready_at or 0) > now else None

    # ---- consuming ------------------------------------------------------------------------------------------------------

    def forget(self, lease: Lease, consumed: Sequence[str]) -> None:
        """Messages were consumed: their notices can go."""
        places = [letter(lease.key, message) for message in consumed]
        for place in places:
            self._read.pop(place, None)
        self._bucket.delete([f"{inbox(lease.worker)}{place}" for place in places])

    def empty(self, key: RunKey, head: Head) -> None:
        """Empty the objects of messages that a head says were consumed, when those are many."""
        if len(head.consumed) <= CONSUMED:
            return
        places = [letter(key, message) for message in head.consumed]
        self._bucket.together(lambda place: self._bucket.put(place, b""), places)
        head.consumed = []
        for place in places:
            self._read.pop(place, None)

    def delete(self, key: RunKey) -> None:
        """Remove all messages of a run."""
        self._bucket.delete([found.key for found in self._bucket.entries(f"mail/{slug(key)}/", limit=1_000_000)])


def letter(key: RunKey, message: str) -> str:
    """The key of a message."""
    return f"mail/{slug(key)}/{hashlib.sha256(message.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def inbox(worker: str) -> str:
    """Where the notices of a worker are."""
    return f"inbox/{hashlib.sha256(worker.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}/"
