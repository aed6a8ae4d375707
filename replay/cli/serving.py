"""Driving runs from a program: signals, waiting, and telling what happens.

Rule 1: the main thread waits on one queue; a signal's handler only puts a word into it, so nothing is interrupted half-way.
Rule 2: the first signal parks what runs, the second one does not wait for steps.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self

from replay.cli.exits import Exit
from replay.cli.text import count, iso, plain, span
from replay.engine.observers import Observer
from replay.engine.requests import Stop
from replay.model.events import CLOSING, Event
from replay.model.names import SECOND
from replay.store.contract import Committed, Lease, Run, RunKey

if TYPE_CHECKING:
    from replay.cli.scene import Scene
    from replay.client import Engine

ENDS: Final = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}
GLANCE: Final = 0.2
"""Seconds between two looks at what a run waits for, while somebody watches."""
PATIENCE: Final = 1.0
"""Seconds before the turning line appears."""


class Bell:
    """What the main thread waits on: signals, and the end of what it waits for.

    Attributes:
        wake: Called in a signal's handler: it may put something into a queue, and nothing else.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._rings: SimpleQueue[object] = SimpleQueue()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ENDS:
                self._before[number] = signal.signal(number, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ring(self, number: int, frame: object) -> None:
        del frame
        self._rings.put(ENDS[signal.Signals(number)])
        self.wake()

    def rings(self) -> Iterator[Exit]:
        """Signals that have come, without waiting."""
        while True:
            try:
                ring = self._rings.get_nowait()
            except Empty:
                return
            if isinstance(ring, Exit):
                yield ring

    def wait(self, awaited: object = None, timeout: float | None = None) -> Exit | None:
        """The next signal's exit code; None when what is awaited has come.

        Raises:
            queue.Empty: Neither came in time.
        """
        while True:
            ring = self._rings.get(timeout=timeout)
            if isinstance(ring, Exit):
                return ring
            if ring is awaited:
                return None

    def wait_for(self, future: Future[Any], timeout: float | None, describe: Callable[[], str], *, show: bool) -> Exit | None:
        """Wait for a future; None when it is done, else why not: a signal, or the time is over."""
        future.add_done_callback(self._rings.put)
        until = None if timeout is None else time.monotonic() + timeout
        with turning(describe, show=show) as turn:
            while True:
                left = [] if until is None else [max(0.0, until - time.monotonic())]
                left += [] if turn is None else [GLANCE]
                try:
                    return self.wait(future, min(left, default=None))
                except Empty:
                    if until is not None and time.monotonic() >= until:
                        return Exit.TIMED_OUT
                    if turn is not None:
                        turn()

    def leave(self, engine: Engine, say: Callable[[], None] = lambda: None) -> None:
        """Close an engine: wait for its steps, unless another signal says not to.

        Args:
            engine: The engine.
            say: Called as soon as no more steps begin.
        """
        engine.worker.inbox.put(Stop(engine.store.now() + round(engine.grace * SECOND)))
        say()
        closing = threading.Thread(target=self._close, args=(engine,), name="replay-closing", daemon=True)
        closing.start()
        if self.wait(engine) is not None:
            engine.drain(0)
            closing.join(5)

    def _close(self, engine: Engine) -> None:
        try:
            engine.close()
        finally:
            self._rings.put(engine)


@contextlib.contextmanager
def turning(describe: Callable[[], str], *, show: bool) -> Iterator[Callable[[], None] | None]:
    """A line on the terminal that tells what is waited for; nothing where there is no terminal."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

    began = time.monotonic()
    status = Status("", console=Console(file=sys.stderr, markup=False, emoji=False, highlight=False))

    def turn() -> None:
        waited = time.monotonic() - began
        if waited >= PATIENCE:
            status.update(Text(f"{describe()}  {waited:.0f} s"))
            status.start()

    try:
        yield turn
    finally:
        status.stop()


class Teller(Observer):
    """Tells each event as it becomes durable."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def committed(self, key: RunKey, events: Sequence[Event]) -> None:
        """Events became durable."""
        for event in events:
            took = f"  {span(event.duration)}" if event.duration else ""
            self._scene.note(f"{plain(key.id)}  {plain(str(event))}{took}")


class Clerk(Observer):
    """Tells each run that is taken or ends, one line each.

    Args:
        scene: Where to print.
        quiet: Whether to print nothing.
    """

    def __init__(self, scene: Scene, *, quiet: bool) -> None:
        self._scene = scene
        self._quiet = quiet
        self._began: dict[RunKey, int] = {}
        self.closed = 0
        self.taken = 0

    def claimed(self, run: Run, lease: Lease) -> None:
        """A run was taken into memory."""
        del lease
        self.taken += 1
        self._began[run.key] = time.monotonic_ns()
        again = "" if run.seq <= 1 else f" at #{run.seq}"
        self._tell("claimed", run.key, {"workflow": run.workflow, "events": run.seq}, f"{run.workflow}{again}")

    def committed(self, key: RunKey, events: Sequence[Event]) -> None:
        """Events became durable."""
        last = events[-1]
        if last.kind not in CLOSING:
            return
        self.closed += 1
        took = (time.monotonic_ns() - self._began.pop(key, time.monotonic_ns())) / 1e9
        said = f"{last.name}  {count(last.seq, 'event')}  {span(took * 1e6)}"
        self._tell(last.kind, key, {"workflow": last.name, "events": last.seq, "seconds": round(took, 6)}, said)

    def refused(self, key: RunKey, fate: Committed) -> None:
        """A turn was dropped."""
        self._tell("dropped", key, {"reason": fate.value}, f"another worker holds it ({fate.value})")

    def stuck(self, key: RunKey, error: Exception) -> None:
        """A run is stuck."""
        self._tell("stuck", key, {"reason": str(error)}, str(error).splitlines()[0])

    def _tell(self, what: str, key: RunKey, facts: dict[str, Any], said: str) -> None:
        if self._quiet:
            return
        if self._scene.as_json:
            self._scene.line({"event": what, "id": key.id, "at": iso(time.time_ns() // 1_000), **facts})
        else:
            self._scene.say(f"{what:<10} {plain(key.id)}  {plain(said)}")
