"""A client that also works: an engine in this process, in threads of its own.

Rule 1: requests of this process go through the engine's inbox, so that they share its commits and its connection.
Rule 2: the engine never waits for a user's code: steps run elsewhere, or in the thread that drives, from which another takes over
when a step does not end at once (``engine.baton``).
Rule 3: leaving gives everything back: what runs may come to its end for ``grace`` seconds, what waits is parked.
Rule 4: in a program that does nothing about SIGTERM, a ``with`` in the main thread is left by it (as ``SystemExit(143)``), so that
the engine drains; a second one ends the process at once. Who has a handler keeps it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NoReturn, Self, TypeVar

from replay.authoring.definitions import WorkflowFunction
from replay.client.client import Client
from replay.client.names import require_name, require_namespace
from replay.engine.baton import Baton
from replay.engine.held import BUSY_BREATH, IDLE_BREATH
from replay.engine.identity import end_orphans, worker_name
from replay.engine.observers import Observer, Observers
from replay.engine.offers import Offers
from replay.engine.pool import Executor, Pool
from replay.engine.requests import PostRequest, StartRequest, Stop, WaitRequest, Wake
from replay.engine.settings import Settings
from replay.engine.worker import Worker, logger
from replay.errors import DefinitionError, InvalidRequest
from replay.hooks import performers, plugins
from replay.llm.calling import Models
from replay.model.effects import Call, WorkflowSpec
from replay.model.names import SECOND
from replay.model.queues import Queue
from replay.store.contract import Capability, Clock, Created, Message, NewRun, Posted, RunKey, Store

R = TypeVar("R")
DEFAULT_STORE: Final = "sqlite:///.replay/replay.db"
"""The embedded default: a file beside the program."""
TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of a program that SIGTERM ended."""


