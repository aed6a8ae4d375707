"""What a worker asks its store for, how often, and which of the runs that it is handed it keeps.

Rule 1: claims are cheap but not free: between two of them lies a breath, and while runs are under way here, claiming takes one part
in so many of the time, however slow the store is.
Rule 2: a run that began with a version which is not here goes back while a worker is heard that has it.
Rule 3: a run in doubt waits in line, and one that lost too many workers is not driven at all (``recoveries``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from replay.engine.committing import Committer
from replay.engine.held import BREATH, BUSY_BREATH, IDLE_BREATH, Held
from replay.engine.leases import Leases
from replay.engine.live import Live
from replay.engine.observers import Observer
from replay.engine.offers import Offers
from replay.engine.presence import versioned, workers
from replay.engine.recoveries import warning
from replay.engine.remote import STEP_RUN, StepRun
from replay.engine.settings import Settings
from replay.engine.trouble import Trouble
from replay.engine.waiters import Waiters
from replay.errors import LeaseLost, StoreError
from replay.interpreter.interpreter import Interpreter
from replay.model.effects import WorkflowSpec
from replay.model.names import SECOND
from replay.model.queues import Queue
from replay.store.contract import Claim, Claimed, Claims, Committed, Run, Store

CLAIM_SHARE: Final = 10
"""While runs are under way, claiming takes one part in so many of the time, however slow the store is."""
CLAIM_LIMIT: Final = 200
"""Runs taken in one claim at most."""
GIVE_WAY: Final = SECOND // 2
"""Microseconds that a worker claims nothing after it gave runs back to those that have their version."""


@attrs.define(eq=False)
class Claimer:
    """What takes runs for one worker.

    Args:
        store: Who has them.
        name: The worker's name.
        settings: How it works.
        held: The runs that it holds.
        offers: What it can drive.
        leases: Its leases.
        waiters: Those who wait for runs.
        committer: Writes for it.
        trouble: Told of a store that does not answer.
        observers: Told of runs that were taken.
        interpreter: Makes the interpreter of a run.
    """

    _store: Store
    _name: str
    _settings: Settings
    _held: Held
    _offers: Offers
    _leases: Leases
    _waiters: Waiters
    _committer: Committer
    _trouble: Trouble
    _observers: Observer
    _interpreter: Callable[[WorkflowSpec, str], Interpreter]
    _claimed_at: int = attrs.field(default=0, init=False)
    _breath: int = attrs.field(default=BUSY_BREATH, init=False)
    _first_queue: int = attrs.field(default=0, init=False)
    _others: set[str] = attrs.field(factory=set, init=False)
    _others_at: int = attrs.field(default=0, init=False)
    _polite_until: int = attrs.field(default=0, init=False)

    def wake(self) -> None:
        """Something may have changed in the store."""
        self._held.claim_by(self._claimed_at + (self._breath if self._held.live else IDLE_BREATH))

    def clock_went_back(self, now: int) -> None:
        """What was put off until a moment of the old time is done now."""
        self._held.claim_at = self._claimed_at = self._polite_until = self._others_at = now

    def foresees(self) -> bool:
        """Whether the store holds a run that this worker will be able to take later, such as one that another holds now."""
        return self._store.claim(self._asking(0)).next_at is not None

    def claim(self, now: int) -> bool:
        """Take runs, as far as there is room; whether there were any."""
        held = self._held
        if now < self._polite_until:
            held.claim_at = self._polite_until
            return False
        room = max(0, self._settings.concurrency - len(held.live))
        claim = self._asking(min(room, CLAIM_LIMIT))
        self._claimed_at = now
        held.claim_at = now + round(self._settings.poll * SECOND)
        self._waiters.look_after(now)
        try:
            claims = self._store.claim(claim)
        except StoreError as error:
            self._trouble.tell("claim", error)
            return False
        self._breath = max(BUSY_BREATH, CLAIM_SHARE * (self._store.now() - now))
        if claims.next_at is not None:
            held.claim_by(max(claims.next_at, now + BREATH))
        held.hungry = len(claims.runs) == room
        if not room:
            held.rest_no_more()
        if not held.hungry and len(claims.runs) == claim.limit:
            held.claim_at = now
        self._receive(claims, now)
        return bool(claims.runs)

    def _receive(self, claims: Claims, now: int) -> None:
        """Take the runs, but for those that others drive better, and the messages for those that are here."""
        foreign = []
        for claimed in claims.runs:
            if self._gives_way(claimed.run, now):
                foreign.append(claimed.lease)
            else:
                self.take(claimed)
        self._leases.give_back(foreign)
        for message in claims.mail:
            live = self._held.live.get(message.key)
            if live is not None and message.id not in live.known:
                live.deliver([message])
                self._held.touch(live)

    def _asking(self, limit: int) -> Claim:
        return Claim(
            worker=self._name,
            namespace=self._settings.namespace,
            queues=self._queues(),
            workflows=self._offers.names(),
            limit=limit,
            ttl=self._leases.ttl,
        )

    def _queues(self) -> Sequence[str | Queue]:
        """The queues to claim from, another one first each time, with what is left of their room here."""
        queues = self._settings.queues
        if len(queues) > 1:
            self._first_queue = (self._first_queue + 1) % len(queues)
            queues = (*queues[self._first_queue :], *queues[: self._first_queue])
        if not any(isinstance(queue, Queue) and queue.here is not None for queue in queues):
            return queues
        held = Counter(live.run.queue for live in self._held.live.values())
        return [
            queue if isinstance(queue, str) or queue.here is None else attrs.evolve(queue, here=max(0, queue.here - held[queue.name]))
            for queue in queues
        ]

    def _gives_way(self, run: Run, now: int) -> bool:
        """Whether a run goes back to a worker that is heard and has the version that it began with, which is not here."""
        key = (run.workflow, run.version)
        if key in self._offers or run.workflow.startswith(STEP_RUN):
            return False
        if now >= self._others_at:
            self._others_at = now + 2 * GIVE_WAY
            try:
                heard = [info for info in workers(self._store, run.key.namespace) if not info.late and info.id != self._name]
            except StoreError as error:
                self._trouble.tell("find", error)
            else:
                self._others = {word for info in heard for word in info.workflows}
        if versioned(*key) not in self._others:
            return False
        self._polite_until = now + GIVE_WAY
        return True

    def take(self, claimed: Claimed) -> None:
        """Take a claimed run into memory."""
        run, lease, held = claimed.run, claimed.lease, self._held
        spec = self._offers.find(run.workflow, run.version)
        if spec is None:  # claimed by a name that was withdrawn meanwhile
            self._leases.give_back([lease])
            return
        if isinstance(spec, StepRun):
            spec = spec.asked_by(claimed.journal)
        self._waiters.fresh.pop(run.key, None)
        known = held.live.get(run.key)
        if known is not None and (run.seq, lease.fence) == (known.committed, known.lease.fence + 1):
            known.lease = lease  # it ended unnoticed, and nobody else was there before it was claimed anew
            known.deliver(claimed.mail)
            held.touch(known)
            return
        if known is not None:
            held.drop(known)
        if held.line.is_beyond(claimed):
            self._committer.set_aside(claimed)
            return
        live = Live(claimed, self._interpreter(spec, run.key.id), self._settings.max_payload)
        held.live[run.key] = live
        self._leases.granted(lease)
        if not held.line.enters(claimed, live):
            held.touch(live)
        self._observers.claimed(run, lease)

    def let_in(self, now: int) -> None:
        """Drive the next run in doubt, once it is written down that it is to blame if this worker dies."""
        while (live := self._held.line.next(now)) is not None:
            if self._committer.send([warning(live)]) == [Committed.APPLIED]:
                self._held.touch(live)
                return
            self._committer.read_again(live, LeaseLost(live.key.id, live.lease.fence))
