"""A client that only asks: it starts runs, sends messages and reads, over any store. Workers elsewhere do the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Final, NamedTuple, NoReturn, Self, TypeVar, overload

from replay.authoring.effects import CALLBACK
from replay.client import travel
from replay.client.handle import Handle
from replay.client.names import require_name, require_namespace
from replay.engine.family import new_run
from replay.engine.presence import WorkerInfo, workers
from replay.engine.waiters import ending
from replay.errors import InvalidRequest, PayloadTooLarge, RunExists, UnknownName
from replay.hooks import open_store
from replay.model.about import micros_of
from replay.model.asks import OPEN as OPEN_TAG
from replay.model.asks import OPEN_ASKS, Ask, read_asks
from replay.model.codec import from_json, spell
from replay.model.effects import Call, WorkflowSpec
from replay.model.journal import Started
from replay.store.contract import CLOSED, OPEN, Clock, Created, Entry, Filter, Message, NewRun, Page, Posted, Run, RunKey, Store

R = TypeVar("R")
PATIENCE: Final = 0.5
"""Seconds between two looks at runs that somebody waits for, when the store says nothing."""


class Start(NamedTuple):
    """One run of ``start_many``."""

    call: Call[Any]
    id: str


class AskPage(NamedTuple):
    """Some of the open questions; ``cursor`` asks for the next page, empty when there is none."""

    asks: Sequence[Ask]
    cursor: str


class Client:
    """Ask about runs, start them, and send them messages.

    Args:
        store: A store, or its URL.
        namespace: Whose runs.
        max_payload: The largest input or message allowed, in bytes.
        clock: The time, microseconds UTC; None for the store's own.
    """

    def __init__(
        self,
        store: str | Store,
        *,
        namespace: str = "default",
        max_payload: int = 16 * 1024 * 1024,
        clock: Clock | None = None,
    ) -> None:
        self._owned = isinstance(store, str)
        self.store: Store = open_store(store, clock=clock) if isinstance(store, str) else store
        self.namespace = require_namespace(namespace)
        self.max_payload = max_payload
        self._watch: _Watch | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        """It holds threads and connections.

        Raises:
            InvalidRequest: Always.
        """
        problem = "it cannot be sent to another process"
        raise InvalidRequest(type(self).__name__, problem, "send the store's URL and open another one there")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store when it was opened here."""
        if self._watch is not None:
            self._watch.close()
        if self._owned:
            self.store.close()

    # ---- starting -------------------------------------------------------------------------------------------------------

    def start(
        self,
        call: Call[R],
        *,
        id: str | None = None,
        delay: float | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        queue: str | None = None,
        key: str | None = None,
        priority: int | None = None,
    ) -> Handle[R]:
        """Start a run; starting the same id with the same input again is the same run.

        Args:
            call: A call of a workflow, such as ``order(cart)``.
            id: Its id; by default one that nobody else has.
            delay: Seconds before it may begin.
            deadline: Seconds after which it is cancelled, its children too.
            tags: Words to find it by.
            queue: Whose workers drive it.
            key: Whose share of the queue it takes, such as a customer's.
            priority: Higher first.

        Raises:
            RunExists: The id is taken by a run of another workflow or with other input.
            InvalidRequest: It was given no call of a workflow, or an argument does not fit.
            PayloadTooLarge: The input is larger than allowed.
        """
        require_call(call)
        if queue is not None:
            require_name(queue, "queue")
        if (delay, deadline, tags, queue, key, priority) != (None,) * 6:
            call = call.options(delay=delay, deadline=deadline, tags=tags, queue=queue, key=key, priority=priority)
        return self.start_many([Start(call, "" if id is None else require_name(id, "id"))])[0]

    def start_many(self, starts: Sequence[Start]) -> list[Handle[Any]]:
        """Start many runs at once, in as few commits as the store can.

        Raises:
            RunExists: An id is taken; the others have been started.
        """
        now = self.store.now()
        runs = [self._new(start, now) for start in starts]
        specs = [start.call.spec for start in starts]
        answers = self.create(runs, specs)
        for run, answer in zip(runs, answers, strict=True):
            if not answer.new and answer.run.digest != run.digest:
                raise RunExists(run.key.id, f"{answer.run.workflow} {answer.run.digest}", f"{run.workflow} {run.digest}")
        return [Handle(self, run.key, spec) for run, spec in zip(runs, specs, strict=True)]

    def debounce(self, call: Call[R], *, key: str, delay: float, max_wait: float | None = None) -> Handle[R]:
        """Start a run when this has not been called for a while, with the input of the last call.

        Calls for the same workflow and key within ``delay`` seconds of each other become one run. What was asked for is durable when
        this returns, and no call is lost, whoever crashes; after a crash just then a run may begin once more than it should.

        Args:
            call: A call of a workflow, such as ``reindex(shop)``.
            key: What the calls have in common.
            delay: Seconds without a call after which the run begins.
            max_wait: Seconds after the first call when it begins at the latest.

        Returns:
            A handle on the run that will begin: its ``result`` waits for that, whatever else is asked of it before raises
            ``UnknownRun``.

        Raises:
            InvalidRequest: It was given no call of a workflow, or an argument does not fit.
            PayloadTooLarge: The input is larger than allowed.
        """
        from replay.client.debouncing import debounce

        return debounce(self, require_call(call), key=key, delay=delay, max_wait=max_wait)

    def _new(self, start: Start, now: int) -> NewRun:
        call = require_call(start.call)
        if len(call.payload) > self.max_payload:
            raise PayloadTooLarge(f"input of workflow {call.name}", len(call.payload), self.max_payload)
        options = call.options_
        identity = require_name(start.id or options.id or self.fresh_id(), "id")
        begin = Started(
            workflow=call.name,
            version=call.spec.version,
            input=call.payload,
            seed=identity,
            namespace=self.namespace,
            patches=tuple(sorted(call.spec.patches)),
            deadline=None if options.deadline is None else now + options.deadline,
            tags={require_name(key, "tag"): str(value) for key, value in options.tags.items()},
            budget=options.budget,
        )
        return new_run(
            RunKey(self.namespace, identity),
            begin,
            at=now,
            queue=require_name(options.queue or "default", "queue"),
            priority=options.priority,
            fairness_key=options.key or "",
            ready_at=now + options.delay if options.delay else 0,
        )

    def create(self, runs: Sequence[NewRun], specs: Sequence[WorkflowSpec]) -> list[Created]:
        """Create prepared runs, such as forks and imports."""
        del specs
        return self.store.create(runs)

    # ---- asking -----------------------------------------------------------------------------------------------------------

    @overload
    def get(self, id: str) -> Handle[Any]: ...
    @overload
    def get(self, id: str, workflow: WorkflowSpec) -> Handle[Any]: ...
    def get(self, id: str, workflow: WorkflowSpec | None = None) -> Handle[Any]:
        """A handle on a run; nothing is asked yet."""
        return Handle(self, RunKey(self.namespace, require_name(id, "id")), workflow)

    def find(
        self,
        *,
        workflow: str | None = None,
        status: str | Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        created_after: int | datetime | None = None,
        created_before: int | datetime | None = None,
        prefix: str | None = None,
        parent: str | None = None,
        key: str | None = None,
        limit: int = 100,
        cursor: str = "",
    ) -> Page:
        """Runs that match, newest first, in pages.

        Args:
            workflow: Name of the workflow.
            status: One status or several.
            tags: All of these.
            created_after: An aware moment, or microseconds UTC; inclusive.
            created_before: The same, exclusive.
            prefix: What the id begins with.
            parent: Children of this run.
            key: Runs of this key.
            limit: How many at most.
            cursor: Where the last page ended.

        Raises:
            InvalidRequest: A status, a moment or a cursor that is none.
        """
        statuses = (status,) if isinstance(status, str) else status
        unknown = [name for name in statuses or () if name not in OPEN | CLOSED]
        if unknown:
            raise InvalidRequest("status", f"{unknown[0]!r} is none", f"use {', '.join(sorted(OPEN | CLOSED))}")
        query = Filter(
            namespace=self.namespace,
            workflow=workflow,
            statuses=statuses,
            tags=tags or {},
            created_after=_moment(created_after),
            created_before=_moment(created_before),
            prefix=prefix,
            parent=parent,
            fairness_key=key,
        )
        return self.store.find(query, limit=limit, cursor=cursor)

    def workers(self) -> list[WorkerInfo]:
        """The workers of this namespace that were heard in the last minute, the longest at work first."""
        return workers(self.store, self.namespace)

    def asks(self, *, assignee: str | None = None, workflow: str | None = None, limit: int = 100, cursor: str = "") -> AskPage:
        """Open questions of all runs, those of the newest run first, in pages.

        Args:
            assignee: Only those that are for this person; those for anyone are left out then, and are asked for with ``""``.
            workflow: Only those of this workflow's runs.
            limit: How many runs a page looks into.
            cursor: Where the last page ended.
        """
        page = self.find(workflow=workflow, status=sorted(OPEN), tags={OPEN_ASKS: OPEN_TAG}, limit=limit, cursor=cursor)
        found = [ask for run in page.runs for ask in open_asks(run)]
        return AskPage([ask for ask in found if assignee in {None, ask.assignee}], page.cursor)

    def read(self, topic: str, *, after: int = 0, limit: int = 1_000) -> list[Entry]:
        """Entries of a topic (``publish``) after an offset, oldest first."""
        return self.store.read(self.namespace, topic, after=after, limit=limit)

    def spec_for(self, workflow: str, version: str = "") -> WorkflowSpec:
        """The workflow of that name, as imported in this process.

        Raises:
            UnknownName: There is none.
        """
        return travel.spec_for(workflow, version)

    def ending(self, key: RunKey) -> Future[tuple[str, bytes]]:
        """A future of how a run ends: status and payload of its closing event."""
        with self._lock:
            if self._watch is None:
                self._watch = _Watch(self.store)
        return self._watch.future(key)

    # ---- telling ------------------------------------------------------------------------------------------------------------

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """Leave messages for runs."""
        return self.store.post(messages)

    def answer(self, token: str, value: Any = None) -> None:
        """Answer a callback with a value.

        Raises:
            InvalidRequest: It is no token.
            UnknownRun: There is no such run.
            RunClosed: The run has ended.
        """
        self._call_back(token, {"value": from_json(spell(value, f"answer of callback {token}"))})

    def fail(self, token: str, error: str) -> None:
        """Answer a callback with a failure."""
        self._call_back(token, {"error": error})

    def _call_back(self, token: str, outcome: dict[str, Any]) -> None:
        run, separator, name = token.rpartition("#")
        if not separator or not run or not name:
            raise InvalidRequest("callback token", f"{token!r} is none", "pass the token that `callback()` made, unchanged")
        self.get(run).signal(CALLBACK + name, outcome, id=f"{CALLBACK}{name}")

    def encode(self, value: Any, where: str) -> bytes:
        """A message's bytes.

        Raises:
            PayloadError: It cannot be encoded.
            PayloadTooLarge: It is larger than allowed.
        """
        payload = spell(value, where)
        if len(payload) > self.max_payload:
            raise PayloadTooLarge(where, len(payload), self.max_payload)
        return payload

    def encode_signal(self, handle: Handle[Any], name: str, value: Any) -> bytes:
        """A signal's bytes, checked against the type that its workflow declares."""
        where = f"signal {name!r}"
        try:
            declared = getattr(handle.spec(), "signals", {})
        except UnknownName:
            declared = {}
        if name in declared:
            payload: bytes = declared[name].encode(value, where)
            return payload
        return self.encode(value, where)

    def fresh_id(self) -> str:
        """An id that nobody else has."""
        return os.urandom(16).hex()


