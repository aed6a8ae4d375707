"""An append-only file of lines that several processes share.

Rule 1: a change is a line. Lines that belong together are a group, closed by a full stop; a group without one never happened.
Rule 2: whoever reads or writes holds the lock of the file; the kernel gives it back when a process dies.
Rule 3: before anything is added, what a dead writer left behind the last full stop is cut off.
Rule 4: a group is on the disk before ``append`` returns.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from replay.hooks import StoreUnavailable

STOP: Final = b"[]\n"
"""The line that closes a group."""
PATIENCE: Final = 30.0
"""Seconds to wait for the lock of another process."""
SMALL, LARGE = 1 << 12, 1 << 22
"""Bytes read in one go: first few, for one line, then more and more."""

Change = list[Any]
"""A kind, then its facts; all of it JSON."""


class Log:
    """The file, and how far it has been read.

    Attributes:
        end: Where the last group that is known here ends, in bytes.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.path = path
        self.end = 0
        with self._trouble("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other handle out, in this process and in others.

        Raises:
            StoreUnavailable: Somebody else has held it for too long.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    advice = "find the process that holds it (lsof shows it) and stop it"
                    raise StoreUnavailable(self.url, f"it has been locked for {PATIENCE:g} s", advice) from None
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def news(self) -> Iterator[tuple[int, Change]]:
        """Changes of whole groups that were written since, each with the offset of its line."""
        group: list[tuple[int, Change]] = []
        for offset, line in self._lines(self.end):
            if line == STOP:
                yield from group
                group, self.end = [], offset + len(line)
            elif not line.isspace():
                group.append((offset, self._parsed(offset, line)))

    def append(self, lines: Sequence[bytes]) -> None:
        """Add one group behind the last; all of it or nothing.

        Raises:
            StoreUnavailable: The disk is full or refuses; the file is as it was.
        """
        group = b"".join([*lines, STOP])
        with self._trouble("write"):
            os.ftruncate(self._file, self.end)  # what a dead writer left
            try:
                self._write(group)
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, self.end)
                raise
            self.end += len(group)

    def change(self, offset: int) -> Change | None:
        """The change whose line begins there, or None when it is not readable any more."""
        line = next(self._lines(offset), (offset, b""))[1]
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, list) and found else None

    def size(self) -> int:
        """The file's length: it grows with every change, whoever makes it."""
        return os.fstat(self._file).st_size

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def _lines(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Whole lines from there on; a last one without a line feed is none."""
        rest, at, size = b"", offset, SMALL
        while chunk := self._read(at, size):
            at, size = at + len(chunk), min(LARGE, size * 2)
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield offset, line + b"\n"
                offset += len(line) + 1

    def _read(self, offset: int, size: int) -> bytes:
        with self._trouble("read"):
            return os.pread(self._file, size, offset)

    def _parsed(self, offset: int, line: bytes) -> Change:
        try:
            found: Change = json.loads(line)
        except ValueError:
            raise StoreUnavailable(self.url, f"the line at byte {offset} is no JSON", "restore the file from a backup") from None
        return found

    @contextmanager
    def _trouble(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(self.url, f"cannot {verb} {self.path}: {error.strerror or error}") from error
