"""Kill workers at random moments under a mixed load, and see what comes of it.

    python -m tests.faults.chaos --store sqlite:////tmp/chaos.db --kills 500 --seed 1 --workers 2

Worker processes drive runs over one store and are killed with SIGKILL, one every few hundredths of a second, also while they start.
This process only starts runs, tells them things and, in the end, compares journals with what the steps wrote down on disk:

- a run is *lost* when it does not end with its one right result;
- a committed step was *done again* when an execution of it began after the event that answers it;
- a journal has a *gap* when it cannot be read whole, or its events are not numbered 1, 2, 3, …;
- an ``at_most_once`` step was *begun twice*; a transaction was *booked* another number of times than the journal says;
- a *word* was published another number of times than once.

The seed decides what is started, who is killed and after how long; the machine's own timing decides where that hits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs

from replay import Client, RequestError, StoreUnavailable
from replay.client import Handle
from replay.hooks import open_store
from replay.model import events
from replay.model.codec import from_json
from replay.model.events import Event
from replay.model.journal import Started
from replay.store.contract import Capability, Run, Store
from tests.faults import load

LIFE: Final = 0.15
"""Seconds that a worker works before it is killed, on average, where nothing else is said."""
TTL: Final = 5.0
"""Seconds that a lease lasts, where nothing else is said."""
UNREADY: Final = 0.1
"""Share of kills that do not wait until the worker works; they hit it while it starts."""
OPEN_AT_ONCE: Final = 60
"""Runs under way, about, where nothing else is said."""
PATIENCE: Final = 180.0
"""Seconds that the last runs are given after the last kill."""
PRELOADED: Final = ["tests.faults.warm"]
"""What every worker would import."""
ANSWERED: Final = frozenset({events.STEP_COMPLETED, events.STEP_FAILED})


@attrs.define(kw_only=True)
class Report:
    """What became of it; all of ``violations`` must be empty."""

    seed: int
    kills: int = 0
    seconds: float = 0.0
    runs: int = 0
    journals: int = 0
    events: int = 0
    executions: int = 0
    repeated: int = 0
    recoveries: int = 0
    lost: list[str] = attrs.field(factory=list)
    done_again: list[str] = attrs.field(factory=list)
    gaps: list[str] = attrs.field(factory=list)
    begun_twice: list[str] = attrs.field(factory=list)
    misbooked: list[str] = attrs.field(factory=list)
    misspoken: list[str] = attrs.field(factory=list)

    @property
    def violations(self) -> dict[str, list[str]]:
        """What must not be."""
        names = ("lost", "done_again", "gaps", "begun_twice", "misbooked", "misspoken")
        return {name: getattr(self, name) for name in names}

    @property
    def sound(self) -> bool:
        """Whether nothing was violated."""
        return not any(self.violations.values())

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.kills} kills in {self.seconds:.0f} s",
            f"  {self.runs} runs, {self.journals} journals, {self.events} events, {self.recoveries} changes of hands",
            f"  {self.executions} executions of steps, {self.repeated} of them repeated one that was not committed",
        ]
        lines += [f"  {name.replace('_', ' ')}: {len(found)} {'; '.join(found[:5])}" for name, found in self.violations.items()]
        return "\n".join(lines)


# ---- workers -------------------------------------------------------------------------------------------------------------


def work(store: str, log: str, ttl: float, environment: dict[str, str], ready: Any) -> None:
    """A worker process: an engine, until it is killed."""
    os.environ.update(environment)  # of now: the server that forks workers may be older than a bucket's credentials
    os.environ[load.LOG_FILE] = log
    from replay import Engine

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with opened(store) as place, Engine(place, workflows=load.WORKFLOWS, ttl=ttl, poll=0.2, threads=8, grace=1.0):
        ready.send(True)
        threading.Event().wait()


class Crewman(NamedTuple):
    """A worker process, and what tells that it works."""

    process: Any
    ready: Any


@attrs.define
class Workers:
    """Processes that work, and are killed and replaced."""

    store: str
    log: str
    count: int
    ttl: float = TTL
    _living: list[Crewman] = attrs.field(factory=list)
    _context: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def fill(self) -> None:
        """Replace those that are gone."""
        self._living = [worker for worker in self._living if worker.process.is_alive()]
        while len(self._living) < self.count:
            ready, tell = self._context.Pipe(duplex=False)
            process = self._context.Process(target=work, args=(self.store, self.log, self.ttl, dict(os.environ), tell), daemon=True)
            process.start()
            tell.close()
            self._living.append(Crewman(process, ready))

    def all_ready(self) -> list[int]:
        """Wait until all of them work; their process ids."""
        for worker in self._living:
            worker.ready.poll(PATIENCE)
        return [worker.process.pid for worker in self._living]

    def kill(self, index: int, life: float, *, wait: bool) -> None:
        """Let one live for some seconds, counted from when it works, or from now; then SIGKILL it, and see it gone."""
        worker = self._living.pop(index % len(self._living))
        if wait:
            worker.ready.poll(PATIENCE)
        time.sleep(life)
        worker.process.kill()
        worker.process.join()

    def end(self) -> None:
        """SIGTERM all."""
        for worker in self._living:
            worker.process.terminate()
        for worker in self._living:
            worker.process.join(10)
            worker.process.kill()
        self._living.clear()


# ---- the load ------------------------------------------------------------------------------------------------------------


@attrs.define
class Load:
    """Runs that were started, and what they still have to be told."""

    client: Client
    chance: random.Random
    open_at_once: int
    errands: dict[str, load.Errand] = attrs.field(factory=dict)
    open: dict[str, load.Errand] = attrs.field(factory=dict)
    untold: dict[str, load.Errand] = attrs.field(factory=dict)
    batches: int = 0

    def go_on(self, *, more: bool) -> None:
        """Start more when there is room, tell what there is to tell, and strike off what has ended."""
        self._strike_off()
        while more and len(self.open) < self.open_at_once:
            self.batches += 1
            transactions = Capability.TRANSACTIONS in self.client.store.capabilities
            batch = load.errands(f"b{self.batches}", self.chance, transactions=transactions)
            patiently(partial(load.begin, self.client, batch))
            for errand in batch:
                self.errands[errand.id] = self.open[errand.id] = self.untold[errand.id] = errand
        for name, errand in list(self.untold.items()):
            try:
                if errand.told(self.client.get(name)):
                    del self.untold[name]
            except (RequestError, StoreUnavailable):
                continue  # told again later: messages have ids

    def _strike_off(self) -> None:
        names = list(self.open)
        runs = patiently(lambda: self.client.store.get([self.client.get(name).key for name in names]))
        for name, run in zip(names, runs, strict=True):
            if run is not None and run.status in {"completed", "failed", "cancelled", "terminated"}:
                del self.open[name]


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store; a bucket's clock tells whole seconds only, and the audit needs the moments of answers as exactly as those of steps."""
    store = open_store(url, clock=machine_clock if url.startswith("s3:") else None)
    try:
        yield store
    finally:
        store.close()


