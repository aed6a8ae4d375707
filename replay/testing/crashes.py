"""Crash everywhere: a run must end the same wherever its worker dies, and do nothing again that was committed.

Two kinds of death are tried, each in a fresh world:

- *the journal is cut* after every event, as if nothing later had ever been written, and a fresh worker goes on from there;
- *the worker dies* at every call of its store, once just before the call takes effect and once just after, before it hears of it.

Rule 1: the first run is the measure. Afterwards steps answer what they answered then, so that what is outside need not be asked
twice; a step that was not asked then is done as the world says.
Rule 2: the same end means: the same outcome and, unless told otherwise, the same journal in what replay reads but time.
Rule 3: no time passes while a worker is dead, and a stub that took its time takes it again. So a workflow that races a long step
against a timer may rightly end otherwise; give it a step that answers at once.
Rule 4: an ``at_most_once`` step whose end is unknown ends otherwise; there it only counts that it was not begun twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs

from replay.errors import ReplayError, StepInterrupted, WorkflowError
from replay.interpreter.interpreter import Interpreter
from replay.model import events
from replay.model.codec import from_json
from replay.model.effects import Call, WorkflowSpec
from replay.model.events import Event
from replay.model.failure import qualified
from replay.model.journal import Resume
from replay.model.names import SECOND
from replay.store.contract import CLOSED, Message, NewRun, Posted, Run, RunKey, Store
from replay.testing.audit import ANSWERS, Audited, Ledger, all_runs, examine, watch_attempt
from replay.testing.clock import VirtualClock
from replay.testing.interposed import Interposed
from replay.testing.journals import difference, essence
from replay.testing.problems import CheckFailed, RunsOn, StillWaiting
from replay.testing.script import MakeStore, Prepare, Script, Signals, Stubs
from replay.testing.stage import Outcome, Place
from replay.testing.world import Member, World

T = TypeVar("T")
Same = Literal["journal", "outcome"]
LUCK: Final = 0.5
"""What spreads retries: always the same, or a crash would shift the dice."""
PATIENCE: Final = 20
"""Problems after which no more worlds are tried."""
INTERRUPTED: Final = qualified(StepInterrupted)


class Crash(BaseException):
    """A process dies: nothing may catch it but the world."""


@attrs.define
class Fuse:
    """Which call of the store kills the worker.

    Attributes:
        at: Number of the call, from 1; 0 for none.
        after: Whether the call takes effect first.
        calls: Verbs that were called.
    """

    at: int = 0
    after: bool = False
    calls: list[str] = attrs.field(factory=list)


class Mortal(Interposed):
    """The store of a worker that dies at one call."""

    def __init__(self, inner: Store, fuse: Fuse) -> None:
        super().__init__(inner)
        self.fuse = fuse

    def around(self, verb: str, act: Callable[[], T]) -> T:
        """Do it, unless this is the call."""
        fuse = self.fuse
        fuse.calls.append(verb)
        if len(fuse.calls) != fuse.at:
            return act()
        if fuse.after:
            act()
        raise Crash


class CrashWorld(World):
    """A world that is watched, and whose worker dies at one call of its store."""

    def __init__(self, *, fuse: Fuse, make: MakeStore | None, clock: VirtualClock | None = None, **options: Any) -> None:
        self.ledger = Ledger()
        self.fuse = fuse
        self._make = make
        super().__init__(clock=clock, **options)
        self.stage.audit = self._audit

    def _open(self, store: Store | str | None) -> Store:
        made = super()._open(store) if self._make is None else super()._open(self._make(self.clock))
        return Audited(made, self.ledger)

    def _luck(self) -> float:
        return LUCK

    def _store_for(self, place: int) -> Store:
        return Mortal(self.medium, self.fuse)

    def _pump(self, member: Member) -> bool:
        try:
            return super()._pump(member)
        except Crash:
            self.crash(member.place, notice=True)
            return True

    def _audit(self, attempt: Any) -> None:
        watch_attempt(self.medium, self.ledger, attempt)


class CutWorld(CrashWorld):
    """A world in which a run goes on from a journal that was cut; messages in it are not sent again."""

    def __init__(self, *, past: Sequence[Event], **options: Any) -> None:
        self.passed = (past[-1].at - past[0].at) / SECOND
        self._taken = [place for event in past if (place := _message_of(event))]
        super().__init__(fuse=Fuse(), clock=VirtualClock(past[-1].at), **options)

    def post(self, messages: Sequence[Message]) -> list[Posted]:
        """Leave messages, but those that the past holds already."""
        fates = []
        for message in messages:
            place = (message.kind, message.id if message.kind == "update" else message.name)
            if place in self._taken:
                self._taken.remove(place)
                fates.append(Posted.DUPLICATE)
            else:
                fates += super().post([message])
        return fates

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something done so many seconds after the run was started."""
        super().after(max(0.0, seconds - self.passed), action)


