"""Where steps are rehearsed: stubs by name, calls remembered, bodies begun when the world says so.

Rule 1: stubs live outside of workflow code. A stub takes the place of a step's body; its answer is checked, encoded, retried and
journaled as the body's would be.
Rule 2: nothing runs inside a worker's round. A body is a job in a queue, with the virtual moment at which it may run; what runs it
is the world, in order, so the same world does the same again.
Rule 3: an attempt is remembered when its body begins: who asked, with which arguments, which attempt.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple

import attrs

from replay.authoring.definitions import StepFunction
from replay.authoring.step_context import CURRENT, StepInfo
from replay.engine.debounce import Named
from replay.engine.live import Live
from replay.engine.offers import Offers
from replay.engine.pool import Job
from replay.engine.remote import STEP_RUN, StepRun
from replay.engine.steps import Attempt, Done
from replay.errors import Cancelled
from replay.interpreter.fibers import Command
from replay.interpreter.issue import position
from replay.model.effects import Step, WorkflowSpec
from replay.model.llm import LLMCall, LLMSpec
from replay.model.names import SECOND
from replay.testing.problems import NoAnswer

NEVER: Final = 1 << 62
"""A moment that does not come."""


@attrs.frozen
class StepCall:
    """One attempt of a step, as its body saw it.

    Attributes:
        run: The run that asked.
        command: The command's id.
        step: The step's name.
        attempt: 1, 2, …
        args: Positional arguments.
        kwargs: Keyword arguments.
        key: The idempotency key.
        at: When it began, microseconds by the world's clock.
        worker: The worker whose attempt it was.
    """

    run: str
    command: str
    step: str
    attempt: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    key: str
    at: int
    worker: str


@attrs.frozen
class Takes:
    """A stub's answer that comes after a while; ``Takes(float("inf"))`` never comes.

    Attributes:
        seconds: Virtual seconds from the attempt's beginning.
        answer: What a stub may answer.
    """

    seconds: float
    answer: Any = None


class Stub:
    """What stands in for a step's body.

    Args:
        step: The step's name.
        answer: A value; an exception (instance or class), which is raised; a function, which is called with the step's
            arguments; a list of such answers, one for each call; or one of these in ``Takes``.
    """

    def __init__(self, step: str, answer: Any) -> None:
        self.step = step
        self._length = len(answer) if isinstance(answer, list) else 0
        self._answers = deque(answer) if isinstance(answer, list) else None
        self._answer = answer

    def next(self) -> tuple[float, Any]:
        """Seconds until the answer, and the answer.

        Raises:
            NoAnswer: The list has been used up.
        """
        if self._answers is None:
            answer = self._answer
        elif self._answers:
            answer = self._answers.popleft()
        else:
            raise NoAnswer(self.step, self._length)
        return (answer.seconds, answer.answer) if isinstance(answer, Takes) else (0.0, answer)


def give(answer: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
    """A stub's answer to a call.

    Raises:
        BaseException: The one that the stub was given, or that its function raises.
    """
    if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
        raise answer
    if not callable(answer):
        return answer
    value = answer(*args, **kwargs)
    return complete(value) if inspect.iscoroutine(value) else value


def complete(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, also where a loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(_outcome(coroutine)), name="replay-stage")
    thread.start()
    thread.join()
    value, error = box[0]
    if error is not None:
        raise error
    return value


def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    try:
        return asyncio.run(coroutine), None
    except BaseException as error:  # noqa: BLE001 - border: carried to the thread that waits
        return None, error


class Hands:
    """One worker's executor: jobs with the moment at which they may run."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._jobs: list[tuple[int, int, Job]] = []
        self._count = 0
        self._held_until = 0

    def submit(self, job: Job) -> None:
        """Run a job as soon as the world comes to it."""
        self.submit_at(self._now(), job)

    def submit_at(self, moment: int, job: Job) -> None:
        """Run a job at a moment."""
        self._count += 1
        heapq.heappush(self._jobs, (max(moment, self._held_until), self._count, job))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Run a coroutine to its end as soon as the world comes to it; one that is cancelled runs, and sees it before it begins."""
        self.submit(_Coroutine(coroutine))
        return lambda: None

    def hold(self, until: int) -> None:
        """Begin nothing before a moment."""
        self._held_until = until
        self._jobs = [(max(moment, until), count, job) for moment, count, job in self._jobs]
        heapq.heapify(self._jobs)

    def next(self) -> int | None:
        """When the next job may run, or None."""
        return self._jobs[0][0] if self._jobs and self._jobs[0][0] < NEVER else None

    def run_due(self, limit: int = 1_000_000) -> bool:
        """Run the jobs whose moment has come, whatever they ask for next excepted; whether there was one."""
        now = self._now()
        due: list[Job] = []
        while self._jobs and self._jobs[0][0] <= now and len(due) < limit:
            due.append(heapq.heappop(self._jobs)[2])
        for job in due:
            job()
        return bool(due)

    def close(self) -> None:
        """Forget all jobs, as a process that dies does."""
        jobs, self._jobs = self._jobs, []
        for _, _, job in jobs:
            if isinstance(job, _Coroutine):
                job.coroutine.close()


@attrs.frozen
class _Coroutine:
    """A job that runs a coroutine."""

    coroutine: Coroutine[Any, Any, None]

    def __call__(self) -> None:
        complete(self.coroutine)


Place = tuple[str, int, str, bytes]
"""What names an attempt in every world: the command's position, the attempt's number, the step's name, the encoded arguments."""


