"""Whom an engine tells what it does: metrics, traces, a dashboard.

An observer hears of facts after they are durable. One that raises is logged and never stops a run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from replay.model.events import Event
from replay.store.contract import Committed, Lease, Run, RunKey

logger: Final = logging.getLogger("replay")


class Observer:
    """What can be heard; override what you need."""

    def claimed(self, run: Run, lease: Lease) -> None:
        """A run was taken into memory."""

    def committed(self, key: RunKey, events: Sequence[Event]) -> None:
        """Events became durable."""

    def refused(self, key: RunKey, fate: Committed) -> None:
        """A turn was dropped: another worker holds the run."""

    def stuck(self, key: RunKey, error: Exception) -> None:
        """A run is stuck: today's code does not fit its journal, or it lost too many workers."""

    def unavailable(self, verb: str, error: Exception) -> None:
        """The store does not answer."""


class Observers(Observer):
    """Many observers as one."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def _tell(self, verb: str, *facts: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, verb)(*facts)
            except Exception:
                logger.exception("observer %r failed in %s", observer, verb)

    def claimed(self, run: Run, lease: Lease) -> None:
        """A run was taken into memory."""
        self._tell("claimed", run, lease)

    def committed(self, key: RunKey, events: Sequence[Event]) -> None:
        """Events became durable."""
        self._tell("committed", key, events)

    def refused(self, key: RunKey, fate: Committed) -> None:
        """A turn was dropped."""
        self._tell("refused", key, fate)

    def stuck(self, key: RunKey, error: Exception) -> None:
        """A run is stuck."""
        self._tell("stuck", key, error)

    def unavailable(self, verb: str, error: Exception) -> None:
        """The store does not answer."""
        self._tell("unavailable", verb, error)
