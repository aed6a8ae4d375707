"""Benchmarks by backend, each beside its physical limit; the table at the end is what `make bench` is for."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from benchmarks.machine import look_at_machine
from benchmarks.places import BACKENDS, Place, Places
from benchmarks.tables import figure, markdown, write_between
from replay.hooks import open_store
from replay.store.contract import Store

PAGE: Final = Path(__file__).with_name("README.md")
ROOT: Final = PAGE.parents[1]
HEAD: Final = ("workload", "backend", "measured", "unit", "limit", "ratio", "must reach", "met")


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

    def cells(self) -> list[str]:
        """As the table shows it."""
        limit = "" if self.limit is None else figure(self.limit)
        ratio = "" if self.limit is None else f"{self.value / self.limit:.2f}"
        met = "" if self.met is None else "yes" if self.met else "**no**"
        return [self.workload, self.backend, figure(self.value), self.unit, limit, ratio, self.target, met]


ROWS: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table goes besides the terminal."""
    parser.addoption("--write-table", action="store_true", help="put the table into benchmarks/README.md")
    parser.addoption("--largest", type=int, default=100_000, help="how far tables and journals grow; 1000000 takes minutes more")
    parser.addoption("--json-table", metavar="FILE", help="write the table as JSON")


@pytest.fixture
def report(full: bool) -> Callable[..., None]:
    """Collects lines for the table; small runs are not judged."""

    def add(*args: Any, **kwargs: Any) -> None:
        row = Row(*args, **kwargs)
        ROWS.append(row if full else attrs.evolve(row, met=None))

    return add


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the benchmarks are measured in earnest; as plain tests they only run."""
    return bool(request.config.getoption("benchmark_enable"))


@pytest.fixture
def largest(request: pytest.FixtureRequest, full: bool) -> int:
    """How far tables and journals grow."""
    return int(request.config.getoption("largest")) if full else 1_000


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """The servers that backends need."""
    found = Places()
    yield found
    found.close()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """On what."""
    return str(request.param)


@pytest.fixture
def place(backend: str, places: Places, tmp_path: Path) -> Iterator[Place]:
    """A fresh store's URL, and the limits of its medium."""
    with places.place(backend, tmp_path) as found:
        yield found


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """A fresh store."""
    opened = open_store(place.url)
    yield opened
    opened.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One table: what was measured, what the machine allows, what must be reached."""
    if not ROWS:
        return
    rows = sorted(
        ROWS,
        key=lambda row: (
            int(row.workload[1:].split()[0]),
            row.workload,
            BACKENDS.index(row.backend) if row.backend in BACKENDS else -1,
        ),
    )
    machine = look_at_machine()
    terminalreporter.section(str(machine))
    cells = [HEAD, *[[cell.replace("*", "") for cell in row.cells()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [
            cell.rjust(width) if place in {2, 4, 5} else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        terminalreporter.write_line("  ".join(padded).rstrip())
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    if config.getoption("write_table"):
        table = markdown(HEAD, [row.cells() for row in rows], right=(2, 4, 5))
        write_between(PAGE, "bench", f"{now}; {machine}; {_commit()}.\n\n{table}")
    if path := config.getoption("json_table"):
        found = {"date": now, "machine": attrs.asdict(machine), "commit": _commit(), "rows": [attrs.asdict(row) for row in rows]}
        Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT).stdout
    return f"commit {said.strip() or 'unknown'}"
