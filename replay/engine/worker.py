"""The worker: claims runs, feeds them, commits, and then does what their commands ask.

Rule 1: one thread. ``pump`` takes what has come in, lets every run that heard something take a turn, commits all turns in one call
of the store (whatever arrived during the last commit is committed together now: group commit without a timer), and only then acts.
Rule 2: a worker keeps nothing that the store does not know. A run that only waits is given back and costs a row; a few that may
soon go on are kept for ``linger`` seconds, so that a short sleep or a quick reply needs no second reading of the journal.
Rule 3: a store that does not answer leaves the outcome of a commit unknown. The same batch is sent again; what was applied the first
time comes back as a conflict, and the journal's last events say whether they are ours. Nothing is guessed.
Rule 4: time and hands are given: with a virtual clock and the inline executor the same code runs a month in a moment.
"""

from __future__ import annotations

import importlib
import logging
import queue
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import attrs

from replay.authoring.definitions import RIVALS, STEPS, WORKFLOWS
from replay.authoring.performing import Performer
from replay.authoring.step_context import StepInfo
from replay.engine.alarms import Alarms
from replay.engine.attempts import EVERY, Beat, Pulse, limit
from replay.engine.identity import place
from replay.engine.live import LOG, LOST, NOTES, Answer, Live, note_payload
from replay.engine.observers import Observers
from replay.engine.performing import EngineScene
from replay.engine.pool import Executor
from replay.engine.presence import Presence, versioned, workers
from replay.engine.recoveries import Line, reason, under_way, warning
from replay.engine.remote import STEP_RUN, StepRun
from replay.engine.steps import Attempt, Done
from replay.errors import (
    BudgetExceeded,
    DefinitionError,
    JournalDamaged,
    LeaseLost,
    PayloadError,
    PayloadTooLarge,
    ProviderBusy,
    ReplayError,
    ReplyInvalid,
    RunExists,
    RunSetAside,
    StepInterrupted,
    StoreError,
    StoreUnavailable,
)
from replay.interpreter.fibers import Command
from replay.interpreter.issue import position
from replay.model import events
from replay.model.budgets import NOTHING
from replay.model.codec import from_json, to_json
from replay.model.effects import Step, WorkflowSpec
from replay.model.events import Event
from replay.model.failure import Failure, qualified
from replay.model.names import SECOND
from replay.model.queues import Queue
from replay.store.contract import (
    OPEN,
    Capability,
    Claim,
    Claimed,
    Commit,
    Committed,
    Created,
    Lease,
    Message,
    NewRun,
    Posted,
    Run,
    RunKey,
    Store,
)

logger: Final = logging.getLogger("replay")
workflow_logger: Final = logging.getLogger("replay.workflow")
"""Where ``log`` effects go."""
BREATH: Final = 1_000
"""Microseconds between two claims at the least."""
IDLE_BREATH: Final = 5_000
"""The same when the store says that something changed; most often it was this worker itself, a moment ago."""
BUSY_BREATH: Final = 10_000
"""The same while runs are under way here, whose own commits would wake the claimer again and again."""
CLAIM_SHARE: Final = 10
"""While runs are under way, claiming takes one part in so many of the time, however slow the store is."""
STUCK_PAUSE: Final = 30 * SECOND
"""Microseconds until a run that is stuck is tried again; fitting code may have been deployed meanwhile."""
CLAIM_LIMIT: Final = 200
"""Runs taken in one claim at most."""
STUCK: Final = "Stuck"
"""What those who wait for a stuck run are told instead of an exception's type; the note says what was raised."""
FRESH_LIMIT: Final = 2_000
"""Runs that just ended here whose ending is remembered for who asks next, so that a result costs no question to the store."""
FRESH_SIZE: Final = 4_096
"""Bytes of such an ending at most."""
GIVE_WAY: Final = SECOND // 2
"""Microseconds that a worker claims nothing after it gave runs back to those that have their version."""
LOOKED_AFTER: Final = 500
"""Runs driven elsewhere that are asked about in one go."""
FINAL: Final = (BudgetExceeded, PayloadError, PayloadTooLarge, ReplyInvalid)
"""What another attempt would not mend, whatever a retry policy says."""
BUILT_IN: Final[Mapping[str, str]] = {"replay.debounce": "replay.engine.debounce"}
"""Workflows that every worker offers, and their modules, which load when a run of theirs is taken."""
WAITING: Final = object()
"""Stands for an attempt that waits for room."""
QUICK: Final = 500
"""Microseconds that a step took last time at most, for whoever drives to do it with its own hands."""
REPLAY_BUDGET: Final = 5_000
"""Old events fed per pump, so that one long journal does not hold up the others."""


@attrs.frozen(kw_only=True)
class Settings:
    """How a worker works.

    Attributes:
        namespace: Whose runs it drives.
        queues: Which queues it serves, by name, or with limits.
        concurrency: How many runs it holds at most.
        steps: How many attempts of steps are under way at most.
        ttl: Length of a lease, in seconds.
        poll: How often it asks the store without being told to, in seconds.
        linger: How long a run that only waits is kept, in seconds.
        keep: How many such runs are kept at most.
        max_payload: The largest payload allowed in a journal, in bytes.
        max_recoveries: How many workers in a row a run may lose before it is set aside.
        announce: Seconds between two heartbeats by which others know of it; 0 for none.
    """

    namespace: str = "default"
    queues: tuple[str | Queue, ...] = ("default",)
    concurrency: int = 1_000
    steps: int = 256
    ttl: float = 15.0
    poll: float = 1.0
    linger: float = 0.2
    keep: int = 200
    max_payload: int = 16 * 1024 * 1024
    max_recoveries: int = 10
    announce: float = 0.0


class StartRequest(NamedTuple):
    """Create runs, and drive at once those that this worker offers."""

    runs: Sequence[NewRun]
    specs: Sequence[WorkflowSpec]
    future: Future[list[Created]]


