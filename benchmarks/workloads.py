"""The workloads of the performance page, as functions: each runs the real thing once and says how much it did in what time.

W1 replay of N steps from the store · W2 one run, N steps in sequence · W3 many runs of five steps · W4 one run, N steps at once ·
W5 start to result of a one-step run · W6 parked runs · W7 start-up · W8 claiming beside many parked runs · W9 requests to a bucket ·
W10 a store behind a server in another process · W12 savepoint recovery.
A step is a plain function that returns its int.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import replay
from replay import Engine, Start, Workflow, gather, savepoint, signal, step, workflow
from replay.interpreter import Interpreter
from replay.interpreter.issue import savepoint_payload
from replay.model.events import STARTED, STEP_COMPLETED, Event
from replay.model.journal import Started
from replay.store.contract import Claim, Commit, NewRun, RunKey, Store

clock: Callable[[], float] = time.perf_counter
"""What seconds are: the wall's. Who asks how the code grows, not the machine, puts ``time.process_time`` here."""


@step
def work(number: int) -> int:
    """Do nothing, and answer."""
    return number


@workflow
def sequence(steps: int) -> Workflow[int]:
    """Steps one after the other."""
    total = 0
    for number in range(steps):
        total += yield from work(number)
    return total


@workflow
def at_once(steps: int) -> Workflow[int]:
    """Steps side by side."""
    results = yield from gather(*[work(number) for number in range(steps)])
    return len(results)


@workflow
def parked() -> Workflow[str]:
    """Wait for a message that nobody sends."""
    word: str = yield from signal("word", str)
    return word


@workflow
def turns(number: int, state: int = 0) -> Workflow[int]:
    """A loop that can be begun again at each turn."""
    for turn in range(state, number):
        yield from work(turn)
        yield from savepoint("turn", state=turn + 1)
    return number


def journal_of(steps: int, run: str = "bench") -> list[Event]:
    """The journal of ``sequence`` after all its steps, before its end."""
    began = Started(workflow="sequence", input=b"[%d]" % (steps + 1), seed=run, patches=())
    events = [Event(1, STARTED, "", "sequence", 1, began.encode())]
    for number in range(steps):
        check = crc32(b"[%d]" % number)
        events.append(Event(number + 2, STEP_COMPLETED, str(number), "work", number + 2, b"%d" % number, check))
    return events


def seconds_of_feeding(journal: list[Event]) -> float:
    """W1, the interpreter alone: seconds to drive the journal through it."""
    began = clock()
    Interpreter(sequence, "bench").feed_all(journal)
    return clock() - began


def put_journal(store: Store, steps: int, run: str = "bench") -> RunKey:
    """A run with that journal, ready to be claimed."""
    key = RunKey("default", run)
    journal = journal_of(steps, run)
    store.create([NewRun(key=key, workflow="sequence", events=journal, applied=len(journal))])
    return key


def seconds_of_recovery(store: Store, worker: str) -> tuple[float, int]:
    """W1 from the store: seconds to claim a run with its journal and drive it to where it stands, and its length."""
    claim = Claim(worker=worker, namespace="default", queues=["default"], workflows=["sequence"], limit=1, ttl=60_000_000)
    began = clock()
    claimed = store.claim(claim).runs[0]
    machine = Interpreter(sequence, claimed.run.key.id)
    machine.feed_all(claimed.journal)
    took = clock() - began
    assert list(machine.pending), "the run waits for its next step"
    store.release([claimed.lease])
    return took, len(claimed.journal)


def seconds_of_sequence(engine: Engine, steps: int) -> float:
    """W2: seconds of one run of steps in sequence."""
    began = clock()
    assert engine.start(sequence(steps)).result(300) == sum(range(steps))
    return clock() - began


def seconds_of_many(engine: Engine, runs: int, steps: int = 5) -> float:
    """W3: seconds until many runs of some steps have ended."""
    began = clock()
    handles = engine.start_many([Start(sequence(steps), "") for _ in range(runs)])
    expected = sum(range(steps))
    assert all(handle.result(300) == expected for handle in handles)
    return clock() - began


def seconds_at_once(engine: Engine, steps: int) -> float:
    """W4: seconds of one run of steps at once."""
    began = clock()
    assert engine.start(at_once(steps)).result(300) == steps
    return clock() - began


def latencies(engine: Engine, runs: int) -> list[float]:
    """W5: seconds from start to result of one-step runs, one after the other."""
    found = []
    for _ in range(runs):
        began = clock()
        engine.start(sequence(1)).result(60)
        found.append(clock() - began)
    return found


def memory_of_process() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def park(engine: Engine, runs: int, label: str = "parked", batch: int = 1_000) -> None:
    """Start runs that wait for a message, and wait until all of them are parked."""
    for first in range(0, runs, batch):
        handles = engine.start_many([Start(parked(), f"{label}-{first + place}") for place in range(batch)])
        del handles
    while engine.worker.live:
        time.sleep(0.01)


