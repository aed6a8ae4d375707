"""A world in a test: real workers over a real store, in virtual time.

Rule 1: nothing is faked but time and hands. Engine, interpreter and store are the ones that production runs; the clock is a
``VirtualClock``, and step bodies run when the world says so, in this thread.
Rule 2: nothing happens behind one's back. A run that is started, a message that is sent, a clock that is put forward: all of it
waits until the world is driven, by ``run``, ``run_until_idle``, ``advance``, or a handle's ``result``.
Rule 3: when nothing is left to do, the clock jumps to the next due moment, so a month passes in a moment.
Rule 4: the same world does the same again: order, ids and chance come from its seed.
Rule 5: mistakes are raised: an effect that is thrown away, a run that is stuck, a wait that will never end.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Self

import attrs

from replay.authoring.definitions import STEPS, StepFunction, WorkflowFunction
from replay.client.client import Client
from replay.engine.observers import Observer, Observers
from replay.engine.remote import STEP_RUN
from replay.engine.requests import Wake
from replay.engine.settings import Settings
from replay.engine.waiters import ending
from replay.engine.worker import Worker
from replay.errors import InvalidRequest, ReplayError, UnknownName
from replay.hooks import open_store, performers
from replay.llm.calling import Models
from replay.model.effects import WorkflowSpec
from replay.model.llm import LLM
from replay.model.names import SECOND
from replay.store.contract import CLOSED, OPEN, Created, Filter, Lease, NewRun, Run, RunKey, Store
from replay.store.memory import MemoryStore
from replay.testing.clock import VirtualClock
from replay.testing.interposed import Interposed
from replay.testing.problems import RunsOn, StillWaiting, UnyieldedEffect
from replay.testing.stage import Hands, Rehearsal, Stage, StagedOffers, StepCall, Stub
from replay.testing.unyielded import HOOK, Found, Watch, WatchedInterpreter

POLL: Final = 1e11
"""Seconds between two looks that nobody asked for: never, for the world tells its workers when the store has changed."""
FOREVER: Final = 1e10
"""Seconds from now beyond which nothing is due."""
BREATHER: Final = 0.5
"""Seconds that an engine may take for its own affairs before its world counts as idle."""
SHOWN: Final = 5


@attrs.define
class Member:
    """One place for a worker; who dies is followed by another.

    Attributes:
        place: Its number.
        life: How many workers have died here.
        worker: The one that lives.
        hands: Its executor.
        store: The store as it sees it.
        resumes_at: It is stopped until then, microseconds.
    """

    place: int
    life: int
    worker: Worker
    hands: Hands
    store: Store
    resumes_at: int = 0


class World(Client):
    """Workers, a store and a clock, to be driven by a test.

    A world is a client: ``start``, ``get``, ``find``, ``read`` and the handles do what they do elsewhere, and where a handle would
    wait (``result``, an update's reply), the world goes on until there is an answer.

    Args:
        seed: Where chance comes from.
        workers: How many workers.
        store: A store that goes by ``clock``, or the URL of one to open; None for a memory store of its own.
        clock: The time; None for a new one.
        workflows: What the workers offer beyond what is started; None for every decorated workflow that has been imported.
        namespace: Whose runs.
        queues: Which queues the workers serve.
        ttl: Length of a lease, in seconds.
        concurrency: How many runs a worker holds.
        observers: Whom the workers tell what they do.
        settings: How the workers work; stronger than ``ttl`` and ``concurrency``.
        models: The language models that ``llm_call`` asks; None for those of ``provide`` and of plugins.
        strict: Whether effects that are thrown away are raised; ``thrown_away`` has them anyway.
        max_rounds: After how many rounds without rest the world gives up.

    Attributes:
        clock: The time. ``clock.advance(days=3)`` moves it without letting anything happen in between; ``world.advance`` lets it.

    Raises:
        InvalidRequest: The store goes by another clock.
    """

    def __init__(
        self,
        seed: int = 0,
        workers: int = 1,
        *,
        store: Store | str | None = None,
        clock: VirtualClock | None = None,
        workflows: Iterable[WorkflowFunction[..., Any]] | None = None,
        namespace: str = "default",
        queues: Sequence[str] = ("default",),
        ttl: float = 15.0,
        concurrency: int = 1_000,
        observers: Iterable[Observer] = (),
        settings: Settings | None = None,
        models: Models | None = None,
        strict: bool = True,
        max_rounds: int = 200_000,
    ) -> None:
        if workers < 1:
            raise InvalidRequest("workers", f"{workers!r} is too few", "let there be one")
        self.seed = seed
        self.clock = clock or VirtualClock()
        self.chance = random.Random(seed)  # noqa: S311 - the same again is what it is for
        self.medium: Store = self._open(store)
        super().__init__(Patient(self.medium, self), namespace=namespace)
        self._owns_medium = store is None or isinstance(store, str)
        self.strict = strict
        self.max_rounds = max_rounds
        self.stage = Stage(self.clock)
        self.watch = Watch(self.stage.offer)
        self.thrown_away: list[Found] = []
        given = settings or Settings(ttl=ttl, concurrency=concurrency)
        self._settings = attrs.evolve(given, namespace=namespace, queues=tuple(queues), poll=POLL)
        self._offered: dict[tuple[str, str], WorkflowSpec] | None = None
        if workflows is not None:
            self._offered = {(offered.name, offered.version): offered for offered in workflows}
        self._performers = performers(models)
        self._stuck: dict[RunKey, Exception] = {}
        self._observers = [_Ear(self), *observers]
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        self._seen = 0
        self._rounds = 0
        self._closed = False
        HOOK.open()
        self.members = [self._join(place, 0) for place in range(workers)]

    def _open(self, store: Store | str | None) -> Store:
        if store is None:
            return MemoryStore(clock=self.clock)
        found = open_store(store, clock=self.clock) if isinstance(store, str) else store
        if found.now() != self.clock():
            advice = "open the store with clock=replay_clock, and hand the same clock to World(store=…, clock=…)"
            raise InvalidRequest("store", f"{found.url} does not go by the world's clock", advice)
        return found

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Let everything go."""
        if self._closed:
            return
        self._closed = True
        for member in self.members:
            self._bury(member)
        HOOK.close()
        super().close()
        if self._owns_medium:
            self.medium.close()

    # ---- workers ----------------------------------------------------------------------------------------------------------

    def _join(self, place: int, life: int) -> Member:
        """A new worker."""
        hands = Hands(self.clock)
        store = self._store_for(place)
        worker = Worker(
            store,
            name=f"worker-{place}.{life}",
            executor=hands,
            settings=self._settings,
            offers=StagedOffers(self._offered, self.stage),
            observers=Observers(self._observers),
            performers=self._performers,
            chance=self._luck,
            sleep=self._doze,
            interpreter=partial(WatchedInterpreter, watch=self.watch),
            attempt=partial(Rehearsal, self.stage),
        )
        return Member(place, life, worker, hands, store)

    def _luck(self) -> float:
        """What spreads retries."""
        return self.chance.random()

    def _store_for(self, place: int) -> Store:
        """The store as the worker of a place sees it."""
        return self.medium

    def _bury(self, member: Member) -> None:
        """A worker is gone, and its memory with it; nothing is told to the store."""
        member.hands.close()
        for live in list(member.worker.live.values()):
            live.interp.close()

    def crash(self, worker: int = 0, *, notice: bool = False) -> None:
        """A worker dies: its memory is gone, nothing is given back; a new one begins in its place.

        Args:
            worker: Which one, from 0.
            notice: Whether the new one sees that the old one is dead, as engines on one machine do, and gives its leases back;
                else they end after their time.
        """
        member = self.members[worker]
        self._bury(member)
        self.members[worker] = self._join(worker, member.life + 1)
        if notice:
            leases = [Lease(run.key, run.fence, run.worker, 0) for run in self._runs(OPEN) if run.worker == member.worker.name]
            if leases:
                self.medium.release(leases)

    def _runs(self, statuses: Iterable[str]) -> list[Run]:
        """Every run of the namespace that has one of these statuses."""
        found: list[Run] = []
        cursor = ""
        while True:
            page = self.medium.find(Filter(namespace=self.namespace, statuses=tuple(statuses)), limit=1000, cursor=cursor)
            found += page.runs
            cursor = page.cursor
            if not cursor:
                return found

    # ---- steps ------------------------------------------------------------------------------------------------------------

    def stub(self, step: str | StepFunction[..., Any], answer: Any = None) -> None:
        """Let something stand in for a step's body, from now on.

        Args:
            step: The step, or its name; ``llm_call``, or ``llm_call:NAME``, for calls of language models.
            answer: A value; an exception, which is raised; a function, which is called with the step's arguments; a list of such
                answers, one for each call; ``Takes(seconds, answer)`` for one that comes after a while.

        Raises:
            UnknownName: No step of that name has been imported; one defined inside a function is given itself, not by name.
        """
        name = step if isinstance(step, str) else step.name
        if isinstance(step, str) and name not in STEPS and name.partition(":")[0] != LLM:
            raise UnknownName("step", name, tuple(sorted(STEPS)))
        self.stage.stubs[name] = Stub(name, answer)

    def calls(self, step: str | StepFunction[..., Any] | None = None) -> list[StepCall]:
        """Every attempt whose body, or stub, was begun, oldest first: of one step, or of all."""
        name = step.name if isinstance(step, StepFunction) else step
        return [call for call in self.stage.calls if name is None or call.step == name]

    @property
    def executions(self) -> Counter[tuple[str, str]]:
        """How many bodies, or stubs, were begun, by (run, command)."""
        return self.stage.executions

    # ---- a client's requests ------------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], specs: Sequence[WorkflowSpec]) -> list[Created]:
        """Create prepared runs; they begin when the world is driven."""
        for spec in specs:
            self.stage.offer(spec)
        return self.medium.create(runs)

    def ending(self, key: RunKey) -> Future[tuple[str, bytes]]:
        """How a run ends, after the world went on until then.

        Raises:
            StillWaiting: Nothing will happen to it by itself.
        """
        self._rounds = 0
        while True:
            (run,) = self.medium.get([key])
            if run is None or run.status in CLOSED or run.status == "stuck":
                break
            if not self._go_on():
                raise self._still_waiting(run)
        self._stuck.pop(key, None)
        future: Future[tuple[str, bytes]] = Future()
        future.set_result(ending(run))
        return future

    def fresh_id(self) -> str:
        """An id that nobody else has in this world."""
        self._count += 1
        return f"w{self.seed}-{self._count}"

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something done when so many seconds have passed, such as sending a signal."""
        self._count += 1
        heapq.heappush(self._agenda, (self.clock() + round(seconds * SECOND), self._count, action))

    # ---- driving ------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on, over all timers, until nothing more will happen by itself.

        Raises:
            RunsOn: That does not come to an end.
            UnyieldedEffect: A workflow threw an effect away.
            WorkflowError: A run is stuck: today's code does not fit its journal.
        """
        self._rounds = 0
        while self._go_on():
            pass
        self._raise_news()

    def run_until_idle(self) -> None:
        """Go on until everything waits for a timer or a message; the clock moves by less than a second. Raises what ``run`` does."""
        self._rounds = 0
        self._settle()
        limit = self.clock() + round(BREATHER * SECOND)
        while (due := self._due()) is not None and due <= limit:
            self._jump_to(due)
            if self._settle():
                limit = self.clock() + round(BREATHER * SECOND)
        self._raise_news()

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Let time pass; what becomes due on the way happens at its moment. Raises what ``run`` does."""
        self._rounds = 0
        until = self.clock() + round((seconds + 60 * minutes + 3600 * hours + 86400 * days) * SECOND)
        self._settle()
        while (due := self._due()) is not None and due <= until:
            self._jump_to(due)
            self._settle()
        self.clock.set(max(until, self.clock()))
        self._settle()
        self._raise_news()

    def _go_on(self) -> bool:
        """Do what can be done now, or jump to the next due moment; False when there is neither."""
        if self._settle():
            return True
        due = self._due()
        if due is None or (self._stuck and self._all_stuck()):
            return False
        self._jump_to(due)
        return True

    def _jump_to(self, moment: int) -> None:
        self._count_round()
        self.clock.set(moment)

    def _count_round(self) -> None:
        self._rounds += 1
        if self._rounds > self.max_rounds:
            raise RunsOn(self.max_rounds, tuple(run.key.id for run in self._runs(OPEN)[:SHOWN]))

    def _settle(self) -> bool:
        """Do all that can be done at this moment; whether there was anything."""
        happened = False
        while self._round():
            happened = True
            self._count_round()
        self._raise_mistakes()
        return happened

    def _round(self) -> bool:
        """One round of everybody."""
        busy = False
        while self._agenda and self._agenda[0][0] <= self.clock():
            busy = True
            heapq.heappop(self._agenda)[2]()
        before, self._seen = self._seen, self.medium.wait(self._seen, 0)
        for member in list(self.members):
            if self._seen != before:
                member.worker.inbox.put(Wake())
            busy |= self._pump(member)
        return busy

    def _pump(self, member: Member) -> bool:
        """One round of one worker, then of its hands; one that has left does nothing any more."""
        if member.worker.stopped:
            return False
        busy = member.worker.pump(0.0)
        return member.hands.run_due() or busy

    def _due(self) -> int | None:
        """The next moment at which anything is due, later than now; None when there is none."""
        now = self.clock()
        moments = [self._agenda[0][0]] if self._agenda else []
        for member in self.members:
            if member.worker.stopped:
                continue
            patience = member.worker.patience()
            if patience < FOREVER:
                moments.append(now + round(patience * SECOND))
            job = member.hands.next()
            if job is not None:
                moments.append(job)
        return max(min(moments), now + 1) if moments else None

    def _doze(self, seconds: float) -> None:
        """A worker sleeps between two tries of a store that does not answer."""
        self._count_round()
        self.clock.advance(seconds)

    # ---- what went wrong --------------------------------------------------------------------------------------------------

    def _all_stuck(self) -> bool:
        """Whether nothing but runs that are stuck would be tried again."""
        waits = any(run.ready_at is not None for run in self._runs(OPEN - {"stuck"}))
        return not (waits or self._agenda or any(member.hands.next() is not None for member in self.members))

    def _raise_mistakes(self) -> None:
        """Raise what a test did wrong, and, when strict, what a workflow threw away."""
        if self.stage.problems:
            raise self.stage.problems.pop(0)
        found, self.watch.found = self.watch.found, []
        self.thrown_away += found
        if found and self.strict:
            thrown = found[0]
            advice = f"write `yield from {thrown.effect.partition(' ')[2]}`, or take it out"
            raise UnyieldedEffect(thrown.effect, advice, thrown.run, thrown.line)

    def _raise_news(self) -> None:
        """Raise the first error that left a run stuck."""
        stuck, self._stuck = self._stuck, {}
        for error in stuck.values():
            raise error

    def _still_waiting(self, run: Run) -> StillWaiting:
        handle = self.get(run.key.id)
        try:
            report = handle.replay()
            pending, line = report.pending, report.line
        except ReplayError:
            pending, line = (), ""
        return StillWaiting(run.key.id, run.status, pending, line, self._advice(run))

    def _advice(self, run: Run) -> str:
        if run.queue not in self._settings.queues:
            return f"it waits in queue {run.queue!r}, which no worker here serves; pass World(queues=…)"
        if run.workflow not in self.members[0].worker.offers.names():
            return f"no worker here offers {run.workflow.removeprefix(STEP_RUN)!r}; import it, or pass World(workflows=…)"
        if run.status == "paused":
            return "resume it"
        elsewhere = [child.key.id for child in self._runs(OPEN) if child.parent == run.key.id]
        if elsewhere:
            return f"see to its child {elsewhere[0]}"
        return "send what it waits for"


class Patient(Interposed):
    """The store as a world's client sees it: who waits for it, drives the world."""

    def __init__(self, inner: Store, world: World) -> None:
        super().__init__(inner)
        self.world = world

    def wait(self, seen: int, timeout: float) -> int:
        """See ``Store.wait``.

        Raises:
            StillWaiting: Nothing more will happen by itself.
        """
        if not self.world._go_on():  # noqa: SLF001 - a part of it
            open_runs = self.world._runs(OPEN)  # noqa: SLF001 - a part of it
            if open_runs:
                raise self.world._still_waiting(open_runs[0])  # noqa: SLF001 - a part of it
        return self.inner.wait(seen, 0)


class _Ear(Observer):
    """Hears which runs are stuck."""

    def __init__(self, world: World) -> None:
        self.world = world

    def claimed(self, run: Run, lease: Lease) -> None:
        """It is tried again."""
        self.world._stuck.pop(run.key, None)  # noqa: SLF001 - a part of it

    def stuck(self, key: RunKey, error: Exception) -> None:
        """It is stuck."""
        self.world._stuck[key] = error  # noqa: SLF001 - a part of it
