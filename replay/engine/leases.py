"""The right to write: leases are renewed while their runs are held, and given back when they are not.

Rule 1: a lease that the store does not renew is lost, and its run is dropped as it is: whoever holds it now reads the journal.
Rule 2: what cannot be given back ends by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from replay.engine.held import Held
from replay.engine.observers import Observer
from replay.engine.trouble import Trouble
from replay.errors import LeaseLost, StoreError
from replay.store.contract import Committed, Lease, Store

logger: Final = logging.getLogger("replay")


class Leases:
    """The leases of one worker.

    Args:
        store: Who grants them.
        held: The runs that they are for.
        ttl: Their length, microseconds.
        trouble: Told of a store that does not answer.
        observers: Told of leases that are lost.

    Attributes:
        renew_at: When they are to be renewed, microseconds.
    """

    def __init__(self, store: Store, held: Held, *, ttl: int, trouble: Trouble, observers: Observer) -> None:
        self.ttl = ttl
        self.renew_at = 0
        self._store = store
        self._held = held
        self._trouble = trouble
        self._observers = observers

    def granted(self, lease: Lease) -> None:
        """One more to be renewed in time."""
        self.renew_at = min(self.renew_at or lease.until, lease.until - self.ttl * 2 // 3)

    def renew(self, now: int) -> None:
        """Renew all, and drop the runs whose leases are lost."""
        self.renew_at = now + self.ttl // 3
        held = list(self._held.live.values())
        if not held:
            return
        try:
            kept = self._store.renew([live.lease for live in held], ttl=self.ttl)
        except StoreError as error:
            self._trouble.tell("renew", error)
            self.renew_at = now + self.ttl // 10
            return
        for live, still in zip(held, kept, strict=True):
            if not still and self._held.live.get(live.key) is live:
                logger.warning("%s", LeaseLost(live.key.id, live.lease.fence))
                self._observers.refused(live.key, Committed.FENCED)
                self._held.drop(live)

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Let others take these runs at once."""
        try:
            if leases:
                self._store.release(leases)
        except Exception as error:  # noqa: BLE001 - border: what cannot be given back ends by itself
            self._trouble.tell("release", error)
