"""The client's calls on the wire: start, tell, look, fork. Nothing here needs the workflow's code.

Whoever drives a run checks what only code can check: whether a signal has the right type, whether an update is refused, whether a
fork's edits fit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs
import grpc

from replay.client import travel
from replay.client.client import Client
from replay.client.debouncing import debounce
from replay.client.handle import answer_of
from replay.client.names import asked_id, require_name, require_namespace
from replay.engine.debounce import Named
from replay.engine.family import digest, new_run
from replay.engine.outputs import REPLY
from replay.errors import InvalidRequest, ReplayError, RequestError, RunClosed, RunExists, StoreUnavailable, UnknownRun
from replay.model.codec import from_json, to_json
from replay.model.effects import Call
from replay.model.events import CLOSING, SAVEPOINT, Event
from replay.model.journal import Resume, Started
from replay.model.names import Micros, QueueName
from replay.model.options import RunOptions
from replay.service import translate as to
from replay.service.faults import detail_of, words_of
from replay.service.generated import client_pb2 as cb
from replay.service.generated import client_pb2_grpc
from replay.service.generated import types_pb2 as pb
from replay.service.waiting import Pulse, Room, full
from replay.store.contract import CLOSED, Created, Message, NewRun, Posted, Run, RunKey, Store

if TYPE_CHECKING:
    from replay.service.server import Gate

PAGE: Final = 500
"""Events in one message of a streamed journal."""
LOOK: Final = 0.5
"""Seconds between two looks of a call that waits, when the store says nothing."""
CONTROLS: Final = frozenset({"cancel", "terminate", "pause", "resume"})


class Calls(client_pb2_grpc.ClientServiceServicer):  # type: ignore[misc]  # generated code has no types
    """What a client asks, call by call."""

    def __init__(self, store: Store, gate: Gate, pulse: Pulse, room: Room) -> None:
        self.store = store
        self.gate = gate
        self.pulse = pulse
        room.seat(self, streams=("ReadJournal", "WatchRun", "ReadTopic"), answers={"UpdateRun": full, "QueryRun": full})

    # ---- starting and telling -------------------------------------------------------------------------------------------

    def StartRun(self, request: cb.StartRunRequest, context: grpc.ServicerContext) -> cb.StartRunResponse:  # noqa: N802 - gRPC's spelling
        """Start a run, idempotently."""
        self.gate.admit(context, "start", request.key.namespace)
        return self.gate.run(context, lambda: self._start(request))

    def _start(self, request: cb.StartRunRequest) -> cb.StartRunResponse:
        (made,) = self._started([request])
        if isinstance(made, Exception):
            raise made
        return cb.StartRunResponse(run=to.run_out(made.run), new=made.new)

    def StartRuns(self, request: cb.StartRunsRequest, context: grpc.ServicerContext) -> cb.StartRunsResponse:  # noqa: N802
        """Start runs together, each answered for itself."""
        self.gate.admit(context, "start", *[start.key.namespace for start in request.starts])
        return self.gate.run(context, lambda: cb.StartRunsResponse(outcomes=map(_outcome, self._started(request.starts))))

    def _started(self, requests: Iterable[cb.StartRunRequest]) -> list[Created | Exception]:
        """What each start comes to; those that fit are made in one transaction."""
        now = self.store.now()
        asked = [_asked(request, now) for request in requests]
        runs = [run for run in asked if isinstance(run, NewRun)]
        made = iter(self._made(runs) if runs else ())
        return [run if isinstance(run, Exception) else _same(run, next(made)) for run in asked]

    def _made(self, runs: list[NewRun]) -> list[Created | Exception]:
        """Together; where a run cannot be kept as it is, whose fault it is shows when each is made alone."""
        try:
            return list(self.store.create(runs))
        except (RequestError, ValueError) as error:
            return [error] if len(runs) == 1 else [made for run in runs for made in self._made([run])]

    def SignalWithStart(self, request: cb.SignalWithStartRequest, context: grpc.ServicerContext) -> cb.StartRunResponse:  # noqa: N802
        """Start a run unless it exists, and leave it a message."""
        addressed = request.signal.HasField("key")
        self.gate.admit(context, "start", request.start.key.namespace, *([request.signal.key.namespace] if addressed else []))

        def work() -> cb.StartRunResponse:
            if addressed and to.key_in(request.signal.key) != to.key_in(request.start.key):
                raise InvalidRequest("signal", "it is for another run than the one that is started", "leave its key out")
            started = self._start(request.start)
            key = to.key_in(started.run.key)
            self._tell(key, "signal", request.signal.name, request.signal.payload, request.signal.message_id)
            return started

        return self.gate.run(context, work)

    def DebounceRun(self, request: cb.DebounceRunRequest, context: grpc.ServicerContext) -> cb.DebounceRunResponse:  # noqa: N802
        """Start a run when calls of its key have fallen silent."""
        self.gate.admit(context, "start", request.start.key.namespace)

        def work() -> str:
            start = request.start
            if not start.workflow:
                raise InvalidRequest("workflow", "it is empty", "name the workflow to start")
            spec: Any = Named(start.workflow, start.version, list(start.patches) if start.knows_patches else None)
            options = RunOptions(
                id=start.key.id,
                queue=QueueName(start.queue) if start.queue else None,
                key=start.fairness_key or None,
                priority=start.priority,
                delay=Micros(start.delay),
                deadline=Micros(start.deadline) if start.HasField("deadline") else None,
                tags=dict(start.tags),
            )
            call: Call[Any] = Call(spec, to_json(from_json(start.input or b"[]")), options.checked(f"workflow {start.workflow}"))
            client = Client(self.store, namespace=start.key.namespace or to.DEFAULT)
            longest = request.max_wait if request.HasField("max_wait") else None
            return debounce(client, call, key=request.key, delay=request.delay, max_wait=longest).id

        return cb.DebounceRunResponse(run_id=self.gate.run(context, work))

    def SignalRun(self, request: cb.SignalRunRequest, context: grpc.ServicerContext) -> cb.SignalRunResponse:  # noqa: N802
        """Leave a message for a run."""
        self.gate.admit(context, "start", request.key.namespace)
        told = self.gate.run(
            context, lambda: self._tell(to.key_in(request.key), "signal", request.name, request.payload, request.message_id)
        )
        return cb.SignalRunResponse(message_id=told)

    def _tell(self, key: RunKey, kind: str, name: str, payload: bytes, identity: str) -> str:
        identity = require_name(identity or uuid.uuid4().hex, "message id")
        message = Message(identity, key, kind, name, to_json(from_json(payload or b"null")))
        (fate,) = self.store.post([message])
        if fate is Posted.UNKNOWN:
            raise UnknownRun(key.id, key.namespace)
        if fate is Posted.CLOSED:
            raise RunClosed(key.id, self._run(key).status)
        return message.id

    def UpdateRun(self, request: cb.UpdateRunRequest, context: grpc.ServicerContext) -> cb.UpdateRunResponse:  # noqa: N802
        """Send an update and wait for the workflow's reply, as long as the caller waits."""
        self.gate.admit(context, "start", request.key.namespace)
        reply = self.gate.run(context, lambda: self._answered(request, "update", request.payload, context))
        return cb.UpdateRunResponse(reply=reply)

    def QueryRun(self, request: cb.QueryRunRequest, context: grpc.ServicerContext) -> cb.QueryRunResponse:  # noqa: N802
        """Ask the code of an open run, by way of the worker that drives it; the journal holds no trace of it."""
        self.gate.admit(context, "read", request.key.namespace)
        reply = self.gate.run(context, lambda: self._answered(request, "query", request.arguments or b"[]", context))
        return cb.QueryRunResponse(reply=reply)

    def _answered(
        self, request: cb.UpdateRunRequest | cb.QueryRunRequest, what: str, payload: bytes, context: grpc.ServicerContext
    ) -> bytes:
        """Leave a message, and wait for the worker's reply to it."""
        key = to.key_in(request.key)
        identity = require_name(request.message_id or uuid.uuid4().hex, "message id")
        message = self._tell(key, what, request.name, payload, asked_id(what, key.id, identity))
        seen = 0
        while self.gate.busy(context):
            closed = self._run(key).status in CLOSED
            for entry in self.store.read(key.namespace, REPLY + message, limit=1):
                return to_json(answer_of(key.id, what, request.name, from_json(entry.payload)))
            if closed:
                raise RunClosed(key.id, self._run(key).status)
            seen = self.pulse.wait(seen, LOOK)
        raise StoreUnavailable(self.store.url, "the server is closing", "ask again with the same message id")

    def ControlRun(self, request: cb.ControlRunRequest, context: grpc.ServicerContext) -> cb.ControlRunResponse:  # noqa: N802
        """Cancel, terminate, pause or resume a run."""
        self.gate.admit(context, "start", request.key.namespace)

        def work() -> None:
            if request.verb not in CONTROLS:
                raise InvalidRequest("verb", f"{request.verb!r} is none", f"use one of {', '.join(sorted(CONTROLS))}")
            payload = to_json({"reason": request.reason or request.verb})
            self._tell(to.key_in(request.key), request.verb, request.verb, payload, request.message_id)

        self.gate.run(context, work)
        return cb.ControlRunResponse()

    def PublishTopic(self, request: cb.PublishTopicRequest, context: grpc.ServicerContext) -> cb.PublishTopicResponse:  # noqa: N802
        """Append to topics."""
        self.gate.admit(context, "start", request.namespace)

        def work() -> None:
            for entry in request.entries:
                if entry.topic.startswith("~"):
                    raise InvalidRequest("topic", f"{entry.topic!r} is replay's own", "choose a name without a leading tilde")
            self.store.publish(request.namespace or to.DEFAULT, [(entry.topic, entry.payload) for entry in request.entries])

        self.gate.run(context, work)
        return cb.PublishTopicResponse()

    # ---- looking ----------------------------------------------------------------------------------------------------------

    def _run(self, key: RunKey) -> Run:
        (run,) = self.store.get([key])
        if run is None:
            raise UnknownRun(key.id, key.namespace)
        return run

    def GetRun(self, request: cb.GetRunRequest, context: grpc.ServicerContext) -> cb.GetRunResponse:  # noqa: N802
        """A run's index entry."""
        self.gate.admit(context, "read", request.key.namespace)
        return cb.GetRunResponse(run=to.run_out(self.gate.run(context, lambda: self._run(to.key_in(request.key)))))

    def ListRuns(self, request: cb.ListRunsRequest, context: grpc.ServicerContext) -> cb.ListRunsResponse:  # noqa: N802
        """Runs that match, in pages."""
        self.gate.admit(context, "read", request.filter.namespace)
        limit = min(request.limit or 100, 1_000)
        page = self.gate.run(context, lambda: self.store.find(to.filter_in(request.filter), limit=limit, cursor=request.cursor))
        return cb.ListRunsResponse(runs=map(to.run_out, page.runs), cursor=page.cursor)

    def ReadJournal(self, request: cb.ReadJournalRequest, context: grpc.ServicerContext) -> Iterator[cb.ReadJournalResponse]:  # noqa: N802
        """The journal, and what comes until the run ends when it is followed."""
        self.gate.admit(context, "read", request.key.namespace)
        key, after, seen = to.key_in(request.key), request.after, 0
        self.gate.run(context, lambda: self._run(key))
        while self.gate.busy(context):
            page = self.gate.run(context, lambda after=after: self.store.journal(key, after=after, limit=PAGE))  # type: ignore[misc]
            if page:
                for part in to.pages(page):
                    yield cb.ReadJournalResponse(events=map(to.event_out, part))
                after = page[-1].seq
                if page[-1].kind in CLOSING:
                    return
            elif not request.follow:
                return
            elif self.gate.run(context, lambda: self._run(key)).status in CLOSED:
                request.follow = False  # one more look, for what came between
            else:
                seen = self.pulse.wait(seen, LOOK)

    def WatchRun(self, request: cb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[cb.WatchRunResponse]:  # noqa: N802
        """The index entry now, and whenever it has changed, until the run ends."""
        self.gate.admit(context, "read", request.key.namespace)
        key, last, seen = to.key_in(request.key), None, 0
        while self.gate.busy(context):
            run = self.gate.run(context, lambda: self._run(key))
            if run != last:
                yield cb.WatchRunResponse(run=to.run_out(run))
                last = run
            if run.status in CLOSED:
                return
            seen = self.pulse.wait(seen, LOOK)

    def ReadTopic(self, request: cb.ReadTopicRequest, context: grpc.ServicerContext) -> Iterator[cb.ReadTopicResponse]:  # noqa: N802
        """Entries of a topic, and what comes when it is followed."""
        self.gate.admit(context, "read", request.namespace)
        namespace, after, seen = request.namespace or to.DEFAULT, request.after, 0
        while self.gate.busy(context):
            page = self.gate.run(context, lambda after=after: self.store.read(namespace, request.topic, after=after))  # type: ignore[misc]
            if page:
                for part in to.pages(page):
                    yield cb.ReadTopicResponse(entries=map(to.entry_out, part))
                after = page[-1].offset
            elif not request.follow:
                return
            else:
                seen = self.pulse.wait(seen, LOOK)

    def ListSavepoints(self, request: cb.ListSavepointsRequest, context: grpc.ServicerContext) -> cb.ListSavepointsResponse:  # noqa: N802
        """The savepoints of a run, oldest first."""
        self.gate.admit(context, "read", request.key.namespace)
        points = travel.savepoints(self.gate.run(context, lambda: self._journal(to.key_in(request.key))))
        return cb.ListSavepointsResponse(
            savepoints=[
                cb.Savepoint(name=point.name, seq=point.seq, at=point.at, notes=to_json(dict(point.notes)), has_state=point.has_state)
                for point in points
            ]
        )

    def _journal(self, key: RunKey) -> list[Event]:
        found: list[Event] = []
        while page := self.store.journal(key, after=len(found), limit=10_000):
            found += page
        if not found:
            self._run(key)
        return found

    # ---- forking ----------------------------------------------------------------------------------------------------------

    def ForkRun(self, request: cb.ForkRunRequest, context: grpc.ServicerContext) -> cb.ForkRunResponse:  # noqa: N802
        """A new run that shares another's past; the source is never touched."""
        self.gate.admit(context, "start", request.source.namespace)

        def work() -> Run:
            source = to.key_in(request.source)
            name = require_name(request.target_id or f"{source.id}-fork-{uuid.uuid4().hex[:8]}", "target_id")
            target = RunKey(source.namespace, name)
            made = fork_raw(self._run(source), self._journal(source), target, request.at, dict(request.edits))
            (created,) = self.store.create([made])
            if not created.new:
                past = self.store.journal(target, limit=len(made.events))
                if created.run.source != made.source or past != list(made.events):
                    raise RunExists(target.id, created.run.workflow, f"a fork of {source.id}")
            return created.run

        return cb.ForkRunResponse(run=to.run_out(self.gate.run(context, work)))


def _asked(request: cb.StartRunRequest, now: int) -> NewRun | Exception:
    """The run that a start asks for, or why there can be none."""
    try:
        return _new(request, now)
    except (ReplayError, ValueError) as error:
        return error


def _new(request: cb.StartRunRequest, now: int) -> NewRun:
    key = RunKey(
        require_namespace(request.key.namespace or to.DEFAULT),
        require_name(request.key.id or uuid.uuid4().hex, "id"),
    )
    if not request.workflow:
        raise InvalidRequest("workflow", "it is empty", "name the workflow to start")
    begin = Started(
        workflow=request.workflow,
        version=request.version,
        input=to_json(from_json(request.input or b"[]")),
        seed=key.id,
        namespace=key.namespace,
        patches=tuple(request.patches) if request.knows_patches else None,
        deadline=now + request.deadline if request.HasField("deadline") else None,
        tags=dict(request.tags),
    )
    ready_at = now + request.delay if request.delay else 0
    queue = require_name(request.queue or "default", "queue")
    of = request.fairness_key and require_name(request.fairness_key, "fairness_key")
    return new_run(key, begin, at=now, queue=queue, priority=request.priority, fairness_key=of, ready_at=ready_at)


def _same(asked: NewRun, made: Created | Exception) -> Created | Exception:
    """What was made, unless the id is taken by a run of another input."""
    if isinstance(made, Exception) or made.new or made.run.digest == asked.digest:
        return made
    return RunExists(asked.key.id, f"{made.run.workflow} {made.run.digest}", f"{asked.workflow} {asked.digest}")


def _outcome(made: Created | Exception) -> cb.StartOutcome:
    if isinstance(made, Exception):
        return cb.StartOutcome(error=pb.ErrorDetail.FromString(detail_of(made)), message=words_of(made))
    run = made.run if made.new else attrs.evolve(made.run, state={}, result=b"")  # one that is new has neither
    return cb.StartOutcome(run=to.run_out(run), new=made.new)


def fork_raw(run: Run, journal: list[Event], target: RunKey, at: str, edits: dict[int, bytes]) -> NewRun:
    """A fork without the workflow's code: bytes are replaced as they are, and whoever drives the run finds out whether they fit.

    Raises:
        UnknownName: There is no such savepoint or event.
        InvalidRequest: An edit lies behind the fork, or edits what is no answer.
    """
    open_part = len(journal) - sum(1 for event in journal[-1:] if event.kind in CLOSING)
    until = min(travel.place(journal, int(at) if at.isdigit() else at), open_part) if at else max(edits, default=open_part)
    for number in edits:
        travel.require_event(journal, number)
        if not 1 < number <= until:
            raise InvalidRequest("edits", f"event #{number} is not among #2 to #{until}", "fork later, or edit earlier")
    begin = Started.decode(journal[0], run.key.id)
    begin = attrs.evolve(begin, parent="", parent_command="", deadline=None, seed=begin.seed or run.key.id)
    past = [journal[0]._replace(payload=begin.encode())]
    past += [
        event._replace(payload=to_json(from_json(edits[event.seq]))) if event.seq in edits else event for event in journal[1:until]
    ]
    bases = [event.seq for event in past if event.kind == SAVEPOINT and Resume.decode(event.payload) is not None]
    return NewRun(
        key=target,
        workflow=run.workflow,
        version=run.version,
        queue=run.queue,
        fairness_key=run.fairness_key,
        digest=digest(run.workflow, begin.input),
        events=past,
        tags=begin.tags,
        base=bases[-1] if bases else 0,
        applied=min(edits) - 1 if edits else until,
        source=f"{run.key.id}#{until}",
    )
