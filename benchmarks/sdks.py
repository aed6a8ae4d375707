"""The other languages' rows: each SDK brings a program that does W1, W2, W3 and W5 and prints what it measured.

What they print is for people, so each has patterns here by which its figures are found; the best of several rounds counts. An SDK
that is not built, or whose language is not installed, has no row.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parents[1] / "sdks"
PATH: Final = f"{os.environ.get('PATH', '')}:/usr/local/go/bin"


class Program(NamedTuple):
    """How an SDK's bench is begun, and how its figures are found.

    Attributes:
        needs: What is there when it can be begun, in its folder.
        command: Its words; ``URL`` stands for that of a served store, where it does not serve one itself.
        sequence: W2 over the wire, in steps a second.
        many: W3 over the wire, in runs a second.
        latency: W5 over the wire, the median in milliseconds.
        replay: W1, the interpreter alone, in steps a second.
    """

    needs: str
    command: tuple[str, ...]
    sequence: str
    many: str
    latency: str
    replay: str


PROGRAMS: Final = {
    "typescript": Program(
        "node_modules",
        ("npm", "run", "--silent", "bench", "--", "URL"),
        sequence=r"W2 steps/s: ([\d,.]+)",
        many=r"W3 runs/s: ([\d,.]+)",
        latency=r"W5 p50 ms: ([\d,.]+)",
        replay=r"W1 steps/s: ([\d,.]+)",
    ),
    "go": Program(
        "worker/bench_test.go",
        ("go", "test", "-run", "^$", "-bench", "Sequence|Many|Latency|Replay", "-count", "3", "./worker"),
        sequence=r"([\d,.]+) steps/s",
        many=r"([\d,.]+) runs/s",
        latency=r"([\d,.]+) p50-ms",
        replay=r"([\d,.]+) replayed/s",
    ),
}


class Measured(NamedTuple):
    """W2 in steps a second, W3 in runs a second, W5 in milliseconds and W1 in steps a second."""

    sequence: float
    many: float
    latency: float
    replay: float


def present() -> list[str]:
    """The SDKs whose bench can be begun here."""
    return [
        name
        for name, program in PROGRAMS.items()
        if (FOLDER / name / program.needs).exists() and shutil.which(program.command[0], path=PATH)
    ]


def measure(sdk: str, url: str) -> Measured:
    """What an SDK measures on that store, or on its own.

    Raises:
        ValueError: It said something else.
    """
    program = PROGRAMS[sdk]
    command = [url if word == "URL" else word for word in program.command]
    known = {**os.environ, "PATH": PATH}
    done = subprocess.run(command, cwd=FOLDER / sdk, capture_output=True, text=True, check=False, timeout=600, env=known)
    found = [[float(text.replace(",", "")) for text in re.findall(pattern, done.stdout)] for pattern in program[2:]]
    if not all(found):
        said = (done.stderr or done.stdout).strip()[-300:]
        raise ValueError(f"{sdk}: expected lines that match {program[2:]}, got {said!r}")
    sequence, many, latency, replay = found
    return Measured(max(sequence), max(many), min(latency), max(replay))
