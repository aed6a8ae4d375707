"""Workers that die, stop and err over a store that fails, by a seed: nothing that was promised may be broken.

Rule 1: a simulated world is a list of decisions, each at a tick: whose turn it is, who dies, who stops, which call of the store
fails, which message is late. The seed makes the list; the list alone decides what happens, so it can be run again, and made smaller.
Rule 2: what is not decided is fair: workers take turns, messages arrive at once, and when nothing can be done the clock jumps.
Rule 3: trouble ends after some ticks. From then on the world is fair, and every run must come to its end.
Rule 4: whoever is called may be stopped inside of the call, while the others go on: two workers in one thread are as bad as two
processes.
Rule 5: the smallest list that still breaks the same promise is what the error shows.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Literal, TypeVar

import attrs

from replay.engine.requests import StartRequest, Stop, Wake
from replay.engine.settings import Settings
from replay.errors import ReplayError, StoreError, StoreUnavailable
from replay.model.effects import WorkflowSpec
from replay.model.names import SECOND
from replay.store.contract import OPEN, Created, Message, NewRun, Posted, Store
from replay.testing.audit import Audited, Ledger, Problem, all_runs, examine, watch_attempt
from replay.testing.crashes import Crash
from replay.testing.interposed import Interposed
from replay.testing.problems import RunsOn, SimulationFailed
from replay.testing.script import MakeStore
from replay.testing.shrinking import shrink
from replay.testing.world import Member, World

T = TypeVar("T")
What = Literal["turn", "crash", "drain", "stop", "fail", "stall", "clock", "skew", "late", "twice", "slow"]
Trouble = Literal["crash", "drain", "stop", "fail", "stall", "clock", "skew", "late", "twice", "slow"]
How = Literal["between", "before", "after"]
TROUBLE: Final[tuple[Trouble, ...]] = ("crash", "drain", "stop", "fail", "stall", "clock", "skew", "late", "twice", "slow")
"""What can go wrong: a worker dies; it is asked to leave and does so in order; it stops past its lease and goes on; a call of the store
fails, done or not done; a worker is stopped inside such a call while the others go on; the store's clock jumps; a worker's own clock
is wrong; messages are late; they come twice; steps take long."""
TICK: Final = 5_000
"""Microseconds that pass with every tick."""
LOOK: Final = 5 * SECOND
"""Microseconds after which every worker asks the store without being told to, when nothing else can be done."""
CRAWL, CRAWLS = 100, 200
"""A worker that wakes within so many microseconds, and does nothing, so many times in a row, waits by spinning."""
NESTED: Final = 12
"""Rounds that the others have while a worker is stopped inside a call."""
SHRINKS: Final = 250
"""Worlds that are run at most to make a failing one smaller."""


@attrs.frozen
class Decision:
    """One thing that happens in a simulated world.

    Attributes:
        tick: When.
        what: ``turn``: it is the worker's turn. ``crash``: it dies. ``drain``: it is asked to leave within some seconds; another
            follows. ``stop``: it is stopped for some seconds. ``fail``: its next call of the store raises. ``stall``: it is stopped
            inside that call while the others go on for some seconds. ``clock``: the store's clock jumps by some seconds. ``skew``: the
            worker's clock is wrong by some seconds. ``late``: messages that are under way arrive some seconds later. ``twice``: they
            arrive twice. ``slow``: steps of the worker begin some seconds later.
        worker: Which worker.
        seconds: How many.
        how: Whether a crash comes ``between`` two rounds, or, like a failure or a stall, ``before`` or ``after`` the worker's next
            call of the store takes effect.
    """

    tick: int
    what: What
    worker: int = 0
    seconds: float = 0.0
    how: How = "between"


@attrs.frozen(kw_only=True)
class SimulationReport:
    """What was simulated.

    Attributes:
        worlds: How many worlds.
        ticks: How many ticks, in all of them.
        events: How many events their journals hold.
        executions: How many steps were begun.
        troubles: How often what went wrong.
    """

    worlds: int
    ticks: int
    events: int
    executions: int
    troubles: Counter[str]


Scenario = Callable[["Simulation"], object]
"""Starts runs and sends messages; nothing happens before it returns."""
Check = Callable[["Simulation"], object]
"""Called when all runs have ended; what it raises is a broken promise."""


def decide(seed: int, *, workers: int, ticks: int, trouble: float, kinds: Sequence[Trouble]) -> list[Decision]:
    """The decisions that a seed makes: some kinds of trouble only, more often or less, for what happens always hides the rest."""
    dice = random.Random(seed)  # noqa: S311 - the same again is what it is for
    some = dice.sample(list(kinds), dice.randint(1, len(kinds))) if kinds else []
    often = trouble * dice.choice((0.3, 1.0, 2.0))
    made: list[Decision] = []
    for tick in range(ticks):
        if some and dice.random() < often:
            made.append(_trouble(dice, tick, dice.choice(some), dice.randrange(workers)))
        made.append(Decision(tick, "turn", dice.randrange(workers)))
    return made


def _trouble(dice: random.Random, tick: int, what: Trouble, worker: int) -> Decision:
    how: How = "between"
    seconds = 0.0
    if what == "crash":
        how = dice.choice(("between", "before", "after"))
    elif what in {"fail", "stall"}:
        how = dice.choice(("before", "after"))
    if what in {"drain", "stop", "stall", "slow", "late"}:
        seconds = dice.choice((0.01, 1.0, 10.0, 20.0, 40.0))
    elif what == "clock":
        seconds = dice.choice((-30.0, -1.0, -0.001, 5.0, 20.0, 3600.0))
    elif what == "skew":
        seconds = dice.choice((-20.0, -1.0, -0.01, 0.01, 1.0, 20.0))
    return Decision(tick, what, worker, seconds, how)


def narrow(seed: int) -> Settings:
    """How a seed's workers work: now with plenty of room, now with hardly any, for queues and evictions have mistakes of their own."""
    dice = random.Random(seed ^ 0x5EED)  # noqa: S311 - as above
    return Settings(
        concurrency=dice.choice((1, 2, 1_000)),
        steps=dice.choice((1, 3, 256)),
        linger=dice.choice((0.0, 0.2, 5.0)),
        keep=dice.choice((0, 1, 200)),
    )


