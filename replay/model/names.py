"""The names that cross floors: a type says a meaning, so that no bare ``str`` or ``int`` does."""

from __future__ import annotations

from typing import Final, NewType

RunId = NewType("RunId", str)
"""Chosen by whoever starts a run; unique in its namespace."""
Namespace = NewType("Namespace", str)
"""A tenant: runs of one namespace never see another's."""
QueueName = NewType("QueueName", str)
"""A task queue: workers serve some, runs wait in one."""
CommandId = NewType("CommandId", str)
"""Path of fibers and number within the fiber, such as ``3`` or ``3/1/0``; the same in every replay."""
Seq = NewType("Seq", int)
"""Place of an event in its journal: 1, 2, … without gaps."""
Micros = NewType("Micros", int)
"""A moment, in microseconds since 1970-01-01 UTC, or a span in microseconds."""
Fence = NewType("Fence", int)
"""A fencing token: grows with every lease of a run."""
WorkerId = NewType("WorkerId", str)
"""One engine's name, unique among those that share a store."""

DEFAULT_NAMESPACE: Final = Namespace("default")
DEFAULT_QUEUE: Final = QueueName("default")
SECOND: Final = 1_000_000
"""Microseconds in a second."""


def micros(seconds: float) -> Micros:
    """A span of seconds in microseconds."""
    return Micros(round(seconds * SECOND))
