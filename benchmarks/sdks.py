"""The other languages' rows of W10: each SDK brings a program that does W2 and W3 on a store URL and prints what it measured.

The program is called with a URL, a number of steps and a number of runs, and says on its last line
``{"sequence": steps a second, "many": runs a second}``. An SDK that is not there, or has no such program, has no row.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parents[1] / "sdks"


class Program(NamedTuple):
    """How an SDK's bench is begun, and the file by which it is known."""

    source: str
    command: tuple[str, ...]


PROGRAMS: Final = {
    "typescript": Program("bench/bench.ts", ("npm", "run", "--silent", "bench", "--")),
    "go": Program("bench/main.go", ("go", "run", "./bench")),
}


class Measured(NamedTuple):
    """W2 in steps a second and W3 in runs a second."""

    sequence: float
    many: float


def present() -> list[str]:
    """The SDKs that have a bench."""
    return [name for name, program in PROGRAMS.items() if (FOLDER / name / program.source).is_file()]


def measure(sdk: str, url: str, steps: int, runs: int) -> Measured:
    """What an SDK measures on that store.

    Raises:
        ValueError: It said something else.
    """
    command = [*PROGRAMS[sdk].command, url, str(steps), str(runs)]
    done = subprocess.run(command, cwd=FOLDER / sdk, capture_output=True, text=True, check=False, timeout=600)
    try:
        return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, TypeError, json.JSONDecodeError):
        said = (done.stderr or done.stdout).strip()[-300:]
        raise ValueError(f'{sdk}: expected {{"sequence": …, "many": …}} on the last line, got {said!r}') from None