class Frail(Interposed):
    """The store as one worker sees it: its calls may fail, or last while others go on, and its clock may be wrong."""

    def __init__(self, inner: Store, world: Simulation, place: int) -> None:
        super().__init__(inner)
        self.world = world
        self.place = place

    def now(self) -> int:
        """See ``Store.now``."""
        return self.inner.now() + self.world.skews[self.place]

    def around(self, verb: str, act: Callable[[], T]) -> T:
        """Do it, with what was decided for this call."""
        plans = self.world.plans[self.place]
        if not plans:
            return act()
        plan = plans.pop(0)
        if plan.how == "before":
            self._suffer(plan, verb)
            return act()
        answer = act()
        self._suffer(plan, verb)
        return answer

    def _suffer(self, plan: Decision, verb: str) -> None:
        if plan.what == "crash":
            raise Crash
        if plan.what == "fail":
            raise StoreUnavailable(self.url, f"simulated: no answer to {verb}, which {_took_effect(plan)}")
        self.world.go_on_without(self.place, plan.seconds)


def _took_effect(plan: Decision) -> str:
    return "took effect" if plan.how == "after" else "did not take effect"


class Simulation(World):
    """One simulated world; see ``simulate``.

    Attributes:
        schedule: What happens.
        ledger: What the store has promised.
        skews: By how much the workers' clocks are wrong, microseconds.
        plans: What awaits the next calls of the store, by worker.
        ticks: How many ticks have passed.
        troubles: How often what went wrong.
    """

    def __init__(
        self, schedule: Sequence[Decision], *, seed: int = 0, workers: int = 3, make: MakeStore | None = None, **options: Any
    ) -> None:
        self.schedule = list(schedule)
        self.ledger = Ledger()
        self.skews = [0] * workers
        self.plans: list[list[Decision]] = [[] for _ in range(workers)]
        self.ticks = 0
        self.troubles: Counter[str] = Counter()
        self._make = make
        self._inside: set[int] = set()
        self._network: list[tuple[int, int, Message]] = []
        self._versions = [0] * workers
        self._looked_at = 0
        self._crawled = 0
        super().__init__(seed, workers, **options)
        self.stage.audit = self._audit

    def _open(self, store: Store | str | None) -> Store:
        made = super()._open(store) if self._make is None else super()._open(self._make(self.clock))
        return Audited(made, self.ledger)

    def _store_for(self, place: int) -> Store:
        return Frail(self.medium, self, place)

    def _audit(self, attempt: Any) -> None:
        watch_attempt(self.medium, self.ledger, attempt)

    # ---- what a scenario does -----------------------------------------------------------------------------------------------

    def create(self, runs: Sequence[NewRun], specs: Sequence[WorkflowSpec]) -> list[Created]:
        """Create runs: now by the store, now by a worker that begins at once, as an engine does with its own."""
        for spec in specs:
            self.stage.offer(spec)
        if self.chance.random() < 0.5:
            return self.medium.create(runs)
        member = self.chance.choice(self.members)
        future: Future[list[Created]] = Future()
        member.worker.inbox.put(StartRequest(runs, specs, future))
        member.worker.pump(0.0)
        return future.result()

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """Give messages to the network; they arrive, some late, some twice."""
        for message in messages:
            self._send(message, self.clock())
        return [Posted.DELIVERED] * len(messages)

    def _send(self, message: Message, moment: int) -> None:
        self._count += 1
        heapq.heappush(self._network, (moment, self._count, message))

    # ---- how it goes ----------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Let the schedule happen, then let the world come to its end."""
        by_tick: defaultdict[int, list[Decision]] = defaultdict(list)
        for decision in self.schedule:
            by_tick[decision.tick].append(decision)
        last = max(by_tick, default=-1)
        quiet = 0
        while self.ticks <= last and not self.ledger.problems and (self.ticks % 8 or self._open_runs()):
            place = self.ticks % len(self.members)
            for decision in by_tick[self.ticks]:
                if decision.what == "turn":
                    place = decision.worker
                else:
                    self._trouble(decision)
            self.ticks += 1
            quiet = 0 if self._tick(place) else quiet + 1
            if quiet >= 2 * len(self.members):
                quiet = 0
                self._jump()
            self._raise_mistakes()
        if not self.ledger.problems:
            self._calm()

    def _tick(self, place: int) -> bool:
        """One turn of one worker; whether anything happened."""
        self.clock.set(self.clock() + TICK)
        busy = self._deliver()
        member = self.members[place]
        if member.resumes_at > self.clock():
            return busy
        return self._pump(member) or busy

    def _deliver(self) -> bool:
        """Let messages arrive and actions happen whose moment has come; whether there were any."""
        arrived: list[Message] = []
        while self._network and self._network[0][0] <= self.clock():
            arrived.append(heapq.heappop(self._network)[2])
        if arrived:
            self.medium.post(arrived)
        acted = False
        while self._agenda and self._agenda[0][0] <= self.clock():
            acted = True
            heapq.heappop(self._agenda)[2]()
        return acted or bool(arrived)

    def _pump(self, member: Member) -> bool:
        """A round of one worker, as an engine's own loop has it: what nobody expected makes it read everything again."""
        place, worker = member.place, member.worker
        version = self.medium.wait(self._versions[place], 0)
        if version != self._versions[place]:
            self._versions[place] = version
            worker.inbox.put(Wake())
        self._inside.add(place)
        try:
            busy = super()._pump(member)
            if worker.stopped:
                self.crash(place)
            return busy
        except Crash:
            self.crash(place)
        except RunsOn:
            raise
        except Exception as error:  # noqa: BLE001 - border: the worker's loop, as in an engine
            if not isinstance(error, StoreError):
                self.ledger.blame("loop", f"a round of {worker.name} failed: {type(error).__name__}: {error}")
            self._forget(member)
        finally:
            self._inside.discard(place)
        return True

    def _forget(self, member: Member) -> None:
        try:
            member.worker.forget_all()
        except Crash:
            self.crash(member.place)

    def go_on_without(self, place: int, seconds: float) -> None:
        """A worker is stopped inside a call: time passes, and the others go on."""
        self.clock.advance(seconds)
        others = [member.place for member in self.members if member.place not in self._inside]
        for _ in range(NESTED):
            busy = self._deliver()
            for other in others:
                member = self.members[other]
                if member.resumes_at <= self.clock():
                    busy |= self._pump(member)
            if not busy:
                return

    def _trouble(self, decision: Decision) -> None:
        """Let something go wrong."""
        self.troubles[decision.what] += 1
        place, span = decision.worker, round(decision.seconds * SECOND)
        if decision.what == "crash" and decision.how == "between":
            self.crash(place)
        elif decision.what in {"crash", "fail", "stall"}:
            self.plans[place].append(decision)
        elif decision.what == "drain":
            self.members[place].worker.inbox.put(Stop(self.clock() + span))
        elif decision.what == "stop":
            self.members[place].resumes_at = self.clock() + span
        elif decision.what == "clock":
            self.clock.advance(decision.seconds)
        elif decision.what == "skew":
            self.skews[place] = span
        elif decision.what == "slow":
            self.members[place].hands.hold(self.clock() + span)
        elif decision.what == "late":
            self._network = [(moment + span, number, message) for moment, number, message in self._network]
            heapq.heapify(self._network)
        elif decision.what == "twice":
            on_the_way = {(message.key, message.id): (message, moment) for moment, _, message in self._network}
            known = {place: (message, self.clock()) for place, message in self.ledger.delivered.items()}
            for message, moment in {**known, **on_the_way}.values():
                self._send(message, moment)

    def crash(self, worker: int = 0, *, notice: bool = False) -> None:
        """See ``World.crash``; what awaited the dead does not await its follower."""
        super().crash(worker, notice=notice)
        self.plans[worker].clear()
        self._versions[worker] = -1

    def _jump(self) -> None:
        """Nothing can be done now: on to the next moment at which something is due."""
        moments = [moment for moment in (self._due(), self._next_arrival()) if moment is not None]
        moments += [member.resumes_at for member in self.members if member.resumes_at > self.clock()]
        if moments:
            before = self.clock()
            self.clock.set(max(before + 1, min(moments)))
            self._crawled = self._crawled + 1 if self.clock() - before < CRAWL else 0
            if self._crawled > CRAWLS:
                shown = ", ".join(f"{member.worker.name} {member.worker.patience():g} s" for member in self.members)
                self.ledger.blame("spins", f"{CRAWLS} times in a row somebody woke at once and did nothing; patience is {shown}")
        if abs(self.clock() - self._looked_at) >= LOOK:
            self._look()

    def _look(self) -> None:
        """Every worker asks the store, as an engine's does once a poll."""
        self._looked_at = self.clock()
        for member in self.members:
            member.worker.inbox.put(Wake())

    def _next_arrival(self) -> int | None:
        return self._network[0][0] if self._network else None

    def _calm(self) -> None:
        """No more trouble; every run must come to its end."""
        self.skews = [0] * len(self.members)
        self.plans = [[] for _ in self.members]
        for member in self.members:
            member.resumes_at = 0
        self._look()
        self._rounds = 0
        while self.ledger.problems == [] and self._open_runs():
            busy = self._deliver()
            for member in list(self.members):
                busy |= self._pump(member)
            self._raise_mistakes()
            self._rounds += 1
            if self._rounds > self.max_rounds:
                self.ledger.blame("ends", f"after {self._rounds} rounds in peace these go on: {self._open_runs()}")
            elif not busy and self._due() is None and self._next_arrival() is None:
                self.ledger.blame("ends", f"nothing is due any more, and these are open: {self._open_runs()}")
            elif not busy:
                self._jump()

    def _open_runs(self) -> list[str]:
        return [f"{run.key.id} ({run.status}{f': {run.note}' if run.note else ''})" for run in self._runs(OPEN)]

    def judge(self, check: Check | None) -> list[Problem]:
        """What was broken."""
        if not self.ledger.problems:
            examine(self.medium, self.namespace, self.ledger, self.members[0].worker.offers.find)
        if not self.ledger.problems and check is not None:
            try:
                check(self)
            except (AssertionError, ReplayError) as error:
                self.ledger.blame("check", f"{type(error).__name__}: {error}")
        return self.ledger.problems

    def statuses(self) -> Counter[str]:
        """How many runs have which status."""
        return Counter(run.status for run in all_runs(self.medium, self.namespace))


