"""What must hold whatever happens: a ledger beside the store, and an examination when all is over.

Rule 1: the ledger believes what the store *answered*: a commit that was answered ``applied`` is in the journal from then on, exactly
once, and no lease of the past may change anything any more.
Rule 2: the examination believes only the journals: each is driven anew through the pure interpreter, and what that says must be
what the store shows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import attrs

from replay.engine.live import Live
from replay.engine.outputs import LOG
from replay.errors import ReplayError
from replay.interpreter.interpreter import Interpreter
from replay.interpreter.issue import position
from replay.model import events
from replay.model.effects import Output, WorkflowSpec
from replay.model.events import Event
from replay.store.contract import (
    CLOSED,
    Claim,
    Claims,
    Commit,
    Committed,
    Created,
    Filter,
    Lease,
    Message,
    NewRun,
    Posted,
    Run,
    RunKey,
    Store,
)
from replay.testing.interposed import Interposed
from replay.testing.journals import shown
from replay.testing.stage import Rehearsal
from replay.testing.unyielded import WatchedInterpreter

ANSWERS: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED, events.CHILD_COMPLETED, events.CHILD_FAILED, events.TIMER_FIRED})
"""Kinds that answer a command once and for all."""


@attrs.frozen
class Problem:
    """A promise that was broken.

    Attributes:
        rule: Which promise, in a word.
        text: What happened.
    """

    rule: str
    text: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.text}"


@attrs.define
class Ledger:
    """What the store has promised so far.

    Attributes:
        journals: Events by run.
        past: Journals that a successor has put away, by run, oldest first.
        fences: The newest fence by run.
        topics: Payloads by (namespace, topic), in order.
        sent: Messages of commits, by (target, id).
        delivered: Messages that the store took, by (target, id).
        once: Positions of ``at_most_once`` steps that were begun.
        problems: What was found so far.
    """

    journals: dict[RunKey, list[Event]] = attrs.field(factory=dict)
    past: dict[RunKey, list[list[Event]]] = attrs.field(factory=lambda: defaultdict(list))
    fences: dict[RunKey, int] = attrs.field(factory=dict)
    topics: dict[tuple[str, str], list[bytes]] = attrs.field(factory=lambda: defaultdict(list))
    sent: dict[tuple[RunKey, str], Message] = attrs.field(factory=dict)
    delivered: dict[tuple[RunKey, str], Message] = attrs.field(factory=dict)
    once: set[str] = attrs.field(factory=set)
    problems: list[Problem] = attrs.field(factory=list)

    def blame(self, rule: str, text: str) -> None:
        """Note a broken promise."""
        self.problems.append(Problem(rule, text))

    def created(self, new: NewRun) -> None:
        """A run began."""
        self.journals.setdefault(new.key, list(new.events))

    def leased(self, lease: Lease) -> None:
        """A lease was handed out."""
        newest = self.fences.get(lease.key, 0)
        if lease.fence <= newest:
            self.blame("fence", f"{lease.key.id}: {lease.worker} was given fence {lease.fence}, {newest} had been given before")
        self.fences[lease.key] = max(newest, lease.fence)

    def handed_out(self, run: Run, journal: Sequence[Event]) -> None:
        """A claimed run came with its journal, or with what lies behind its newest savepoint with state."""
        known = self.journals.get(run.key, [])
        expected = known if run.base <= 1 else [*known[:1], *known[run.base - 1 :]]
        if list(journal) != expected:
            self.blame("lost", f"{run.key.id}: claimed with {_ends(journal)}, promised were {_ends(expected)}")

    def applied(self, commit: Commit) -> None:
        """A commit was answered ``applied``."""
        key = commit.lease.key
        newest, journal = self.fences.get(key, 0), self.journals.setdefault(key, [])
        if commit.lease.fence != newest:
            self.blame("stale", f"{key.id}: {commit.lease.worker} committed with fence {commit.lease.fence}, {newest} is the newest")
        if commit.expected != len(journal):
            self.blame("gap", f"{key.id}: a commit after #{commit.expected} was applied, the journal has {len(journal)} events")
        journal += commit.events
        if commit.successor is not None:
            self.past[key].append(journal)
            self.journals[key] = list(commit.successor.events)
        for child in commit.children:
            self.created(child)
        for message in commit.posts:
            self.sent[message.key, message.id] = message
        for topic, payload in commit.topics:
            self.topics[key.namespace, topic].append(payload)

    def holds(self, key: RunKey, event: Event) -> bool:
        """Whether an event is in a run's journal, or in one that its successor has put away."""
        journals = [self.journals.get(key, []), *self.past[key]]
        return any(event.seq <= len(journal) and journal[event.seq - 1] == event for journal in journals)

    def posted(self, message: Message, fate: Posted) -> None:
        """A message was left."""
        if fate is Posted.DELIVERED:
            if (message.key, message.id) in self.delivered:
                self.blame("twice", f"{message.key.id}: message {message.id} ({message.name}) was delivered twice")
            self.delivered[message.key, message.id] = message


