"""The store contract: the only door to durability.

Rule 1: one writer. Only the holder of a run's lease appends to its journal; everyone else leaves a message. Every commit
carries the lease's fence and the journal's expected length, and is refused whole when either is stale.
Rule 2: what belongs together is one commit: events, outputs, index, wake-up, consumed messages, children, result, release.
Rule 3: one moment decides when a run may be claimed: ``ready_at``. A lease sets it to the lease's end, parking sets it to the
wake-up, a message sets it to now (unless someone holds the lease), closing clears it. So one index finds every runnable run,
and a worker that dies needs no janitor.
Rule 4: the store's clock is the clock: leases, wake-ups and events are measured by ``now()``, so workers may disagree about the
hour.
Rule 5: verbs are synchronous, take batches, and may be called from several threads. Items of a batch are independent.

A store is a store when ``replay.testing.StoreContract`` passes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import attrs

from replay.errors import InvalidRequest, JournalDamaged
from replay.model.events import CANCEL_REQUESTED, SIGNAL_RECEIVED, STEP_INTENT, TIMER_FIRED, UPDATE_RECEIVED, Event
from replay.model.queues import Queue
from replay.model.records import record

MESSAGE_KINDS: Final = ("signal", "update", "query", "cancel", "terminate", "pause", "resume", "answer")
"""What a message can be; ``answer`` carries the result of a child or of a remote step."""
CONTROL: Final = frozenset({"terminate", "resume"})
"""Messages that wake a paused run too; ``wakes`` has the whole rule."""

COMING: Final = frozenset({SIGNAL_RECEIVED, UPDATE_RECEIVED, TIMER_FIRED, CANCEL_REQUESTED, STEP_INTENT})
"""Events that come to a run, or only announce what it is about to do."""

Status = Literal["pending", "running", "waiting", "paused", "stuck", "completed", "failed", "cancelled", "terminated", "continued"]
OPEN: Final[frozenset[str]] = frozenset({"pending", "running", "waiting", "paused", "stuck"})
CLOSED: Final[frozenset[str]] = frozenset({"completed", "failed", "cancelled", "terminated", "continued"})


class Capability(enum.Flag):
    """What a store can do beyond the contract; tests skip by capability, never by name."""

    NONE = 0
    PERSISTENT = enum.auto()
    """What was committed survives the process."""
    TRANSACTIONS = enum.auto()
    """``transact``: a step's own SQL commits with its answer."""
    SHARED = enum.auto()
    """Several processes may open it at once."""
    LIMITS = enum.auto()
    """``claim`` keeps to the limits of queues that are declared as a ``Queue``."""


class RunKey(NamedTuple):
    """What names a run: its namespace and its id."""

    namespace: str
    id: str


class Lease(NamedTuple):
    """The right to write to one run.

    Attributes:
        key: Which run.
        fence: Token that grows with every lease of the run.
        worker: Who holds it.
        until: When it ends, microseconds by the store's clock.
    """

    key: RunKey
    fence: int
    worker: str
    until: int


@record(kw_only=True)
class NewRun:
    """A run to be created.

    Attributes:
        key: Its name.
        workflow: Name of the workflow, or ``step:NAME`` for a step sent to another queue.
        version: Version that begins it.
        queue: Whose workers drive it.
        digest: Digest of workflow and input: creating again is the same run only when it agrees.
        events: Its first events; one (``started``) for a new run, more for a fork or an import.
        priority: Higher first.
        fairness_key: Whose share of the queue it takes, such as a customer's, or empty.
        ready_at: When it may be claimed, microseconds; 0 for at once, which counts as the moment of creation.
        parent: The run that waits for it, or empty.
        parent_command: The command that it answers there.
        tags: Words to find it by.
        state: What it shows, by key.
        status: ``pending``, or a closed status for an import.
        base: Seq of the newest savepoint with state among ``events``, or 0.
        applied: Outputs of the events up to this seq are not repeated.
        result: Payload of its closing event, for an import.
        source: Run and seq that it was forked from, or empty.
    """

    key: RunKey
    workflow: str
    version: str = ""
    queue: str = "default"
    digest: str = ""
    events: Sequence[Event]
    priority: int = 0
    fairness_key: str = ""
    ready_at: int = 0
    parent: str = ""
    parent_command: str = ""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    state: Mapping[str, bytes] = attrs.field(factory=dict)
    status: str = "pending"
    base: int = 0
    applied: int = 0
    result: bytes = b""
    source: str = ""


