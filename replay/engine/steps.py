"""One attempt of one step: call the author's function, or have a performer do it, and bring a fact back, whatever happens.

This is one of the two borders where anything may be raised: it becomes a failure, bounded and plain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from replay.authoring.definitions import StepFunction
from replay.authoring.performing import Performer, Scene
from replay.authoring.step_context import CURRENT, StepInfo
from replay.engine.attempts import Pulse
from replay.engine.pool import Executor
from replay.errors import Cancelled, TimedOut
from replay.interpreter.fibers import Command
from replay.model.effects import Step


class Done:
    """What became of an attempt: ``payload`` of the result, or ``error``."""

    __slots__ = ("attempt", "duration", "error", "payload")

    def __init__(self, attempt: Attempt, payload: bytes, error: BaseException | None, duration: int) -> None:
        self.attempt = attempt
        self.payload = payload
        self.error = error
        self.duration = duration


class Attempt:
    """One attempt that is under way.

    Attributes:
        live: The run that asked; opaque here.
        command: The command.
        info: What the step's body sees.
        now: The engine's clock, microseconds.
        began: When its body began, by that clock; None while it waits for a thread.
        alarm: Number of the alarm that tells when it has taken too long, or 0.
        stop: Cancels a coroutine; None for a thread.
        pulse: Its heartbeats, or None before the first.
        performer: Does it, in the scene, where the effect is no function of the author's; or None.
    """

    __slots__ = ("alarm", "began", "command", "effect", "info", "live", "now", "performer", "pulse", "report", "scene", "stop")

    def __init__(self, live: Any, command: Command, info: StepInfo, now: Callable[[], int], report: Callable[[Any], None]) -> None:
        self.live = live
        self.command = command
        self.effect: Step[Any] = command.effect  # type: ignore[assignment]  # attempts are made of steps
        self.info = info
        self.now = now
        self.began: int | None = None
        self.alarm = 0
        self.report = report
        self.stop: Callable[[], None] | None = None
        self.pulse: Pulse | None = None
        self.performer: Performer | None = None
        self.scene: Scene | None = None
        info._beat = self._beat  # noqa: SLF001 - the engine's end of it

    def _beat(self) -> None:
        """The first heartbeat; most steps have none."""
        self.pulse = pulse = Pulse(self, self.live.progress.get(self.command.id, b""), self.now, self.report)
        self.info._beat = pulse.beat  # noqa: SLF001 - the same
        pulse.beat()

    def begin(self, executor: Executor) -> None:
        """Have it done: a coroutine function, or by a performer, on the loop; a plain one in a thread."""
        spec = self.effect.spec
        if self.performer is not None or (isinstance(spec, StepFunction) and spec.is_async):
            self.stop = executor.spawn(self._run_async())
        else:
            executor.submit(self.run)

    def warn(self) -> None:
        """Its end is awaited, its answer is not: the step may look at ``step_info().cancelled`` and hurry."""
        self.info.cancelled = True

    def call(self, **extra: Any) -> bytes:
        """Call the author's function here and now; the encoded result.

        Raises:
            Exception: Whatever the step raises.
        """
        token = CURRENT.set(self.info)
        try:
            spec = self.effect.spec
            return spec.encode_result(spec.invoke(self.effect.payload, **extra))
        finally:
            CURRENT.reset(token)

    async def _perform(self) -> bytes:
        """The encoded result of coroutine function or performer."""
        spec = self.effect.spec
        if self.performer is None or self.scene is None:
            return spec.encode_result(await spec.invoke(self.effect.payload))
        return await self.performer(self.effect, self.scene)

    def abandon(self) -> None:
        """Nobody wants the answer: a coroutine is cancelled, a thread's step sees it in ``step_info()``."""
        self.info.cancelled = True
        if self.stop is not None:
            self.stop()

    def _start(self) -> int:
        """Its body begins now, unless it was withdrawn while it waited for its turn.

        Raises:
            Cancelled: It was.
        """
        self.began = self.now()
        if self.info.cancelled:
            raise Cancelled("withdrawn before it began")
        return time.perf_counter_ns()

    def run(self) -> None:
        """Do it here, to the end, and report."""
        began = time.perf_counter_ns()
        payload: bytes = b""
        error: BaseException | None = None
        try:
            began = self._start()
            payload = self.call()
        except BaseException as raised:  # noqa: BLE001 - border: a step may raise anything, SystemExit included; it becomes a fact
            error = raised
        self.report(Done(self, payload, error, (time.perf_counter_ns() - began) // 1000))

    async def _run_async(self) -> None:
        began = time.perf_counter_ns()
        payload: bytes = b""
        error: BaseException | None = None
        CURRENT.set(self.info)  # a task has a context of its own
        seconds = self.effect.options_.timeout
        limit = asyncio.timeout(seconds)
        try:
            began = self._start()
            async with limit:
                payload = await self._perform()
        except TimeoutError as raised:
            late = seconds is not None and limit.expired()
            error = TimedOut(f"step {self.effect.name}", seconds or 0) if late else raised
        except BaseException as raised:  # noqa: BLE001 - border: a step may raise anything; it becomes a fact
            error = raised
        self.report(Done(self, payload, error, (time.perf_counter_ns() - began) // 1000))
