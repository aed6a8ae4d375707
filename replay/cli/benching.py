"""``replay bench``: what a store gives from here, in figures.

Rule 1: it works in a namespace of its own, made up for the call, and removes every run of it at the end, also when it is interrupted
or fails; no other run is read, claimed or changed.
Rule 2: it keeps its budget: each measurement gets a share of the time and is repeated in growing portions while its share lasts.
Setting up and tidying up come on top.
Rule 3: beside what the engine reaches stands what the store's own verbs allow, measured in the same minute: commits of one event, one
after the other. Times on a shared machine are noisy; ratios less so.
"""

from __future__ import annotations

import contextlib
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs
import click

from replay.authoring.definitions import Workflow, step, workflow
from replay.authoring.effects import gather
from replay.cli import options
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import DULL, progress, styled
from replay.cli.text import plain, span
from replay.client import Engine, Start
from replay.errors import InvalidRequest
from replay.hooks import Claim, Commit, Event, Filter, NewRun, RunKey, Store, open_store
from replay.interpreter import Interpreter
from replay.model import events
from replay.model.journal import Started

SHORTEST: Final = 1.0
"""Seconds below which no figure says anything."""
REPLAYED: Final = 2_000
"""Steps of the run that is replayed."""
BARS: Final = 12
"""Lines of the picture."""
TTL: Final = 60_000_000
"""Microseconds of a lease while a run is measured."""
PAGE: Final = 500


@step(name="replay.bench.step")
def work(number: int) -> int:
    """Do nothing, and answer."""
    return number


@workflow(name="replay.bench.sequence")
def sequence(steps: int) -> Workflow[int]:
    """Steps one after the other."""
    total = 0
    for number in range(steps):
        total += yield from work(number)
    return total


@workflow(name="replay.bench.at_once")
def at_once(steps: int) -> Workflow[int]:
    """Steps side by side."""
    answers = yield from gather(*[work(number) for number in range(steps)])
    return len(answers)


@attrs.frozen
class Figure:
    """What was measured.

    Attributes:
        name: What it is.
        value: How much.
        unit: Of what.
        times: How many of it were done.
        ratio: Its share of what the store's own verbs allow, or None.
    """

    name: str
    value: float
    unit: str
    times: int
    ratio: float | None = None


class Bench:
    """One call: a store, a namespace of its own, and an engine that works there.

    Args:
        url: The store's.
        budget: Seconds for all measurements together.
        tick: Told after each.
    """

    MEASUREMENTS: Final = 6

    def __init__(self, url: str, budget: float, tick: Callable[[int], None]) -> None:
        self.namespace = f"bench-{uuid.uuid4().hex[:12]}"
        self._url = url
        self._share = budget / self.MEASUREMENTS
        self._tick = tick
        self.latencies: list[float] = []

    def figures(self) -> Iterator[Figure]:
        """Every figure, one after the other.

        Raises:
            StoreError: The store cannot be opened, or does not answer.
        """
        with contextlib.closing(open_store(self._url)) as store:
            try:
                done, took = self._repeated(lambda portion: self._commit(store, portion))
                limit = done / took
                yield Figure("durable commits of one event, in sequence", limit, "commits/s", done)
                with Engine(store, namespace=self.namespace, workflows=[sequence, at_once]) as engine:
                    engine.start(sequence(1)).result(60)
                    yield from self._with_engine(engine, limit)
                done, took = self._repeated(lambda portion: self._replay(store, portion))
                yield Figure(f"replay of {REPLAYED:,} steps, with claim and reading", done * REPLAYED / took, "steps/s", done)
            finally:
                tidy(store, self.namespace)

    def _with_engine(self, engine: Engine, limit: float) -> Iterator[Figure]:
        self._repeated(lambda portion: self._ask(engine, portion))
        ordered = sorted(self.latencies)
        middle = statistics.median(ordered)
        yield Figure("start to result of one step, median", middle * 1e3, "ms", len(ordered), middle * limit / 2)
        yield Figure("start to result of one step, 99 of 100", ordered[int(len(ordered) * 0.99) - 1] * 1e3, "ms", len(ordered))
        done, took = self._repeated(lambda portion: engine.start(sequence(portion)).result(None))
        yield Figure("steps in sequence, one run", done / took, "steps/s", done, done / took / limit)
        done, took = self._repeated(lambda portion: engine.start(at_once(portion)).result(None), 10_000)
        yield Figure("steps at once, one run", done / took, "steps/s", done, done / took / limit)
        done, took = self._repeated(lambda portion: self._start_many(engine, portion), 1_000)
        yield Figure("runs of five steps, many at once", done / took, "runs/s", done, done * 7 / took / limit)

    def _repeated(self, work: Callable[[int], object], largest: int = 2_000) -> tuple[int, float]:
        """Work in portions that double, while the share of the time lasts; the largest portion that was done counts."""
        end = time.perf_counter() + self._share
        portion, best = 1, (1, float("inf"))
        while True:
            began = time.perf_counter()
            work(portion)
            now = time.perf_counter()
            if portion > best[0] or now - began < best[1]:
                best = portion, now - began
            if now + 2 * (now - began) > end:
                break
            portion = min(portion * 2, largest)
        self._tick(1)
        return best

    def _commit(self, store: Store, commits: int) -> None:
        key = RunKey(self.namespace, uuid.uuid4().hex)
        journal = self._journal(key, commits)
        (created,) = store.create([NewRun(key=key, workflow=sequence.name, events=journal[:1])], worker=self.namespace, ttl=TTL)
        assert created.lease is not None
        for event in journal[1:]:
            store.commit([Commit(lease=created.lease, expected=event.seq - 1, events=[event])])
        closing = Event(len(journal) + 1, events.COMPLETED, "", "", store.now(), b"0")
        store.commit([Commit(lease=created.lease, expected=len(journal), events=[closing], status="completed", result=b"0")])

    def _journal(self, key: RunKey, steps: int) -> list[Event]:
        """A journal of ``sequence`` after so many steps, as its own interpreter takes it."""
        began = Started(workflow=sequence.name, input=b"[%d]" % (steps + 1), seed=key.id, patches=())
        journal = [Event(1, events.STARTED, "", sequence.name, 1, began.encode())]
        for number in range(steps):
            seq = number + 2
            journal.append(Event(seq, events.STEP_COMPLETED, str(number), work.name, seq, b"%d" % number))
        return journal

    def _ask(self, engine: Engine, runs: int) -> None:
        for _ in range(runs):
            began = time.perf_counter()
            engine.start(sequence(1)).result(None)
            self.latencies.append(time.perf_counter() - began)

    def _start_many(self, engine: Engine, runs: int) -> None:
        for handle in engine.start_many([Start(sequence(5), "") for _ in range(runs)]):
            handle.result(None)

    def _replay(self, store: Store, times: int) -> None:
        key = RunKey(self.namespace, "replayed")
        journal = self._journal(key, REPLAYED)
        store.create([NewRun(key=key, workflow=sequence.name, events=journal, applied=len(journal))])
        for _ in range(times):
            claimed = store.claim(_claim(self.namespace, 1)).runs[0]
            Interpreter(sequence, claimed.run.key.id).feed_all(claimed.journal)
            store.release([claimed.lease])