def _message_of(event: Event) -> tuple[str, str] | None:
    """Kind and name of the message that an event took in, or None; for an update, its id."""
    if event.kind == events.SIGNAL_RECEIVED:
        return "signal", event.name
    if event.kind == events.UPDATE_RECEIVED:
        return "update", from_json(event.payload)["id"]
    return ("cancel", "cancel") if event.kind == events.CANCEL_REQUESTED else None


@attrs.frozen(kw_only=True)
class CrashReport:
    """What was tried.

    Attributes:
        run: The run's id.
        events: Length of its journal.
        cuts: At how many events its journal was cut; 0 when other runs took part or it sent messages, for a journal alone does not
            tell which of those were under way.
        crashes: At how many calls of the store a worker died, before and after each.
        worlds: How many worlds that took.
    """

    run: str
    events: int
    cuts: int
    crashes: int
    worlds: int


@attrs.frozen(kw_only=True)
class _Measure:
    """The first run, by which all others are judged."""

    script: Script
    same: Same
    options: Mapping[str, Any]
    runs: Mapping[str, Run]
    journals: Mapping[str, list[Event]]
    outcomes: Mapping[Place, Outcome]
    calls: Sequence[str]
    spec: WorkflowSpec
    alone: bool


def crash_everywhere(
    call: Call[Any],
    *,
    id: str = "run",
    stubs: Stubs | None = None,
    signals: Signals = (),
    prepare: Prepare | None = None,
    same: Same = "journal",
    store: MakeStore | None = None,
    **options: Any,
) -> CrashReport:
    """Let a run's worker die everywhere, and check that it ends the same and does nothing again that was committed.

    Args:
        call: A call of a workflow, such as ``order(cart)``.
        id: The run's id.
        stubs: What stands in for steps; the first run asks them, the others answer what was answered then.
        signals: What is sent to it: values by name, or (name, value, seconds after the start).
        prepare: Called with every world before the run is started.
        same: ``journal``: every world must write the same journal. ``outcome``: only the end must be the same, for a workflow whose
            branches may come in another order.
        store: Opens a fresh store for each world; a memory store by default.
        **options: Of ``World``.

    Raises:
        CheckFailed: A world ended otherwise, did something again, or broke another promise.
        StillWaiting: The run does not end by itself in the first world.
    """
    script = Script(call=call, id=id, stubs=stubs or {}, signals=signals, prepare=prepare)
    measure = _measure(script, same, {"make": store, **options})
    problems: list[str] = []
    cuts = len(measure.journals[id]) - 1 if measure.alone else 0
    worlds = 1
    for length in range(1, cuts + 1):
        problems += _cut(measure, length)
        worlds += 1
    for number in range(1, len(measure.calls) + 1):
        for after in (False, True):
            if len(problems) < PATIENCE:
                problems += _die(measure, number, after=after)
                worlds += 1
    if problems:
        raise CheckFailed("crash everywhere", tuple(problems[:PATIENCE]))
    return CrashReport(run=id, events=len(measure.journals[id]), cuts=cuts, crashes=2 * len(measure.calls), worlds=worlds)


def _measure(script: Script, same: Same, options: Mapping[str, Any]) -> _Measure:
    with CrashWorld(fuse=Fuse(), **options) as world:
        handle = script.begin(world)
        try:
            world.ending(handle.key)
            world.run()
        except WorkflowError as error:
            raise CheckFailed("crash everywhere, before any crash", (str(error),)) from error
        problems = _examined(world)
        if problems:
            raise CheckFailed("crash everywhere, before any crash", tuple(problems))
        runs, journals = _kept(world)
        return _Measure(
            script=script,
            same=same,
            options=options,
            runs=runs,
            journals=journals,
            outcomes=dict(world.stage.outcomes),
            calls=tuple(world.fuse.calls),
            spec=handle.spec(),
            alone=len(runs) == 1 and not world.ledger.sent,
        )


def _kept(world: World) -> tuple[dict[str, Run], dict[str, list[Event]]]:
    runs = {run.key.id: run for run in all_runs(world.medium, world.namespace)}
    return runs, {name: world.medium.journal(run.key) for name, run in runs.items()}


def _examined(world: CrashWorld) -> list[str]:
    def spec_of(name: str, version: str) -> WorkflowSpec | None:
        return world.members[0].worker.offers.find(name, version)

    return [str(problem) for problem in examine(world.medium, world.namespace, world.ledger, spec_of)]


def _play(world: World, key: RunKey) -> str:
    """Drive a world to its end; why that did not go well, or empty."""
    try:
        world.ending(key)
        world.run()
    except (StillWaiting, RunsOn) as error:
        return str(error)
    except ReplayError as error:
        return f"{type(error).__name__}: {error}"
    return ""


