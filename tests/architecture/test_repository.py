"""What may be in the repository, and what plugins may lean on."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST = 1024 * 1024  # bytes
# In pieces, so that this file is no finding itself. Whoever installs chooses the registry; we pin by hash.
REGISTRIES = [
    b".".join(pieces)
    for pieces in (
        (b"pypi", b"org"),
        (b"pythonhosted", b"org"),
        (b"npmjs", b"org"),
        (b"yarnpkg", b"com"),
        (b"proxy", b"golang", b"org"),
        (b"sum", b"golang", b"org"),
        (b"crates", b"io"),
    )
]
GENERATED_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb.ts", "_pb.js", ".pb.go")
# What a plugin sees: the public names, the hooks to implement, and the test kit.
PLUGIN_FACE = ("replay", "replay.hooks", "replay.llm", "replay.testing")


def repository_files() -> list[Path]:
    """Every file that is tracked, or would be by `git add --all`."""
    listing = subprocess.run(
        # safe.directory: CI may run as another user than the one who cloned
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """The repository's files."""
    return repository_files()


def shown(paths: Iterable[Path]) -> list[str]:
    """Paths as a person writes them."""
    return [str(path.relative_to(ROOT)) for path in paths]


def test_no_file_names_a_package_registry(files: list[Path]) -> None:
    """An installation uses the registry, mirror or folder that its machine is set up for."""
    assert [] == shown(path for path in files if any(host in path.read_bytes() for host in REGISTRIES))


def test_no_lock_file_with_addresses_is_tracked(files: list[Path]) -> None:
    """A uv.lock writes a download address for every package; requirements/ holds the same pins without."""
    assert [] == shown(path for path in files if path.name == "uv.lock")


def test_every_requirement_is_pinned_with_a_hash() -> None:
    """What CI tested is what a user's `make` installs."""
    loose = [
        f"{path.name}: {line}"
        for path in sorted((ROOT / "requirements").glob("*.txt"))
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if line and not line.startswith("#") and not ("==" in line and "--hash=sha256:" in line)
    ]

    assert [] == loose


def test_no_file_is_large(files: list[Path]) -> None:
    """A clone is small for ever; what is large is made by a script or kept elsewhere."""
    assert [] == shown(path for path in files if path.stat().st_size > LARGEST)


def test_generated_code_lies_in_folders_named_generated(files: list[Path]) -> None:
    """Linters, type checkers and readers leave those folders out."""
    assert [] == shown(path for path in files if path.name.endswith(GENERATED_SUFFIXES) and "generated" not in path.parts)


def imported_rooms(source: str) -> set[str]:
    """Modules of replay that a source file imports, where ``from replay import x`` is the module ``replay``."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            rooms.add(node.module)
    return {room for room in rooms if room.split(".")[0] == "replay"}


def test_plugins_lean_on_the_public_face_only(files: list[Path]) -> None:
    """A plugin that reaches into a room below breaks when that room is rearranged."""
    reaches = [
        f"{path.relative_to(ROOT)}: {room}"
        for path in files
        if path.is_relative_to(ROOT / "plugins") and path.suffix == ".py"
        for room in sorted(imported_rooms(path.read_text(encoding="utf-8")))
        if room not in PLUGIN_FACE and not room.startswith("replay.testing.")
    ]

    assert [] == reaches


def test_imports_of_rooms_are_seen_wherever_they_stand() -> None:
    """If the search were blind, the test above would always pass."""
    source = "from replay import step\n\n\ndef late():\n    from replay.store.contract import Store\n"

    assert {"replay", "replay.store.contract"} == imported_rooms(source)
