"""Workers that may die: real processes over one store, whose steps write down what they do, and some of which kill.

``python -m replay.testing.mortals URL FOLDER [key=value …]`` is a worker; keys are those of ``Engine``, values are JSON. What a step
does is a line in ``FOLDER/deeds``; ``FOLDER/mended`` tells deadly steps that they need not kill any more, ``FOLDER/open`` lets waiting
ones go. With ``version=`` it offers that version of ``mortals.versioned`` only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal as signals
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from replay import Engine, Workflow, signal, sleep, step, step_info, workflow

LOOK: Final = 0.01
"""Seconds between two looks of a step at its folder."""
FOLDER: Final = "REPLAY_MORTALS"
"""The variable that names a worker's folder."""


def place() -> Path:
    """The folder that this worker was given."""
    return Path(os.environ[FOLDER])


def note(deed: str) -> None:
    """Write down what was done, in one write: processes share the file."""
    line = json.dumps({"deed": deed, "pid": os.getpid(), "key": step_info().idempotency_key}) + "\n"
    with (place() / "deeds").open("ab", buffering=0) as file:
        file.write(line.encode())


@step
def quick(number: int) -> int:
    """Done at once."""
    note(f"quick {number}")
    return number


def kill() -> str:
    """Kill this worker, unless that was mended."""
    note("deadly")
    if not (place() / "mended").exists():
        os.kill(os.getpid(), signals.SIGKILL)
    return "alive"


@step
def deadly() -> str:
    """Kills its worker."""
    return kill()


@step(queue="elsewhere")
def deadly_elsewhere() -> str:
    """Kills the worker of another queue."""
    return kill()


@step
def waiting(word: str) -> str:
    """Waits until the folder is opened, telling how often it looked; notes where it began and that it ended."""
    info = step_info()
    looked = info.progress or 0
    note(f"begins {word} at {'the beginning' if not looked else 'a later look'}")
    while not (place() / "open").exists():
        looked += 1
        info.heartbeat(looked)
        time.sleep(LOOK)
    note(f"ends {word}")
    return word


@workflow(name="mortals.killing")
def killing() -> Workflow[str]:
    """Does something useful, and then kills."""
    yield from quick(1)
    return (yield from deadly())


@workflow(name="mortals.killing_elsewhere")
def killing_elsewhere() -> Workflow[str]:
    """Kills whoever does its step for it."""
    return (yield from deadly_elsewhere())


@workflow(name="mortals.harmless")
def harmless() -> Workflow[int]:
    """Lives beside those that kill."""
    total = 0
    for number in range(3):
        total += yield from quick(number)
    return total


@workflow(name="mortals.patient")
def patient(word: str) -> Workflow[list[str]]:
    """A quick step, one that waits, and a quick step."""
    first = yield from quick(1)
    answer = yield from waiting(word)
    last = yield from quick(2)
    return [str(first), answer, str(last)]


@workflow(name="mortals.napping")
def napping(seconds: float) -> Workflow[str]:
    """Sleeps."""
    yield from sleep(seconds)
    return "rested"


@workflow(name="mortals.hearing")
def hearing(count: int) -> Workflow[list[int]]:
    """Hears so many words, in the order in which they come."""
    heard: list[int] = []
    while len(heard) < count:
        heard.append((yield from signal("word", int)))
    return heard


@workflow(name="mortals.versioned", version="1")
def first_version() -> Workflow[str]:
    """The code that runs begin with."""
    yield from quick(1)
    word = yield from signal("word", str)
    yield from quick(2)
    return f"version 1 heard {word}"


@workflow(name="mortals.versioned", version="2")
def second_version() -> Workflow[str]:
    """The code of the next release, which does not fit their journals."""
    word = yield from signal("word", str)
    yield from quick(3)
    return f"version 2 heard {word}"


EVERYONE: Final = (killing, killing_elsewhere, harmless, patient, napping, hearing)
VERSIONS: Final = {"1": first_version, "2": second_version}


def deeds(folder: Path) -> list[str]:
    """What steps wrote down, oldest first."""
    file = folder / "deeds"
    return [json.loads(line)["deed"] for line in file.read_text().splitlines()] if file.exists() else []


@contextlib.contextmanager
def worker(url: str, folder: Path, before: Sequence[str] = (), **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A worker process that has begun to work, and may be dead already; killed in the end, if it still lives.

    Args:
        url: Its store.
        folder: Where its steps write down what they do.
        before: What its command line begins with, such as a program that changes its clock.
        **settings: Those of its ``Engine``, and ``version``.
    """
    given = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    command = [*before, sys.executable, "-m", "replay.testing.mortals", url, *given]
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, FOLDER: str(folder)}, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said == "ready\n" or process.wait() == -signals.SIGKILL, f"the worker said {said!r}"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of its session: ``faketime`` is a parent of its own
                os.killpg(process.pid, signals.SIGCONT)
                os.killpg(process.pid, signals.SIGKILL)


def serve(url: str, *settings: str) -> None:
    """Be a worker, until SIGTERM or worse."""
    given = {key: json.loads(value) for key, _, value in (setting.partition("=") for setting in settings)}
    version = given.pop("version", None)
    workflows = EVERYONE if version is None else [VERSIONS[version]]
    with Engine(url, workflows=workflows, **given):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    serve(*sys.argv[1:])
