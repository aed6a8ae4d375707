"""A stream of commits: one call for many, at about a third of the cost of a call each.

Rule 1: requests and answers alternate; who finds the line busy makes a call of its own.
Rule 2: a line that broke is opened anew with the next request. What was sent and not answered is unknown, as with any call; but a
server that ends a stream in peace answers before it whatever it took, so a request that is not answered then was not heard.
Rule 3: an answer that does not come within the deadline breaks the line: a stream as such would wait for ever.
Rule 4: who asks waits for the network itself. gRPC's own streams have a thread that sends and one that receives, and between them
and who asks the processor changes hands 25 times for one answer; here it is 7 times. gRPC has this mode (its single-threaded unary
streams), but offers it for one request only.
Rule 5: the server's end sends an answer and asks for the next request in one operation. gRPC's servers do the second when they know
that the first is done, so the thread that serves and the one that answers wake each other more often: 9 changes of thread, here 5.
Rule 6: so this is the one room that uses what lies below gRPC's face. Should a release of gRPC change that, there is no line, and
each commit is a call of its own; and a server takes turns as gRPC does.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import Any, Final, Self

import grpc

GLANCE: Final = 2.0
"""Seconds between two looks at whether an answer is overdue."""
TURN: Final = "turn"
"""What gRPC's server knows a turn by while it is under way."""
CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Broken(grpc.RpcError):
    """The stream ended with a status other than OK; it is told as gRPC's calls tell it."""

    def __init__(self, status: Any) -> None:
        self._status = status
        super().__init__(f"{self.code().name}: {self.details()}")

    def code(self) -> grpc.StatusCode:
        """The status."""
        return CODES.get(self._status.code(), grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        """Its sentence."""
        return str(self._status.details())

    def trailing_metadata(self) -> Any:
        """What came with it."""
        return self._status.trailing_metadata()


class Stream:
    """One call of requests and answers, without a thread of its own.

    Every operation that was begun is answered by one event, and when the last has been taken, the call is gone: so they are counted,
    and an event is asked for only while one is due.

    Args:
        channel: Over which.
        method: Its path.
        metadata: Goes with the call.

    Raises:
        ImportError: This gRPC has no such mode, or another form of it; also ``AttributeError`` and ``TypeError``.
        ValueError: The channel was closed.
    """

    def __init__(self, channel: Any, method: str, metadata: tuple[tuple[str, str], ...]) -> None:
        from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no stubs

        kinds = cygrpc.OperationType
        self._answer, self._end = kinds.receive_message, kinds.receive_status_on_client
        self._send, self._receive = cygrpc.SendMessageOperation, cygrpc.ReceiveMessageOperation
        self._cancelled = cygrpc.StatusCode.cancelled
        begin = (cygrpc.SendInitialMetadataOperation(metadata, 0), cygrpc.ReceiveInitialMetadataOperation(0))
        batches = ((begin, None), ((cygrpc.ReceiveStatusOnClientOperation(0),), None))
        inner = channel._channel  # noqa: SLF001 - the channel below gRPC's face
        self._call = inner.segregated_call(0, method.encode(), None, None, metadata, None, batches, None)
        self._due = len(batches)
        self._status: Any = None

    def ask(self, request: bytes) -> bytes | None:
        """The answer to a request; None when the server has ended the stream in peace instead.

        Raises:
            Broken: The stream ended with an error.
        """
        if self._call.operate((self._send(request, 0), self._receive(0)), None):
            self._due += 1
        while self._due:
            answer = self._next()
            if answer is not None:
                return answer
        if self._status.code():
            raise Broken(self._status)
        return None

    def _next(self) -> bytes | None:
        """Wait for an event; the answer, if it brings one."""
        self._due -= 1  # first: who is interrupted here may forget an event, but never waits for one that does not come
        event = self._call.next_event()
        answer: bytes | None = None
        for operation in event.batch_operations:
            if operation.type() == self._answer:
                answer = operation.message()
            elif operation.type() == self._end:
                self._status = operation
        return answer

    def cancel(self) -> None:
        """Break it; any thread may, and who waits in ``ask`` is told."""
        self._call.cancel(self._cancelled, "the line was hung up")

    def finish(self) -> None:
        """Break it, and take what is due; for who may ask."""
        self.cancel()
        while self._due:
            self._next()


class Line:
    """One stream of requests and answers, opened when it is needed.

    Args:
        channel: Over which.
        method: The path of the method.
        metadata: Goes with the call.
        deadline: Seconds that an answer may take.
    """

    def __init__(self, channel: Any, method: str, metadata: tuple[tuple[str, str], ...], deadline: float) -> None:
        self._over = (channel, method, metadata)
        self._deadline = deadline
        self._busy = threading.Lock()
        self._stream: Stream | None = None
        self._asked = 0.0
        self._closed = threading.Event()
        self._guard: threading.Thread | None = None

    def try_ask(self, request: bytes) -> bytes | None:
        """The answer to a request; None when it was not heard, and the caller makes a call of its own.

        So it is when the line is busy, when it cannot be had, and when the server ended it before.

        Raises:
            grpc.RpcError: The line broke; whether the request took effect is unknown.
            ValueError: The channel was closed.
        """
        if self._closed.is_set() or not self._busy.acquire(blocking=False):
            return None
        answer = None
        try:
            stream = self._stream or self._open()
            self._asked = time.monotonic()
            if stream is not None and not self._closed.is_set():  # who closed before it was there does not know of it
                answer = stream.ask(request)
            return answer
        finally:
            self._asked = 0.0
            if answer is None:
                self._drop()
            self._busy.release()

    def close(self) -> None:
        """Hang up."""
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.cancel()
        with self._busy:
            self._drop()

    def _open(self) -> Stream | None:
        try:
            self._stream = Stream(*self._over)
        except (ImportError, AttributeError, TypeError):
            return None
        if self._guard is None:
            self._guard = threading.Thread(target=self._watch, name="replay-line", daemon=True)
            self._guard.start()
        return self._stream

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.finish()

    def _watch(self) -> None:
        while not self._closed.wait(GLANCE):
            asked, stream = self._asked, self._stream
            if asked and stream is not None and time.monotonic() - asked > self._deadline:
                stream.cancel()


class Turns:
    """The server's end: requests as they come, and an answer to each before the next is asked for.

    Args:
        context: Of the call, whose own requests are left alone and which yields no answers.

    Raises:
        AttributeError: This gRPC has another form; also ``ImportError``.
    """

    def __init__(self, context: Any) -> None:
        from grpc import _server
        from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no stubs

        self._call, self._state = context._rpc_event.call, context._state  # noqa: SLF001 - below gRPC's face
        self._is_active, self._end = _server._is_rpc_state_active, _server._possibly_finish_call  # noqa: SLF001
        self._metadata = _server._get_initial_metadata_operation  # noqa: SLF001
        self._send, self._receive = cygrpc.SendMessageOperation, cygrpc.ReceiveMessageOperation
        self._heard: SimpleQueue[bytes | None] = SimpleQueue()
        self._operate(self._receive(0))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        request = self._heard.get()
        if request is None:
            raise StopIteration
        return request

    def answer(self, answer: bytes) -> None:
        """Send it, and ask for the next request."""
        state = self._state
        with state.condition:
            begins, state.initial_metadata_allowed = state.initial_metadata_allowed, False
            first = (self._metadata(state, None),) if begins else ()
            self._operate(*first, self._send(answer, 0), self._receive(0))

    def _operate(self, *operations: Any) -> None:
        """Begin some operations, the last of which receives; they end together, in one event."""
        state = self._state
        with state.condition:
            if self._is_active(state):
                self._call.start_server_batch(operations, self._done)
                state.due.add(TURN)
            else:
                self._heard.put(None)

    def _done(self, event: Any) -> Any:
        """Called by the thread that serves."""
        with self._state.condition:  # first: who hears may begin the next turn
            ended = self._end(self._state, TURN)
        self._heard.put(event.batch_operations[-1].message())
        return ended
