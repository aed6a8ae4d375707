"""Runs in doubt: which are driven alone, who is to blame, and who is not; in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replay import Client, Workflow, step, workflow
from replay.engine.offers import Offers
from replay.engine.pool import Inline, Job
from replay.engine.recoveries import DOUBT
from replay.engine.requests import Stop
from replay.engine.settings import Settings
from replay.engine.worker import Worker
from replay.hooks import Store, open_store
from replay.store.contract import Message, Run, RunKey
from replay.testing import VirtualClock

TTL = 15
LIMIT = 5


class Endless(Inline):
    """Steps are begun and never end."""

    def submit(self, job: Job) -> None:
        """Take a job and leave it at that."""


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that goes when it is told to."""
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> Iterator[Store]:
    """A store that goes by it."""
    opened = open_store("memory://", clock=clock)
    yield opened
    opened.close()


@step
def harmless() -> int:
    """Its worker dies before it ends."""
    return 1


@workflow(name="recoveries.working")
def working() -> Workflow[int]:
    return (yield from harmless())


def hire(store: Store, name: str) -> Worker:
    """A worker whose steps are begun and never end."""
    settings = Settings(ttl=TTL, max_recoveries=LIMIT)
    return Worker(store, name=name, executor=Endless(), settings=settings, offers=Offers({(working.name, ""): working}))


def start(store: Store, *names: str) -> None:
    """Create runs that nobody holds."""
    with Client(store) as client:
        for name in names:
            _ = client.start(working(), id=name)


def live(worker: Worker, rounds: int = 6) -> list[str]:
    """Let a worker live for some rounds; whose steps it began."""
    for _ in range(rounds):
        worker.pump(0)
    return sorted(attempt.live.key.id for attempt in worker.acting.attempts.values())


def die(clock: VirtualClock) -> None:
    """The worker is not heard any more, and its leases end."""
    clock.advance(TTL)


def run(store: Store, name: str) -> Run:
    """A run's index entry."""
    (found,) = store.get([RunKey("default", name)])
    assert found is not None
    return found


def test_runs_that_lost_a_few_workers_are_driven_together(store: Store, clock: VirtualClock) -> None:
    """A crash now and then delays nobody."""
    start(store, "a", "b", "c")

    begun = []
    for number in range(DOUBT):
        begun.append(live(hire(store, f"w{number}")))
        die(clock)

    assert [["a", "b", "c"]] * DOUBT == begun


def test_of_runs_in_doubt_one_is_driven_at_a_time(store: Store, clock: VirtualClock) -> None:
    """The next follows when that one has lived for the length of a lease, or is gone."""
    start(store, "a", "b", "c")
    for number in range(DOUBT):
        live(hire(store, f"w{number}"))
        die(clock)

    last = hire(store, "last")
    alone = live(last)
    for _ in range(TTL):
        clock.advance(1)
        last.pump(0)

    assert (1, 2) == (len(alone), len(live(last)))


def test_only_the_one_that_was_driven_is_to_blame(store: Store, clock: VirtualClock) -> None:
    """Worker after worker dies with all of them; the one that each drove alone is set aside, the others are not."""
    start(store, "a", "b", "c")

    lost = 0
    while not (stuck := [name for name in "abc" if run(store, name).status == "stuck"]):
        live(hire(store, f"w{lost}"))
        die(clock)
        lost += 1
        assert lost < 50

    assert 1 == len(stuck)
    others = [name for name in "abc" if name not in stuck]
    assert ["running", "running"] == [run(store, name).status for name in others]
    assert "step harmless (command 0, " in run(store, stuck[0]).note


def test_a_worker_that_gave_its_runs_back_did_not_die(store: Store, clock: VirtualClock) -> None:
    """However often it drains while it drives a run in doubt."""
    start(store, "a")
    for number in range(DOUBT):
        live(hire(store, f"w{number}"))
        die(clock)

    for number in range(3 * LIMIT):
        leaving = hire(store, f"l{number}")
        assert ["a"] == live(leaving)
        leaving.inbox.put(Stop(0))
        leaving.pump(0)

    assert (DOUBT, "running") == (run(store, "a").recoveries, run(store, "a").status)


def test_a_run_that_was_set_aside_is_put_back_by_resume_only(store: Store, clock: VirtualClock) -> None:
    """A signal wakes it for a look; ``resume`` counts anew those that it loses while it is driven alone."""
    start(store, "a")
    lost = [0, 0]
    for turn in range(2):
        while run(store, "a").status != "stuck":
            live(hire(store, f"w{turn}-{lost[turn]}"))
            if run(store, "a").status != "stuck":
                die(clock)
                lost[turn] += 1
        note = run(store, "a").note
        store.post([Message(f"noise-{turn}", RunKey("default", "a"), "signal", "noise", b"1")])
        assert [] == live(hire(store, f"n{turn}"))
        assert ("stuck", note, None) == (run(store, "a").status, run(store, "a").note, run(store, "a").ready_at)
        store.post([Message(f"resume-{turn}", RunKey("default", "a"), "resume", "resume", b"null")])
        assert ["a"] == live(hire(store, f"r{turn}"))

    assert [LIMIT + 1, LIMIT - DOUBT + 1] == lost
