"""The worker: claims runs, feeds them, commits, and then does what their commands ask.

Rule 1: one thread. ``pump`` takes what has come in, lets every run that heard something take a turn, commits all turns in one call
of the store (whatever arrived during the last commit is committed together now: group commit without a timer), and only then acts.
Rule 2: a worker keeps nothing that the store does not know. A run that only waits is given back and costs a row; a few that may
soon go on are kept for ``linger`` seconds, so that a short sleep or a quick reply needs no second reading of the journal.
Rule 3: time and hands are given: with a virtual clock and the inline executor the same code runs a month in a moment.

Here are the pump and the life of a worker, from its first claim to its last lease. What it does lies in rooms of its own, each of
which knows only those before it: ``held`` (runs in memory) · ``leases`` · ``waiters`` · ``committing`` (group commit) · ``claiming`` ·
``acting`` (steps) · ``requests`` (of clients).
"""

from __future__ import annotations

import logging
import queue
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from replay.authoring.performing import Performer
from replay.engine.acting import Actor, MakeAttempt
from replay.engine.attempts import Beat, Pulse
from replay.engine.claiming import Claimer
from replay.engine.committing import Committer
from replay.engine.held import BUSY_BREATH, WAITING, Held
from replay.engine.identity import place
from replay.engine.leases import Leases
from replay.engine.live import Live
from replay.engine.observers import Observers
from replay.engine.offers import Offers
from replay.engine.pool import Executor
from replay.engine.presence import Presence
from replay.engine.recoveries import Line
from replay.engine.requests import Desk, Item, PostRequest, StartRequest, Stop, WaitRequest, Wake
from replay.engine.settings import Settings
from replay.engine.steps import Attempt, Done
from replay.engine.trouble import Trouble
from replay.engine.waiters import Waiters
from replay.errors import JournalDamaged, StoreError
from replay.interpreter.interpreter import Interpreter
from replay.model.effects import WorkflowSpec
from replay.model.names import SECOND
from replay.store.contract import Commit, Store

logger: Final = logging.getLogger("replay")
REPLAY_BUDGET: Final = 5_000
"""Old events fed per pump, so that one long journal does not hold up the others."""


