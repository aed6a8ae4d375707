"""Every error of replay: one root, three families by who must act, facts as attributes.

Rule 1: the family says who must act. ``WorkflowError``: the author of the workflow or step. ``StoreError``: the operator of a
store. ``RequestError``: the caller of a client.
Rule 2: an error holds facts; ``str()`` makes the sentence: what was expected, what came, where, and what to do.
Rule 3: fields are positional and ``args`` holds them, so that every error survives a trip between processes; an exception shows them
by itself, so attrs makes no ``repr``, which would be the half of what this module costs every program at its start.

``Cancelled`` alone is no ``Exception``: like ``asyncio.CancelledError`` it must pass through an ``except Exception`` that was
meant for failures, or a retry loop would swallow the wish to stop.
"""

from __future__ import annotations

from typing import Any

import attrs


class ReplayError(Exception):
    """The root of every error that replay raises, but ``Cancelled``."""


class WorkflowError(ReplayError):
    """The author must act: a workflow or a step did what cannot be made durable, or an effect failed."""


class StoreError(ReplayError):
    """The operator must act: a store is missing, damaged, locked, full, or of another version."""


class RequestError(ReplayError):
    """The caller must act: a client asked for something that does not exist or does not fit."""


# ---- author: what an effect can answer with -----------------------------------------------------------------------------


class Cancelled(BaseException):
    """Raised at the current yield of a fiber that is cancelled; clean up, then let it pass.

    Attributes:
        reason: Why, in the words of whoever cancelled.
    """

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define(repr=False)
class StepFailed(WorkflowError):
    """A step gave up: its last attempt failed and its retry policy allows no other.

    Attributes:
        step: The step's name.
        error_type: Qualified name of the exception's class, as text; it is never imported.
        message: The exception's message, cut to a bounded size.
        attempts: How many attempts were made.
        traceback: The last attempt's traceback, for people; never compared.
    """

    step: str
    error_type: str
    message: str
    attempts: int = 1
    traceback: str = ""

    def __str__(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"step {self.step} failed {times}: {self.error_type}: {self.message}"


@attrs.define(repr=False)
class StepInterrupted(WorkflowError):
    """An ``at_most_once`` step was begun and its end is unknown: it is not run again; find out what it did."""

    step: str

    def __str__(self) -> str:
        return (
            f"step {self.step} was begun, then its worker died before the answer was recorded; as it is at_most_once it is "
            "not run again: ask the outside world what happened, then go on or compensate"
        )


@attrs.define(repr=False)
class TimedOut(WorkflowError):
    """A wait, a step, a branch or a run took longer than it was allowed to.

    Attributes:
        what: What was waited for.
        seconds: The time that was allowed.
    """

    what: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.what} did not end within {self.seconds:g} s"


@attrs.define(repr=False)
class ChildFailed(WorkflowError):
    """A child run ended without a result.

    Attributes:
        run: The child's id.
        workflow: The child's workflow.
        error_type: Qualified name of the exception's class.
        message: Its message.
        status: ``failed``, ``cancelled`` or ``terminated``.
    """

    run: str
    workflow: str
    error_type: str
    message: str
    status: str = "failed"

    def __str__(self) -> str:
        return f"child {self.run} ({self.workflow}) {self.status}: {self.error_type}: {self.message}"


@attrs.define(repr=False)
class CallbackFailed(WorkflowError):
    """The outside system answered a callback with a failure."""

    token: str
    message: str

    def __str__(self) -> str:
        return f"callback {self.token} was answered with a failure: {self.message}"


@attrs.define(repr=False)
class BudgetExceeded(WorkflowError):
    """A budget does not allow the next call.

    Attributes:
        kind: ``usd``, ``tokens``, ``calls`` or ``seconds``.
        limit: What the scope allows.
        spent: What has been spent or reserved.
    """

    kind: str
    limit: float
    spent: float

    def __str__(self) -> str:
        return f"budget exceeded: {self.spent:g} of {self.limit:g} {self.kind} are spent or reserved"


