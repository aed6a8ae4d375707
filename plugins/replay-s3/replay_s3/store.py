"""A store on nothing but a bucket.

Rule 1: the head decides. A run's head is changed by conditional writes only: events, lease, wake-up and result of a commit are one
PUT, and of two writers one wins. Everything else is a hint, a copy, or waits in the head's outbox until it was delivered.
Rule 2: a marker says "look at this run from then on": its key sorts by time, so that what is due is found without a scan. It is
written before the head that it is a marker of, and taken away by whoever changed that head; a stale one costs a look.
Rule 3: a message is an object named by its id, so that posting twice is posting once. A poster writes it first and then looks at the
head; a parking worker writes the head first and then looks for messages: one of the two sees the other.
Rule 4: nothing on the way of a step lists anything: a step of a run that this worker holds costs one PUT.

Layout, below the prefix: ``runs/NS/RUN/head``, ``runs/NS/RUN/seg/…``, ``mail/NS/RUN/MESSAGE``, ``inbox/WORKER/…``,
``ready/NS/QUEUE/TIME/WORKFLOW/RUN``, ``topics/NS/TOPIC/OFFSET``, ``blobs/SHA256``.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

import attrs

from replay.hooks import (
    CLOSED,
    Capability,
    Claim,
    Claimed,
    Claims,
    Clock,
    Commit,
    Committed,
    Created,
    Entry,
    Event,
    Filter,
    InvalidRequest,
    JournalDamaged,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
    StoreUnavailable,
    gapless,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
    takes_on,
    wakes,
)
from replay_s3.bucket import Bucket, Object, Taken, Unheard
from replay_s3.heads import INLINE, Head, Outbox, pack, pack_events, pack_message, part, slug, unpack, unpack_events, unpack_message

STALE: Final = 60.0
"""Seconds after which a marker that does not fit its head is taken away; no writer takes that long between the two."""
LOOK: Final = 400
"""Markers looked at in one claim and queue."""
CONSUMED: Final = 64
"""Ids of consumed messages that a head holds before their objects are emptied."""
TRIES: Final = 20
"""How often a change is tried while others change the same head."""


class Held(NamedTuple):
    """A head as it was last read or written, and its tag."""

    tag: str
    head: Head


def open_s3(url: str, *, clock: Clock | None = None) -> S3Store:
    """Open a bucket as a store.

    Args:
        url: ``s3://bucket/prefix``; options: ``endpoint``, ``region``, ``requests`` (how many at once), ``probe=off``. Credentials come
            in the usual ways of boto3, never in the URL.
        clock: The time, for tests; None for the server's.

    Raises:
        InvalidRequest: The URL does not fit.
        StoreUnavailable: The bucket cannot be used, or its server ignores the conditions of writes.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = set(options) - {"endpoint", "region", "requests", "probe"}
    if unknown or not parts.hostname or parts.username:
        problem = f"unknown options {', '.join(sorted(unknown))}" if unknown else "it names no bucket, or holds credentials"
        advice = "write s3://bucket/prefix?endpoint=…&region=…; credentials come from the environment or a profile"
        raise InvalidRequest(f"store URL s3://{parts.hostname or ''}", problem, advice)
    prefix = parts.path.strip("/")
    try:
        bucket = Bucket(
            parts.netloc,
            f"{prefix}/" if prefix else "",
            endpoint=options.get("endpoint"),
            region=options.get("region"),
            requests=int(options.get("requests", 16)),
        )
    except ValueError as error:
        raise InvalidRequest(f"store URL s3://{parts.netloc}", str(error), "check endpoint and requests") from None
    if options.get("probe") != "off":
        bucket.require_conditions()
    return S3Store(bucket, clock=clock)