@record(kw_only=True)
class Run:
    """A run as the index shows it: ``NewRun``'s fields, and what has become of it.

    Attributes:
        key: Its name.
        workflow: Name of the workflow.
        version: Version that began it.
        queue: Whose workers drive it.
        digest: Digest of workflow and input.
        priority: Higher first.
        parent: The run that waits for it, or empty.
        parent_command: The command that it answers there.
        tags: Words to find it by.
        state: What it shows, by key.
        status: One of ``OPEN`` or ``CLOSED``.
        seq: Length of its journal.
        base: Seq of the newest savepoint with state, or 0.
        applied: Outputs of the events up to this seq have taken effect.
        result: Payload of its closing event, or empty.
        source: Run and seq that it was forked from, or empty.
        created_at: Microseconds.
        updated_at: When it was created or its last commit was applied, microseconds.
        ready_at: When it may be claimed, or None; while it is held, the lease's end.
        wake_at: When its next timer is due, or None.
        fence: The newest fencing token.
        worker: Who holds its lease, or empty.
        recoveries: How often it was claimed because a lease had ended without being given back, since a commit last took it on
            (``takes_on``).
        note: Why it is stuck, or empty.
        fairness_key: Whose share of the queue it takes, or empty.
    """

    key: RunKey
    workflow: str
    version: str
    queue: str
    digest: str
    priority: int
    parent: str
    parent_command: str
    tags: Mapping[str, str]
    state: Mapping[str, bytes]
    status: str
    seq: int
    base: int
    applied: int
    result: bytes
    source: str
    created_at: int
    updated_at: int
    ready_at: int | None
    wake_at: int | None
    fence: int
    worker: str
    recoveries: int
    note: str = ""
    fairness_key: str = ""


class Message(NamedTuple):
    """What anyone may leave for a run.

    Attributes:
        id: Posting the same id to the same run again changes nothing.
        key: Whom it is for.
        kind: One of ``MESSAGE_KINDS``.
        name: Name of the signal or update; for an answer, the event kind.
        payload: Encoded value.
        command: For an answer, the command that it answers.
        at: When it was posted, by the store's clock; set by the store.
    """

    id: str
    key: RunKey
    kind: str
    name: str
    payload: bytes
    command: str = ""
    at: int = 0


class Entry(NamedTuple):
    """One entry of a topic; offsets grow, and may have gaps."""

    offset: int
    at: int
    payload: bytes


@record(kw_only=True)
class Commit:
    """What one turn of one run makes durable, all or nothing.

    It takes effect in this order: the run itself with its consumed messages, its release, its successor, children, posts,
    topics. So a message may be posted to a child of the same commit, and one that is posted to itself is for the successor.

    Attributes:
        lease: The right to do so.
        expected: Length of the journal before it.
        events: What is appended, numbered on from ``expected``; may be empty.
        status: The run's status from here on.
        wake_at: When its next timer is due, or None.
        applied: Outputs of the events up to this seq are in this commit or an earlier one; a smaller seq than before changes
            nothing.
        base: Seq of a new savepoint with state, or 0 for no change.
        consumed: Ids of messages that need not be shown again; unknown ones are passed over.
        posts: Messages to runs of the same namespace, delivered as by ``post``; to one that is gone or closed they are dropped.
        children: Runs to create as by ``create``, without a lease; one that exists is left as it is.
        topics: Entries to append, as (topic, payload).
        state: Keys to show with new values from here on; other keys stay.
        tags: Tags to set; an empty word removes one; other tags stay.
        result: Payload of the closing event, when it closes.
        release: Whether the lease is given back; closing gives it back anyway. An open run is then ready at once when an
            unconsumed message wakes it (``wakes``, resting), else at ``wake_at``. A run that is not released stays held until
            the lease ends.
        successor: The run that takes over the id, when this one continues as new or begins again: this one closes, is renamed
            to ``id~n`` (n counts up from 1; taken names are passed over), keeps its journal, and loses its parent, whom the
            successor answers. Unconsumed messages and the memory of all message ids pass on. The successor is not leased, its
            fence is greater than all before, and it is ready at its own ``ready_at``, or at once when messages passed on.
        note: Why it is stuck, or empty.
    """

    lease: Lease
    expected: int
    events: Sequence[Event] = ()
    status: str = "running"
    wake_at: int | None = None
    applied: int = 0
    base: int = 0
    consumed: Sequence[str] = ()
    posts: Sequence[Message] = ()
    children: Sequence[NewRun] = ()
    topics: Sequence[tuple[str, bytes]] = ()
    state: Mapping[str, bytes] = attrs.field(factory=dict)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    result: bytes | None = None
    release: bool = False
    successor: NewRun | None = None
    note: str = ""


