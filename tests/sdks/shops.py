"""A server and workers of three languages as processes of their own, the shop that they keep, and the audit of what they did.

Every step of the shop notes that it was begun: a line with its key, the moment and the worker, appended to one file. So the audit sees
what was done twice, by two rules that need no trust in any worker:

- no execution of a step begins later than `SLACK` after the event that answers it;
- steps of a run follow each other, and the next begins when the last is committed: once it has begun, the last begins no more.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import attrs

from replay import Client, Handle
from replay.hooks import open_store
from replay.model.events import Event
from replay.store.contract import RunKey, Store
from tests.helpers import toolchains
from tests.sdks.faults.shop import order

HERE: Final = Path(__file__).resolve().parent / "faults"
ROOT: Final = HERE.parents[2]
SDK: Final = ROOT / "sdks" / "typescript"
PATIENCE: Final = 30.0
"""Seconds after which something that should happen has not."""
SLACK: Final = 0.5
"""Seconds by which clocks may differ; less than a lease, after which a step that was not committed may be done again."""


def build(folder: Path) -> dict[str, list[str]]:
    """Compile the shop; the command of each language."""
    script, program = folder / "ts", folder / "shop-go"
    environment = toolchains.environment()
    for command, where in (
        (["go", "build", "-o", str(program), "."], HERE / "go"),
        (["node", str(SDK / "node_modules" / "typescript" / "bin" / "tsc"), "-p", str(HERE), "--outDir", str(script)], HERE),
    ):
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, f"{done.stdout}\n{done.stderr}"
    (script / "node_modules").symlink_to(SDK / "node_modules")
    (script / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    node = toolchains.node()
    assert node is not None
    return {
        "python": [sys.executable, str(HERE / "shop.py")],
        "typescript": [str(node / "node"), str(script / "tests" / "sdks" / "faults" / "shop.mjs")],
        "go": [str(program)],
    }


class Server:
    """`replay serve` over a file, as a process that can be killed and started again on its port.

    Args:
        folder: Where the file is.
        options: Of `replay serve`.

    Attributes:
        store: The same file, opened here.
        port: Where it listens.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.file = f"sqlite:///{folder}/shop.db"
        self.store: Store = open_store(self.file)
        self.client = Client(self.store)
        self.port = 0
        self.start(*options)

    @property
    def url(self) -> str:
        """Where workers find it."""
        return f"grpc://127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        """Serve, and wait until it is told where."""
        command = [sys.executable, "-m", "replay.cli", "serve", "--store", self.file, "--listen", f"127.0.0.1:{self.port}", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "127.0.0.1:" in line:
                self.port = int(line.partition("127.0.0.1:")[2].split()[0].rstrip(",."))
                return
        raise AssertionError("the server ended before it said where it listens")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Kill it, and let the file go."""
        self.kill()
        self.client.close()
        self.store.close()

    def length(self) -> int:
        """Events in all journals together."""
        return sum(run.seq for run in self.client.find(limit=500).runs)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; whenever the store changes is looked again."""
        seen, late = 0, time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < late, f"not within {PATIENCE:.0f} s: {true}"
            seen = self.store.wait(seen, 0.05)

    def orders(self, name: str, runs: int, steps: int) -> dict[str, int]:
        """Start so many orders; their steps by id."""
        started = {f"{name}-{number}": steps for number in range(runs)}
        for identity in started:
            _ = self.client.start(order(steps), id=identity)
        return started


@attrs.define
class Crew:
    """Workers and clients as processes; all are killed in the end.

    Attributes:
        commands: Command of each language.
        folder: Where they leave what they say.
        living: Those that were started and not yet reaped.
    """

    commands: Mapping[str, list[str]]
    folder: Path
    living: list[subprocess.Popen[str]] = attrs.field(factory=list)

    @property
    def log(self) -> Path:
        """Where steps note that they were begun."""
        return self.folder / "executions.log"

    def run(self, language: str, *arguments: str) -> subprocess.Popen[str]:
        """A process of one language."""
        with (self.folder / f"{language}.err").open("a") as said:
            process = subprocess.Popen(
                [*self.commands[language], *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        self.living.append(process)
        return process

    def worker(self, language: str, url: str, *options: str) -> subprocess.Popen[str]:
        """A worker."""
        return self.run(language, "worker", url, str(self.log), *options)

    def ask(self, language: str, *arguments: str) -> dict[str, Any]:
        """What a program says before it ends: `answer`, or `type` and `message` of its error."""
        return self.told(self.run(language, *arguments))

    def told(self, process: subprocess.Popen[str], said: str | None = None) -> dict[str, Any]:
        """The last word of a program that comes to its end, once it is told something."""
        output, _ = process.communicate(said, timeout=PATIENCE)
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL: nothing can be tidied up."""
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.living.remove(process)

    def has_begun(self, process: subprocess.Popen[str]) -> bool:
        """Whether a step has begun in that process, which lives."""
        assert process.poll() is None, self.said()
        return self.log.exists() and f"/{process.pid}\n" in self.log.read_text(encoding="utf-8")

    def said(self) -> str:
        """What all of them logged."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.err")))


@contextmanager
def crew(commands: Mapping[str, list[str]], folder: Path) -> Iterator[Crew]:
    """Nobody, at first."""
    made = Crew(commands, folder)
    try:
        yield made
    finally:
        for process in [*made.living]:
            made.kill(process)


def language(event: Event) -> str:
    """Which language wrote an event down; the Python worker's name is host and process."""
    first = event.worker.partition("/")[0]
    return first if first in {"go", "typescript"} else "python"


def audited(server: Server, made: Crew, orders: Mapping[str, int]) -> tuple[set[str], list[str]]:
    """Wait for all orders; the languages that did their steps, and all that must not be."""
    languages: set[str] = set()
    wrong: list[str] = []
    answered: dict[str, int] = {}
    for identity, steps in orders.items():
        handle: Handle[int] = server.client.get(identity, order)
        result = handle.result(PATIENCE)
        if result != steps * (steps - 1):
            wrong.append(f"{identity} came to {result}")
        journal = server.store.journal(RunKey("default", identity))
        if [*range(1, steps + 3)] != [event.seq for event in journal]:
            wrong.append(f"{identity} has a gap: {[event.seq for event in journal]}")
        report = handle.replay()
        if not report.fits:
            wrong.append(f"{identity}: {report.difference}")
        answers = [event for event in journal if event.kind == "step_completed"]
        answered |= {f"{identity}#{event.command}": event.at for event in answers}
        languages |= {language(event) for event in answers}
    return languages, wrong + list(done_again(made.log.read_text(encoding="utf-8"), answered))


def done_again(log: str, answered: Mapping[str, int]) -> Iterator[str]:
    """Executions that began after their step was committed."""
    places: dict[str, list[int]] = {}
    for line in log.splitlines():
        key, moment, worker = line.split()
        if (late := int(moment) - answered.get(key, sys.maxsize)) > SLACK * 1e6:
            yield f"{key} was begun again by {worker}, {late} µs after its answer"
        run, _, command = key.partition("#")
        places.setdefault(run, []).append(int(command))
    for run, commands in places.items():
        if any(one > other for one, other in pairwise(commands)):
            yield f"{run} went back: {commands}"
