"""A server that speaks OpenAI's chat completions as a script tells it: for tests of what a real client does with a real wire.

Rule 1: it is real HTTP, on 127.0.0.1 and a port of its own; nothing of the client is replaced.
Rule 2: a script is a list of behaviours, one for each request in the order of their coming, or a function of the request's body.
Rule 3: what came in is remembered, and so is every client that went away before its answer was told.

Point the same test at a real service by its URL: ``docs/llm.md`` says how.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import attrs

LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a request that are read."""
CREATED: Final = 1_700_000_000
"""When every reply says that it was made."""


class _Gone(Exception):
    """The client went away."""


@attrs.frozen(kw_only=True)
class Request:
    """One request, as it came.

    Attributes:
        body: Its JSON.
        headers: Its headers, by name in small letters.
        at: When, by a clock that only goes on, in seconds.
    """

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    at: float


@attrs.frozen
class Says:
    """A reply, streamed in words where the request asks for that.

    Attributes:
        text: What is said.
        calls: Tools that are to be called, as (name, arguments).
        pause: Seconds before each word, or before a reply that is not streamed.
        usage: Tokens in and out; None to tell nothing.
        model: The model that answers; empty for the one that was asked.
        finish: Why it stopped; empty for what fits.
    """

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    pause: float = 0.0
    usage: tuple[int, int] | None = (10, 5)
    model: str = ""
    finish: str = ""

    def answer(self, wire: Wire, body: Mapping[str, Any]) -> None:
        """Say it."""
        if not body.get("stream"):
            wire.wait(self.pause)
            wire.send(200, self._whole(body))
            return
        wire.begin()
        for delta in [{"role": "assistant"}, *self._deltas()]:
            wire.wait(self.pause)
            wire.chunk(self._piece(body, delta, None))
        wire.chunk(self._piece(body, {}, self._finish()))
        if self.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            wire.chunk({**self._piece(body, {}, None), "choices": [], "usage": self._usage()})
        wire.end()

    def _whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = self._calls()
        choice = {"index": 0, "message": message, "finish_reason": self._finish()}
        return {**self._head(body, "chat.completion"), "choices": [choice], **({"usage": self._usage()} if self.usage else {})}

    def _piece(self, body: Mapping[str, Any], delta: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self._head(body, "chat.completion.chunk"), "choices": [choice]}

    def _head(self, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {"id": "reply-1", "object": kind, "created": CREATED, "model": self.model or body.get("model", "")}

    def _deltas(self) -> Iterator[dict[str, Any]]:
        for number, word in enumerate(self.text.split(" ") if self.text else ()):
            yield {"content": word if number == 0 else f" {word}"}
        for index, call in enumerate(self._calls()):
            spelt = call["function"]["arguments"]
            half = len(spelt) // 2
            begun = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": spelt[:half]}}
            yield {"tool_calls": [begun]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": spelt[half:]}}]}

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": f"call-{number}",
                "type": "function",
                "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for number, (name, given) in enumerate(self.calls, 1)
        ]

    def _finish(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")

    def _usage(self) -> dict[str, int]:
        told, said = self.usage or (0, 0)
        return {"prompt_tokens": told, "completion_tokens": said, "total_tokens": told + said}


@attrs.frozen
class Fails:
    """An error.

    Attributes:
        status: Its HTTP status.
        retry_after: What the header of that name says, or None.
        message: What it says.
        code: Its code, or empty.
    """

    status: int = 500
    retry_after: str | float | None = None
    message: str = "it went wrong"
    code: str = ""

    def answer(self, wire: Wire, body: Mapping[str, Any]) -> None:
        """Say it."""
        del body
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        error = {"message": self.message, "type": "error", "code": self.code or None, "param": None}
        wire.send(self.status, {"error": error}, headers)


@attrs.frozen
class Cuts:
    """Half a reply, then the connection is cut.

    Attributes:
        text: What is said before.
    """

    text: str = "half a"

    def answer(self, wire: Wire, body: Mapping[str, Any]) -> None:
        """Say it, and go."""
        if body.get("stream"):
            wire.begin()
            says = Says(self.text)
            for delta in says._deltas():  # noqa: SLF001 - the same words
                wire.chunk(says._piece(body, delta, None))  # noqa: SLF001 - the same words
        else:
            wire.promise(1_000, b'{"id": "reply-1", "choices": [')
        wire.cut()


@attrs.frozen
class Babbles:
    """Something that is no JSON.

    Attributes:
        text: What it is.
    """

    text: str = '{"choices": [{"mess'

    def answer(self, wire: Wire, body: Mapping[str, Any]) -> None:
        """Say it."""
        if body.get("stream"):
            wire.begin()
            wire.raw(f"data: {self.text}\n\n".encode())
            wire.end()
        else:
            wire.promise(len(self.text), self.text.encode())


Behaviour = Says | Fails | Cuts | Babbles | str
"""What the server does with one request; a text is ``Says`` of it."""


class Wire(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Take a request, and do what the script tells."""
        owner = self.server.owner
        size = int(self.headers.get("Content-Length", 0))
        if size > LIMIT or not self.path.startswith("/v1/chat/completions"):
            self.close_connection = True
            self.send(404, {"error": {"message": f"no {self.path} here"}})
            return
        body = json.loads(self.rfile.read(size))
        request = Request(body=body, headers={name.lower(): value for name, value in self.headers.items()}, at=time.monotonic())
        behaviour = owner._enter(request)  # noqa: SLF001 - its own server
        try:
            (Says(behaviour) if isinstance(behaviour, str) else behaviour).answer(self, body)
        except (_Gone, OSError):
            self.close_connection = True
            owner._left(request)  # noqa: SLF001 - its own server
        finally:
            owner._leave()  # noqa: SLF001 - its own server

    def send(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def promise(self, size: int, data: bytes) -> None:
        """An answer that says how long it is, and may end before."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """A stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, document: Any) -> None:
        """A piece of it."""
        self.raw(f"data: {json.dumps(document)}\n\n".encode())

    def raw(self, data: bytes) -> None:
        """Bytes of it."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def end(self) -> None:
        """Its end."""
        self.raw(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection without another word."""
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Do nothing for a while, and notice when the client goes.

        Raises:
            _Gone: It did.
        """
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise _Gone

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """The listener."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: LLMServer) -> None:
        super().__init__(("127.0.0.1", 0), Wire)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error."""


class LLMServer:
    """A server with a script.

    Args:
        script: Behaviours, one for each request, or a function of the request's body for all.

    Attributes:
        requests: What came in, oldest first.
        gone: Requests whose clients went away before their answer was told.
        most_at_once: How many were under way together at most.
    """

    def __init__(self, script: Iterable[Behaviour] | Callable[[Mapping[str, Any]], Behaviour]) -> None:
        self._all = script if callable(script) else None
        self._script: deque[Behaviour] = deque() if callable(script) else deque(script)
        self._lock = threading.Condition()
        self._under_way = 0
        self.requests: list[Request] = []
        self.gone: list[Request] = []
        self.most_at_once = 0
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=[0.05], name="llm-server", daemon=True).start()

    @property
    def url(self) -> str:
        """What a client is told as its base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def wait_until(self, condition: Callable[[LLMServer], bool], seconds: float = 20.0) -> None:
        """Wait until something has come in or has gone.

        Raises:
            TimeoutError: It took too long.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: condition(self), seconds):
                raise TimeoutError(f"waited {seconds:g} s; {len(self.requests)} requests came, {len(self.gone)} clients went")

    def _enter(self, request: Request) -> Behaviour:
        with self._lock:
            self.requests.append(request)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
            self._lock.notify_all()
            if self._all is None:
                return self._script.popleft() if self._script else Fails(400, message="the script has been used up")
        return self._all(request.body)

    def _left(self, request: Request) -> None:
        with self._lock:
            self.gone.append(request)
            self._lock.notify_all()

    def _leave(self) -> None:
        with self._lock:
            self._under_way -= 1
            self._lock.notify_all()
