"""A store on nothing but a bucket.

Rule 1: the head decides. A run's head is changed by conditional writes only: events, lease, wake-up and result of a commit are one
PUT, and of two writers one wins. Everything else is a hint, a copy, or waits in the head's outbox until it was delivered.
Rule 2: a marker says "look at this run from then on": its key sorts by time, so that what is due is found without a scan. It is
written before the head that it is a marker of, and taken away by whoever changed that head; a stale one costs a look.
Rule 3: a message is an object named by its id, so that posting twice is posting once. A poster writes it first and then looks at the
head; a parking worker writes the head first and then looks for messages: one of the two sees the other.
Rule 4: nothing on the way of a step lists anything: a step of a run that this worker holds costs one PUT.

Layout, below the prefix: ``runs/NS/RUN/head``, ``runs/NS/RUN/seg/…``, ``mail/NS/RUN/MESSAGE``, ``inbox/WORKER/…``,
``ready/NS/QUEUE/TIME.FENCE/WORKFLOW/RUN``, ``lines/NS/QUEUE/KEY/TIME.FENCE/WORKFLOW/RUN``, ``slots/NS/QUEUE``,
``topics/NS/TOPIC/OFFSET``, ``tickets/…``, ``blobs/SHA256``.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Sequence
from urllib.parse import quote

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
    JournalDamaged,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
    StoreUnavailable,
    age,
    declared,
    fits,
    index_entry,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
    soonest,
    takes_on,
    waiting_of,
)
from replay_s3.address import open_bucket
from replay_s3.bucket import Bucket, Object, Taken, Unheard
from replay_s3.heads import Head, Outbox, pack_events, part
from replay_s3.mail import Mail
from replay_s3.markers import due, head_of, mark, mend, unmark
from replay_s3.runs import TRIES, Held, Runs, is_due, place_of, take
from replay_s3.segments import events, recovery
from replay_s3.slots import Gate
from replay_s3.topics import Topics


def open_s3(url: str, *, clock: Clock | None = None) -> S3Store:
    """Open a bucket as a store.

    Args:
        url: ``s3://bucket/prefix``; options: ``endpoint``, ``region``, ``requests`` (how many at once), ``versions=keep``,
            ``probe=off``. Credentials come
            in the usual ways of boto3, never in the URL.
        clock: The time, for tests; None for the server's.

    Raises:
        InvalidRequest: The URL does not fit.
        StoreUnavailable: The bucket cannot be used, or its server ignores the conditions of writes.
    """
    bucket, options = open_bucket(url)
    if options.get("probe") != "off":
        try:
            bucket.require_conditions()
            bucket.require_memory(versions=options.get("versions", ""))
        except BaseException:
            bucket.close()
            raise
    return S3Store(bucket, clock=clock)


class S3Store:
    """Journals in a bucket.

    Attributes:
        url: The bucket and prefix.
        capabilities: Persistent, shared between processes, and it keeps to limits.
        bucket: What it rests on; ``bucket.counts`` are its requests.
    """

    capabilities = Capability.PERSISTENT | Capability.SHARED | Capability.LIMITS

    def __init__(self, bucket: Bucket, *, clock: Clock | None = None) -> None:
        self.bucket = bucket
        self.url = bucket.url
        self._clock = clock
        self._runs = Runs(bucket, self.now)
        self._mail = Mail(self._runs, self.now)
        self._topics = Topics(bucket, self.now)
        self._gate = Gate(bucket)
        self._places: dict[str, str] = {}
        self._changed = threading.Condition()
        self._version = 1

    def now(self) -> int:
        """See ``Store.now``; the server's clock, as its answers tell it."""
        return self._clock() if self._clock is not None else round(self.bucket.server_time() * 1_000_000)

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        for new in runs:
            require_numbered(new.events)
        firsts = {new.key: new for new in reversed(runs)}
        fates = self.bucket.together(lambda new: self._runs.create(new, worker, ttl), list(firsts.values()))
        made = dict(zip(firsts, fates, strict=True))
        self._tell()
        seen: set[RunKey] = set()
        answers = []
        for new in runs:
            answer = made[new.key]
            answers.append(answer._replace(new=False, lease=None) if new.key in seen else answer)
            seen.add(new.key)
        return answers

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        bucket, now = self.bucket, self.now()
        limited = declared(claim.queues)
        slots = {name: self._gate.read(claim.namespace, name, now) for name in limited}
        full = {name for name, queue in limited.items() if slots[name].standing(queue, now).full}
        markers = due(bucket, claim, now, full=full, places=self._places)
        looked = [found for found in bucket.together(lambda marker: self._look(marker, now), list(markers.now)) if found is not None]
        looked += [held for one in slots.values() for held in one.ended if held.head.run.workflow in claim.workflows]
        waiting = {held.head.run.key: waiting_of(held.head.run, held) for held in looked}
        mail = self._mail.noticed(claim, now)  # first: a run that is taken now brings its mail itself
        chosen, again_at = self._gate.allot(claim, list(waiting.values()), slots, now)
        taken = bucket.together(lambda item: self._take(item.run, claim, now), chosen)
        lost = [item.run.head.run for item, claimed in zip(chosen, taken, strict=True) if claimed is None]
        self._gate.free([(run.key, run.fence + 1) for run in lost], now)
        return Claims([claimed for claimed in taken if claimed], mail, soonest(markers.next_at, again_at))

    def _look(self, marker: Object, now: int) -> Held | None:
        """The head that a due marker is about, when it is ready; a marker that is stale is put right."""
        found = self.bucket.get(head_of(marker))
        if found is None:
            mend(self.bucket, marker, None)
            return None
        held = Held(found.tag, Head.decode(found.body))
        run = held.head.run
        if is_due(run, now):
            return held
        if held.head.outbox and not run.worker:  # whoever wrote it died before it could send what it had to
            self._deliver(held.head.outbox)
            self._seal(run.key, held)
        mend(self.bucket, marker, run)
        return None

    def _take(self, held: Held, claim: Claim, now: int) -> Claimed | None:
        head, before = held.head.copy(), held.head.run
        if head.outbox:
            self._deliver(head.outbox)
            head.outbox = Outbox()
        lease = take(head, claim.worker, now + claim.ttl)
        try:
            journal = recovery(self.bucket, head)
        except JournalDamaged as error:
            head.change(worker="", ready_at=None, status="stuck", note=str(error))
            journal = None
        mark(self.bucket, head.run, before)
        try:
            written = self._runs.write(before.key, head, held.tag)
        except Taken:
            return None
        unmark(self.bucket, before, head.run)
        if journal is None:
            return None
        self._runs.held[before.key] = written
        return Claimed(head.run, lease, journal, self._mail.unread(head))

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        until = self.now() + ttl
        return self.bucket.together(lambda lease: self._renew(lease, until), list(leases))

    def _renew(self, lease: Lease, until: int) -> bool:
        for fresh in (False, True):
            held = self._runs.own(lease, fresh=fresh)
            if held is None:
                return False
            head = held.head.copy()
            head.change(ready_at=until)  # the old marker stays: it costs a look, not a write
            if until < (held.head.run.ready_at or 0):
                mark(self.bucket, head.run, held.head.run)
            try:
                self._runs.held[lease.key] = self._runs.write(lease.key, head, held.tag)
            except Taken:
                continue
            return True
        return False

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        self.bucket.together(self._release, list(leases))
        self._tell()

    def _release(self, lease: Lease) -> None:
        def step(head: Head) -> bool:
            run = head.run
            if (run.fence, run.worker) != (lease.fence, lease.worker) or run.status in CLOSED:
                return False
            head.change(worker="", ready_at=run.wake_at if run.status == "paused" else self.now())
            return True

        self._runs.held.pop(lease.key, None)
        head = self._runs.change(lease.key, step)
        self._gate.free([(lease.key, lease.fence)], self.now())
        if head is not None and head.run.status == "paused":
            self._mail.rouse(lease.key)

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

        self.bucket.together(work, list(by_run.values()))
        self._tell()
        return fates

    def _commit(self, commit: Commit) -> Committed:
        key = commit.lease.key
        for fresh in (False, *[True] * TRIES):
            held = self._runs.own(commit.lease, fresh=fresh)
            if held is None:
                self._runs.held.pop(key, None)
                return Committed.FENCED
            if held.head.run.seq != commit.expected:
                if fresh:
                    return Committed.CONFLICT
                continue
            before, head = held.head.run, held.head.copy()
            past = self._apply(head, commit)
            mark(self.bucket, head.run, before)
            try:
                written = self._runs.write(key, head, held.tag)
            except Taken:
                self._runs.held.pop(key, None)
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
        mark = f"{run.key.namespace}\n{run.key.id}:{run.fence}:{head.run.seq}:{uuid.uuid4().hex[:8]}"
        topics = self._topics.addressed(run.key.namespace, commit.topics, mark)
        head.outbox = Outbox(list(commit.posts), list(commit.children), topics)
        return self._succeed(head, commit.successor, now) if commit.successor is not None else None

    def _succeed(self, head: Head, new: NewRun, now: int) -> Head:
        """Let the next journal take over the id; the old one goes to ``id~n`` by way of the outbox."""
        old, key = head.copy(), head.run.key
        number = head.journals + 1
        while self.bucket.get(place_of(RunKey(key.namespace, f"{key.id}~{number}"))) is not None:
            number += 1
        old.change(key=RunKey(key.namespace, f"{key.id}~{number}"), parent="", parent_command="", ready_at=None)
        old.consumed, old.outbox = [], Outbox()
        head.run = attrs.evolve(index_entry(new, now), fence=head.run.fence + 1)
        head.tail, head.segments, head.journals = pack_events(new.events), [], number
        head.outbox.past = old.to_json()
        return old

    def _finish(self, commit: Commit, before: Run, written: Held, past: Head | None) -> None:
        """What follows a commit: deliver, keep or let go, tidy."""
        key, head = commit.lease.key, written.head
        open_still = head.run.status not in CLOSED
        held = open_still and bool(head.run.worker)
        if head.outbox:
            self._deliver(head.outbox)
            if head.outbox.children and not held:
                self._seal(key, written)  # for nobody may create them again once they are gone
            head.outbox = Outbox()
        if held:
            self._runs.held[key] = written
            self._mail.empty(key, head)
        else:
            self._runs.held.pop(key, None)
            self._gate.free([(key, commit.lease.fence)], self.now())
        unmark(self.bucket, before, head.run)
        if commit.consumed:
            self._mail.forget(commit.lease, commit.consumed)
        if open_still and not held:
            self._mail.rouse(key)

    def _seal(self, key: RunKey, written: Held) -> None:
        """Let the head of a run that nobody holds forget what was delivered; whoever has changed it meanwhile does so, too."""
        head = written.head.copy()
        head.outbox = Outbox()
        with contextlib.suppress(Taken):
            self._runs.write(key, head, written.tag)

    def _deliver(self, outbox: Outbox) -> None:
        """Send what a commit sends; twice is once."""
        if outbox.past is not None:
            past = Head.from_json({**outbox.past, "run": dict(outbox.past["run"])})
            place = place_of(past.run.key)
            try:
                self.bucket.create(place, past.encode())
            except (Taken, Unheard):
                if self.bucket.get(place) is None:
                    self.bucket.put(place, past.encode())
        self.bucket.together(self._runs.create, outbox.children)
        for message in outbox.posts:
            self._mail.post(message)
        for posting in outbox.topics:
            self._topics.deliver(posting)

    # ---- messages -----------------------------------------------------------------------------------------------------------

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        by_run: dict[RunKey, list[int]] = {}
        for place, message in enumerate(messages):
            by_run.setdefault(message.key, []).append(place)
        fates: list[Posted] = [Posted.UNKNOWN] * len(messages)

        def work(places: list[int]) -> None:
            for place in places:
                fates[place] = self._mail.post(messages[place])

        self.bucket.together(work, list(by_run.values()))
        self._tell()
        return fates

    # ---- reading --------------------------------------------------------------------------------------------------------------

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        held = self._runs.load(key)
        return [] if held is None else events(self.bucket, held.head, (after, min(after + limit, held.head.run.seq)))

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        found = self.bucket.together(self._runs.load, list(keys))
        return [None if held is None else held.head.run for held in found]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``; it reads every head of the namespace: a bucket has no index."""
        before = page_after(cursor)
        below = f"runs/{part(query.namespace)}/"
        heads = [found.key for found in self.bucket.entries(below, limit=10_000_000) if found.key.endswith("/head")]
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
        return sum(self.bucket.together(self._delete, list(keys)))

    def _delete(self, key: RunKey) -> int:
        held = self._runs.load(key)
        if held is None or held.head.run.status not in CLOSED:
            return 0
        self._mail.delete(key)
        self.bucket.delete([place for _, _, place in held.head.segments])
        self.bucket.delete([place_of(key)])
        return 1

    # ---- topics and blobs -------------------------------------------------------------------------------------------------------

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        for topic, payload in entries:
            self._topics.publish(namespace, topic, payload)
        self._tell()

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        return self._topics.read(namespace, topic, after, limit)

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        name = hashlib.sha256(data).hexdigest()
        self.bucket.put(f"blobs/{name}", data)
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        found = self.bucket.get(f"blobs/{quote(name, safe='')}")
        if found is None:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        if hashlib.sha256(found.body).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return found.body

    # ---- life -------------------------------------------------------------------------------------------------------------------

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; a bucket tells nobody of changes elsewhere, so those are found by polling."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen or self.bucket.closed, timeout)
            return self._version

    def _tell(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """See ``Store.close``."""
        if not self.bucket.closed:
            self.bucket.close()
            self._tell()
