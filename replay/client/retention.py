"""Closed runs are removed when they are old enough, archived first where that is wished.

Rule 1: only closed runs are touched, and only those that closed before a moment; a run that is open keeps everything.
Rule 2: a run is archived as ``replay export`` writes it, read back and compared, and only then deleted. What was archived when the
process died is compared again and not written again; so pruning may be stopped anywhere and begun anew.
Rule 3: work is done in batches, each a transaction of its own that locks closed runs only. Nobody who works waits for it, and the
room that one batch leaves is used again by what comes later.
Rule 4: a run whose journal cannot be read is kept, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

import attrs

from replay.client.client import Client
from replay.client.handle import Handle
from replay.client.transfer import Header, import_run, read_run, write_journal
from replay.errors import InvalidRequest, JournalDamaged, StoreUnavailable, UnknownRun
from replay.model.events import Event
from replay.store.blobs import Blobs, digest_of, word_of
from replay.store.contract import CLOSED, Filter, Run, RunKey

BATCH: Final = 200
"""Runs that are removed in one transaction."""
ELSEWHERE: Final = "the run was not deleted; use another archive"
PAGE: Final = 1_000
"""Runs that are looked at at once."""


@runtime_checkable
class Sweeping(Protocol):
    """A store that may hold what nobody refers to any more."""

    def sweep(self) -> int:
        """Remove it; how many things."""


@attrs.define(kw_only=True)
class Pruned:
    """What was done, or would be.

    Attributes:
        runs: Runs that were removed.
        events: Their events.
        archived: Runs that were written to the archive, or found there.
        octets: Bytes that were written to the archive.
        swept: Payloads beside the store that nobody referred to any more.
        kept: Runs that could not be read, with the reason.
    """

    runs: int = 0
    events: int = 0
    archived: int = 0
    octets: int = 0
    swept: int = 0
    kept: dict[str, str] = attrs.field(factory=dict)


def prune(
    client: Client,
    *,
    older_than: float,
    statuses: Sequence[str] = (),
    archive: Blobs | None = None,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda _count: None,
) -> Pruned:
    """Remove runs of a client's namespace that closed some time ago.

    Args:
        client: Whose store and namespace.
        older_than: Seconds since they closed, by the store's clock.
        statuses: Which closed statuses; all of them by default.
        archive: Where they are written first.
        dry_run: Only count.
        told: Told of every batch how many runs it removed.

    Raises:
        InvalidRequest: A status is none that a closed run can have.
        StoreUnavailable: The archive holds something else under a run's name, or one of both does not answer.
    """
    strange = sorted(set(statuses) - CLOSED)
    if strange:
        raise InvalidRequest("status", f"{', '.join(strange)} is none of a closed run", f"choose among {', '.join(sorted(CLOSED))}")
    done = Pruned()
    before = client.store.now() - round(older_than * 1_000_000)
    for batch in batches(client, before, tuple(statuses) or tuple(sorted(CLOSED))):
        fit = batch if archive is None or dry_run else [run for run in batch if kept_in(client, archive, run, done)]
        done.events += sum(run.seq for run in fit)
        done.runs += len(fit) if dry_run else client.store.delete([run.key for run in fit])
        told(len(fit))
    if not dry_run and isinstance(client.store, Sweeping):
        done.swept = client.store.sweep()
    return done


def batches(client: Client, before: int, statuses: Sequence[str]) -> Iterator[list[Run]]:
    """Runs that closed before a moment, some at a time."""
    query = Filter(namespace=client.namespace, statuses=statuses, created_before=before)
    cursor = ""
    while True:
        page = client.store.find(query, limit=PAGE, cursor=cursor)
        old = [run for run in page.runs if run.updated_at < before]
        yield from (old[first : first + BATCH] for first in range(0, len(old), BATCH))
        cursor = page.cursor
        if not cursor:
            return


# ---- the archive --------------------------------------------------------------------------------------------------------


def name_of(run: Run) -> str:
    """Under which name a run is archived: as people read it, with a digest, and the moment of its creation."""
    return f"{below(run.key)}{run.created_at:020d}.jsonl"


def below(key: RunKey) -> str:
    """What the names of all archived runs of an id begin with."""
    return f"journals/{word_of(key.namespace)}/{word_of(key.id)}.{digest_of(*key)[:16]}."


def kept_in(client: Client, archive: Blobs, run: Run, done: Pruned) -> bool:
    """Archive a run, unless it is there; whether it is there now.

    Raises:
        StoreUnavailable: Something else is there.
    """
    try:
        events = client.store.journal(run.key)
    except JournalDamaged as error:
        done.kept[run.key.id] = str(error)
        return False
    name, data = name_of(run), "".join(f"{line}\n" for line in write_journal(run, events)).encode()
    if archive.get(name) != data:
        archive.put(name, data)
        done.octets += len(data)
    require_same(archive, name, run, events)
    done.archived += 1
    return True


def require_same(archive: Blobs, name: str, run: Run, events: Sequence[Event]) -> None:
    """Read an archived run, and compare.

    Raises:
        StoreUnavailable: It is not the run.
    """
    found = archive.get(name)
    try:
        head, read = parsed(found or b"")
    except (InvalidRequest, JournalDamaged) as error:
        raise StoreUnavailable(archive.url, f"{name} cannot be read back: {error}", ELSEWHERE) from error
    if (head["namespace"], head["id"], head["seq"]) != (*run.key, run.seq) or read != list(events):
        raise StoreUnavailable(archive.url, f"{name} is not the run that was written", ELSEWHERE)


def parsed(data: bytes) -> tuple[Header, list[Event]]:
    """An archived run; raises what ``read_run`` raises."""
    return read_run(data.decode("utf-8", "surrogateescape").splitlines())


def bring_back(client: Client, archive: Blobs, id: str) -> Handle[object]:
    """Make a run again that was archived, the newest of its id.

    Raises:
        UnknownRun: None of that id is in the archive.
        RunExists: The id is taken by another run.
    """
    names = [thing.name for thing in archive.things(below(RunKey(client.namespace, id)))]
    if not names:
        raise UnknownRun(id, archive.url)
    data = archive.get(max(names)) or b""
    return import_run(client, data.decode("utf-8", "surrogateescape").splitlines())


__all__ = ["Pruned", "bring_back", "name_of", "prune"]