class Committed(enum.Enum):
    """What became of a commit."""

    APPLIED = "applied"
    FENCED = "fenced"
    """The lease has moved on or was given back, or the run is closed or gone: drop the turn. A lease that has merely ended
    still holds until someone else claims the run."""
    CONFLICT = "conflict"
    """The lease is held, but the journal has another length: drop the turn and read again."""


class Created(NamedTuple):
    """What became of a creation.

    Attributes:
        run: The run of that id as it is now.
        new: Whether it was created now.
        lease: The creator's lease, when it asked for one and the run is new.
    """

    run: Run
    new: bool
    lease: Lease | None = None


class Posted(enum.Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"
    """There is no such run."""
    CLOSED = "closed"


@attrs.frozen(kw_only=True)
class Claim:
    """What a worker asks for.

    Attributes:
        worker: Its name.
        namespace: Whose runs.
        queues: Which queues it serves: a name, or a ``Queue`` with limits.
        workflows: Which workflows it offers.
        limit: How many runs it takes at most.
        ttl: Length of the leases, microseconds.
    """

    worker: str
    namespace: str
    queues: Sequence[str | Queue]
    workflows: Sequence[str]
    limit: int
    ttl: int


class Claimed(NamedTuple):
    """A run with all that is needed to go on with it.

    Attributes:
        run: Its index entry.
        lease: The right to write to it.
        journal: Its first event, then, when there is a savepoint with state, that and what follows; else all events.
        mail: Its unconsumed messages, oldest first.
    """

    run: Run
    lease: Lease
    journal: Sequence[Event]
    mail: Sequence[Message]


class Claims(NamedTuple):
    """The answer to a claim.

    Attributes:
        runs: Runs taken.
        mail: Unconsumed messages for runs whose lease, not ended, the worker holds already, in any queue of the namespace;
            oldest first for each run. A message is shown until it is consumed.
        next_at: The earliest moment from now on at which a run that it could take becomes ready, or None. It may be too early,
            never too late; runs that are ready now and were left over by ``limit`` do not count. For those left over by a limit of
            their queue it is when time alone makes room: the end of a lease, or of a rate's window.
    """

    runs: Sequence[Claimed]
    mail: Sequence[Message]
    next_at: int | None


@attrs.frozen(kw_only=True)
class Filter:
    """Which runs to find; what is None does not narrow.

    Attributes:
        namespace: Whose runs.
        workflow: Name of the workflow.
        statuses: Any of these.
        tags: All of these.
        created_after: Microseconds, inclusive.
        created_before: Microseconds, exclusive.
        prefix: What the id begins with.
        parent: Children of this run.
        fairness_key: Those of this key.
    """

    namespace: str = "default"
    workflow: str | None = None
    statuses: Sequence[str] | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)
    created_after: int | None = None
    created_before: int | None = None
    prefix: str | None = None
    parent: str | None = None
    fairness_key: str | None = None


class Page(NamedTuple):
    """Some of what was found, newest first; ``cursor`` asks for the next page, empty when there is none."""

    runs: Sequence[Run]
    cursor: str


