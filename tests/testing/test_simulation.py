"""The simulation itself: it is the same again by its seed, finds what is broken, and makes the finding small."""

from __future__ import annotations

import ast
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from replay import Workflow, step, workflow
from replay.engine.live import Live
from replay.engine.worker import Worker
from replay.hooks import Commit, Committed, Lease, Message, Posted, RunKey, Store
from replay.store.memory import MemoryStore, Record
from replay.testing import Decision, Simulation, SimulationFailed, UnyieldedEffect, VirtualClock, simulate
from replay.testing.interposed import Interposed
from replay.testing.shrinking import shrink
from replay.testing.simulation import TROUBLE, decide
from tests.simulation.scenarios import OPTIONS, everything, messages, plain, sums
from tests.testing.shop import asks, note


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Trouble is told to the log, at length."""
    caplog.set_level(logging.CRITICAL, "replay")


# ---- seeds and schedules --------------------------------------------------------------------------------------------------


def journals_of(seed: int) -> dict[str, Any]:
    """What a seed's world writes, with the times of day."""
    schedule = decide(seed, workers=3, ticks=100, trouble=0.4, kinds=TROUBLE)
    with Simulation(schedule, seed=seed, **OPTIONS) as world:
        everything(world)
        world.play()
        assert [] == world.judge(None)
        return {key.id: [event[:7] for event in journal] for key, journal in world.ledger.journals.items()}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_is_the_same_world_again(seed: int) -> None:
    """To the microsecond."""
    first = {name: [event for event in events if "traceback" not in str(event)] for name, events in journals_of(seed).items()}
    again = {name: [event for event in events if "traceback" not in str(event)] for name, events in journals_of(seed).items()}

    assert first == again


def test_seeds_differ() -> None:
    """Or a thousand of them would be one."""
    assert journals_of(1)["sums-0"] != journals_of(2)["sums-0"]


def test_every_kind_of_trouble_happens() -> None:
    """In some world, and often."""
    report = simulate(plain, seeds=range(60), check=None)

    assert set(TROUBLE) == set(report.troubles)
    assert report.troubles.total() > 500


def test_trouble_repeats_steps_and_breaks_nothing() -> None:
    """More is begun than is answered: without repetition the simulation would show nothing."""
    report = simulate(plain, seeds=range(40), kinds=["crash"], trouble=0.5)

    assert report.executions > 40 * (3 + 4 + 5)
    assert 40 * (3 + 4 + 5 + 2 * 3) == report.events


def test_a_schedule_decides_alone() -> None:
    """An empty one is a fair world."""
    report = simulate(plain, schedule=[])

    assert (1, 0, 3 + 4 + 5) == (report.worlds, report.ticks, report.executions)


def test_a_dead_worker_is_followed_by_another() -> None:
    """Its lease ends, somebody else claims the run."""
    schedule = [Decision(tick, "crash", worker=tick % 3) for tick in range(1, 30)]

    assert 3 + 4 + 5 < simulate(plain, schedule=schedule).executions


# ---- what is found ----------------------------------------------------------------------------------------------------------


def failure(scenario: Any = plain, **given: Any) -> SimulationFailed:
    """How a simulation fails."""
    with pytest.raises(SimulationFailed) as caught:
        simulate(scenario, **{"seeds": range(30), "max_rounds": 500, **OPTIONS, **given})
    return caught.value


def rules(failed: SimulationFailed) -> set[str]:
    """Which promises were broken."""
    return {problem.split("]")[0].strip("[") for problem in failed.problems}


class Unfenced(MemoryStore):
    """Believes whoever comes, with whatever lease."""

    def _held(self, lease: Lease) -> Record | None:
        return self._records.get(lease.key)


def test_a_store_that_does_not_fence_is_found_and_the_schedule_is_small() -> None:
    """One decision is enough: a worker that was stopped past its lease commits."""
    failed = failure(store=lambda clock: Unfenced(clock=clock))

    assert "stale" in rules(failed)
    assert len(failed.schedule) <= 3