class S3Store:
    """Journals in a bucket.

    Attributes:
        url: The bucket and prefix.
        capabilities: Persistent, and shared between processes.
        bucket: What it rests on; ``bucket.counts`` are its requests.
    """

    capabilities = Capability.PERSISTENT | Capability.SHARED

    def __init__(self, bucket: Bucket, *, clock: Clock | None = None) -> None:
        self.bucket = bucket
        self.url = bucket.url
        self._clock = clock
        self._held: dict[RunKey, Held] = {}
        self._letters: dict[str, tuple[int, int, Message]] = {}
        self._ends: dict[str, int] = {}
        self._changed = threading.Condition()
        self._version = 1
        self._closed = False

    def now(self) -> int:
        """See ``Store.now``; the server's clock, as its answers tell it."""
        return self._clock() if self._clock is not None else round(self.bucket.server_time() * 1_000_000)

    # ---- heads ----------------------------------------------------------------------------------------------------------

    def _load(self, key: RunKey) -> Held | None:
        found = self._open().get(f"runs/{slug(key)}/head")
        return None if found is None else Held(found.tag, Head.decode(found.body))

    def _open(self) -> Bucket:
        if self._closed:
            raise StoreUnavailable(self.url, "it is closed", "open it again")
        return self.bucket

    def _write(self, key: RunKey, head: Head, tag: str | None) -> Held:
        """Write a head over the one with this tag, or as a new one.

        Raises:
            Taken: Somebody else was quicker.
        """
        head.nonce = uuid.uuid4().hex
        self._cut(key, head)
        place, body = f"runs/{slug(key)}/head", head.encode()
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
        raise StoreUnavailable(self.url, f"writes to {place} are not answered")

    def _cut(self, key: RunKey, head: Head) -> None:
        """When the newest events have grown large, they become a segment of their own."""
        if sum(len(row[5]) + 100 for row in head.tail) <= INLINE:
            return
        first, last = head.tail[0][0], head.tail[-1][0]
        place = f"runs/{slug(key)}/seg/{first:012d}-{uuid.uuid4().hex[:12]}"
        self.bucket.put(place, json.dumps(head.tail, ensure_ascii=False).encode())
        head.segments.append((first, last, place))
        head.tail = []

    def _change(self, key: RunKey, step: Callable[[Head], bool]) -> Head | None:
        """Change a head that is not held here, as often as others change it meanwhile; None when there is none or ``step`` declines."""
        for _ in range(TRIES):
            held = self._load(key)
            if held is None:
                return None
            before, head = held.head.run, held.head.copy()
            if not step(head):
                return None
            self._mark(head.run, before)
            try:
                self._write(key, head, held.tag)
            except Taken:
                continue
            self._unmark(before, head.run)
            return head
        raise StoreUnavailable(self.url, f"too many others change run {key.id}")

    # ---- markers --------------------------------------------------------------------------------------------------------

    def _marker(self, run: Run) -> str:
        workflow = hashlib.sha256(run.workflow.encode()).hexdigest()[:12]
        namespace, _, name = slug(run.key).partition("/")
        return f"ready/{namespace}/{part(run.queue)}/{run.ready_at:020d}/{workflow}/{name}"

    def _mark(self, run: Run, before: Run | None = None) -> None:
        """Before a head says when it is ready, a marker says so."""
        if run.ready_at is not None and (before is None or before.ready_at != run.ready_at):
            self.bucket.put(self._marker(run), json.dumps([*run.key]).encode())

    def _unmark(self, before: Run, run: Run | None) -> None:
        """What the head no longer says, its marker need not."""
        if before.ready_at is not None and (run is None or before.ready_at != run.ready_at):
            self.bucket.delete([self._marker(before)])

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        firsts = {new.key: new for new in reversed(runs)}
        made = dict(zip(firsts, self._open().together(lambda new: self._create(new, worker, ttl), list(firsts.values())), strict=True))
        self._tell()
        seen: set[RunKey] = set()
        answers = []
        for new in runs:
            answer = made[new.key]
            answers.append(answer._replace(new=False, lease=None) if new.key in seen else answer)
            seen.add(new.key)
        return answers

    def _create(self, new: NewRun, worker: str = "", ttl: int = 0) -> Created:
        known = self._load(new.key)
        if known is not None:
            return Created(known.head.run, new=False)
        now = self.now()
        head = Head(entry(new, now), pack_events(new.events))
        lease = None
        if worker and head.run.ready_at is not None and head.run.ready_at <= now:
            lease = take(head, worker, now + ttl)
        self._mark(head.run)
        try:
            held = self._write(new.key, head, None)
        except Taken:
            found = self._load(new.key)
            if found is None:
                raise StoreUnavailable(self.url, f"run {new.key.id} was created and deleted at once") from None
            if found.head.run.ready_at != head.run.ready_at:
                self._unmark(head.run, None)
            return Created(found.head.run, new=False)
        if lease is not None:
            self._held[new.key] = held
        return Created(head.run, new=True, lease=lease)

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        bucket, now = self._open(), self.now()
        offered = {hashlib.sha256(name.encode()).hexdigest()[:12] for name in claim.workflows}
        due: list[Object] = []
        next_at: int | None = None
        for queue in claim.queues:
            for marker in bucket.entries(f"ready/{part(claim.namespace)}/{part(queue)}/", limit=LOOK):
                moment, workflow = int(marker.key.split("/")[3]), marker.key.split("/")[4]
                if workflow not in offered:
                    continue
                if moment > now:
                    next_at = moment if next_at is None else min(next_at, moment)
                    break
                due.append(marker)
        looked = [found for found in bucket.together(lambda marker: self._look(marker, now), due) if found is not None]
        looked.sort(key=lambda held: (-held.head.run.priority, held.head.run.ready_at or 0))
        mail = self._inbox(claim, now)  # first: a run that is taken now brings its mail itself
        taken = bucket.together(lambda held: self._take(held, claim, now), looked[: claim.limit])
        return Claims([claimed for claimed in taken if claimed], mail, next_at)

    def _look(self, marker: Object, now: int) -> Held | None:
        """The head that a due marker is about, when it is ready; a marker that is stale is put right."""
        found = self.bucket.get(f"runs/{marker.key.split('/')[1]}/{marker.key.split('/')[5]}/head")
        if found is None:
            if marker.age > STALE:
                self.bucket.delete([marker.key])
            return None
        held = Held(found.tag, Head.decode(found.body))
        run = held.head.run
        if run.ready_at is not None and run.ready_at <= now:
            return held
        if run.status in CLOSED and held.head.outbox:
            self._deliver(held.head.outbox, again=True)
        if marker.age > STALE:
            if run.ready_at is not None:
                self.bucket.put(self._marker(run), json.dumps([*run.key]).encode())
            self.bucket.delete([marker.key])
        return None

    def _take(self, held: Held, claim: Claim, now: int) -> Claimed | None:
        head, before = held.head.copy(), held.head.run
        if head.outbox:
            self._deliver(head.outbox, again=True)
            head.outbox = Outbox()
        lease = take(head, claim.worker, now + claim.ttl)
        try:
            journal = self._recovery(head)
        except JournalDamaged as error:
            head.change(worker="", ready_at=None, status="stuck", note=str(error))
            journal = None
        self._mark(head.run, before)
        try:
            written = self._write(before.key, head, held.tag)
        except Taken:
            return None
        self._unmark(before, head.run)
        if journal is None:
            return None
        self._held[before.key] = written
        letters = self._letters_of(head)
        self._letters.update({self._letter(before.key, letter[2].id): letter for letter in letters})
        return Claimed(head.run, lease, journal, [message for _, _, message in letters])

    def _recovery(self, head: Head) -> list[Event]:
        run = head.run
        if run.base <= 1:
            return self._events(head, 0, run.seq)
        return [*self._events(head, 0, 1), *self._events(head, run.base - 1, run.seq)]

    def _events(self, head: Head, after: int, until: int) -> list[Event]:
        """Events after one seq and up to another, from the segments that hold them and the tail."""
        wanted = [segment for segment in head.segments if segment[1] > after and segment[0] <= until]
        parts = self.bucket.together(lambda segment: self._segment(head.run.key, segment), wanted)
        rows = [row for row in head.tail if after < row[0] <= until]
        found = [event for part in parts for event in part if after < event.seq <= until]
        found += unpack_events(head.run.key.id, rows)
        events = gapless(head.run.key, found, after)
        if len(events) < min(until, head.run.seq) - after:
            raise JournalDamaged(head.run.key.id, after + len(events) + 1, "it is missing, and so is all after it")
        return events

    def _segment(self, key: RunKey, segment: tuple[int, int, str]) -> list[Event]:
        found = self.bucket.get(segment[2])
        if found is None:
            raise JournalDamaged(key.id, segment[0], f"its segment {segment[2]} is gone")
        try:
            return unpack_events(key.id, json.loads(found.body))
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise JournalDamaged(key.id, segment[0], f"its segment {segment[2]} cannot be read: {error}") from None

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        until = self.now() + ttl
        return self._open().together(lambda lease: self._renew(lease, until), list(leases))

    def _renew(self, lease: Lease, until: int) -> bool:
        for fresh in (False, True):
            held = self._own(lease, fresh=fresh)
            if held is None:
                return False
            head = held.head.copy()
            head.change(ready_at=until)  # the old marker stays: it costs a look, not a write
            if until < (held.head.run.ready_at or 0):
                self._mark(head.run, held.head.run)
            try:
                self._held[lease.key] = self._write(lease.key, head, held.tag)
            except Taken:
                continue
            return True
        return False

    def _own(self, lease: Lease, *, fresh: bool) -> Held | None:
        """The head of a run that this lease holds, or None."""
        held = None if fresh else self._held.get(lease.key)
        if held is None:
            held = self._load(lease.key)
        if held is None or (held.head.run.fence, held.head.run.worker) != (lease.fence, lease.worker):
            return None if fresh else self._own(lease, fresh=True)
        return held

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        self._open().together(self._release, list(leases))
        self._tell()

    def _release(self, lease: Lease) -> None:
        def step(head: Head) -> bool:
            run = head.run
            if (run.fence, run.worker) != (lease.fence, lease.worker) or run.status in CLOSED:
                return False
            head.change(worker="", ready_at=run.wake_at if run.status == "paused" else self.now())
            return True

        self._held.pop(lease.key, None)
        head = self._change(lease.key, step)
        if head is not None and head.run.status == "paused":
            self._look_for_mail(lease.key)

    # ---- turns ------------------------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``; each item is one conditional write, many are under way at once."""
        for commit in batch:
            require_sound(commit)
        by_run: dict[RunKey, list[int]] = {}
        for place, commit in enumerate(batch):
            by_run.setdefault(commit.lease.key, []).append(place)
        fates: list[Committed] = [Committed.FENCED] * len(batch)

        def work(places: list[int]) -> None:
            for place in places:
                fates[place] = self._commit(batch[place])

        self._open().together(work, list(by_run.values()))
        self._tell()
        return fates

    def _commit(self, commit: Commit) -> Committed:
        key = commit.lease.key
        for fresh in (False, *[True] * TRIES):
            held = self._own(commit.lease, fresh=fresh)
            if held is None:
                self._held.pop(key, None)
                return Committed.FENCED
            if held.head.run.seq != commit.expected:
                if fresh:
                    return Committed.CONFLICT
                continue
            before, head = held.head.run, held.head.copy()
            past = self._apply(head, commit)
            self._mark(head.run, before)
            try:
                written = self._write(key, head, held.tag)
            except Taken:
                self._held.pop(key, None)
                continue
            self._finish(commit, before, written, past)
            return Committed.APPLIED
        raise StoreUnavailable(self.url, f"too many others change run {key.id}")

    def _apply(self, head: Head, commit: Commit) -> Head | None:
        """Change a head as a commit says; the head that a successor replaces, if any."""
        now, run = self.now(), head.run
        closed = commit.status in CLOSED
        head.tail = [*head.tail, *pack_events(commit.events)]
        head.change(
            status=commit.status,
            seq=run.seq + len(commit.events),
            base=commit.base or run.base,
            applied=max(run.applied, commit.applied),
            tags={name: word for name, word in {**run.tags, **commit.tags}.items() if word},
            state={**run.state, **commit.state},
            result=run.result if commit.result is None else commit.result,
            wake_at=None if closed else commit.wake_at,
            updated_at=now,
            note=commit.note,
            recoveries=0 if takes_on(commit) else run.recoveries,
        )
        if commit.release or closed:
            head.change(worker="", ready_at=None if closed else commit.wake_at)
        head.consumed = [*head.consumed, *commit.consumed]
        head.outbox = Outbox(
            f"{run.key.namespace}\n{run.key.id}:{run.fence}:{run.seq + len(commit.events)}:{uuid.uuid4().hex[:8]}",
            list(commit.posts),
            list(commit.children),
            list(commit.topics),
        )
        return self._succeed(head, commit.successor, now) if commit.successor is not None else None

    def _succeed(self, head: Head, new: NewRun, now: int) -> Head:
        """Let the next journal take over the id; the old one goes to ``id~n`` by way of the outbox."""
        old, key = head.copy(), head.run.key
        number = head.journals + 1
        while self.bucket.get(f"runs/{slug(RunKey(key.namespace, f'{key.id}~{number}'))}/head") is not None:
            number += 1
        old.change(key=RunKey(key.namespace, f"{key.id}~{number}"), parent="", parent_command="", ready_at=None)
        old.consumed, old.outbox = [], Outbox()
        head.run = attrs.evolve(entry(new, now), fence=head.run.fence + 1)
        head.tail, head.segments, head.journals = pack_events(new.events), [], number
        head.outbox.past = old.to_json()
        return old

    def _finish(self, commit: Commit, before: Run, written: Held, past: Head | None) -> None:
        """What follows a commit: deliver, keep or let go, tidy."""
        key, head = commit.lease.key, written.head
        if head.outbox:
            self._deliver(head.outbox)
            head.outbox = Outbox()
        open_still = head.run.status not in CLOSED
        if open_still and head.run.worker:
            self._held[key] = written
            if len(head.consumed) > CONSUMED:
                self._empty(key, head)
        else:
            self._held.pop(key, None)
        self._unmark(before, head.run)
        if commit.consumed:
            self._forget_letters(commit.lease, commit.consumed)
        if open_still and not head.run.worker:
            self._look_for_mail(key)

    def _empty(self, key: RunKey, head: Head) -> None:
        """Empty the objects of consumed messages; their names stay, so that posting them again changes nothing."""
        done = list(head.consumed)
        self.bucket.together(lambda message: self.bucket.put(self._letter(key, message), b""), done)
        head.consumed = head.consumed[len(done) :]
        for message in done:
            self._letters.pop(self._letter(key, message), None)

    def _deliver(self, outbox: Outbox, *, again: bool = False) -> None:
        """Send what a commit sends; twice is once."""
        if outbox.past is not None:
            past = Head.from_json({**outbox.past, "run": dict(outbox.past["run"])})
            try:
                self.bucket.create(f"runs/{slug(past.run.key)}/head", past.encode())
            except (Taken, Unheard):
                if self.bucket.get(f"runs/{slug(past.run.key)}/head") is None:
                    self.bucket.put(f"runs/{slug(past.run.key)}/head", past.encode())
        self.bucket.together(self._create, outbox.children)
        for message in outbox.posts:
            self._post(message)
        namespace = outbox.mark.partition("\n")[0]
        for number, (topic, payload) in enumerate(outbox.topics):
            self._append(namespace, topic, payload, f"{outbox.mark}:{number}", again=again)

    # ---- messages -----------------------------------------------------------------------------------------------------------

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        self._open()
        by_run: dict[RunKey, list[int]] = {}
        for place, message in enumerate(messages):
            by_run.setdefault(message.key, []).append(place)
        fates: list[Posted] = [Posted.UNKNOWN] * len(messages)

        def work(places: list[int]) -> None:
            for place in places:
                fates[place] = self._post(messages[place])

        self.bucket.together(work, list(by_run.values()))
        self._tell()
        return fates

    def _letter(self, key: RunKey, message: str) -> str:
        return f"mail/{slug(key)}/{hashlib.sha256(message.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

    def _post(self, message: Message) -> Posted:
        held = self._load(message.key)
        if held is None:
            return Posted.UNKNOWN
        place = self._letter(message.key, message.id)
        if held.head.run.status in CLOSED:
            return Posted.CLOSED if self.bucket.get(place) is None else Posted.DUPLICATE
        stamped = message._replace(at=self.now())
        body = json.dumps({"order": time.monotonic_ns(), **pack_message(stamped)}, ensure_ascii=False).encode()
        fate = Posted.DELIVERED
        try:
            self.bucket.create(place, body)
        except Taken:
            fate = Posted.DUPLICATE
        except Unheard:
            found = self.bucket.get(place)
            if found is None:
                return self._post(message)
        if fate is Posted.DUPLICATE and message.id in held.head.consumed:
            return fate
        self._wake(stamped, place)
        return fate

    def _wake(self, message: Message, place: str) -> None:
        """Tell who holds the run, or make it ready when nobody does."""
        now = self.now()

        def step(head: Head) -> bool:
            run = head.run
            if run.worker:
                self.bucket.put(f"inbox/{inbox(run.worker)}/{place}", b"")
                return False
            if not wakes(message.kind, run.status) or (run.ready_at is not None and run.ready_at <= now):
                return False
            head.change(ready_at=now)
            return True

        self._change(message.key, step)

    def _look_for_mail(self, key: RunKey) -> None:
        """After a run was parked: a message that came meanwhile makes it ready."""

        def step(head: Head) -> bool:
            run, now = head.run, self.now()
            if run.worker or run.status in CLOSED or (run.ready_at is not None and run.ready_at <= now):
                return False
            if not any(wakes(message.kind, run.status, resting=True) for message in self._mail(head)):
                return False
            head.change(ready_at=now)
            return True

        if self.bucket.entries(f"mail/{slug(key)}/", limit=1):
            self._change(key, step)

    def _mail(self, head: Head) -> list[Message]:
        """Unconsumed messages, in the order in which they were posted."""
        return [message for _, _, message in self._letters_of(head)]

    def _letters_of(self, head: Head) -> list[tuple[int, int, Message]]:
        """Unconsumed messages, with what they are ordered by."""
        places = [found.key for found in self.bucket.entries(f"mail/{slug(head.run.key)}/", limit=100_000) if found.size]
        consumed = {self._letter(head.run.key, message) for message in head.consumed}
        letters = self.bucket.together(self._read_letter, [place for place in places if place not in consumed])
        return sorted(letter for letter in letters if letter is not None)

    def _read_letter(self, place: str) -> tuple[int, int, Message] | None:
        found = self.bucket.get(place)
        if found is None or not found.body:
            return None
        data = json.loads(found.body)
        order = data.pop("order")
        message = unpack_message(data)
        return message.at, order, message

    def _inbox(self, claim: Claim, now: int) -> list[Message]:
        """Unconsumed messages for runs that this worker holds."""
        below = f"inbox/{inbox(claim.worker)}/"
        places = [found.key.removeprefix(below) for found in self.bucket.entries(below, limit=100_000)]
        letters = self.bucket.together(self._read_letter, [place for place in places if place not in self._letters])
        self._letters.update({self._letter(found[2].key, found[2].id): found for found in letters if found is not None})
        found = list(self._letters.values())  # those that came with a claim, and those that came since
        mine = {
            key: set(held.head.consumed)
            for key in {message.key for _, _, message in found}
            if (held := self._held.get(key) or self._load(key)) is not None
            and held.head.run.worker == claim.worker
            and (held.head.run.ready_at or 0) > now
        }
        for place, (_, _, message) in list(self._letters.items()):
            if message.key not in self._held:
                self._letters.pop(place, None)  # whoever holds the run now reads them again
        return [
            message
            for _, _, message in sorted(found)
            if message.key in mine and message.key.namespace == claim.namespace and message.id not in mine[message.key]
        ]

    def _forget_letters(self, lease: Lease, consumed: Sequence[str]) -> None:
        places = [self._letter(lease.key, message) for message in consumed]
        for place in places:
            self._letters.pop(place, None)
        self.bucket.delete([f"inbox/{inbox(lease.worker)}/{place}" for place in places])

    # ---- reading --------------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        held = self._load(key)
        return [] if held is None else self._events(held.head, after, min(after + limit, held.head.run.seq))

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        found = self._open().together(self._load, list(keys))
        return [None if held is None else held.head.run for held in found]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``; it reads every head of the namespace: a bucket has no index."""
        before = page_after(cursor)
        below = f"runs/{part(query.namespace)}/"
        heads = [found.key for found in self._open().entries(below, limit=10_000_000) if found.key.endswith("/head")]
        runs = [
            run
            for body in self.bucket.together(self.bucket.get, heads)
            if body is not None and fits(run := Head.decode(body.body).run, query)
        ]
        runs.sort(key=age, reverse=True)
        if before is not None:
            runs = [run for run in runs if age(run) < before]
        return Page(runs[:limit], page_cursor(runs[limit - 1]) if len(runs) > limit else "")

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``; the head goes last, so that what is half deleted is deleted again."""
        return sum(self._open().together(self._delete, list(keys)))

    def _delete(self, key: RunKey) -> int:
        held = self._load(key)
        if held is None or held.head.run.status not in CLOSED:
            return 0
        letters = [found.key for found in self.bucket.entries(f"mail/{slug(key)}/", limit=1_000_000)]
        self.bucket.delete([*letters, *[segment[2] for segment in held.head.segments]])
        self.bucket.delete([f"runs/{slug(key)}/head"])
        return 1

    # ---- topics and blobs -------------------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        self._open()
        for topic, payload in entries:
            self._append(namespace, topic, payload, uuid.uuid4().hex)
        self._tell()

    def _append(self, namespace: str, topic: str, payload: bytes, mark: str, *, again: bool = False) -> None:
        """Append at the first free offset; one that may have been appended before is looked for first."""
        below = self._topic(namespace, topic)
        end = self._end(below)
        if again and any(self._entry(found.key)[0] == mark for found in self.bucket.entries(below, limit=100_000)):
            return
        body = json.dumps({"mark": mark, "at": self.now(), "payload": pack(payload)}, ensure_ascii=False).encode()
        while True:
            try:
                self.bucket.create(f"{below}{end + 1:016d}", body)
            except Taken:
                end += 1
                continue
            except Unheard:
                found = self.bucket.get(f"{below}{end + 1:016d}")
                if found is None or json.loads(found.body)["mark"] != mark:
                    continue
            self._ends[below] = end + 1
            return

    def _topic(self, namespace: str, topic: str) -> str:
        return f"topics/{part(namespace)}/{hashlib.sha256(topic.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}/"

    def _end(self, below: str) -> int:
        known = self._ends.get(below, 0)
        listed = self.bucket.entries(below, limit=10_000_000, after=f"{below}{known:016d}") if below not in self._ends else []
        return int(listed[-1].key.rpartition("/")[2]) if listed else known

    def _entry(self, key: str) -> tuple[str, Entry]:
        found = self.bucket.get(key)
        data: dict[str, Any] = json.loads(found.body) if found is not None else {"mark": "", "at": 0, "payload": ""}
        return data["mark"], Entry(int(key.rpartition("/")[2]), data["at"], unpack(data["payload"]))

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        below = self._topic(namespace, topic)
        keys = [found.key for found in self._open().entries(below, limit=limit, after=f"{below}{after:016d}")]
        return [entry for _, entry in self.bucket.together(self._entry, keys)]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        self._open().put(f"blobs/{name}", data)
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        found = self._open().get(f"blobs/{quote(name, safe='')}")
        if found is None:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        if hashlib.sha256(found.body).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return found.body

    # ---- life -------------------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; a bucket tells nobody of changes elsewhere, so those are found by polling."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen or self._closed, timeout)
            return self._version

    def _tell(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """See ``Store.close``."""
        if not self._closed:
            self._closed = True
            self._tell()
            self.bucket.close()


def take(head: Head, worker: str, until: int) -> Lease:
    """Lease a run: the head says so once it is written."""
    run = head.run
    head.change(
        worker=worker,
        fence=run.fence + 1,
        ready_at=until,
        status=run.status if run.status in {"paused", "stuck"} else "running",
        recoveries=run.recoveries + bool(run.worker),
    )
    return Lease(run.key, run.fence + 1, worker, until)


def entry(new: NewRun, now: int) -> Run:
    """The index entry that a run is created with."""
    fields: dict[str, Any] = {
        field.name: getattr(new, field.name)
        for field in attrs.fields(NewRun)
        if field.name not in {"events", "ready_at", "tags", "state"}
    }
    return Run(
        **fields,
        tags={name: word for name, word in new.tags.items() if word},
        state=dict(new.state),
        seq=len(new.events),
        created_at=now,
        updated_at=now,
        ready_at=None if new.status in CLOSED else new.ready_at or now,
        wake_at=None,
        fence=0,
        worker="",
        recoveries=0,
    )


def inbox(worker: str) -> str:
    """Where a worker's notices are."""
    return hashlib.sha256(worker.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def age(run: Run) -> tuple[int, str]:
    """What runs are listed by, newest first."""
    return run.created_at, run.key.id


def fits(run: Run, query: Filter) -> bool:
    """Whether a run is among those asked for."""
    return (
        run.key.namespace == query.namespace
        and (query.workflow is None or run.workflow == query.workflow)
        and (query.statuses is None or run.status in query.statuses)
        and query.tags.items() <= run.tags.items()
        and (query.created_after is None or run.created_at >= query.created_after)
        and (query.created_before is None or run.created_at < query.created_before)
        and (query.prefix is None or run.key.id.startswith(query.prefix))
        and (query.parent is None or run.parent == query.parent)
    )
