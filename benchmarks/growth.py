"""What each workload costs as it grows by ten, three times: ``make growth``.

Rule 1: what is told is the cost of one unit (an event, a run, a message, a branch, a kilobyte) at each size. Where it stays, the whole
is linear; where the whole should stay (a claim, a recovery), that is the unit.
Rule 2: the verdict is a ratio within one run: the cost at the largest size over the lowest of all sizes, against a tolerance. What
grows by more is told as such, and the program ends with an error.
Rule 3: processor time of this process, on SQLite that does not wait for the disk (``durability=relaxed``): the growth of the code is
meant, not the moods of the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks import workloads
from benchmarks.machine import look_at_machine
from benchmarks.tables import figure, markdown, write_between
from replay import Engine, Workflow, signal, step, workflow
from replay.hooks import open_store

HERE: Final = Path(__file__).parent
PLOTS: Final = HERE / "plots"
LINEAR: Final = 1.6
"""How much dearer a unit may be at the largest size than at the cheapest: caches of the processor end, code must not."""


@step
def echo(payload: str) -> str:
    """Answer with what came in."""
    return payload


@workflow(name="growth.carrying")
def carrying(size: int) -> Workflow[int]:
    """One step whose answer is so large."""
    payload = yield from echo("x" * size)
    return len(payload)


@workflow(name="growth.listening")
def listening(messages: int) -> Workflow[int]:
    """Take messages until all have come."""
    total = 0
    for _ in range(messages):
        total += yield from signal("word", int)
    return total


def replay_events(folder: Path, events: int) -> float:
    """Microseconds an event of a replay from the store."""
    store = open_store(f"sqlite:///{folder}/growth.db?durability=relaxed")
    workloads.put_journal(store, events)
    took = min(workloads.seconds_of_recovery(store, f"w{turn}")[0] for turn in range(3))
    store.close()
    return took / events * 1e6


def claim_beside(folder: Path, runs: int) -> float:
    """Microseconds of a claim beside so many parked runs."""
    store = open_store(f"sqlite:///{folder}/growth.db?durability=relaxed")
    workloads.fill_with_parked_from(store, 0, runs)
    took = min(workloads.seconds_of_claiming(store, 100, f"c{turn}") for turn in range(3)) / 100
    store.close()
    return took * 1e6


def run_many(folder: Path, runs: int) -> float:
    """Microseconds a run, of so many one-step runs started together."""
    with workloads.engine_on(f"sqlite:///{folder}/growth.db?durability=relaxed") as engine:
        workloads.seconds_of_many(engine, 10, 1)
        return min(workloads.seconds_of_many(engine, runs, 1) for _ in range(3 if runs <= 10_000 else 1)) / runs * 1e6


def take_messages(folder: Path, messages: int) -> float:
    """Microseconds a message, of so many that wait for one run."""
    url = f"sqlite:///{folder}/growth.db?durability=relaxed"
    with Engine(url, workflows=[workloads.sequence]) as engine:
        handle = engine.start(listening(messages), id="listening")
        for number in range(messages):
            handle.signal("word", number)
    began = workloads.clock()
    with Engine(url, workflows=[listening]) as engine:
        assert engine.get("listening").result(600) == sum(range(messages))
    return (workloads.clock() - began) / messages * 1e6


def gather_branches(folder: Path, branches: int) -> float:
    """Microseconds a branch, of one gather."""
    with workloads.engine_on(f"sqlite:///{folder}/growth.db?durability=relaxed") as engine:
        workloads.seconds_at_once(engine, 10)
        return min(workloads.seconds_at_once(engine, branches) for _ in range(2)) / branches * 1e6


def carry_payload(folder: Path, kilobytes: int) -> float:
    """Microseconds a kilobyte, of an answer so large: made, encoded, committed, decoded."""
    with Engine(f"sqlite:///{folder}/growth.db?durability=relaxed", workflows=[carrying]) as engine:
        engine.start(carrying(1)).result(60)
        found = []
        for _ in range(3):
            began = workloads.clock()
            assert engine.start(carrying(kilobytes * 1_000)).result(600) == kilobytes * 1_000
            found.append(workloads.clock() - began)
        return min(found) / kilobytes * 1e6


def recover_turns(folder: Path, turns: int) -> float:
    """Microseconds of a recovery from a savepoint after so many turns."""
    store = open_store(f"sqlite:///{folder}/growth.db?durability=relaxed")
    workloads.put_turns(store, 10_000_000, turns)
    took = min(workloads.seconds_of_savepoint_recovery(store)[0] for _ in range(5))
    store.close()
    return took * 1e6


@attrs.frozen
class Growth:
    """A workload that grows.

    Attributes:
        name: What it is, and the name of its plot.
        axis: What grows.
        unit: What the cost is of.
        sizes: The sizes, each ten times the one before.
        cost: Microseconds of a unit at a size, in an empty folder.
        fixed: Sizes below this are governed by what a run costs anyway, and are not compared.
    """

    name: str
    axis: str
    unit: str
    sizes: Sequence[int]
    cost: Callable[[Path, int], float]
    fixed: int = 0


GROWTHS: Final = (
    Growth("replay", "events in the journal", "event", (1_000, 10_000, 100_000, 1_000_000), replay_events),
    Growth("claim", "parked runs in the table", "claim", (1_000, 10_000, 100_000, 1_000_000), claim_beside),
    Growth("runs", "runs started together", "run", (100, 1_000, 10_000, 100_000), run_many, fixed=10_000),
    Growth("messages", "messages that wait for one run", "message", (100, 1_000, 10_000, 100_000), take_messages, fixed=1_000),
    Growth("gather", "branches of a gather", "branch", (10, 100, 1_000, 10_000, 100_000), gather_branches, fixed=100),
    Growth("payload", "kilobytes of an answer", "kilobyte", (1, 10, 100, 1_000, 10_000), carry_payload, fixed=100),
    Growth("savepoint", "turns before the savepoint", "recovery", (1_000, 10_000, 100_000, 1_000_000), recover_turns),
)


@attrs.define
class Curve:
    """What a growth came to: microseconds of a unit, by size; or why it ended early."""

    growth: Growth
    costs: dict[int, float] = attrs.field(factory=dict)
    failed: str = ""

    @property
    def counted(self) -> list[float]:
        """The costs at sizes that are compared."""
        return [cost for size, cost in self.costs.items() if size >= self.growth.fixed]

    @property
    def ratio(self) -> float:
        """The cost at the largest size over the lowest of all that count."""
        return self.counted[-1] / min(self.counted) if self.counted else 1.0

    @property
    def is_flat(self) -> bool:
        """Whether a unit's cost stays within the tolerance."""
        return not self.failed and self.ratio <= LINEAR


