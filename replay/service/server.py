"""The gRPC server: the store contract and the client's calls, over any store.

Rule 1: a call is checked (token, namespace, size), translated, and handed to the store; nothing is decided here that the store
decides. No foreign code runs in it.
Rule 2: what fails is answered with a status and replay's own error (``faults``); a server that nobody expects to fail says INTERNAL
and logs why.
Rule 3: ending is graceful: new calls are refused, calls under way may end, waiting calls are answered. No claim is lost, for leases
are the store's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import grpc

from replay import __version__
from replay.client.debouncing import COLLECTOR
from replay.client.names import ASKING, require_name, require_namespace
from replay.engine.presence import announce, owner_of, withdraw
from replay.errors import InvalidRequest, PayloadTooLarge
from replay.service import translate as to
from replay.service.access import Grant, Tokens
from replay.service.calls import Calls
from replay.service.faults import TRAILER, detail_of, status_of, words_of
from replay.service.generated import client_pb2_grpc, worker_pb2_grpc
from replay.service.generated import worker_pb2 as wb
from replay.service.line import Turns
from replay.service.translate import DEFAULT
from replay.service.waiting import Pulse, Room
from replay.store.contract import Capability, Store
from replay.store.recognising import recognised

logger: Final = logging.getLogger("replay.service")
PROTOCOL: Final = 1
"""Version of this protocol; a client of another major version is refused at ``Hello``."""
PAGE: Final = 500
"""Events in one message of a streamed journal."""
CHUNK: Final = 256 * 1024
"""Bytes in one message of a streamed blob."""
ENTRY: Final = 1024 * 1024
"""Bytes that a worker may tell of itself: whoever lists workers reads this of each."""
NAP: Final = 20.0
"""Seconds after which a waiting call is answered even when nothing changed."""
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Service:
    """How a server serves.

    Attributes:
        listen: ``host:port``; port 0 takes a free one.
        threads: Calls handled at once.
        waiting: Calls that wait, and streams that are open, at once; they take none of ``threads``.
        max_message: The largest message taken, in bytes.
        max_blob: The largest blob taken, in bytes.
        tls_key: File of the server's private key, or None for no TLS.
        tls_cert: File of the server's certificate chain.
        tls_clients: File of the certificates that clients must show (mutual TLS), or None.
        tokens: File of tokens, or None to let everybody in.
    """

    listen: str = "127.0.0.1:7233"
    threads: int = 64
    waiting: int = 512
    max_message: int = 32 * 1024 * 1024
    max_blob: int = 256 * 1024 * 1024
    tls_key: Path | None = None
    tls_cert: Path | None = None
    tls_clients: Path | None = None
    tokens: Path | None = None


class Gate:
    """What every call passes: who asks, may they, and how a failure is answered."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.closing = threading.Event()

    def busy(self, context: grpc.ServicerContext) -> bool:
        """Whether a call that waits should go on waiting: the caller is there, and the server is not closing."""
        return context.is_active() and not self.closing.is_set()

    def grant(self, context: grpc.ServicerContext) -> Grant:
        """What the caller's token allows; ends the call when it is unknown."""
        given = dict(context.invocation_metadata() or ())
        found = self.tokens.grant(str(given.get("authorization", "")))
        if found is None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or unknown")
        assert found is not None
        return found

    def admit(self, context: grpc.ServicerContext, scope: str, *namespaces: str, grant: Grant | None = None) -> None:
        """End the call unless its token allows this; who asks again in the same call may bring what its token grants."""
        if not (grant or self.grant(context)).allows(scope, [name or DEFAULT for name in namespaces]):
            named = ", ".join(sorted(set(namespaces))) or "any"
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the token does not allow {scope!r} in namespace {named}")

    def run(self, context: grpc.ServicerContext, work: Callable[[], T]) -> T:
        """Do what was asked; a failure ends the call with its status and detail."""
        try:
            return work()
        except Exception as error:
            self.refuse(context, error)
            raise

    def refuse(self, context: grpc.ServicerContext, error: Exception) -> None:
        """End a call with an error."""
        code = status_of(error)
        if code is grpc.StatusCode.INTERNAL:
            logger.error("a call failed unexpectedly", exc_info=error)
        context.set_trailing_metadata(((TRAILER, detail_of(error)),))
        context.abort(code, words_of(error))


