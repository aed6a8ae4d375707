"""workers, and what list and status show of runs that need somebody."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from replay.engine.attempts import PROGRESS
from replay.engine.presence import KEPT, Presence, beside
from replay.hooks import Store, open_store
from replay.model.names import SECOND
from replay.store.contract import Claim, Commit, Filter
from replay.testing import VirtualClock
from tests.cli.conftest import Program

EVERY = 5 * SECOND


@pytest.fixture
def clock() -> VirtualClock:
    """As the machine's stands, so that the program sees the same hour."""
    return VirtualClock(open_store("memory://").now())


@pytest.fixture
def store(program: Program, clock: VirtualClock) -> Iterator[Store]:
    """The program's store, at a clock of the test's own."""
    opened = open_store(program.store, clock=clock)
    yield opened
    opened.close()


def told(**facts: object) -> dict[str, object]:
    """What a worker tells of itself."""
    usual = {"host": "oak", "pid": 7, "version": "python/0.1.0", "queues": ["default"], "workflows": ["order"]}
    return {**usual, "capacity": 1000, "runs": 3, "step_capacity": 256, "steps": 2, "draining": False, **facts}


def appear(store: Store, name: str, **facts: object) -> Presence:
    """Let a worker tell of itself."""
    presence = Presence(store, name, "default", every=EVERY, tell=lambda: told(**facts), trouble=fail)
    presence.beat(store.now())
    return presence


def fail(verb: str, error: Exception) -> None:
    raise AssertionError(verb) from error


def test_workers_shows_load_and_heartbeat(program: Program, store: Store, clock: VirtualClock) -> None:
    """One that missed its heartbeats is late, one that takes no more runs drains."""
    appear(store, "ann", host="ash")
    clock.advance(-20)
    appear(store, "ben")
    clock.advance(20)
    appear(store, "cid", host="elm", draining=True)

    lines = program.done("workers").splitlines()[2:]

    assert [["ash", "7", "alive"], ["elm", "7", "draining"], ["oak", "7", "late"]] == sorted(line.split()[:3] for line in lines)
    assert all("3/1,000" in line and "2/256" in line for line in lines)


def test_workers_in_json(program: Program, store: Store) -> None:
    """One worker a line."""
    appear(store, "ann")

    (found,) = program("workers", "--json").lines

    assert ("ann", "oak", 7, 3, "alive", ["order"]) == tuple(found[key] for key in ("id", "host", "pid", "runs", "state", "workflows"))


def test_nobody_is_shown_who_left_or_was_long_silent(program: Program, store: Store, clock: VirtualClock) -> None:
    """The entry of one that left is gone; that of one that died is taken away by one that lives."""
    clock.advance(-2 * KEPT / SECOND)
    appear(store, "dead")
    leaving = appear(store, "leaving")
    leaving.leave()
    clock.advance(2 * KEPT / SECOND)

    assert "no worker of namespace 'default' was heard" in program("workers").err
    appear(store, "alive")
    assert ["alive"] == entries(store)


def entries(store: Store) -> list[str]:
    """Whose entries are in the store."""
    return [run.key.id for run in store.find(Filter(namespace=beside("default"))).runs]


def test_list_stuck_shows_what_needs_somebody_and_why(program: Program) -> None:
    """The same as --status stuck."""
    program.done("start", "cli-mailbox", "--id", "well")
    program.done("start", "cli-mailbox", "--id", "ill")
    store = open_store(program.store)
    claims = store.claim(Claim(worker="ann", namespace="default", queues=["default"], workflows=["cli-mailbox"], limit=9, ttl=SECOND))
    leases = {claimed.run.key.id: claimed.lease for claimed in claims.runs}
    reason = "set aside: 11 workers in a row died"
    store.commit([Commit(lease=leases["ill"], expected=1, status="stuck", note=reason, release=True)])
    store.commit([Commit(lease=leases["well"], expected=1, state={PROGRESS: json.dumps({"0": 7}).encode()})])
    store.close()

    (line,) = program("list", "--stuck", "--json").lines
    assert ("ill", reason) == (line["id"], line["note"])
    assert reason in program.done("status", "ill")
    assert "0: 7" in program.done("status", "well")
    assert {} == program("status", "well", "--json").json["state"]
