"""The slots of a queue with limits: one object that says which runs are held under them, changed by conditional writes only.

Rule 1: a slot is reserved before its run is taken and freed after it was given back, so that never more are held than the object says;
a claimer that dies between the two costs the queue that slot until its lease would have ended.
Rule 2: a slot bears the end of its lease as it was first. When that has come, the run's head says whether it was renewed meanwhile.
Rule 3: freeing is for speed: a slot that nobody frees ends by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import attrs

from replay.hooks import Begun, Queue, RunKey, Standing
from replay_s3.bucket import Bucket, Taken, Unheard
from replay_s3.heads import part, slug

TRIES: Final = 20
"""How often a change is tried while others change the same object."""


class Slot(NamedTuple):
    """A run that is held.

    Attributes:
        key: Its fairness key.
        fence: The token of its lease.
        until: When that lease ends, unless it was renewed.
    """

    key: str
    fence: int
    until: int


@attrs.define
class Slots:
    """The slots of one queue, as they were read.

    Attributes:
        place: The object's key.
        tag: Its tag, or None when there is none yet.
        held: Slots by the run's place in the bucket.
        begun: When runs began, where a rate needs to know.
        ended: Runs whose holder is gone, for the claimer to look at.
    """

    place: str
    tag: str | None
    held: dict[str, Slot]
    begun: Begun
    ended: list[Any] = attrs.field(factory=list)

    def has(self, key: RunKey) -> bool:
        """Whether a run has a slot, or somebody is about to take it."""
        return slug(key) in self.held

    def standing(self, queue: Queue, now: int) -> Standing:
        """What is known of the queue."""
        counted = Counter(slot.key for slot in self.held.values())
        return Standing(queue, counted, min((slot.until for slot in self.held.values()), default=None), self.begun, now)

    def write(self, bucket: Bucket) -> bool:
        """Write it over what was read; whether nobody was quicker. After an answer that was not heard it counts as lost."""
        body = json.dumps({"v": 1, "held": self.held, "begun": self.begun}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            self.tag = bucket.create(self.place, body) if self.tag is None else bucket.replace(self.place, body, self.tag)
        except (Taken, Unheard):
            return False
        return True


def read(bucket: Bucket, namespace: str, queue: str) -> Slots:
    """The slots of a queue."""
    place = f"slots/{part(namespace)}/{part(queue)}"
    found = bucket.get(place)
    if found is None:
        return Slots(place, None, {}, ())
    data = json.loads(found.body)
    held = {run: Slot(*slot) for run, slot in data["held"].items()}
    return Slots(place, found.tag, held, [(at, number) for at, number in data["begun"]])


def free(bucket: Bucket, namespace: str, queue: str, leases: Sequence[tuple[RunKey, int]]) -> None:
    """Free the slots of leases that were given back; those that somebody else has taken since stay."""
    for _ in range(TRIES):
        slots = read(bucket, namespace, queue)
        gone = [slug(key) for key, fence in leases if (slot := slots.held.get(slug(key))) and slot.fence == fence]
        for run in gone:
            del slots.held[run]
        if not gone or slots.write(bucket):
            return