class Audited(Interposed):
    """A store whose answers are written into a ledger."""

    def __init__(self, inner: Store, ledger: Ledger) -> None:
        super().__init__(inner)
        self.ledger = ledger

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        answers = super().create(runs, worker=worker, ttl=ttl)
        for new, answer in zip(runs, answers, strict=True):
            if answer.new:
                self.ledger.created(new)
            if answer.lease is not None:
                self.ledger.leased(answer.lease)
        return answers

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        claims = super().claim(claim)
        for claimed in claims.runs:
            self.ledger.leased(claimed.lease)
            self.ledger.handed_out(claimed.run, claimed.journal)
        return claims

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        fates = super().commit(batch)
        for commit, fate in zip(batch, fates, strict=True):
            if fate is Committed.APPLIED:
                self.ledger.applied(commit)
        return fates

    def transact(self, work: Callable[[Any], Commit]) -> Committed:
        """See ``TransactionalStore.transact``."""
        made: list[Commit] = []

        def watched(connection: Any) -> Commit:
            made.append(work(connection))
            return made[-1]

        fate = super().transact(watched)
        if fate is Committed.APPLIED:
            self.ledger.applied(made[-1])
        return fate

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        fates = super().post(messages)
        for message, fate in zip(messages, fates, strict=True):
            self.ledger.posted(message, fate)
        return fates


def watch_attempt(store: Store, ledger: Ledger, attempt: Rehearsal) -> None:
    """Note what is wrong with an attempt that begins.

    Nothing may be done on account of events that are not durable. Nor may anything be done again that has its answer, but by a worker
    that was stopped past its lease: it may do what another has done meanwhile, for it cannot know; it cannot say so either.
    """
    live: Live = attempt.live
    last = live.interp.last if isinstance(live.interp, WatchedInterpreter) else None
    if last is not None and not attempt.effect.options_.transactional and not ledger.holds(live.key, last):
        told = f"step {attempt.effect.name} (command {attempt.command.id}) began on account of {shown(last)}"
        ledger.blame("early", f"{live.key.id}: {told}, which is not in the journal")
    if attempt.effect.options_.at_most_once:
        if attempt.place[0] in ledger.once:
            ledger.blame("again", f"{live.key.id}: at_most_once step {attempt.effect.name} ({attempt.place[0]}) began twice")
        ledger.once.add(attempt.place[0])
    (run,) = store.get([live.key])
    if run is None or (run.fence, run.worker) != (live.lease.fence, live.lease.worker):
        return
    for event in store.journal(live.key):
        if event.command == attempt.command.id and event.kind in ANSWERS:
            told = f"step {attempt.effect.name} (command {event.command}) began again after {shown(event)}"
            ledger.blame("again", f"{live.key.id}: {told}")


# ---- when all is over ---------------------------------------------------------------------------------------------------


def examine(store: Store, namespace: str, ledger: Ledger, spec_of: Callable[[str, str], WorkflowSpec | None]) -> list[Problem]:
    """Compare store, ledger and journals.

    Args:
        store: The store, without anything in between.
        namespace: Whose runs.
        ledger: What the store has promised.
        spec_of: Workflows by name and version.
    """
    runs = {run.key: run for run in all_runs(store, namespace)}
    kept = _kept(store, runs, ledger)
    expected: dict[tuple[str, str], Counter[bytes]] = defaultdict(Counter)
    sent: set[tuple[RunKey, str]] = set()
    for thing in kept:
        _examine_events(thing.run, thing.journal, ledger)
        spec = spec_of(thing.run.workflow, thing.run.version)
        if spec is not None and thing.journal:
            for identity, output in _drive(thing, spec, ledger):
                if output.name in {"publish", "log"}:
                    topic = output.target if output.name == "publish" else LOG + thing.name
                    expected[namespace, topic][output.payload if output.name == "publish" else b""] += 1
                elif output.name == "send_signal":
                    sent.add((RunKey(namespace, output.target), identity))
    _examine_topics(store, namespace, expected, ledger)
    _examine_signals(kept, sent, ledger)
    return ledger.problems


def all_runs(store: Store, namespace: str) -> Iterator[Run]:
    """Every run of a namespace, in pages."""
    cursor = ""
    while True:
        page = store.find(Filter(namespace=namespace), limit=500, cursor=cursor)
        yield from page.runs
        cursor = page.cursor
        if not cursor:
            return


class Kept(NamedTuple):
    """A run as the store keeps it.

    Attributes:
        run: Its index entry.
        name: The id under which it ran, which a successor may have taken over.
        journal: Its journal.
    """

    run: Run
    name: str
    journal: list[Event]