def machine_clock() -> int:
    """What all processes of the audit share."""
    return time.time_ns() // 1_000


def patiently(ask: Any) -> Any:
    """Ask the store again while it is busy with others."""
    while True:
        try:
            return ask()
        except StoreUnavailable:
            time.sleep(0.01)


def chaos(
    store: str,
    log: Path,
    *,
    kills: int,
    seed: int,
    workers: int,
    life: float = LIFE,
    ttl: float = TTL,
    open_at_once: int = OPEN_AT_ONCE,
    progress: bool = False,
) -> Report:
    """Kill so many workers, let the last ones finish, and report."""
    chance = random.Random(seed)
    report = Report(seed=seed)
    began = time.monotonic()
    crew = Workers(store, str(log), workers, ttl)
    load.prepare(store)
    with opened(store) as place, Client(place) as client:
        under_way = Load(client, chance, open_at_once)
        try:
            while report.kills < kills:
                crew.fill()
                under_way.go_on(more=True)
                victim, lives = chance.randrange(workers), chance.uniform(0, 2 * life)
                crew.kill(victim, lives, wait=chance.random() > UNREADY)
                report.kills += 1
                if progress and report.kills % 25 == 0:
                    sys.stderr.write(f"{report.kills} kills, {len(under_way.errands)} runs started\n")
            until = time.monotonic() + PATIENCE
            while under_way.open and time.monotonic() < until:
                crew.fill()
                under_way.go_on(more=False)
                time.sleep(0.05)
        finally:
            crew.end()
        report.seconds = time.monotonic() - began
        Audit(client, report, load.executions(log)).of(under_way.errands)
    return report


# ---- the audit -----------------------------------------------------------------------------------------------------------


