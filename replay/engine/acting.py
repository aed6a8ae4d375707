"""Steps: an attempt is made of what a run asked for, begun when there is room, and its end becomes an answer.

Rule 1: only what is durable is acted on: commands come here after the commit that follows from asking for them.
Rule 2: room is shared: one waiting step of each run in turn, so that a run with a thousand of them does not hold up the others.
Rule 3: an attempt that nobody waits for any more is told so; its answer is passed over.
Rule 4: a step that was quick last time, and besides which nothing is under way, is left ``at_hand`` for whoever drives (``baton``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, Final, Protocol

import attrs

from replay.authoring.performing import Performer
from replay.authoring.step_context import StepInfo
from replay.engine.attempts import EVERY, Pulse, limit
from replay.engine.committing import Committer
from replay.engine.held import WAITING, Held
from replay.engine.leases import Leases
from replay.engine.live import Answer, Live
from replay.engine.performing import EngineScene
from replay.engine.pool import Executor
from replay.engine.settings import Settings
from replay.engine.steps import Attempt, Done
from replay.errors import (
    BudgetExceeded,
    DefinitionError,
    PayloadError,
    PayloadTooLarge,
    ProviderBusy,
    ReplyInvalid,
    StepInterrupted,
    StoreError,
)
from replay.interpreter.fibers import Command
from replay.interpreter.issue import position
from replay.model import events
from replay.model.budgets import NOTHING
from replay.model.codec import from_json, to_json
from replay.model.effects import Step
from replay.model.failure import Failure, qualified
from replay.store.contract import Capability, Commit, Store

FINAL: Final = (BudgetExceeded, PayloadError, PayloadTooLarge, ReplyInvalid)
"""What another attempt would not mend, whatever a retry policy says."""
QUICK: Final = 500
"""Microseconds that a step took last time at most, for whoever drives to do it with its own hands."""


class MakeAttempt(Protocol):
    """What an ``Attempt`` is made by; the test kit makes its own."""

    def __call__(
        self, live: Live, command: Command, info: StepInfo, now: Callable[[], int], report: Callable[[Any], None], /
    ) -> Attempt:
        """One attempt of a command, not yet begun."""


@attrs.define(eq=False)
class Actor:
    """What does the steps of one worker.

    Args:
        store: Whose clock counts, and whose transactions are shared.
        settings: How the worker works.
        held: The runs that ask.
        leases: Under which it acts.
        committer: Writes for it.
        executor: Where steps run.
        performers: How effects are done that are no functions of the author's, by class.
        chance: Spreads retries; a number from 0 to 1.
        inbox: Where steps leave, from their threads, what became of them.
        make: Makes an attempt.
        lends: Whether who drives does what it finds ``at_hand`` after a pump.

    Attributes:
        attempts: Those under way, by their identity.
        todo: Runs with steps that wait for room.
        at_hand: An attempt that whoever drives is to do itself, or None.
    """

    _store: Store
    _settings: Settings
    _held: Held
    _leases: Leases
    _committer: Committer
    _executor: Executor
    _performers: Mapping[type[Any], Performer]
    _chance: Callable[[], float]
    _inbox: SimpleQueue[Any]
    _make: MakeAttempt
    _lends: bool
    attempts: dict[int, Attempt] = attrs.field(factory=dict, init=False)
    todo: deque[Live] = attrs.field(factory=deque, init=False)
    at_hand: Attempt | None = attrs.field(default=None, init=False)
    _lasted: dict[str, int] = attrs.field(factory=dict, init=False)

    # ---- to begin -------------------------------------------------------------------------------------------------------

    def act(self, live: Live, now: int) -> None:
        """Do what is durable enough to be done: stop what was withdrawn, begin what was asked for."""
        held = self._held
        if live.withdrawn:
            self._withdraw(live)
        acting, live.acting = live.acting, []
        for command in acting:
            if held.leaving is not None and command.id not in live.intents:
                live.acting.append(command)
                continue
            self._begin(live, command, now)
            if held.live.get(live.key) is not live:  # dropped with its transaction
                return
        if live.answers or live.mail or (live.idle and live.key not in held.resting):
            held.touch(live)

    def _withdraw(self, live: Live) -> None:
        """Nobody waits for these any more: they are stopped, or told that only their end is awaited."""
        for command in live.withdrawn:
            attempt = live.tasks.get(command.id)
            if attempt is None:
                continue
            if not command.cancelled:
                del live.tasks[command.id]
            if attempt is not WAITING:
                attempt.abandon() if not command.cancelled else attempt.warn()
        live.withdrawn = []

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
            self._held.touch(live)
        elif options.transactional:
            self._transact(live, command, effect)
        else:
            live.tasks[command.id] = WAITING
            if not live.queued:
                self.todo.append(live)
            live.queued.append(command)

    def fill(self) -> None:
        """Begin as many waiting steps as there is room for, one of each run in turn; when leaving, only those announced."""
        held, todo, attempts = self._held, self.todo, self.attempts
        if not todo:
            return
        now = self._store.now()
        if now >= self._leases.renew_at:  # after a long break: begin nothing for a run that another may hold by now
            self._leases.renew(now)
        while todo and len(attempts) < self._settings.steps:
            live = todo.popleft()
            if not live.queued:
                continue
            command = live.queued.popleft()
            if live.queued:
                todo.append(live)
            announced = command.id in live.intents
            if live.tasks.get(command.id) is not WAITING or (held.leaving is not None and not announced):
                continue
            if live.paused and not announced:
                del live.tasks[command.id]
                held.touch(live)
                continue
            effect: Step[Any] = command.effect  # type: ignore[assignment]  # only steps are acted on
            attempt = self._attempt(live, command, effect)
            options = effect.options_
            if (options.timeout or options.heartbeat) and (late := limit(attempt, now)) is not None:
                attempt.alarm = held.alarms.set(late[0], attempt)
            live.tasks[command.id] = attempt
            attempts[id(attempt)] = attempt
            if self._lends and self._is_handy(effect):
                self.at_hand = attempt
            else:
                attempt.begin(self._executor)

    def _is_handy(self, effect: Step[Any]) -> bool:
        """Whether a step is so quick, and so alone, that handing it to a thread would cost more than doing it."""
        alone = len(self.attempts) == 1 and not (self.todo or self._held.touched) and self._inbox.empty()
        return alone and self._lasted.get(effect.name, QUICK) < QUICK

    def _attempt(self, live: Live, command: Command, effect: Step[Any]) -> Attempt:
        """One attempt, not yet begun."""
        key = position(live.interp, effect.options_.id or command.id, "#")
        info = StepInfo(live.key.id, live.run.workflow, effect.name, command.id, command.attempts + 1, key)
        info.cancelled = command.cancelled
        if command.id in live.progress:
            info.progress = from_json(live.progress[command.id])
        attempt = self._make(live, command, info, self._store.now, self._inbox.put)
        if (performer := self._performers.get(type(effect))) is not None:
            attempt.performer = performer
            attempt.scene = EngineScene(self._store, live, command, info)
        return attempt

    # ---- what comes back ------------------------------------------------------------------------------------------------

    def _is_awaited(self, attempt: Attempt) -> bool:
        """Whether its run is here, and waits for this very attempt."""
        live: Live = attempt.live
        return live.tasks.get(attempt.command.id) is attempt and self._held.live.get(live.key) is live

    def done(self, done: Done) -> None:
        """An attempt has ended; one that nobody waits for any more is only counted."""
        attempt = done.attempt
        self.attempts.pop(id(attempt), None)
        if attempt.alarm:
            self._held.alarms.drop(attempt.alarm)
        attempt.info._beat = None  # noqa: SLF001 - or the two would wait for the garbage collector
        pulse = attempt.pulse
        if pulse is not None:
            self._held.alarms.drop(pulse.alarm)
        if self._lends and attempt.stop is None:
            self._lasted[attempt.effect.name] = done.duration
        if not self._is_awaited(attempt):
            return
        live: Live = attempt.live
        command = attempt.command
        del live.tasks[command.id]
        if done.error is not None and pulse is not None and pulse.last:
            live.progress[command.id] = pulse.latest(self._store.now())  # saved with the failure
        live.answers.append(self._answer_of(attempt, done))
        self._held.touch(live)

    def heard(self, pulse: Pulse, payload: bytes, now: int) -> None:
        """A step told how far it has come: save it soon, and look once more in case that it falls silent."""
        attempt = pulse.attempt
        if not self._is_awaited(attempt) or payload == pulse.saved:
            return
        live: Live = attempt.live
        pulse.saved = live.progress[attempt.command.id] = payload
        live.beating = True
        self._held.touch(live)
        self._held.alarms.drop(pulse.alarm)
        pulse.alarm = self._held.alarms.set(now + EVERY, pulse)

    def too_late(self, attempt: Attempt, now: int) -> None:
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
            attempt.alarm = self._held.alarms.set(moment, attempt)
            return
        attempt.abandon()
        del live.tasks[command.id]
        if attempt.pulse is not None and attempt.pulse.last:
            live.progress[command.id] = attempt.pulse.latest(now)
        live.answers.append(self._answer_of(attempt, Done(attempt, b"", error, 0)))
        self._held.touch(live)

    def _answer_of(self, attempt: Attempt, done: Done) -> Answer:
        number, error = attempt.info.attempt, done.error
        if error is None and len(done.payload) > self._settings.max_payload:
            error = PayloadTooLarge(f"result of step {attempt.effect.name}", len(done.payload), self._settings.max_payload)
        if error is None:
            return Answer(attempt.command.id, events.STEP_COMPLETED, done.payload, number, done.duration)
        payload = Failure.of(error, attempts=number).encode()
        if attempt.scene is not None and attempt.scene.spent != NOTHING:
            payload = to_json({**from_json(payload), "spent": attempt.scene.spent.encode()})
        retry = attempt.effect.options_.retry
        if attempt.command.cancelled or isinstance(error, FINAL) or not retry.allows(error, number):
            return Answer(attempt.command.id, events.STEP_FAILED, payload, number, done.duration)
        pause = retry.delay(number, chance=self._chance())
        if isinstance(error, ProviderBusy):
            pause = max(pause, error.retry_after or 0)
        payload = to_json({**from_json(payload), "retry_in": pause})
        return Answer(attempt.command.id, events.STEP_ATTEMPT_FAILED, payload, number, done.duration)

    # ---- inside a transaction -------------------------------------------------------------------------------------------

    def _transact(self, live: Live, command: Command, effect: Step[Any]) -> None:
        """Do a step inside the transaction that commits its answer."""
        attempt = self._attempt(live, command, effect)
        live.tasks[command.id] = attempt
        if Capability.TRANSACTIONS not in self._store.capabilities:
            advice = "use a SQL store, or take transactional=True away"
            problem = f"store {self._store.url} has no transactions to share"
            self.done(Done(attempt, b"", DefinitionError(f"step {effect.name}", problem, advice), 0))
            return
        made: list[Commit] = []

        def work(connection: Any) -> Commit:
            payload = attempt.call(connection=connection)
            if len(payload) > self._settings.max_payload:
                raise PayloadTooLarge(f"result of step {effect.name}", len(payload), self._settings.max_payload)
            del live.tasks[command.id]
            live.answers.append(Answer(command.id, events.STEP_COMPLETED, payload, attempt.info.attempt))
            live.turn(self._store.now())
            while not live.interp.settled:
                live.turn(self._store.now())
            made.append(live.commit(release=live.over, inline=True))
            return made[0]

        try:
            fate = self._store.transact(work)  # type: ignore[attr-defined]  # the capability says so
        except Exception as error:  # noqa: BLE001 - border: the step's own SQL may raise anything; it was rolled back
            if command.id in live.tasks:
                self.done(Done(attempt, b"", error, 0))
            elif isinstance(error, StoreError):
                self._committer.read_again(live, error)
            else:  # code that does not fit, or SQL that the database refuses only when it commits
                self._committer.stuck(live, error)
            return
        now = self._store.now()
        if self._committer.settle(live, made[0], fate, now):
            self.act(live, now)
