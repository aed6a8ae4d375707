"""Topics: entries under keys that count up; of two who append at the same offset one takes the next.

An entry carries the mark of what appended it: a delivery that may have happened before looks for its mark first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from replay.hooks import Entry
from replay_s3.bucket import Bucket, Taken, Unheard
from replay_s3.heads import pack, part, unpack


class Topics:
    """The topics of a bucket, and where those that were appended to end."""

    def __init__(self, bucket: Bucket, now: Callable[[], int]) -> None:
        self._bucket = bucket
        self._now = now
        self._ends: dict[str, int] = {}

    def append(self, namespace: str, topic: str, payload: bytes, mark: str, *, again: bool = False) -> None:
        """Append at the first free offset; ``again``: unless that mark is there already."""
        below = topic_of(namespace, topic)
        end = self._end(below)
        if again and any(self._entry(found.key)[0] == mark for found in self._bucket.entries(below, limit=100_000)):
            return
        body = json.dumps({"mark": mark, "at": self._now(), "payload": pack(payload)}, ensure_ascii=False).encode()
        while True:
            place = f"{below}{end + 1:016d}"
            try:
                self._bucket.create(place, body)
            except Taken:
                end += 1
                continue
            except Unheard:
                found = self._bucket.get(place)
                if found is None or json.loads(found.body)["mark"] != mark:
                    continue
            self._ends[below] = end + 1
            return

    def _end(self, below: str) -> int:
        if below in self._ends:
            return self._ends[below]
        listed = self._bucket.entries(below, limit=10_000_000)
        return int(listed[-1].key.rpartition("/")[2]) if listed else 0

    def read(self, namespace: str, topic: str, after: int, limit: int) -> list[Entry]:
        """Entries after an offset, in order."""
        below = topic_of(namespace, topic)
        keys = [found.key for found in self._bucket.entries(below, limit=limit, after=f"{below}{after:016d}")]
        return [entry for _, entry in self._bucket.together(self._entry, keys)]

    def _entry(self, key: str) -> tuple[str, Entry]:
        found = self._bucket.get(key)
        data: dict[str, Any] = json.loads(found.body) if found is not None else {"mark": "", "at": 0, "payload": ""}
        return data["mark"], Entry(int(key.rpartition("/")[2]), data["at"], unpack(data["payload"]))


def topic_of(namespace: str, topic: str) -> str:
    """Where the entries of a topic are."""
    return f"topics/{part(namespace)}/{hashlib.sha256(topic.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}/"
