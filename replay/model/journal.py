"""The shapes of the payloads that the interpreter itself reads: how a run starts, how it goes on elsewhere.

Everything here is JSON with written keys; fields are only ever added, and one that is missing has its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import attrs

from replay.errors import JournalDamaged
from replay.model import events
from replay.model.budgets import NOTHING, Limits, Spent
from replay.model.codec import from_json, to_json
from replay.model.events import Event
from replay.model.records import record

FORMAT: Final = 1
"""Version of the journal's format; a ``started`` event names the one it was written in."""

Mail = tuple[tuple[str, bytes], ...]
"""Unread signals as (name, payload), oldest first."""


@record(kw_only=True)
class Started:
    """The first event's payload: all that a run is begun with.

    Attributes:
        workflow: Name of the workflow.
        version: Version that began it, or empty.
        input: Encoded arguments.
        seed: What chance is seeded by: the run's id, kept by forks and successors.
        namespace: Whose run it is.
        parent: Id of the run that waits for it, or empty.
        parent_command: The command that it answers there.
        patches: Patches that the code knew which began it; None when whoever started it did not have the code.
        deadline: Moment at which the run is cancelled, microseconds UTC, or None.
        attempt: 1, or more when run-level retry began it again.
        mail: Signals that its predecessor left unread.
        tags: Words to find it by.
        chain: Number of journals before this one under the same id.
        budget: What its calls of language models may spend, or None.
        spent: What journals and attempts before this one have spent of it.
        step: For a run of kind step, what its caller asked for other than the step declares: ``retry``, ``timeout``, ``heartbeat``.
    """

    workflow: str
    version: str = ""
    input: bytes = b"[]"
    seed: str = ""
    namespace: str = "default"
    parent: str = ""
    parent_command: str = ""
    patches: tuple[str, ...] | None = None
    deadline: int | None = None
    attempt: int = 1
    mail: Mail = ()
    tags: Mapping[str, str] = attrs.field(factory=dict)
    chain: int = 0
    budget: Limits | None = None
    spent: Spent = NOTHING
    step: Mapping[str, Any] = attrs.field(factory=dict)

    def encode(self) -> bytes:
        """Its journal form; what equals its default is left out."""
        fields = {name: value for name, value in zip(_AS_IS, _READ(self), strict=True) if value or value == 0}
        if self.budget is not None:
            fields["budget"] = self.budget.encode()
        if self.spent != NOTHING:
            fields["spent"] = self.spent.encode()
        if self.patches is not None:  # to know none is a fact; to have been begun without the code is another
            fields["patches"] = self.patches
        fields |= {"format": FORMAT, "input": from_json(self.input), "mail": encode_mail(self.mail)}
        return to_json(fields)

    @classmethod
    def decode(cls, event: Event, run: str = "") -> Started:
        """From the first event of a journal.

        Raises:
            JournalDamaged: It is no ``started`` event, or was written in a later format.
        """
        if event.kind != events.STARTED or event.seq != 1:
            raise JournalDamaged(run, event.seq, f"a journal begins with #1 started, here stands {event}")
        data = from_json(event.payload)
        if not isinstance(data, dict) or "workflow" not in data:
            raise JournalDamaged(run, event.seq, "its payload names no workflow")
        found = data.pop("format", FORMAT)
        if found > FORMAT:
            problem = f"it was written in format {found}, this code reads up to {FORMAT}: upgrade replay-engine"
            raise JournalDamaged(run, event.seq, problem)
        fields = {key: value for key, value in data.items() if key in _STARTED}
        if "input" in fields:
            fields["input"] = to_json(fields["input"])
        fields["mail"] = decode_mail(fields.get("mail", ()))
        if fields.get("patches") is not None:
            fields["patches"] = tuple(fields["patches"])
        if fields.get("budget") is not None:
            fields["budget"] = Limits(**fields["budget"])
        if "spent" in fields:
            fields["spent"] = Spent.decode(fields["spent"])
        return cls(**fields)


_STARTED: Final = frozenset(field.name for field in attrs.fields(Started))
_AS_IS: Final = tuple(sorted(_STARTED - {"budget", "spent", "patches", "input", "mail"}))
_READ: Final = attrgetter(*_AS_IS)


@attrs.frozen(kw_only=True)
class Resume:
    """A savepoint's payload when it carries state: all that recovery needs of what lies before.

    Attributes:
        state: Encoded state, as the workflow's ``state`` parameter spells it.
        next: The root fiber's next command number.
        outs: The root fiber's next output number.
        updates: Number of updates handled.
        patches: Patches that the code knew which wrote it.
        mail: Signals unread at that moment.
        notes: What people and agents read: goal, hypotheses, decisions, …
        spent: What the run has spent of its budget, where it has one.
    """

    state: bytes
    next: int
    outs: int
    updates: int
    patches: tuple[str, ...]
    mail: Mail
    notes: Any
    spent: Spent = NOTHING

    def encode(self) -> bytes:
        """Its journal form."""
        fields = {**attrs.asdict(self, recurse=False), "spent": self.spent.encode()}
        if not fields["spent"]:
            del fields["spent"]
        return to_json({**fields, "state": from_json(self.state), "mail": encode_mail(self.mail)})

    @classmethod
    def decode(cls, payload: bytes) -> Resume | None:
        """From a savepoint's payload; None when it carries no state."""
        data = from_json(payload)
        if "state" not in data:
            return None
        return cls(
            state=to_json(data["state"]),
            next=data["next"],
            outs=data["outs"],
            updates=data["updates"],
            patches=tuple(data["patches"]),
            mail=decode_mail(data["mail"]),
            notes=data["notes"],
            spent=Spent.decode(data.get("spent")),
        )


def encode_mail(mail: Mail) -> list[list[Any]]:
    """Unread signals as JSON."""
    return [[name, from_json(payload)] for name, payload in mail]


def decode_mail(mail: Sequence[Sequence[Any]]) -> Mail:
    """Unread signals from JSON."""
    return tuple((name, to_json(value)) for name, value in mail)