class Outcome(NamedTuple):
    """How an attempt ended: payload, or error, after so many seconds."""

    payload: bytes
    error: BaseException | None
    seconds: float


@attrs.define
class Stage:
    """What all workers of a world share about steps.

    Attributes:
        now: The world's clock.
        stubs: By step's name.
        calls: Every attempt whose body began, oldest first.
        executions: How many bodies were begun, by (run, command).
        outcomes: How attempts ended.
        recorded: Outcomes of another world: what is there is answered without running body or stub.
        problems: What went wrong with stubs; the world raises it.
        audit: Told of every attempt when its body begins.
        specs: Workflows and steps that were asked for, by their names in a store.
    """

    now: Callable[[], int]
    stubs: dict[str, Stub] = attrs.field(factory=dict)
    calls: list[StepCall] = attrs.field(factory=list)
    executions: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    outcomes: dict[Place, Outcome] = attrs.field(factory=dict)
    recorded: Mapping[Place, Outcome] = attrs.field(factory=dict)
    problems: list[Exception] = attrs.field(factory=list)
    audit: Callable[[Rehearsal], None] | None = None
    specs: dict[tuple[str, str], WorkflowSpec] = attrs.field(factory=dict)

    def offer(self, spec: Any) -> None:
        """Have workers offer what is only known where it was written, such as a workflow inside a test function."""
        if isinstance(spec, StepFunction):
            self.specs.setdefault((STEP_RUN + spec.name, ""), StepRun(spec))
        elif not isinstance(spec, LLMSpec | Named):  # which no worker has to know by name
            self.specs.setdefault((spec.name, spec.version), spec)

    def began(self, attempt: Rehearsal) -> None:
        """An attempt's body begins."""
        info = attempt.info
        args, kwargs = arguments_of(attempt.effect)
        self.executions[info.run_id, info.command] += 1
        self.calls.append(
            StepCall(
                info.run_id,
                info.command,
                info.step,
                info.attempt,
                tuple(args),
                kwargs,
                info.idempotency_key,
                self.now(),
                attempt.live.lease.worker,
            )
        )
        if self.audit is not None:
            self.audit(attempt)


