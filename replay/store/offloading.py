"""A store whose large payloads lie elsewhere: ``postgresql://…?blobs=s3://…``.

Rule 1: the store within holds a reference where a payload would be too large: a mark, then what it refers to, its size and SHA-256. A
payload that itself begins with the mark goes the same way, so that nothing can be taken for a reference that is none.
Rule 2: a large payload is written before the record that refers to it. When the process dies in between, nobody refers to it.
Rule 3: every writing gives a fresh name below its *owner*: the run, with all journals that were ever under its id (``id~n``). When the
last run of an owner is deleted, nothing below it is referred to by anyone; a run that comes later under the same id writes other
names. What was written less than ``GRACE`` ago is left for a later sweep, so no deletion meets a writer.
Rule 4: whoever uses the store sees whole payloads only; what is gone or damaged is ``JournalDamaged``.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import attrs

from replay.errors import JournalDamaged, StoreUnavailable
from replay.model.events import Event
from replay.store.blobs import Blobs, digest_of
from replay.store.contract import (
    Capability,
    Claim,
    Claimed,
    Claims,
    Commit,
    Committed,
    Created,
    Entry,
    Filter,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
    Store,
)

T = TypeVar("T")

LARGE: Final = 64 * 1024
"""Bytes of a payload that stay in the store, where nothing else is said (``?blobs_above=``)."""
MARK: Final = b"\0replay:blob\0"
"""What a reference begins with."""
GRACE: Final = 3_600.0
"""Seconds in which what was written may still be about to be referred to."""
PAST: Final = re.compile(r"(~\d+)+$")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
OWNERS: Final = 10_000
"""Owners that are remembered as written down."""
TOGETHER: Final = 8
"""Payloads that are fetched at once."""


class Offloading:
    """A store that keeps large payloads elsewhere.

    Attributes:
        inner: The store within.
        blobs: Where large payloads lie.
        limit: Bytes of a payload that stay in the store.
        url: The store within's.
        capabilities: The store within's.
    """

    def __init__(self, inner: Store, blobs: Blobs, *, limit: int = LARGE) -> None:
        self.inner = inner
        self.blobs = blobs
        self.limit = limit
        self.url = inner.url
        self.capabilities: Capability = inner.capabilities
        self._known: OrderedDict[str, float] = OrderedDict()
        self._closed = False
        self._pool = ThreadPoolExecutor(TOGETHER, thread_name_prefix="replay-blobs")

    # ---- there and back -------------------------------------------------------------------------------------------------

    def _put(self, key: RunKey, payload: bytes) -> bytes:
        """A payload, or a reference to it when it is large."""
        if len(payload) <= self.limit and not payload.startswith(MARK):
            return payload
        return self._refer(owner_of(key), {"namespace": key.namespace, "id": base_of(key.id)}, payload)

    def _refer(self, owner: str, about: Mapping[str, str], payload: bytes) -> bytes:
        self._note(owner, about)
        name = f"{owner}/{uuid.uuid4().hex}"
        self.blobs.put(name, payload)
        said = {"name": name, "size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        return MARK + json.dumps(said).encode()

    def _note(self, owner: str, about: Mapping[str, str]) -> None:
        """Write down whose payloads lie there; again after a while, as a sweep may have taken it away."""
        now = time.monotonic()
        if now - self._known.get(owner, -GRACE) < GRACE / 2:
            return
        self.blobs.put(f"{owner}/owner", json.dumps(about).encode())
        self._known[owner] = now
        self._known.move_to_end(owner)
        if len(self._known) > OWNERS:
            self._known.popitem(last=False)

    def _get(self, payload: bytes, run: str = "", seq: int = 0) -> bytes:
        """A payload, fetched when it is a reference.

        Raises:
            JournalDamaged: There is nothing under that name, or something else.
        """
        if not payload.startswith(MARK):
            return payload
        try:
            said = json.loads(payload[len(MARK) :])
            name, size, digest = said["name"], said["size"], said["sha256"]
        except (ValueError, TypeError, KeyError):
            raise JournalDamaged(run, seq, "its payload is a reference that cannot be read") from None
        data = self.blobs.get(name)
        if data is None:
            raise JournalDamaged(run, seq, f"its payload is gone: there is no {name} in {self.blobs.url}")
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise JournalDamaged(run, seq, f"its payload {name} in {self.blobs.url} holds other bytes")
        return data

    def _all(self, work: Callable[[Any], T], items: Sequence[Any], payloads: Callable[[Any], Iterable[bytes]]) -> list[T]:
        """Work on items, several at a time when something has to be fetched for them."""
        if any(payload.startswith(MARK) for item in items for payload in payloads(item)):
            return list(self._pool.map(work, items))
        return list(items)

    # ---- what is written ------------------------------------------------------------------------------------------------

    def _new(self, new: NewRun) -> NewRun:
        def put(payload: bytes) -> bytes:
            return self._put(new.key, payload)

        return attrs.evolve(
            new,
            events=[event._replace(payload=put(event.payload)) for event in new.events],
            state={name: put(value) for name, value in new.state.items()},
            result=put(new.result),
        )

    def _commit(self, commit: Commit) -> Commit:
        def put(payload: bytes) -> bytes:
            return self._put(commit.lease.key, payload)

        return attrs.evolve(
            commit,
            events=[event._replace(payload=put(event.payload)) for event in commit.events],
            state={name: put(value) for name, value in commit.state.items()},
            result=None if commit.result is None else put(commit.result),
            posts=[self._message(message) for message in commit.posts],
            children=[self._new(child) for child in commit.children],
            topics=[(topic, self._entry(commit.lease.key.namespace, topic, payload)) for topic, payload in commit.topics],
            successor=None if commit.successor is None else self._new(commit.successor),
        )

    def _message(self, message: Message) -> Message:
        return message._replace(payload=self._put(message.key, message.payload))

    def _entry(self, namespace: str, topic: str, payload: bytes) -> bytes:
        """An entry of a topic; topics are not deleted, and neither is what they refer to."""
        if len(payload) <= self.limit and not payload.startswith(MARK):
            return payload
        return self._refer(f"topics/{digest_of(namespace, topic)}", {"namespace": namespace, "topic": topic}, payload)

    # ---- what is read ---------------------------------------------------------------------------------------------------

    def _events(self, run: str, events: Sequence[Event]) -> list[Event]:
        def whole(event: Event) -> Event:
            return event._replace(payload=self._get(event.payload, run, event.seq))

        return self._all(whole, events, lambda event: [event.payload])

    def _messages(self, messages: Sequence[Message]) -> list[Message]:
        def whole(message: Message) -> Message:
            return message._replace(payload=self._get(message.payload, message.key.id))

        return self._all(whole, messages, lambda message: [message.payload])

    def _run(self, run: Run) -> Run:
        if not run.result.startswith(MARK) and not any(value.startswith(MARK) for value in run.state.values()):
            return run
        state = {name: self._get(value, run.key.id) for name, value in run.state.items()}
        return attrs.evolve(run, result=self._get(run.result, run.key.id), state=state)

    def _runs(self, runs: Sequence[Run]) -> list[Run]:
        return self._all(self._run, runs, lambda run: [run.result, *run.state.values()])

    # ---- verbs ----------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """See ``Store.now``."""
        return self.inner.now()

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        made = self.inner.create([self._new(new) for new in runs], worker=worker, ttl=ttl)
        return [created._replace(run=self._run(created.run)) for created in made]

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``; a run with a payload that cannot be fetched becomes stuck, and the others are handed out."""
        claims = self.inner.claim(claim)
        whole = [claimed for found in claims.runs if (claimed := self._claimed(found)) is not None]
        return claims._replace(runs=whole, mail=self._messages(claims.mail))

    def _claimed(self, found: Claimed) -> Claimed | None:
        try:
            journal = self._events(found.run.key.id, found.journal)
            return found._replace(run=self._run(found.run), journal=journal, mail=self._messages(found.mail))
        except JournalDamaged as error:
            stuck = Commit(lease=found.lease, expected=found.run.seq, status="stuck", note=str(error), release=True)
            self.inner.commit([stuck])
            return None

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        return self.inner.renew(leases, ttl=ttl)

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        self.inner.release(leases)

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        return self.inner.commit([self._commit(commit) for commit in batch])

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """See ``TransactionalStore.transact``."""
        inner: Any = self.inner
        fate: Committed = inner.transact(lambda connection: self._commit(work(connection)))
        return fate

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        return self.inner.post([self._message(message) for message in messages])

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        return self._events(key.id, self.inner.journal(key, after=after, limit=limit))

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        return [None if run is None else self._run(run) for run in self.inner.get(keys)]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        page = self.inner.find(query, limit=limit, cursor=cursor)
        return page._replace(runs=self._runs(page.runs))

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        self.inner.publish(namespace, [(topic, self._entry(namespace, topic, payload)) for topic, payload in entries])

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        entries = self.inner.read(namespace, topic, after=after, limit=limit)

        def whole(entry: Entry) -> Entry:
            return entry._replace(payload=self._get(entry.payload))

        return self._all(whole, entries, lambda entry: [entry.payload])

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        self._require_open()
        name = hashlib.sha256(data).hexdigest()
        self.blobs.put(f"named/{name}", data)
        return name

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        self._require_open()
        data = self.blobs.get(f"named/{name}") if DIGEST.fullmatch(name) else None
        if data is None:
            raise JournalDamaged(name, 0, "there is no blob of that name")
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalDamaged(name, 0, "the blob of that name holds other bytes")
        return data

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(self.url, "it is closed", "open it again")

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``."""
        return self.inner.wait(seen, timeout)

    def close(self) -> None:
        """See ``Store.close``."""
        self._closed = True
        self.inner.close()
        self.blobs.close()
        self._pool.shutdown(wait=False)

    # ---- what nobody refers to any more ---------------------------------------------------------------------------------

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``; payloads of owners that have no run left go too, if they are older than ``GRACE``."""
        count = self.inner.delete(keys)
        if count:
            for key in {RunKey(key.namespace, base_of(key.id)) for key in keys}:
                self._sweep_owner(key)
        return count

    def _sweep_owner(self, key: RunKey, grace: float = GRACE) -> int:
        """Remove what is below an owner that has no run left; how many things."""
        if self._has_run(key):
            return 0
        things = list(self.blobs.things(f"{owner_of(key)}/"))
        names = [thing.name for thing in things if thing.age >= grace and not thing.name.endswith("/owner")]
        self.blobs.delete(names)
        if len(names) >= len(things) - 1:  # or a younger one would be nobody's for ever
            self.blobs.delete([f"{owner_of(key)}/owner"])
        return len(names)

    def _has_run(self, key: RunKey) -> bool:
        """Whether a run is there, or a journal that was under its id before."""
        if self.inner.get([key])[0] is not None:
            return True
        cursor = ""
        while True:
            page = self.inner.find(Filter(namespace=key.namespace, prefix=f"{key.id}~"), limit=1_000, cursor=cursor)
            if any(base_of(run.key.id) == key.id for run in page.runs):
                return True
            cursor = page.cursor
            if not cursor:
                return False

    def sweep(self, *, grace: float = GRACE) -> int:
        """Remove everything that belongs to runs that are gone; how many things. ``replay store prune`` calls it at its end."""
        removed = 0
        for thing in self.blobs.things("runs/"):
            if thing.name.endswith("/owner") and thing.age >= grace:
                about = json.loads(self.blobs.get(thing.name) or b"{}")
                removed += self._sweep_owner(RunKey(about["namespace"], about["id"]), grace) if about else 0
        return removed


def base_of(run: str) -> str:
    """The id that a run's journals are under, have been, or will be."""
    return PAST.sub("", run)


def owner_of(key: RunKey) -> str:
    """Below which name the payloads of a run lie."""
    return f"runs/{digest_of(key.namespace, base_of(key.id))}"


__all__ = ["GRACE", "LARGE", "Offloading", "base_of", "owner_of"]
