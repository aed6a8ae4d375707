"""The same workloads on replay and on its peers, in turn, in one run: ``make against``.

Rule 1: rounds are interleaved. Each round does every workload on every system, the systems of one workload one after the other, so that
a ratio is taken between neighbours in time. What is told of a row is the median and the range over the rounds.
Rule 2: like stands beside like: a durable system on the same kind of disk or server, one that only remembers beside replay on memory.
Rule 3: who cannot be installed, started or asked is told with the reason; who is ahead is told like who is behind.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import attrs
from replay_postgres.testing import TemporaryCluster, binaries

from benchmarks.against.harness import Found, read
from benchmarks.machine import Machine, look_at_machine
from benchmarks.tables import figure, markdown, write_between
from benchmarks.workloads import process_environment

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PEERS: Final = HERE / ".venv" / "bin" / "python"
RESULTS: Final = HERE / "results.json"
PAGE: Final = HERE.parent / "README.md"
PATIENCE: Final = 600
"""Seconds that one measurement may take."""


class System(NamedTuple):
    """A system under test: what it is called, its module here, and its distribution."""

    name: str
    module: str
    distribution: str


REPLAY: Final = System("replay", "with_replay", "replay-engine")
DBOS: Final = System("DBOS", "peer_dbos", "dbos")
LANGGRAPH: Final = System("LangGraph", "peer_langgraph", "langgraph")
RESTATE: Final = System("Restate", "peer_restate", "restate-sdk")
ABSURD: Final = System("Absurd", "peer_absurd", "absurd-sdk")
DURABLETASK: Final = System("durabletask", "peer_durabletask", "durabletask")
TEMPORAL: Final = System("Temporal", "peer_temporal", "temporalio")
SYSTEMS: Final = (REPLAY, DBOS, LANGGRAPH, RESTATE, ABSURD, DURABLETASK, TEMPORAL)


class Match(NamedTuple):
    """One workload on one kind of backend, and who meets there; replay comes first."""

    workload: str
    backend: str
    peers: tuple[System, ...]


class Kind(NamedTuple):
    """How a workload is told: in words, in which unit, and whether more is better."""

    title: str
    unit: str
    more_is_better: bool


KINDS: Final = {
    "W1": Kind("W1 replay of 10,000 steps from the store", "steps/s", more_is_better=True),
    "W1 alone": Kind("W1 replay from memory, no store", "steps/s", more_is_better=True),
    "W2": Kind("W2 one run, 1,000 steps in sequence", "steps/s", more_is_better=True),
    "W3": Kind("W3 500 runs of 5 steps", "runs/s", more_is_better=True),
    "W4": Kind("W4 one run, 1,000 steps at once", "s", more_is_better=False),
    "W5": Kind("W5 start to result, one step, p50", "ms", more_is_better=False),
    "W7 import": Kind("W7 import", "ms", more_is_better=False),
    "W7 hello": Kind("W7 hello world, fresh process", "ms", more_is_better=False),
    "W12": Kind("W12 recovery from a snapshot after 10,000 steps", "ms", more_is_better=False),
}
SQLITE: Final = (DBOS, LANGGRAPH, RESTATE)
POSTGRES: Final = (DBOS, LANGGRAPH, ABSURD)
MATCHES: Final = (
    Match("W1", "sqlite", (DBOS, RESTATE)),
    Match("W1", "postgres", (DBOS, ABSURD)),
    Match("W1", "memory", (DURABLETASK,)),
    Match("W1 alone", "memory", (TEMPORAL,)),
    Match("W2", "sqlite", SQLITE),
    Match("W2", "postgres", POSTGRES),
    Match("W2", "memory", (DURABLETASK, LANGGRAPH)),
    Match("W3", "sqlite", SQLITE),
    Match("W3", "postgres", POSTGRES),
    Match("W3", "memory", (DURABLETASK, LANGGRAPH)),
    Match("W4", "sqlite", SQLITE),
    Match("W4", "postgres", (DBOS, LANGGRAPH)),
    Match("W4", "memory", (DURABLETASK, LANGGRAPH)),
    Match("W5", "sqlite", SQLITE),
    Match("W5", "postgres", POSTGRES),
    Match("W5", "memory", (DURABLETASK, LANGGRAPH)),
    Match("W7 import", "sqlite", (DBOS, LANGGRAPH, RESTATE, ABSURD, DURABLETASK, TEMPORAL)),
    Match("W7 hello", "sqlite", (DBOS, LANGGRAPH)),
    Match("W12", "sqlite", (LANGGRAPH,)),
    Match("W12", "postgres", (LANGGRAPH,)),
)
"""Restate keeps its own disk: it stands beside replay on SQLite. Import is the same on every backend."""


@attrs.define
class Row:
    """What one system did in one match.

    Attributes:
        workload: Which workload.
        backend: On what.
        system: Who.
        values: Its figures, one a round.
        ratios: How many times as fast replay was in the same round.
        note: What must be known to read it.
        failed: Why there is no figure, or empty.
    """

    workload: str
    backend: str
    system: str
    values: list[float] = attrs.field(factory=list)
    ratios: list[float] = attrs.field(factory=list)
    note: str = ""
    failed: str = ""


@attrs.frozen
class Results:
    """A whole run: when, where, of what versions, and what came out."""

    date: str
    machine: Machine
    versions: dict[str, str]
    rounds: int
    rows: list[Row]


class Server:
    """The PostgreSQL server that all of them use: its own cluster, durable, with a fresh database for each measurement."""

    def __init__(self, cluster: TemporaryCluster) -> None:
        self._cluster = cluster
        self._made = 0

    def fresh(self) -> str:
        """The DSN of an empty database; the one before is dropped."""
        with self._cluster.connection() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS bench{self._made} WITH (FORCE)".encode())
            self._made += 1
            connection.execute(f"CREATE DATABASE bench{self._made}".encode())
        return self._cluster.url(database=f"bench{self._made}")


def measure(system: System, match: Match, server: Server | None) -> Found:
    """One measurement, in a process of its own.

    Raises:
        ValueError: There is no figure, with the reason.
    """
    python = Path(sys.executable) if system is REPLAY else PEERS
    if not python.exists():
        raise ValueError("the peers' environment is missing: make against")
    if match.backend == "postgres" and server is None:
        raise ValueError("no PostgreSQL server binaries on this machine")
    dsn = server.fresh() if server is not None and match.backend == "postgres" else ""
    with tempfile.TemporaryDirectory(prefix="replay-against-") as folder:
        command = [str(python), "-m", f"benchmarks.against.{system.module}", match.workload, match.backend, folder, dsn]
        known = {**process_environment(), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=known, start_new_session=True
        ) as process:
            try:
                said, complained = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise ValueError(f"no answer within {PATIENCE} s") from None
            finally:
                end(process)
    return read(said, complained)


def end(process: subprocess.Popen[str]) -> None:
    """End what a measurement started and did not end; a server that it began is in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def do_round(rows: dict[tuple[str, str, str], Row], matches: Sequence[Match], server: Server | None) -> None:
    """Every match once."""
    for match in matches:
        ours: float | None = None
        for system in (REPLAY, *match.peers):
            row = rows.setdefault((*match[:2], system.name), Row(match.workload, match.backend, system.name))
            if row.failed:
                continue
            try:
                found = measure(system, match, server)
            except ValueError as error:
                row.failed = str(error)
                say(f"{match.workload:10}{match.backend:10}{system.name:12} {error}")
                continue
            row.note = found.note
            row.values.append(found.value)
            if system is REPLAY:
                ours = found.value
            elif ours is not None:
                row.ratios.append(ours / found.value if KINDS[match.workload].more_is_better else found.value / ours)
            ratio = f"replay {row.ratios[-1]:.2f} times as fast" if row.ratios else ""
            unit = KINDS[match.workload].unit
            say(f"{match.workload:10}{match.backend:10}{system.name:12}{figure(found.value):>12} {unit:8} {ratio}")


