"""The Go SDK: its own tests, vetted and under the race detector, and generated code that fits the protos."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdks" / "go"
GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")

pytestmark = [
    pytest.mark.go,
    pytest.mark.slow,
    pytest.mark.skipif(GO is None, reason="no go command: install Go 1.26 or newer"),
    pytest.mark.timeout(1_800),  # the race detector compiles everything once more
]


def run_go(*arguments: str) -> str:
    """What a go command printed; its output is the failure when it fails."""
    assert GO is not None
    command = Path(sys.executable).with_name("replay")
    path = f"{Path(GO).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GOFLAGS": "-mod=readonly", "REPLAY_COMMAND": str(command)}
    done = subprocess.run([GO, *arguments], cwd=SDK, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"go {' '.join(arguments)}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def test_the_code_is_vetted_and_formatted() -> None:
    """`go vet` has nothing to say, and `gofmt` nothing to change."""
    run_go("vet", "./...")
    gofmt = Path(GO or "go").with_name("gofmt")
    listed = subprocess.run([str(gofmt), "-l", "."], cwd=SDK, capture_output=True, text=True, check=True).stdout.split()

    assert [] == [path for path in listed if "generated" not in path]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc: the race detector needs a C compiler")
def test_the_sdks_own_tests_pass_under_the_race_detector() -> None:
    """The shared cases, the interpreter's limits, and workers against a real server."""
    assert "FAIL" not in run_go("test", "-race", "-timeout=25m", "./...")


def test_generating_again_leaves_no_diff(tmp_path: Path) -> None:
    """`make protos` changes nothing: what is committed fits the protos."""
    assert 0 == runpy.run_path(str(ROOT / "protos" / "generate_go.py"))["main"](tmp_path)

    def texts(folder: Path) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.go")}

    assert texts(SDK / "internal" / "generated") == texts(tmp_path / "internal" / "generated")


def test_the_module_is_tidy() -> None:
    """Its requirements are those that its code has, and their checksums are committed."""
    run_go("mod", "tidy", "-diff")
    run_go("mod", "verify")
