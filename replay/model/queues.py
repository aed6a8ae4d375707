"""What an operator says of a task queue, where its runs are taken: how many at once, for whom, how fast, and how many here.

A plain name is a queue without any of it: first come, first served. A ``Queue`` is also fair between keys.
"""

from __future__ import annotations

from typing import Any

import attrs

from replay.errors import InvalidRequest, describe


def _require_count(what: str, value: Any, least: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise InvalidRequest(what, f"expected a whole number from {least} up, got {describe(value)}", "leave it out for no limit")


@attrs.frozen
class Rate:
    """So many in any window of so many seconds.

    Attributes:
        count: How many.
        per: Length of the window, in seconds.
    """

    count: int
    per: float = attrs.field(default=1.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _require_count("Rate", self.count, 1)
        per: Any = self.per
        if not isinstance(per, int | float) or not 0 < per < float("inf"):
            raise InvalidRequest("Rate", f"per must be more than 0 seconds, got {describe(self.per)}", "write Rate(10, per=60)")

    @property
    def span(self) -> int:
        """The window in microseconds."""
        return max(1, round(self.per * 1_000_000))


@attrs.frozen
class Queue:
    """A task queue and its limits; what is None does not limit.

    Attributes:
        name: Its name.
        concurrency: How many of its runs are held by workers at any moment, over all workers.
        per_key: The same for each key; runs without a key are not limited by it.
        rate: How many of its runs begin, over all workers.
        here: How many of its runs this worker holds; in a claim, how many more it takes.
    """

    name: str
    concurrency: int | None = attrs.field(default=None, kw_only=True)
    per_key: int | None = attrs.field(default=None, kw_only=True)
    rate: Rate | None = attrs.field(default=None, kw_only=True)
    here: int | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        owner = f"queue {self.name!r}"
        name: Any = self.name
        if not isinstance(name, str) or not name:
            raise InvalidRequest("queue", f"{describe(self.name)} is no name", 'write Queue("gpu", concurrency=4)')
        _require_count(f"{owner} concurrency", self.concurrency, 1)
        _require_count(f"{owner} per_key", self.per_key, 1)
        _require_count(f"{owner} here", self.here, 0)
        if self.rate is not None and not isinstance(self.rate, Rate):
            raise InvalidRequest(f"{owner} rate", f"expected a Rate, got {describe(self.rate)}", "write rate=Rate(10, per=60)")