def _kept(store: Store, runs: dict[RunKey, Run], ledger: Ledger) -> list[Kept]:
    """Every run with its journal, each compared with the ledger."""
    found: list[Kept] = []
    promised = [(key, key.id, journal) for key, journal in ledger.journals.items()]
    for key, past in ledger.past.items():
        away = ((RunKey(key.namespace, f"{key.id}~{number}"), journal) for number, journal in enumerate(past, 1))
        promised += [(place, key.id, journal) for place, journal in away]
    for key, name, journal in promised:
        run = runs.get(key)
        if run is None:
            ledger.blame("lost", f"{key.id}: the run is gone")
            continue
        try:
            written = store.journal(key)
        except ReplayError as error:
            ledger.blame("damaged", f"{key.id}: {error}")
            continue
        if written != journal:
            ledger.blame("lost", f"{key.id}: the journal is {_ends(written)}, promised was {_ends(journal)}")
        found.append(Kept(run, name, written))
    return found


def _examine_events(run: Run, journal: Sequence[Event], ledger: Ledger) -> None:
    answered: set[str] = set()
    clock = 0
    for place, event in enumerate(journal, 1):
        if event.seq != place:
            ledger.blame("gap", f"{run.key.id}: at place {place} stands {event}")
        if event.at < clock:
            ledger.blame("time", f"{run.key.id}: {event} is {clock - event.at} µs earlier than the event before it")
        clock = event.at
        if event.kind in ANSWERS and event.command in answered:
            ledger.blame("twice", f"{run.key.id}: command {event.command} was answered again by {shown(event)}")
        answered |= {event.command} if event.kind in ANSWERS else set()
        if event.kind in events.CLOSING and place < len(journal):
            ledger.blame("end", f"{run.key.id}: after {event} the journal goes on")
    closed = bool(journal) and journal[-1].kind in events.CLOSING
    if closed != (run.status in CLOSED):
        ledger.blame("end", f"{run.key.id}: the index says {run.status}, the journal ends with {_ends(journal)}")


def _drive(kept: Kept, spec: WorkflowSpec, ledger: Ledger) -> list[tuple[str, Output]]:
    """Drive a journal through the interpreter; its outputs, signals by their message's id."""
    run = kept.run
    interpreter = Interpreter(spec, kept.name)
    try:
        interpreter.feed_all(kept.journal)
    except ReplayError as error:
        ledger.blame("replay", f"{run.key.id}: {error}")
        return []
    finally:
        interpreter.close()
    state = {output.target: output.payload for _, output in interpreter.outputs if output.name == "set_state"}
    shown = {key: value for key, value in run.state.items() if key in state or not key.startswith("~")}  # those are the engine's own
    if state != shown:
        ledger.blame("state", f"{run.key.id}: it shows {shown}, its journal says {state}")
    if run.status in CLOSED and run.status != "terminated" and interpreter.outcome is None:
        ledger.blame("replay", f"{run.key.id} is {run.status}, but driven anew it goes on")
    return [
        (position(interpreter, identity, ":") if output.name == "send_signal" else identity, output)
        for identity, output in interpreter.outputs
    ]


def _examine_topics(store: Store, namespace: str, expected: dict[tuple[str, str], Counter[bytes]], ledger: Ledger) -> None:
    """Every line was published once: the topic holds what the journals say, no more and no less."""
    user = {place for place in ledger.topics if place[0] == namespace and (place[1][:1] != "~" or place[1].startswith(LOG))}
    for place in sorted(user | set(expected)):
        entries = [entry.payload for entry in store.read(*place, limit=1_000_000)]
        told: Counter[bytes] = Counter(b"" if place[1].startswith(LOG) else payload for payload in entries)
        if told != expected[place]:
            ledger.blame("outputs", f"topic {place[1]}: it holds {dict(told)}, the journals say {dict(expected[place])}")


def _examine_signals(kept: Sequence[Kept], sent: set[tuple[RunKey, str]], ledger: Ledger) -> None:
    """Every message of a workflow was sent once, and every message was taken in at most once."""
    said = {place for place, message in ledger.sent.items() if message.kind == "signal"}
    for key, identity in sorted(said ^ sent):
        missing = (key, identity) in sent
        ledger.blame("outputs", f"message {identity} to {key.id} {'was never sent' if missing else 'is in no journal'}")
    offered: Counter[tuple[str, str]] = Counter()
    for message in ({**ledger.delivered, **ledger.sent}).values():
        offered[message.key.id, message.name] += message.kind == "signal"
    taken: Counter[tuple[str, str]] = Counter()
    for _, name, journal in kept:
        taken.update((name, event.name) for event in journal if event.kind == events.SIGNAL_RECEIVED)
    for place, count in taken.items():
        if count > offered[place]:
            ledger.blame("twice", f"{place[0]}: {count} signals {place[1]!r} were taken in, {offered[place]} were sent")


def _ends(journal: Sequence[Event]) -> str:
    return f"{len(journal)} events, the last one {shown(journal[-1])}" if journal else "empty"
