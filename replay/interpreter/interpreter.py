"""Drive a workflow over events: a pure function in the shape of an object.

Rule 1: it is fed events in journal order. After each it can be asked for its pending commands, for what was issued, withdrawn and
said since it was last asked, and, at the end, for its outcome. It does no I/O, and never learns whether an event is old or new.
Rule 2: an event resumes the one fiber that waits for it; that fiber runs until it waits again or ends; what this makes ready runs
after it, first ready first.
Rule 3: an event must fit the command that it answers. One that does not is ``NonDeterminismError``, and the interpreter that
raised it is spent: throw it away, the journal is untouched.
Rule 4: an outcome is not an end of feeding: the closing event is fed too, and must say the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final

from replay.errors import Cancelled, EffectError, JournalDamaged, NonDeterminismError, UnknownName
from replay.interpreter import determinism
from replay.interpreter.ambient import Chance
from replay.interpreter.budgets import Account
from replay.interpreter.fibers import WAIT, Command, Fiber, Scope, close_generator, waits_to_end
from replay.interpreter.issue import ROWS, handler_for
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Call, Metered, OnUpdate, Output, Signal, Step, WorkflowSpec
from replay.model.events import SAVEPOINT, Event
from replay.model.failure import Failure, cancelled_payload
from replay.model.journal import Mail, Resume, Started
from replay.model.records import record

_REPRODUCIBLE: Final = frozenset({events.COMPLETED, events.CONTINUED})
"""Closing events whose payload the code makes again; those of failures hold tracebacks."""
TERMINATED: Final = "terminated"
"""Name of the closing event of a run that was ended from outside; it fits wherever the run stood."""


@record
class Outcome:
    """How a run ends: the closing event's kind and payload."""

    kind: str
    payload: bytes
    call: Call[Any] | None = None


