"""A proxy between a store and its S3 server that does what networks and servers do: forget headers, lose answers, be busy."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Verdict = str
"""``pass``, ``lose`` (do it, and cut the line instead of answering), ``hang`` (do it, and say nothing), ``busy`` (503, not done) or
``fail`` (done, but 500)."""


class Meddler:
    """What the proxy does with each request; set ``judge`` in a test.

    Attributes:
        judge: Called with method and path; its verdict is carried out.
        deaf: Whether the conditions of writes are dropped on the way.
        seen: Every request, as (method, path).
    """

    def __init__(self) -> None:
        self.judge: Callable[[str, str], Verdict] = lambda _method, _path: "pass"
        self.deaf = False
        self.seen: list[tuple[str, str]] = []


@contextmanager
def between(endpoint: str) -> Iterator[tuple[str, Meddler]]:
    """A proxy's address, and what it does."""
    meddler = Meddler()
    target = urlsplit(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _carry(self) -> None:
            verdict = meddler.judge(self.command, self.path)
            meddler.seen.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if verdict == "busy":
                self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
                return
            given = {name: value for name, value in self.headers.items() if not (meddler.deaf and name.lower().startswith("if-"))}
            there = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=20)
            there.request(self.command, self.path, body, given)
            answer = there.getresponse()
            data = answer.read()
            there.close()
            if verdict == "lose":
                self.close_connection = True
                self.connection.close()
            elif verdict == "hang":
                self.close_connection = True
                self.connection.recv(1)  # until the client has lost its patience
            elif verdict == "fail":
                self._answer(500, {}, b"<Error><Code>InternalError</Code><Message>oops</Message></Error>")
            else:
                self._answer(answer.status, dict(answer.getheaders()), data)

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _carry  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", meddler
    server.shutdown()
    server.server_close()