def names(keys: Any) -> list[str]:
    """The namespaces that some messages with keys belong to."""
    return [item.key.namespace for item in keys]


class Worker(worker_pb2_grpc.WorkerServiceServicer):  # type: ignore[misc]  # generated code has no types
    """The store contract, verb by verb."""

    def __init__(self, store: Store, gate: Gate, service: Service, pulse: Pulse, room: Room) -> None:
        self.store = store
        self.gate = gate
        self.service = service
        self.pulse = pulse
        self.room = room
        room.seat(self, streams=("ClaimStream", "CommitStream"), answers={"Wait": self._hurry})

    def Hello(self, request: wb.HelloRequest, context: grpc.ServicerContext) -> wb.HelloResponse:  # noqa: N802 - gRPC's spelling
        """Versions and capabilities."""
        grant = self.gate.grant(context)
        if request.namespace and grant.namespace not in {"*", request.namespace}:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the token is not for namespace {request.namespace}")
        if request.protocol != PROTOCOL:
            problem = f"the client speaks protocol {request.protocol}, this server {PROTOCOL}"
            self.gate.refuse(context, InvalidRequest("protocol", problem, "upgrade the older of the two"))
        can = [flag.name.lower() for flag in Capability if flag in self.store.capabilities and flag.name]
        return wb.HelloResponse(
            protocol=PROTOCOL,
            server=f"replay/{__version__}",
            capabilities=[name for name in can if name != "transactions"],
            now=self.store.now(),
            max_message=self.service.max_message,
            scopes=sorted(grant.scopes),
        )

    def Create(self, request: wb.CreateRequest, context: grpc.ServicerContext) -> wb.CreateResponse:  # noqa: N802
        """Create runs."""
        self.gate.admit(context, "work" if request.worker else "start", *names(request.runs))
        runs = [to.new_run_in(run) for run in request.runs]
        made = self.gate.run(context, lambda: self.store.create(runs, worker=request.worker, ttl=request.ttl))
        return wb.CreateResponse(runs=map(to.created_out, made))

    def Claim(self, request: wb.ClaimRequest, context: grpc.ServicerContext) -> wb.ClaimResponse:  # noqa: N802
        """Take runs that are ready."""
        self.gate.admit(context, "work", request.namespace)
        return self.gate.run(context, lambda: self._claim(request))

    def _claim(self, request: wb.ClaimRequest) -> wb.ClaimResponse:
        claims = self.store.claim(to.claim_in(request))
        return wb.ClaimResponse(
            runs=to.claims_out(claims.runs),
            mail=map(to.message_out, claims.mail),
            next_at=claims.next_at,
            now=self.store.now(),
        )

    def ClaimStream(self, requests: Iterator[wb.ClaimRequest], context: grpc.ServicerContext) -> Iterator[wb.ClaimResponse]:  # noqa: N802
        """Answer each request as soon as there is something for it, or after a nap."""
        grant = self.gate.grant(context)
        for request in self.room.each(requests, context):
            self.gate.admit(context, "work", request.namespace, grant=grant)
            answer = self.gate.run(context, lambda request=request: self._claim(request))  # type: ignore[misc]
            seen = 0
            waited = 0.0
            while not answer.runs and not answer.mail and waited < NAP:
                until = (answer.next_at - answer.now) / 1e6 if answer.HasField("next_at") else 1.0
                pause = max(0.001, min(1.0, until))
                seen = self.pulse.wait(seen, pause)
                waited += pause
                if not self.gate.busy(context):  # nothing is claimed for who has gone meanwhile
                    break
                answer = self.gate.run(context, lambda request=request: self._claim(request))  # type: ignore[misc]
            yield answer

    def Renew(self, request: wb.RenewRequest, context: grpc.ServicerContext) -> wb.RenewResponse:  # noqa: N802
        """Prolong leases."""
        self.gate.admit(context, "work", *names(request.leases))
        leases = [to.lease_in(lease) for lease in request.leases]
        return wb.RenewResponse(kept=self.gate.run(context, lambda: self.store.renew(leases, ttl=request.ttl)))

    def Release(self, request: wb.ReleaseRequest, context: grpc.ServicerContext) -> wb.ReleaseResponse:  # noqa: N802
        """Give leases back."""
        self.gate.admit(context, "work", *names(request.leases))
        self.gate.run(context, lambda: self.store.release([to.lease_in(lease) for lease in request.leases]))
        return wb.ReleaseResponse()

    def Commit(self, request: wb.CommitRequest, context: grpc.ServicerContext) -> wb.CommitResponse:  # noqa: N802
        """Make turns durable."""
        return self._commit(request, context, self.gate.grant(context))

    def _commit(self, request: wb.CommitRequest, context: grpc.ServicerContext, grant: Grant) -> wb.CommitResponse:
        batch = [to.commit_in(commit) for commit in request.commits]
        for commit in batch:  # as translated, for to read a message twice costs as much as to translate it
            runs = commit.children if commit.successor is None else (*commit.children, commit.successor)
            self.gate.admit(context, "work", commit.lease.key.namespace, *names(commit.posts), *names(runs), grant=grant)
        fates = self.gate.run(context, lambda: self.store.commit(batch))
        if request.again:
            fates = self.gate.run(context, lambda: recognised(self.store, batch, fates))
        return wb.CommitResponse(fates=[to.FATES[fate] for fate in fates], now=self.store.now())  # type: ignore[misc]  # enum values

    def CommitStream(self, requests: Iterator[wb.CommitRequest], context: grpc.ServicerContext) -> Iterator[wb.CommitResponse]:  # noqa: N802
        """Commit request by request, answers in their order."""
        grant = self.gate.grant(context)
        try:
            turns = Turns(context)
        except (ImportError, AttributeError):  # another gRPC: the same in its own way, which costs two changes of thread more
            for request in self.room.each(requests, context):
                yield self._commit(request, context, grant)
            return
        for message in self.room.each(turns, context):
            request = self.gate.run(context, partial(wb.CommitRequest.FromString, message))
            turns.answer(self._commit(request, context, grant).SerializeToString())

    def Post(self, request: wb.PostRequest, context: grpc.ServicerContext) -> wb.PostResponse:  # noqa: N802
        """Leave messages."""
        asking = request.messages and all(each.kind == "query" and ASKING.fullmatch(each.id) for each in request.messages)
        scope = "work" if any(message.kind == "answer" for message in request.messages) else "read" if asking else "start"
        self.gate.admit(context, scope, *names(request.messages))
        fates = self.gate.run(context, lambda: self.store.post([to.message_in(message) for message in request.messages]))
        return wb.PostResponse(fates=[to.POSTED[fate] for fate in fates])  # type: ignore[misc]  # enum values

    def Journal(self, request: wb.JournalRequest, context: grpc.ServicerContext) -> Iterator[wb.JournalResponse]:  # noqa: N802
        """Events in pages."""
        self.gate.admit(context, "read", request.key.namespace)
        key, after, left = to.key_in(request.key), request.after, request.limit
        while left > 0:
            size = min(PAGE, left)
            page = self.gate.run(context, lambda after=after, size=size: self.store.journal(key, after=after, limit=size))  # type: ignore[misc]
            for part in to.pages(page):
                yield wb.JournalResponse(events=map(to.event_out, part))
            if len(page) < size:
                return
            after, left = page[-1].seq, left - len(page)

    def Get(self, request: wb.GetRequest, context: grpc.ServicerContext) -> wb.GetResponse:  # noqa: N802
        """Index entries."""
        self.gate.admit(context, "read", *[key.namespace for key in request.keys])
        runs = self.gate.run(context, lambda: self.store.get([to.key_in(key) for key in request.keys]))
        return wb.GetResponse(runs=[wb.MaybeRun(run=None if run is None else to.run_out(run)) for run in runs])

    def Find(self, request: wb.FindRequest, context: grpc.ServicerContext) -> wb.FindResponse:  # noqa: N802
        """Runs that match."""
        self.gate.admit(context, "read", request.filter.namespace)
        query = to.filter_in(request.filter)
        page = self.gate.run(context, lambda: self.store.find(query, limit=request.limit, cursor=request.cursor))
        return wb.FindResponse(runs=map(to.run_out, page.runs), cursor=page.cursor)

    def Delete(self, request: wb.DeleteRequest, context: grpc.ServicerContext) -> wb.DeleteResponse:  # noqa: N802
        """Remove closed runs."""
        spaces = [key.namespace for key in request.keys]
        leaving = bool(spaces) and all(owner_of(name) != name for name in spaces)  # a worker takes its own entry away
        collected = bool(spaces) and all(key.id.startswith(COLLECTOR) for key in request.keys)  # as every debounced start may do
        self.gate.admit(context, "work" if leaving else "start" if collected else "admin", *spaces)
        removed = self.gate.run(context, lambda: self.store.delete([to.key_in(key) for key in request.keys]))
        return wb.DeleteResponse(removed=removed)

    def Publish(self, request: wb.PublishRequest, context: grpc.ServicerContext) -> wb.PublishResponse:  # noqa: N802
        """Append to topics."""
        scope = "work" if any(entry.topic.startswith("~") for entry in request.entries) else "start"  # those are replay's own
        self.gate.admit(context, scope, request.namespace)
        entries = [(entry.topic, entry.payload) for entry in request.entries]
        self.gate.run(context, lambda: self.store.publish(request.namespace or DEFAULT, entries))
        return wb.PublishResponse()

    def Read(self, request: wb.ReadRequest, context: grpc.ServicerContext) -> wb.ReadResponse:  # noqa: N802
        """Entries of a topic."""
        self.gate.admit(context, "read", request.namespace)
        found = self.gate.run(
            context, lambda: self.store.read(request.namespace or DEFAULT, request.topic, after=request.after, limit=request.limit)
        )
        return wb.ReadResponse(entries=map(to.entry_out, found))

    def PutBlob(self, requests: Iterator[wb.PutBlobRequest], context: grpc.ServicerContext) -> wb.PutBlobResponse:  # noqa: N802
        """Keep bytes that come in chunks."""
        self.gate.admit(context, "work")
        data = bytearray()
        for request in requests:
            data += request.chunk
            if len(data) > self.service.max_blob:
                self.gate.refuse(context, PayloadTooLarge("blob", len(data), self.service.max_blob))
        return wb.PutBlobResponse(name=self.gate.run(context, lambda: self.store.put_blob(bytes(data))))

    def GetBlob(self, request: wb.GetBlobRequest, context: grpc.ServicerContext) -> Iterator[wb.GetBlobResponse]:  # noqa: N802
        """Bytes by name, in chunks."""
        self.gate.admit(context, "read")
        data = self.gate.run(context, lambda: self.store.get_blob(request.name))
        for first in range(0, max(len(data), 1), CHUNK):
            yield wb.GetBlobResponse(chunk=data[first : first + CHUNK])

    def Wait(self, request: wb.WaitRequest, context: grpc.ServicerContext) -> wb.WaitResponse:  # noqa: N802
        """Answer when something may have changed."""
        self.gate.admit(context, "read")
        timeout = min(max(0.0, request.timeout), NAP)
        seen = 0 if self.gate.closing.is_set() else self.pulse.wait(request.seen, timeout)
        return wb.WaitResponse(seen=seen, now=self.store.now())

    def Announce(self, request: wb.AnnounceRequest, context: grpc.ServicerContext) -> wb.AnnounceResponse:  # noqa: N802
        """Show a worker among those that are at work, or show it no longer."""
        self.gate.admit(context, "work", request.namespace)
        self.gate.run(context, lambda: self._announce(request))
        return wb.AnnounceResponse(now=self.store.now())

    def _announce(self, request: wb.AnnounceRequest) -> None:
        namespace, name = require_namespace(request.namespace or DEFAULT), require_name(request.worker, "worker")
        if request.leaving:
            withdraw(self.store, namespace, name)
            return
        if request.every <= 0:
            raise InvalidRequest("every", f"{request.every} is no time between two heartbeats", "give it in microseconds")
        if request.ByteSize() > ENTRY:
            raise PayloadTooLarge(f"what worker {name} tells of itself", request.ByteSize(), ENTRY)
        announce(self.store, namespace, name, to.told_in(request))

    def _hurry(self, request: wb.WaitRequest, context: grpc.ServicerContext) -> wb.WaitResponse:
        """The answer when too many wait: nothing is known to have changed; the client pauses by itself."""
        self.gate.admit(context, "read")
        return wb.WaitResponse(seen=request.seen, now=self.store.now())