def _claim(namespace: str, limit: int) -> Claim:
    names = [sequence.name, at_once.name]
    return Claim(worker=namespace, namespace=namespace, queues=["default"], workflows=names, limit=limit, ttl=TTL)


def tidy(store: Store, namespace: str) -> None:
    """Close what is still open in a namespace of a bench, and remove all of it."""
    while taken := store.claim(_claim(namespace, PAGE)).runs:
        store.commit([Commit(lease=one.lease, expected=one.run.seq, status="terminated", result=b"null") for one in taken])

    while found := store.find(Filter(namespace=namespace), limit=PAGE).runs:
        if not store.delete([run.key for run in found]):
            return


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    secret = urlsplit(url).password
    return url.replace(f":{secret}@", ":***@") if secret else url


@click.command()
@click.argument("url", required=False)
@click.option("--budget", type=options.duration, default=10.0, show_default="10s", help="How long the measurements may take together.")
@options.shared
@pass_scene
def bench(scene: Scene, url: str | None, budget: float) -> None:
    """Measure a store from here: commits, latency, steps, runs and replay.

    URL is the store's; without one, the configured store is measured. It works in a namespace of its own, which it removes
    afterwards, and touches no other run.
    """
    if budget < SHORTEST:
        raise InvalidRequest("--budget", f"{budget:g} s is too short to measure anything", f"give at least {SHORTEST:g}s")
    address = url or scene.settings.store
    with progress("measuring", Bench.MEASUREMENTS, quiet=scene.as_json) as tick:
        measured = Bench(address, budget, tick)
        found = list(measured.figures())
    if scene.as_json:
        scene.document(
            {
                "store": without_password(address),
                "budget": budget,
                "figures": [attrs.asdict(figure) for figure in found],
                "latencies_ms": [round(latency * 1e3, 4) for latency in sorted(measured.latencies)],
            }
        )
        return
    width = scene.screen.width
    scene.say(f"{plain(without_password(address))}\n")
    scene.screen.draw(laid_out(_columns(found), width)[0])
    scene.say("\nstart to result of one step, how often it took how long")
    for label, share, count in histogram(measured.latencies):
        bar = "█" * max(1, round(share * max(10, width - 40)))
        scene.screen.draw(styled(f"{label:>20} {bar} {count}", "cyan"))
    scene.screen.draw(styled("\nA ratio is to what the store allows: durable commits of one event, one after the other.", DULL))


def _columns(found: Sequence[Figure]) -> list[Cells]:
    return [
        Cells("measured", [figure.name for figure in found]),
        Cells("value", [_spelt(figure.value) for figure in found], "right", "bold"),
        Cells("unit", [figure.unit for figure in found]),
        Cells("ratio", ["" if figure.ratio is None else f"{figure.ratio:.2f}" for figure in found], "right"),
        Cells("times", [f"{figure.times:,}" for figure in found], "right", DULL),
    ]


def _spelt(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def histogram(latencies: Sequence[float]) -> list[tuple[str, float, int]]:
    """Spans of equal ratio from the shortest to the longest: label, share of the fullest, how many."""
    lowest, highest = min(latencies), max(latencies)
    ratio = max(highest / lowest, 1.000_001) ** (1 / BARS)
    edges = [lowest * ratio**place for place in range(BARS + 1)]
    counts = [0] * BARS
    for latency in latencies:
        place = next((place for place in range(BARS) if latency < edges[place + 1]), BARS - 1)
        counts[place] += 1
    fullest = max(counts)
    return [(f"up to {span(edges[place + 1] * 1e6)}", count / fullest, count) for place, count in enumerate(counts) if count]


__all__ = ["Bench", "bench", "histogram", "tidy", "without_password"]
