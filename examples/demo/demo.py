"""A workflow over real files whose worker is killed twice, and what became of it: `make demo`, or `python examples/demo/demo.py`.

Read it from top to bottom:

1. the workflow: what shall happen, and nothing about what may go wrong;
2. the worker: the process that drives it, five lines;
3. the play: start a worker, kill it with SIGKILL in the middle of its work, start another, kill that one in its sleep, start a third;
4. the books: what the outside world saw, held against what the journal says.

Everything it writes is in `.replay/demo`, which begins empty each time. The exit code is 0 when every check of part 4 holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import linecache
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import replay
from replay import Workflow, gather, set_state, sleep, step, step_info, workflow

ROOT = Path(__file__).resolve().parents[2]
RUN = "survey"
AT_A_TIME = 8

# ---- 1. The workflow ------------------------------------------------------------------------------------------------------
#
# A step is a plain function: it may do anything, and its result is written into the run's journal. A workflow is a generator:
# it decides what happens next, and gets every answer through `yield from`. When its process dies, another process calls the
# generator again, hands it the answers that the journal has, and it is where it was. So nothing here mentions crashes.


@attrs.frozen
class Facts:
    """What there is to know about one file."""

    name: str
    language: str
    lines: int
    words: int
    bytes: int
    markers: int
    sha256: str


@attrs.frozen
class Approval:
    """A person's answer."""

    yes: bool
    by: str


@step
def list_files(root: str) -> list[str]:
    """Every file that git would take, or every file that is not hidden where there is no git."""
    witness()
    return names_in(root)


def names_in(root: str) -> list[str]:
    """What `list_files` answers."""
    ask = ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(ask, capture_output=True, check=True).stdout.decode(errors="replace")
        names = said.rstrip("\0").split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file()]
        names = [name for name in names if not any(part.startswith((".", "__")) for part in Path(name).parts)]
    return sorted(name for name in names if (Path(root) / name).is_file())[:5_000]


@step
def look_at(root: str, name: str, patience: float) -> Facts:
    """Read one file. It also waits a moment, for files are read so fast that nobody could kill anything in time."""
    witness()
    time.sleep(patience)
    data = (Path(root) / name).read_bytes()
    text = data.decode("utf-8", "replace")
    return Facts(
        name=name,
        language=LANGUAGES.get(Path(name).suffix.lower(), "other"),
        lines=text.count("\n"),
        words=len(text.split()),
        bytes=len(data),
        markers=len(re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text)),
        sha256=hashlib.sha256(data).hexdigest(),
    )


@step
def write_report(path: str, text: str) -> int:
    """Write a file, whole or not at all; writing it twice is writing it once. How many bytes."""
    witness()
    new = Path(path).with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
    return len(text.encode())


@workflow(signals={"approved": Approval})
def survey(root: str, report: str, patience: float, pause: float) -> Workflow[str]:
    """Look at every file, eight at a time; sleep; ask a person; write the report."""
    files = yield from list_files(root)
    yield from set_state("files", len(files))
    facts = yield from gather(*(look_at(root, name, patience) for name in files), limit=AT_A_TIME)

    yield from set_state("phase", "sleeping")
    yield from sleep(pause)  # it could as well be a month

    yield from set_state("phase", "waiting for approval")
    answer = yield from replay.signal("approved", Approval, timeout=24 * 3600, default=Approval(yes=False, by="nobody"))
    if not answer.yes:
        return "not approved"
    yield from write_report(report, report_text(facts, answer))
    return f"approved by {answer.by}"


def report_text(facts: Sequence[Facts], answer: Approval) -> str:
    """The report, from what the steps found: plain Python, the same in every replay."""
    by_language: dict[str, list[Facts]] = defaultdict(list)
    for fact in facts:
        by_language[fact.language].append(fact)
    rows = sorted(by_language.items(), key=lambda item: -sum(fact.lines for fact in item[1]))
    copies = [names for names in _same(facts) if len(names) > 1]
    lines = [
        "# What is in this repository",
        "",
        f"{len(facts)} files with {sum(fact.lines for fact in facts):,} lines. Approved by {answer.by}.",
        "",
        "| language | files | lines | words | bytes | markers |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {language} | {len(some)} | {sum(f.lines for f in some):,} | {sum(f.words for f in some):,}"
            f" | {sum(f.bytes for f in some):,} | {sum(f.markers for f in some)} |"
            for language, some in rows
        ),
        "",
        "Longest files: " + ", ".join(f"{f.name} ({f.lines:,})" for f in sorted(facts, key=lambda f: -f.lines)[:5]),
        "",
        f"Files that are copies of another: {len(copies)}" + "".join(f"\n- {', '.join(names)}" for names in copies[:5]),
        "",
    ]
    return "\n".join(lines)


