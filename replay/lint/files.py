"""Which files a check reads: those named, those below a folder, those of a module; nothing is imported to find them.

Rule 1: folders that hold other people's code or a tool's leavings are not entered; a file that is named is always read.
Rule 2: links to folders are not followed, so a walk ends.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

from replay.errors import InvalidRequest

IGNORED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "__pypackages__", "venv", "build", "dist"})
"""Folders that are not entered, beside environments and those whose name begins with a dot or ends with ``.egg-info``."""


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The ``.py`` files that are named or lie below the folders named: each once, in order of their names."""
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            if (place := file.resolve()) not in seen:
                seen.add(place)
                yield file


def module_paths(name: str) -> list[Path]:
    """The file of a module, or the folders of a package; neither it nor its parents are imported.

    Raises:
        InvalidRequest: No such module can be found, or it has no Python source.
    """
    spec: ModuleSpec | None = None
    where: list[str] | None = None
    parts = name.split(".")
    for end, part in enumerate(parts, start=1):
        full = ".".join(parts[:end])
        try:
            spec = _find(full, where) if part.isidentifier() else None
        except (ImportError, ValueError) as error:
            raise _not_found(name, f"cannot be looked up: {error}") from error
        if spec is None:
            raise _not_found(name, f"is not found: there is no {full!r} in {_places(where)}")
        where = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        if where is None and end < len(parts):
            raise _not_found(name, f"is not found: {full!r} is no package")
    if where:
        return [Path(place) for place in where]
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise _not_found(name, "has no Python source to read: it is built in or compiled")
    return [Path(spec.origin)]


def _find(full: str, where: list[str] | None) -> ModuleSpec | None:
    if where is not None:
        return PathFinder.find_spec(full, where)
    loaded = sys.modules.get(full)
    # find_spec raises for a module that was put together by hand
    return importlib.util.find_spec(full) if loaded is None or loaded.__spec__ else PathFinder.find_spec(full)


def _places(where: list[str] | None) -> str:
    return "sys.path" if where is None else ", ".join(where)


def _not_found(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"module {name!r}", problem, "run from the project's root, set PYTHONPATH, or name the file instead")


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _is_ignored(here / name))
        yield from (here / name for name in sorted(files) if name.endswith(".py"))


def _is_ignored(folder: Path) -> bool:
    is_foreign = folder.name in IGNORED or folder.name.startswith(".") or folder.name.endswith(".egg-info")
    return is_foreign or (folder / "pyvenv.cfg").is_file()