class Worker:
    """One worker over one store; all but ``inbox.put`` and ``waiters.add`` belongs to one thread, and so does all that it holds.

    Args:
        store: Where the runs are.
        name: Its name, unique among the workers of the store.
        executor: Where steps run.
        settings: How it works.
        offers: What it can drive; every decorated workflow that has been imported unless it is told otherwise.
        observers: Whom to tell.
        performers: How effects are done that are no functions of the author's, by class.
        chance: Spreads retries; a number from 0 to 1.
        sleep: Waits between tries when the store does not answer, seconds.
        lends: Whether who drives does what it finds ``actor.at_hand`` after a pump.
        interpreter: Makes the interpreter of a run.
        attempt: Makes an attempt of a step.

    Attributes:
        live: The runs that it holds, by name.
        stopped: Whether it has given everything back.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        executor: Executor,
        settings: Settings,
        offers: Offers | None = None,
        observers: Observers | None = None,
        performers: Mapping[type[Any], Performer] | None = None,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
        lends: bool = False,
        interpreter: Callable[[WorkflowSpec, str], Interpreter] = Interpreter,
        attempt: MakeAttempt = Attempt,
    ) -> None:
        self.store = store
        self.name = name
        self.settings = settings
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.stopped = False
        self.offers = offers or Offers()
        self.observers = heard = observers or Observers(())
        self.trouble = trouble = Trouble(heard, sleep)
        ttl, poll = round(settings.ttl * SECOND), round(settings.poll * SECOND)
        self.held = held = Held(Line(settings.max_recoveries, ttl))
        self.live = held.live
        self.leases = leases = Leases(store, held, ttl=ttl, trouble=trouble, observers=heard)
        self.waiters = waiters = Waiters(store, held, poll=poll, trouble=trouble)
        self.committer = committer = Committer(
            store, settings, held, leases=leases, offers=self.offers, waiters=waiters, trouble=trouble, observers=heard
        )
        self.claimer = Claimer(
            store,
            name,
            settings,
            held,
            offers=self.offers,
            leases=leases,
            waiters=waiters,
            committer=committer,
            trouble=trouble,
            observers=heard,
            interpreter=interpreter,
        )
        self.actor = Actor(
            store,
            settings,
            held,
            leases=leases,
            committer=committer,
            executor=executor,
            performers=performers or {},
            chance=chance,
            inbox=self.inbox,
            make=attempt,
            lends=lends,
        )
        self.desk = Desk(store, name, settings, held, offers=self.offers, leases=leases, claimer=self.claimer)
        self.presence: Presence | None = None
        if settings.announce:
            every = round(settings.announce * SECOND)
            self.presence = Presence(store, name, settings.namespace, every=every, tell=self._about, trouble=trouble.tell)
        self._latest = 0

    # ---- the pump -------------------------------------------------------------------------------------------------------

    def pump(self, patience: float) -> bool:
        """One round: take in, turn, commit, act. Whether anything happened.

        Args:
            patience: How long to wait for something to come in, in seconds; it waits less when a timer is due.
        """
        held, store, actor = self.held, self.store, self.actor
        busy = self._take_in(patience)
        now = store.now()
        if self._latest - now > SECOND:
            self._clock_went_back(now)
        self._latest = now
        busy |= self._timers(now)
        if now >= self.leases.renew_at:  # first: what has merely ended is still ours until someone claims it
            self.leases.renew(now)
        if self.presence is not None and now >= self.presence.due:
            self.presence.beat(now)
        if held.leaving is None:
            if now >= held.claim_at:
                busy |= self.claimer.claim(now)
            if held.line.waiting:
                self.claimer.let_in(now)
        while held.touched:
            busy = True
            self._round(store.now())
            actor.fill()
            if not self.inbox.empty() or store.now() >= self._next_look():
                break
        actor.fill()
        if held.leaving is not None:
            self._drain(now, held.leaving)
        return busy

    def patience(self) -> float:
        """Seconds until something is due by the store's clock."""
        return 0.0 if self.held.touched else max(0.0, (self._next_look() - self.store.now()) / SECOND)

    def _next_look(self) -> int:
        """When something is due, microseconds."""
        held = self.held
        moments = [held.claim_at if held.leaving is None else held.leaving]  # who leaves claims nothing more
        if held.live:
            moments.append(self.leases.renew_at)
        if (alarm := held.alarms.next()) is not None:
            moments.append(alarm)
        if self.presence is not None:
            moments.append(self.presence.due)
        if held.line.waiting and held.leaving is None:
            moments.append(held.line.until)
        return min(moments)

    def _take_in(self, patience: float) -> bool:
        """Take what has come in, or wait for it; whether there was anything."""
        inbox = self.inbox
        items: list[Item] = []
        try:
            if patience > 0 and not self.held.touched:
                items.append(inbox.get(timeout=patience))
            while True:
                items.append(inbox.get_nowait())
        except queue.Empty:
            pass
        others: list[Item] = []
        for item in items:
            if isinstance(item, Done):
                self.actor.done(item)
            elif isinstance(item, Beat):
                self.actor.heard(item.pulse, item.payload, self.store.now())
            else:
                others.append(item)
        if others:
            self._serve(others)
        return bool(items)

    def _serve(self, items: Sequence[Item]) -> None:
        """What engines and their callers ask; what can be answered together is."""
        for item in items:
            if isinstance(item, Wake):
                self.claimer.wake()
            elif isinstance(item, Stop):
                self._stop(item)
        if starts := [item for item in items if isinstance(item, StartRequest)]:
            self.desk.start(starts)
        if posts := [item for item in items if isinstance(item, PostRequest)]:
            self.desk.post(posts)
        if waits := [item.key for item in items if isinstance(item, WaitRequest)]:
            self.waiters.look_at(waits)

    def _clock_went_back(self, now: int) -> None:
        """What was measured by the old time is done now, so that nobody is deaf until that time comes again."""
        logger.warning("the clock of store %s went back by %.3f s", self.store.url, (self._latest - now) / SECOND)
        self.leases.renew_at = now
        self.claimer.clock_went_back(now)
        self.waiters.clock_went_back(now)
        self.held.rest_no_more()
        if self.presence is not None:
            self.presence.due = now

    def _timers(self, now: int) -> bool:
        """Wake what is due: timers of runs, attempts that take too long, runs that have rested long enough."""
        held = self.held
        due = held.alarms.due(now)
        for whom in due:
            if isinstance(whom, Attempt):
                self.actor.too_late(whom, now)
            elif isinstance(whom, Pulse):
                self.actor.heard(whom, whom.latest(now), now)
            else:
                whom.alarm = 0
                whom.parking = held.resting.get(whom.key, now + 1) <= now
                held.touch(whom)
        return bool(due)

    # ---- a round --------------------------------------------------------------------------------------------------------

    def _round(self, now: int) -> None:
        """Let every run that heard something take a turn, commit all turns at once, then act."""
        held, committer = self.held, self.committer
        touched, held.touched = held.touched, {}
        batch: list[Commit] = []
        turned: list[Live] = []
        budget = REPLAY_BUDGET
        for live in touched.values():
            if live.in_line:
                continue
            try:
                if not live.arrived:
                    budget = live.replay(max(budget, 1))
                    if not live.over and not live.arrived:
                        held.touched[live.key] = live
                        continue
                live.turn(now)
                settled = live.interp.settled or live.over  # one that never rests may have been terminated
                commit = committer.commit_of(live, now) if settled else None
                if live.blobs:
                    committer.put_blobs(live)
            except JournalDamaged as error:  # reading it again would find the same
                committer.stuck(live, error)
                continue
            except StoreError as error:
                committer.read_again(live, error)
                continue
            except Exception as error:  # noqa: BLE001 - border: today's code does not fit; the run is set aside, the others go on
                committer.stuck(live, error)
                continue
            if not settled:
                held.touched[live.key] = live
            elif commit is None:
                self.actor.act(live, now)
            else:
                batch.append(commit)
                turned.append(live)
        if batch:
            self._commit(turned, batch, now)

    def _commit(self, turned: Sequence[Live], batch: list[Commit], now: int) -> None:
        """Make turns durable, and act on what was asked for in them."""
        committer = self.committer
        batch = committer.note_lost(batch)
        for live, commit, fate in zip(turned, batch, committer.send(batch), strict=True):
            try:
                if committer.settle(live, commit, fate, now):
                    self.actor.act(live, now)
            except StoreError as error:
                committer.read_again(live, error)

    # ---- its life -------------------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        """What others may know of it."""
        settings = self.settings
        return {
            **place(),
            "queues": [queue if isinstance(queue, str) else queue.name for queue in settings.queues],
            "workflows": self.offers.told(),
            "capacity": settings.concurrency,
            "runs": len(self.live),
            "step_capacity": settings.steps,
            "steps": len(self.actor.attempts),
            "draining": self.held.leaving is not None,
        }

    def _stop(self, item: Stop) -> None:
        """It is time to leave, which others see at once."""
        self.held.leaving = item.until
        if self.presence is not None:
            self.presence.hurry()

    def _drain(self, now: int, until: int) -> None:
        """Wait for steps that run, as long as there is patience; what has none is given back at once, in the end everything."""
        if now < until and any(attempt.live.tasks for attempt in self.actor.attempts.values()):
            self._leave_early()
            return
        for live in self.live.values():
            live.parking = True
            if live.arrived and not live.tasks:
                self.held.touch(live)
        if self.held.touched:
            self._round(now)
        self._drop_all()
        if self.presence is not None:
            self.presence.leave()
        self.stopped = True

    def _leave_early(self) -> None:
        """Others need not wait for this worker's steps to go on with runs that have none under way here."""
        held = self.held
        leaving = [live for live in self.live.values() if live.key not in held.touched and not _is_busy(live)]
        for live in leaving:
            if live.idle and not live.in_line:
                held.touch(live)  # parked by its next commit, with its wake-up
            else:
                held.drop(live)
        self.leases.give_back([live.lease for live in leaving if live.key not in held.touched])

    def _drop_all(self) -> None:
        leases = [live.lease for live in self.live.values()]
        for live in list(self.live.values()):
            self.held.drop(live)
        self.leases.give_back(leases)

    def forget_all(self) -> None:
        """Drop every run, unharmed, after an error that nobody expected, and read them again."""
        self._drop_all()
        now = self.store.now()
        self.held.claim_at = now + BUSY_BREATH
        if self.trouble.is_enough(now):
            self.stopped = True

    def refuse_all(self, error: Exception) -> None:
        """It has ended: tell everyone who still waits."""
        futures: list[Future[Any]] = self.waiters.leave()
        while not self.inbox.empty():
            item = self.inbox.get_nowait()
            if isinstance(item, StartRequest | PostRequest):
                futures.append(item.future)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _is_busy(live: Live) -> bool:
    """Whether something is under way for a run here, or was announced as such."""
    begun = any(task is not WAITING for task in live.tasks.values())
    return begun or any(command.id in live.intents for command in (*live.acting, *live.queued))
