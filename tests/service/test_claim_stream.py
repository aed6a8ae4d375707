"""A worker's stream of claims: an answer for each request when there is something, and nothing for who has gone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from replay.service.generated import client_pb2 as cb
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.service.server import Server
from tests.service.wire import PATIENCE, Wire, served, start, tokens_file, wire


def claim(limit: int = 10, namespace: str = "default") -> wb.ClaimRequest:
    return wb.ClaimRequest(worker="w", namespace=namespace, queues=["default"], workflows=["greeting"], limit=limit, ttl=10**7)


class Claims:
    """An open stream of claims."""

    def __init__(self, line: Wire) -> None:
        self._requests: queue.SimpleQueue[wb.ClaimRequest | None] = queue.SimpleQueue()
        self.answers = line.worker.ClaimStream(iter(self._requests.get, None), timeout=PATIENCE, metadata=line.token)

    def ask(self, request: wb.ClaimRequest | None = None) -> None:
        self._requests.put(request or claim())

    def end(self) -> None:
        self._requests.put(None)


def until(condition: Callable[[], object]) -> bool:
    """Whether it became true within some seconds."""
    never = threading.Event()
    return any(condition() or never.wait(0.01) for _ in range(1_000)) and bool(condition())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with served(f"sqlite:///{tmp_path}/served.db") as found:
        yield found


@pytest.fixture
def line(server: Server) -> Iterator[Wire]:
    with wire(server) as found:
        yield found


def waits(server: Server) -> bool:
    """Whether somebody waits for a change, as a claim does that found nothing."""
    return server._pulse._waiting > 0


def test_each_request_is_answered_when_there_is_something(line: Wire) -> None:
    """The second one waits until a run comes."""
    line.client.StartRun(start("a"))
    claims = Claims(line)
    claims.ask()
    first = next(claims.answers)
    claims.ask()
    line.client.StartRun(start("b"))
    second = next(claims.answers)
    claims.end()

    assert ["a"] == [found.run.key.id for found in first.runs]
    assert ["b"] == [found.run.key.id for found in second.runs]
    assert [] == list(claims.answers)


def test_no_more_is_granted_than_was_asked_for(line: Wire) -> None:
    """Flow control: the rest stays for others."""
    for number in range(5):
        line.client.StartRun(start(f"r{number}"))
    (answer,) = line.worker.ClaimStream(iter([claim(limit=2)]), timeout=PATIENCE)
    left = line.client.ListRuns(cb.ListRunsRequest(filter=pb.Filter(statuses=["pending"])))

    assert (2, 3) == (len(answer.runs), len(left.runs))


def test_a_server_that_closes_answers_who_waits_and_ends_the_stream(server: Server, line: Wire) -> None:
    """At once, not after the nap and not after the grace: with nothing, as there is nothing."""
    claims = Claims(line)
    claims.ask()
    assert until(lambda: waits(server))
    stopping = threading.Thread(target=server.stop, args=(60.0,))
    stopping.start()
    answer = next(claims.answers)
    ended = list(claims.answers)
    stopping.join(10)

    assert not stopping.is_alive()
    assert ([], []) == (list(answer.runs), ended)


def test_a_server_that_closes_ends_a_stream_that_is_silent(server: Server, line: Wire) -> None:
    """It was opened, and nothing is asked."""
    claims = Claims(line)
    assert until(lambda: server._room._open)
    stopping = threading.Thread(target=server.stop, args=(60.0,))
    stopping.start()
    with pytest.raises(grpc.RpcError, match=r"CANCELLED|UNAVAILABLE"):
        next(claims.answers)
    stopping.join(10)

    assert not stopping.is_alive()
    claims.end()


def test_nothing_is_claimed_for_a_client_that_has_gone(server: Server, line: Wire) -> None:
    """A run that comes before the server would have looked again is for who is there."""
    claims = Claims(line)
    claims.ask()
    assert until(lambda: waits(server))
    claims.answers.cancel()
    assert until(lambda: not any(context.is_active() for context in list(server._room._open)))
    line.client.StartRun(start("a"))
    assert until(lambda: not server._room._open)

    assert ["a"] == [found.run.key.id for found in line.worker.Claim(claim()).runs]


def test_each_request_of_a_stream_is_held_against_the_token(tmp_path: Path) -> None:
    """The first is one's own and is answered, the second names another's namespace."""
    tokens = tokens_file(tmp_path / "tokens.json", {"mine": ("shop", ["work"])})
    with served("memory://claim-stream-tokens", tokens=tokens) as server, wire(server, "mine") as line:
        mine, theirs = (
            wb.CommitRequest(commits=[pb.Commit(lease=pb.Lease(key=pb.RunKey(namespace=name)))]) for name in ("shop", "bank")
        )
        answers = line.worker.CommitStream(iter([mine, theirs]), timeout=PATIENCE, metadata=line.token)
        assert [pb.COMMITTED_FENCED] == list(next(answers).fates)
        with pytest.raises(grpc.RpcError, match="does not allow 'work' in namespace bank"):
            next(answers)
