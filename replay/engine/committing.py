"""Group commit: what a turn led to is made durable, its fate is found out, and what follows from that is done.

Rule 1: all turns of a round go to the store in one call. Each has a fate of its own.
Rule 2: a store that does not answer leaves the outcome unknown. The same batch is sent again; what was applied the first time comes
back as a conflict, and the journal's last events say whether they are ours (``store.recognising``).
Rule 3: a run whose code cannot go on is laid down where its journal ends, with the reason; the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from replay.engine.family import refusal
from replay.engine.held import Held
from replay.engine.leases import Leases
from replay.engine.live import LOST, Live
from replay.engine.observers import Observer
from replay.engine.offers import Offers
from replay.engine.outputs import LOG, NOTES, note_payload
from replay.engine.recoveries import reason, under_way
from replay.engine.settings import Settings
from replay.engine.trouble import Trouble
from replay.engine.waiters import Waiters, stuck
from replay.errors import ReplayError, RunExists, RunSetAside, StoreError, StoreUnavailable
from replay.interpreter.issue import position
from replay.model.codec import from_json
from replay.model.failure import Failure, qualified
from replay.model.names import SECOND
from replay.model.queues import Queue
from replay.store.contract import OPEN, Claimed, Commit, Committed, Lease, NewRun, RunKey, Store
from replay.store.recognising import recognised

logger: Final = logging.getLogger("replay")
workflow_logger: Final = logging.getLogger("replay.workflow")
"""Where ``log`` effects go."""
STUCK_PAUSE: Final = 30 * SECOND
"""Microseconds until a run that is stuck is tried again; fitting code may have been deployed meanwhile."""


class Committer:
    """What writes for one worker.

    Args:
        store: Where.
        settings: How the worker works.
        held: Its runs.
        leases: By which it writes.
        offers: Learn the workflows of children.
        waiters: Told how runs end.
        trouble: Told of a store that does not answer.
        observers: Told of what became durable, and of what was refused.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        held: Held,
        *,
        leases: Leases,
        offers: Offers,
        waiters: Waiters,
        trouble: Trouble,
        observers: Observer,
    ) -> None:
        self._store = store
        self._held = held
        self._leases = leases
        self._offers = offers
        self._waiters = waiters
        self._trouble = trouble
        self._observers = observers
        self._keep = settings.keep
        self._linger = round(settings.linger * SECOND)
        self._limited = frozenset(queue.name for queue in settings.queues if isinstance(queue, Queue))

    # ---- before ---------------------------------------------------------------------------------------------------------

    def commit_of(self, live: Live, now: int) -> Commit | None:
        """What must become durable before anything else is done; None when there is nothing."""
        held = self._held
        parking, live.parking = live.parking, False
        if live.over:
            return live.commit(release=True)
        moment = live.wake_at()
        if live.idle:
            crowded = held.hungry or len(held.resting) >= self._keep
            if parking or live.paused or held.leaving is not None or crowded or live.run.queue in self._limited:
                return live.commit(release=True)
            rests = held.resting[live.key] = now + self._linger
            moment = rests if moment is None else min(moment, rests)
        if moment is not None:
            held.alarm(live, moment)
        if live.lost and not live.doing and live.acting:
            live.doing = under_way(live)
            return live.commit(release=False)
        return live.commit(release=False) if live.unsaid else None

    def put_blobs(self, live: Live) -> None:
        """Long notes come before the commit that names them; a blob that nobody names does no harm."""
        blobs, live.blobs = live.blobs, []
        for data in blobs:
            self._store.put_blob(data)

    def note_lost(self, batch: list[Commit]) -> list[Commit]:
        """A signal to a run that is not there is dropped by the store: say so among the sender's notes."""
        sent = {post.key for commit in batch if commit.posts for post in commit.posts if post.kind == "signal"}
        if not sent:
            return batch
        sent -= {child.key for commit in batch for child in commit.children}
        keys = sorted(sent)
        try:
            found = dict(zip(keys, self._store.get(keys), strict=True))
        except StoreError:  # whoever cannot be asked cannot be told of either
            return batch
        lost = {
            key: "there is no such run" if run is None else f"it is {run.status}"
            for key, run in found.items()
            if run is None or run.status not in OPEN
        }
        return [_noting(commit, lost) for commit in batch] if lost else batch

    # ---- the call -------------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Commit]) -> list[Committed | Exception]:
        """Commit, again and again until the store answers; what was applied unheard is recognised.

        A commit that the store cannot spell at all has the error as its fate; it does not hold up the others.
        """
        unsure = False
        while True:
            try:
                fates = self._store.commit(batch)
                if unsure:
                    fates = recognised(self._store, batch, fates)
            except StoreUnavailable as error:
                unsure = True
                self._trouble.tell("commit", error)
                if self._trouble.is_enough(self._store.now()):
                    return [Committed.FENCED for _ in batch]
                self._trouble.pause()
            except Exception as error:  # noqa: BLE001 - border: whose commit it is shows when each is sent alone
                return [error] if len(batch) == 1 else [fate for commit in batch for fate in self.send([commit])]
            else:
                self._trouble.over()
                return list(fates)

    # ---- after ----------------------------------------------------------------------------------------------------------

    def settle(self, live: Live, commit: Commit, fate: Committed | Exception, now: int) -> bool:
        """What follows from a commit's fate; whether the run is held further, and what it asked for is to be done."""
        if fate is not Committed.APPLIED:
            self._refused(live, fate)
            return False
        held = self._held
        live.committed += len(commit.events)
        if not live.lost and LOST in commit.state:
            held.line.leaves(live)
        live.applied = live.committed
        live.known.difference_update(commit.consumed)
        self._say(live, commit)
        if live.met:
            self._offers.learn(live.met)
            live.met.clear()
        if commit.children:
            self._greet(live, commit.children)
        if commit.posts or commit.children:
            held.claim_by(now)
        if not commit.release:
            return True
        held.drop(live)
        if commit.status == "waiting" and commit.wake_at is not None:
            held.claim_by(commit.wake_at)
        if commit.successor is not None:
            held.claim_by(max(now, commit.successor.ready_at))
        elif commit.result is not None:
            self._waiters.ended(live.key, (commit.status, commit.result), now)
        return False

    def _refused(self, live: Live, fate: Committed | Exception) -> None:
        if isinstance(fate, Exception):
            self.stuck(live, fate)
            return
        logger.warning("run %s: commit refused (%s), the turn is dropped", live.key.id, fate.value)
        self._observers.refused(live.key, fate)
        self._held.drop(live)
        if fate is Committed.CONFLICT:
            self._leases.give_back([live.lease])

    def _say(self, live: Live, commit: Commit) -> None:
        if commit.events:
            self._observers.committed(live.key, commit.events)
        if not commit.topics:
            return
        prefix = LOG + live.key.id
        for topic, payload in commit.topics:
            if topic == prefix:
                said = from_json(payload)
                level = logging.getLevelNamesMapping().get(str(said["level"]).upper(), logging.INFO)
                workflow_logger.log(level, "%s: %s", live.key.id, said["text"], extra={"run_id": live.key.id, "fields": said["fields"]})

    def _greet(self, live: Live, children: Sequence[NewRun]) -> None:
        """A child whose given id belongs to another run will never answer: say so in its place."""
        given = [child for child in children if child.key.id != position(live.interp, child.parent_command, ".")]
        if not given:
            return
        for child, run in zip(given, self._store.get([child.key for child in given]), strict=True):
            if run is not None and (run.parent, run.parent_command) != (child.parent, child.parent_command):
                problem = RunExists(run.key.id, f"{run.workflow} {run.digest}", f"{child.workflow} {child.digest}")
                self._store.post([refusal(live, child, problem)])
                self._held.claim_at = 0

    # ---- runs that do not go on -----------------------------------------------------------------------------------------

    def read_again(self, live: Live, error: Exception) -> None:
        """The store failed where its answer cannot be asked for again: drop the run and read it anew."""
        logger.warning("run %s is read again: %s", live.key.id, error)
        self._held.drop(live)
        self._leases.give_back([live.lease])
        self._held.claim_at = 0

    def stuck(self, live: Live, error: Exception) -> None:
        """Today's code cannot go on: leave the journal as it is, say why, and try again later or with other code."""
        logger.error("run %s is stuck: %s", live.key.id, error, exc_info=None if isinstance(error, ReplayError) else error)
        self._observers.stuck(live.key, error)
        note = Failure.of(error).message
        if not isinstance(error, ReplayError):
            note = f"{qualified(type(error))}: {note}"
        wake_at = self._store.now() + STUCK_PAUSE
        self._held.drop(live)
        self._lay_down(live.lease, live.committed, live.applied, note, wake_at)

    def set_aside(self, claimed: Claimed) -> None:
        """It lost too many workers: nobody drives it until somebody puts it back."""
        run, error = claimed.run, RunSetAside(claimed.run.key.id, claimed.run.recoveries, reason(claimed))
        logger.error("run %s", error)
        self._observers.stuck(run.key, error)
        self._lay_down(claimed.lease, run.seq, run.applied, error.reason, None)

    def _lay_down(self, lease: Lease, seq: int, applied: int, note: str, wake_at: int | None) -> None:
        """Mark a run as stuck, give it back, and tell who waits here."""
        commit = Commit(
            lease=lease,
            expected=seq,
            status="stuck",
            applied=applied,
            note=note,
            wake_at=wake_at,
            release=True,
        )
        self.send([commit])
        self._waiters.tell(lease.key, stuck(note))


def _noting(commit: Commit, lost: Mapping[RunKey, str]) -> Commit:
    """A commit that also says which of its signals reach nobody."""
    sender = commit.lease.key
    said = [
        f"signal {post.name!r} to {post.key.id} was dropped: {lost[post.key]}"
        for post in commit.posts
        if post.kind == "signal" and post.key in lost
    ]
    for text in said:
        logger.warning("run %s: %s", sender.id, text)
    return (
        attrs.evolve(commit, topics=[*commit.topics, *((NOTES + sender.id, note_payload(text)) for text in said)]) if said else commit
    )
