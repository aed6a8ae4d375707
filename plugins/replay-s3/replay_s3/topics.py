"""Topics: entries under keys that count up.

Rule 1: an entry is created at an offset whose predecessor exists, so offsets have no gaps, and a reader who goes on from the last one
that it has seen misses nothing.
Rule 2: what a commit publishes stands in its head's outbox with the offset that it was meant for. Whoever delivers it begins there: of
several at once one creates the entry, and the others find it by its mark.
Rule 3: when somebody else has taken that offset, for good, those who deliver agree on another one by a *ticket*: an object of the
mark's that is changed by conditional writes only. So an entry is there once, whoever delivers it, and however often.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from replay.hooks import Entry, StoreUnavailable
from replay_s3.bucket import Bucket, Taken, Unheard
from replay_s3.heads import Posting, pack, part, unpack

TRIES: Final = 1_000
"""How often an offset is tried while others take it."""


class Topics:
    """The topics of a bucket, and how far they are known to reach."""

    def __init__(self, bucket: Bucket, now: Callable[[], int]) -> None:
        self._bucket = bucket
        self._now = now
        self._ends: dict[str, int] = {}

    # ---- appending ------------------------------------------------------------------------------------------------------

    def addressed(self, namespace: str, entries: Sequence[tuple[str, bytes]], mark: str) -> list[Posting]:
        """What a commit publishes, each with the offset that it is meant for and a mark of its own."""
        postings: list[Posting] = []
        for number, (topic, payload) in enumerate(entries):
            before = sum(posting.topic == topic for posting in postings)
            offset = self._end(topic_of(namespace, topic)) + 1 + before
            postings.append(Posting(namespace, topic, payload, f"{mark}:{number}", offset))
        return postings

    def publish(self, namespace: str, topic: str, payload: bytes) -> None:
        """Append at the first free offset."""
        below = topic_of(namespace, topic)
        self.deliver(Posting(namespace, topic, payload, uuid.uuid4().hex, self._end(below) + 1))

    def deliver(self, posting: Posting) -> None:
        """Append an entry, unless it is there."""
        below = topic_of(posting.namespace, posting.topic)
        body = json.dumps({"mark": posting.mark, "at": self._now(), "payload": pack(posting.payload)}, ensure_ascii=False).encode()
        offset = posting.offset
        for _ in range(TRIES):
            if self._is_at(below, offset, posting.mark, body):
                self._ends[below] = max(offset, self._ends.get(below, 0))
                return
            self._ends[below] = max(offset, self._ends.get(below, 0))
            offset = self._ticket(below, posting.mark, offset)
        raise StoreUnavailable(self._bucket.url, f"too many others publish to {posting.topic}")

    def _is_at(self, below: str, offset: int, mark: str, body: bytes) -> bool:
        """Create an entry; whether it is there now, rather than somebody else's."""
        place = f"{below}{offset:016d}"
        for _ in range(TRIES):
            try:
                self._bucket.create(place, body)
            except (Taken, Unheard):
                found = self._bucket.get(place)
                if found is not None:
                    return bool(json.loads(found.body)["mark"] == mark)
            else:
                return True
        raise StoreUnavailable(self._bucket.url, f"writes to {place} are not answered")

    def _ticket(self, below: str, mark: str, taken: int) -> int:
        """The offset that all who deliver a mark try next, after one that is taken."""
        place = f"tickets/{hashlib.sha256(f'{below}{mark}'.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
        for _ in range(TRIES):
            found = self._bucket.get(place)
            agreed = 0 if found is None else int(found.body)
            if agreed > taken:
                return agreed
            free = str(self._reach(below, taken) + 1).encode()
            try:
                if found is None:
                    self._bucket.create(place, free)
                else:
                    self._bucket.replace(place, free, found.tag)
            except (Taken, Unheard):
                continue  # somebody else has said it, or nobody knows: look again
            return int(free)
        raise StoreUnavailable(self._bucket.url, "too many others publish at once")

    def _end(self, below: str) -> int:
        """An offset up to which entries are known to be there."""
        if below not in self._ends:
            self._ends[below] = self._reach(below, 0)
        return self._ends[below]

    def _reach(self, below: str, known: int) -> int:
        listed = self._bucket.entries(below, limit=10_000_000, after=f"{below}{known:016d}")
        return int(listed[-1].key.rpartition("/")[2]) if listed else known

    # ---- reading --------------------------------------------------------------------------------------------------------

    def read(self, namespace: str, topic: str, after: int, limit: int) -> list[Entry]:
        """Entries after an offset, in order."""
        below = topic_of(namespace, topic)
        keys = [found.key for found in self._bucket.entries(below, limit=limit, after=f"{below}{after:016d}")]
        return self._bucket.together(self._entry, keys)

    def _entry(self, key: str) -> Entry:
        found = self._bucket.get(key)
        data: dict[str, Any] = json.loads(found.body) if found is not None else {"at": 0, "payload": ""}
        return Entry(int(key.rpartition("/")[2]), data["at"], unpack(data["payload"]))


def topic_of(namespace: str, topic: str) -> str:
    """Where the entries of a topic are."""
    return f"topics/{part(namespace)}/{hashlib.sha256(topic.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}/"
