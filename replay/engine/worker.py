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

import heapq
import logging
import queue
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import attrs

from replay.authoring.definitions import STEPS, WORKFLOWS
from replay.authoring.step_context import StepInfo
from replay.engine.live import LOG, STEP_RUN, Answer, Live
from replay.engine.observers import Observers
from replay.engine.pool import Executor
from replay.engine.remote import StepRun
from replay.engine.steps import Attempt, Done
from replay.errors import (
    DefinitionError,
    LeaseLost,
    PayloadError,
    PayloadTooLarge,
    ReplayError,
    StepInterrupted,
    StoreError,
    StoreUnavailable,
    TimedOut,
)
from replay.interpreter.fibers import Command
from replay.interpreter.issue import position
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Step, WorkflowSpec
from replay.model.failure import Failure, qualified
from replay.model.names import SECOND
from replay.store.contract import (
    OPEN,
    Capability,
    Claim,
    Claimed,
    Commit,
    Committed,
    Created,
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
BUSY_BREATH: Final = 10_000
"""The same while runs are under way here, whose own commits would wake the claimer again and again."""
STUCK_PAUSE: Final = 30 * SECOND
"""Microseconds until a run that is stuck is tried again; fitting code may have been deployed meanwhile."""
LOOKED_AFTER: Final = 500
"""Runs driven elsewhere that are asked about in one go."""
WAITING: Final = object()
"""Stands for an attempt that waits for room."""
REPLAY_BUDGET: Final = 5_000
"""Old events fed per pump, so that one long journal does not hold up the others."""


@attrs.frozen(kw_only=True)
class Settings:
    """How a worker works.

    Attributes:
        namespace: Whose runs it drives.
        queues: Which queues it serves.
        concurrency: How many runs it holds at most.
        steps: How many attempts of steps are under way at most.
        ttl: Length of a lease, in seconds.
        poll: How often it asks the store without being told to, in seconds.
        linger: How long a run that only waits is kept, in seconds.
        keep: How many such runs are kept at most.
        max_payload: The largest payload allowed in a journal, in bytes.
    """

    namespace: str = "default"
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 1_000
    steps: int = 256
    ttl: float = 15.0
    poll: float = 1.0
    linger: float = 0.2
    keep: int = 200
    max_payload: int = 16 * 1024 * 1024


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


Item = StartRequest | PostRequest | WaitRequest | Wake | Stop | Done


def ending(run: Run | None) -> tuple[str, bytes]:
    """How a run ended, as its waiters are told: status and payload of its closing event."""
    if run is None:
        return "unknown", b""
    if run.status == "stuck":
        return "stuck", to_json({"type": "Stuck", "message": run.note})
    return run.status, run.result


class Worker:
    """One worker over one store; every method but ``inbox.put`` belongs to one thread.

    Args:
        store: Where the runs are.
        name: Its name, unique among the workers of the store.
        executor: Where steps run.
        settings: How it works.
        workflows: What it offers, by (name, version); None for every decorated workflow that has been imported.
        observers: Whom to tell.
        chance: Spreads retries; a number from 0 to 1.
        sleep: Waits between tries when the store does not answer, seconds.
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
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.chance = chance
        self.sleep = sleep
        self.store = store
        self.name = name
        self.executor = executor
        self.settings = settings
        self.offered = workflows
        self.extra: dict[tuple[str, str], WorkflowSpec] = {}
        self.observers = observers or Observers(())
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.live: dict[RunKey, Live] = {}
        self.touched: dict[RunKey, Live] = {}
        self.resting: dict[RunKey, int] = {}
        self.todo: deque[tuple[Live, Command]] = deque()
        self.attempts: dict[int, Attempt] = {}
        self.waiters: dict[RunKey, list[Future[Any]]] = {}
        self.ttl = round(settings.ttl * SECOND)
        self.alarms: list[tuple[int, int, Live | Attempt]] = []
        self.alarm_count = 0
        self.claim_at = 0
        self.claimed_at = 0
        self.renew_at = 0
        self.stopping: Stop | None = None
        self.stopped = False
        self.failures = 0

    # ---- the pump -------------------------------------------------------------------------------------------------------

    def pump(self, patience: float) -> bool:
        """One round: take in, turn, commit, act. Whether anything happened.

        Args:
            patience: How long to wait for something to come in, in seconds; it waits less when a timer is due.
        """
        busy = self._take_in(patience)
        now = self.store.now()
        busy |= self._timers(now)
        if now >= self.claim_at and self.stopping is None:
            busy |= self._claim(now)
        while self.touched:
            busy = True
            self._round(self.store.now())
            if not self.inbox.empty():
                break
        if now >= self.renew_at:
            self._renew(now)
        if self.stopping is not None:
            self._drain(now)
        return busy

    def patience(self) -> float:
        """Seconds until something is due by the store's clock."""
        moments = [self.claim_at]
        if self.live:
            moments.append(self.renew_at)
        if self.alarms:
            moments.append(self.alarms[0][0])
        if self.stopping is not None:
            moments.append(self.stopping.until)
        return max(0.0, (min(moments) - self.store.now()) / SECOND)

    def _take_in(self, patience: float) -> bool:
        inbox = self.inbox
        items: list[Item] = []
        try:
            if patience > 0 and not self.touched and not self.todo:
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
                self.claim_at = min(self.claim_at, self.claimed_at + (BUSY_BREATH if self.live else 0))
            elif isinstance(item, WaitRequest):
                self.waiters.setdefault(item.key, []).append(item.future)
                if item.key not in self.live:
                    self.claim_at = min(self.claim_at, self.claimed_at + BREATH)
            elif isinstance(item, Stop):
                self.stopping = item
        if starts:
            self._start(starts)
        if posts:
            self._post(posts)
        return bool(items)

    # ---- requests of clients ----------------------------------------------------------------------------------------------

    def _start(self, requests: Sequence[StartRequest]) -> None:
        """Create what was asked for in one call of the store, leased to this worker as far as it has room."""
        for request in requests:
            self.extra.update({(spec.name, spec.version): spec for spec in request.specs})
        wanted = [run for request in requests for run in request.runs]
        room = self.settings.concurrency - len(self.live) if self.stopping is None else 0
        mine = [self._serves(run) for run in wanted]
        held = [run for run, own in zip(wanted, mine, strict=True) if own][: max(0, room)]
        chosen = {id(run) for run in held}
        others = [run for run in wanted if id(run) not in chosen]
        try:
            made = dict(
                zip(map(id, held), self.store.create(held, worker=self.name, ttl=self.ttl) if held else [], strict=True)
            )
            made.update(zip(map(id, others), self.store.create(others) if others else [], strict=True))
        except StoreError as error:
            for request in requests:
                request.future.set_exception(error)
            return
        for request in requests:
            answers = [made[id(run)] for run in request.runs]
            for run, answer in zip(request.runs, answers, strict=True):
                if answer.new and answer.lease is not None:
                    self._take(Claimed(answer.run, answer.lease, run.events, ()))
            request.future.set_result(answers)
        if any(answer.new and answer.lease is None for answer in made.values()):
            self.claim_at = 0

    def _serves(self, run: NewRun) -> bool:
        known = self._spec(run.workflow, run.version) is not None
        return known and run.queue in self.settings.queues and run.key.namespace == self.settings.namespace

    def _post(self, requests: Sequence[PostRequest]) -> None:
        messages = [message for request in requests for message in request.messages]
        try:
            answers = self.store.post(messages)
        except StoreError as error:
            for request in requests:
                request.future.set_exception(error)
            return
        now = self.store.now()
        for message, answer in zip(messages, answers, strict=True):
            if answer is not Posted.DELIVERED:
                continue
            live = self.live.get(message.key)
            if live is None:
                self.claim_at = 0
            else:
                live.deliver([message._replace(at=message.at or now)])
                self._touch(live)
        for request in requests:
            taken, answers = answers[: len(request.messages)], answers[len(request.messages) :]
            request.future.set_result(taken)

    # ---- claiming -----------------------------------------------------------------------------------------------------------

    def _claim(self, now: int) -> bool:
        room = self.settings.concurrency - len(self.live)
        claim = Claim(
            worker=self.name,
            namespace=self.settings.namespace,
            queues=self.settings.queues,
            workflows=self._names(),
            limit=min(max(0, room), 200),
            ttl=self.ttl,
        )
        self._look_after(now)
        self.claimed_at = now
        self.claim_at = now + round(self.settings.poll * SECOND)
        try:
            claims = self.store.claim(claim)
        except StoreError as error:
            self._unavailable("claim", error)
            return False
        if claims.next_at is not None:
            self.claim_at = min(self.claim_at, max(claims.next_at, now + BREATH))
        if claims.runs and len(claims.runs) == claim.limit:
            self.claim_at = now
        for claimed in claims.runs:
            self._take(claimed)
        for message in claims.mail:
            live = self.live.get(message.key)
            if live is not None and message.id not in live.known:
                live.deliver([message])
                self._touch(live)
        return bool(claims.runs)

    def _look_after(self, now: int) -> None:
        """Answer those who wait for runs that are driven elsewhere, some at a time."""
        keys = [key for key in self.waiters if key not in self.live][:LOOKED_AFTER]
        if not keys:
            return
        try:
            runs = self.store.get(keys)
        except StoreError as error:
            self._unavailable("get", error)
            return
        for key, run in zip(keys, runs, strict=True):
            waiters = self.waiters.pop(key)
            if run is not None and run.status in OPEN and run.status != "stuck":
                self.waiters[key] = waiters  # to the end of the line
                continue
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(ending(run))
        if len(self.waiters) > LOOKED_AFTER:
            self.claim_at = now

    def _names(self) -> list[str]:
        offered = self.offered if self.offered is not None else WORKFLOWS
        names = {name for name, _ in offered} | {name for name, _ in self.extra}
        return sorted(names | {STEP_RUN + name for name in STEPS})

    def _spec(self, name: str, version: str) -> WorkflowSpec | None:
        """The version that the run began with when it is registered, else today's code: the one of no or the highest version."""
        if name.startswith(STEP_RUN):
            step = STEPS.get(name.removeprefix(STEP_RUN))
            return None if step is None else StepRun(step)
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

    def _take(self, claimed: Claimed) -> None:
        """Take a claimed run into memory."""
        run, lease = claimed.run, claimed.lease
        spec = self._spec(run.workflow, run.version)
        if spec is None:  # claimed by a name that was withdrawn meanwhile
            self.store.release([lease])
            return
        live = Live(run, lease, spec, claimed.journal, claimed.mail)
        self.live[run.key] = live
        self.renew_at = min(self.renew_at or lease.until, lease.until - self.ttl * 2 // 3)
        self._touch(live)
        self.observers.claimed(run, lease)

    def _touch(self, live: Live) -> None:
        self.touched[live.key] = live
        self.resting.pop(live.key, None)

    # ---- a round ------------------------------------------------------------------------------------------------------------

    def _timers(self, now: int) -> bool:
        """Wake what is due: timers of runs, attempts that take too long, runs that have rested long enough."""
        alarms, rang = self.alarms, False
        while alarms and alarms[0][0] <= now:
            moment, _, whom = heapq.heappop(alarms)
            rang = True
            if isinstance(whom, Attempt):
                self._too_late(whom)
            elif self.live.get(whom.key) is whom:
                if self.resting.get(whom.key) == moment:
                    whom.parking = True
                self._touch(whom)
        return rang

    def _alarm(self, moment: int, whom: Live | Attempt) -> None:
        self.alarm_count += 1
        heapq.heappush(self.alarms, (moment, self.alarm_count, whom))

    def _round(self, now: int) -> None:
        """Let every run that heard something take a turn, commit all turns at once, then act."""
        touched, self.touched = self.touched, {}
        batch: list[Commit] = []
        turned: list[Live] = []
        budget = REPLAY_BUDGET
        for live in touched.values():
            try:
                if live.backlog:
                    budget = live.replay(max(budget, 1))
                    if live.backlog:
                        self.touched[live.key] = live
                        continue
                live.turn(now)
            except Exception as error:  # noqa: BLE001 - border: today's code does not fit; the run is set aside, the others go on
                self._stuck(live, error)
                continue
            commit = self._commit_of(live, now)
            if commit is None:
                self._act(live, now)
            else:
                batch.append(commit)
                turned.append(live)
        for live, commit, fate in zip(turned, batch, self._send(batch) if batch else (), strict=True):
            self._settle(live, commit, fate, now)
        self._fill(now)

    def _commit_of(self, live: Live, now: int) -> Commit | None:
        """What must become durable before anything else is done; None when there is nothing."""
        parking, live.parking = live.parking, False
        if live.over:
            return live.commit(release=True)
        if live.idle:
            rests = not (parking or live.paused or self.stopping) and len(self.resting) < self.settings.keep
            if not rests:
                return live.commit(release=True)
            moment = now + round(self.settings.linger * SECOND)
            self.resting[live.key] = moment
            self._alarm(moment, live)
        if live.timers:
            due = live.wake_at()
            if due is not None:
                self._alarm(due, live)
        return live.commit(release=False) if live.unsaid else None

    def _send(self, batch: Sequence[Commit]) -> list[Committed]:
        """Commit, again and again until the store answers; what was applied unheard is recognised."""
        unsure = False
        fates: list[Committed] | None = None
        while fates is None:
            try:
                fates = self.store.commit(batch)
            except StoreUnavailable as error:
                unsure = True
                self._unavailable("commit", error)
                if self.stopping is not None and self.store.now() >= self.stopping.until:
                    return [Committed.FENCED] * len(batch)
                self.sleep(min(1.0, 0.01 * 2**self.failures))
        self.failures = 0
        if unsure:
            fates = [self._recognise(commit, fate) for commit, fate in zip(batch, fates, strict=True)]
        return fates

    def _recognise(self, commit: Commit, fate: Committed) -> Committed:
        """A refusal after an unheard answer: are the events in the journal ours?"""
        if fate is Committed.APPLIED or not commit.events:
            return fate
        key = commit.lease.key
        written = self.store.journal(key, after=commit.expected, limit=len(commit.events))
        return Committed.APPLIED if written == list(commit.events) else fate

    def _settle(self, live: Live, commit: Commit, fate: Committed, now: int) -> None:
        """What follows from a commit's fate."""
        if fate is not Committed.APPLIED:
            logger.warning("run %s: commit refused (%s), the turn is dropped", live.key.id, fate.value)
            self.observers.refused(live.key, fate)
            self._drop(live)
            if fate is Committed.CONFLICT:
                self.store.release([live.lease])
            return
        live.committed += len(commit.events)
        live.applied = live.committed
        self._say(live, commit)
        if commit.release:
            self._drop(live)
            if commit.status == "waiting" and commit.wake_at is not None:
                self.claim_at = min(self.claim_at, commit.wake_at)
            if commit.successor is not None:
                self.claim_at = min(self.claim_at, max(now, commit.successor.ready_at))
            elif commit.result is not None:
                self._tell(live.key, commit)
            if commit.posts or commit.children:
                self.claim_at = min(self.claim_at, now)
            return
        if commit.posts or commit.children:
            self.claim_at = min(self.claim_at, now)
        self._act(live, now)
        if live.answers or live.mail:
            self._touch(live)

    def _say(self, live: Live, commit: Commit) -> None:
        if commit.events:
            self.observers.committed(live.key, commit.events)
        prefix = LOG + live.key.id
        for topic, payload in commit.topics:
            if topic == prefix:
                said = from_json(payload)
                level = logging.getLevelNamesMapping().get(said["level"].upper(), logging.INFO)
                workflow_logger.log(
                    level, "%s: %s", live.key.id, said["text"], extra={"run_id": live.key.id, "fields": said["fields"]}
                )

    def _tell(self, key: RunKey, commit: Commit) -> None:
        for waiter in self.waiters.pop(key, ()):
            if not waiter.done():
                waiter.set_result((commit.status, commit.result))

    def _drop(self, live: Live) -> None:
        """Forget a run: its generators are closed, what runs for it is abandoned."""
        if self.live.get(live.key) is live:
            del self.live[live.key]
        self.resting.pop(live.key, None)
        self.touched.pop(live.key, None)
        for attempt in live.tasks.values():
            if attempt is not WAITING:
                attempt.abandon()
        live.tasks.clear()
        live.acting = []
        live.interp.close()

    def _stuck(self, live: Live, error: Exception) -> None:
        """Today's code cannot go on: leave the journal as it is, say why, and try again later or with other code."""
        logger.error("run %s is stuck: %s", live.key.id, error, exc_info=None if isinstance(error, ReplayError) else error)
        self.observers.stuck(live.key, error)
        note = str(error)[:4_000] if isinstance(error, ReplayError) else f"{qualified(type(error))}: {error}"[:4_000]
        wake_at = self.store.now() + STUCK_PAUSE
        commit = Commit(
            lease=live.lease,
            expected=live.committed,
            status="stuck",
            applied=live.applied,
            note=note,
            wake_at=wake_at,
            release=True,
        )
        self._drop(live)
        self._send([commit])
        for waiter in self.waiters.pop(live.key, ()):
            if not waiter.done():
                waiter.set_result(("stuck", to_json({"type": qualified(type(error)), "message": note})))

    def forget_all(self) -> None:
        """Drop every run, unharmed, after an error that nobody expected, and read them again."""
        leases = [live.lease for live in self.live.values()]
        for live in list(self.live.values()):
            self._drop(live)
        try:
            self.store.release(leases)
        except StoreError as error:
            self._unavailable("release", error)
        self.claim_at = 0

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
            self._begin(live, command, now)

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
            self.todo.append((live, command))

    def _fill(self, now: int) -> None:
        """Begin as many waiting steps as there is room for."""
        todo, attempts = self.todo, self.attempts
        while todo and len(attempts) < self.settings.steps:
            live, command = todo.popleft()
            if live.tasks.get(command.id) is not WAITING or self.live.get(live.key) is not live:
                continue
            effect: Step[Any] = command.effect  # type: ignore[assignment]  # only steps are acted on
            attempt = Attempt(live, command, self._info(live, command, effect), None, self.inbox.put)
            seconds = effect.options_.timeout
            if seconds is not None:
                attempt.deadline = now + round(seconds * SECOND)
                self._alarm(attempt.deadline, attempt)
            live.tasks[command.id] = attempt
            attempts[id(attempt)] = attempt
            attempt.begin(self.executor)

    def _info(self, live: Live, command: Command, effect: Step[Any]) -> StepInfo:
        key = position(live.interp, effect.options_.id or command.id, "#")
        return StepInfo(live.key.id, live.run.workflow, effect.name, command.id, command.attempts + 1, key)

    def _done(self, done: Done) -> None:
        """An attempt has ended; one that nobody waits for any more is only counted."""
        attempt = done.attempt
        self.attempts.pop(id(attempt), None)
        live: Live = attempt.live
        command = attempt.command
        if live.tasks.get(command.id) is not attempt or self.live.get(live.key) is not live:
            return
        del live.tasks[command.id]
        live.answers.append(self._answer_of(attempt, done))
        self._touch(live)

    def _too_late(self, attempt: Attempt) -> None:
        """A thread cannot be stopped: its step is told, its answer will be passed over."""
        live: Live = attempt.live
        command = attempt.command
        if live.tasks.get(command.id) is attempt:
            attempt.abandon()
            del live.tasks[command.id]
            error = TimedOut(f"step {attempt.effect.name}", attempt.effect.options_.timeout or 0)
            live.answers.append(self._answer_of(attempt, Done(attempt, b"", error, 0)))
            self._touch(live)

    def _answer_of(self, attempt: Attempt, done: Done) -> Answer:
        effect, number, error = attempt.effect, attempt.info.attempt, done.error
        if error is None and len(done.payload) > self.settings.max_payload:
            error = PayloadTooLarge(f"result of step {effect.name}", len(done.payload), self.settings.max_payload)
        if error is None:
            return Answer(attempt.command.id, events.STEP_COMPLETED, done.payload, number, done.duration)
        failure = Failure.of(error, attempts=number)
        retry = effect.options_.retry
        final = (
            attempt.command.cancelled or isinstance(error, PayloadError | PayloadTooLarge) or not retry.allows(error, number)
        )
        if final:
            return Answer(attempt.command.id, events.STEP_FAILED, failure.encode(), number, done.duration)
        pause = retry.delay(number, chance=self.chance())
        payload = to_json({**from_json(failure.encode()), "retry_in": pause})
        return Answer(attempt.command.id, events.STEP_ATTEMPT_FAILED, payload, number, done.duration)

    def _transact(self, live: Live, command: Command, effect: Step[Any]) -> None:
        """Do a step inside the transaction that commits its answer."""
        attempt = Attempt(live, command, self._info(live, command, effect), None, self.inbox.put)
        live.tasks[command.id] = attempt
        if Capability.TRANSACTIONS not in self.store.capabilities:
            advice = "use a SQL store, or take transactional=True away"
            problem = f"store {self.store.url} has no transactions to share"
            self._done(Done(attempt, b"", DefinitionError(f"step {effect.name}", problem, advice), 0))
            return
        made: list[Commit] = []

        def work(connection: Any) -> Commit:
            payload = attempt.call(connection=connection)
            del live.tasks[command.id]
            live.answers.append(Answer(command.id, events.STEP_COMPLETED, payload, attempt.info.attempt))
            live.turn(self.store.now())
            made.append(live.commit(release=live.over))
            return made[0]

        try:
            fate = self.store.transact(work)  # type: ignore[attr-defined]  # the capability says so
        except Exception as error:  # noqa: BLE001 - border: the step's own SQL may raise anything; it was rolled back
            if made or command.id not in live.tasks:
                self._forget_turn(live, error)
            else:
                self._done(Done(attempt, b"", error, 0))
            return
        self._settle(live, made[0], fate, self.store.now())

    def _forget_turn(self, live: Live, error: Exception) -> None:
        """A transaction whose turn was fed was not applied: drop the run and read it again."""
        logger.warning("run %s: transaction rolled back after its step: %s", live.key.id, error)
        self._drop(live)
        self.store.release([live.lease])
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
        """Wait for steps that run, as long as there is patience; then give everything back."""
        stop = self.stopping
        if stop is None or (any(live.tasks for live in self.live.values()) and now < stop.until):
            return
        for live in self.live.values():
            live.parking = True
            if live.ready and not live.tasks:
                self._touch(live)
        if self.touched:
            self._round(now)
        leases = [live.lease for live in self.live.values()]
        for live in list(self.live.values()):
            self._drop(live)
        try:
            if leases:
                self.store.release(leases)
        except StoreError as error:
            self._unavailable("release", error)
        self.stopped = True

    def _unavailable(self, verb: str, error: Exception) -> None:
        self.failures += 1
        if self.failures in {1, 10} or self.failures % 100 == 0:
            logger.warning("store does not answer (%s, %d times): %s", verb, self.failures, error)
        self.observers.unavailable(verb, error)
