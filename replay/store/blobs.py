"""Where large payloads and archives lie: things under names, beside a store or without one.

Rule 1: a thing is written whole or not at all, and never changed; writing it again writes the same bytes.
Rule 2: names are words of small letters, digits and a few signs, separated by slashes, so that every medium can hold them as they are.
Rule 3: opening proves that things can be written, read and removed there; what cannot is an error at the start.

``file:///folder`` comes with replay; plugins bring other schemes (``replay_blobs``).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, unquote

from replay.errors import InvalidRequest, StoreUnavailable

NAME: Final = re.compile(r"[A-Za-z0-9%._~-]+(/[A-Za-z0-9%._~-]+)*")
"""What a name looks like."""
PART: Final = ".part"
"""What names of files end with that are being written."""


class Thing(NamedTuple):
    """An entry of a listing: its name, and how many seconds ago it was written."""

    name: str
    age: float


class Blobs(Protocol):
    """Things under names.

    Every verb may raise ``StoreUnavailable``, and may be asked again.
    """

    url: str

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name."""

    def get(self, name: str) -> bytes | None:
        """Bytes by name, or None."""

    def things(self, below: str) -> Iterator[Thing]:
        """What there is below a prefix, in the order of names."""

    def delete(self, names: Sequence[str]) -> None:
        """Remove things; those that are gone are passed over."""

    def close(self) -> None:
        """Let go of connections."""


BlobsFactory = Callable[[str], Blobs]
"""Opens them: ``factory(url)``; options come in the URL's query."""


def word_of(text: str, longest: int = 80) -> str:
    """Any text as one word of a name: as people read it, cut where it is long."""
    return quote(text, safe="").replace(".", "%2E")[:longest].rstrip("%") or "-"


def digest_of(*texts: str) -> str:
    """What tells apart what ``word_of`` may cut to the same."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def require_usable(blobs: Blobs) -> None:
    """Write, read and remove something.

    Raises:
        StoreUnavailable: It cannot be done.
    """
    name, data = f"probe/{uuid.uuid4().hex}", os.urandom(16)
    blobs.put(name, data)
    found = blobs.get(name)
    blobs.delete([name])
    if found != data:
        raise StoreUnavailable(blobs.url, "what was written there is not what was read", "use another place for blobs")


def open_files(url: str) -> FileBlobs:
    """Open a folder: ``file:///absolute/folder``.

    Raises:
        InvalidRequest: It names no folder.
        StoreUnavailable: It cannot be written.
    """
    path = url.removeprefix("file://")
    if not path.startswith("/") or "?" in path:
        raise InvalidRequest(f"blobs URL {url!r}", "it names no folder", "write file:///absolute/folder")
    blobs = FileBlobs(Path(unquote(path)))
    require_usable(blobs)
    return blobs


class FileBlobs:
    """Files below a folder.

    Attributes:
        url: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.url = folder.as_uri()
        self._folder = folder

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            raise InvalidRequest("name of a blob", f"{name!r} is none")
        return self._folder / name

    def put(self, name: str, data: bytes) -> None:
        """See ``Blobs.put``; it is on disk when this returns."""
        path = self._path(name)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._refusal(error) from error

    def get(self, name: str) -> bytes | None:
        """See ``Blobs.get``."""
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refusal(error) from error

    def things(self, below: str) -> Iterator[Thing]:
        """See ``Blobs.things``."""
        now = time.time()
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if name.startswith(below) and not name.endswith(PART) and path.is_file():
                yield Thing(name, now - path.stat().st_mtime)

    def delete(self, names: Sequence[str]) -> None:
        """See ``Blobs.delete``."""
        try:
            for name in names:
                self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(self.url, str(error), "name a folder that this process may write, with room on its disk")

    def close(self) -> None:
        """See ``Blobs.close``; a folder needs none."""


def sync_folder(folder: Path) -> None:
    """A new name lasts when its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