class Server:
    """A running server.

    Args:
        store: What it serves; closed by whoever opened it.
        service: How.

    Attributes:
        port: Where it listens.

    Raises:
        InvalidRequest: The address is taken or no address, or a file of keys or tokens does not fit.
    """

    def __init__(self, store: Store, service: Service) -> None:
        self.gate = Gate(Tokens.read(service.tokens))
        options = [
            ("grpc.max_receive_message_length", service.max_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._pool = ThreadPoolExecutor(service.threads, thread_name_prefix="replay-call")
        self._server = grpc.server(self._pool, options=options)
        self._pulse = Pulse(store)
        self._room = Room(service.waiting)
        worker = Worker(store, self.gate, service, self._pulse, self._room)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(worker, self._server)
        client_pb2_grpc.add_ClientServiceServicer_to_server(Calls(store, self.gate, self._pulse, self._room), self._server)
        self._health = _add_standard(self._server)
        try:
            self.port = _bind(self._server, service)
        except InvalidRequest:
            self.stop(0)
            raise
        self._server.start()

    def stop(self, grace: float = 10.0) -> None:
        """Refuse new calls, answer those that wait, let the others end for some seconds."""
        self.gate.closing.set()
        self._health.enter_graceful_shutdown()
        ended = self._server.stop(grace)
        self._room.close()  # first, so that who is answered now also ends its stream
        self._pulse.close()
        ended.wait(grace + 5)
        self._pool.shutdown(wait=False)
        self._room.dismiss()

    def wait(self) -> None:
        """Sleep until it was stopped."""
        self._server.wait_for_termination()


def _add_standard(server: grpc.Server) -> Any:
    """Health checks and reflection, as every gRPC server has them."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    from replay.service.generated import client_pb2, worker_pb2

    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    services = [
        worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name,
        client_pb2.DESCRIPTOR.services_by_name["ClientService"].full_name,
    ]
    for name in ("", *services):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return checks


def _bind(server: grpc.Server, service: Service) -> int:
    try:
        if service.tls_key is None and service.tls_cert is None and service.tls_clients is None:
            return int(server.add_insecure_port(service.listen))
        if service.tls_key is None or service.tls_cert is None:
            raise InvalidRequest("TLS", "certificate and key go together, mutual TLS needs both", "give --tls-cert and --tls-key")
        key, chain = service.tls_key.read_bytes(), service.tls_cert.read_bytes()
        clients = None if service.tls_clients is None else service.tls_clients.read_bytes()
        credentials = grpc.ssl_server_credentials([(key, chain)], clients, require_client_auth=clients is not None)
        return int(server.add_secure_port(service.listen, credentials))
    except (RuntimeError, OSError, ValueError) as error:
        raise InvalidRequest(f"listen {service.listen}", str(error), "choose another address, or check the files of keys") from None


__all__ = ["PROTOCOL", "Gate", "Server", "Service"]