def _same(facts: Sequence[Facts]) -> list[list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.bytes:
            names[fact.sha256].append(fact.name)
    return list(names.values())


LANGUAGES = {
    ".py": "Python",
    ".pyi": "Python",
    ".md": "Markdown",
    ".toml": "TOML",
    ".txt": "text",
    ".json": "JSON",
    ".sh": "shell",
    ".ts": "TypeScript",
    ".js": "JavaScript",
    ".go": "Go",
    ".proto": "protobuf",
    ".yml": "YAML",
    ".yaml": "YAML",
    ".html": "HTML",
}


def witness() -> None:
    """Tell the outside world that a step is being executed: one line in a file that replay knows nothing of."""
    line = json.dumps({"command": step_info().command, "step": step_info().step, "pid": os.getpid()}) + "\n"
    with Path(os.environ["DEMO_WITNESS"]).open("ab", buffering=0) as file:
        file.write(line.encode())


# ---- 2. The worker --------------------------------------------------------------------------------------------------------


def work(store: str) -> None:
    """Drive whatever runs the store has, until someone says stop. Nothing here knows which run, or how far it is."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with replay.Engine(store, workflows=[survey]):
        stop.wait()


# ---- 3. The play ----------------------------------------------------------------------------------------------------------


@attrs.define
class Life:
    """One worker process, as the demo saw it.

    Attributes:
        number: 1, 2, 3.
        process: The process.
        began: When it was started, seconds since 1970.
        known: Commands that had an answer in the journal by then: nothing of them may be executed again.
        ended: When it ended.
        killed: Whether it was killed.
        length: Length of the journal at its end.
        lost: Steps that were in flight at its end.
    """

    number: int
    process: subprocess.Popen[bytes]
    began: float
    known: frozenset[str]
    ended: float = 0.0
    killed: bool = False
    length: int = 0
    lost: frozenset[str] = frozenset()


class Play:
    """The stage: a folder, a store in it, and the workers that lived."""

    def __init__(self, root: Path, folder: Path, stage: Console) -> None:
        self.root, self.folder, self.stage = root, folder, stage
        self.store = f"sqlite:///{folder}/replay.db"
        self.report = folder / "report.md"
        self.witness = folder / "executions.jsonl"
        self.witness.touch()
        self.lives: list[Life] = []
        self.client = replay.Client(self.store)  # a client only asks: nothing is driven in this process
        self.run = self.client.get(RUN)

    def raise_worker(self) -> Life:
        """Start a worker: a process of its own, which knows nothing but the store's address."""
        number = len(self.lives) + 1
        with (self.folder / f"worker-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, "--worker", self.store],
                env={**os.environ, "DEMO_WITNESS": str(self.witness)},
                stdout=log,
                stderr=log,
            )
        self.lives.append(Life(number, process, time.time(), answered(self.journal())))
        return self.lives[-1]

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for something to happen in the store, as long as the worker lives."""
        life = self.lives[-1]
        patience = time.monotonic() + 60
        with self.stage.status(f"waiting for {what}"):
            while not holds():
                if life.process.poll() is not None or time.monotonic() > patience:
                    log = (self.folder / f"worker-{life.number}.log").read_text(encoding="utf-8", errors="replace")
                    raise SystemExit(f"the demo waited in vain for {what}; worker {life.number} said:\n{log[-2_000:]}")
                if self.run.status == "failed":
                    self.run.result()  # which raises, and says why
                time.sleep(0.005)

    def end(self, life: Life, *, kill: bool) -> None:
        """SIGKILL cannot be caught: no `finally`, no goodbye. SIGTERM can: the worker finishes what it does and leaves."""
        if kill:
            life.process.kill()
        else:
            life.process.terminate()
        life.process.wait(30)
        life.ended, life.killed = time.time(), kill
        life.length, life.lost = len(self.journal()), self.in_flight(life)

    def in_flight(self, life: Life) -> frozenset[str]:
        """Steps that a worker has begun and that have no answer in the journal."""
        return frozenset(command for command, pid in self.executions() if pid == life.process.pid) - answered(self.journal())

    def journal(self) -> list[replay.Event]:
        """The run's journal, as it is now; none before the run was started."""
        return self.client.store.journal(self.run.key)

    def phase(self) -> str:
        """What the workflow shows of itself (`set_state`)."""
        return str(self.run.state().get("phase"))

    def executions(self) -> list[tuple[str, int]]:
        """What the outside world saw: the command and the process of every execution of a step."""
        lines = map(json.loads, self.witness.read_text(encoding="utf-8").splitlines())
        return [(line["command"], line["pid"]) for line in lines]


def answered(journal: Sequence[replay.Event]) -> frozenset[str]:
    """Commands of steps that the journal has an answer of."""
    return frozenset(event.command for event in journal if event.kind == "step_completed")


def perform(play: Play, patience: float, pause: float) -> None:
    """Three lives of a worker, one run."""

    def say(text: str) -> None:
        play.stage.print(text, highlight=False)

    say(f"[bold]A workflow over the files of {play.root}[/], its store is {play.folder}/replay.db\n")
    life = play.raise_worker()
    play.run = play.client.start(survey(str(play.root), str(play.report), patience, pause), id=RUN)
    say(f"[green]▶ worker 1[/] (process {life.process.pid}) takes the run and looks at files, {AT_A_TIME} at a time")

    play.until("the list of files", lambda: "files" in play.run.state())
    files = play.run.state()["files"]
    play.until("half of the files", lambda: play.run.about().seq >= files // 2)
    play.until("steps that have begun", lambda: len(play.in_flight(life)) > AT_A_TIME // 2)
    play.end(life, kill=True)
    say("[red]✗ kill -9[/] in the middle of it")
    kept = len(answered(play.journal()))
    say(f"  the journal has the answers of {kept} steps; {len(life.lost)} were in flight, and nobody knows how far they got")
    stood = play.run.at(life.length)
    file, _, line = stood.line.rpartition(":")
    say(f"  the run stands at {Path(file).name}:{line}, with the variables that it had: files = {_short(stood.variables['files'])}")
    say(f"  [dim]{escape(linecache.getline(file, int(line)).strip())}[/]\n")

    life = play.raise_worker()
    say(f"[green]▶ worker 2[/] (process {life.process.pid}) calls the generator again and feeds it the {len(life.known)} answers")
    play.until("the pause", lambda: play.phase() == "sleeping")
    say(f"  every file is read; now the workflow sleeps {pause:g} s. A timer is a row in the store, not a thread, so …")
    play.end(life, kill=True)
    say(f"[red]✗ kill -9[/] in its sleep: {len(life.lost)} steps were in flight\n")

    life = play.raise_worker()
    say(f"[green]▶ worker 3[/] (process {life.process.pid}) is woken by the timer that worker 2 had set")
    play.until("the question", lambda: play.phase() == "waiting for approval")
    say("  the workflow waits for a person. Nobody sits here, so this demo answers, from outside, as a person would:")
    say('  client.get("survey").signal("approved", Approval(yes=True, by="the demo itself"))')
    play.run.signal("approved", Approval(yes=True, by="the demo itself"))
    say(f"[green]✓ {play.run.result(timeout=60)}[/]; worker 3 is sent home with SIGTERM\n")
    play.end(life, kill=False)


def _short(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names[:2]))}, … {len(names)} names]"


