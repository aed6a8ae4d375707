"""What a run may know of itself, and moments as people know them."""

from __future__ import annotations

import datetime
from typing import Final

import attrs

EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@attrs.frozen(kw_only=True)
class RunInfo:
    """What a workflow may know of itself.

    Attributes:
        run_id: The run's id.
        workflow: Name of the workflow.
        version: Version that began it.
        namespace: Whose run it is.
        attempt: 1, or more when run-level retry began it again.
        parent: Id of the run that waits for it, or empty.
        journal_length: Number of events so far.
        deadline: When it is cancelled, or None.
        chain: Journals before this one under the same id.
    """

    run_id: str
    workflow: str
    version: str
    namespace: str
    attempt: int
    parent: str
    journal_length: int
    deadline: datetime.datetime | None
    chain: int


def micros_of(when: datetime.datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return (when - EPOCH) // datetime.timedelta(microseconds=1)


def moment(micros: int) -> datetime.datetime:
    """Microseconds since 1970 as an aware datetime."""
    return EPOCH + datetime.timedelta(microseconds=micros)
