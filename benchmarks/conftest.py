"""Benchmarks by backend, each beside its physical limit; the table at the end is what `make bench` is for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from replay.hooks import open_store
from replay.store.contract import Store


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        workload: Which workload, and how large.
        backend: On what.
        value: What was measured.
        unit: In what.
        target: What must be reached, as text.
        met: Whether it was, or None where nothing is promised.
        limit: What this machine allows, in the same unit, or None.
    """

    workload: str
    backend: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    limit: float | None = None


ROWS: list[Row] = []


@pytest.fixture
def report() -> Any:
    """Collects lines for the table."""
    return lambda *args, **kwargs: ROWS.append(Row(*args, **kwargs))


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the benchmarks are measured in earnest; as plain tests they only run."""
    return bool(request.config.getoption("benchmark_enable"))


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """On what."""
    return str(request.param)


@pytest.fixture
def url(backend: str, tmp_path: Path) -> str:
    """A fresh store's URL."""
    return "memory://" if backend == "memory" else f"sqlite:///{tmp_path}/bench.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A fresh store."""
    opened = open_store(url)
    yield opened
    opened.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One table: what was measured, what the machine allows, what must be reached."""
    if not ROWS:
        return
    write = terminalreporter.write_line
    terminalreporter.section(f"replay on {platform.machine()}, CPython {platform.python_version()}")
    write(f"{'workload':44}{'backend':10}{'measured':>14} {'unit':10}{'limit':>12}{'ratio':>7}  must reach")
    for row in sorted(ROWS, key=lambda row: (row.workload, row.backend)):
        limit = "" if row.limit is None else f"{row.limit:,.3g}" if row.limit < 1000 else f"{row.limit:,.0f}"
        ratio = "" if row.limit is None else f"{row.value / row.limit:.2f}"
        value = f"{row.value:,.3g}" if row.value < 1000 else f"{row.value:,.0f}"
        verdict = "" if row.met is None else ("  yes" if row.met else "  NOT MET")
        write(f"{row.workload:44}{row.backend:10}{value:>14} {row.unit:10}{limit:>12}{ratio:>7}  {row.target}{verdict}")
