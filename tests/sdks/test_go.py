"""The Go SDK: its own tests, vetted and under the race detector, and generated code that fits the protos."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import toolchains

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdks" / "go"
MISSING = toolchains.missing("go")

pytestmark = [
    pytest.mark.go,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.timeout(1_800),  # the race detector compiles everything once more
]


def run_go(*arguments: str) -> str:
    """What a go command printed; its output is the failure when it fails."""
    command = Path(sys.executable).with_name("replay")
    environment = {**toolchains.environment(), "GOFLAGS": "-mod=readonly", "REPLAY_COMMAND": str(command)}
    done = subprocess.run(["go", *arguments], cwd=SDK, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"go {' '.join(arguments)}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def test_the_code_is_vetted_and_formatted() -> None:
    """`go vet` has nothing to say, and `gofmt` nothing to change."""
    run_go("vet", "./...")
    listed = subprocess.run(
        ["gofmt", "-l", "."], cwd=SDK, env=toolchains.environment(), capture_output=True, text=True, check=True
    ).stdout.split()

    assert [] == [path for path in listed if "generated" not in path]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc: the race detector needs a C compiler")
def test_the_sdks_own_tests_pass_under_the_race_detector() -> None:
    """The shared cases, the interpreter's limits, and workers against a real server."""
    assert "FAIL" not in run_go("test", "-race", "-timeout=25m", "./...")


def test_generating_again_leaves_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make protos` changes nothing: what is committed fits the protos."""
    monkeypatch.setenv("PATH", toolchains.environment()["PATH"])
    assert 0 == runpy.run_path(str(ROOT / "protos" / "generate_go.py"))["main"](tmp_path)

    def texts(folder: Path) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.go")}

    assert texts(SDK / "internal" / "generated") == texts(tmp_path / "internal" / "generated")


def test_the_module_is_tidy() -> None:
    """Its requirements are those that its code has, and their checksums are committed."""
    run_go("mod", "tidy", "-diff")
    run_go("mod", "verify")
