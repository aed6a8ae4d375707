"""When to look at what: moments, each with whom to wake, that can be taken back.

Rule 1: an alarm that was taken back holds on to nothing, however far its moment lies; a parked run must leave memory.
Rule 2: what was taken back is swept out of the heap when it is the greater part of it.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

SWEEP: Final = 64
"""Dead entries that are never worth a sweep."""


class Alarms:
    """A heap of moments."""

    __slots__ = ("_count", "_heap", "_whom")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._whom: dict[int, Any] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._whom)

    def set(self, moment: int, whom: Any) -> int:
        """Wake someone at a moment; the number by which that can be taken back."""
        self._count += 1
        self._whom[self._count] = whom
        heapq.heappush(self._heap, (moment, self._count))
        return self._count

    def drop(self, number: int) -> None:
        """Take an alarm back; one that rang or was taken back already is passed over."""
        if self._whom.pop(number, None) is None:
            return
        if len(self._heap) > 2 * len(self._whom) + SWEEP:
            self._heap = [entry for entry in self._heap if entry[1] in self._whom]
            heapq.heapify(self._heap)

    def next(self) -> int | None:
        """The earliest moment, or None."""
        heap, whom = self._heap, self._whom
        while heap and heap[0][1] not in whom:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: int) -> list[Any]:
        """Whom to wake now, the earliest first; each once."""
        found = []
        heap, whom = self._heap, self._whom
        while heap and heap[0][0] <= now:
            _, number = heapq.heappop(heap)
            if number in whom:
                found.append(whom.pop(number))
        return found