class Interpreter:
    """One run, as far as its events tell.

    Attributes:
        run: The run's id.
        spec: The workflow.
        started: What it was begun with; set by the first event.
        seq: Number of the last event that was fed.
        clock: The workflow's clock, microseconds UTC.
        pending: Commands that wait for an answer, in order of issue.
        issued: Commands issued by the last event, and since.
        withdrawn: Commands withdrawn since the engine last took them.
        outputs: Outputs since the engine last took them, as (id, output).
        outcome: How it ended, or None.
        error: What it raised, or None.
        account: The budget of the whole run, or None.
        shelf: What helpers made of effects keep for this run, by name; empty at the start and behind a savepoint with state.
    """

    def __init__(self, spec: WorkflowSpec, run: str) -> None:
        self.run = run
        self.spec = spec
        self.started: Started
        self.seq = 0
        self.clock: int = 0
        self.pending: dict[str, Command] = {}
        self.issued: list[Command] = []
        self.withdrawn: list[Command] = []
        self.outputs: list[tuple[str, Output]] = []
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.root: Fiber
        self.account: Account | None = None
        self.chance: Chance
        self.patches: frozenset[str] = frozenset()
        self.mail: dict[str, deque[bytes]] = {}
        self.listeners: dict[str, deque[Command]] = {}
        self.updates: dict[str, OnUpdate] = {}
        self.updated = 0
        self.beside: dict[Fiber, None] = {}
        self.root_frame: Any = None
        self.shelf: dict[str, Any] = {}
        self._ready: deque[tuple[Fiber, Any, BaseException | None]] = deque()
        self._closing: Outcome | None = None
        self._closed = False
        self._left = -1
        self._recent: tuple[Event | None, ...] = (None, None, None)

    # ---- feeding --------------------------------------------------------------------------------------------------------

    def feed(self, event: Event, budget: int | None = None) -> bool:
        """Take in the next event, and run until nothing more can be done without another.

        Args:
            event: The journal's next event.
            budget: How many immediate answers it may give before it rests, or None for no limit.

        Returns:
            Whether it has settled; if not, call ``advance``.

        Raises:
            NonDeterminismError: The code asks for something else than the event answers.
            JournalDamaged: The event is not the next one, or of an unknown kind.
            PayloadError: Recorded bytes do not fit today's type.
        """
        self.feed_all((event,), budget)
        return not self._ready

    def feed_all(self, journal: Iterable[Event], budget: int | None = None) -> None:  # noqa: PLR0912 - hot
        """Feed events one after the other, as far as the budget allows (``seq`` tells how far); raises what ``feed`` raises."""
        pending, ready, issued = self.pending, self._ready, self.issued
        self._settle()
        self._left = -1 if budget is None else budget
        one, two, three = self._recent
        try:
            for event in journal:
                seq, kind, identity, name, at, payload, check, _, _, _, _ = event
                if seq != self.seq + 1:
                    raise JournalDamaged(self.run, seq, f"after #{self.seq} comes #{self.seq + 1}")
                self.seq = seq
                if issued:
                    issued.clear()
                if at > self.clock:  # noqa: PLR1730 - hot: a call of max() costs as much as the rest of this paragraph
                    self.clock = at
                command = pending.get(identity)
                answer = None if command is None else command.effect.answers.get(kind)
                if (
                    command is not None
                    and answer is not None
                    and (effect := command.effect).name == name
                    and (not check or check == (effect.check() or check))
                ):
                    failed, decode = answer
                    value = decode(payload)
                    del pending[identity]
                    if kind == SAVEPOINT:
                        self._pass_savepoint(event)
                    fiber = command.fiber
                    fiber.waits = None
                    if command.cancelled:
                        self._run(fiber, None, fiber.cancel)
                    elif failed:
                        self._run(fiber, None, value)
                    else:
                        self._run(fiber, value, None)
                else:
                    self._take(event, kind)
                one, two, three = two, three, event
                if ready and not self._advance():
                    break
        except NonDeterminismError as report:
            report.before = tuple(str(past) for past in (one, two, three) if past is not None)
            raise
        finally:
            self._recent = (one, two, three)

    def _take(self, event: Event, kind: str) -> None:
        """Take in an event that answers no pending command."""
        take = _TAKE.get(kind)
        if take is None:
            raise JournalDamaged(self.run, event.seq, f"of unknown kind {kind!r}: upgrade replay-engine")
        if (self._closed or self.outcome is not None) and kind not in events.CLOSING:
            raise self._mismatch(event, None)
        take(self, event)

    def _settle(self) -> None:
        """The last event has all of its consequences before the next comes, or the order of fibers would hang on the budget."""
        if self._ready:
            self.advance()

    def advance(self, budget: int | None = None) -> bool:
        """Let every fiber run that can; whether none is left that can."""
        self._left = -1 if budget is None else budget
        return self._advance()

    def _advance(self) -> bool:
        ready = self._ready
        while ready and self._left:
            fiber, value, error = ready.popleft()
            self._run(fiber, value, error)
        return not ready

    def recover(self, started: Event, savepoint: Event, budget: int | None = None) -> None:
        """Begin at a savepoint with state instead of at the beginning; then feed what comes after it.

        Raises:
            JournalDamaged: The savepoint carries no state.
        """
        resume = Resume.decode(savepoint.payload) if savepoint.kind == SAVEPOINT else None
        if resume is None:
            raise JournalDamaged(self.run, savepoint.seq, "it is no savepoint with state")
        self._set_out(started)
        self.seq, self.clock = savepoint.seq, savepoint.at
        self.mail = {}
        for name, payload in resume.mail:
            self.mail.setdefault(name, deque()).append(payload)
        self.root = Fiber("", self.spec.begin(self.started.input, self.spec.decode_state(resume.state)))
        self.root.commands, self.root.outs = resume.next, resume.outs
        if self.account is not None:
            self.account.spent = resume.spent
        self.root.account = self.account
        self.updated = resume.updates
        self.patches = frozenset(resume.patches)
        self.chance.rebase(savepoint.seq)
        self._ready.append((self.root, None, None))
        self.advance(budget)

    def _set_out(self, event: Event) -> None:
        self.started = Started.decode(event, self.run)
        self.chance = Chance(self.started.seed or self.run)
        if self.started.budget is not None:
            self.account = Account(self.started.budget, spent=self.started.spent)
        patches = self.started.patches
        self.patches = self.spec.patches if patches is None else frozenset(patches)

    # ---- one method per kind of event that no command waits for ------------------------------------------------------------

    def _take_started(self, event: Event) -> None:
        self._set_out(event)
        for name, payload in self.started.mail:
            self.mail.setdefault(name, deque()).append(payload)
        self.root = Fiber("", self.spec.begin(self.started.input))
        self.root.account = self.account
        self._ready.append((self.root, None, None))

    def _pass_savepoint(self, event: Event) -> None:
        resume = Resume.decode(event.payload)
        if resume is not None:
            self.patches = frozenset(resume.patches)
            self.chance.rebase(event.seq)
            self.shelf.clear()

    def _take_attempt(self, event: Event) -> None:
        command = self._expect(event, events.STEP_FAILED)
        command.attempts += 1
        command.failure, command.failed_at = event.payload, event.at
        if isinstance(command.effect, Metered) and command.effect.charge is not None:
            command.effect.charge(command.effect.spent(event.payload))
        command.intent = False

    def _take_intent(self, event: Event) -> None:
        self._expect(event, events.STEP_COMPLETED).intent = True

    def _expect(self, event: Event, kind: str) -> Command:
        command = self.pending.get(event.command)
        if command is None or not determinism.agrees(command, event._replace(kind=kind)):
            raise self._mismatch(event, command)
        return command

    def _take_timer(self, event: Event) -> None:
        """A timer of a wait for a signal; that of a sleep is its answer."""
        command = self.pending.get(event.command)
        if command is None or not isinstance(command.effect, Signal) or command.due is None:
            raise self._mismatch(event, command)
        effect = command.effect
        if event.name != effect.name:
            raise self._mismatch(event, command)
        self._forget(command)
        value, error = effect.time_over()
        self.resume(command.fiber, value, error)

    def _take_signal(self, event: Event) -> None:
        waiting = self.listeners.get(event.name)
        if not waiting:
            self.mail.setdefault(event.name, deque()).append(event.payload)
            return
        command = waiting[0]
        self._forget(command)
        value, error = command.effect.read(event.payload)  # type: ignore[attr-defined]  # listeners hold signals only
        self.resume(command.fiber, value, error)

    def _take_update(self, event: Event) -> None:
        request = from_json(event.payload)
        handler = self.updates.get(event.name)
        if handler is None:
            raise self._mismatch(event, None)
        fiber = Fiber(f"u{self.updated}/", _updating(handler, to_json(request["value"])), _Reply(self, handler, request["id"]))
        self.updated += 1
        self.weave(fiber)
        self.run_beside(fiber)

    def _take_cancel(self, event: Event) -> None:
        reason = from_json(event.payload).get("reason", "cancelled") if event.payload else "cancelled"
        self.cancel_fiber(self.root, reason)

    def _take_closing(self, event: Event) -> None:
        outcome = self.outcome
        terminated = event.kind == events.FAILED and event.name == TERMINATED
        fits = outcome is not None and outcome.kind == event.kind
        if outcome is not None and event.kind in _REPRODUCIBLE:
            fits = fits and outcome.payload == event.payload
        if self._closed or not (terminated or fits):
            raise self._mismatch(event, None)
        self._closed = True
        self.pending.clear()

    def _take_stray(self, event: Event) -> None:
        """An answer that does not fit the command of its id, or that nobody waits for."""
        raise self._mismatch(event, self.pending.get(event.command))

    def _mismatch(self, event: Event, command: Command | None) -> Exception:
        report = determinism.mismatch(self.run, event, command, self.pending.values())
        if self.outcome is not None:
            report.asked = f"the workflow has ended: {self.outcome.kind} {_shown(self.outcome.payload)}"
            if event.kind in events.CLOSING:
                report.recorded += f" {_shown(event.payload)}"
        elif event.kind == events.UPDATE_RECEIVED:
            report.asked = f"handles no update {event.name!r}; known: {', '.join(self.updates) or 'none'}"
        return report

    @property
    def settled(self) -> bool:
        """Whether no fiber can run without another event."""
        return not self._ready

    # ---- what an engine asks before it feeds ------------------------------------------------------------------------------

    def expects(self, command: str, kind: str) -> bool:
        """Whether an answer of this kind to this command would be taken."""
        waiting = self.pending.get(command)
        return waiting is not None and kind in waiting.effect.answers

    def refuses_signal(self, name: str, payload: bytes) -> str:
        """Why a message does not fit the fiber that waits for it, or empty."""
        waiting = self.listeners.get(name)
        if not waiting:
            return ""
        _, error = waiting[0].effect.read(payload)  # type: ignore[attr-defined]  # listeners hold signals only
        return "" if error is None else str(error)

    def refuses_update(self, name: str, payload: bytes) -> str:
        """Why an update is refused, or empty: nothing handles it, its argument does not fit, or its validator raises."""
        handler = self.updates.get(name)
        if handler is None:
            return str(UnknownName("update", name, tuple(self.updates)))
        try:
            value = handler.decode(payload)
            if handler.validator is not None:
                handler.validator(value)
        except BaseException as error:  # noqa: BLE001 - border: the author's validator refuses by raising anything
            return f"{type(of_the_run(error)).__name__}: {Failure.of(error).message}"
        return ""

    def unread(self) -> Mail:
        """Signals that came and were not taken, per name oldest first."""
        return tuple((name, payload) for name, letters in self.mail.items() for payload in letters)

    def line_of(self, command: Command) -> str:
        """``file:line`` of the yield that issued a command."""
        return determinism.line_of(command.fiber)

    def close(self) -> None:
        """Evict: close every generator. What their ``finally`` blocks yield is refused, nothing of it is journaled."""
        for fiber in self._alive():
            if fiber.gen is not None:
                close_generator(fiber.gen)

    def _alive(self) -> Iterable[Fiber]:
        seen: list[Fiber] = [self.root, *self.beside] if hasattr(self, "root") else []
        while seen:
            fiber = seen.pop()
            if isinstance(fiber.waits, Scope):
                seen.extend(child for child in fiber.waits.fibers if not child.done)
            yield fiber

    # ---- running fibers -----------------------------------------------------------------------------------------------------

    def _run(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        """Let one fiber run until it waits, ends, or the budget is used up."""
        generator = fiber.gen
        if generator is None:
            if fiber.cancel is not None:  # never ran, never runs
                fiber.delivered = True
                self._ended(fiber, None, fiber.cancel)
                return
            try:
                generator = fiber.begin()
            except EffectError as refused:
                self._ended(fiber, None, refused)
                return
            if fiber is getattr(self, "root", None):
                self.root_frame = getattr(generator, "gi_frame", None)
        rows = ROWS
        while True:
            try:
                effect = generator.send(value) if error is None else generator.throw(error)
            except StopIteration as stop:
                self._ended(fiber, stop.value, None)
                return
            except BaseException as raised:  # noqa: BLE001 - border: the author's code may raise anything, SystemExit included
                self._ended(fiber, None, of_the_run(raised))
                return
            error = None
            row = rows.get(type(effect)) or handler_for(type(effect))
            try:
                value = row(self, fiber, effect)
            except (Exception, Cancelled) as refused:  # noqa: BLE001 - border: what an effect refuses is raised at its line
                value, error = None, refused
                continue
            if value is WAIT:
                if fiber.cancel is not None and not fiber.delivered and not fiber.done:
                    self._deliver(fiber)
                return
            self._left -= 1
            if not self._left:
                self._ready.appendleft((fiber, value, error))
                return

    def _ended(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        fiber.done, fiber.value, fiber.error, fiber.waits = True, value, error, None
        for joiner in fiber.joiners:
            self.resume(joiner, value, error)
        if fiber.scope is not None:
            fiber.scope.ended(fiber)
        self.beside.pop(fiber, None)
        if fiber is self.root:
            self.close_run(self._outcome(value, error))
        elif self._closing is not None:
            self._finish()

    def _outcome(self, value: Any, error: BaseException | None) -> Outcome:
        self.error = error
        if error is None:
            try:
                return Outcome(events.COMPLETED, self.spec.encode_result(value))
            except Exception as unfit:  # noqa: BLE001 - border: the author's types may raise anything when encoded
                error = unfit
        if isinstance(error, Cancelled):
            return Outcome(events.CANCELLED, cancelled_payload(error))
        return Outcome(events.FAILED, Failure.of(error, attempts=self.started.attempt).encode())

    def close_run(self, outcome: Outcome) -> None:
        """The root has ended: cancel what was spawned and still runs, then the run ends."""
        if self._closing is None:
            self._closing = outcome
        for fiber in list(self.beside):
            self._part(fiber)
        self._finish()

    def run_beside(self, fiber: Fiber) -> None:
        """Keep a fiber that no scope waits for; one that is made while the run ends shares its end."""
        self.beside[fiber] = None
        if self._closing is not None:
            self._part(fiber)

    def _part(self, fiber: Fiber) -> None:
        """The root has ended and this fiber has not: children go by their policy, all else is cancelled."""
        policy = _policy(fiber)
        if policy == "abandon":
            self._abandon(fiber)
        elif policy != "wait":
            self.cancel_fiber(fiber, "the run has ended")

    def _finish(self) -> None:
        if not self.beside:
            self.outcome = self._closing

    def _abandon(self, fiber: Fiber) -> None:
        """Let a child go on by itself: nobody waits for it any more."""
        command = fiber.waits
        if isinstance(command, Command):
            command.abandoned = True
            self.pending.pop(command.id, None)
        fiber.done, fiber.waits, fiber.error = True, None, Cancelled("the run has ended")
        for joiner in fiber.joiners:
            self.resume(joiner, None, fiber.error)
        self.beside.pop(fiber, None)

    # ---- what scopes and effects ask of the loom ------------------------------------------------------------------------------

    def weave(self, fiber: Fiber) -> None:
        """Put a new fiber at the end of the queue."""
        self._ready.append((fiber, None, None))

    def resume(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        """Put a waiting fiber at the end of the queue, with its answer."""
        fiber.waits = None
        self._ready.append((fiber, value, error))

    def cancel_fiber(self, fiber: Fiber, reason: str) -> None:
        """Cancel a fiber, once; it is thrown where it waits, or at its next wait."""
        if fiber.cancel is None and not fiber.done:
            fiber.cancel = Cancelled(reason)
            if fiber.waits is not None:
                self._deliver(fiber)

    def _deliver(self, fiber: Fiber) -> None:
        """Throw a cancellation where a fiber waits; where that is a scope, into its branches, outermost and first ones first."""
        stack = [fiber]
        while stack:
            fiber = stack.pop()
            waits = fiber.waits
            if not isinstance(waits, Scope):
                self._throw(fiber)
            elif not waits.shields:
                waits.closing = True
                reason = str(fiber.cancel)
                inner = [child for child in waits.fibers if not child.done and child.cancel is None]
                for child in inner:
                    child.cancel = Cancelled(reason)
                stack.extend(child for child in reversed(inner) if child.waits is not None)

    def _throw(self, fiber: Fiber) -> None:
        waits, cancel = fiber.waits, fiber.cancel
        if isinstance(waits, Command):
            if waits_to_end(waits):
                waits.cancelled = fiber.delivered = True
                self.withdrawn.append(waits)
                return
            self._forget(waits)
            self.withdrawn.append(waits)
        elif isinstance(waits, Fiber):
            waits.joiners.remove(fiber)
        fiber.delivered = True
        self.resume(fiber, None, cancel)

    def issue(self, fiber: Fiber, effect: Any, due: int | None = None) -> object:
        """Ask the world; ``fiber.waits`` is the command."""
        number = fiber.commands
        fiber.commands = number + 1
        identity = f"{fiber.path}{number}"
        command = Command(identity, effect, fiber, self.clock)
        if due is not None:
            command.due = due
        self.pending[identity] = command
        self.issued.append(command)
        fiber.waits = command
        return WAIT

    def _forget(self, command: Command) -> None:
        """Nobody waits for this answer any more."""
        self.pending.pop(command.id, None)
        if isinstance(command.effect, Signal):
            waiting = self.listeners[command.effect.name]
            waiting.remove(command)
            if not waiting:
                del self.listeners[command.effect.name]


class _Reply(Scope):
    """Waits for the fiber that handles an update, and says its reply."""

    __slots__ = ("handler", "interpreter", "message")

    def __init__(self, interpreter: Interpreter, handler: OnUpdate, message: str) -> None:
        super().__init__(interpreter, interpreter.root)
        self.interpreter = interpreter
        self.handler = handler
        self.message = message

    def ended(self, fiber: Fiber) -> None:
        label, payload = "ok", b""
        error = fiber.error
        if error is None:
            try:
                payload = self.handler.encode(fiber.value)
            except Exception as unfit:  # noqa: BLE001 - border: a reply that cannot be encoded is a failed update
                error = unfit
        if error is not None:
            label, payload = "error", Failure.of(error).encode()
        reply = Output("reply", self.message, label, payload)
        self.interpreter.outputs.append((f"{fiber.path}reply", reply))


def of_the_run(error: BaseException) -> BaseException:
    """What ends a fiber; Ctrl-C comes in wherever the code happens to be, and is meant for the process."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


def _updating(handler: OnUpdate, payload: bytes) -> Generator[Any, Any, Any]:
    result = handler.handler(handler.decode(payload))
    if isinstance(result, Generator):
        result = yield from result
    return result


def _policy(fiber: Fiber) -> str:
    """What becomes of a fiber when the root has ended: only a fiber that is a child and nothing else has a say in it."""
    waits = fiber.waits
    if waits.__class__ is Command and isinstance(fiber.branch, Call):  # whose one command it is
        return fiber.branch.options_.on_parent_close
    return "cancel"


def _shown(payload: bytes, limit: int = 120) -> str:
    text = payload.decode("utf-8", "replace")
    return text if len(text) <= limit else f"{text[:limit]}…"


_TAKE: Final[Mapping[str, Callable[[Interpreter, Event], None]]] = {
    events.STARTED: Interpreter._take_started,
    events.STEP_ATTEMPT_FAILED: Interpreter._take_attempt,
    events.STEP_INTENT: Interpreter._take_intent,
    events.TIMER_FIRED: Interpreter._take_timer,
    events.SIGNAL_RECEIVED: Interpreter._take_signal,
    events.UPDATE_RECEIVED: Interpreter._take_update,
    events.CANCEL_REQUESTED: Interpreter._take_cancel,
    **dict.fromkeys(events.CLOSING, Interpreter._take_closing),
    **dict.fromkeys(
        (events.STEP_COMPLETED, events.STEP_FAILED, events.CHILD_COMPLETED, events.CHILD_FAILED, events.SAVEPOINT),
        Interpreter._take_stray,
    ),
}
ROWS[Step] = Interpreter.issue  # nothing stands between a step and being asked