# ---- many worlds --------------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Plan:
    """What all worlds of one ``simulate`` share."""

    scenario: Scenario
    check: Check | None
    workers: int
    options: dict[str, Any]

    def play(self, seed: int, schedule: Sequence[Decision]) -> Simulation:
        """One world, from beginning to end."""
        options = {"settings": narrow(seed), **self.options}
        with Simulation(schedule, seed=seed, workers=self.workers, **options) as world:
            self.scenario(world)
            world.play()
            world.judge(self.check)
        return world


def simulate(
    scenario: Scenario,
    *,
    seeds: Iterable[int] = range(20),
    seed: int | None = None,
    schedule: Sequence[Decision] | None = None,
    workers: int = 3,
    ticks: int = 150,
    trouble: float = 0.4,
    kinds: Sequence[Trouble] = TROUBLE,
    check: Check | None = None,
    store: MakeStore | None = None,
    **options: Any,
) -> SimulationReport:
    """Run a scenario in many worlds full of trouble, and check that no promise is broken in any.

    Promises: every run ends; no journal has a gap, loses an event or answers a command twice; no worker does again what was
    committed; fences only grow, and nothing is committed under an old one; outputs take effect exactly once; every journal, driven
    anew, says what the store shows.

    Args:
        scenario: Is called with every world: it starts runs, sets stubs, sends messages, some with ``world.after``.
        seeds: One world for each.
        seed: One world only, such as the one of an error.
        schedule: What happens in that world, such as the one of an error; by default what the seed decides.
        workers: How many workers.
        ticks: For how many ticks there is trouble.
        trouble: How often something goes wrong in a tick, 0 to 1.
        kinds: What may go wrong.
        check: Is called with every world when all its runs have ended; what it raises is a broken promise too.
        store: Opens a fresh store for each world; a memory store by default.
        **options: Of ``World``.

    Raises:
        SimulationFailed: A promise was broken; the error shows the smallest schedule that was found to break it.
    """
    plan = _Plan(scenario=scenario, check=check, workers=workers, options={"make": store, **options})
    worlds = steps = length = executions = 0
    troubles: Counter[str] = Counter()
    for number in [seed] if seed is not None else ([0] if schedule is not None else seeds):
        decisions = list(schedule) if schedule is not None else []
        if schedule is None:
            decisions = decide(number, workers=workers, ticks=ticks, trouble=trouble, kinds=kinds)
        world = plan.play(number, decisions)
        if world.ledger.problems:
            raise _smallest(plan, number, world)
        worlds += 1
        steps += world.ticks
        length += sum(map(len, world.ledger.journals.values()))
        executions += len(world.stage.calls)
        troubles += world.troubles
    return SimulationReport(worlds=worlds, ticks=steps, events=length, executions=executions, troubles=troubles)


def _smallest(plan: _Plan, seed: int, failed: Simulation) -> SimulationFailed:
    """The smallest schedule that breaks one of the same promises."""
    rules = {problem.rule for problem in failed.ledger.problems}
    worst = failed

    def fails(schedule: Sequence[Decision]) -> bool:
        nonlocal worst
        world = plan.play(seed, schedule)
        if rules.isdisjoint(problem.rule for problem in world.ledger.problems):
            return False
        worst = world
        return True

    turns = [decision for decision in failed.schedule if decision.what == "turn"]
    others = [decision for decision in failed.schedule if decision.what != "turn"]
    if fails(others):
        turns = []
    fewer, runs = shrink(others, lambda part: fails(_merged(part, turns)), budget=SHRINKS)
    turns, more = shrink(turns, lambda part: fails(_merged(fewer, part)), budget=SHRINKS)
    schedule = _merged(fewer, turns)
    fails(schedule)
    problems = tuple(str(problem) for problem in worst.ledger.problems)
    return SimulationFailed("simulation", problems, seed, tuple(schedule), runs + more + 2)


def _merged(one: Sequence[Decision], other: Sequence[Decision]) -> list[Decision]:
    return sorted([*one, *other], key=lambda decision: (decision.tick, decision.what == "turn"))