class Rehearsal(Attempt):
    """An attempt whose body is the step's own, its stub, or what a recording says."""

    __slots__ = ("answer", "hands", "place", "replies", "seconds", "stage", "stubbed")

    def __init__(
        self, stage: Stage, live: Live, command: Command, info: StepInfo, now: Callable[[], int], report: Callable[[Done], None]
    ) -> None:
        super().__init__(live, command, info, now, self._told)
        self.stage = stage
        self.replies = report
        effect = self.effect
        self.place: Place = (position(live.interp, command.id, "#"), info.attempt, effect.name, effect.payload)
        self.stubbed = False
        self.seconds = 0.0
        self.answer: Any = None
        self.hands: Hands

    def begin(self, executor: Any) -> None:
        """Queue it; a stub's answer, and a recorded one, is called for like a plain function's."""
        self.hands = executor
        stub = self.stage.stubs.get(self.effect.name)
        recorded = self.stage.recorded.get(self.place)
        if recorded is None and stub is None:
            super().begin(executor)
            return
        if recorded is not None:
            self.seconds = recorded.seconds
        elif stub is not None:
            self._choose(stub)
        executor.submit(self.run)

    def _choose(self, stub: Stub) -> None:
        self.stubbed = True
        try:
            self.seconds, self.answer = stub.next()
        except NoAnswer as error:
            self.stage.problems.append(error)
            self.answer = error

    def run(self) -> None:
        """Answer at once, or when the seconds of the recording or stub are over."""
        if not self.seconds:
            super().run()
            return
        try:
            self._start()
        except Cancelled as error:
            self.report(Done(self, b"", error, 0))
            return
        moment = NEVER if self.seconds == float("inf") else self.stage.now() + round(self.seconds * SECOND)
        self.hands.submit_at(moment, self._finish)

    def _finish(self) -> None:
        """What a stub that takes its time answers at last."""
        payload: bytes = b""
        error: BaseException | None = None
        try:
            payload = self.call()
        except BaseException as raised:  # noqa: BLE001 - border: a stub may raise anything, as a step may
            error = raised
        self.report(Done(self, payload, error, round(self.seconds * SECOND)))

    def call(self, **extra: Any) -> bytes:
        """The encoded result of recording, stub or body."""
        if self.began is None:  # inside a transaction there is no queue
            self._start()
            stub = self.stage.stubs.get(self.effect.name)
            if stub is not None:
                self._choose(stub)  # which takes no time there
        recorded = self.stage.recorded.get(self.place)
        if recorded is not None:
            if recorded.error is not None:
                raise recorded.error.with_traceback(None)
            return recorded.payload
        if not self.stubbed:
            return super().call(**extra)
        args, kwargs = arguments_of(self.effect)
        token = CURRENT.set(self.info)
        try:
            return self.effect.spec.encode_result(give(self.answer, args, {**kwargs, **extra}))
        finally:
            CURRENT.reset(token)

    def _start(self) -> int:
        started = super()._start()
        self.stage.began(self)
        return started

    def _told(self, done: Done) -> None:
        self.stage.outcomes[self.place] = Outcome(done.payload, done.error, self.seconds)
        self.replies(done)


def arguments_of(effect: Step[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a step's function is called with; of a call of a model, its request."""
    if isinstance(effect, LLMCall):
        return (effect.request,), {}
    spec = effect.spec
    return spec.arguments.decode(effect.payload) if isinstance(spec, StepFunction) else ((), {})


class StagedOffers(Offers):
    """What a worker offers, and what only the world knows, such as a workflow inside a test function."""

    def __init__(self, workflows: Mapping[tuple[str, str], WorkflowSpec] | None, stage: Stage) -> None:
        super().__init__(workflows)
        self.stage = stage

    def names(self) -> list[str]:
        """What to ask a store for."""
        return sorted({*super().names(), *(name for name, _ in self.stage.specs)})

    def find(self, name: str, version: str) -> WorkflowSpec | None:
        """What drives a run."""
        self._met.update(self.stage.specs)
        return super().find(name, version) or self.stage.specs.get((name, ""))
