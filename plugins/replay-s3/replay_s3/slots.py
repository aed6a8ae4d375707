"""The slots of queues with limits: one object a queue, that says which runs are held under them, changed by conditional writes only.

Rule 1: a slot is reserved before its run is taken and freed after it was given back, so that never more are held than the object says;
a claimer that dies between the two costs the queue that slot until its lease would have ended.
Rule 2: a slot bears the end of its lease as it was first. When that has come, the run's head says whether it was renewed meanwhile.
Rule 3: freeing is for speed: a slot that nobody frees ends by itself.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import attrs

from replay.hooks import Begun, Claim, Queue, RunKey, Standing, StoreUnavailable, Waiting, allotted, declared, soonest
from replay_s3.bucket import Bucket, Taken, Unheard
from replay_s3.heads import Head, part, slug
from replay_s3.runs import TRIES, Held

VERSION: Final = 1


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
        ended: Runs whose holder is gone; they have no slot any more.
    """

    place: str
    tag: str | None
    held: dict[str, Slot]
    begun: Begun
    ended: list[Held] = attrs.field(factory=list)

    def standing(self, queue: Queue, now: int) -> Standing:
        """What is known of the queue."""
        counted = Counter(slot.key for slot in self.held.values())
        found = Standing(queue, counted, soonest(*(slot.until for slot in self.held.values())), self.begun, now)
        found.blocked = found.full
        return found


class Gate:
    """The slots of a bucket's queues.

    Attributes:
        mine: Slots that were reserved here, as (queue, fence), by run.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.mine: dict[RunKey, tuple[str, int]] = {}

    def read(self, namespace: str, queue: str, now: int) -> Slots:
        """The slots of a queue whose leases have not ended."""
        place = f"slots/{part(namespace)}/{part(queue)}"
        found = self.bucket.get(place)
        if found is None:
            return Slots(place, None, {}, ())
        data = json.loads(found.body)
        if data["v"] > VERSION:
            raise StoreUnavailable(self.bucket.url, f"{place} is of version {data['v']}", "upgrade replay-s3")
        slots = Slots(
            place, found.tag, {run: Slot(*slot) for run, slot in data["held"].items()}, [(*moment,) for moment in data["begun"]]
        )
        past = [run for run, slot in slots.held.items() if slot.until <= now]
        for run, body in zip(past, self.bucket.together(lambda run: self.bucket.get(f"runs/{run}/head"), past), strict=True):
            slot = slots.held.pop(run)
            held = None if body is None else Held(body.tag, Head.decode(body.body))
            if held is None or not held.head.run.worker or held.head.run.fence != slot.fence:
                continue
            until = held.head.run.ready_at or 0
            if until > now:  # it was renewed
                slots.held[run] = slot._replace(until=until)
            else:
                slots.ended.append(held)
        return slots

    def allot(self, claim: Claim, waiting: Sequence[Waiting], slots: dict[str, Slots], now: int) -> tuple[list[Waiting], int | None]:
        """Choose, and reserve the slots of what is chosen in queues with limits; also when to come again for the rest."""
        limited = declared(claim.queues)
        standings = {name: slots[name].standing(queue, now) for name, queue in limited.items()}
        chosen = allotted(claim.queues, without_slots(waiting, slots), standings, claim.limit)
        for name, queue in limited.items():
            first = mine = [item for item in chosen if item.queue == name]
            for _ in range(TRIES):
                if not mine or self._reserve(slots[name], standings[name], mine, now + claim.ttl):
                    break
                slots[name] = self.read(claim.namespace, name, now)  # somebody was quicker
                standings[name] = slots[name].standing(queue, now)
                mine = allotted([queue], without_slots((item for item in waiting if item.queue == name), slots), standings, len(mine))
            else:
                mine = []
            kept = [item for item in chosen if item.queue != name or item in mine]  # in their turns
            chosen = [*kept, *(item for item in mine if item not in first)]
        return chosen, soonest(*(standing.next_at() for standing in standings.values()))

    def _reserve(self, slots: Slots, standing: Standing, chosen: Sequence[Waiting], until: int) -> bool:
        """Write down who is about to be held; whether nobody was quicker."""
        runs = [(item, item.run.head.run) for item in chosen]
        slots.held |= {slug(run.key): Slot(run.fairness_key, run.fence + 1, until) for _, run in runs}
        begun = standing.remembered()
        if begun is not None:
            slots.begun = begun
        if not self._write(slots):
            return False
        self.mine |= {run.key: (item.queue, run.fence + 1) for item, run in runs}
        return True

    def _write(self, slots: Slots) -> bool:
        """Write slots over what was read; an answer that was not heard counts as lost."""
        body = json.dumps({"v": VERSION, "held": slots.held, "begun": slots.begun}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            if slots.tag is None:
                self.bucket.create(slots.place, body)
            else:
                self.bucket.replace(slots.place, body, slots.tag)
        except (Taken, Unheard):
            return False
        return True

    def free(self, leases: Iterable[tuple[RunKey, int]], now: int) -> None:
        """Free the slots that leases had which were given back, as (run, fence)."""
        gone: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for key, fence in leases:
            queue, reserved = self.mine.get(key, ("", 0))
            if reserved == fence:
                del self.mine[key]
                gone.setdefault((key.namespace, queue), []).append((slug(key), fence))
        for place, runs in gone.items():
            with contextlib.suppress(StoreUnavailable):
                self._free(*place, runs, now)

    def _free(self, namespace: str, queue: str, runs: Sequence[tuple[str, int]], now: int) -> None:
        for _ in range(TRIES):
            slots = self.read(namespace, queue, now)
            gone = [run for run, fence in runs if run in slots.held and slots.held[run].fence == fence]
            for run in gone:
                del slots.held[run]
            if not gone or self._write(slots):
                return


def without_slots(waiting: Iterable[Waiting], slots: Mapping[str, Slots]) -> list[Waiting]:
    """Runs that have no slot: who has one is held, or somebody is about to take it."""
    return [item for item in waiting if item.queue not in slots or slug(item.run.head.run.key) not in slots[item.queue].held]