@attrs.define
class Audit:
    """Compares journals with what was asked for and with what was begun."""

    client: Client
    report: Report
    executions: Sequence[tuple[str, int, int, int]]

    def of(self, errands: dict[str, load.Errand]) -> None:
        """All of it."""
        self.report.runs = len(errands)
        answered: dict[str, Event] = {}
        booked: Counter[str] = Counter()
        for errand in errands.values():
            self._result(errand)
        for run in self._all_runs():
            for key, event in self._journal(run):
                answered[key] = event
                booked[key] += event.name == "chaos_book"
        self._steps(answered)
        self._books(+booked)
        self._words(errands)

    def _result(self, errand: load.Errand) -> None:
        handle: Handle[Any] = self.client.get(errand.id)
        status = handle.status
        found = handle.result(PATIENCE) if status == "completed" else None
        if found != errand.expected:
            note = handle.about().note.splitlines()[:1]
            self.report.lost.append(f"{errand.id} is {status} {found!r} instead of {errand.expected!r} {note}")

    def _all_runs(self) -> Iterator[Run]:
        cursor = ""
        while True:
            page = self.client.find(limit=500, cursor=cursor)
            yield from page.runs
            cursor = page.cursor
            if not cursor:
                return

    def _journal(self, run: Run) -> Iterator[tuple[str, Event]]:
        """Keys of the steps that it answered, with the events that say so."""
        self.report.journals += 1
        try:
            journal = self.client.store.journal(run.key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal cannot be read
            self.report.gaps.append(f"{run.key.id}: {error}")
            return
        self.report.events += len(journal)
        self.report.recoveries += sum(one.worker != two.worker for one, two in pairwise(journal[1:]))
        if [event.seq for event in journal] != list(range(1, run.seq + 1)) or not journal:
            self.report.gaps.append(f"{run.key.id}: {[event.seq for event in journal]} of {run.seq}")
            return
        chain = Started.decode(journal[0]).chain
        name = run.key.id.partition("~")[0] + (f"~{chain}" if chain else "")
        for event in journal:
            if event.kind in ANSWERED:
                yield f"{name}#{event.command}", event

    def _steps(self, answered: dict[str, Event]) -> None:
        """What was begun, against what was committed."""
        self.report.executions = len(self.executions)
        begun = Counter((key, attempt) for key, attempt, _, _ in self.executions)
        self.report.repeated = sum(count - 1 for count in begun.values())
        seen: set[tuple[str, int, int]] = set()
        for key, attempt, moment, process in self.executions:
            answer = answered.get(key)
            first = (key, attempt, process) not in seen
            seen.add((key, attempt, process))
            if answer is not None and moment > answer.at and not (first and gave(answer, attempt, process)):
                late = moment - answer.at
                self.report.done_again.append(f"{key} attempt {attempt} began {late} µs after its answer, in process {process}")
        for (key, _), count in begun.items():
            if count > 1 and (answer := answered.get(key)) and answer.name == "chaos_once":
                self.report.begun_twice.append(f"{key} {count} times")

    def _books(self, booked: Counter[str]) -> None:
        if Capability.TRANSACTIONS not in self.client.store.capabilities:
            return
        found = Counter(load.ledger(self.client.store.url))
        self.report.misbooked += [
            f"{key}: {found[key]} instead of {booked[key]}" for key in found | booked if found[key] != booked[key]
        ]

    def _words(self, errands: dict[str, load.Errand]) -> None:
        said: Counter[str] = Counter()
        after = 0
        while page := self.client.read(load.TOPIC, after=after):
            after = page[-1].offset
            said.update(json.dumps(from_json(entry.payload)) for entry in page)
        expected = {json.dumps([name, n]) for name, errand in errands.items() for n in range(errand.words)}
        self.report.misspoken += [f"{word} {count} times" for word, count in said.items() if count != 1]
        self.report.misspoken += [f"{word} never" for word in expected if not said[word]]


def gave(answer: Event, attempt: int, process: int) -> bool:
    """Whether it was an execution in this process that gave the answer: the first one there.

    Two clocks tell the moments of both; where they differ by a fraction of a millisecond, it may seem to have begun afterwards.
    """
    return answer.attempt == attempt and f"/{process}." in answer.worker


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--store", help="URL; by default a SQLite file in a fresh folder")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--life", type=float, default=LIFE, help="seconds that a worker works before it is killed, on average")
    parser.add_argument("--ttl", type=float, default=TTL, help="seconds that a lease lasts")
    parser.add_argument("--open", type=int, default=OPEN_AT_ONCE, help="runs under way, about")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        store = given.store or f"sqlite:///{folder}/chaos.db"
        log = Path(folder) / "executions"
        report = chaos(
            store, log, kills=given.kills, seed=given.seed, workers=given.workers, life=given.life, ttl=given.ttl,
            open_at_once=given.open, progress=True,
        )  # fmt: skip
    text = json.dumps({**attrs.asdict(report), "sound": report.sound}, indent=2) if given.json else str(report)
    sys.stdout.write(f"{text}\n")
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main())
