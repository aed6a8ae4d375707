"""Commits that were sent again: what was applied the first time, unheard, is refused the second time, and recognised here.

A commit is one's own when the events that it brings stand in the journal where it would have put them: events bear who wrote them and
when, so nobody else's are the same. Nothing is guessed: whoever cannot find them was refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from replay.store.contract import Commit, Committed, Store


def recognised(store: Store, batch: Iterable[Commit], fates: Iterable[Committed]) -> list[Committed]:
    """The fates of commits that were sent before, where refusals that only say so are turned into ``APPLIED``."""
    return [
        Committed.APPLIED if fate is Committed.APPLIED or _is_written(store, commit) else fate
        for commit, fate in zip(batch, fates, strict=True)
    ]


def _is_written(store: Store, commit: Commit) -> bool:
    key = commit.lease.key
    if not commit.events:  # it only gave the run back, and nobody has taken it since
        (run,) = store.get([key])
        return run is not None and (run.fence, run.worker) == (commit.lease.fence, "")
    after, ours = commit.expected, list(commit.events)
    if commit.successor is not None:  # it has taken over the name
        after, ours = 0, list(commit.successor.events)
    return store.journal(key, after=after, limit=len(ours)) == ours
