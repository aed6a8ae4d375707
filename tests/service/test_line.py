"""The line of commits: one stream that whoever asks drives by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import pytest

from replay.hooks import open_store
from replay.service.access import Tokens
from replay.service.generated import worker_pb2 as wb
from replay.service.line import Line
from replay.service.server import Gate, Server, Service, Worker
from replay.service.store import COMMITS
from replay.service.waiting import Pulse, Room
from replay.store.contract import Commit, Committed, Store
from tests.service.proxy import Proxy
from tests.service.wire import PATIENCE, served

NOTHING = wb.CommitRequest().SerializeToString()
"""A request to commit nothing, which is answered like any other."""


@pytest.fixture
def server() -> Iterator[Server]:
    with served("memory://line-tests") as found:
        yield found


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as found:
        yield found


def moment(answer: bytes | None) -> int:
    """The server's clock in an answer, 0 for none."""
    return 0 if answer is None else int(wb.CommitResponse.FromString(answer).now)


def until(condition: Callable[[], bool]) -> bool:
    """Whether it became true within some seconds."""
    never = threading.Event()
    return any(condition() or never.wait(0.01) for _ in range(1000)) and condition()


def test_answers_follow_requests_on_one_call(channel: Any) -> None:
    """Each is asked after the last was answered, so the server's clock only grows."""
    with closing(Line(channel, COMMITS, (), PATIENCE)) as line:
        moments = [moment(line.try_ask(NOTHING)) for _ in range(100)]

    assert sorted(moments) == moments
    assert 0 < moments[0]


def test_who_asks_needs_no_other_thread(channel: Any) -> None:
    """None sends, none receives; one looks from time to time whether an answer is overdue."""
    before = set(threading.enumerate())
    with closing(Line(channel, COMMITS, (), PATIENCE)) as line:
        line.try_ask(NOTHING)
        begun = {thread.name for thread in set(threading.enumerate()) - before}
        begun = {name for name in begun if not name.startswith(("replay-call", "replay-wait"))}  # the server's

    assert {"replay-line"} == begun


def test_who_finds_the_line_busy_is_told_at_once(server: Server) -> None:
    """And makes a call of its own, instead of waiting behind the other."""
    with closing(Proxy(server.port)) as proxy, grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        line = Line(channel, COMMITS, (), PATIENCE)
        line.try_ask(NOTHING)
        proxy.delay = 30.0
        with ThreadPoolExecutor(1) as other:
            waits = other.submit(line.try_ask, NOTHING)
            assert until(lambda: line._asked > 0)
            assert line.try_ask(NOTHING) is None
            line.close()
            with pytest.raises(grpc.RpcError, match="CANCELLED"):
                waits.result(PATIENCE)


def test_a_line_that_is_closed_is_not_opened_again(channel: Any) -> None:
    """Its owner hangs up once."""
    line = Line(channel, COMMITS, (), PATIENCE)
    line.try_ask(NOTHING)
    line.close()

    assert line.try_ask(NOTHING) is None


@pytest.mark.faults
def test_a_line_whose_answer_is_overdue_is_broken(server: Server) -> None:
    """A server that takes a commit and never answers must not hold its worker for ever."""
    with (
        closing(Proxy(server.port)) as proxy,
        grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
        closing(Line(channel, COMMITS, (), 0.1)) as impatient,
    ):
        proxy.delay = 30.0
        with pytest.raises(grpc.RpcError, match="CANCELLED"):
            impatient.try_ask(NOTHING)


class Closing:
    """A store whose server begins to close during a commit.

    Attributes:
        close: Called in the middle of it.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.close: Callable[[], object] = bool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, batch: list[Commit]) -> list[Committed]:
        self.close()
        return self.inner.commit(batch)


def test_what_a_server_does_not_take_any_more_was_not_heard() -> None:
    """It answers the commit that it is at and ends the stream; the next request is for a call of its own."""
    store = Closing(open_store("memory://line-closing"))
    with (
        served(store) as server,  # type: ignore[arg-type]  # a store in all but its commit
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        closing(Line(channel, COMMITS, (), PATIENCE)) as line,
    ):
        store.close = server._room.close
        assert 0 < moment(line.try_ask(NOTHING))
        assert line.try_ask(NOTHING) is None


def test_a_call_that_comes_in_while_the_server_closes_is_answered(server: Server, channel: Any) -> None:
    """Its stream ends after that; without a thread for it, gRPC's own would have ended, and the server heard nobody any more."""
    server._room.close()
    with closing(Line(channel, COMMITS, (), PATIENCE)) as line:
        assert 0 < moment(line.try_ask(NOTHING))
        assert line.try_ask(NOTHING) is None


def test_an_error_of_the_server_is_told_as_gRPC_tells_it(channel: Any) -> None:  # noqa: N802
    """Status, sentence and what came with it."""
    nowhere = Line(channel, "/replay.v1.WorkerService/NoSuchMethod", (), PATIENCE)
    with closing(nowhere), pytest.raises(grpc.RpcError, match="UNIMPLEMENTED: Method not found!") as caught:
        nowhere.try_ask(NOTHING)

    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
    assert () == tuple(caught.value.trailing_metadata())


def test_a_gRPC_without_that_mode_has_no_line() -> None:  # noqa: N802
    """Commits are then calls of their own."""
    with closing(Line(object(), COMMITS, (), PATIENCE)) as line:
        assert line.try_ask(NOTHING) is None


def test_what_is_no_request_ends_the_stream_and_the_server_goes_on(channel: Any) -> None:
    """Its sender is told that the server did not expect it; another stream finds it well."""
    with closing(Line(channel, COMMITS, (), PATIENCE)) as line:
        with pytest.raises(grpc.RpcError, match="INTERNAL"):
            line.try_ask(b"\xff")
        assert 0 < moment(line.try_ask(NOTHING))


class Caller:
    """Who calls, with nothing below gRPC's face to be had."""

    def invocation_metadata(self) -> tuple[()]:
        """What came with the call."""
        return ()


def test_a_server_whose_gRPC_has_another_form_takes_turns_as_gRPC_does() -> None:  # noqa: N802
    """One answer to each request."""
    store = open_store("memory://line-plain")
    pulse = Pulse(store)
    with closing(pulse), closing(store):
        worker = Worker(store, Gate(Tokens(None)), Service(), pulse, Room(1))
        answers = worker.CommitStream(iter([wb.CommitRequest(), wb.CommitRequest()]), Caller())  # type: ignore[arg-type]  # as much of it as is used

        assert [[], []] == [list(answer.fates) for answer in answers]


def test_a_channel_that_was_closed_is_said_so(channel: Any) -> None:
    """As with any call."""
    channel.close()
    with closing(Line(channel, COMMITS, (), PATIENCE)) as line, pytest.raises(ValueError, match="closed"):
        line.try_ask(NOTHING)


def test_a_store_commits_over_its_line(server: Server) -> None:
    """And not call by call, which costs three times as much."""
    with closing(open_store(f"grpc://127.0.0.1:{server.port}")) as store:
        assert [] == store.commit([])
        assert store._line._stream is not None  # type: ignore[attr-defined]  # a grpc store
