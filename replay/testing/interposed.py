"""A store between a store and whoever uses it; it does nothing by itself.

``around`` sees every verb, by name, as something that is about to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from replay.model.events import Event
from replay.store.contract import (
    Claim,
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


class Interposed:
    """A store that passes every verb on.

    Args:
        inner: The store that does it.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self.capabilities = inner.capabilities

    def around(self, verb: str, act: Callable[[], T]) -> T:
        """Do a verb; override it to do something before, after or instead."""
        return act()

    def now(self) -> int:
        """See ``Store.now``."""
        return self.inner.now()

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        return self.around("create", lambda: self.inner.create(runs, worker=worker, ttl=ttl))

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        return self.around("claim", lambda: self.inner.claim(claim))

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        return self.around("renew", lambda: self.inner.renew(leases, ttl=ttl))

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        self.around("release", lambda: self.inner.release(leases))

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        return self.around("commit", lambda: self.inner.commit(batch))

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """See ``TransactionalStore.transact``."""
        inner: Any = self.inner
        fate: Committed = self.around("transact", lambda: inner.transact(work))
        return fate

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        return self.around("post", lambda: self.inner.post(messages))

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        return self.around("journal", lambda: self.inner.journal(key, after=after, limit=limit))

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        return self.around("get", lambda: self.inner.get(keys))

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        return self.around("find", lambda: self.inner.find(query, limit=limit, cursor=cursor))

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        return self.around("delete", lambda: self.inner.delete(keys))

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        self.around("publish", lambda: self.inner.publish(namespace, entries))

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        return self.around("read", lambda: self.inner.read(namespace, topic, after=after, limit=limit))

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        return self.around("put_blob", lambda: self.inner.put_blob(data))

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        return self.around("get_blob", lambda: self.inner.get_blob(name))

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``."""
        return self.inner.wait(seen, timeout)

    def close(self) -> None:
        """See ``Store.close``."""
        self.inner.close()
