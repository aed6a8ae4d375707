"""``grpc://host:port``: a store behind a server, a store like any other.

Rule 1: a verb is a call. Reads and idempotent verbs are tried again by gRPC itself when the server cannot be reached; a commit is
not, for the engine must know that its answer was not heard.
Rule 2: the clock is the server's: its offset from this machine's monotonic clock is learned from every answer that carries it.
Rule 3: commits go over one stream (``line``), which costs a third of a call each.
Rule 4: no database credentials here; a token, if any, goes with every call.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import grpc

from replay import __version__
from replay.errors import InvalidRequest, ReplayError, StoreUnavailable
from replay.model.events import Event
from replay.service import translate as to
from replay.service.faults import revive
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.service.generated import worker_pb2_grpc
from replay.service.line import Line
from replay.store.contract import (
    Capability,
    Claim,
    Claimed,
    Claims,
    Clock,
    Commit,
    Committed,
    Created,
    Entry,
    Filter,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
)

PROTOCOL: Final = 1
COMMITS: Final = "/replay.v1.WorkerService/CommitStream"
CHUNK: Final = 256 * 1024
"""Bytes of one message of a blob."""
JUMP: Final = 1_000_000
"""Microseconds from which on the server's clock went back; less is a correction, and time stands still meanwhile."""
HASTE: Final = 0.05
PAUSE: Final = 0.25
"""Seconds that a server answers too early by when too many wait, and that are waited here instead."""
DEADLINE: Final = 30.0
"""Seconds that a call may take."""
SAFE: Final = ("Hello", "Create", "Renew", "Release", "Post", "Journal", "Get", "Find", "Read", "GetBlob", "Wait", "Delete")
"""Verbs that may be tried again without asking."""
RETRIES: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "replay.v1.WorkerService", "method": verb} for verb in SAFE],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def open_grpc(url: str, *, clock: Clock | None = None) -> GrpcStore:
    """Open the store behind a server.

    Args:
        url: ``grpc://host:port`` or ``grpcs://host:port``; options: ``token`` (or ``REPLAY_TOKEN``), ``max_message`` in bytes, and for
            ``grpcs`` ``ca``, ``cert``, ``key``: files of the authority, and of this client for mutual TLS.
        clock: The time, for tests; None for the server's.

    Raises:
        InvalidRequest: The URL does not fit.
        StoreUnavailable: The server cannot be reached, or refuses the token.
    """
    return GrpcStore(url, clock=clock)


