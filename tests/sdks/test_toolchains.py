"""Tools of other languages are found where they are, and those that are too old are passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import toolchains


def old(folder: Path, tools: dict[str, str]) -> str:
    """A PATH with nothing but programs that say an old version."""
    for tool, said in tools.items():
        program = folder / tool
        program.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
        program.chmod(0o755)
    return str(folder)


def test_a_node_that_is_too_old_gives_way_to_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Debian's is; the one of the development environment brings npm along."""
    monkeypatch.setenv("PATH", old(tmp_path, {"node": "v18.19.0", "npm": "9.2.0"}))
    found = toolchains.node.__wrapped__()

    assert found is not None
    assert tmp_path != found
    assert toolchains.version("node", "--version", path=str(found)) >= toolchains.NODE
    monkeypatch.setenv("PATH", f"{found}:/usr/bin:/bin")
    assert toolchains.version("npm", "--version", path=str(found)) >= (10, 0)


def test_a_go_that_is_too_old_gives_way_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To one that is installed by hand, or to the wheel; both have gofmt beside them."""
    monkeypatch.setenv("PATH", old(tmp_path, {"go": "go version go1.19.8 linux/amd64"}))
    found = toolchains.go.__wrapped__()

    assert found is not None
    assert tmp_path != found
    assert (found / "gofmt").exists()