# ---- the worker dies ------------------------------------------------------------------------------------------------------


def _die(measure: _Measure, number: int, *, after: bool) -> list[str]:
    """Let the worker die at one call."""
    where = f"dead {'after' if after else 'before'} call {number} of the store ({measure.calls[number - 1]})"
    with CrashWorld(fuse=Fuse(number, after), **measure.options) as world:
        world.stage.recorded = measure.outcomes
        handle = measure.script.begin(world)
        wrong = _play(world, handle.key)
        if wrong:
            return [f"{where}: {wrong}"]
        runs, journals = _kept(world)
        found = [str(problem) for problem in world.ledger.problems] or _examined(world)
        found += _otherwise(measure, runs, journals)
        return [f"{where}: {problem}" for problem in found]


def _otherwise(measure: _Measure, runs: Mapping[str, Run], journals: Mapping[str, list[Event]]) -> list[str]:
    """How a world's end differs from the measure."""
    if any(_interrupted(journal) for journal in journals.values()):
        return []
    found = []
    for name, first in measure.runs.items():
        if name not in runs:
            found.append(f"run {name} is not there")
            continue
        if _outcome(runs[name], journals[name]) != _outcome(first, measure.journals[name]):
            found.append(f"run {name} ended {_told(runs[name])}, not {_told(first)}")
        elif measure.same == "journal" and (text := difference(measure.journals[name], journals[name])):
            found.append(f"run {name} has another journal: {text}")
    found += [f"run {name} was not there before" for name in runs.keys() - measure.runs.keys()]
    return found


def _outcome(run: Run, journal: Sequence[Event]) -> tuple[Any, ...]:
    closing = journal[-1] if journal and run.status in CLOSED else None
    return run.status, None if closing is None else essence(closing)[1:]


def _told(run: Run) -> str:
    return f"{run.status} {run.result.decode('utf-8', 'replace')[:200]}"


def _interrupted(journal: Sequence[Event]) -> bool:
    return any(event.kind == events.STEP_FAILED and from_json(event.payload).get("type") == INTERRUPTED for event in journal)


# ---- the journal is cut -----------------------------------------------------------------------------------------------------


def _cut(measure: _Measure, length: int) -> list[str]:
    """Go on from the first events of the journal."""
    script = measure.script
    journal = measure.journals[script.id]
    past = journal[:length]
    where = f"cut after {past[-1]}"
    with CutWorld(past=past, **measure.options) as world:
        world.stage.recorded = measure.outcomes
        script.set(world)
        world.stage.offer(measure.spec)
        new, said = _going_on(measure, world.namespace, past)
        world.create([new], [])
        handle = world.get(script.id)
        script.send(handle, world)
        wrong = _play(world, handle.key)
        if wrong:
            return [f"{where}: {wrong}"]
        found = [str(problem) for problem in world.ledger.problems]
        found += _otherwise(measure, *_kept(world))
        found += _again(world, past) + _unsaid(world, measure, said)
        return [f"{where}: {problem}" for problem in found]


def _going_on(measure: _Measure, namespace: str, past: Sequence[Event]) -> tuple[NewRun, dict[str, int]]:
    """The run as it would be if its journal ended here, and how many lines it has published, by topic."""
    run = measure.runs[measure.script.id]
    interpreter = Interpreter(measure.spec, run.key.id)
    interpreter.feed_all(past)
    interpreter.close()
    state = {output.target: output.payload for _, output in interpreter.outputs if output.name == "set_state"}
    said: dict[str, int] = {}
    for _, output in interpreter.outputs:
        if output.name == "publish":
            said[output.target] = said.get(output.target, 0) + 1
    saved = [event.seq for event in past if event.kind == events.SAVEPOINT and Resume.decode(event.payload) is not None]
    new = NewRun(
        key=RunKey(namespace, run.key.id),
        workflow=run.workflow,
        version=run.version,
        queue=run.queue,
        fairness_key=run.fairness_key,
        digest=run.digest,
        events=list(past),
        state=state,
        base=max(saved, default=0),
        applied=len(past),
    )
    return new, said


def _again(world: World, past: Sequence[Event]) -> list[str]:
    answered = {event.command: event for event in past if event.kind in ANSWERS}
    return [
        f"step {call.step} (command {call.command}) was begun again after {answered[call.command]}"
        for call in world.calls()
        if call.command in answered
    ]


def _unsaid(world: CrashWorld, measure: _Measure, said: Mapping[str, int]) -> list[str]:
    """What was published before the cut is not published again, what comes after it is."""
    whole = _going_on(measure, world.namespace, measure.journals[measure.script.id])[1]
    found = []
    for topic, count in whole.items():
        told = len(world.read(topic, limit=1_000_000))
        if told != count - said.get(topic, 0):
            found.append(f"{told} lines were published to topic {topic}, not {count - said.get(topic, 0)}")
    return found
