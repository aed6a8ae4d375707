"""What a step may know of itself while it runs, and what it may tell."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from replay.errors import Cancelled, InvalidRequest

KEEP: Final[Any] = object()
"""Stands for no progress given: what was told last stays."""


class StepInfo:
    """One attempt of one step, as the step sees it.

    Attributes:
        run_id: The run that asked.
        workflow: Its workflow.
        step: The step's name.
        command: The command's id.
        attempt: 1, 2, …
        idempotency_key: The same over retries, crashes and replays: hand it to the outside world, so that twice is once.
        cancelled: Whether nobody wants the answer any more; a long step looks at it now and then and stops.
        progress: What this attempt, or one before it, last told with ``heartbeat``, as plain JSON; None when none did.
    """

    __slots__ = ("_beat", "attempt", "cancelled", "command", "idempotency_key", "progress", "run_id", "step", "workflow")

    def __init__(self, run_id: str, workflow: str, step: str, command: str, attempt: int, idempotency_key: str) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.step = step
        self.command = command
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.cancelled = False
        self.progress: Any = None
        self._beat: Callable[[], None] | None = None

    def heartbeat(self, progress: Any = KEEP) -> None:
        """Tell that the step is alive, and how far it has come; cheap enough for every turn of a loop.

        What was told last is saved about once a second, also when the attempt fails, and read by the next attempt as ``progress``,
        wherever that runs. After a crash it may be a second old: tell only what has been done.

        Args:
            progress: Anything that is spelt as JSON, at most 64 KB; left out, what was told last stays.

        Raises:
            Cancelled: Nobody wants the answer any more: the attempt was cancelled, took too long, or its run went to another worker.
            PayloadError: The progress cannot be spelt.
            PayloadTooLarge: It is too large.
        """
        if self.cancelled:
            raise Cancelled(f"nobody waits for attempt {self.attempt} of step {self.step} any more")
        if progress is not KEEP:
            self.progress = progress
        if self._beat is not None:
            self._beat()

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of step {self.step}, {self.idempotency_key}>"


CURRENT: Final[ContextVar[StepInfo | None]] = ContextVar("replay_step", default=None)
"""Set by the engine around a step's body."""


def step_info() -> StepInfo:
    """The attempt that is running now.

    Raises:
        InvalidRequest: No step is running here.
    """
    info = CURRENT.get()
    if info is None:
        raise InvalidRequest("step_info()", "no step is running here", "call it in the body of a @step")
    return info
