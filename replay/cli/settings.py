"""Configuration: options, then the environment, then ``[tool.replay]`` of the nearest pyproject.toml, then defaults.

Rule 1: a key that is not known, or a value of another type, is an error that names file or variable; nothing is passed over.
Rule 2: what a pyproject.toml says holds for everything below its folder: modules are found from there, and a relative SQLite path is
relative to there, so that a verb means the same in every folder of a project.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from replay.errors import InvalidRequest

FILE: Final = "pyproject.toml"
TABLE: Final = "[tool.replay]"
DEFAULT_STORE: Final = "sqlite:///.replay/replay.db"
_SQLITE: Final = "sqlite:///"


@attrs.frozen(kw_only=True)
class Settings:
    """What every verb needs to know.

    Attributes:
        store: URL of the store.
        namespace: Whose runs.
        modules: Modules that hold workflows.
        queues: Which queues a worker serves.
        concurrency: How many runs a worker holds at most.
        threads: How many plain steps run at once.
        root: Folder of the pyproject.toml that was read, or the current one.
        file: That file, or None.
        sources: Where each setting came from, by key.
    """

    store: str = DEFAULT_STORE
    namespace: str = "default"
    modules: tuple[str, ...] = ()
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 1_000
    threads: int = 32
    root: Path = attrs.field(factory=Path.cwd)
    file: Path | None = None
    sources: Mapping[str, str] = attrs.field(factory=dict)


def read_settings(given: Mapping[str, Any], environment: Mapping[str, str], folder: Path) -> Settings:
    """Put the settings together.

    Args:
        given: What options said, by key.
        environment: The process's variables.
        folder: Where it was called.

    Raises:
        InvalidRequest: A key that is not known, a value of another type, or a file that cannot be read.
    """
    file, table = find_table(folder)
    fields: dict[str, Any] = {key: _checked(key, value, f"{file} {TABLE}") for key, value in table.items()}
    sources = dict.fromkeys(fields, f"{file} {TABLE}")
    for key in KEYS:
        variable = f"REPLAY_{key.upper()}"
        if text := environment.get(variable, "").strip():
            fields[key], sources[key] = _spelt(key, text, variable), variable
    for key, value in given.items():
        fields[key], sources[key] = value, "option"
    root = file.parent if file is not None else folder
    if sources.get("store", "") not in {"option", "REPLAY_STORE"}:
        fields["store"] = _anchored(fields.get("store", DEFAULT_STORE), root, folder)
    return Settings(**fields, root=root, file=file, sources=sources)


def find_table(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The nearest pyproject.toml with a table ``[tool.replay]``, from a folder upwards, and that table.

    Raises:
        InvalidRequest: A pyproject.toml on the way cannot be read.
    """
    for place in (folder, *folder.parents):
        file = place / FILE
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("replay")
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidRequest(str(file), f"cannot be read: {error}", "make it valid TOML") from error
        if table is None:
            continue
        if not isinstance(table, dict):
            raise InvalidRequest(f"{file} {TABLE}", f"expected a table, got {table!r}")
        return file, table
    return None, {}


def _checked(key: str, value: Any, where: str) -> Any:
    """A value of the file, checked."""
    if key not in KEYS:
        close = difflib.get_close_matches(key, KEYS, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}"
        raise InvalidRequest(f"{where} {key}", "is no setting", advice)
    expected, fits, _ = KEYS[key]
    if not fits(value):
        raise InvalidRequest(f"{where} {key}", f"expected {expected}, got {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _spelt(key: str, text: str, variable: str) -> Any:
    """A value of the environment, read and checked."""
    expected, fits, read = KEYS[key]
    try:
        value = read(text)
    except ValueError:
        value = None
    if not fits(value):
        raise InvalidRequest(variable, f"expected {expected}, got {text!r}")
    return tuple(value) if isinstance(value, list) else value


def _anchored(store: str, root: Path, folder: Path) -> str:
    """A relative SQLite path, made relative to the project instead of the current folder."""
    path, mark, query = store.removeprefix(_SQLITE).partition("?")
    if not store.startswith(_SQLITE) or not path or path.startswith(("/", ":")) or root == folder:
        return store
    return f"{_SQLITE}{root / path}{mark}{query}"


def words(text: str) -> list[str]:
    """Words that are separated by commas or spaces."""
    return text.replace(",", " ").split()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_text(word) for word in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_TEXT: Final = ("a text", _is_text, str)
_WORDS: Final = ("a list of one or more texts", _is_words, words)
_COUNT: Final = ("a number above 0", _is_count, int)
KEYS: Final[Mapping[str, tuple[str, Callable[[object], bool], Callable[[str], Any]]]] = {
    "store": _TEXT,
    "namespace": _TEXT,
    "modules": _WORDS,
    "queues": _WORDS,
    "concurrency": _COUNT,
    "threads": _COUNT,
}
"""Every setting: what is expected, whether a value fits, how the environment spells it."""


def settings_here(given: Mapping[str, Any]) -> Settings:
    """The settings for the current folder and environment."""
    return read_settings(given, os.environ, Path.cwd())
