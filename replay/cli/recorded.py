"""Journals to look at: runs of the store, or files that ``export`` wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from replay.cli.scene import Scene
from replay.model.events import CLOSING, Event

if TYPE_CHECKING:
    from replay.client import Client


@attrs.frozen(kw_only=True)
class Recorded:
    """A run's journal and what is needed to drive it.

    Attributes:
        label: The run's id, or the file's name.
        id: The run's id.
        workflow: Name of its workflow.
        version: Version that began it.
        base: Seq of its newest savepoint with state, or 0.
        journal: Its events.
    """

    label: str
    id: str
    workflow: str
    version: str
    base: int
    journal: Sequence[Event]

    @property
    def closing(self) -> Event | None:
        """The event that closed it, or None."""
        last = self.journal[-1] if self.journal else None
        return last if last is not None and last.kind in CLOSING else None


class Shelf:
    """Finds recorded journals; the store is opened when the first run is asked for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def client(self) -> Client:
        """A client of the store."""
        if self._client is None:
            self._client = self._stack.enter_context(self._scene.client())
        return self._client

    def take(self, name: str) -> Recorded:
        """A file of that name, else the run of that id.

        Raises:
            UnknownRun: There is neither.
            InvalidRequest: The file is no exported journal.
            JournalDamaged: Its journal cannot be trusted.
        """
        path = Path(name)
        if path.is_file():
            from replay.client.transfer import read_run

            with path.open(encoding="utf-8", errors="surrogateescape") as lines:
                head, journal = read_run(lines)
            return _recorded(name, head, journal)
        handle = self.client.get(name)
        return _recorded(name, attrs.asdict(handle.about(), recurse=False), handle.journal())


def _recorded(label: str, head: Any, journal: Sequence[Event]) -> Recorded:
    identity = head["key"].id if "key" in head else head["id"]
    base = min(int(head.get("base", 0)), len(journal))
    return Recorded(label=label, id=identity, workflow=head["workflow"], version=head.get("version", ""), base=base, journal=journal)
