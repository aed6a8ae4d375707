"""When to stop: functions of the progress that name their reason, or answer None.

A condition is asked before each turn but the first. It must be pure, as all of a workflow is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from replay_agents.facts import Progress

Stop = Callable[[Progress], str | bool | None]
"""The reason to stop, or True, or nothing."""


def turns_reached(most: int) -> Stop:
    """After so many replies."""
    return lambda progress: f"{most} turns" if progress.turns >= most else None


def tokens_reached(most: int) -> Stop:
    """After so many tokens, in and out."""
    return lambda progress: f"{most} tokens" if progress.tokens >= most else None


def cost_reached(usd: float) -> Stop:
    """After so many dollars; calls without a known price count as nothing here, so give those a budget of calls."""
    return lambda progress: f"{usd:g} USD" if progress.usd >= usd else None


def tool_done(name: str) -> Stop:
    """Once a tool was done."""
    return lambda progress: f"tool {name}" if name in progress.done else None


def text_found(pattern: str) -> Stop:
    """Once a reply matches a regular expression."""
    wanted = re.compile(pattern)
    return lambda progress: f"text {pattern!r}" if wanted.search(progress.text) else None


def reason(stops: tuple[Stop, ...], progress: Progress) -> str:
    """Why to stop now, or empty."""
    for stop in stops:
        found = stop(progress)
        if found:
            return found if isinstance(found, str) else getattr(stop, "__name__", "stop")
    return ""