class _Watch:
    """Looks after runs that somebody waits for: one thread, one question for all of them whenever the store has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[RunKey, list[Future[tuple[str, bytes]]]] = {}
        self._lock = threading.Condition()
        self._open = True
        threading.Thread(target=self._look, name="replay-watch", daemon=True).start()

    def future(self, key: RunKey) -> Future[tuple[str, bytes]]:
        """A future of how a run ends."""
        made: Future[tuple[str, bytes]] = Future()
        with self._lock:
            waiting = self._waiting.setdefault(key, [])
            waiting[:] = [future for future in waiting if not future.done()]  # those who gave up
            waiting.append(made)
            self._lock.notify()
        return made

    def close(self) -> None:
        """Stop looking."""
        with self._lock:
            self._open = False
            self._lock.notify()
        self._fail(InvalidRequest("client", "it was closed while somebody waited", "open another one and ask again"))

    def _look(self) -> None:
        seen = 0
        while True:
            with self._lock:
                while not self._waiting and self._open:
                    self._lock.wait()
                if not self._open:
                    return
                keys = list(self._waiting)
            try:
                for start in range(0, len(keys), 500):
                    some = keys[start : start + 500]
                    for key, run in zip(some, self._store.get(some), strict=True):
                        if run is None or run.status in CLOSED or run.status == "stuck":
                            self._tell(key, run)
                if self._waiting:
                    seen = self._store.wait(seen, PATIENCE)
            except Exception as error:  # noqa: BLE001 - border: who waits must hear what the store raised, whatever it is
                self._fail(error)

    def _tell(self, key: RunKey, run: Run | None) -> None:
        with self._lock:
            futures = self._waiting.pop(key, [])
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(ending(run))

    def _fail(self, error: Exception) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)


def open_asks(run: Run) -> list[Ask]:
    """The questions that a run has open; one that has ended has none, however it ended."""
    shown = run.state.get(OPEN_ASKS)
    return [] if shown is None or run.status in CLOSED else read_asks(run.key.id, from_json(shown))


def require_call(call: Any) -> Call[Any]:
    """What is started must be a call of a workflow.

    Raises:
        InvalidRequest: It is something else.
    """
    if not isinstance(call, Call):
        raise InvalidRequest(
            "start", f"{call!r} is no call of a workflow", "write engine.start(order(cart)) with @workflow above order"
        )
    return call


def _moment(given: int | datetime | None) -> int | None:
    if not isinstance(given, datetime):
        return given
    if given.tzinfo is None:
        raise InvalidRequest("moment", f"{given.isoformat()} names no time zone", "give an aware datetime")
    return micros_of(given)
