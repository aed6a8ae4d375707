"""The other languages' rows of W10: each SDK brings a program that does W2 and W3 over the wire and prints what it measured.

What they print is for people, so each has patterns here by which its two figures are found; the best of several rounds counts. An SDK
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
        sequence: W2, in steps a second.
        many: W3, in runs a second.
    """

    needs: str
    command: tuple[str, ...]
    sequence: str
    many: str


PROGRAMS: Final = {
    "typescript": Program(
        "node_modules", ("npm", "run", "--silent", "bench", "--", "URL"), r"W2 steps/s: ([\d,.]+)", r"W3 runs/s: ([\d,.]+)"
    ),
    "go": Program(
        "worker/bench_test.go",
        ("go", "test", "-run", "^$", "-bench", "Sequence|Many", "./worker"),
        r"([\d,.]+) steps/s",
        r"([\d,.]+) runs/s",
    ),
}


class Measured(NamedTuple):
    """W2 in steps a second and W3 in runs a second."""

    sequence: float
    many: float


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
    return Measured(*map(max, found))
