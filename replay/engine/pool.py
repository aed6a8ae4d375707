"""Where steps run: plain functions in a bounded pool of threads, coroutines on one event loop.

Rule 1: a pool takes jobs and says nothing back; a job itself brings its answer to the engine's inbox.
Rule 2: threads are made when they are needed and are daemons: a step that hangs must not keep a process from ending.
Rule 3: asyncio lives here and nowhere else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Final, Protocol

Job = Callable[[], None]
PARTING: Final = 2.0
"""Seconds that coroutines which were cancelled, and the connections that they used, have to end before a pool counts as closed."""


class Executor(Protocol):
    """What an engine needs to have steps done."""

    def submit(self, job: Job) -> None:
        """Run a job in a thread."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Run a coroutine on the loop; what is returned cancels it."""

    def close(self) -> None:
        """Take no more; what runs is left alone."""


class Loop(threading.Thread):
    """A thread with an event loop of its own, which ends when the loop is stopped."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Run the loop; in the end what its coroutines used is closed."""
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())  # which is how a provider's connections are closed
        self.loop.close()


class Pool:
    """Threads and a loop, made when the first step needs them.

    Args:
        threads: How many plain steps run at once.
        name: What the threads are called.
    """

    def __init__(self, threads: int, name: str = "replay-step") -> None:
        self._size = threads
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, job: Job) -> None:
        """Run a job in a thread."""
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
            self._hire()
        self._jobs.put(job)

    def _hire(self) -> None:
        """One more thread; where the machine gives no more, those that there are must do."""
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return
        self._threads.append(thread)

    def _work(self) -> None:
        jobs, idle = self._jobs, self._idle
        while (job := jobs.get()) is not None:
            job()
            del job
            idle.release()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Run a coroutine on the loop; what is returned cancels it."""
        loop = self._running_loop()
        made: list[asyncio.Task[None]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            made.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            loop.call_soon_threadsafe(stop)

        def stop() -> None:
            for task in made:
                loop.call_soon(task.cancel)  # behind its first step: one that never began would never report

        loop.call_soon_threadsafe(begin)
        return cancel

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = Loop(f"{self._name}-loop")
                self._loop.start()
            return self._loop.loop

    def close(self) -> None:
        """Take no more; what runs in threads is left alone, coroutines are cancelled, and what they used is closed."""
        for _ in self._threads:
            self._jobs.put(None)
        with self._lock:
            ending, self._loop = self._loop, None
        if ending is not None:
            asyncio.run_coroutine_threadsafe(self._end(), ending.loop)
            if ending is not threading.current_thread():
                ending.join(PARTING)

    async def _end(self) -> None:
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)


class Inline:
    """Steps run at once, in the engine's own thread: for virtual time, where order must not depend on threads."""

    def submit(self, job: Job) -> None:
        """Run a job now."""
        job()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Run a coroutine to its end, now."""
        asyncio.run(coroutine)
        return lambda: None

    def close(self) -> None:
        """Nothing to let go of."""