class Engine(Client):
    """Drive workflows in this process, over any store.

    Args:
        store: A store, or its URL; by default ``REPLAY_STORE`` of the environment, else SQLite at ``.replay/replay.db``.
        namespace: Whose runs it drives.
        workflows: What it offers; None for every decorated workflow that has been imported.
        queues: Which queues it serves, by name; as a ``Queue`` with limits, and fair between keys.
        concurrency: How many runs it holds in memory at most.
        threads: How many plain steps run at once.
        steps: How many attempts of steps, coroutines included, are under way at most.
        ttl: Length of a lease, in seconds; how long a dead machine's runs wait for another.
        poll: How often it asks the store without being told to, in seconds.
        grace: How long steps may go on when the engine is left, in seconds.
        max_payload: The largest payload allowed in a journal, in bytes.
        max_recoveries: How many workers in a row a run may lose before it is set aside.
        announce: Seconds between two heartbeats by which ``client.workers()`` knows of it; 0 for none.
        observers: Whom to tell what it does, besides those of plugins.
        models: The language models that ``llm_call`` asks; None for those of ``provide`` and of plugins.
        clock: The time, microseconds UTC; None for the store's own.
        executor: Where steps run; None for a pool of its own.

    Raises:
        DefinitionError: ``workflows`` holds something else than workflows, or two of one name and version.
        InvalidRequest: A setting does not fit, or the store keeps to no limits and a queue has some.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        namespace: str = "default",
        workflows: Iterable[WorkflowFunction[..., Any]] | None = None,
        queues: Sequence[str | Queue] = ("default",),
        concurrency: int = 1_000,
        threads: int = 32,
        steps: int = 256,
        ttl: float = 15.0,
        poll: float = 1.0,
        grace: float = 10.0,
        max_payload: int = 16 * 1024 * 1024,
        max_recoveries: int = 10,
        announce: float = 5.0,
        observers: Iterable[Observer] = (),
        models: Models | None = None,
        clock: Clock | None = None,
        executor: Executor | None = None,
    ) -> None:
        offered = None if workflows is None else _offered(workflows)
        if concurrency < 1 or threads < 1 or steps < 1 or ttl <= 0 or poll <= 0 or max_recoveries < 1 or announce < 0:
            problem = "concurrency, threads, steps, ttl, poll and max_recoveries must be positive, announce not negative"
            raise InvalidRequest("Engine", problem)
        settings = Settings(
            namespace=require_namespace(namespace),
            queues=_served(queues),
            concurrency=concurrency,
            steps=steps,
            ttl=ttl,
            poll=poll,
            max_payload=max_payload,
            max_recoveries=max_recoveries,
            announce=announce,
        )
        super().__init__(
            store if store is not None else os.environ.get("REPLAY_STORE", DEFAULT_STORE),
            namespace=namespace,
            max_payload=max_payload,
            clock=clock,
        )
        if Capability.LIMITS not in self.store.capabilities and any(isinstance(queue, Queue) for queue in settings.queues):
            problem = f"store {self.store.url} keeps to no limits of queues"
            super().close()
            raise InvalidRequest("queues", problem, "name the queues without limits, or use a store (or a newer server) that does")
        heard = [observer for found in plugins().hook.replay_observers() for observer in found]
        self.grace = grace
        self.executor = executor or Pool(threads)
        self.worker = Worker(
            self.store,
            name=worker_name(),
            executor=self.executor,
            settings=settings,
            offers=Offers(offered),
            observers=Observers([*heard, *observers]),
            lends=executor is None,
            performers=performers(models),
        )
        self._process = os.getpid()
        self._listens = False
        self._gate = threading.Lock()
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._baton = Baton()
        self._driver = threading.Thread(target=self._drive, name="replay-engine", daemon=True)
        self._second = threading.Thread(target=self._stand_by, name="replay-second", daemon=True)
        self._waker = threading.Thread(target=self._wake, name="replay-waker", daemon=True)
        for thread in (self._driver, self._second, self._waker):
            thread.start()

    def __enter__(self) -> Self:
        here = threading.current_thread() is threading.main_thread()
        if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _leave)
            self._listens = True
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._listens and signal.getsignal(signal.SIGTERM) is _leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    # ---- requests go through the inbox ------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], specs: Sequence[WorkflowSpec]) -> list[Created]:
        """Create prepared runs; those that this engine offers begin at once."""
        future: Future[list[Created]] = Future()
        self._put(StartRequest(runs, specs, future))
        return future.result()

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """Leave messages for runs."""
        future: Future[list[Posted]] = Future()
        self._put(PostRequest(messages, future))
        return future.result()

    def ending(self, key: RunKey) -> Future[tuple[str, bytes]]:
        """A future of how a run ends."""
        future: Future[tuple[str, bytes]] = Future()
        self._require_here()
        with self._gate:
            self._require_open()
            is_here = self.worker.waiters.add(key, future)
        if not is_here:
            self._put(WaitRequest(key))
        return future

    def spec_for(self, workflow: str, version: str = "") -> WorkflowSpec:
        """The workflow of that name that this engine offers, or that has been imported."""
        found = self.worker.offers.find(workflow, version)
        return found if found is not None else super().spec_for(workflow, version)

    def _put(self, item: Any) -> None:
        self._require_here()
        with self._gate:
            self._require_open()
            self.worker.inbox.put(item)

    def _require_here(self) -> None:
        """Asked before the gate, which may have been closed when the process was forked."""
        if os.getpid() != self._process:
            raise InvalidRequest("engine", "it was opened in another process, its threads are not here", "open one here")

    def _require_open(self) -> None:
        if self._ended.is_set():
            raise InvalidRequest("engine", "it is closed", "open another one")

    # ---- its threads --------------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Drive, and stand by after the other thread took over, to the end."""
        while self._lead() and self._baton.stand_by():
            self._driver = threading.current_thread()

    def _stand_by(self) -> None:
        if self._baton.stand_by():
            self._driver = threading.current_thread()
            self._drive()

    def _lead(self) -> bool:
        """Round after round; whether another thread has taken over, False when the worker has stopped."""
        worker, actor, baton = self.worker, self.worker.actor, self._baton
        try:
            while not worker.stopped:
                self._round()
                attempt, actor.at_hand = actor.at_hand, None
                if attempt is not None and not baton.followed:
                    attempt.begin(self.executor)
                elif attempt is not None and not baton.do(attempt.run):
                    return True
        except BaseException:
            self._end()
            raise
        self._end()
        return False

    def _end(self) -> None:
        with self._gate:
            self._ended.set()
        self._armed.set()
        self._baton.end()
        self.worker.refuse_all(InvalidRequest("engine", "it was closed meanwhile", "open another one and ask again"))

    def _round(self) -> None:
        worker = self.worker
        try:
            patience = worker.patience()
            if patience > 0 and worker.inbox.empty():
                self._armed.set()
            worker.pump(patience)
        except Exception:  # noqa: BLE001 - border: the worker's loop; it must outlive what nobody expected
            logger.exception("the engine's round failed; its runs are read again")
            worker.forget_all()
            time.sleep(0.1)

    def _wake(self) -> None:
        """Tell the engine when something may have changed in the store; armed anew each time the engine has nothing to do."""
        seen = 0
        self._adopt()
        while not self._ended.is_set():
            self._armed.wait()
            self._armed.clear()
            try:
                before, seen = seen, self.store.wait(seen, self.worker.settings.poll)
            except Exception as error:  # noqa: BLE001 - border: a store that is closed or gone; polling goes on
                if not self._ended.is_set():
                    logger.debug("waiting for the store failed: %s", error)
                    time.sleep(0.1)
                continue
            if seen != before:
                self.worker.inbox.put(Wake())
                # The worker will not claim again before its breath is over: looking earlier only costs, most often for own commits.
                self._ended.wait((BUSY_BREATH if self.worker.live else IDLE_BREATH) / SECOND)

    def _adopt(self) -> None:
        """Take over what dead workers of this machine hold; in the waker's thread, as looking for it may take a while."""
        try:
            if self.worker.claimer.foresees() and end_orphans(self.store, self.namespace):  # a fresh store has none
                self.worker.inbox.put(Wake())
        except Exception as error:  # noqa: BLE001 - border: as in ``_wake``, which goes on; the leases will end by themselves
            if not self._ended.is_set():  # or the store is closed because the engine is
                logger.warning("could not look for runs of dead workers: %s", error)

    def drain(self, grace: float | None = None) -> None:
        """Take no more runs, let steps come to their end for some seconds, and give everything back."""
        patience = self.grace if grace is None else grace
        if not self._ended.is_set() and os.getpid() == self._process:
            until = self.worker.trouble.leave_at = self.store.now() + round(patience * SECOND)
            self.worker.inbox.put(Stop(until))
            self._ended.wait(patience + 30)

    def close(self) -> None:
        """Drain, and let go of the store when it was opened here; in a forked process it does nothing."""
        if os.getpid() != self._process:
            return
        self.drain()
        if self._driver is not threading.current_thread():  # a step may close the engine that does it
            self._driver.join(5)
        self._armed.set()
        self.executor.close()
        super().close()
        if self._owned:  # a store that closes wakes who waits in it; else the waker ends with its next look
            self._waker.join(5)


