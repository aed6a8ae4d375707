"""The real program: processes, signals, pipes, terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from replay import Client
from replay.hooks import Run

ROOT = Path(__file__).parents[2]
PATIENCE = 60
"""Seconds after which a test has failed; nothing takes that long when all is well."""
GATED = """
import os
from replay import Workflow, signal, step, workflow

@step
def gated(number: int) -> int:
    print(f"entered {number}", flush=True)
    with open("gate") as gate:  # a named pipe: this waits until somebody writes
        gate.read()
    return number

@workflow
def gates(many: int) -> Workflow[int]:
    total = 0
    for number in range(many):
        total += yield from gated(number)
    return total

@workflow
def patient() -> Workflow[str]:
    return (yield from signal("go", str))
"""


@attrs.define
class Shell:
    """Calls the program as a shell does.

    Attributes:
        folder: Where.
        environment: With what.
        running: What was started and not waited for.
    """

    folder: Path
    environment: dict[str, str]
    running: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start it; its two outputs come through one pipe."""
        process = subprocess.Popen(
            [sys.executable, "-m", "replay.cli", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "replay.cli", *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def about(self, identity: str) -> Run | None:
        """A run's index entry, or None while there is none."""
        with Client(f"sqlite:///{self.folder}/.replay/replay.db") as client:
            return client.store.get([client.get(identity).key])[0]

    def await_status(self, identity: str, status: str) -> None:
        """Wait until a run has that status."""
        with Client(f"sqlite:///{self.folder}/.replay/replay.db") as client:
            key, seen = client.get(identity).key, 0
            while True:
                (run,) = client.store.get([key])
                if run is not None and run.status == status:
                    return
                seen = client.store.wait(seen, 0.1)

    def open_gate(self) -> None:
        """Let the step that waits there go on."""
        (self.folder / "gate").write_text("go", encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A project whose workflow's steps wait at a gate."""
    (tmp_path / "gates_of_test.py").write_text(GATED, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.replay]\nmodules = ["gates_of_test"]\n', encoding="utf-8")
    os.mkfifo(tmp_path / "gate")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPLAY_", "COLUMNS", "NO_COLOR"))}
    made = Shell(tmp_path, {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    yield made
    for process in made.running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process says, up to a line that holds these words."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without saying {words!r}:\n{said}")


def given_back(run: Run | None, *, events: int) -> bool:
    """Whether nobody holds a run, and its journal is that long."""
    return run is not None and (run.worker, run.seq) == ("", events)


def test_sigterm_lets_a_worker_finish_its_steps(shell: Shell) -> None:
    """Graceful drain: the step's answer is kept, the run is given back, the exit code is 0."""
    shell.call("start", "gates", "2", "--id", "g")
    worker = shell.begin("worker")
    read_until(worker, "entered 0")

    worker.send_signal(signal.SIGTERM)
    read_until(worker, "draining")
    shell.open_gate()

    assert 0 == worker.wait(PATIENCE)
    assert given_back(shell.about("g"), events=2)


def test_a_second_signal_does_not_wait_for_steps(shell: Shell) -> None:
    """The run is given back at once; its step is done again by the next worker."""
    shell.call("start", "gates", "1", "--id", "g")
    worker = shell.begin("worker", "--grace", "1h")
    read_until(worker, "entered 0")

    worker.send_signal(signal.SIGINT)
    read_until(worker, "draining")
    worker.send_signal(signal.SIGINT)

    assert 0 == worker.wait(PATIENCE)
    assert given_back(shell.about("g"), events=1)


def test_sigterm_stops_a_worker_that_drives_once_too(shell: Shell) -> None:
    """`worker --once` has no thread to wait in; it still drains."""
    shell.call("start", "gates", "2", "--id", "g")
    worker = shell.begin("worker", "--once")
    read_until(worker, "entered 0")

    worker.send_signal(signal.SIGTERM)
    read_until(worker, "draining")
    shell.open_gate()

    assert 0 == worker.wait(PATIENCE)
    assert given_back(shell.about("g"), events=2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_is_parked(shell: Shell, number: signal.Signals, code: int) -> None:
    """Ctrl-C loses nothing, and says how to go on."""
    run = shell.begin("run", "patient", "--id", "p")
    assert run.stdout is not None
    shell.await_status("p", "waiting")

    run.send_signal(number)

    assert code == run.wait(PATIENCE)
    assert "parked p; nothing is lost. Go on with: replay worker" in run.stdout.read()
    assert given_back(shell.about("p"), events=1)
    shell.call("signal", "p", "go", "on")
    assert "on\n" == shell.call("run", "patient", "--id", "p").stdout


def test_a_run_that_is_killed_goes_on_with_the_same_call(shell: Shell) -> None:
    """SIGKILL in the second step: the first one is not done again."""
    run = shell.begin("run", "gates", "2", "--id", "g")
    read_until(run, "entered 0")
    shell.open_gate()
    read_until(run, "entered 1")
    run.kill()
    run.wait()

    again = shell.begin("run", "gates", "2", "--id", "g")
    assert "entered 0" not in read_until(again, "entered 1")
    shell.open_gate()

    assert 0 == again.wait(PATIENCE)
    assert again.stdout is not None
    assert "1" == again.stdout.read().strip()


def test_exit_codes_reach_the_shell(shell: Shell) -> None:
    """What scripts test."""
    shell.call("start", "patient", "--id", "p")

    assert [0, 2, 2, 3, 4, 5] == [
        shell.call("list").returncode,
        shell.call("no-such-verb").returncode,
        shell.call("start", "gates", "x").returncode,
        shell.call("status", "nowhere").returncode,
        shell.call("list", "--store", "nosuch://x").returncode,
        shell.call("status", "p", "--wait", "--timeout", "10ms").returncode,
    ]


def test_a_pipe_that_is_closed_early_is_no_error(shell: Shell) -> None:
    """`replay export g | head -1` says nothing about it."""
    shell.call("start", "patient", "--id", "p")
    command = f"{sys.executable} -m replay.cli list --json --all | true"

    said = subprocess.run(["bash", "-c", command], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=False)

    assert "" == said.stderr


def test_an_output_that_cannot_spell_everything_still_works(shell: Shell) -> None:
    """An old terminal shows escapes; JSON stays JSON."""
    old = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    shell.call("start", "patient", "--id", "größe 🎈")

    table, lines = shell.call("list", **old), shell.call("list", "--json", **old)

    assert (0, 0) == (table.returncode, lines.returncode)
    assert "gr\\xf6\\xdfe" in table.stdout
    assert "größe 🎈" == json.loads(lines.stdout)["id"]


def test_a_pipe_is_as_wide_as_its_lines_and_has_no_colour(shell: Shell) -> None:
    """`replay list | grep` finds whole ids."""
    shell.call("start", "patient", "--id", "x" * 70)

    said = shell.call("list").stdout

    assert "x" * 70 in said
    assert "\x1b" not in said


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colour_unless_it_is_not_wanted(shell: Shell, variables: dict[str, str], *, coloured: bool) -> None:
    """On a real pseudo-terminal."""
    shell.call("start", "patient", "--id", "p")
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm-256color", **variables}

    subprocess.run([sys.executable, "-m", "replay.cli", "list"], cwd=shell.folder, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 100_000).decode()
    os.close(ours)

    assert "pending" in said
    assert coloured == ("\x1b[36m" in said)


def seen_on(terminal: int, words: str) -> str:
    """What a terminal shows, once it shows these words, or when its program has ended."""
    seen = b""
    with contextlib.suppress(OSError):  # the program ended, and nobody holds the other side
        while words.encode() not in seen and (more := os.read(terminal, 100_000)):
            seen += more
    return seen.decode()


def watched(shell: Shell, *words: str) -> tuple[str, str]:
    """Standard output of a call, and what a terminal on standard error saw."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "replay.cli", *words],
        cwd=shell.folder,
        env={**shell.environment, "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=False,
    )
    os.write(theirs, b"\n")  # so that there is something to read
    os.close(theirs)
    seen = os.read(ours, 1_000_000).decode()
    os.close(ours)
    return done.stdout, seen


def test_who_waits_at_a_terminal_sees_what_for(shell: Shell) -> None:
    """A line that turns; nothing of it is in the output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "replay.cli", "run", "patient", "--id", "p", "--timeout", f"{PATIENCE}s"],
        cwd=shell.folder,
        env={**shell.environment, "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    shell.running.append(process)
    os.close(theirs)

    assert "p  1 event  signal go" in seen_on(ours, "signal go")
    process.send_signal(signal.SIGINT)
    assert "" == process.communicate(timeout=PATIENCE)[0]
    os.close(ours)


def test_long_work_shows_its_progress_at_a_terminal(shell: Shell) -> None:
    """A bar on standard error, gone when the work is done; none with --json."""
    shell.call("start", "patient", "--id", "p")

    assert "replaying" in watched(shell, "replay", "p")[1]
    assert "replaying" not in watched(shell, "replay", "p", "--json")[1]
    assert "replaying" not in shell.call("replay", "p").stderr


def test_bash_takes_the_completion_script(shell: Shell) -> None:
    """And completes verbs with it."""
    (shell.folder / "replay").write_text(f'#!/bin/sh\nexec {sys.executable} -m replay.cli "$@"\n', encoding="utf-8")
    (shell.folder / "replay").chmod(0o755)
    script = """
        PATH="$PWD:$PATH"
        eval "$(replay completion bash)"
        COMP_WORDS=(replay time); COMP_CWORD=1
        _replay_completion replay
        echo "${COMPREPLY[@]}"
    """

    said = subprocess.run(
        ["bash", "-c", script], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True
    ).stdout

    assert "time-travel" == said.strip()


def test_modules_are_found_from_every_folder_of_a_project(shell: Shell) -> None:
    """A verb means the same in a subfolder."""
    below = shell.folder / "deep" / "down"
    below.mkdir(parents=True)
    shell.call("start", "patient", "--id", "p")

    found = Shell(below, shell.environment).call("status", "p")

    assert (0, "") == (found.returncode, found.stderr)
    assert "signal go" in found.stdout