# ---- 4. The books ---------------------------------------------------------------------------------------------------------


def timeline(play: Play) -> Table:
    """The journal, folded where one line is like the next, between the lives and deaths of the workers."""
    journal, zero = play.journal(), play.lives[0].began
    times = Counter(command for command, _ in play.executions())
    table = Table(title="What happened", title_justify="left", box=None, pad_edge=False)
    for column, justify in (("second", "right"), ("events", "right"), ("what", "left"), ("run again", "left")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a literal, twice
    before = 0
    for life in play.lives:
        table.add_row(f"{life.began - zero:.2f}", "", f"[green]▶ worker {life.number} starts[/]", "")
        for group in _alike(journal[before : life.length]):
            first, last = group[0], group[-1]
            label = f"{first.kind} {first.name}" + (f", {len(group)} times" if len(group) > 1 else "")
            span = f"#{first.seq}" + (f"-{last.seq}" if len(group) > 1 else "")
            again = sum(times[event.command] - 1 for event in group if event.command in times)
            shown = f"{again} (in flight)" if again else "0"
            table.add_row(f"{last.at / 1e6 - zero:.2f}", span, f"  {label}", shown if first.kind == "step_completed" else "")
        end = f"[red]✗ worker {life.number} is killed[/], {len(life.lost)} steps in flight"
        table.add_row(f"{life.ended - zero:.2f}", "", end if life.killed else f"[green]■ worker {life.number} leaves[/]", "")
        before = life.length
    return table


def _alike(journal: Sequence[replay.Event]) -> list[list[replay.Event]]:
    groups: list[list[replay.Event]] = []
    for event in journal:
        if groups and (groups[-1][-1].kind, groups[-1][-1].name) == (event.kind, event.name):
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def audit(play: Play) -> list[tuple[bool, str]]:
    """What was promised, and whether it was kept."""
    journal, executions = play.journal(), play.executions()
    steps = answered(journal)
    lost = [command for life in play.lives for command in life.lost]
    mine = {life.number: Counter(command for command, pid in executions if pid == life.process.pid) for life in play.lives}
    again = [command for life in play.lives for command in mine[life.number] if command in life.known]
    twice = [command for counts in mine.values() for command, times in counts.items() if times > 1]
    killed = [life for life in play.lives if life.killed]
    report = play.run.replay()
    text = play.report.read_text(encoding="utf-8") if play.report.exists() else ""
    return [
        (len(killed) == 2 and bool(killed[0].lost), "the worker was killed twice, the first time in the middle of its work"),
        (not again and not twice, f"{len(steps)} steps, {len(again) + len(twice)} committed steps executed again"),
        (
            len(executions) == len(steps) + len(lost),
            f"the outside world saw {len(executions)} executions: {len(steps)}, and {len(lost)} that were in flight when killed",
        ),
        ([event.seq for event in journal] == list(range(1, len(journal) + 1)), f"the journal has {len(journal)} events and no gap"),
        (play.run.status == "completed", f"the run is {play.run.status}"),
        (f"{len(steps) - 2} files" in text, f"the report counts {len(steps) - 2} files: {play.report}"),
        (report.fits, f"driving the journal through the code once more takes {report.seconds * 1000:.0f} ms and executes nothing"),
    ]


def shown(url: str) -> str:
    """A store's address as one would type it here."""
    path = Path(url.removeprefix("sqlite:///"))
    return f"sqlite:///{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else url


def main() -> int:
    """Play, show, judge."""
    parser = argparse.ArgumentParser(description="A workflow whose worker is killed twice")
    parser.add_argument("--root", type=Path, default=ROOT, help="whose files are read (default: this repository)")
    parser.add_argument("--folder", type=Path, help="a new folder to write to (default: .replay/demo, emptied)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long reading the files shall take at least")
    parser.add_argument("--pause", type=float, default=3.0, help="how long the workflow sleeps before it asks")
    parser.add_argument("--worker", metavar="STORE", help="be a worker (the demo starts its workers so)")
    given = parser.parse_args()
    if given.worker:
        work(given.worker)
        return 0

    folder = given.folder or ROOT / ".replay" / "demo"
    if given.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage = Console(soft_wrap=True)
    play = Play(given.root.resolve(), folder.resolve(), stage)
    patience = given.seconds * AT_A_TIME / max(1, len(names_in(str(given.root))))
    try:
        perform(play, patience, given.pause)
    finally:
        for life in play.lives:
            life.process.kill()
    stage.print(timeline(play), "")
    checks = audit(play)
    for held, sentence in checks:
        stage.print(f"[green]✓[/] {sentence}" if held else f"[bold red]✗ NOT TRUE:[/] {sentence}", highlight=False)
    stage.print(f"\nLook around: .venv/bin/replay --store {shown(play.store)} inspect {RUN}", highlight=False)
    play.client.close()
    return 0 if all(held for held, _ in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
