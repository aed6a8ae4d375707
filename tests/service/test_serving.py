"""A server as the world treats it: too much, nonsense, slowness, restarts; nothing is lost, and each has a clear error."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from replay import Client, Engine, InvalidRequest, PayloadTooLarge, RunFailed, StoreRefused, StoreUnavailable, Workflow, step, workflow
from replay.errors import JournalDamaged, NonDeterminismError
from replay.hooks import open_store
from replay.model.events import Event
from replay.service.faults import MESSAGE, detail_of, words_of
from replay.service.generated import client_pb2 as cb
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.service.generated import worker_pb2_grpc
from replay.service.server import PROTOCOL, Server, Service
from replay.service.store import GrpcStore
from replay.store.contract import Capability, Claim, Commit, Committed, NewRun, RunKey, Store
from tests.service.wire import PATIENCE, doubling, greeting, key, served, start, wire


@step
def fill(size: int) -> str:
    """An answer of so many bytes."""
    return "x" * size


@workflow(name="serving.filling")
def filling(size: int) -> Workflow[int]:
    """One step with a large answer."""
    text = yield from fill(size)
    return len(text)


def address(server: Server) -> str:
    return f"grpc://127.0.0.1:{server.port}"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/served.db"


# ---- connecting -----------------------------------------------------------------------------------------------------------------


def test_hello_exchanges_versions_and_capabilities(path: str) -> None:
    """What the server can do, and what the token allows."""
    with served(path, max_message=1_000_000) as server, wire(server) as line:
        hello = line.worker.Hello(wb.HelloRequest(protocol=PROTOCOL, client="test/1"))

    assert (PROTOCOL, 1_000_000) == (hello.protocol, hello.max_message)
    assert hello.server.startswith("replay/")
    assert ["limits", "persistent", "shared"] == sorted(hello.capabilities)
    assert ["admin", "read", "start", "work"] == list(hello.scopes)


class Newer(worker_pb2_grpc.WorkerServiceServicer):  # type: ignore[misc]  # generated code has no types
    """The server of a later release, as far as it says hello."""

    def Hello(self, request: wb.HelloRequest, context: grpc.ServicerContext) -> wb.HelloResponse:  # noqa: N802 - gRPC's spelling
        del request, context
        return wb.HelloResponse(protocol=PROTOCOL, capabilities=["persistent", "telepathy", "__class__"])


def test_a_capability_that_only_a_newer_server_knows_is_passed_over() -> None:
    """Those that are known count."""
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(Newer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with closing(GrpcStore(f"grpc://127.0.0.1:{port}")) as store:
            assert Capability.PERSISTENT == store.capabilities
        server.stop(None)


def test_a_client_of_another_protocol_is_refused(path: str) -> None:
    """The error names both versions."""
    with served(path) as server, wire(server) as line, pytest.raises(grpc.RpcError, match="protocol 99, this server 1") as caught:
        line.worker.Hello(wb.HelloRequest(protocol=99))

    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()


def test_health_and_reflection_answer(path: str) -> None:
    """As every tool expects of a gRPC server."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with served(path) as server, wire(server) as line:
        health = health_pb2_grpc.HealthStub(line.channel).Check(health_pb2.HealthCheckRequest(service="replay.v1.WorkerService"))
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(line.channel).ServerReflectionInfo(asked)

    assert health_pb2.HealthCheckResponse.SERVING == health.status
    assert {"replay.v1.WorkerService", "replay.v1.ClientService"} <= {found.name for found in answer.list_services_response.service}


