"""Calls that wait: threads of their own, one look at the store for all of them, and an end when the server ends.

Rule 1: who waits never takes a thread from who works: however many clients wait, commits go on.
Rule 2: one thread looks at the store for everybody, and only while somebody waits.
Rule 3: the room has so many places; who finds none is told so at once, and nobody queues unseen.
Rule 4: when the server closes, everyone who waits is answered, and streams that are silent are ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import grpc

from replay.store.contract import Store

logger: Final = logging.getLogger("replay.service")
SPARE: Final = 16
"""Threads beyond the places, to tell those who find none."""
LOOK: Final = 0.5
"""Seconds that one look at the store takes at most, so that closing is noticed."""
FULL: Final = "all places for waiting calls are taken"
T = TypeVar("T")


class Pulse:
    """Tells many when something may have changed in a store.

    Args:
        store: The store; ``wait`` is called by one thread only.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._version = 0
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="replay-pulse", daemon=True)
        self._thread.start()

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``; answers at once when the server closes."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._version != seen or self._closed, timeout)
            finally:
                self._waiting -= 1
            return self._version

    def close(self) -> None:
        """Answer everyone, and stop looking."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(LOOK * 4)

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting > 0 or self._closed)
                if self._closed:
                    return
                seen = self._version
            try:
                now = self._store.wait(seen, LOOK)
            except Exception as error:  # noqa: BLE001 - border: a store that is gone; who waits asks it next and is told
                logger.debug("waiting for the store failed: %s", error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, LOOK)
                continue
            if now != seen:
                with self._changed:
                    self._version = now
                    self._changed.notify_all()


class Room:
    """Places for calls that wait.

    Args:
        places: How many may wait at once.
    """

    def __init__(self, places: int) -> None:
        self._pool = ThreadPoolExecutor(places + SPARE, thread_name_prefix="replay-wait")
        self._free = threading.Semaphore(places)
        self._open: dict[grpc.ServicerContext, bool] = {}
        self._lock = threading.Lock()
        self._closing = False

    def seat(self, servicer: Any, *, streams: Iterable[str], answers: Mapping[str, Callable[[Any, Any], Any]]) -> None:
        """Give some methods of a service their places.

        Args:
            servicer: The service.
            streams: Names of methods that answer with a stream; refused when there is no place.
            answers: Names of methods that answer once, and what answers when there is no place.
        """
        for name in streams:
            setattr(servicer, name, self._stream(getattr(servicer, name)))
        for name, otherwise in answers.items():
            setattr(servicer, name, self._answer(getattr(servicer, name), otherwise))

    def _answer(self, method: Callable[[Any, Any], T], otherwise: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
        def call(request: Any, context: grpc.ServicerContext) -> T:
            if not self._free.acquire(blocking=False):
                return otherwise(request, context)
            try:
                return method(request, context)
            finally:
                self._free.release()

        return self._here(call)

    def _stream(self, method: Callable[[Any, Any], Iterator[T]]) -> Callable[[Any, Any], Iterator[T]]:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[T]:
            if not self._free.acquire(blocking=False):
                full(request, context)
            try:
                yield from method(request, context)
            finally:
                self._free.release()

        return self._here(call)

    def each(self, requests: Iterable[T], context: grpc.ServicerContext) -> Iterator[T]:
        """The requests of a stream; it ends between two of them when the server closes."""
        with self._lock:
            self._open[context] = False
        try:
            for request in requests:
                self._open[context] = True
                yield request
                self._open[context] = False
                if self._closing:
                    return
        finally:
            with self._lock:
                self._open.pop(context, None)

    def close(self) -> None:
        """End the streams that are silent; the others end with their next answer."""
        with self._lock:
            self._closing = True
            silent = [context for context, busy in self._open.items() if not busy]
        for context in silent:
            context.cancel()

    def dismiss(self) -> None:
        """Let the threads go; once no call can come any more, for one that finds none would end gRPC's own thread."""
        self._pool.shutdown(wait=False)

    def _here(self, call: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
        call.experimental_thread_pool = self._pool  # type: ignore[attr-defined]  # where gRPC looks for it
        return call


def full(request: Any, context: grpc.ServicerContext) -> Any:
    """Refuse a call for want of a place."""
    del request
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)