def decision(written: str) -> Decision:
    """A decision, from how the error spells it: a call with literals only."""
    call = ast.parse(written, mode="eval").body
    assert isinstance(call, ast.Call)
    assert "Decision" == ast.unparse(call.func)
    fields: dict[str, Any] = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    return Decision(*map(ast.literal_eval, call.args), **fields)


def test_a_failure_can_be_seen_again_from_its_error() -> None:
    """The error shows what to write; it fails in the same way."""
    failed = failure(store=lambda clock: Unfenced(clock=clock))
    shown = [line.strip().rstrip(",") for line in str(failed).splitlines() if line.strip().startswith("Decision(")]
    schedule = [decision(line) for line in shown]

    assert list(failed.schedule) == schedule
    again = failure(store=lambda clock: Unfenced(clock=clock), seed=failed.seed, schedule=schedule)
    assert rules(failed) == rules(again)


class Forgetful(Interposed):
    """Answers that a commit was applied, and loses every seventh."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.count = 0

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        self.count += 1
        return [Committed.APPLIED for _ in batch] if self.count % 7 == 0 else super().commit(batch)


def test_a_store_that_loses_commits_is_found() -> None:
    """Without any trouble beside."""
    failed = failure(store=lambda clock: Forgetful(MemoryStore(clock=clock)))

    assert rules(failed) & {"lost", "gap", "ends", "early"}
    assert () == failed.schedule


class Stammering(Interposed):
    """Takes every message as new."""

    def post(self, posted: Sequence[Message]) -> list[Posted]:
        return super().post([message._replace(id=f"{message.id}-{self.inner.now()}") for message in posted])


def test_messages_that_are_delivered_twice_are_found() -> None:
    """The network repeats itself; a store must not."""
    failed = failure(messages, store=lambda clock: Stammering(MemoryStore(clock=clock)), kinds=["twice"])

    assert rules(failed) & {"twice", "check", "outputs"}
    assert {"twice"} == {decision.what for decision in failed.schedule}


def test_outputs_that_are_said_again_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that forgets what had been applied repeats itself after every crash."""
    monkeypatch.setattr(Live, "_forget_said", lambda self: self.interp.issued.clear())

    assert {"outputs"} == rules(failure())


def test_a_run_that_never_ends_is_found() -> None:
    """Trouble ends; then every run must."""

    def forgotten(world: Simulation) -> None:
        world.start(asks(), id="asks")  # type: ignore[unused-awaitable]  # nobody waits for it

    failed = failure(forgotten)

    assert {"ends"} == rules(failed)
    assert () == failed.schedule


def test_a_workflow_that_is_not_deterministic_is_found() -> None:
    """After a crash it does not fit its own journal."""
    count = 0

    @workflow(name="kit_sim_fickle")
    def fickle() -> Workflow[str]:
        nonlocal count
        count += 1
        yield from note(f"{count}")
        return (yield from note("end"))

    def scenario(world: Simulation) -> None:
        nonlocal count
        count = 0
        world.start(fickle(), id="fickle")  # type: ignore[unused-awaitable]  # nobody waits for it

    failed = failure(scenario, kinds=["crash"])

    assert rules(failed) <= {"ends", "replay"}
    assert any("does not fit its journal" in problem for problem in failed.problems)