def test_nobody_there_is_said_with_what_to_do() -> None:
    """Within the retries, not for ever."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoreUnavailable, match="check that the server runs and can be reached"):
            Client(f"grpc://127.0.0.1:{taken.getsockname()[1]}")


def test_an_address_that_is_taken_is_refused(path: str) -> None:
    """And the server that has it goes on."""
    with served(path) as server, wire(server) as line:
        store = open_store("memory://taken")
        with pytest.raises(InvalidRequest, match="choose another address"):
            Server(store, Service(listen=f"127.0.0.1:{server.port}"))
        assert line.worker.Hello(wb.HelloRequest(protocol=PROTOCOL)).protocol


def test_garbage_on_the_port_harms_nobody(path: str) -> None:
    """Neither bytes that are no HTTP/2, nor half a preface, nor a foreign request; the next call is answered."""
    with served(path) as server:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for nonsense in (b"\x00\xff" * 5_000, b"GET / HTTP/1.1\r\n\r\n", preface[:9], preface + b"\xff" * 99):
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as peer:
                peer.sendall(nonsense)
        with wire(server) as line:
            garbled: Any = line.channel.unary_unary("/replay.v1.WorkerService/Commit")
            with pytest.raises(grpc.RpcError):
                garbled(b"\xff" * 100, timeout=PATIENCE)
            assert line.worker.Hello(wb.HelloRequest(protocol=PROTOCOL)).protocol


# ---- limits ---------------------------------------------------------------------------------------------------------------------


def test_a_message_above_the_limit_is_refused_and_nothing_is_lost(path: str) -> None:
    """Its run is stuck with the reason, the others go on; with a larger limit it ends."""
    with served(path, max_message=200_000) as server, Engine(address(server), workflows=[filling], grace=2) as engine:
        with pytest.raises(RunFailed, match="larger than max"):
            engine.start(filling(500_000), id="large").result(PATIENCE)
        assert 100 == engine.start(filling(100), id="small").result(PATIENCE)
        with pytest.raises(StoreRefused, match="--max-message on the server"):
            engine.store.publish("default", [("t", b"x" * 500_000)])
    with served(path) as server, Engine(address(server), workflows=[filling], grace=2) as engine:
        engine.get("large").resume()
        with closing(open_store(path)) as behind:
            until(behind, lambda: engine.get("large").status != "stuck")  # the message has been heard
        assert 500_000 == engine.get("large", filling).result(PATIENCE)


def test_a_blob_above_its_limit_is_refused(path: str) -> None:
    """Though it comes in chunks that are each small."""
    with served(path, max_blob=1_000_000) as server, Client(address(server)) as client:
        kept = client.store.put_blob(b"y" * 1_000_000)
        with pytest.raises(PayloadTooLarge, match="1,000,000 are allowed"):
            client.store.put_blob(b"y" * 1_000_001)
        assert b"y" * 1_000_000 == client.store.get_blob(kept)


def test_a_journal_larger_than_any_message_is_claimed_and_read(path: str) -> None:
    """It comes in parts, also when several runs of one claim share an answer, and after a savepoint with state."""
    payload = b'"' + b"z" * 100_000 + b'"'

    def made(run: str, base: int) -> NewRun:
        events = [Event(seq, "started" if seq == 1 else "step_completed", "0", "s", 1, payload) for seq in range(1, 101)]
        return NewRun(key=RunKey("default", run), workflow="w", events=events, base=base)

    with served(path) as server:
        with closing(open_store(path)) as behind:
            behind.create([made("plain", 0), made("based", 40)])
        store = open_store(f"{address(server)}?max_message=4194304")
        claims = store.claim(Claim(worker="w", namespace="default", queues=["default"], workflows=["w"], limit=9, ttl=10**7))
        claimed = {found.run.key.id: [event.seq for event in found.journal] for found in claims.runs}
        read = [event.seq for event in store.journal(RunKey("default", "plain"))]
        store.close()

    assert {"plain": list(range(1, 101)), "based": [1, *range(40, 101)]} == claimed
    assert list(range(1, 101)) == read


def test_many_who_wait_do_not_hold_up_who_works(path: str) -> None:
    """With four threads and forty waiting clients, runs end, and who finds no place is answered at once."""
    with served(path, threads=4, waiting=20) as server, ThreadPoolExecutor(40) as crowd:
        stores = [open_store(address(server)) for _ in range(2)]
        seen = stores[0].wait(0, 0)
        waiting = [crowd.submit(stores[number % 2].wait, seen, 3.0) for number in range(40)]
        with Engine(address(server), workflows=[doubling]) as engine:
            assert 90 == engine.start(doubling(10)).result(PATIENCE)
        assert 40 == len([future.result(PATIENCE) for future in waiting])
        for store in stores:
            store.close()


def test_a_stream_without_a_place_is_refused_with_the_reason(path: str) -> None:
    """RESOURCE_EXHAUSTED, not silence; commits then go call by call."""
    with served(path, waiting=1) as server, wire(server) as line:
        line.client.StartRun(start("a"))
        first = line.client.WatchRun(cb.WatchRunRequest(key=key("a")), timeout=PATIENCE)
        assert "pending" == next(first).run.status
        with pytest.raises(grpc.RpcError, match="all places for waiting calls are taken"):
            next(line.client.WatchRun(cb.WatchRunRequest(key=key("a")), timeout=PATIENCE))
        with Engine(address(server), workflows=[doubling]) as engine:
            assert 2 == engine.start(doubling(2)).result(PATIENCE)
        first.cancel()


def test_a_slow_client_that_does_not_read_holds_up_nobody(path: str) -> None:
    """Its stream waits for it; others work on."""
    with served(path, threads=4) as server, wire(server) as line:
        for _ in range(40):
            entries = [pb.TopicEntry(topic="news", payload=b"x" * 100_000) for _ in range(5)]
            line.client.PublishTopic(cb.PublishTopicRequest(entries=entries))
        slow = [line.client.ReadTopic(cb.ReadTopicRequest(topic="news"), timeout=PATIENCE) for _ in range(8)]
        with Engine(address(server), workflows=[doubling]) as engine:
            assert 90 == engine.start(doubling(10)).result(PATIENCE)
        assert 200 == sum(len(page.entries) for page in slow[0])
        for stream in slow[1:]:
            stream.cancel()


# ---- errors on the wire ---------------------------------------------------------------------------------------------------------


def test_an_error_with_long_facts_fits_into_a_trailer() -> None:
    """Eight kilobytes is what clients of every language take."""
    long = "é" * 50_000
    for error in (
        RunFailed("r", "failed", "E", long, long),
        NonDeterminismError("r", 3, long, long, long, long, tuple([long] * 50)),
        JournalDamaged("r", 1, "\ud800" * 10_000),
        ValueError(long),
    ):
        assert 3_000 >= len(detail_of(error))
        assert MESSAGE >= len(words_of(error).encode())


def test_a_long_error_arrives_as_itself(path: str) -> None:
    """Cut, but as the class that it was."""
    with served(path) as server, Client(address(server)) as client, pytest.raises(InvalidRequest, match=r"ü{100}…") as caught:
        client.find(cursor="ü" * 20_000)

    assert "cursor" == caught.value.what


# ---- streams of a worker --------------------------------------------------------------------------------------------------------


def test_a_commit_stream_answers_in_the_order_of_requests(path: str) -> None:
    """The first is applied, the same again is a conflict, with a stale fence it is refused."""
    with served(path) as server, wire(server) as line:
        line.client.StartRun(start("a"))
        asking = wb.ClaimRequest(worker="w", namespace="default", queues=["default"], workflows=["greeting"], limit=1, ttl=10**7)
        lease = line.worker.Claim(asking).runs[0].lease
        stale = pb.Lease(key=lease.key, fence=lease.fence - 1, worker="w", until=lease.until)
        event = pb.Event(seq=2, kind="signal_received", command="0", name="word", at=2, payload=b"1")
        batch = [wb.CommitRequest(commits=[pb.Commit(lease=which, expected=1, events=[event])]) for which in (lease, lease, stale)]
        fates = [answer.fates[0] for answer in line.worker.CommitStream(iter(batch), timeout=PATIENCE)]

    assert [pb.COMMITTED_APPLIED, pb.COMMITTED_CONFLICT, pb.COMMITTED_FENCED] == fates


def test_a_commit_that_contradicts_itself_ends_its_stream_and_the_next_goes_on(path: str) -> None:
    """The caller's fault is the caller's error, over a stream as in one process."""
    with served(path) as server:
        store = open_store(address(server))
        store.create([NewRun(key=RunKey("default", "a"), workflow="greeting", events=[Event(1, "started", "", "greeting", 1, b"{}")])])
        asking = Claim(worker="w", namespace="default", queues=["default"], workflows=["greeting"], limit=1, ttl=10**7)
        (found,) = store.claim(asking).runs
        with pytest.raises(ValueError, match="numbered on"):
            store.commit([Commit(lease=found.lease, expected=1, events=[Event(7, "signal_received", "0", "x", 1, b"1")])])
        assert [Committed.APPLIED] == store.commit([Commit(lease=found.lease, expected=1, status="waiting", release=True)])
        store.close()


# ---- ending and coming back -----------------------------------------------------------------------------------------------------


def test_a_graceful_shutdown_answers_those_who_wait(path: str) -> None:
    """A waiting call, a followed journal, a silent line of commits: all end at once, not after the grace."""
    with served(path) as server, wire(server) as line, ThreadPoolExecutor(4) as crowd:
        line.client.StartRun(start("a"))
        seen = line.worker.Wait(wb.WaitRequest(seen=0, timeout=1)).seen
        waiting = crowd.submit(lambda: line.worker.Wait(wb.WaitRequest(seen=seen, timeout=19), timeout=PATIENCE))
        follow = line.client.ReadJournal(cb.ReadJournalRequest(key=key("a"), follow=True), timeout=PATIENCE)
        assert 1 == len(next(follow).events)
        ask: Any = queue.SimpleQueue()
        commits = line.worker.CommitStream(iter(ask.get, None), timeout=PATIENCE)
        ask.put(wb.CommitRequest())
        assert 0 == len(next(commits).fates)
        stopping = threading.Thread(target=server.stop, args=(60.0,))
        stopping.start()
        stopping.join(10)

        assert not stopping.is_alive()
        assert waiting.result(PATIENCE).now
        assert [] == list(follow)
        ask.put(None)


def test_an_engine_over_the_wire_and_one_on_the_store_share_runs(path: str) -> None:
    """Each finishes what the other began."""
    with served(path) as server, Engine(path, workflows=[greeting], grace=2) as near:
        with Engine(address(server), workflows=[greeting, doubling], grace=2) as far:
            first = near.start(greeting(), id="a")
            assert 20 == near.start(doubling(5), id="b").result(PATIENCE)
            far.get(first.id).signal("word", "far")
            assert "hello far" == far.get("a", greeting).result(PATIENCE)
            last = far.start(greeting(), id="c")
        near.get(last.id).signal("word", "near")
        assert "hello near" == near.get("c", greeting).result(PATIENCE)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_run_survives_restarts_of_its_server(path: str, port: int) -> None:
    """Two hundred steps, the server stopped without grace and started again on the way: each step is in the journal once."""
    store = open_store(path)
    service = Service(listen=f"127.0.0.1:{port}")
    server = Server(store, service)
    with Engine(f"grpc://127.0.0.1:{port}", workflows=[doubling], grace=2) as engine:
        handle = engine.start(doubling(200), id="long")
        for reached in (20, 60, 100):
            until(store, lambda reached=reached: _length(store) >= reached)  # type: ignore[misc]
            server.stop(0)
            server = Server(store, service)
        assert sum(2 * number for number in range(200)) == handle.result(60)
        events = store.journal(RunKey("default", "long"))
    server.stop(0)
    store.close()

    assert 200 == len({event.command for event in events if event.kind == "step_completed"})
    assert 202 == len(events)


def until(store: Store, condition: Callable[[], bool]) -> None:
    seen = 0
    for _ in range(400):
        if condition():
            return
        seen = store.wait(seen, 0.05)
    raise AssertionError(f"waited for {condition}")


def _length(store: Store) -> int:
    (run,) = store.get([RunKey("default", "long")])
    return 0 if run is None else run.seq


class Deaf:
    """A store whose commits take effect while their answer is not heard: the server dies in between.

    Attributes:
        die: Called after the commit of that number.
    """

    def __init__(self, inner: Store, at: int, die: Callable[[], None]) -> None:
        self.inner = inner
        self.left = at
        self.die = die

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, batch: list[Commit]) -> list[Committed]:
        fates = self.inner.commit(batch)
        self.left -= 1
        if self.left == 0:
            self.die()
        return fates


def test_a_server_that_dies_in_the_middle_of_a_commit_leaves_no_doubt(path: str, port: int) -> None:
    """The commit was applied and its answer was lost; the engine asks again, recognises its own events, and goes on."""
    store = open_store(path)
    service = Service(listen=f"127.0.0.1:{port}")
    servers: list[Server] = []
    again = threading.Event()

    def die() -> None:
        servers[0]._server.stop(0)  # every call under way is cut
        again.set()

    servers.append(Server(Deaf(store, 10, die), service))  # type: ignore[arg-type]  # a store in all but its commit
    with Engine(f"grpc://127.0.0.1:{port}", workflows=[doubling], grace=2) as engine:
        handle = engine.start(doubling(30), id="long")
        assert again.wait(PATIENCE)
        servers[0].stop(0)
        servers.append(Server(store, service))
        assert sum(2 * number for number in range(30)) == handle.result(60)
        events = store.journal(RunKey("default", "long"))
    servers[1].stop(0)
    store.close()

    assert [*range(1, 33)] == [event.seq for event in events]


# ---- the clock --------------------------------------------------------------------------------------------------------------------


def test_the_clock_over_the_wire_never_goes_back_for_a_late_answer(path: str) -> None:
    """An answer that was long on its way says little; one that contradicts what is known says that the server's clock went back."""
    with served(path) as server:
        store = GrpcStore(address(server))
        before = store.now()
        store._learn(0, before - 5_000_000)  # asked at the beginning of time: late by anything
        assert before <= store.now()

        asked = time.monotonic_ns()
        store._learn(asked, before - 60_000_000)  # asked just now: the server's clock is a minute behind
        assert before - 50_000_000 > store.now()
        store.close()


def test_no_engine_hears_of_a_clock_that_goes_back(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred steps over the wire without one warning."""
    with caplog.at_level(logging.WARNING, "replay"), served(path) as server, Engine(address(server), workflows=[doubling]) as engine:
        engine.start(doubling(100)).result(PATIENCE)

    assert [] == [record.getMessage() for record in caplog.records]
