"""The command line: what a client can ask, as verbs; one file a family of verbs.

Rule 1: a family loads when one of its verbs is used, rich when a table or a chart is drawn. ``replay --help`` needs click and a table.
Rule 2: what was asked for goes to standard output, all talk about it to standard error; with ``--json`` the output is for programs.
Rule 3: the exit code says what became of it (``exits``). An error of replay is one sentence, its traceback comes with ``--debug``.
Rule 4: what comes from a journal is data: it is never read as markup, and control characters are shown, not sent to the terminal.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """The program ``replay``."""
    from replay.cli.root import root

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot spell is no reason to fail
    root(prog_name="replay")


__all__ = ["main"]