def versions() -> dict[str, str]:
    """Versions of all of them."""
    names = [system.distribution for system in SYSTEMS[1:]]
    script = (
        "import sys, importlib.metadata as meta\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, meta.version(name))\n"
        "    except meta.PackageNotFoundError: print(name, 'not installed')"
    )
    found = {"replay-engine": _commit()}
    if PEERS.exists():
        said = subprocess.run([PEERS, "-c", script, *names], capture_output=True, text=True, check=True).stdout
        found |= dict(line.split(" ", 1) for line in said.splitlines())
    package = HERE / "node_modules" / "@restatedev" / "restate-server" / "package.json"
    if package.exists():
        found["restate-server"] = json.loads(package.read_text(encoding="utf-8"))["version"]
    return found


def _commit() -> str:
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT).stdout
    return f"commit {said.strip() or 'unknown'}"


def tabled(results: Results) -> str:
    """The results as markdown: when and where, then a line for each peer, then those that are ahead or missing."""
    ours = {(row.workload, row.backend): row for row in results.rows if row.system == REPLAY.name}
    lines: list[list[str]] = []
    ahead: list[str] = []
    missing: list[str] = []
    for row in results.rows:
        kind = KINDS[row.workload]
        if row.failed:
            missing.append(f"- {row.system}, {kind.title}, {row.backend}: {row.failed}")
        if row.system == REPLAY.name or not row.ratios:
            continue
        mine = ours[row.workload, row.backend]
        ratio = statistics.median(row.ratios)
        lines.append(
            [
                kind.title,
                row.backend,
                row.system,
                f"{spread(row.values)} {kind.unit}",
                f"{spread(mine.values)} {kind.unit}",
                f"{spread(row.ratios)}" if ratio >= 1 else f"**{spread(row.ratios)}**",
            ]
        )
        if ratio < 1:
            ahead.append(f"- {row.system} is ahead in {kind.title} on {row.backend}: replay is {ratio:.2f} times as fast.")
    head = ["workload", "on", "peer", "the peer", "replay", "replay is so many times as fast"]
    named = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    parts = [
        f"{results.date}; {results.machine}; {results.rounds} interleaved rounds; median (lowest to highest). {named}.",
        markdown(head, lines, right=(3, 4, 5)),
        "Where a peer is ahead:\n\n" + ("\n".join(ahead) or "- nowhere in this run."),
    ]
    if missing:
        parts.append("What could not be measured:\n\n" + "\n".join(missing))
    notes = sorted({f"- {row.system}, {row.workload}: {row.note}." for row in results.rows if row.note})
    parts.append("How a figure was taken, where it needs saying:\n\n" + "\n".join(notes))
    return "\n\n".join(parts)