def _served(queues: Sequence[str | Queue]) -> tuple[str | Queue, ...]:
    """Queues, each once.

    Raises:
        InvalidRequest: There are none, or one of them has no name, or is there twice.
    """
    if isinstance(queues, str | Queue) or not queues:
        raise InvalidRequest("queues", f"{queues!r} is no list of queues", 'write queues=["default"]')
    found: dict[str, str | Queue] = {}
    for queue in queues:
        name = require_name(queue.name if isinstance(queue, Queue) else queue, "queue")
        if name in found:
            raise InvalidRequest("queues", f"queue {name!r} is there twice", "declare it once, with all of its limits")
        found[name] = queue
    return tuple(found.values())


def _leave(_number: int, _frame: object) -> NoReturn:
    """Leave the ``with`` of an engine; the next signal is not heard here any more."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(TERMINATED)


def _offered(workflows: Iterable[WorkflowFunction[..., Any]]) -> dict[tuple[str, str], WorkflowSpec]:
    offered: dict[tuple[str, str], WorkflowSpec] = {}
    for workflow in workflows:
        if not isinstance(workflow, WorkflowFunction):
            raise DefinitionError("workflows=", f"it holds {workflow!r}", "put @workflow above the function")
        key = (workflow.name, workflow.version)
        if offered.setdefault(key, workflow) is not workflow:
            raise DefinitionError(f"workflow {workflow.name}", "two of this name and version are offered", "give one name=…")
    return offered


def run(call: Call[R], *, id: str | None = None, store: str | Store | None = None, timeout: float | None = None) -> R:
    """Run a workflow to its end in this process; after a crash, the same call with the same id goes on where it was.

    Args:
        call: A call of a workflow, such as ``order(cart)``.
        id: Its id; give one, or nothing can find it again after a crash.
        store: A store or its URL; by default SQLite at ``.replay/replay.db``.
        timeout: Seconds to wait, or None for ever.

    Raises:
        RunFailed: It failed, was cancelled or terminated, or is stuck.
        WaitTimedOut: Patience ended first; the same call goes on later.
    """
    with Engine(store) as engine:
        return engine.start(call, id=id).result(timeout)


__all__ = ["DEFAULT_STORE", "Engine", "run"]
