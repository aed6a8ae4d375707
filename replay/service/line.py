"""A stream of commits: one call for many, at about half the cost of a call each.

Rule 1: requests and answers alternate; who finds the line busy makes a call of its own.
Rule 2: a line that broke is opened anew with the next request. What was sent and not answered is unknown, as with any call.
Rule 3: an answer that does not come within the deadline breaks the line: a stream as such would wait for ever.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import grpc

GLANCE: Final = 2.0
"""Seconds between two looks at whether an answer is overdue."""


class Line:
    """One stream of requests and answers.

    Args:
        open: Opens the call over an iterator of requests.
        deadline: Seconds that an answer may take.
    """

    def __init__(self, open: Callable[[Any], Any], deadline: float) -> None:
        self._call_over = open
        self._deadline = deadline
        self._busy = threading.Lock()
        self._call: Any = None
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = 0.0
        self._closed = threading.Event()
        self._guard: threading.Thread | None = None

    def try_ask(self, request: Any) -> Any:
        """The answer to a request; None when the line is busy, and the caller makes a call of its own.

        Raises:
            grpc.RpcError: The line broke; whether the request took effect is unknown.
            EOFError: The server ended it instead of answering.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            if self._call is None or not self._call.is_active():
                self._open()
            self._asked = time.monotonic()
            self._requests.put(request)
            try:
                return next(self._call)
            except StopIteration:
                raise EOFError from None
        except (grpc.RpcError, EOFError):
            self._drop()
            raise
        finally:
            self._asked = 0.0
            self._busy.release()

    def close(self) -> None:
        """Hang up."""
        self._closed.set()
        self._drop()

    def _open(self) -> None:
        self._drop()
        self._requests = queue.SimpleQueue()
        self._call = self._call_over(iter(self._requests.get, None))
        if self._guard is None:
            self._guard = threading.Thread(target=self._watch, name="replay-line", daemon=True)
            self._guard.start()

    def _drop(self) -> None:
        self._requests.put(None)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _watch(self) -> None:
        while not self._closed.wait(GLANCE):
            asked, call = self._asked, self._call
            if asked and call is not None and time.monotonic() - asked > self._deadline:
                call.cancel()