class GrpcStore:
    """The store contract, verb by verb, over one channel."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = set(options) - {"token", "max_message", "ca", "cert", "key"}
        if unknown or not parts.hostname:
            problem = f"unknown options {', '.join(sorted(unknown))}" if unknown else "it names no host"
            raise InvalidRequest(f"store URL {parts.scheme}://{parts.hostname}", problem, "write grpc://host:port?token=…")
        self.address = f"{parts.hostname}:{parts.port or 7233}"
        self.url = f"{parts.scheme}://{self.address}"
        token = options.get("token") or os.environ.get("REPLAY_TOKEN", "")
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._clock = clock
        self._channel = _channel(self.address, options, self.url)
        self._stub = worker_pb2_grpc.WorkerServiceStub(self._channel)
        self._line = Line(self._channel, COMMITS, self._metadata, DEADLINE)
        self._closed = threading.Event()
        self._clock_lock = threading.Lock()
        self._offset = -(2**62)
        self._latest = 0
        hello = self._hello()
        self.capabilities = Capability.NONE
        for name in hello.capabilities:
            self.capabilities |= Capability.__members__.get(name.upper(), Capability.NONE)  # a newer server may know more

    def _hello(self) -> wb.HelloResponse:
        try:
            hello: wb.HelloResponse = self._ask(self._stub.Hello, wb.HelloRequest(protocol=PROTOCOL, client=f"python/{__version__}"))
        except ReplayError:
            self._channel.close()
            raise
        return hello

    def _ask(self, call: Any, request: Any, timeout: float = DEADLINE) -> Any:
        asked = time.monotonic_ns()
        try:
            answer = call(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise revive(error, self.url) from None
        except ValueError as error:  # the channel was closed
            raise StoreUnavailable(self.url, str(error), "open it again") from None
        if hasattr(answer, "now"):
            self._learn(asked, answer.now)
        return answer

    def _stream(self, call: Any, request: Any) -> Iterator[Any]:
        try:
            yield from call(request, timeout=DEADLINE * 10, metadata=self._metadata)
        except grpc.RpcError as error:
            raise revive(error, self.url) from None
        except ValueError as error:  # the channel was closed
            raise StoreUnavailable(self.url, str(error), "open it again") from None

    def _commit(self, request: wb.CommitRequest) -> wb.CommitResponse:
        """Over the line; a call of its own when the line did not hear it, or the server has no room for lines."""
        asked = time.monotonic_ns()
        heard: bytes | None = None
        try:
            heard = self._line.try_ask(request.SerializeToString())
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise revive(error, self.url) from None
        except ValueError as error:  # the channel was closed
            raise StoreUnavailable(self.url, str(error), "open it again") from None
        if heard is None:
            called: wb.CommitResponse = self._ask(self._stub.Commit, request)
            return called
        answer = wb.CommitResponse.FromString(heard)
        self._learn(asked, answer.now)
        return answer

    def _learn(self, asked: int, now: int) -> None:
        """Take the server's time from an answer.

        The server looked at its clock between the moment of asking and this one, so each answer bounds the offset from both sides.
        """
        least, most = now - time.monotonic_ns() // 1000, now - asked // 1000
        with self._clock_lock:
            self._offset = min(max(self._offset, least), most)

    def now(self) -> int:
        """See ``Store.now``; it goes back only when the server's clock did, not for the sake of a correction."""
        if self._clock is not None:
            return self._clock()
        with self._clock_lock:
            found = self._offset + time.monotonic_ns() // 1000
            if not 0 < self._latest - found < JUMP:
                self._latest = found
            return self._latest

    def create(self, runs: Sequence[NewRun], *, worker: str = "", ttl: int = 0) -> list[Created]:
        """See ``Store.create``."""
        request = wb.CreateRequest(runs=map(to.new_run_out, runs), worker=worker, ttl=ttl)
        return [to.created_in(made) for made in self._ask(self._stub.Create, request).runs]

    def claim(self, claim: Claim) -> Claims:
        """See ``Store.claim``."""
        answer = self._ask(self._stub.Claim, to.claim_out(claim))
        runs = [self._whole(to.claimed_in(claimed), claimed.partial) for claimed in answer.runs]
        mail = [to.message_in(message) for message in answer.mail]
        return Claims(runs, mail, answer.next_at if answer.HasField("next_at") else None)

    def _whole(self, claimed: Claimed, partial: bool) -> Claimed:  # noqa: FBT001 - a fact that came with it
        if not partial:
            return claimed
        return claimed._replace(journal=[*claimed.journal, *self.journal(claimed.run.key, after=to.rest_after(claimed))])

    def renew(self, leases: Sequence[Lease], *, ttl: int) -> list[bool]:
        """See ``Store.renew``."""
        return list(self._ask(self._stub.Renew, wb.RenewRequest(leases=map(to.lease_out, leases), ttl=ttl)).kept)

    def release(self, leases: Sequence[Lease]) -> None:
        """See ``Store.release``."""
        self._ask(self._stub.Release, wb.ReleaseRequest(leases=map(to.lease_out, leases)))

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        """See ``Store.commit``."""
        answer = self._commit(wb.CommitRequest(commits=map(to.commit_out, batch)))
        return [to.FATES_IN[fate] for fate in answer.fates]

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """See ``Store.post``."""
        answer = self._ask(self._stub.Post, wb.PostRequest(messages=map(to.message_out, messages)))
        return [to.POSTED_IN[fate] for fate in answer.fates]

    def journal(self, key: RunKey, *, after: int = 0, limit: int = 1_000_000) -> list[Event]:
        """See ``Store.journal``."""
        request = wb.JournalRequest(key=to.key_out(key), after=after, limit=limit)
        return [to.event_in(event) for page in self._stream(self._stub.Journal, request) for event in page.events]

    def get(self, keys: Sequence[RunKey]) -> list[Run | None]:
        """See ``Store.get``."""
        answer = self._ask(self._stub.Get, wb.GetRequest(keys=map(to.key_out, keys)))
        return [to.run_in(found.run) if found.HasField("run") else None for found in answer.runs]

    def find(self, query: Filter, *, limit: int = 100, cursor: str = "") -> Page:
        """See ``Store.find``."""
        if query.statuses is not None and not query.statuses:
            return Page([], "")
        answer = self._ask(self._stub.Find, wb.FindRequest(filter=to.filter_out(query), limit=limit, cursor=cursor))
        return Page([to.run_in(run) for run in answer.runs], answer.cursor)

    def delete(self, keys: Sequence[RunKey]) -> int:
        """See ``Store.delete``."""
        return int(self._ask(self._stub.Delete, wb.DeleteRequest(keys=map(to.key_out, keys))).removed)

    def publish(self, namespace: str, entries: Sequence[tuple[str, bytes]]) -> None:
        """See ``Store.publish``."""
        listed = [pb.TopicEntry(topic=topic, payload=payload) for topic, payload in entries]
        self._ask(self._stub.Publish, wb.PublishRequest(namespace=namespace, entries=listed))

    def read(self, namespace: str, topic: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See ``Store.read``."""
        request = wb.ReadRequest(namespace=namespace, topic=topic, after=after, limit=limit)
        return [to.entry_in(entry) for entry in self._ask(self._stub.Read, request).entries]

    def put_blob(self, data: bytes) -> str:
        """See ``Store.put_blob``."""
        chunks = (wb.PutBlobRequest(chunk=data[first : first + CHUNK]) for first in range(0, max(len(data), 1), CHUNK))
        return str(self._ask(self._stub.PutBlob, chunks, DEADLINE * 10).name)

    def get_blob(self, name: str) -> bytes:
        """See ``Store.get_blob``."""
        return b"".join(part.chunk for part in self._stream(self._stub.GetBlob, wb.GetBlobRequest(name=name)))

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``."""
        until = time.monotonic() + timeout
        answer = self._ask(self._stub.Wait, wb.WaitRequest(seen=seen, timeout=timeout), timeout + DEADLINE)
        early = until - time.monotonic()
        if answer.seen == seen and early > HASTE:  # the server has no room for those who wait
            self._closed.wait(min(early, PAUSE))
        return int(answer.seen)

    def close(self) -> None:
        """See ``Store.close``."""
        self._closed.set()
        self._line.close()
        self._channel.close()


def _channel(address: str, options: dict[str, str], url: str) -> grpc.Channel:
    try:
        largest = int(options.get("max_message", 64 * 1024 * 1024))
        files = {name: Path(options[name]).read_bytes() for name in ("ca", "cert", "key") if name in options}
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"store URL {url}", str(error), "check max_message and the files it names") from None
    settings: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", largest),
        ("grpc.max_send_message_length", largest),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", RETRIES),
    ]
    if url.startswith("grpc://"):
        return grpc.insecure_channel(address, settings)
    credentials = grpc.ssl_channel_credentials(files.get("ca"), files.get("key"), files.get("cert"))
    return grpc.secure_channel(address, credentials, settings)
