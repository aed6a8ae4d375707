"""One run in memory: what it has been told, what it wants, and the commit that makes a turn durable.

Rule 1: a turn feeds first. Answers, messages and timers become events, the interpreter takes them at once, and all that they led to
is collected; nothing of it is done before the commit that this module builds has been applied.
Rule 2: no I/O. A ``Live`` takes facts and a moment, and returns a ``Commit`` and a list of commands to act on.
Rule 3: what an interpreter says while it is driven over old events has been said: only outputs of events after ``applied`` count.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from replay.engine.alarms import SWEEP
from replay.engine.attempts import PROGRESS, packed, unpacked
from replay.engine.family import answer_to_parent, child_run, step_run, successor_of
from replay.engine.outputs import NOTES, REPLY, note_payload, say
from replay.errors import PayloadTooLarge
from replay.interpreter.fibers import Command
from replay.interpreter.interpreter import TERMINATED, Interpreter
from replay.interpreter.issue import child_id, savepoint_payload
from replay.interpreter.queries import reply_to
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Call, Output, Savepoint, Signal, Sleep, Step, WorkflowSpec
from replay.model.events import Event
from replay.model.failure import Failure
from replay.model.journal import Resume
from replay.model.names import SECOND
from replay.store.contract import Claimed, Commit, Message, NewRun, RunKey, takes_on

TURN_LIMIT: Final = 2_000
"""Events that one commit of one run holds at most; the rest follows in the next."""
HEED: Final = 100
"""After so many answers in a row a run hears a timer or a message: one that answers itself for ever can be cancelled."""
NEVER: Final = float("inf")
LATEST: Final = 2**63 - 1
"""The last moment that a store can spell; what is due later never is."""
_SEQ: Final = attrgetter("seq")
ANSWER_BUDGET: Final = 20_000
"""Immediate answers that a workflow gives itself before other runs have their turn."""
LOST: Final = "~lost"
"""State key under which a run in doubt shows how many workers it cost, and what was under way."""
ENDS: Final = {
    events.COMPLETED: "completed",
    events.FAILED: "failed",
    events.CANCELLED: "cancelled",
    events.CONTINUED: "continued",
}


class Answer(NamedTuple):
    """What the world told about a command, not yet an event."""

    command: str
    kind: str
    payload: bytes
    attempt: int = 0
    duration: int = 0


class Live:
    """One claimed run.

    Attributes:
        run: Its index entry when it was claimed.
        key: Its name.
        lease: The right to write to it.
        interp: Its interpreter.
        journal: Old events, of which ``fed`` have been fed, and ``said`` had their outputs applied.
        arrived: Whether all of them have been fed.
        committed: Length of the journal in the store.
        answers: What came in from steps.
        mail: Messages not yet taken in.
        known: Ids of all messages seen.
        acting: Commands to act on once the next commit is applied.
        withdrawn: Commands to stop once the next commit is applied.
        tasks: What the engine has under way for it, by command.
        retries: When a failed step is tried again, by command, microseconds.
        paused: Whether new commands are left alone.
        parking: Whether it has rested long enough and its next commit gives the lease back.
        intents: Commands of ``at_most_once`` steps whose beginning was noted in this life.
        met: Workflows of the children that it asked for.
        queued: Commands whose steps wait for room, oldest first.
        alarm: Number of the alarm at which the engine looks at it, or 0.
        progress: What its steps told of themselves with heartbeats, encoded, by command.
        beating: Whether some of that is not saved yet.
        in_line: Whether it is in doubt and waits for its turn to be driven.
        lost: How many workers it will have cost in a row if this one dies now; 0 when it is not in doubt.
        doing: What it is about to do while it is in doubt; empty until it was told.
        max_payload: The largest result that its journal may hold, in bytes.
        blobs: Long notes of the last commit that was made, to be put into the store before it.
        state: What it shows, by key.
        tags: Words that it is found by.
    """

    def __init__(self, claimed: Claimed, interp: Interpreter, max_payload: int) -> None:
        run, lease, journal, mail = claimed
        self.run = run
        self.key = run.key
        self.lease = lease
        self.interp = interp
        self.journal = journal
        self.fed = 0
        self.said = bisect_right(journal, run.applied, key=_SEQ)
        self.arrived = False
        self.committed = run.seq
        self.applied = run.applied
        self.answers: deque[Answer] = deque()
        self.mail: deque[Message] = deque()
        self.known: set[str] = set()
        self.acting: list[Command] = []
        self.withdrawn: list[Command] = []
        self.tasks: dict[str, Any] = {}
        self.retries: dict[str, int] = {}
        self.lines: dict[str, str] = {}
        self.timers: list[tuple[int, int, str]] = []
        self.reminders = 0
        self.paused = run.status == "paused"
        self.parking = False
        self.intents: set[str] = set()
        self.queued: deque[Command] = deque()
        self.alarm = 0
        self.in_line = False
        self.lost = 0
        self.doing = ""
        self.progress = unpacked(run.state) if run.state else {}
        self.beating = False
        self.shown = run.state.get(PROGRESS, b"{}")
        self.max_payload = max_payload
        self.cancelling = False
        self.terminated: bytes | None = None
        self.worker = lease.worker
        self.fresh: list[Event] = []
        self.outputs: list[tuple[str, Output, int]] = []
        self.consumed: list[str] = []
        self.posts: list[Message] = []
        self.children: list[NewRun] = []
        self.met: list[WorkflowSpec] = []
        self.topics: list[tuple[str, bytes]] = []
        self.base = 0
        self.blobs: list[bytes] = []
        self.state = {key: value for key, value in run.state.items() if not key.startswith("~")}
        self.tags = {name: word for name, word in run.tags.items() if word}
        self.deliver(mail)

    # ---- what comes in --------------------------------------------------------------------------------------------------

    def deliver(self, mail: Sequence[Message]) -> None:
        """Take in messages; those seen before are passed over."""
        for message in mail:
            if message.id not in self.known:
                self.known.add(message.id)
                self.mail.append(message)

    def replay(self, budget: int) -> int:
        """Feed old events, as many as the budget allows; what is left of the budget.

        Raises:
            WorkflowError: Today's code does not fit the journal.
            JournalDamaged: The journal cannot be trusted.
        """
        interp, journal = self.interp, self.journal
        if not interp.seq and self.run.base > 1 and len(journal) > 1:
            interp.recover(journal[0], journal[1], ANSWER_BUDGET)
            self.fed = 2
        elif not interp.settled:
            interp.advance(ANSWER_BUDGET)
        self._forget_said()
        while interp.settled and budget > 0 and self.fed < len(journal):
            was_said = self.fed < self.said
            until = min(self.said, self.fed + budget) if was_said else self.fed + 1  # one by one, to know after which event it was said
            before = interp.seq
            interp.feed_all(journal[self.fed : until], ANSWER_BUDGET)
            self.fed += interp.seq - before
            budget -= interp.seq - before
            self._forget_said()
            if not was_said:
                self._hear(interp)
        if interp.settled and self.fed == len(journal):
            self.journal = ()
            self.arrived = True
            self._arrive()
        elif self.fed == len(journal):
            self._terminate_busy()
        return budget

    def _forget_said(self) -> None:
        """Outputs of events up to ``applied`` were said long ago, and what they issued may have been answered since.

        Only a child that was asked for and abandoned in the same breath is nowhere else to be found.
        """
        abandoned = self.fed > self.said and [command for command in self.interp.issued if command.abandoned]
        self.interp.issued = abandoned or []
        if self.fed <= self.said:
            self.interp.outputs.clear()

    def _arrive(self) -> None:
        """All old events are fed: what is pending now is what the run wants."""
        interp = self.interp
        abandoned, interp.issued, interp.withdrawn = interp.issued, [], []
        self.cancelling = interp.root.cancel is not None
        if interp.started.deadline is not None and not self.cancelling:
            self._remind(interp.started.deadline, "")
        self._want([*interp.pending.values(), *abandoned])
        self._hear(interp)
        if interp.outcome is not None:  # the closing event itself was lost with its worker
            self._close()

    # ---- a turn ---------------------------------------------------------------------------------------------------------

    def turn(self, now: int) -> None:
        """Feed what has come in, until nothing more has or the turn is long enough.

        Raises:
            WorkflowError: The author's code cannot go on; the run is stuck where its journal ends.
        """
        if self.terminated is not None:
            return
        if not self.interp.settled and not self._go_on():
            self._terminate_busy()
            return
        streak = 0
        while (self.answers or self.timers or self.mail) and len(self.fresh) < TURN_LIMIT and not self.over and self.interp.settled:
            streak += 1
            if self.answers and streak % HEED:
                self._take_answer(self.answers.popleft(), now)
            elif self._next_timer() <= (min(now, self.mail[0].at) if self.mail else now):
                self._time(now)
            elif self.mail:
                self._take_message(self.mail.popleft(), now)
            elif not self.answers:
                break

    def _go_on(self) -> bool:
        """Let code that gives itself answers, such as a long loop over ``random()``, go on for a while; whether it has settled."""
        settled = self.interp.advance(ANSWER_BUDGET)
        self._gather_in()
        return settled

    def _terminate_busy(self) -> None:
        """Code that never rests hears no message; it can be ended from outside all the same."""
        for message in self.mail:
            if message.kind == "terminate":
                self.mail.remove(message)
                self._take_message(message, message.at)
                return

    @property
    def over(self) -> bool:
        """Whether the run has ended, as far as this turn knows."""
        return self.interp.outcome is not None or self.terminated is not None

    def _take_answer(self, answer: Answer, now: int) -> None:
        command = self.interp.pending.get(answer.command)
        if command is None:
            return  # withdrawn meanwhile
        effect = command.effect
        self.retries.pop(answer.command, None)
        self._feed(answer.kind, answer.command, effect.name, answer.payload, now, effect.check(), answer.attempt, answer.duration)
        if answer.kind == events.STEP_ATTEMPT_FAILED:
            self._retry_later(command)

    def _retry_later(self, command: Command) -> None:
        """The next attempt follows when the pause that the failed one recorded is over."""
        pause = from_json(command.failure).get("retry_in", 0)
        self._remind(self.retries.setdefault(command.id, command.failed_at + round(pause * SECOND)), command.id)

    def _give_up(self, command: Command) -> None:
        """Its end is awaited by a cancellation, and no other attempt will follow."""
        self.answers.append(Answer(command.id, events.STEP_FAILED, command.failure, command.attempts))

    def _remind(self, moment: int, command: str) -> None:
        pending = self.interp.pending
        if len(self.timers) > 2 * len(pending) + SWEEP:
            self.timers = [timer for timer in self.timers if not timer[2] or timer[2] in pending]
            heapq.heapify(self.timers)
        self.reminders += 1
        heapq.heappush(self.timers, (moment, self.reminders, command))

    def _next_timer(self) -> float:
        """When the next timer, retry or deadline is due; those of commands that are gone are forgotten."""
        timers, pending = self.timers, self.interp.pending
        while timers and timers[0][2] and timers[0][2] not in pending:
            heapq.heappop(timers)
        return timers[0][0] if timers else NEVER

    def _take_message(self, message: Message, now: int) -> None:
        self.consumed.append(message.id)
        _MAIL[message.kind](self, message, now)

    def _signal(self, message: Message, now: int) -> None:
        refused = self.interp.refuses_signal(message.name, message.payload)
        if refused:
            self._note(f"signal {message.name!r} was refused: {refused}")
            return
        self._feed(events.SIGNAL_RECEIVED, "", message.name, message.payload, now)

    def _update(self, message: Message, now: int) -> None:
        refused = self.interp.refuses_update(message.name, message.payload)
        if refused:
            self.topics.append((REPLY + message.id, to_json({"refused": refused})))
            return
        payload = to_json({"id": message.id, "value": from_json(message.payload)})
        self._feed(events.UPDATE_RECEIVED, "", message.name, payload, now)

    def _query(self, message: Message, _now: int) -> None:
        self.topics.append((REPLY + message.id, reply_to(self.interp, message.name, message.payload, self.max_payload)))

    def _cancel(self, message: Message, now: int) -> None:
        if not self.cancelling:
            self.cancelling = True
            self._feed(events.CANCEL_REQUESTED, "", "cancel", message.payload, now)

    def _terminate(self, message: Message, now: int) -> None:
        reason = from_json(message.payload).get("reason", "terminated")
        payload = Failure(type="Terminated", message=reason).encode()
        self.fresh.append(self._event(events.FAILED, "", TERMINATED, payload, now))
        self.terminated = payload
        for command in self.interp.pending.values():  # none of its code runs, so nobody else would tell them
            effect = command.effect
            child = isinstance(effect, Call) and effect.options_.on_parent_close == "cancel"
            if child or (isinstance(effect, Step) and self.is_remote(effect)):
                self._call_off(command, "was terminated")

    def _pause(self, _message: Message, _now: int) -> None:
        self.paused = True
        self.acting = [command for command in self.acting if command.id in self.intents]  # those count as begun

    def _resume(self, _message: Message, _now: int) -> None:
        if self.paused:
            self.paused = False
            self._want([command for command in self.interp.pending.values() if command.id not in self.tasks])

    def _answer(self, message: Message, now: int) -> None:
        if not self.interp.expects(message.command, message.name):
            self._note(f"an answer ({message.name}) came for command {message.command}, which the code does not ask for")
            return
        self._take_answer(Answer(message.command, message.name, message.payload), now)

    def _time(self, now: int) -> None:
        """The earliest timer, retry or deadline is due."""
        _, _, identity = heapq.heappop(self.timers)
        if not identity:
            if not self.cancelling:
                self.cancelling = True
                self._feed(events.CANCEL_REQUESTED, "", "deadline", to_json({"reason": "the deadline has passed"}), now)
            return
        command = self.interp.pending[identity]
        if command.due is not None:
            self._feed(events.TIMER_FIRED, identity, command.effect.name, b"", now)
        elif self.retries.pop(identity, None) is not None and not self.paused:
            self.acting.append(command)

    def begin_step(self, command: Command, now: int) -> None:
        """Note that an ``at_most_once`` step is about to begin."""
        self._feed(events.STEP_INTENT, command.id, command.effect.name, b"", now, command.effect.check())

    def _event(
        self, kind: str, command: str, name: str, payload: bytes, now: int, check: int = 0, attempt: int = 0, duration: int = 0
    ) -> Event:
        interp = self.interp
        at = max(now, interp.clock)
        line = self.lines.pop(command, "") if command else ""
        return Event(interp.seq + 1, kind, command, name, at, payload, check, attempt, duration, line, self.worker)

    def _feed(
        self, kind: str, command: str, name: str, payload: bytes, now: int, check: int = 0, attempt: int = 0, duration: int = 0
    ) -> None:
        """Make an event, feed it, and collect what it led to."""
        event = self._event(kind, command, name, payload, now, check, attempt, duration)
        self.interp.feed(event, ANSWER_BUDGET)
        self.fresh.append(event)
        if kind == events.SAVEPOINT and Resume.decode(payload) is not None:
            self.base = event.seq
        self._gather_in()

    def _hear(self, interp: Interpreter) -> None:
        """Take what the interpreter said, and after which event."""
        self.outputs += [(identity, output, interp.seq) for identity, output in interp.outputs]
        interp.outputs = []

    def _gather_in(self) -> None:
        """Collect what the interpreter said, withdrew and asked for."""
        interp = self.interp
        if interp.outputs:
            self._hear(interp)
        if interp.withdrawn:
            self._withdraw()
        if interp.issued:
            issued, interp.issued = interp.issued, []
            self._want([command for command in issued if command.id in interp.pending or command.abandoned])
        if interp.outcome is not None:
            self._close()

    def _want(self, commands: list[Command]) -> None:
        """Sort commands by who answers them: a savepoint at once, a child by being created, a step by acting, a timer by time."""
        for command in commands:
            effect = command.effect
            kind = type(effect)
            if kind is Savepoint:
                payload = savepoint_payload(self.interp, command.fiber, effect)  # type: ignore[arg-type]  # just checked
                self.answers.append(Answer(command.id, events.SAVEPOINT, payload))
            elif isinstance(effect, Step) and command.attempts:
                (self._give_up if command.cancelled else self._retry_later)(command)
            elif not self.paused:
                self._begin(command, effect)
            if command.due is not None:
                self._remind(command.due, command.id)
            if kind is not Sleep and kind is not Signal:
                self.lines[command.id] = self.interp.line_of(command)

    def _begin(self, command: Command, effect: Any) -> None:
        """Something new that a paused run leaves alone: a child, a step elsewhere, a step here."""
        if isinstance(effect, Step):
            if self.is_remote(effect):
                self.children.append(step_run(self, command, effect))
            else:
                self.acting.append(command)
        elif isinstance(effect, Call):
            self.children.append(child_run(self, command, effect))
            self.met.append(effect.spec)

    def is_remote(self, effect: Step[Any]) -> bool:
        """Whether a step is done by the workers of another queue."""
        queue = effect.options_.queue
        return queue is not None and queue != self.run.queue

    def _withdraw(self) -> None:
        """Children and remote steps get a message; what runs here is stopped after the commit."""
        withdrawn, self.interp.withdrawn = self.interp.withdrawn, []
        for command in withdrawn:
            effect = command.effect
            waiting = self.retries.pop(command.id, None)
            self.lines.pop(command.id, None)
            remote = isinstance(effect, Call) or (isinstance(effect, Step) and self.is_remote(effect))
            if remote:
                self._call_off(command, "no longer waits for it")
            elif command.cancelled and waiting is not None:
                self._give_up(command)
            else:
                self.withdrawn.append(command)
        gone = {command.id for command in withdrawn if not command.cancelled}
        self.acting = [command for command in self.acting if command.id not in gone]

    def _call_off(self, command: Command, why: str) -> None:
        """Ask a child, or a step elsewhere, to stop."""
        target = child_id(self.interp, command.id, command.effect)
        payload = to_json({"reason": f"its parent {self.key.id} {why}"})
        self.posts.append(Message(f"{target}:cancel", RunKey(self.key.namespace, target), "cancel", "cancel", payload))

    def _close(self) -> None:
        """The workflow has ended: its closing event says how."""
        outcome = self.interp.outcome
        if outcome is None or (self.fresh and self.fresh[-1].kind in events.CLOSING):
            return
        kind, name, payload = outcome.kind, self.interp.started.workflow, outcome.payload
        if kind == events.COMPLETED and len(payload) > self.max_payload:
            too_large = PayloadTooLarge(f"result of workflow {name}", len(payload), self.max_payload)
            kind, name, payload = events.FAILED, TERMINATED, Failure.of(too_large).encode()
        event = self._event(kind, "", name, payload, self.interp.clock)
        self.interp.feed(event)
        self.fresh.append(event)

    def _note(self, text: str) -> None:
        self.topics.append((NOTES + self.key.id, note_payload(text)))

    # ---- the commit -------------------------------------------------------------------------------------------------------

    def wake_at(self) -> int | None:
        """When its next timer, retry or deadline is due, microseconds, or None."""
        moment = self._next_timer()
        return None if moment > LATEST else int(moment)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way for it in this process."""
        return not (self.tasks or self.answers or self.mail or self.acting) and self.interp.settled

    @property
    def unsaid(self) -> bool:
        """Whether there is anything to commit."""
        return self.interp.settled and bool(
            self.beating or self.fresh or self.outputs or self.consumed or self.posts or self.children or self.topics
        )

    def commit(self, *, release: bool, inline: bool = False) -> Commit:
        """All of this turn, as one commit; afterwards the turn is empty.

        Args:
            release: Whether the lease is given back.
            inline: Whether long notes stay in the commit; else they are in ``blobs``, to be put into the store before it.
        """
        state: dict[str, bytes] = {}
        tags: dict[str, str] = {}
        if self.outputs:
            state, tags = say(self, inline=inline)
            self.state |= state
            self.tags = {name: word for name, word in {**self.tags, **tags}.items() if word}
        if self.progress:
            self._say_progress(state)
        closing = self.fresh[-1] if self.fresh and self.fresh[-1].kind in events.CLOSING else None
        status = "paused" if self.paused else "waiting" if release else "running"
        successor = None
        if closing is not None:
            status = TERMINATED if self.terminated is not None else ENDS[closing.kind]
            successor = successor_of(self, closing)
            if successor is None and (answer := answer_to_parent(self, closing, status)) is not None:
                self.posts.append(answer)
        made = Commit(
            lease=self.lease,
            expected=self.committed,
            events=self.fresh,
            status=status,
            wake_at=None if closing is not None or self.paused else self.wake_at(),
            applied=self.committed + len(self.fresh),
            base=self.base,
            consumed=self.consumed,
            posts=self.posts,
            children=self.children,
            topics=self.topics,
            state=state,
            tags=tags,
            result=None if closing is None else closing.payload,
            release=release or closing is not None,
            successor=successor,
        )
        if self.lost:
            self._say_lost(made, state)
        self.fresh, self.outputs, self.consumed, self.posts, self.children, self.topics = [], [], [], [], [], []
        self.base = 0
        return made

    def _say_progress(self, state: dict[str, bytes]) -> None:
        """What steps told of themselves is shown while they are not answered."""
        pending = self.interp.pending
        self.progress = {command: payload for command, payload in self.progress.items() if command in pending}
        self.beating = False
        shown = packed(self.progress)
        if shown != self.shown:
            state[PROGRESS] = self.shown = shown

    def _say_lost(self, made: Commit, state: dict[str, bytes]) -> None:
        """A run in doubt tells what it is about to do; one that has moved is in doubt no more."""
        if takes_on(made):
            self.lost = 0
            state[LOST] = b"[]"
        elif self.doing:
            state[LOST] = to_json([self.lost, self.run.recoveries, self.doing])


_MAIL: Final = {
    "signal": Live._signal,
    "update": Live._update,
    "query": Live._query,
    "cancel": Live._cancel,
    "terminate": Live._terminate,
    "pause": Live._pause,
    "resume": Live._resume,
    "answer": Live._answer,
}