def process_ms(arguments: list[str], rounds: int = 5, cwd: Path | None = None) -> float:
    """Milliseconds of a fresh Python process, the median of some."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=cwd, env=process_environment())
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def write_hello(path: Path, store: str | None) -> Path:
    """W7: a one-step run, as a script; None is the embedded default."""
    path.write_text(
        "import replay\n"
        "@replay.step\ndef greet(name: str) -> str: return f'hello {name}'\n"
        "@replay.workflow\ndef hello(name: str): return (yield from greet(name))\n"
        f"print(replay.run(hello('you'), store={store!r}))\n",
        encoding="utf-8",
    )
    return path


def requests_of(engine: Engine, work: Callable[[], object]) -> int:
    """W9: how many requests a store on S3 makes meanwhile."""
    counts = engine.store.bucket.counts  # type: ignore[attr-defined]  # a store on S3 counts them by kind
    before = sum(counts.values())
    work()
    return int(sum(counts.values()) - before)


def fill_with_parked_from(store: Store, first: int, runs: int, batch: int = 5_000) -> None:
    """Runs that are due in a year, numbered from ``first`` to ``runs``."""
    far = store.now() + 365 * 86_400 * 1_000_000
    began = Started(workflow="parked", seed="x", patches=())
    for begin in range(first, runs, batch):
        store.create(
            [
                NewRun(
                    key=RunKey("default", f"far-{begin + place}"),
                    workflow="parked",
                    events=[Event(1, STARTED, "", "parked", 1, began.encode())],
                    ready_at=far,
                )
                for place in range(min(batch, runs - begin))
            ]
        )


def seconds_of_claiming(store: Store, runs: int, label: str) -> float:
    """W8: seconds to claim some ready runs, one claim each, beside whatever else the table holds."""
    began_with = Started(workflow="sequence", input=b"[1]", seed="x", patches=())
    event = Event(1, STARTED, "", "sequence", 1, began_with.encode())
    keys = [RunKey("default", f"{label}-{place}") for place in range(runs)]
    store.create([NewRun(key=key, workflow="sequence", events=[event]) for key in keys])
    claim = Claim(worker="bench", namespace="default", queues=["default"], workflows=["sequence", "parked"], limit=1, ttl=10**9)
    began = clock()
    claimed = [store.claim(claim).runs[0] for _ in keys]
    took = clock() - began
    store.commit([Commit(lease=one.lease, expected=1, status="waiting", release=True) for one in claimed])
    return took


def put_turns(store: Store, number: int, keep: int) -> RunKey:
    """A run of ``turns`` that stands after ``keep`` of its turns, as its own events tell."""
    key = RunKey("default", "turns")
    machine = Interpreter(turns, key.id)
    began = Started(workflow="turns", input=b"[%d]" % number, seed=key.id, patches=())
    events = [Event(1, STARTED, "", "turns", 1, began.encode())]
    machine.feed(events[0])
    base = 0
    for turn in range(keep):
        for command in list(machine.pending.values()):
            event = Event(len(events) + 1, STEP_COMPLETED, command.id, "work", len(events) + 1, b"%d" % turn)
            events.append(event)
            machine.feed(event)
        command = next(iter(machine.pending.values()))
        payload = savepoint_payload(machine, command.fiber, command.effect)  # type: ignore[arg-type]  # it is a savepoint
        event = Event(len(events) + 1, "savepoint", command.id, "turn", len(events) + 1, payload)
        events.append(event)
        base = event.seq
        machine.feed(event)
    store.create([NewRun(key=key, workflow="turns", events=events, base=base, applied=len(events))])
    return key


def seconds_of_savepoint_recovery(store: Store) -> tuple[float, int]:
    """W12: seconds to claim the run of turns and drive it to where it stands, and how many events that took."""
    claim = Claim(worker="bench", namespace="default", queues=["default"], workflows=["turns"], limit=1, ttl=60_000_000)
    began = clock()
    claimed = store.claim(claim).runs[0]
    machine = Interpreter(turns, claimed.run.key.id)
    machine.recover(claimed.journal[0], claimed.journal[1])
    machine.feed_all(claimed.journal[2:])
    took = clock() - began
    assert list(machine.pending), "the run waits for its next step"
    store.release([claimed.lease])
    return took, len(claimed.journal)


@contextmanager
def engine_on(url: str) -> Iterator[Engine]:
    """An engine as a user opens it."""
    with Engine(url, workflows=[sequence, at_once, parked, turns]) as engine:
        yield engine


@contextmanager
def served(path: Path) -> Iterator[str]:
    """W10: `replay serve` on SQLite in a process of its own; the URL of the store that it serves."""
    command = [sys.executable, "-m", "replay.cli", "serve", "--store", f"sqlite:///{path}", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=path.parent, env=process_environment()) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            yield "grpc://" + said.split(" on ")[1].split(" ")[0]
        finally:
            process.terminate()


def process_environment() -> dict[str, str]:
    """This process's, with the library to be found from any folder, and modules compiled once and not in every process."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**known, "PYTHONPATH": str(Path(replay.__file__).parents[1])}


VERSION = replay.__version__