class PostRequest(NamedTuple):
    """Leave messages."""

    messages: Sequence[Message]
    future: Future[list[Posted]]


class Wake(NamedTuple):
    """Something may have changed in the store."""


class WaitRequest(NamedTuple):
    """Tell when a run that is driven here ends."""

    key: RunKey
    future: Future[Any]


class Stop(NamedTuple):
    """Take no more runs, let steps that run come to an end until then (microseconds), and give everything back."""

    until: int


Item = StartRequest | PostRequest | WaitRequest | Wake | Stop | Done | Beat


def recovery(run: NewRun) -> Sequence[Event]:
    """What a claim of a run just created would hand out: its newest savepoint with state makes what lies before needless."""
    return run.events if run.base <= 1 else [run.events[0], *run.events[run.base - 1 :]]


def ending(run: Run | None) -> tuple[str, bytes]:
    """How a run ended, as its waiters are told: status and payload of its closing event."""
    if run is None:
        return "unknown", b""
    if run.status == "stuck":
        return "stuck", to_json({"type": STUCK, "message": run.note})
    return run.status, run.result


class Worker:
    """One worker over one store; every method but ``inbox.put`` belongs to one thread, and so does all that it holds.

    ``leave_at`` alone may be set by another thread: when to stop asking a store that does not answer, microseconds.

    Args:
        store: Where the runs are.
        name: Its name, unique among the workers of the store.
        executor: Where steps run.
        settings: How it works.
        workflows: What it offers, by (name, version); None for every decorated workflow that has been imported.
        observers: Whom to tell.
        performers: How effects are done that are no functions of the author's, by class.
        chance: Spreads retries; a number from 0 to 1.
        sleep: Waits between tries when the store does not answer, seconds.
        lends: Whether who drives does what it finds ``at_hand`` after a pump.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        executor: Executor,
        settings: Settings,
        workflows: Mapping[tuple[str, str], WorkflowSpec] | None = None,
        observers: Observers | None = None,
        performers: Mapping[type[Any], Performer] | None = None,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
        lends: bool = False,
    ) -> None:
        self.lends = lends
        self.limited = frozenset(queue.name for queue in settings.queues if isinstance(queue, Queue))
        self.first_queue = 0
        self.at_hand: Attempt | None = None
        self.lasted: dict[str, int] = {}
        self.chance = chance
        self.sleep = sleep
        self.store = store
        self.name = name
        self.executor = executor
        self.settings = settings
        self.offered = workflows
        self.extra: dict[tuple[str, str], WorkflowSpec] = {}
        self.observers = observers or Observers(())
        self.performers = performers or {}
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.live: dict[RunKey, Live] = {}
        self.touched: dict[RunKey, Live] = {}
        self.resting: dict[RunKey, int] = {}
        self.todo: deque[Live] = deque()
        self.attempts: dict[int, Attempt] = {}
        self.waiters: dict[RunKey, list[Future[Any]]] = {}
        self.fresh: dict[RunKey, tuple[str, bytes]] = {}
        self.fresh_until = 0
        self.ttl = round(settings.ttl * SECOND)
        self.alarms = Alarms()
        self.claim_at = 0
        self.claimed_at = 0
        self.breath = BUSY_BREATH
        self.hungry = False
        self.look_at = 0
        self.renew_at = 0
        self.latest = 0
        self.stopping: Stop | None = None
        self.leave_at: int | None = None
        self.stopped = False
        self.failures = 0
        self.others: set[str] = set()
        self.others_at = self.polite_until = 0
        self.line = Line(settings.max_recoveries, self.ttl)
        self.presence: Presence | None = None
        if settings.announce:
            every = round(settings.announce * SECOND)
            self.presence = Presence(store, name, settings.namespace, every=every, tell=self._about, trouble=self._unavailable)

    # ---- the pump -------------------------------------------------------------------------------------------------------

    def pump(self, patience: float) -> bool:
        """One round: take in, turn, commit, act. Whether anything happened.

        Args:
            patience: How long to wait for something to come in, in seconds; it waits less when a timer is due.
        """
        busy = self._take_in(patience)
        now = self.store.now()
        if self.latest - now > SECOND:
            self._clock_went_back(now)
        self.latest = now
        busy |= self._timers(now)
        if now >= self.renew_at:  # first: what has merely ended is still ours until someone claims it
            self._renew(now)
        if self.presence is not None and now >= self.presence.due:
            self.presence.beat(now)
        if now >= self.claim_at and self.stopping is None:
            busy |= self._claim(now)
        if self.line.waiting and self.stopping is None:
            self._let_in(now)
        while self.touched:
            busy = True
            self._round(self.store.now())
            self._fill()
            if not self.inbox.empty() or self.store.now() >= self._next_look():
                break
        self._fill()
        if self.stopping is not None:
            self._drain(now)
        return busy

    def patience(self) -> float:
        """Seconds until something is due by the store's clock."""
        return 0.0 if self.touched else max(0.0, (self._next_look() - self.store.now()) / SECOND)

    def _next_look(self) -> int:
        """When something is due, microseconds."""
        moments = [self.claim_at if self.stopping is None else self.stopping.until]  # who leaves claims nothing more
        if self.live:
            moments.append(self.renew_at)
        if (alarm := self.alarms.next()) is not None:
            moments.append(alarm)
        if self.presence is not None:
            moments.append(self.presence.due)
        if self.line.waiting and self.stopping is None:
            moments.append(self.line.until)
        return min(moments)

    def _take_in(self, patience: float) -> bool:
        inbox = self.inbox
        items: list[Item] = []
        try:
            if patience > 0 and not self.touched:
                items.append(inbox.get(timeout=patience))
            while True:
                items.append(inbox.get_nowait())
        except queue.Empty:
            pass
        starts = [item for item in items if isinstance(item, StartRequest)]
        posts = [item for item in items if isinstance(item, PostRequest)]
        for item in items:
            if isinstance(item, Done):
                self._done(item)
            elif isinstance(item, Wake):
                self.claim_at = min(self.claim_at, self.claimed_at + (self.breath if self.live else IDLE_BREATH))
            elif isinstance(item, WaitRequest):
                self._await(item)
            elif isinstance(item, Beat | Stop):
                self._told(item)
        if starts:
            self._start(starts)
        if posts:
            self._post(posts)
        waiting = [item.key for item in items if isinstance(item, WaitRequest)]
        if strangers := [key for key in waiting if key in self.waiters and key not in self.live]:
            self._look_at(strangers)
        return bool(items)

    def _told(self, item: Beat | Stop) -> None:
        """A step told how far it has come; or it is time to leave, which others see at once."""
        if isinstance(item, Beat):
            self._heard(item.pulse, item.payload, self.store.now())
            return
        self.stopping = item
        if self.presence is not None:
            self.presence.due = 0

    def _clock_went_back(self, now: int) -> None:
        """What was measured by the old time is done now, so that nobody is deaf until that time comes again."""
        logger.warning("the clock of store %s went back by %.3f s", self.store.url, (self.latest - now) / SECOND)
        self.claim_at = self.claimed_at = self.look_at = self.renew_at = self.polite_until = self.others_at = now
        self.fresh.clear()
        self._rest_no_more()
        if self.presence is not None:
            self.presence.due = now

    # ---- requests of clients ----------------------------------------------------------------------------------------------

    def _await(self, request: WaitRequest) -> None:
        """Remember who waits; those who gave up are forgotten each time that their number has doubled."""
        futures = self.waiters.setdefault(request.key, [])
        futures.append(request.future)
        if request.key in self.fresh:
            self._end_wait(request.key, self.fresh.pop(request.key))
            return
        if len(futures) & (len(futures) - 1) == 0:
            self.waiters[request.key] = [future for future in futures if not future.done()]

    def _end_wait(self, key: RunKey, told: tuple[str, bytes]) -> None:
        """Tell those who wait for a run how it ended."""
        for future in self.waiters.pop(key, ()):
            if future.set_running_or_notify_cancel():
                future.set_result(told)

    def _ended(self, key: RunKey, told: tuple[str, bytes], now: int) -> None:
        """A run ended here: tell who waits, or remember it for a moment for who started it and has not asked yet."""
        if key in self.waiters:
            self._end_wait(key, told)
        elif len(told[1]) <= FRESH_SIZE and len(self.fresh) < FRESH_LIMIT:
            if not self.fresh:
                self.fresh_until = now + round(self.settings.poll * SECOND)
            self.fresh[key] = told

    def _start(self, requests: Sequence[StartRequest]) -> None:
        """Create what was asked for in one call of the store, leased to this worker as far as it has room."""
        for request in requests:
            self._learn(request.specs)
        wanted = [run for request in requests for run in request.runs]
        room = self.settings.concurrency - len(self.live) if self.stopping is None else 0
        mine = [self._serves(run) for run in wanted]
        held = [run for run, own in zip(wanted, mine, strict=True) if own][: max(0, room)]
        chosen = {id(run) for run in held}
        others = [run for run in wanted if id(run) not in chosen]
        try:
            made = dict(zip(map(id, others), self.store.create(others) if others else [], strict=True))
            made.update(zip(map(id, held), self.store.create(held, worker=self.name, ttl=self.ttl) if held else [], strict=True))
        except Exception as error:  # noqa: BLE001 - border: a request that the store cannot take must not fail the others
            self._one_by_one(requests, self._start, error)
            return
        for request in requests:
            answers = [made[id(run)] for run in request.runs]
            for run, answer in zip(request.runs, answers, strict=True):
                if answer.new and answer.lease is not None:
                    self._take(Claimed(answer.run, answer.lease, recovery(run), ()))
            request.future.set_result(answers)
        if any(answer.new and answer.lease is None for answer in made.values()):
            self.claim_at = 0

    def _learn(self, specs: Iterable[WorkflowSpec]) -> None:
        """Workflows that were met and cannot be found by name, such as those defined in a function."""
        if self.offered is None:
            known = [spec for spec in specs if hasattr(spec, "begin")]  # a name alone teaches nothing
            self.extra.update({(spec.name, spec.version): spec for spec in known})

    def _one_by_one(self, requests: Sequence[Any], again: Callable[[Sequence[Any]], None], error: Exception) -> None:
        """A batch was not taken: find out whose fault it is, unless the store is to blame or there is only one."""
        if len(requests) == 1 or isinstance(error, StoreError):
            for request in requests:
                request.future.set_exception(error)
            return
        for request in requests:
            again([request])

    def _serves(self, run: NewRun) -> bool:
        known = self._spec(run.workflow, run.version) is not None
        return known and run.queue in self.settings.queues and run.key.namespace == self.settings.namespace  # a ``Queue`` is no name

    def _post(self, requests: Sequence[PostRequest]) -> None:
        messages = [message for request in requests for message in request.messages]
        try:
            answers = self.store.post(messages)
        except Exception as error:  # noqa: BLE001 - border: a message that the store cannot take must not fail the others
            self._one_by_one(requests, self._post, error)
            return
        if Posted.DELIVERED in answers:
            self.claim_at = 0  # taken in by a claim also when the run is here: the store knows what was posted before
        for request in requests:
            taken, answers = answers[: len(request.messages)], answers[len(request.messages) :]
            request.future.set_result(taken)

    # ---- claiming -----------------------------------------------------------------------------------------------------------

    def _claim(self, now: int) -> bool:
        if now < self.polite_until:
            self.claim_at = self.polite_until
            return False
        room = max(0, self.settings.concurrency - len(self.live))
        claim = self._asking(min(room, CLAIM_LIMIT))
        self.claimed_at = now
        if now >= self.fresh_until:
            self.fresh.clear()
        self.claim_at = now + round(self.settings.poll * SECOND)
        if now >= self.look_at:
            self._look_after(now)
        try:
            claims = self.store.claim(claim)
        except StoreError as error:
            self._unavailable("claim", error)
            return False
        self.breath = max(BUSY_BREATH, CLAIM_SHARE * (self.store.now() - now))
        if claims.next_at is not None:
            self.claim_at = min(self.claim_at, max(claims.next_at, now + BREATH))
        self.hungry = len(claims.runs) == room
        if not room:
            self._rest_no_more()
        if not self.hungry and len(claims.runs) == claim.limit:
            self.claim_at = now
        foreign = []
        for claimed in claims.runs:
            if self._gives_way(claimed.run, now):
                foreign.append(claimed.lease)
            else:
                self._take(claimed)
        self._give_back(foreign)
        for message in claims.mail:
            live = self.live.get(message.key)
            if live is not None and message.id not in live.known:
                live.deliver([message])
                self._touch(live)
        return bool(claims.runs)

    def _asking(self, limit: int) -> Claim:
        settings = self.settings
        return Claim(
            worker=self.name,
            namespace=settings.namespace,
            queues=self._queues(),
            workflows=self._names(),
            limit=limit,
            ttl=self.ttl,
        )

    def _queues(self) -> Sequence[str | Queue]:
        """The queues to claim from, another one first each time, with what is left of their room here."""
        queues = self.settings.queues
        if len(queues) > 1:
            self.first_queue = (self.first_queue + 1) % len(queues)
            queues = (*queues[self.first_queue :], *queues[: self.first_queue])
        if not any(isinstance(queue, Queue) and queue.here is not None for queue in queues):
            return queues
        held = Counter(live.run.queue for live in self.live.values())
        return [
            queue if isinstance(queue, str) or queue.here is None else attrs.evolve(queue, here=max(0, queue.here - held[queue.name]))
            for queue in queues
        ]

    def _about(self) -> dict[str, Any]:
        """What others may know of it."""
        settings = self.settings
        return {
            **place(),
            "queues": [queue if isinstance(queue, str) else queue.name for queue in settings.queues],
            "workflows": self._offers(),
            "capacity": settings.concurrency,
            "runs": len(self.live),
            "step_capacity": settings.steps,
            "steps": len(self.attempts),
            "draining": self.stopping is not None,
        }

    def _offers(self) -> list[str]:
        """What it offers, with versions, and the steps that it does for others."""
        offered = self.offered if self.offered is not None else WORKFLOWS
        named = {versioned(*key) for key in [*offered, *self.extra]}
        return sorted(named | {name for name in self._names() if name.startswith(STEP_RUN)})

    def foresees(self) -> bool:
        """Whether the store holds a run that this worker will be able to take later, such as one that another holds now."""
        return self.store.claim(self._asking(0)).next_at is not None

    def _look_after(self, now: int) -> None:
        """Answer those who wait for runs that are driven elsewhere: where they are many, some at a time, all once a poll."""
        keys = [key for key in self.waiters if key not in self.live]
        turns = -(-len(keys) // LOOKED_AFTER)
        if not turns:
            return
        if turns > 1:
            self.look_at = now + max(BUSY_BREATH, round(self.settings.poll * SECOND) // turns)
            self.claim_at = min(self.claim_at, self.look_at)
        self._look_at(keys[:LOOKED_AFTER])

    def _look_at(self, keys: Sequence[RunKey]) -> None:
        """Answer those who wait for these runs, which are not driven here, if they have ended."""
        try:
            runs = self.store.get(keys)
        except StoreError as error:
            self._unavailable("get", error)
            return
        for key, run in zip(keys, runs, strict=True):
            if key not in self.waiters:
                continue
            if run is None or run.status not in OPEN or run.status == "stuck":
                self._end_wait(key, ending(run))
            elif waiting := [future for future in self.waiters.pop(key) if not future.done()]:
                self.waiters[key] = waiting  # to the end of the line

    def _names(self) -> list[str]:
        offered = self.offered if self.offered is not None else WORKFLOWS
        names = {name for name, _ in [*offered, *self.extra]}  # a copy: another thread may import a workflow meanwhile
        return sorted(names | BUILT_IN.keys() | {STEP_RUN + name for name in list(STEPS) if name not in RIVALS})

    def _spec(self, name: str, version: str) -> WorkflowSpec | None:
        """The version that the run began with when it is registered, else today's code: the one of no or the highest version."""
        if name.startswith(STEP_RUN):
            step = STEPS.get(name.removeprefix(STEP_RUN))
            return None if step is None else StepRun(step)
        if name in BUILT_IN:
            importlib.import_module(BUILT_IN[name])
            return WORKFLOWS.get((name, version))
        offered: dict[tuple[str, str], WorkflowSpec] = {
            **(self.offered if self.offered is not None else WORKFLOWS),
            **self.extra,
        }
        if (name, version) in offered:
            return offered[name, version]
        versions = sorted(other for known, other in offered if known == name)
        if not versions:
            return None
        return offered[name, "" if "" in versions else versions[-1]]

    def _gives_way(self, run: Run, now: int) -> bool:
        """Whether a run goes back to a worker that is heard and has the version that it began with, which is not here."""
        key = (run.workflow, run.version)
        if key in (self.offered if self.offered is not None else WORKFLOWS) or key in self.extra or run.workflow.startswith(STEP_RUN):
            return False
        if now >= self.others_at:
            self.others_at = now + 2 * GIVE_WAY
            try:
                heard = [info for info in workers(self.store, run.key.namespace) if not info.late and info.id != self.name]
            except StoreError as error:
                self._unavailable("find", error)
            else:
                self.others = {word for info in heard for word in info.workflows}
        if versioned(*key) not in self.others:
            return False
        self.polite_until = now + GIVE_WAY
        return True

    def _take(self, claimed: Claimed) -> None:
        """Take a claimed run into memory."""
        run, lease = claimed.run, claimed.lease
        spec = self._spec(run.workflow, run.version)
        if spec is None:  # claimed by a name that was withdrawn meanwhile
            self._give_back([lease])
            return
        if isinstance(spec, StepRun):
            spec = spec.asked_by(claimed.journal)
        self.fresh.pop(run.key, None)
        known = self.live.get(run.key)
        if known is not None and (run.seq, lease.fence) == (known.committed, known.lease.fence + 1):
            known.lease = lease  # it ended unnoticed, and nobody else was there before it was claimed anew
            known.deliver(claimed.mail)
            self._touch(known)
            return
        if known is not None:
            self._drop(known)
        if self.line.is_beyond(claimed):
            self._set_aside(claimed)
            return
        live = Live(run, lease, spec, claimed.journal, claimed.mail, self.settings.max_payload)
        self.live[run.key] = live
        self.renew_at = min(self.renew_at or lease.until, lease.until - self.ttl * 2 // 3)
        if not self.line.enters(claimed, live):
            self._touch(live)
        self.observers.claimed(run, lease)

    def _let_in(self, now: int) -> None:
        """Drive the next run in doubt, once it is written down that it is to blame if this worker dies."""
        while (live := self.line.next(now)) is not None:
            if self._send([warning(live)]) == [Committed.APPLIED]:
                self._touch(live)
                return
            self._forget_turn(live, LeaseLost(live.key.id, live.lease.fence))

    def _rest_no_more(self) -> None:
        """Give back those that are kept although they only wait."""
        for key in list(self.resting):
            self.live[key].parking = True
            self._touch(self.live[key])

    def _touch(self, live: Live) -> None:
        self.touched[live.key] = live
        self.resting.pop(live.key, None)

    # ---- a round ------------------------------------------------------------------------------------------------------------

    def _timers(self, now: int) -> bool:
        """Wake what is due: timers of runs, attempts that take too long, runs that have rested long enough."""
        due = self.alarms.due(now)
        for whom in due:
            if isinstance(whom, Attempt):
                self._too_late(whom, now)
            elif isinstance(whom, Pulse):
                self._heard(whom, whom.latest(now), now)
            else:
                whom.alarm = 0
                whom.parking = self.resting.get(whom.key, now + 1) <= now
                self._touch(whom)
        return bool(due)

    def _alarm(self, live: Live, moment: int) -> None:
        """Look at a run at a moment; the alarm that was set before is taken back."""
        self.alarms.drop(live.alarm)
        live.alarm = self.alarms.set(moment, live)

    def _round(self, now: int) -> None:
        """Let every run that heard something take a turn, commit all turns at once, then act."""
        touched, self.touched = self.touched, {}
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
                        self.touched[live.key] = live
                        continue
                live.turn(now)
                settled = live.interp.settled or live.over  # one that never rests may have been terminated
                commit = self._commit_of(live, now) if settled else None
                self._put_blobs(live)
            except JournalDamaged as error:  # reading it again would find the same
                self._stuck(live, error)
                continue
            except StoreError as error:
                self._forget_turn(live, error)
                continue
            except Exception as error:  # noqa: BLE001 - border: today's code does not fit; the run is set aside, the others go on
                self._stuck(live, error)
                continue
            if not settled:
                self.touched[live.key] = live
                continue
            if commit is None:
                self._act(live, now)
            else:
                batch.append(commit)
                turned.append(live)
        batch = self._note_lost(batch)
        for live, commit, fate in zip(turned, batch, self._send(batch) if batch else (), strict=True):
            try:
                self._settle(live, commit, fate, now)
            except StoreError as error:
                self._forget_turn(live, error)

    def _put_blobs(self, live: Live) -> None:
        """Long notes come before the commit that names them; a blob that nobody names does no harm."""
        blobs, live.blobs = live.blobs, []
        for data in blobs:
            self.store.put_blob(data)

    def _note_lost(self, batch: list[Commit]) -> list[Commit]:
        """A signal to a run that is not there is dropped by the store: say so among the sender's notes."""
        sent = {post.key for commit in batch for post in commit.posts if post.kind == "signal"}
        sent -= {child.key for commit in batch for child in commit.children}
        if not sent:
            return batch
        keys = sorted(sent)
        try:
            found = dict(zip(keys, self.store.get(keys), strict=True))
        except StoreError:  # whoever cannot be asked cannot be told of either
            return batch
        lost = {
            key: "there is no such run" if run is None else f"it is {run.status}"
            for key, run in found.items()
            if run is None or run.status not in OPEN
        }
        return [_noting(commit, lost) for commit in batch] if lost else batch

    def _commit_of(self, live: Live, now: int) -> Commit | None:
        """What must become durable before anything else is done; None when there is nothing."""
        parking, live.parking = live.parking, False
        if live.over:
            return live.commit(release=True)
        moment = live.wake_at()
        if live.idle:
            crowded = self.hungry or len(self.resting) >= self.settings.keep
            if parking or live.paused or self.stopping or crowded or live.run.queue in self.limited:
                return live.commit(release=True)
            rests = self.resting[live.key] = now + round(self.settings.linger * SECOND)
            moment = rests if moment is None else min(moment, rests)
        if moment is not None:
            self._alarm(live, moment)
        if live.lost and not live.doing and live.acting:
            live.doing = under_way(live)
            return live.commit(release=False)
        return live.commit(release=False) if live.unsaid else None

    def _send(self, batch: Sequence[Commit]) -> list[Committed | Exception]:
        """Commit, again and again until the store answers; what was applied unheard is recognised.

        A commit that the store cannot spell at all has the error as its fate; it does not hold up the others.
        """
        unsure = False
        while True:
            try:
                fates = self.store.commit(batch)
                if unsure:
                    fates = [self._recognise(commit, fate) for commit, fate in zip(batch, fates, strict=True)]
            except StoreUnavailable as error:
                unsure = True
                self._unavailable("commit", error)
                if self.leave_at is not None and self.store.now() >= self.leave_at:
                    return [Committed.FENCED for _ in batch]
                self.sleep(min(1.0, 0.01 * 2 ** min(self.failures, 7)))
            except Exception as error:  # noqa: BLE001 - border: whose commit it is shows when each is sent alone
                return [error] if len(batch) == 1 else [fate for commit in batch for fate in self._send([commit])]
            else:
                self.failures = 0
                return list(fates)

    def _recognise(self, commit: Commit, fate: Committed) -> Committed:
        """A refusal after an unheard answer may be our own commit: the events in the journal tell."""
        if fate is Committed.APPLIED:
            return fate
        key = commit.lease.key
        if not commit.events:  # it only gave the run back, and nobody has taken it since
            (run,) = self.store.get([key])
            given_back = run is not None and (run.fence, run.worker) == (commit.lease.fence, "")
            return Committed.APPLIED if given_back else fate
        if commit.successor is not None:  # it has taken over the name
            begun = commit.successor.events
            return Committed.APPLIED if self.store.journal(key, limit=len(begun)) == list(begun) else fate
        written = self.store.journal(key, after=commit.expected, limit=len(commit.events))
        return Committed.APPLIED if written == list(commit.events) else fate

    def _settle(self, live: Live, commit: Commit, fate: Committed | Exception, now: int) -> None:
        """What follows from a commit's fate."""
        if isinstance(fate, Exception):
            self._stuck(live, fate)
            return
        if fate is not Committed.APPLIED:
            logger.warning("run %s: commit refused (%s), the turn is dropped", live.key.id, fate.value)
            self.observers.refused(live.key, fate)
            self._drop(live)
            if fate is Committed.CONFLICT:
                self._give_back([live.lease])
            return
        live.committed += len(commit.events)
        if not live.lost and LOST in commit.state:
            self.line.leaves(live)
        live.applied = live.committed
        live.known.difference_update(commit.consumed)
        self._say(live, commit)
        self._learn(live.met)
        live.met.clear()
        self._greet(live, commit.children)
        if commit.release:
            self._drop(live)
            if commit.status == "waiting" and commit.wake_at is not None:
                self.claim_at = min(self.claim_at, commit.wake_at)
            if commit.successor is not None:
                self.claim_at = min(self.claim_at, max(now, commit.successor.ready_at))
            elif commit.result is not None:
                self._ended(live.key, (commit.status, commit.result), now)
            if commit.posts or commit.children:
                self.claim_at = min(self.claim_at, now)
            return
        if commit.posts or commit.children:
            self.claim_at = min(self.claim_at, now)
        self._act(live, now)

    def _say(self, live: Live, commit: Commit) -> None:
        if commit.events:
            self.observers.committed(live.key, commit.events)
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
        for child, run in zip(given, self.store.get([child.key for child in given]), strict=True):
            if run is not None and (run.parent, run.parent_command) != (child.parent, child.parent_command):
                problem = RunExists(run.key.id, f"{run.workflow} {run.digest}", f"{child.workflow} {child.digest}")
                self.store.post([live.refusal(child, problem)])
                self.claim_at = 0

    def _drop(self, live: Live) -> None:
        """Forget a run: its generators are closed, what runs for it is abandoned."""
        if self.live.get(live.key) is live:
            del self.live[live.key]
            self.resting.pop(live.key, None)
            self.touched.pop(live.key, None)
        if self.hungry:
            self.claim_at = 0
        self.line.leaves(live)
        self.alarms.drop(live.alarm)
        for attempt in live.tasks.values():
            if attempt is not WAITING:
                attempt.abandon()
        live.tasks.clear()
        live.acting = []
        live.queued.clear()
        live.interp.close()

    def _stuck(self, live: Live, error: Exception) -> None:
        """Today's code cannot go on: leave the journal as it is, say why, and try again later or with other code."""
        logger.error("run %s is stuck: %s", live.key.id, error, exc_info=None if isinstance(error, ReplayError) else error)
        self.observers.stuck(live.key, error)
        note = Failure.of(error).message
        if not isinstance(error, ReplayError):
            note = f"{qualified(type(error))}: {note}"
        wake_at = self.store.now() + STUCK_PAUSE
        self._drop(live)
        self._lay_down(live.lease, live.committed, live.applied, note, wake_at)

    def _set_aside(self, claimed: Claimed) -> None:
        """It lost too many workers: nobody drives it until somebody puts it back."""
        run, error = claimed.run, RunSetAside(claimed.run.key.id, claimed.run.recoveries, reason(claimed))
        logger.error("run %s", error)
        self.observers.stuck(run.key, error)
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
        self._send([commit])
        self._end_wait(lease.key, ("stuck", to_json({"type": STUCK, "message": note})))

    def refuse_all(self, error: Exception) -> None:
        """It has ended: tell everyone who still waits."""
        futures = [future for waiting in self.waiters.values() for future in waiting]
        self.waiters.clear()
        while not self.inbox.empty():
            item = self.inbox.get_nowait()
            if isinstance(item, StartRequest | PostRequest | WaitRequest):
                futures.append(item.future)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def forget_all(self) -> None:
        """Drop every run, unharmed, after an error that nobody expected, and read them again."""
        leases = [live.lease for live in self.live.values()]
        for live in list(self.live.values()):
            self._drop(live)
        self._give_back(leases)
        now = self.store.now()
        self.claim_at = now + BUSY_BREATH
        if self.leave_at is not None and now >= self.leave_at:
            self.stopped = True

    # ---- acting ---------------------------------------------------------------------------------------------------------------

    def _act(self, live: Live, now: int) -> None:
        """Do what is durable enough to be done: stop what was withdrawn, begin what was asked for."""
        for command in live.withdrawn:
            attempt = live.tasks.get(command.id)
            if attempt is None:
                continue
            if not command.cancelled:
                del live.tasks[command.id]
            if attempt is not WAITING:
                attempt.abandon() if not command.cancelled else attempt.warn()
        live.withdrawn = []
        acting, live.acting = live.acting, []
        for command in acting:
            if self.stopping is not None and command.id not in live.intents:
                live.acting.append(command)
                continue
            self._begin(live, command, now)
            if self.live.get(live.key) is not live:  # dropped with its transaction
                return
        if live.answers or live.mail or (live.idle and live.key not in self.resting):
            self._touch(live)

    def _begin(self, live: Live, command: Command, now: int) -> None:
        effect: Step[Any] = command.effect  # type: ignore[assignment]  # only steps are acted on
        options = effect.options_
        if options.at_most_once and command.id not in live.intents:
            if command.intent:
                failure = Failure(type=qualified(StepInterrupted), message=f"step {effect.name} was begun in an earlier life")
                live.answers.append(Answer(command.id, events.STEP_FAILED, failure.encode(), 1))
            else:
                live.intents.add(command.id)
                live.begin_step(command, now)
                live.acting.append(command)
            self._touch(live)
        elif options.transactional:
            self._transact(live, command, effect)
        else:
            live.tasks[command.id] = WAITING
            if not live.queued:
                self.todo.append(live)
            live.queued.append(command)

    def _fill(self) -> None:
        """Begin as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced."""
        todo, attempts = self.todo, self.attempts
        if not todo:
            return
        now = self.store.now()
        if now >= self.renew_at:  # after a long break: begin nothing for a run that another may hold by now
            self._renew(now)
        while todo and len(attempts) < self.settings.steps:
            live = todo.popleft()
            if not live.queued:
                continue
            command = live.queued.popleft()
            if live.queued:
                todo.append(live)
            announced = command.id in live.intents
            if live.tasks.get(command.id) is not WAITING or (self.stopping is not None and not announced):
                continue
            if live.paused and not announced:
                del live.tasks[command.id]
                self._touch(live)
                continue
            effect: Step[Any] = command.effect  # type: ignore[assignment]  # only steps are acted on
            attempt = self._attempt(live, command, effect)
            options = effect.options_
            if (options.timeout or options.heartbeat) and (late := limit(attempt, now)) is not None:
                attempt.alarm = self.alarms.set(late[0], attempt)
            live.tasks[command.id] = attempt
            attempts[id(attempt)] = attempt
            if self.lends and self._is_handy(effect):
                self.at_hand = attempt
            else:
                attempt.begin(self.executor)

    def _is_handy(self, effect: Step[Any]) -> bool:
        """Whether a step is so quick, and so alone, that handing it to a thread would cost more than doing it."""
        alone = len(self.attempts) == 1 and not (self.todo or self.touched) and self.inbox.empty()
        return alone and self.lasted.get(effect.name, QUICK) < QUICK

    def _attempt(self, live: Live, command: Command, effect: Step[Any]) -> Attempt:
        """One attempt, not yet begun."""
        attempt = self._new_attempt(live, command, self._info(live, command, effect))
        attempt.performer = self.performers.get(type(effect))
        if attempt.performer is not None:
            attempt.scene = EngineScene(self.store, live, command, attempt.info)
        return attempt

    def _new_attempt(self, live: Live, command: Command, info: StepInfo) -> Attempt:
        """The test kit puts its own here."""
        return Attempt(live, command, info, self.store.now, self.inbox.put)

    def _info(self, live: Live, command: Command, effect: Step[Any]) -> StepInfo:
        key = position(live.interp, effect.options_.id or command.id, "#")
        info = StepInfo(live.key.id, live.run.workflow, effect.name, command.id, command.attempts + 1, key)
        info.cancelled = command.cancelled
        if command.id in live.progress:
            info.progress = from_json(live.progress[command.id])
        return info

    def _done(self, done: Done) -> None:
        """An attempt has ended; one that nobody waits for any more is only counted."""
        attempt = done.attempt
        self.attempts.pop(id(attempt), None)
        self.alarms.drop(attempt.alarm)
        attempt.info._beat = None  # noqa: SLF001 - or the two would wait for the garbage collector
        if attempt.pulse is not None:
            self.alarms.drop(attempt.pulse.alarm)
        if self.lends and attempt.stop is None:
            self.lasted[attempt.effect.name] = done.duration
        live: Live = attempt.live
        command = attempt.command
        if live.tasks.get(command.id) is not attempt or self.live.get(live.key) is not live:
            return
        del live.tasks[command.id]
        if done.error is not None and attempt.pulse is not None and attempt.pulse.last:
            live.progress[command.id] = attempt.pulse.latest(self.store.now())  # saved with the failure
        live.answers.append(self._answer_of(attempt, done))
        self._touch(live)

    def _heard(self, pulse: Pulse, payload: bytes, now: int) -> None:
        """A step told how far it has come: save it soon, and look once more in case that it falls silent."""
        attempt = pulse.attempt
        live: Live = attempt.live
        if live.tasks.get(attempt.command.id) is not attempt or self.live.get(live.key) is not live:
            return
        if payload == pulse.saved:
            return
        pulse.saved = live.progress[attempt.command.id] = payload
        live.beating = True
        self._touch(live)
        self.alarms.drop(pulse.alarm)
        pulse.alarm = self.alarms.set(now + EVERY, pulse)

    def _too_late(self, attempt: Attempt, now: int) -> None:
        """It took too long, or was silent for too long. A thread cannot be stopped: its step is told, its answer passed over."""
        live: Live = attempt.live
        command = attempt.command
        if live.tasks.get(command.id) is not attempt:
            return
        late = limit(attempt, now)
        if late is None:
            return
        moment, error = late
        if moment > now:
            attempt.alarm = self.alarms.set(moment, attempt)
            return
        attempt.abandon()
        del live.tasks[command.id]
        if attempt.pulse is not None and attempt.pulse.last:
            live.progress[command.id] = attempt.pulse.latest(now)
        live.answers.append(self._answer_of(attempt, Done(attempt, b"", error, 0)))
        self._touch(live)

    def _answer_of(self, attempt: Attempt, done: Done) -> Answer:
        effect, number, error = attempt.effect, attempt.info.attempt, done.error
        if error is None and len(done.payload) > self.settings.max_payload:
            error = PayloadTooLarge(f"result of step {effect.name}", len(done.payload), self.settings.max_payload)
        if error is None:
            return Answer(attempt.command.id, events.STEP_COMPLETED, done.payload, number, done.duration)
        payload = Failure.of(error, attempts=number).encode()
        if attempt.scene is not None and attempt.scene.spent != NOTHING:
            payload = to_json({**from_json(payload), "spent": attempt.scene.spent.encode()})
        retry = effect.options_.retry
        if attempt.command.cancelled or isinstance(error, FINAL) or not retry.allows(error, number):
            return Answer(attempt.command.id, events.STEP_FAILED, payload, number, done.duration)
        pause = retry.delay(number, chance=self.chance())
        if isinstance(error, ProviderBusy):
            pause = max(pause, error.retry_after or 0)
        payload = to_json({**from_json(payload), "retry_in": pause})
        return Answer(attempt.command.id, events.STEP_ATTEMPT_FAILED, payload, number, done.duration)

    def _transact(self, live: Live, command: Command, effect: Step[Any]) -> None:
        """Do a step inside the transaction that commits its answer."""
        attempt = self._attempt(live, command, effect)
        live.tasks[command.id] = attempt
        if Capability.TRANSACTIONS not in self.store.capabilities:
            advice = "use a SQL store, or take transactional=True away"
            problem = f"store {self.store.url} has no transactions to share"
            self._done(Done(attempt, b"", DefinitionError(f"step {effect.name}", problem, advice), 0))
            return
        made: list[Commit] = []

        def work(connection: Any) -> Commit:
            payload = attempt.call(connection=connection)
            if len(payload) > self.settings.max_payload:
                raise PayloadTooLarge(f"result of step {effect.name}", len(payload), self.settings.max_payload)
            del live.tasks[command.id]
            live.answers.append(Answer(command.id, events.STEP_COMPLETED, payload, attempt.info.attempt))
            live.turn(self.store.now())
            while not live.interp.settled:
                live.turn(self.store.now())
            made.append(live.commit(release=live.over, inline=True))
            return made[0]

        try:
            fate = self.store.transact(work)  # type: ignore[attr-defined]  # the capability says so
        except Exception as error:  # noqa: BLE001 - border: the step's own SQL may raise anything; it was rolled back
            if command.id in live.tasks:
                self._done(Done(attempt, b"", error, 0))
            elif isinstance(error, StoreError):
                self._forget_turn(live, error)
            else:  # code that does not fit, or SQL that the database refuses only when it commits
                self._stuck(live, error)
            return
        self._settle(live, made[0], fate, self.store.now())

    def _forget_turn(self, live: Live, error: Exception) -> None:
        """The store failed where its answer cannot be asked for again: drop the run and read it anew."""
        logger.warning("run %s is read again: %s", live.key.id, error)
        self._drop(live)
        self._give_back([live.lease])
        self.claim_at = 0

    # ---- leases -----------------------------------------------------------------------------------------------------------------

    def _renew(self, now: int) -> None:
        self.renew_at = now + self.ttl // 3
        held = list(self.live.values())
        if not held:
            return
        try:
            kept = self.store.renew([live.lease for live in held], ttl=self.ttl)
        except StoreError as error:
            self._unavailable("renew", error)
            self.renew_at = now + self.ttl // 10
            return
        for live, still in zip(held, kept, strict=True):
            if not still and self.live.get(live.key) is live:
                logger.warning("%s", LeaseLost(live.key.id, live.lease.fence))
                self.observers.refused(live.key, Committed.FENCED)
                self._drop(live)

    def _drain(self, now: int) -> None:
        """Wait for steps that run, as long as there is patience; what has none is given back at once, in the end everything."""
        stop = self.stopping
        if stop is None:
            return
        if now < stop.until and any(attempt.live.tasks for attempt in self.attempts.values()):
            self._leave_early()
            return
        for live in self.live.values():
            live.parking = True
            if live.arrived and not live.tasks:
                self._touch(live)
        if self.touched:
            self._round(now)
        leases = [live.lease for live in self.live.values()]
        for live in list(self.live.values()):
            self._drop(live)
        self._give_back(leases)
        if self.presence is not None:
            self.presence.leave()
        self.stopped = True

    def _leave_early(self) -> None:
        """Others need not wait for this worker's steps to go on with runs that have none under way here."""
        leaving = [live for live in self.live.values() if live.key not in self.touched and not self._is_busy(live)]
        for live in leaving:
            if live.idle and not live.in_line:
                self._touch(live)  # parked by its next commit, with its wake-up
            else:
                self._drop(live)
        self._give_back([live.lease for live in leaving if live.key not in self.touched])

    def _is_busy(self, live: Live) -> bool:
        """Whether something is under way for a run here, or was announced as such."""
        begun = any(task is not WAITING for task in live.tasks.values())
        return begun or any(command.id in live.intents for command in (*live.acting, *live.queued))

    def _give_back(self, leases: Sequence[Lease]) -> None:
        try:
            if leases:
                self.store.release(leases)
        except Exception as error:  # noqa: BLE001 - border: what cannot be given back ends by itself
            self._unavailable("release", error)

    def _unavailable(self, verb: str, error: Exception) -> None:
        self.failures += 1
        if self.failures in {1, 10} or self.failures % 100 == 0:
            logger.warning("store does not answer (%s, %d times): %s", verb, self.failures, error)
        self.observers.unavailable(verb, error)


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