@attrs.define(repr=False)
class ProviderFailed(WorkflowError):
    """A provider of language models refused a call; asking again would not help.

    Attributes:
        provider: Its name.
        model: The model that was asked.
        reason: What it said, without any key.
        status: The HTTP status, or 0 where there was none.
    """

    provider: str
    model: str
    reason: str
    status: int = 0

    def __str__(self) -> str:
        status = f" ({self.status})" if self.status else ""
        return f"{self.provider}/{self.model}{status}: {self.reason}"


@attrs.define(repr=False)
class ProviderBusy(ProviderFailed):
    """A provider of language models did not answer, answered nonsense, or asked for patience: the call may be tried again.

    Attributes:
        retry_after: Seconds that the provider asks to wait, or None; a retry waits at least as long.
    """

    retry_after: float | None = None

    def __str__(self) -> str:
        wait = "" if self.retry_after is None else f"; it asks to wait {self.retry_after:g} s"
        return super().__str__() + wait


@attrs.define(repr=False)
class ReplyInvalid(WorkflowError):
    """A model's reply did not fit ``response_type``, and its one repair did not either.

    Attributes:
        model: The model.
        expected: The type, as text.
        problem: What does not fit.
        text: The reply, cut to a bounded size.
    """

    model: str
    expected: str
    problem: str
    text: str

    def __str__(self) -> str:
        return f"{self.model} was asked for {self.expected} and broke it twice: {self.problem}; it said {self.text!r}"


# ---- author: misuse -----------------------------------------------------------------------------------------------------


@attrs.define(repr=False)
class DefinitionError(WorkflowError):
    """A workflow or step is declared in a way that cannot work.

    Attributes:
        what: The function or declaration.
        problem: What is wrong with it.
        advice: What to write instead.
    """

    what: str
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}; {self.advice}"


@attrs.define(repr=False)
class EffectError(WorkflowError):
    """A workflow yielded something that is no effect, or an effect where it may not stand.

    Attributes:
        got: What was yielded.
        advice: What to write instead.
    """

    got: str
    advice: str

    def __str__(self) -> str:
        return f"{self.got}; {self.advice}"


@attrs.define(repr=False)
class PayloadError(WorkflowError):
    """A value cannot be encoded, or does not fit its annotation.

    Attributes:
        where: Which argument, result, signal or field, such as ``argument 'card' of step charge``.
        expected: The annotation, as text.
        got: What came, as text, cut to a bounded size.
        path: Place inside the value, such as ``$.items[3].price``.
    """

    where: str
    expected: str
    got: str
    path: str = "$"

    def __str__(self) -> str:
        place = "" if self.path == "$" else f" at {self.path}"
        return f"{self.where}{place}: expected {self.expected}, got {self.got}"


@attrs.define(repr=False)
class PayloadTooLarge(WorkflowError):
    """An encoded value is larger than a journal may hold; put it into a file or a bucket and pass its name.

    Attributes:
        where: Which argument, result or signal.
        size: Its size, in bytes.
        limit: The largest size allowed, in bytes.
    """

    where: str
    size: int
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.size:,} bytes encoded, {self.limit:,} are allowed; "
            "store the data elsewhere and pass a reference, or raise max_payload of the engine and its clients"
        )


@attrs.define(repr=False)
class NonDeterminismError(WorkflowError):
    """The code, driven over its journal, asks for something else than it did when the journal was written.

    The run stays where it is and loses nothing: deploy code that fits, guard the change with ``patched``, or fork the run.

    Attributes:
        run: The run's id.
        seq: Number of the event that does not fit.
        recorded: The recorded event, as text.
        asked: What today's code asks for instead, as text.
        recorded_line: ``file:line`` of the yield when the event was recorded, or empty.
        asked_line: ``file:line`` of today's yield, or empty.
        before: The last events before it, as text, oldest first.
    """

    run: str
    seq: int
    recorded: str
    asked: str
    recorded_line: str = ""
    asked_line: str = ""
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        def at(line: str) -> str:
            return f"   ({line})" if line else ""

        lines = [
            f"run {self.run} does not fit its journal at event #{self.seq}",
            f"  recorded:  {self.recorded}{at(self.recorded_line)}",
            f"  now asks:  {self.asked}{at(self.asked_line)}",
        ]
        lines += [f"  before it: {text}" for text in self.before]
        lines.append(
            "  what to do: restore the old order of effects, guard the new code with `if (yield from patched(name))`, "
            "or fork the run before this event"
        )
        return "\n".join(lines)


