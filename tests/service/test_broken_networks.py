"""Connections that break, stall and half-close between a worker and its server: every step ends up in the journal once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from replay import Engine
from replay.hooks import open_store
from replay.store.contract import RunKey, Store
from tests.service.proxy import Proxy
from tests.service.wire import doubling, served

STEPS = 120
EXPECTED = sum(2 * number for number in range(STEPS))


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/served.db")) as store:
        yield store


@pytest.fixture
def proxy(behind: Store) -> Iterator[Proxy]:
    with served(behind) as server, closing(Proxy(server.port)) as made:
        yield made


def reach(store: Store, length: int) -> None:
    """Wait until the run's journal is so long."""
    seen = 0
    for _ in range(600):
        (run,) = store.get([RunKey("default", "long")])
        if run is not None and run.seq >= length:
            return
        seen = store.wait(seen, 0.05)
    raise AssertionError(f"the journal never had {length} events")


def harm(proxy: Proxy, behind: Store, break_it: Callable[[], int]) -> list[str]:
    """Drive a run through the proxy, break connections at four places; the commands that its journal answers, in order."""
    with Engine(f"grpc://127.0.0.1:{proxy.port}", workflows=[doubling], grace=2) as engine:
        handle = engine.start(doubling(STEPS), id="long")
        for length in (10, 30, 50, 80):
            reach(behind, length)
            assert 1 <= break_it()
        assert EXPECTED == handle.result(60)
    events = behind.journal(RunKey("default", "long"))
    assert [*range(1, STEPS + 3)] == [event.seq for event in events]
    return [event.command for event in events if event.kind == "step_completed"]


@pytest.mark.faults
def test_connections_that_are_cut_lose_nothing(proxy: Proxy, behind: Store) -> None:
    """In the middle of whatever was under way, four times."""
    assert [str(number) for number in range(STEPS)] == harm(proxy, behind, proxy.cut)


@pytest.mark.faults
def test_connections_that_are_half_closed_lose_nothing(proxy: Proxy, behind: Store) -> None:
    """The server hears the end, the client hears nothing more."""
    assert [str(number) for number in range(STEPS)] == harm(proxy, behind, proxy.half_close)


@pytest.mark.faults
def test_a_slow_network_is_slow_and_nothing_else(proxy: Proxy, behind: Store, caplog: pytest.LogCaptureFixture) -> None:
    """No warning, no refused commit, no clock that goes back."""
    proxy.delay = 0.02
    with (
        caplog.at_level(logging.WARNING, "replay"),
        Engine(f"grpc://127.0.0.1:{proxy.port}", workflows=[doubling], grace=2) as engine,
    ):
        assert 90 == engine.start(doubling(10)).result(60)

    assert [] == [record.getMessage() for record in caplog.records]