class Store(Protocol):
    """Where journals live.

    Every verb may raise ``StoreUnavailable``; then it is unknown whether it took effect, and the caller asks again: each verb
    is idempotent by ids or refuses by fence and length.
    """

    url: str
    capabilities: Capability

    def now(self) -> int:
        """The store's clock, microseconds UTC."""

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """Create runs; idempotent on their keys: one that exists is left as it is, whatever its workflow and digest.

        With ``worker``, those that are new, open and ready now are leased to it at once for ``ttl`` microseconds, with fence 1.

        Raises:
            ValueError: Events are not numbered 1, 2, …; nothing was created.
        """

    def claim(self, claim: Claim) -> Claims:
        """Take runs that are ready, highest priority first.

        Of one priority the queues take turns, in the order in which the claim names them; within a queue the longest ready goes first.

        A queue that is given as a ``Queue`` is fair and keeps to its limits, of which each claim brings its own: the run goes first
        whose key has the fewest runs held, then the one that has waited longest; no run is taken while as many as its limits allow
        are held, that is, leased to whomever by a lease that has not ended; and of those ``pending`` no more are taken within a
        window than its rate allows. This is exact however many claim at the same moment. It counts runs that were taken under a
        limit; whether it counts those that were not (leased at birth, or claimed by a plain name) is up to the store.
        ``limits.allotted`` has the rules as code.

        A run taken is ``running``, unless it is ``paused`` or ``stuck``. A run whose journal is damaged is not handed out: it
        becomes ``stuck`` with the reason as its note, and no moment to be claimed at until a message wakes it.
        """

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """Prolong leases to ``ttl`` microseconds from now; False for those that have moved on or were given back."""

    def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back; those that have moved on are passed over.

        The runs are ready at once, but a paused one only as after a commit.
        """

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """Make turns durable; items are independent, each is all or nothing. The fence is looked at before the length.

        Raises:
            ValueError: A commit contradicts itself (``require_sound``); nothing of the batch was applied.
        """

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """Leave messages; idempotent on (run, message id), also after they were consumed. Items are independent.

        A run that nobody holds becomes ready at once, when the message wakes it (``wakes``); one that is held stays so, and its
        worker sees the message at its next claim.
        """

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """Events after a seq, in order; none when there is no such run.

        Raises:
            JournalDamaged: An event's checksum does not fit, or one is missing, also at the end.
        """

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """Index entries, None where there is no such run."""

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """Runs that match, newest first (by time of creation, then id, both falling), in pages.

        Runs created between two pages neither repeat nor hide others.

        Raises:
            InvalidRequest: The cursor is none of this store's.
        """

    def delete(self, keys: Sequence[RunKey]) -> int:
        """Remove closed runs with journals and messages; open ones are passed over. How many were removed.

        Their ids are free again.
        """

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append to topics, as (topic, payload)."""

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries of a topic after an offset, in order."""

    def put_blob(self, data: bytes) -> str:
        """Keep bytes under the name that is returned: the SHA-256 of the bytes, in hex."""

    def get_blob(self, name: str) -> bytes:
        """Bytes by name.

        Raises:
            JournalDamaged: There are none, or they are not those.
        """

    def wait(self, seen: int, timeout: float) -> int:
        """Sleep until something may have changed since ``seen``, at most ``timeout`` seconds.

        ``seen`` is 0 at first, then what the call before answered. A change by another process may be seen late, by polling.
        """

    def close(self) -> None:
        """Let go of files and connections; further calls raise ``StoreUnavailable``, closing again does nothing."""


class TransactionalStore(Store, Protocol):
    """A store whose transactions a step can share."""

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """Open a transaction, hand its connection to ``work``, apply the commit that it returns, and commit both, or neither.

        What ``work`` raises rolls everything back and is raised.
        """


StoreFactory = Callable[..., Store]
"""Opens a store: ``factory(url, clock=…)``; options come in the URL's query."""
Clock = Callable[[], int]
"""The time, microseconds UTC."""


def gapless(key: RunKey, events: Iterable[Event], after: int) -> list[Event]:
    """Events as a list, when they are numbered on from ``after`` without a gap.

    Raises:
        JournalDamaged: One is missing.
    """
    listed = list(events)
    for place, event in enumerate(listed, after + 1):
        if event.seq != place:
            raise JournalDamaged(key.id, place, f"it is missing, the next one is {event}")
    return listed


def require_numbered(events: Sequence[Event], after: int = 0) -> None:
    """Refuse events that are not numbered on from ``after``.

    Raises:
        ValueError: They are not: the caller errs.
    """
    for place, event in enumerate(events, after + 1):
        if event.seq != place:
            raise ValueError(f"events must be numbered on from {after}: expected #{place}, got {event}")


