"""How a worker works, in figures that its user may choose."""

from __future__ import annotations

import attrs

from replay.model.queues import Queue


@attrs.frozen(kw_only=True)
class Settings:
    """How a worker works.

    Attributes:
        namespace: Whose runs it drives.
        queues: Which queues it serves, by name, or with limits.
        concurrency: How many runs it holds at most.
        steps: How many attempts of steps are under way at most.
        ttl: Length of a lease, in seconds.
        poll: How often it asks the store without being told to, in seconds.
        linger: How long a run that only waits is kept, in seconds.
        keep: How many such runs are kept at most.
        max_payload: The largest payload allowed in a journal, in bytes.
        max_recoveries: How many workers in a row a run may lose before it is set aside.
        announce: Seconds between two heartbeats by which others know of it; 0 for none.
    """

    namespace: str = "default"
    queues: tuple[str | Queue, ...] = ("default",)
    concurrency: int = 1_000
    steps: int = 256
    ttl: float = 15.0
    poll: float = 1.0
    linger: float = 0.2
    keep: int = 200
    max_payload: int = 16 * 1024 * 1024
    max_recoveries: int = 10
    announce: float = 0.0