# ---- operator -----------------------------------------------------------------------------------------------------------


@attrs.define(repr=False)
class UnknownScheme(StoreError):
    """No installed plugin serves this kind of store URL."""

    scheme: str
    installed: tuple[str, ...]
    package: str = ""

    def __str__(self) -> str:
        hint = f"; install {self.package}" if self.package else ""
        if "/" in self.scheme or "." in self.scheme:
            hint = f"; a file is named by a URL, such as sqlite:///{self.scheme}"
        return f"no store for {self.scheme!r}; installed: {', '.join(self.installed) or 'none'}{hint}"


@attrs.define(repr=False)
class StoreUnavailable(StoreError):
    """A store cannot be opened or reached, is locked by someone else, or has no room; nothing was written.

    Attributes:
        store: The store's URL without its password.
        reason: What the store said.
        advice: What to do.
    """

    store: str
    reason: str
    advice: str = "try again, or check that it exists and may be written"

    def __str__(self) -> str:
        return f"store {self.store}: {self.reason}; {self.advice}"


@attrs.define(repr=False)
class StoreRefused(StoreError):
    """A store was reached and does not do this: a missing right, a message too large, another protocol; nothing was written.

    Asking again does not help.

    Attributes:
        store: The store's URL without its password.
        reason: What the store said.
        advice: What to do.
    """

    store: str
    reason: str
    advice: str = "look at the server's log"

    def __str__(self) -> str:
        return f"store {self.store} refused: {self.reason}; {self.advice}"


@attrs.define(repr=False)
class SchemaMismatch(StoreError):
    """A store's schema is of another version than this code understands."""

    store: str
    found: int
    supported: int

    def __str__(self) -> str:
        newer = self.found > self.supported
        advice = "upgrade replay-engine" if newer else "run `replay store migrate`"
        return f"store {self.store} has schema version {self.found}, this code knows {self.supported}: {advice}"


@attrs.define(repr=False)
class JournalDamaged(StoreError):
    """A journal cannot be trusted: a gap, a checksum that does not fit, an event of an unknown kind or version.

    Attributes:
        run: The run's id.
        seq: Number of the event.
        problem: What is wrong with it.
    """

    run: str
    seq: int
    problem: str

    def __str__(self) -> str:
        return (
            f"journal of {self.run} is damaged at event #{self.seq}: {self.problem}; it is not replayed: "
            "restore it from a backup, or fork the run before this event"
        )


@attrs.define(repr=False)
class LeaseLost(StoreError):
    """Another worker holds this run: drop the turn, keep nothing.

    Attributes:
        run: The run's id.
        fence: The fencing token that the late writer held.
    """

    run: str
    fence: int

    def __str__(self) -> str:
        return f"the lease on {self.run} with fence {self.fence} has moved on"


@attrs.define(repr=False)
class RunSetAside(StoreError):
    """A run lost too many workers in a row: nobody drives it until it is resumed.

    Attributes:
        run: The run's id.
        recoveries: How many workers died while they held it, in a row.
        reason: Since when, and what was under way.
    """

    run: str
    recoveries: int
    reason: str

    def __str__(self) -> str:
        return f"{self.run} is {self.reason}"


# ---- caller -------------------------------------------------------------------------------------------------------------


