"""Who drives may do a quick step itself, and loses the baton when the step is not quick after all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay import Engine, Workflow, step, workflow
from replay.engine.baton import Baton

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


class Places:
    """Where steps were done, and what holds one of them up."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Empty, and with the gate shut."""
        self.threads: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()


PLACES = Places()


@pytest.fixture(autouse=True)
def places() -> Iterator[Places]:
    """Fresh places for each test, and no step left waiting."""
    PLACES.renew()
    yield PLACES
    PLACES.gate.set()


@step
def look_around(hold: bool) -> str:
    """Say which thread does it; wait at the gate when told to."""
    PLACES.threads.append(threading.current_thread().name)
    if hold:
        PLACES.entered.set()
        assert PLACES.gate.wait(PATIENCE)
    return PLACES.threads[-1]


@workflow(name="baton.rounds")
def rounds(quick: int, hold: bool) -> Workflow[int]:
    """Quick steps one after the other, and perhaps one that waits at the gate."""
    for _ in range(quick):
        yield from look_around(False)
    if hold:
        yield from look_around(True)
    return quick


def test_a_step_that_was_quick_is_done_by_the_thread_that_drives(tmp_path: Path, places: Places) -> None:
    """The first attempt goes to the pool, as nobody knows how long it takes; the others need no other thread."""
    with Engine(f"sqlite:///{tmp_path}/a.db") as engine:
        engine.start(rounds(50, False)).result(PATIENCE)

    assert "replay-step-0" == places.threads[0]
    assert {"replay-engine", "replay-second"} & set(places.threads)


def test_a_step_that_is_not_quick_after_all_holds_up_nobody(tmp_path: Path, places: Places) -> None:
    """While it waits, in the thread that drove, another run begins and ends, and both are right in the end."""
    with Engine(f"sqlite:///{tmp_path}/a.db") as engine:
        held = engine.start(rounds(20, True))
        assert places.entered.wait(PATIENCE)
        others = [engine.start(rounds(3, False)).result(PATIENCE) for _ in range(3)]
        places.gate.set()
        first = held.result(PATIENCE)

    assert ([3, 3, 3], 20) == (others, first)


def test_the_baton_goes_back_and_forth(tmp_path: Path) -> None:
    """Each run whose last step is slow moves the driving to the other thread; nothing is lost on the way."""
    with Engine(f"sqlite:///{tmp_path}/a.db") as engine:
        for _ in range(6):
            PLACES.renew()
            held = engine.start(rounds(5, True))
            assert PLACES.entered.wait(PATIENCE)
            assert 2 == engine.start(rounds(2, False)).result(PATIENCE)
            PLACES.gate.set()
            assert 5 == held.result(PATIENCE)


def test_an_engine_that_is_left_while_its_driver_is_held_up_still_ends(tmp_path: Path, places: Places) -> None:
    """Leaving does not wait for a step beyond its grace, whichever thread does it; the run is taken up again."""
    store = f"sqlite:///{tmp_path}/a.db"
    with Engine(store, grace=0.05) as engine:
        held = engine.start(rounds(5, True), id="held")
        assert places.entered.wait(PATIENCE)
    assert not engine._driver.is_alive()
    places.gate.set()

    with Engine(store) as engine:
        assert 5 == engine.get(held.id).result(PATIENCE)


@step
def ask_the_engine(other: str) -> int:
    """A step that waits for another run of the engine that does it."""
    answer: int = ENGINES[0].get(other).result(PATIENCE)
    return answer


@step
def leave_the_engine(really: bool) -> bool:
    """A step that closes the engine that does it."""
    if really:
        ENGINES[0].close()
    return really


ENGINES: list[Engine] = []


@workflow(name="baton.asks")
def asks(others: list[str]) -> Workflow[int]:
    """Wait in a step for other runs, one by one."""
    total = 0
    for other in others:
        total += yield from ask_the_engine(other)
    return total


@workflow(name="baton.leaves")
def leaves() -> Workflow[int]:
    """Quick steps, and one that closes the engine."""
    for turn in range(5):
        yield from leave_the_engine(turn == 4)
    return 5


def test_a_step_may_wait_for_a_run_of_its_own_engine(tmp_path: Path, places: Places) -> None:
    """The thread that drives waits for what only driving can bring: the other thread takes over."""
    with Engine(f"sqlite:///{tmp_path}/a.db") as engine:
        ENGINES[:] = [engine]
        for number in range(4):
            engine.start(rounds(2, False), id=f"quick-{number}").result(PATIENCE)
        held = engine.start(rounds(1, True))
        asking = engine.start(asks([*[f"quick-{number}" for number in range(4)], held.id]))
        assert places.entered.wait(PATIENCE)
        places.gate.set()

        assert 9 == asking.result(PATIENCE)


def test_a_step_may_close_its_own_engine(tmp_path: Path) -> None:
    """It does not wait for itself; what it answers is lost, and the run goes on elsewhere."""
    store = f"sqlite:///{tmp_path}/a.db"
    engine = Engine(store, grace=0.05)
    ENGINES[:] = [engine]
    leaving = engine.start(leaves())
    assert engine._ended.wait(PATIENCE)
    ENGINES[:] = [Engine(f"sqlite:///{tmp_path}/other.db")]

    with Engine(store) as second:
        assert 5 == second.get(leaving.id).result(PATIENCE)


def test_a_job_that_ends_at_once_leaves_the_baton_where_it_was() -> None:
    """Whoever did it goes on driving."""
    baton = Baton()

    assert [True] * 100 == [baton.do(lambda: None) for _ in range(100)]


def test_only_one_of_the_two_holds_the_baton_after_a_long_job() -> None:
    """Who stands by takes it while the job lasts, and who comes back finds it gone."""
    baton = Baton()
    taken = threading.Event()

    def stand_by() -> None:
        if baton.stand_by():
            assert not baton.followed
            taken.set()

    other = threading.Thread(target=stand_by, daemon=True)
    other.start()

    kept = baton.do(lambda: None) and baton.do(lambda: assert_in_time(taken))

    assert not kept
    other.join(PATIENCE)


def test_at_the_end_who_stands_by_is_let_go() -> None:
    """It is told that there is nothing left to drive."""
    baton = Baton()
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(baton.stand_by()), daemon=True)
    other.start()
    baton.do(lambda: None)
    baton.end()
    other.join(PATIENCE)

    assert [False] == answers


def assert_in_time(event: threading.Event) -> None:
    """Wait for an event that comes."""
    assert event.wait(PATIENCE)
