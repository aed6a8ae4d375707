"""Make a failing list smaller: delta debugging, by hand.

Rule 1: what comes back still fails, and the trials are bounded.
Rule 2: halves are tried first, then smaller parts, then single items; what can be left out is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, budget: int = 300) -> tuple[list[T], int]:
    """A part of ``items`` that still fails, and how many trials were made.

    Args:
        items: A list that fails.
        fails: Whether a list fails; must be pure.
        budget: The most trials that are made.
    """
    kept = list(items)
    trials = 0
    size = len(kept)
    while size and trials < budget:
        removed = False
        start = 0
        while start < len(kept) and trials < budget:
            rest = kept[:start] + kept[start + size :]
            trials += 1
            if fails(rest):
                kept, removed = rest, True
            else:
                start += size
        if not removed or size > len(kept):
            size //= 2
    return kept, trials
