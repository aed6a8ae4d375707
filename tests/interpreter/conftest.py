"""After each test its interpreters are closed, as an engine closes those that it evicts."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.interpreter.world import close_all


@pytest.fixture(autouse=True)
def _evicted() -> Generator[None]:
    yield
    close_all()
