"""What an agent's workflow can catch."""

from __future__ import annotations

import attrs

from replay import WorkflowError


@attrs.define
class AgentError(WorkflowError):
    """An agent cannot go on.

    Attributes:
        agent: Its name.
        reason: Why.
    """

    agent: str
    reason: str

    def __str__(self) -> str:
        return f"agent {self.agent}: {self.reason}"


@attrs.define
class GuardFailed(AgentError):
    """A guard refused, for good.

    Attributes:
        guard: Its name.
    """

    guard: str

    def __str__(self) -> str:
        return f"agent {self.agent}: guard {self.guard} refused: {self.reason}"
