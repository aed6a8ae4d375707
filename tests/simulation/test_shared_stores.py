"""The same worlds full of trouble over stores that many machines share: nothing is broken there either."""

from __future__ import annotations

import itertools
import logging

import pytest

from replay.hooks import open_store
from replay.store.contract import Store
from replay.testing import Scenario, VirtualClock, simulate
from tests.helpers.stores import cluster, credentials, gateways, postgres_url, real_bucket, real_urls
from tests.simulation.scenarios import OPTIONS, families, plain

__all__ = ["cluster", "credentials", "gateways", "postgres_url", "real_bucket", "real_urls"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Trouble is told to the log, at length."""
    caplog.set_level(logging.CRITICAL, "replay")


@pytest.mark.postgres
@pytest.mark.parametrize("scenario", [plain, families], ids=lambda scenario: scenario.__name__)
def test_no_trouble_breaks_a_promise_over_postgres(scenario: Scenario, postgres_url: str) -> None:
    """A schema for each world."""
    number = itertools.count()

    def make(clock: VirtualClock) -> Store:
        return open_store(f"{postgres_url}_{next(number)}", clock=clock)

    assert 2 == simulate(scenario, seeds=range(2), store=make, **OPTIONS).worlds


@pytest.mark.s3
@pytest.mark.parametrize("scenario", [plain, families], ids=lambda scenario: scenario.__name__)
def test_no_trouble_breaks_a_promise_over_a_bucket(scenario: Scenario, real_urls: list[str]) -> None:
    """A prefix for each world."""
    number = itertools.count()

    def make(clock: VirtualClock) -> Store:
        return open_store(real_urls[0].replace("?", f"/{next(number)}?"), clock=clock)

    assert 1 == simulate(scenario, seeds=range(1), store=make, **OPTIONS).worlds
