"""Crash everywhere: good workflows pass, and every kind of broken promise is found."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import Workflow, step, workflow
from replay.engine.acting import Actor
from replay.engine.live import Live
from replay.hooks import Commit, Committed, Store, open_store
from replay.interpreter.fibers import Command
from replay.store.memory import MemoryStore
from replay.testing import CheckFailed, StillWaiting, Takes, VirtualClock, crash_everywhere
from replay.testing.interposed import Interposed
from tests.simulation.scenarios import add, agent, careful, family, fan, inbox, loop, patience, sums, trip, updates
from tests.testing.shop import asks, charge, note, order, ship


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Crashes are told to the log, at length."""
    caplog.set_level(logging.CRITICAL, "replay")


STUBS = {"kit_charge": 5, "kit_ship": lambda sku: f"{sku} shipped"}


def test_a_workflow_survives_a_crash_everywhere() -> None:
    """Every event is a place where the journal may end, every call of the store one where the worker may die."""
    report = crash_everywhere(order(5), stubs=STUBS, signals={"approved": True})

    assert (7, 6) == (report.events, report.cuts)
    assert report.crashes >= 2 * report.events
    assert 1 + report.cuts + report.crashes == report.worlds


@pytest.mark.parametrize(
    ("call", "given"),
    [
        (sums(4), {}),
        (fan(4), {}),
        (patience(1), {}),
        (inbox(3), {"signals": [("number", 1), ("number", 2, 60), ("number", 3, 3600)]}),
        (loop(3), {"signals": {"bonus": 7}}),
        (agent(5), {"signals": [("nudge", 100, 30)]}),
        (trip(1), {"signals": {"go": True}}),
        (trip(2), {}),
        (family(2), {"same": "outcome"}),
        (careful(2), {}),
        (updates(3), {"prepare": lambda world: world.after(5, lambda: world.get("run").update("increase", 4, id="u1"))}),
    ],
    ids=lambda value: str(value) if isinstance(value, replay.Call) else "",
)
def test_every_effect_survives_a_crash_everywhere(call: replay.Call[Any], given: dict[str, Any]) -> None:
    """Branches, timers, messages, fresh journals, savepoints, sagas, children, steps at most once, updates."""
    assert crash_everywhere(call, **given).crashes > 0


def test_it_works_over_another_store(tmp_path: Path) -> None:
    """A fresh one for every world."""
    number = itertools.count()

    def make(clock: VirtualClock) -> Store:
        return open_store(f"sqlite:///{tmp_path}/{next(number)}.db?durability=relaxed", clock=clock)

    assert crash_everywhere(sums(2), store=make).cuts == 3


def test_steps_are_asked_once() -> None:
    """What is outside answers in the first world; the others answer what was answered then."""
    asked = []

    def ask(sku: str) -> str:
        asked.append(sku)
        return f"parcel {len(asked)}"

    crash_everywhere(order(5), stubs={charge: 5, ship: ask}, signals={"approved": True})

    assert ["hat", "coat"] == asked


def test_a_run_that_does_not_end_is_told_at_once() -> None:
    """It has no end to compare with."""
    with pytest.raises(StillWaiting):
        crash_everywhere(asks())


# ---- broken promises ----------------------------------------------------------------------------------------------------


def test_a_workflow_that_leans_on_its_memory_is_found() -> None:
    """What a process remembers is no fact of the journal."""
    memory: list[int] = []

    @workflow
    def remembers() -> Workflow[int]:
        memory.append(1)
        yield from note("first")
        return len(memory)

    with pytest.raises(CheckFailed, match=r"(?s)recorded:  completed remembers 1.*has ended: completed 2"):
        crash_everywhere(remembers())


def test_a_workflow_that_asks_for_something_else_is_found() -> None:
    """After a rest the code does not fit its own journal."""
    calls = itertools.count()

    @workflow
    def fickle() -> Workflow[str]:
        yield from note(f"call {next(calls)}")
        yield from replay.sleep(60)
        return "done"

    with pytest.raises(CheckFailed, match="does not fit its journal"):
        crash_everywhere(fickle())


def test_a_workflow_that_ends_otherwise_is_found() -> None:
    """A step that takes ten seconds wins against a timer of twelve; begun again in between, it loses."""

    @workflow
    def races() -> Workflow[int]:
        winner, _ = yield from replay.race(note("slow"), replay.sleep(12))
        return winner

    with pytest.raises(CheckFailed, match=r"call \d+ of the store \(renew\): run run ended completed 1, not completed 0"):
        crash_everywhere(races(), stubs={note: Takes(10, "done")})


class Forgetful(Interposed):
    """Says that a commit was applied, and loses one."""

    def __init__(self, inner: Store, lost: int) -> None:
        super().__init__(inner)
        self.commits = itertools.count(1)
        self.lost = lost

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        if next(self.commits) == self.lost:
            return [Committed.APPLIED for _ in batch]
        return super().commit(batch)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_store_that_loses_a_commit_is_found(lost: int) -> None:
    """Whether the run goes on without it or comes to a halt."""
    with pytest.raises((CheckFailed, StillWaiting)):
        crash_everywhere(sums(3), store=lambda clock: Forgetful(MemoryStore(clock=clock), lost))


class Loud(Interposed):
    """Publishes everything twice."""

    def commit(self, batch: Sequence[Commit]) -> list[Committed]:
        answers = super().commit(batch)
        for commit in batch:
            self.inner.publish(commit.lease.key.namespace, commit.topics)
        return answers


def test_outputs_that_take_effect_twice_are_found() -> None:
    """A topic holds what the journals say, no more and no less; here it is wrong before any crash."""
    with pytest.raises(CheckFailed, match=r"(?s)before any crash.*\[outputs\] topic sums"):
        crash_everywhere(sums(2), store=lambda clock: Loud(MemoryStore(clock=clock)))


def test_an_engine_that_does_a_committed_step_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst of all: the card is charged twice."""
    act = Actor.act

    def greedy(self: Actor, live: Any, now: int) -> None:
        act(self, live, now)
        if live.interp.seq == 3:
            self._begin(live, Command("0", add(0, 0), live.interp.root, now), now)

    monkeypatch.setattr(Actor, "act", greedy)

    with pytest.raises(CheckFailed, match=r"\[again\] run: step add \(command 0\) began again after #2"):
        crash_everywhere(sums(3))


def test_a_step_at_most_once_is_not_begun_twice() -> None:
    """Its end is unknown after a crash in the middle: the workflow is told, and the step is left alone."""
    begun = []

    @step(at_most_once=True)
    def transfer(n: int) -> int:
        begun.append(n)
        return n

    @workflow
    def pays() -> Workflow[str]:
        try:
            return str((yield from transfer(1)))
        except replay.StepInterrupted:
            return "look it up"

    assert crash_everywhere(pays()).crashes > 0
    assert [1] == begun


def test_problems_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong everywhere is told some twenty times, not hundreds."""
    monkeypatch.setattr(Live, "_forget_said", lambda self: self.interp.issued.clear())

    with pytest.raises(CheckFailed, match="topic sums") as caught:
        crash_everywhere(sums(12))

    assert 20 == len(caught.value.problems)
