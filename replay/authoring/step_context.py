"""What a step may know of itself while it runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from replay.errors import InvalidRequest


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
    """

    __slots__ = ("attempt", "cancelled", "command", "idempotency_key", "run_id", "step", "workflow")

    def __init__(self, run_id: str, workflow: str, step: str, command: str, attempt: int, idempotency_key: str) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.step = step
        self.command = command
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.cancelled = False

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
