"""What README.md and docs/ say is executed: code, its output, commands, links.

How a page is read:

- a ``python`` block whose first line is a comment with a file's name, such as ``# orders.py``, is written to that file;
- all other ``python`` blocks of a page run one after the other, as one program, in an empty folder that holds those files;
- a ``text`` block right behind such a block is what it prints: every line must come, in that order; ``…`` stands for anything, a
  line of ``…`` alone for any lines; blanks in a row count as one, empty lines as none;
- then the ``console`` blocks run: lines that begin with ``$ `` are commands, what follows is compared in the same way; a command
  that ends with ``# exit N`` must end with N;
- a ``python fragment`` is shown, not run: it must be a body that a workflow could have.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "examples" / "README.md"]
PAGES += sorted((ROOT / "plugins").glob("*/README.md"))
FENCES = {"python", "python fragment", "text", "console", "toml", "sh", "json"}
ELSEWHERE = {"make demo", "make test"}
"""Commands that have tests of their own."""
MARK = "\x1e"


@attrs.frozen
class Block:
    """One fenced block: what is written behind its fence, its first line's number, its lines, and whether text stands before it."""

    fence: str
    line: int
    lines: tuple[str, ...]
    follows: bool

    @property
    def file(self) -> str:
        """The file that it is written to, or empty."""
        named = re.fullmatch(r"# ([\w./-]+\.\w+)", self.lines[0]) if self.lines else None
        return named[1] if named else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    fence: str | None = None
    begun, inside, since = 0, list[str](), list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and line.startswith("```"):
            fence, begun, inside = line[3:].strip(), number + 1, []
        elif fence is not None and line == "```":
            found.append(Block(fence, begun, tuple(inside), follows=bool(found) and not any(map(str.strip, since))))
            fence, since = None, []
        elif fence is None:
            since.append(line)
        else:
            inside.append(line)
    assert fence is None, f"{page}: the block at line {begun} is not closed"
    return found


def program(page: list[Block]) -> tuple[str, list[Block]]:
    """The page's blocks as one program, each line where it stands on the page, and the blocks that it is made of."""
    running = [block for block in page if block.fence == "python" and not block.file]
    lines: list[str] = []
    for block in running:
        lines += [""] * (block.line - 1 - len(lines))
        lines += [*block.lines, f"print({MARK!r}, flush=True)"]  # where the fence is closed
    return "\n".join(lines) + "\n", running


def missing(expected: Sequence[str], said: str) -> str:
    """The first expected line that did not come, or empty; blanks in a row count as one, empty lines as none."""
    heard = _plain(said)
    pattern = ""
    for line in filter(None, map(_plain, expected)):
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("…"))) + r"\n"
        if not re.match(pattern, heard + "\n"):
            return line
    return ""


def _plain(text: str) -> str:
    """Text without what the eye passes over: blanks in a row, and at the end of a line, and empty lines."""
    lines = (re.sub(r" +", " ", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What commands run with: the library as it stands here, and a `replay` and a `python` that belong to it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, command in {"python": "", "replay": "-m replay.cli"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPLAY_", "PYTEST_"))}
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a page's code runs."""
    made = tmp_path / "here"
    made.mkdir()
    return made


@pytest.mark.timeout(300)  # one page runs a whole conformance suite
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Its files are written, its code and its commands run, and they print what stands there."""
    parts = blocks(page)
    for block in parts:
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text("\n".join(block.lines) + "\n", encoding="utf-8")
    run_python(page, parts, folder, environment)
    run_commands(page, parts, folder, environment)


def run_python(page: Path, parts: list[Block], folder: Path, environment: dict[str, str]) -> None:
    """Run a page's python blocks, and compare what each prints with the text behind it."""
    source, running = program(parts)
    if not running:
        return
    script = folder / (page.stem + "_page.py")
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert 0 == done.returncode, f"{page.name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    for block, printed in zip(running, done.stdout.split(MARK + "\n"), strict=False):
        after = parts[parts.index(block) + 1 :]
        if after and after[0].fence == "text" and after[0].follows:
            lost = missing(after[0].lines, printed)
            assert not lost, f"{page.name}, line {after[0].line}: did not print {lost!r}, but:\n{printed}"


def run_commands(page: Path, parts: list[Block], folder: Path, environment: dict[str, str]) -> None:
    """Run a page's commands, and compare what each prints with what stands below it."""
    for block in parts:
        if block.fence != "console":
            continue
        for command, expected in commands(block):
            bare, _, code = command.partition("  # exit ")
            if bare.partition("#")[0].strip() in ELSEWHERE:
                continue
            done = subprocess.run(
                ["bash", "-c", bare], cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
            )
            said = done.stdout + done.stderr
            ended = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell shows a signal
            assert int(code or 0) == ended, f"{page.name}, line {block.line}: {command}\n{said}"
            lost = missing(expected, said)
            assert not lost, f"{page.name}, line {block.line}: {command} did not print {lost!r}, but:\n{said}"


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Commands of a console block, each with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and line.strip():
            found[-1][1].append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_blocks_of_known_kinds_only(page: Path) -> None:
    """Code that is not run has no place here, but for fragments, which must at least be code."""
    assert set() == {block.fence for block in blocks(page)} - FENCES
    for block in blocks(page):
        if block.fence == "python fragment":
            ast.parse("def body():\n" + "\n".join(f"    {line}" for line in block.lines))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and where a heading is named, to that heading."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if "://" in target or not there.exists() or (heading and heading not in headings(there)):
            broken.append(target)
    assert [] == broken


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    lines = [line.lstrip("#").strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_output_that_differs_is_seen() -> None:
    """If the comparison were blind, the tests above would always pass."""
    said = "one\ntwo 17 ms\nthree\nfour\n"

    assert ["", "", "", "2", "five", "three"] == [
        missing(expected, said)
        for expected in (["one"], ["one", "two … ms", "three"], ["…", "four"], ["2"], ["…", "five"], ["one", "three"])
    ]