@attrs.define(repr=False)
class UnknownRun(RequestError):
    """There is no run of that id in that namespace."""

    run: str
    namespace: str = "default"

    def __str__(self) -> str:
        return f"no run {self.run!r} in namespace {self.namespace!r}; `replay list` shows what there is"


@attrs.define(repr=False)
class UnknownName(RequestError):
    """A workflow, savepoint, query, update, event or token of that name is not known here.

    Attributes:
        what: What kind of thing, such as ``workflow``.
        name: The name asked for.
        known: The names that are known.
    """

    what: str
    name: str
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"no {self.what} {self.name!r}; known: {', '.join(self.known) or 'none'}"


@attrs.define(repr=False)
class RunExists(RequestError):
    """The id is taken by a run of another workflow or with other input.

    Attributes:
        run: The id.
        existing: Workflow and digest of the run that has it.
        asked: Workflow and digest of the run that was to be started.
    """

    run: str
    existing: str
    asked: str

    def __str__(self) -> str:
        return (
            f"run {self.run!r} exists as {self.existing}, asked was {self.asked}: starting is idempotent only for the same "
            "workflow and input; choose another id"
        )


@attrs.define(repr=False)
class RunClosed(RequestError):
    """The run has ended and takes no more messages."""

    run: str
    status: str

    def __str__(self) -> str:
        return f"run {self.run!r} is {self.status} and takes no more messages"


@attrs.define(repr=False)
class RunFailed(RequestError):
    """A run has no result: it failed, was cancelled or terminated, or is stuck.

    Attributes:
        run: The run's id.
        status: How it ended.
        error_type: Qualified name of the exception's class.
        message: Its message.
        traceback: For people.
    """

    run: str
    status: str
    error_type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"run {self.run} {self.status}: {self.error_type}: {self.message}"


@attrs.define(repr=False)
class UpdateRefused(RequestError):
    """The workflow's validator refused an update, or nothing handles it; the journal holds no trace of it."""

    run: str
    update: str
    reason: str

    def __str__(self) -> str:
        return f"run {self.run} refused update {self.update!r}: {self.reason}"


@attrs.define(repr=False)
class AskClosed(RequestError):
    """A question is not open: it was answered, given up or withdrawn, or never asked.

    Attributes:
        run: The run's id, or empty where it is known anyway.
        ask: The question's id.
        open: Ids of the questions that are open.
    """

    run: str
    ask: str
    open: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" of run {self.run}" if self.run else ""
        known = ", ".join(self.open) or "none"
        return f"question {self.ask!r}{where} is closed: it was answered, given up or withdrawn, or never asked; open: {known}"


@attrs.define(repr=False)
class AnswerRefused(RequestError):
    """An answer does not fit its question, which stays open; the journal holds no trace of it.

    Attributes:
        run: The run's id.
        ask: The question's id.
        reason: What does not fit.
    """

    run: str
    ask: str
    reason: str

    def __str__(self) -> str:
        return f"question {self.ask!r} of run {self.run} stays open, the answer was refused: {self.reason}"


@attrs.define(repr=False)
class InvalidRequest(RequestError):
    """An argument of a client's call does not fit.

    Attributes:
        what: Which argument.
        problem: What is wrong with it.
        advice: What to pass instead.
    """

    what: str
    problem: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}" + (f"; {self.advice}" if self.advice else "")


@attrs.define(repr=False)
class WaitTimedOut(RequestError):
    """The caller's patience ended before the run did; the run goes on.

    Attributes:
        run: The run's id.
        seconds: How long was waited.
        status: The run's status now.
    """

    run: str
    seconds: float
    status: str

    def __str__(self) -> str:
        return f"run {self.run} is still {self.status} after {self.seconds:g} s; it goes on, ask again later"


def describe(value: Any, limit: int = 200) -> str:
    """Show a value in an error: its type and a bounded repr; a repr that raises is named, not raised."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - border: a foreign __repr__ may raise anything
        text = f"<unprintable, repr raised {type(error).__name__}>"
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text):,} characters)"
    return f"{type(value).__name__} {text}"
