"""What the files beside a checked file say: which imported names are steps, workflows or generators.

Rule 1: a file is read, never imported; only files under the checked file's own source root are.
Rule 2: a re-export is followed to where the name is defined, so ``from shop import step`` may be replay's own ``step``.
Rule 3: a file that cannot be read says nothing here; it is reported where it is checked itself.
"""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Final

import attrs

from replay.lint.meaning import Foreign, Module, Role
from replay.lint.scopes import FUNCTIONS, Bound

_DEPTH: Final = 6  # re-exports followed


@attrs.define(eq=False)
class Sources:
    """The files of one check, each read and parsed once, when it is asked for."""

    _modules: dict[Path, Module | None] = attrs.field(factory=dict, init=False)

    def module(self, path: Path) -> Module | None:
        """A file's module, or None where it cannot be read or parsed."""
        if path not in self._modules:
            self._modules[path] = None  # while it is read: files may import each other in a circle
            self._modules[path] = self._read(path)
        return self._modules[path]

    def _read(self, path: Path) -> Module | None:
        if not path.is_file():
            return None
        try:
            return Module.of(read_source(path), str(path), Neighbours.of(path, self))
        except (OSError, SyntaxError, ValueError, RecursionError):
            return None


@attrs.frozen(eq=False)
class Neighbours(Foreign):
    """The files around one file.

    Attributes:
        root: The folder from which its package is imported.
        package: The package it stands in, as names.
        sources: Files read so far.
    """

    root: Path
    package: tuple[str, ...]
    sources: Sources

    @classmethod
    def of(cls, path: Path, sources: Sources) -> Neighbours:
        """The surroundings of a file: the package is made of the folders above that have an ``__init__.py``."""
        folder = path.absolute().parent
        package: list[str] = []
        while (folder / "__init__.py").is_file() and folder.name:
            package.insert(0, folder.name)
            folder = folder.parent
        return cls(folder, tuple(package), sources)

    def origin(self, dotted: str) -> str:
        """Follow an imported name through the re-exports of neighbouring files."""
        dotted = self._absolute(dotted)
        for _ in range(_DEPTH):
            found = self._find(dotted)
            bindings = found[0].names.root.names.get(found[1], []) if found is not None else []
            if found is None or not bindings or bindings[-1].how is not Bound.IMPORT:
                break
            foreign = found[0].foreign
            step = bindings[-1].dotted
            dotted = foreign._absolute(step) if isinstance(foreign, Neighbours) else step  # noqa: SLF001 - same class
        return dotted

    def role(self, dotted: str) -> Role | None:
        """The role of a function of a neighbouring file."""
        found = self._find(dotted)
        if found is None:
            return None
        module, name = found
        bindings = module.names.root.names.get(name, [])
        if bindings and isinstance(bindings[-1].node, FUNCTIONS):
            role = module.role(bindings[-1].node)
            helper = role is Role.GENERATOR and module.returns_workflow(bindings[-1].node)
            return role if helper or role in {Role.STEP, Role.WORKFLOW} else None
        return None

    def _absolute(self, dotted: str) -> str:
        level = len(dotted) - len(dotted.lstrip("."))
        if not level:
            return dotted
        base = self.package[: len(self.package) - level + 1]
        return ".".join([*base, *dotted[level:].split(".")])

    def _find(self, dotted: str) -> tuple[Module, str] | None:
        """The neighbouring file that defines a name, with the name in it."""
        *parts, name = dotted.split(".")
        if not parts or parts[0] == "replay" or not all(part.isidentifier() for part in parts):
            return None
        folder = self.root.joinpath(*parts)
        for path in (folder.with_name(f"{folder.name}.py"), folder / "__init__.py"):
            if (module := self.sources.module(path)) is not None:
                return module, name
        return None


def read_source(path: Path) -> str:
    """A file's text, decoded as Python would; OSError, SyntaxError or UnicodeDecodeError."""
    with tokenize.open(path) as file:
        return file.read()
