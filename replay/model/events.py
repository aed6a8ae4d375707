"""What a journal is made of: events, the facts that the outside world told a workflow.

Rule 1: an event is a flat tuple. Stores keep its fields as they are, and ten thousand of them are read in a few milliseconds.
Rule 2: replay reads the first seven fields. ``attempt``, ``duration``, ``line`` and ``worker`` are for people and never compared.
Rule 3: ``seal`` guards what replay reads; every store keeps it beside the event and checks it when it reads.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

STARTED: Final = "started"
STEP_COMPLETED: Final = "step_completed"
STEP_FAILED: Final = "step_failed"
STEP_ATTEMPT_FAILED: Final = "step_attempt_failed"
STEP_INTENT: Final = "step_intent"
TIMER_FIRED: Final = "timer_fired"
SIGNAL_RECEIVED: Final = "signal_received"
UPDATE_RECEIVED: Final = "update_received"
CHILD_COMPLETED: Final = "child_completed"
CHILD_FAILED: Final = "child_failed"
SAVEPOINT: Final = "savepoint"
CANCEL_REQUESTED: Final = "cancel_requested"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
CONTINUED: Final = "continued"

KINDS: Final = (
    STARTED,
    STEP_COMPLETED,
    STEP_FAILED,
    STEP_ATTEMPT_FAILED,
    STEP_INTENT,
    TIMER_FIRED,
    SIGNAL_RECEIVED,
    UPDATE_RECEIVED,
    CHILD_COMPLETED,
    CHILD_FAILED,
    SAVEPOINT,
    CANCEL_REQUESTED,
    COMPLETED,
    FAILED,
    CANCELLED,
    CONTINUED,
)
"""Every kind of event, in the order in which a run may meet them; the list only ever grows."""
CLOSING: Final = frozenset({COMPLETED, FAILED, CANCELLED, CONTINUED})
"""The kinds after which a journal takes no more events."""


class Event(NamedTuple):
    """One journal record.

    Attributes:
        seq: Its place: 1, 2, … without gaps.
        kind: One of ``KINDS``.
        command: Id of the command that it answers, or empty.
        name: Name of the step, signal, child, savepoint or workflow.
        at: When it was recorded, microseconds UTC; never goes backwards within a journal.
        payload: The answer, in the run's codec.
        check: CRC-32 of the command's encoded arguments, 0 where none was recorded.
        attempt: Which attempt gave this answer, from 1; for people.
        duration: How long it took, in microseconds; for people.
        line: ``file:line`` of the yield that asked; for people.
        worker: Who recorded it; for people.
    """

    seq: int
    kind: str
    command: str
    name: str
    at: int
    payload: bytes
    check: int = 0
    attempt: int = 0
    duration: int = 0
    line: str = ""
    worker: str = ""

    def __str__(self) -> str:
        command = f" {self.command}" if self.command else ""
        return f"#{self.seq} {self.kind}{command} {self.name}".rstrip()


def seal(event: Event) -> int:
    """CRC-32 of the fields that replay reads, spelt ``seq kind command name at check`` with one line feed between, then the payload."""
    head = f"{event[0]}\n{event[1]}\n{event[2]}\n{event[3]}\n{event[4]}\n{event[6]}\n"
    return zlib.crc32(event[5], zlib.crc32(head.encode()))
