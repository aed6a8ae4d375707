"""A run, seen from outside.

Everything here is a call of the store or a message to the run; what waits can be waited for from a thread (``handle.result()``) or
from asyncio (``await handle``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

from replay.client import travel
from replay.client.names import asked_id, require_name
from replay.engine.outputs import NOTES, REPLY, REVIEWS
from replay.errors import (
    AnswerRefused,
    AskClosed,
    InvalidRequest,
    RunClosed,
    RunExists,
    RunFailed,
    UnknownName,
    UnknownRun,
    UpdateRefused,
    WaitTimedOut,
)
from replay.interpreter.queries import bind, query_of
from replay.model.asks import ANSWER, Ask
from replay.model.codec import from_json, to_json
from replay.model.effects import Call, WorkflowSpec
from replay.model.events import CLOSING, Event
from replay.model.failure import Failure
from replay.model.health import Health, Thresholds, health, samples_of, since_savepoint
from replay.model.ledger import REVIEW, STATUSES, Entry, Ledger, Noted, fold, read_review
from replay.model.schema_check import misfit
from replay.store.contract import CLOSED, Message, Posted, Run, RunKey

if TYPE_CHECKING:
    from replay.client.client import Client
    from replay.llm.costs import Costs

R = TypeVar("R")
PAGE: Final = 10_000
"""Events read from a store in one go."""
ANSWERED: Final = 30.0
"""Seconds within which a worker answers a query."""


class Reply(Generic[R]):
    """The reply to an update, or to a query, that was sent: ``reply.result()``, or ``await reply``."""

    def __init__(self, handle: Handle[Any], name: str, message: str, *, what: str = "update") -> None:
        self._handle = handle
        self._name = name
        self._message = message
        self._what = what

    def result(self, timeout: float | None = None) -> R:
        """The workflow's reply.

        Args:
            timeout: Seconds to wait, or None for ever.

        Raises:
            UpdateRefused: Its validator refused, or nothing handles the update; the journal holds no trace of it.
            InvalidRequest: The query does not exist, or its arguments do not fit.
            RunFailed: The handler raised.
            RunClosed: The run ended before it replied.
            WaitTimedOut: Patience ended first; the reply can be asked for again.
        """
        handle = self._handle
        client, key = handle.client, handle.key
        until = None if timeout is None else time.monotonic() + timeout
        seen = 0
        while True:
            said = client.store.read(key.namespace, REPLY + self._message, limit=1)
            if said:
                return self._read(from_json(said[0].payload))
            if not (run := handle.about()).status.startswith(("pending", "running", "waiting", "paused", "stuck")):
                if client.store.read(key.namespace, REPLY + self._message, limit=1):
                    continue
                raise RunClosed(key.id, run.status)
            if until is not None and time.monotonic() >= until:
                raise WaitTimedOut(key.id, timeout or 0, run.status)
            seen = client.store.wait(seen, 0.25 if until is None else max(0.0, min(0.25, until - time.monotonic())))

    def _read(self, said: dict[str, Any]) -> R:
        return cast("R", answer_of(self._handle.id, self._what, self._name, said))

    def __await__(self) -> Generator[Any, None, R]:
        return asyncio.to_thread(self.result).__await__()


def answer_of(run: str, what: str, name: str, said: Mapping[str, Any]) -> Any:
    """What a reply says.

    Raises:
        UpdateRefused: It was an update, and is refused.
        InvalidRequest: It was a query, and does not fit.
        RunFailed: What answers it raised.
    """
    if "refused" in said and what == "query":
        raise InvalidRequest(f"query {name!r} to run {run}", said["refused"])
    if "refused" in said:
        raise UpdateRefused(run, name, said["refused"])
    if "error" in said:
        failure = Failure.decode(to_json(said["error"]))
        raise RunFailed(run, f"{what} {name} failed", failure.type, failure.message, failure.traceback)
    return said["ok"]


class Handle(Generic[R]):
    """One run, by its id.

    Attributes:
        client: Whom it asks.
        key: The run's namespace and id.
    """

    def __init__(self, client: Client, key: RunKey, spec: WorkflowSpec | None = None) -> None:
        self.client = client
        self.key = key
        self._spec = spec

    @property
    def id(self) -> str:
        """The run's id."""
        return self.key.id

    def __repr__(self) -> str:
        return f"<run {self.key.id}>"

    # ---- what it is -----------------------------------------------------------------------------------------------------

    def about(self) -> Run:
        """Its index entry.

        Raises:
            UnknownRun: There is no such run.
        """
        (run,) = self.client.store.get([self.key])
        if run is None:
            raise UnknownRun(self.key.id, self.key.namespace)
        return run

    @property
    def status(self) -> str:
        """``pending``, ``running``, ``waiting``, ``paused``, ``stuck``, or how it ended."""
        return self.about().status

    def spec(self) -> WorkflowSpec:
        """Its workflow, as imported in this process.

        Raises:
            UnknownName: It is not imported here.
        """
        if self._spec is None:
            run = self.about()
            self._spec = self.client.spec_for(run.workflow, run.version)
        return self._spec

    def journal(self) -> list[Event]:
        """All its events.

        Raises:
            UnknownRun: There is no such run.
            JournalDamaged: Its journal cannot be trusted.
        """
        found: list[Event] = []
        while True:
            page = self.client.store.journal(self.key, after=len(found), limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
        if not found:
            self.about()
        return found

    def events(self, *, after: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Its events as they come, until it has ended.

        Args:
            after: Number of the last event already seen.
            timeout: Seconds without a new event after which it stops, or None for ever.
        """
        seen, quiet = 0, time.monotonic()
        while True:
            page = self.client.store.journal(self.key, after=after, limit=PAGE)
            yield from page
            if page:
                after, quiet = page[-1].seq, time.monotonic()
                if page[-1].kind in CLOSING:
                    return
                continue
            self.about()
            if timeout is not None and time.monotonic() - quiet > timeout:
                return
            seen = self.client.store.wait(seen, 0.25)

    def state(self) -> Mapping[str, Any]:
        """What the run shows, by key (``set_state``)."""
        return {key: from_json(value) for key, value in self.about().state.items() if not key.startswith("~")}

    def costs(self, *, tree: bool = False) -> Costs:
        """What it has spent on language models, by model; with ``tree``, its children and theirs too."""
        from replay.client.costs import costs_of_run, costs_of_tree
        from replay.llm.costs import Costs

        parts = costs_of_tree(self.client, self.id) if tree else [costs_of_run(self.client, self.id)]
        return sum((part.costs for part in parts), Costs())

    def notes(self) -> list[dict[str, Any]]:
        """What the run noted for people (``annotate``), oldest first; of a long note its beginning, and the name of its blob."""
        return [note.said for note in self._noted(NOTES)]

    def ledger(self) -> Ledger:
        """What it has thought, decided, spent and been told: a fold over its journal and its notes."""
        reviews = [read_review(note.said, note.at) for note in self._noted(REVIEWS)]
        return fold(self.key.id, self.journal(), self._all_notes(), reviews)

    def raw(self, entry: str) -> str:
        """The whole text of an entry of its ledger.

        Raises:
            UnknownName: There is no such entry.
            JournalDamaged: The blob that holds it is gone or damaged.
        """
        found = self._entry(entry)
        return self.client.store.get_blob(found.blob).decode("utf-8", "surrogatepass") if found.blob else found.text

    def health(self, *, budget: float | None = None, thresholds: Thresholds | None = None) -> Health:
        """How its thinking goes: trends over its answered steps, and what to do about bad ones.

        Args:
            budget: Dollars that it may spend, or None.
            thresholds: From where on something is told.
        """
        journal, notes = self.journal(), self.ledger().timeline
        last = max((number for number, entry in enumerate(notes) if entry.kind == "digest"), default=-1)
        undistilled = sum(entry.size for entry in notes[last + 1 :] if entry.kind in {"note", "raw"})
        return health(
            samples_of(journal), budget=budget, undistilled=undistilled, events_since=since_savepoint(journal), thresholds=thresholds
        )

    def review(self, entry: str, status: str, feedback: str = "", *, by: str = "", timeout: float | None = 30.0) -> None:
        """Say of an entry of its ledger that it is approved, rejected, or needs revision.

        An open run is told, when its workflow keeps a ``recall``; of one that has ended it is noted beside the journal.

        Args:
            entry: The entry's id.
            status: ``approved``, ``rejected`` or ``needs revision``.
            feedback: Why, and what to do.
            by: Who says so.
            timeout: Seconds to wait for a worker to take it, or None for ever.

        Raises:
            UnknownName: There is no such entry.
            InvalidRequest: The status is none.
            UpdateRefused: The workflow takes no reviews.
            WaitTimedOut: No worker took it in time; it counts when one comes.
        """
        if status not in STATUSES:
            raise InvalidRequest("status", f"{status!r} is none", f"use {', '.join(STATUSES)}")
        about = self._entry(entry)
        said = {"entry": entry, "status": status, "feedback": feedback, "by": by, "about": about.text[:500]}
        if self.status in CLOSED:
            self.client.store.publish(self.key.namespace, [(REVIEWS + self.key.id, to_json(said))])
            return
        self.update(REVIEW, said).result(timeout)

    def _all_notes(self) -> list[Noted]:
        """Its notes, and those of the past that it shares with the run that it was forked from."""
        own = self._noted(NOTES)
        source, _, seq = self.about().source.rpartition("#")
        if not source:
            return own
        first = min((int(note.said.get("seq", 0)) for note in own), default=int(seq) + 1)
        past: Handle[Any] = Handle(self.client, RunKey(self.key.namespace, source))
        try:
            shared = [note for note in past._all_notes() if int(note.said.get("seq", 0)) <= min(int(seq), first - 1)]
        except UnknownRun:  # it was deleted since
            shared = []
        return shared + own

    def _entry(self, identity: str) -> Entry:
        ledger = self.ledger()
        found = ledger.entry(identity)
        if found is None:
            raise UnknownName("entry", identity, tuple(entry.id for entry in ledger.timeline[-20:]))
        return found

    def _noted(self, topic: str) -> list[Noted]:
        """All entries of a topic of the run's own."""
        found: list[Noted] = []
        while page := self.client.store.read(
            self.key.namespace, topic + self.key.id, after=found[-1].offset if found else 0, limit=PAGE
        ):
            found += [Noted(entry.offset, entry.at, from_json(entry.payload)) for entry in page]
        return found

    def savepoints(self) -> list[travel.SavepointView]:
        """Its savepoints, oldest first."""
        return travel.savepoints(self.journal())

    def query(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the workflow's live variables, as its journal tells them; it also works when the run has ended.

        Where the workflow is not imported here, the worker that drives the run is asked, which takes a run that is open.

        Args:
            name: A function registered with ``@workflow_function.query``.
            *args: For its parameters that are no variables of the workflow, in order.
            **kwargs: The same, by name.

        Raises:
            UnknownName: The workflow has no such query.
            InvalidRequest: A parameter is neither a variable nor given, or something is given that it does not take; or the worker
                that was asked says so.
            RunFailed: The query raised where a worker answered it.
            RunClosed: No code is here, and the run has ended.
            WaitTimedOut: No code is here, and no worker answered within half a minute.
        """
        try:
            spec = self.spec()
        except UnknownName:
            payload = self.client.encode({"args": args, "kwargs": kwargs}, f"arguments of query {name!r}")
            return Reply(self, name, self._ask("query", name, payload), what="query").result(ANSWERED)
        fn = query_of(spec, name)
        journal = self.journal()
        bound, _ = bind(fn, name, travel.moment_at(spec, self.key.id, journal, len(journal)).variables, args, kwargs)
        return fn(**bound)

    # ---- its result -------------------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> R:
        """Wait until it has ended.

        Args:
            timeout: Seconds to wait, or None for ever.

        Raises:
            RunFailed: It failed, was cancelled or terminated, or is stuck.
            WaitTimedOut: Patience ended first; the run goes on.
            UnknownRun: There is no such run.
        """
        future = self.client.ending(self.key)
        try:
            status, payload = future.result(timeout)
        except FutureTimeout:
            future.cancel()
            raise WaitTimedOut(self.key.id, timeout or 0, self.status) from None
        return self._read(status, payload)

    def __await__(self) -> Generator[Any, None, R]:
        future: Future[tuple[str, bytes]] = self.client.ending(self.key)
        status, payload = yield from asyncio.wrap_future(future).__await__()
        return self._read(status, payload)

    def _read(self, status: str, payload: bytes) -> R:
        if status == "unknown":
            raise UnknownRun(self.key.id, self.key.namespace)
        if status == "completed":
            try:
                spec = self.spec()
            except UnknownName:
                return cast("R", from_json(payload))
            return cast("R", spec.decode(payload))
        data = from_json(payload) if payload else {}
        error_type, message = data.get("type", "Cancelled"), data.get("message", data.get("reason", ""))
        failed = RunFailed(self.key.id, status, error_type, message, data.get("traceback", ""))
        if failed.traceback:
            failed.add_note(f"In run {self.key.id}:\n{failed.traceback}")
        raise failed

    # ---- what can be told to it ---------------------------------------------------------------------------------------------

    def signal(self, name: str, value: Any = None, *, id: str | None = None) -> None:
        """Send a message; it waits until the workflow asks for one of that name.

        Args:
            name: The message's name.
            value: Its value; checked here when the workflow declares ``signals={name: type}``.
            id: Sending the same id again changes nothing.

        Raises:
            PayloadError: The value cannot be encoded, or is not of the declared type.
            UnknownRun: There is no such run.
            RunClosed: The run has ended.
        """
        require_name(name, "signal")
        self._post("signal", name, self.client.encode_signal(self, name, value), id)

    def update(self, name: str, value: Any = None, *, id: str | None = None) -> Reply[Any]:
        """Send a request that the workflow replies to: ``handle.update(…).result()``, or ``await handle.update(…)``."""
        require_name(name, "update")
        return Reply(self, name, self._ask("update", name, self.client.encode(value, f"argument of update {name!r}"), id))

    def asks(self) -> list[Ask]:
        """Its open questions, oldest first."""
        from replay.client.client import open_asks

        return open_asks(self.about())

    def answer(self, ask: str | Ask, value: Any = None, *, by: str = "", timeout: float | None = 30.0, id: str | None = None) -> None:
        """Answer a question that it asked, and wait until the answer is taken.

        What the question's schema refuses is refused here at once; the rest is up to the workflow.

        Args:
            ask: The question, or its id.
            value: The answer.
            by: Who answers, for the ledger.
            timeout: Seconds to wait for a worker to take it, or None for ever; the answer stays and counts when one comes.
            id: Sending the same id again changes nothing.

        Raises:
            AskClosed: The question is not open; perhaps somebody else was quicker.
            AnswerRefused: The answer does not fit; the question stays open.
            PayloadError: The value cannot be encoded.
            WaitTimedOut: No worker took it in time.
            UnknownRun: There is no such run.
        """
        identity = ask.id if isinstance(ask, Ask) else ask
        question = self._question(identity)
        raw = from_json(self.client.encode(value, f"answer to question {identity}"))
        refused = misfit(question.schema, raw)
        if refused:
            raise AnswerRefused(self.id, identity, refused)
        said = {"ask": identity, "value": raw} | ({"by": by} if by else {})
        try:
            self.update(ANSWER, said, id=id).result(timeout)
        except UpdateRefused as error:
            self._question(identity)
            raise AnswerRefused(self.id, identity, error.reason) from None
        except RunClosed:
            raise AskClosed(self.id, identity) from None

    def _question(self, identity: str) -> Ask:
        """An open question.

        Raises:
            AskClosed: It is not open.
        """
        questions = {question.id: question for question in self.asks()}
        if identity not in questions:
            raise AskClosed(self.id, identity, tuple(questions))
        return questions[identity]

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the workflow to stop; it may clean up first, or refuse."""
        self._post("cancel", "cancel", to_json({"reason": reason}))

    def terminate(self, reason: str = "terminated") -> None:
        """End it where it stands; nothing of its code runs."""
        self._post("terminate", "terminate", to_json({"reason": reason}))

    def pause(self) -> None:
        """Let it begin nothing new until ``resume``; steps that run come to their end."""
        self._post("pause", "pause", b"null")

    def resume(self) -> None:
        """Let a paused run go on, or try a stuck one again now."""
        self._post("resume", "resume", b"null")

    def _ask(self, kind: str, name: str, payload: bytes, id: str | None = None) -> str:
        identity = self.client.fresh_id() if id is None else require_name(id, "message id")
        return self._post(kind, name, payload, asked_id(kind, self.key.id, identity))

    def _post(self, kind: str, name: str, payload: bytes, id: str | None = None) -> str:
        identity = self.client.fresh_id() if id is None else require_name(id, "message id")
        (fate,) = self.client.post([Message(identity, self.key, kind, name, payload)])
        if fate is Posted.UNKNOWN:
            raise UnknownRun(self.key.id, self.key.namespace)
        if fate is Posted.CLOSED:
            raise RunClosed(self.key.id, self.status)
        return identity

    # ---- time travel --------------------------------------------------------------------------------------------------------

    def replay(self) -> travel.ReplayReport:
        """Drive its journal through today's code, in this process, without acting."""
        return travel.replay_journal(self.spec(), self.key.id, self.journal())

    def at(self, seq: int) -> travel.Moment:
        """Its local variables and source line as they were at an event."""
        return travel.moment_at(self.spec(), self.key.id, self.journal(), seq)

    def fork(
        self,
        at: str | int | None = None,
        *,
        id: str | None = None,
        edit: Mapping[int, Any] | None = None,
        workflow: WorkflowSpec | None = None,
        call: Call[Any] | None = None,
    ) -> Handle[Any]:
        """Make a new run that shares the past up to a savepoint or event, and goes on from there; this one is not touched.

        Args:
            at: Savepoint's name or event's number; by default the last edited event, or all but the end.
            id: The new run's id.
            edit: New answers, by event number: of steps and children (an exception is a failure), signals, updates, questions.
            workflow: Other code to go on with.
            call: Another input, as a call of the workflow; the past is then shared as far as the code asks for the same.

        Raises:
            UnknownName: There is no such savepoint or event.
            InvalidRequest: An edit that does not fit.
            NonDeterminismError: The code does not fit the shared past.
            PayloadError: A new answer is not of the answered effect's type.
            RunExists: The id is taken by another run.
        """
        if call is not None and workflow is not None:
            raise InvalidRequest("fork", "it was given both workflow= and call=", "a call says which workflow it is of")
        spec = workflow or (call.spec if call is not None else self.spec())
        name = f"{self.key.id}-fork-{self.client.fresh_id()[:8]}" if id is None else id
        target = RunKey(self.key.namespace, require_name(name, "id"))
        made = travel.fork(spec, self.key, self.journal(), target, at, edit or {}, call)
        source = self.about()
        made = attrs.evolve(made, queue=source.queue, fairness_key=source.fairness_key)
        (there,) = self.client.create([made], [spec])
        if not there.new:
            past = self.client.store.journal(target, limit=len(made.events))
            if there.run.source != made.source or past != list(made.events):
                existing = f"{there.run.workflow}, forked from {there.run.source}" if there.run.source else there.run.workflow
                raise RunExists(target.id, existing, f"{made.workflow}, forked from {made.source}")
        return Handle(self.client, target, spec)


def views(client: Client, runs: Sequence[Run]) -> list[Handle[Any]]:
    """Handles of what was found."""
    return [Handle(client, run.key) for run in runs]