def test_a_worker_that_waits_by_spinning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that burns is no broken journal, and broken all the same."""
    monkeypatch.setattr(Worker, "patience", lambda self: 0.0)

    assert {"spins"} == rules(failure(messages))


def test_a_check_of_ones_own_is_a_promise_too() -> None:
    """What it raises is reported with the seed and the smallest schedule."""
    charged: Counter[str] = Counter()

    @step(name="kit_sim_charge")
    def careless(order: str) -> int:
        charged[order] += 1
        return charged[order]

    @workflow(name="kit_sim_order")
    def buys(order: str) -> Workflow[int]:
        return (yield from careless(order))

    def scenario(world: Simulation) -> None:
        charged.clear()
        world.start(buys("book"), id="book")  # type: ignore[unused-awaitable]  # nobody waits for it

    def once(world: Simulation) -> None:
        assert 1 == charged["book"], "charged twice"

    failed = failure(scenario, check=once, kinds=["crash", "stop"], seeds=range(200))

    assert {"check"} == rules(failed)
    assert 1 <= len([decision for decision in failed.schedule if decision.what != "turn"]) <= 2


def test_an_effect_that_is_thrown_away_is_raised_as_it_is() -> None:
    """It is no matter of seeds."""

    @workflow(name="kit_sim_sloppy")
    def sloppy() -> Workflow[str]:
        note("forgotten")
        return (yield from note("end"))

    with pytest.raises(UnyieldedEffect):
        simulate(lambda world: world.start(sloppy()))


def test_messages_may_be_late_and_come_twice() -> None:
    """They are taken in once."""

    def scenario(world: Simulation) -> None:
        messages(world)

    def all_there(world: Simulation) -> None:
        result: list[int] = world.get("inbox").result()
        assert list(range(6)) == sorted(result)

    report = simulate(scenario, seeds=range(30), check=all_there, kinds=["late", "twice", "crash"])

    assert {"late", "twice", "crash"} == set(report.troubles)


def test_a_worker_that_stops_past_its_lease_changes_nothing_when_it_goes_on() -> None:
    """Steps may be done by both; the journal has one answer."""
    report = simulate(plain, seeds=range(40), kinds=["stop", "stall"], trouble=0.6)

    assert report.executions > 40 * (3 + 4 + 5)


def test_a_simulation_may_have_one_worker_and_a_clock_of_its_own() -> None:
    """Options are those of a world."""
    clock = VirtualClock(1_000_000)

    with Simulation([], workers=1, clock=clock) as world:
        handle = world.start(sums(2))
        world.play()

        assert 1 == handle.result()
        assert world.clock() < 2_000_000


def test_the_statuses_of_a_world_can_be_counted() -> None:
    """For checks."""
    with Simulation([], **OPTIONS) as world:
        plain(world)
        world.play()

        assert Counter({"completed": 3}) == world.statuses()


def test_an_unknown_run_gets_no_message() -> None:
    """The network drops what nobody takes."""
    stray = Message("m1", RunKey("default", "nobody"), "signal", "number", b"1")

    def scenario(world: Simulation) -> None:
        plain(world)
        world.post([stray])

    assert 3 == simulate(scenario, seeds=range(3)).worlds


# ---- shrinking --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("culprits", [set(), {17}, {3, 90}, {0, 50, 99}, set(range(10, 20))], ids=len)
def test_what_is_not_needed_is_left_out(culprits: set[int]) -> None:
    """What comes back still fails, and every item of it is needed."""
    kept, trials = shrink(range(100), lambda part: culprits <= set(part))

    assert sorted(culprits) == kept
    assert trials <= 300


def test_shrinking_is_bounded() -> None:
    """A flaky or hopeless list costs no more than the budget."""
    trials = []

    def fails(part: Sequence[int]) -> bool:
        trials.append(part)
        return len(part) % 2 == 1

    shrink(range(1001), fails, budget=40)

    assert len(trials) <= 40


def test_a_scenario_is_called_once_with_every_world() -> None:
    """Before anything happens."""
    seen: list[tuple[int, str]] = []

    def scenario(world: Simulation) -> None:
        handle = world.start(sums(1), id="one")
        seen.append((world.seed, handle.status))

    simulate(scenario, seeds=[4, 9])

    assert [4, 9] == [seed for seed, _ in seen]
    assert {"pending", "running"} >= {status for _, status in seen}
