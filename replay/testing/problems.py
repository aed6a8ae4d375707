"""What the test kit raises.

Rule 1: what a check finds is an ``AssertionError``: pytest shows it as a failed test, and its facts are attributes.
Rule 2: what stands in the way of a check is an error of replay's own families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from replay.errors import EffectError, RequestError

if TYPE_CHECKING:
    from replay.testing.simulation import Decision


@attrs.define
class UnyieldedEffect(EffectError):
    """A workflow built an effect and threw it away: what it asks for never happens.

    Attributes:
        got: The effect, as text.
        advice: What to write instead.
        run: The run's id.
        line: ``file:line`` where it was thrown away.
    """

    run: str = ""
    line: str = ""

    def __str__(self) -> str:
        return f"run {self.run} built {self.got} and never yielded it   ({self.line}); {self.advice}"


@attrs.define
class StillWaiting(RequestError):
    """A run was waited for in virtual time, and nothing will ever happen to it by itself.

    Attributes:
        run: The run's id.
        status: Its status.
        pending: What it waits for, as text.
        line: ``file:line`` of the yield where it stands, or empty.
        advice: What to do.
    """

    run: str
    status: str
    pending: tuple[str, ...]
    line: str
    advice: str

    def __str__(self) -> str:
        waits = "; ".join(self.pending) or "nothing"
        place = f"   ({self.line})" if self.line else ""
        return f"run {self.run} is {self.status} and waits for: {waits}{place}; no timer is due: {self.advice}"


@attrs.define
class RunsOn(RequestError):
    """The world was driven for very many rounds and did not come to rest.

    Attributes:
        rounds: How many rounds.
        runs: Ids of runs that are open, some of them.
    """

    rounds: int
    runs: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"after {self.rounds:,} rounds the world is not at rest; open: {', '.join(self.runs) or 'none'}: use advance(…) for a "
            "workflow that goes on for ever, or allow more with World(max_rounds=…)"
        )


@attrs.define
class NoAnswer(RequestError):
    """A step was stubbed with a list of answers, and was called once more than there are answers.

    Attributes:
        step: The step's name.
        answers: How many there were.
    """

    step: str
    answers: int

    def __str__(self) -> str:
        return f"the stub of step {self.step} has {self.answers} answers and was called once more; add one, or pass a function"


@attrs.define
class CheckFailed(AssertionError):
    """A check of the test kit found something wrong.

    Attributes:
        check: Which check.
        problems: What it found, the first first.
    """

    check: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((f"{self.check}: {len(self.problems)} problem(s)", *(f"- {problem}" for problem in self.problems)))


@attrs.define
class SimulationFailed(CheckFailed):
    """A simulated world broke a promise; the schedule is the smallest that was found to do so.

    Attributes:
        seed: The seed whose world broke it.
        schedule: What must happen for it, in order; ``simulate(scenario, schedule=…)`` does it again.
        runs: How many worlds were run to find that schedule.
    """

    seed: int
    schedule: tuple[Decision, ...]
    runs: int

    def __str__(self) -> str:
        shown = [f"    {decision!r}," for decision in self.schedule]
        lines = [
            CheckFailed.__str__(self),
            f"seed {self.seed}, shrunk in {self.runs} runs to {len(self.schedule)} decision(s); to see it again:",
            f"simulate(scenario, seed={self.seed}, schedule=[",
            *shown,
            "])",
        ]
        return "\n".join(lines)