def require_sound(commit: Commit) -> None:
    """Refuse a commit that contradicts itself, before anything is changed.

    Raises:
        ValueError: Events are not numbered on, or the successor is another run's, or the run does not close for it.
    """
    require_numbered(commit.events, commit.expected)
    for child in commit.children:
        require_numbered(child.events)
    if commit.successor:
        require_numbered(commit.successor.events)
        if commit.successor.key != commit.lease.key or commit.status not in CLOSED:
            raise ValueError(f"a successor takes over the id of a run that closes: {commit.lease.key} is {commit.status}")


def takes_on(commit: Commit) -> bool:
    """Whether a commit shows that the run outlives its workers: its recoveries are counted anew from here.

    It does when something that the run did was written down, or when it was given back in good order. What comes to it by itself,
    such as messages and time, and what only shows state, such as a step's heartbeat, may be written by one worker after the other
    that is killed a moment later.
    """
    for event in commit.events:  # no generator: this is asked of every commit
        if event.kind not in COMING:
            return True
    return commit.status in CLOSED or (commit.release and commit.status != "stuck")


def wakes(kind: str, status: str, *, resting: bool = False) -> bool:
    """Whether a message makes a run ready that nobody holds.

    A closed run is woken by none, a paused one by ``CONTROL``. A stuck one is woken by any that comes, for one more try, but
    when it is given back again (``resting``) only ``CONTROL`` among its old mail does: or it would never rest.
    """
    if status == "paused" or (status == "stuck" and resting):
        return kind in CONTROL
    return status in OPEN


def granted(run: Run, worker: str, until: int) -> tuple[Lease, dict[str, Any]]:
    """A lease of a run, and the fields of its index entry that say so."""
    status = run.status if run.status in {"paused", "stuck"} else "running"
    recoveries = run.recoveries + bool(run.worker)
    fields = {"worker": worker, "fence": run.fence + 1, "ready_at": until, "status": status, "recoveries": recoveries}
    return Lease(run.key, run.fence + 1, worker, until), fields


def index_entry(new: NewRun, now: int) -> Run:
    """The index entry that a run is created with."""
    return Run(
        key=new.key,
        workflow=new.workflow,
        version=new.version,
        queue=new.queue,
        digest=new.digest,
        priority=new.priority,
        fairness_key=new.fairness_key,
        parent=new.parent,
        parent_command=new.parent_command,
        tags={name: word for name, word in new.tags.items() if word},
        state=dict(new.state),
        status=new.status,
        seq=len(new.events),
        base=new.base,
        applied=new.applied,
        result=new.result,
        source=new.source,
        created_at=now,
        updated_at=now,
        ready_at=None if new.status in CLOSED else new.ready_at or now,
        wake_at=None,
        fence=0,
        worker="",
        recoveries=0,
    )


def age(run: Run) -> tuple[int, str]:
    """What runs are listed by, newest first."""
    return run.created_at, run.key.id


def fits(run: Run, query: Filter) -> bool:
    """Whether a run is among those asked for."""
    return (
        run.key.namespace == query.namespace
        and (query.workflow is None or run.workflow == query.workflow)
        and (query.statuses is None or run.status in query.statuses)
        and query.tags.items() <= run.tags.items()
        and (query.created_after is None or run.created_at >= query.created_after)
        and (query.created_before is None or run.created_at < query.created_before)
        and (query.prefix is None or run.key.id.startswith(query.prefix))
        and (query.parent is None or run.parent == query.parent)
        and (query.fairness_key is None or run.fairness_key == query.fairness_key)
    )


def page_cursor(run: Run) -> str:
    """The cursor for what comes after a run in ``find``."""
    return f"{run.created_at}.{run.key.id}"


def page_after(cursor: str) -> tuple[int, str] | None:
    """Time of creation and id that the next page lies below; None for the first page.

    Raises:
        InvalidRequest: It is no cursor.
    """
    if not cursor:
        return None
    moment, dot, run = cursor.partition(".")
    if not dot or not moment.isdecimal():
        raise InvalidRequest("cursor", f"{cursor!r} is none", "pass what the page before came with, or nothing")
    return int(moment), run