def spread(values: Sequence[float]) -> str:
    """Median, and the range when there is one."""
    middle = figure(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({figure(min(values))} to {figure(max(values))})"


def say(text: str) -> None:
    """A line of what happens."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def rounds_within(budget: float, most: int) -> Iterator[int]:
    """Numbers of rounds, as long as another one fits into the budget; always one."""
    began = time.monotonic()
    for number in range(most):
        yield number
        used = time.monotonic() - began
        if used + used / (number + 1) > budget:
            return


def main() -> None:
    parser = argparse.ArgumentParser(prog="make against", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="rounds at most")
    parser.add_argument("--budget", type=float, default=3_600, help="seconds; a round that would not fit is not begun")
    parser.add_argument("--only", default="", help="workloads that begin so, separated by commas")
    parser.add_argument("--keep", action="store_true", help="leave results.json and README.md as they are")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("against: told to stop"))  # so that the server is stopped too
    matches = [match for match in MATCHES if match.workload.startswith(tuple(given.only.split(",")))]
    rows: dict[tuple[str, str, str], Row] = {}
    done = 0
    with ExitStack() as stack:
        server = Server(stack.enter_context(TemporaryCluster(()))) if binaries() else None
        machine = look_at_machine()
        for number in rounds_within(given.budget, given.rounds):
            say(f"round {number + 1}, load {os.getloadavg()[0]:.1f}")
            do_round(rows, matches, server)
            done = number + 1
    date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    results = Results(date, machine, versions(), done, list(rows.values()))
    text = tabled(results)
    print(text)
    if not given.keep:
        RESULTS.write_text(json.dumps(attrs.asdict(results), indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "against", text)


if __name__ == "__main__":
    main()