def measure(growth: Growth, largest: int, deadline: float) -> Curve:
    """Grow until the largest size, or until the next one would not end in time."""
    curve = Curve(growth)
    for size in growth.sizes:
        if size > largest:
            break
        began = time.monotonic()
        gc.collect()
        try:
            with tempfile.TemporaryDirectory(prefix="replay-growth-") as folder:
                curve.costs[size] = growth.cost(Path(folder), size)
        except Exception as error:  # noqa: BLE001 - border: the others are measured all the same
            curve.failed = f"{size:,}: {type(error).__name__}: {str(error)[:200]}"
            break
        sys.stderr.write(f"{growth.name:12}{size:>12,} {figure(curve.costs[size]):>10} µs of {growth.unit}\n")
        if time.monotonic() + 10 * (time.monotonic() - began) > deadline and size != growth.sizes[-1]:
            sys.stderr.write(f"{growth.name}: the next size would take longer than what is left of the budget\n")
            break
    return curve


def plot(curves: Sequence[Curve], folder: Path) -> None:
    """One picture for each curve: cost of a unit over size, both by powers of ten."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    folder.mkdir(exist_ok=True)
    for curve in curves:
        figure_, axes = pyplot.subplots(figsize=(5, 3), dpi=80, layout="constrained")
        sizes, costs = list(curve.costs), list(curve.costs.values())
        axes.plot(sizes, costs, marker="o", color="#1f77b4")
        axes.axhline(min(costs), color="#999999", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel=curve.growth.axis, ylabel=f"µs a {curve.growth.unit}", title=curve.growth.name)
        axes.set_ylim(min(costs) / 3, max(*costs, min(costs) * 10) * 2.5)
        axes.yaxis.set_minor_formatter(NullFormatter())
        for size, cost in zip(sizes, costs, strict=True):
            axes.annotate(figure(cost), (size, cost), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
        axes.grid(visible=True, which="major", alpha=0.3)
        figure_.savefig(folder / f"{curve.growth.name}.png")
        pyplot.close(figure_)


def tabled(curves: Sequence[Curve]) -> str:
    """The curves as a markdown table."""
    rows: list[list[str]] = []
    for curve in curves:
        sizes = list(curve.costs)
        growing = " → ".join(f"{size:,}" for size in sizes)
        costs = " → ".join(figure(cost) for cost in curve.costs.values())
        is_compared = len(curve.counted) > 1
        verdict = curve.failed or ("not compared" if not is_compared else "flat" if curve.is_flat else "**grows**")
        ratio = f"{curve.ratio:.2f}" if is_compared else ""
        rows.append([f"[{curve.growth.name}](plots/{curve.growth.name}.png)", curve.growth.axis, growing, costs, ratio, verdict])
    return markdown(["workload", "what grows", "sizes", "µs a unit", "largest over lowest", "a unit's cost is"], rows, right=(4,))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make growth", description="What each workload costs as it grows by ten, three times.")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--largest", type=int, default=1_000_000, help="leave larger sizes out")
    parser.add_argument("--budget", type=float, default=1_800, help="seconds, shared by all; a size that would not fit is not begun")
    parser.add_argument("--write", action="store_true", help="put table and plots below benchmarks/")
    parser.add_argument("--json", metavar="FILE", help="write the costs as JSON")
    given = parser.parse_args()
    workloads.clock = time.process_time
    wanted = [growth for growth in GROWTHS if not given.only or growth.name in given.only.split(",")]
    end = time.monotonic() + given.budget
    curves = []
    for left, growth in zip(range(len(wanted), 0, -1), wanted, strict=True):
        now = time.monotonic()
        curves.append(measure(growth, given.largest, now + (end - now) / left))  # what one leaves over is the others'
    text = tabled(curves)
    print(text)
    if given.write:
        plot([curve for curve in curves if curve.costs], PLOTS)
        write_between(HERE / "README.md", "growth", f"{look_at_machine()}.\n\n{text}")
    if given.json:
        found: dict[str, Any] = {curve.growth.name: {"costs": curve.costs, "failed": curve.failed} for curve in curves}
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if growing := [curve.growth.name for curve in curves if not curve.is_flat]:
        sys.exit(f"growth: {', '.join(growing)}: a unit costs more than {LINEAR} times the lowest, or a size failed")


if __name__ == "__main__":
    main()
