"""The TypeScript SDK: it builds, its own tests pass, and its generated code is what the protos say.

Its tests play the conformance cases and drive a real ``replay serve`` of this checkout.
"""

from __future__ import annotations

import fcntl
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import toolchains

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdks" / "typescript"
LOCK = SDK / "package-lock.json"
STAMP = SDK / "node_modules" / ".package-lock.json"
MISSING = toolchains.missing("node")

pytestmark = [
    pytest.mark.node,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


def said_by(*command: str) -> str:
    """What a command says; a failed one fails the test with it."""
    done = subprocess.run(
        command, cwd=SDK, capture_output=True, text=True, check=False, env={**toolchains.environment(), "NO_COLOR": "1"}
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the lock file pins, installed once, also when several processes of pytest want it."""
    with (tmp_path_factory.getbasetemp().parent / "replay-sdk-typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not STAMP.exists() or STAMP.stat().st_mtime < LOCK.stat().st_mtime:
            said_by("npm", "ci", "--silent")
            STAMP.touch()


@pytest.mark.usefixtures("_installed")
def test_the_sdk_builds_and_its_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler is strict, types are proven, every case is played, and nothing is skipped."""
    monkeypatch.setenv("REPLAY_COMMAND", str(Path(sys.executable).parent / "replay"))
    told = said_by("npm", "run", "--silent", "test:tap")

    assert "# fail 0" in told
    assert "# skipped 0" in told
    assert "# cancelled 0" in told


@pytest.mark.usefixtures("_installed")
def test_generating_again_leaves_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make protos` changes nothing on the TypeScript side either."""
    monkeypatch.setenv("PATH", toolchains.environment()["PATH"])
    generate = runpy.run_path(str(ROOT / "protos" / "generate.py"))["typescript"]
    assert 0 == generate(tmp_path)

    def texts(folder: Path) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ts")}

    assert texts(SDK / "src" / "generated") == texts(tmp_path)


def test_the_lock_file_names_no_registry() -> None:
    """Whoever installs takes packages from where their npm is told to."""
    assert "://" not in "".join(line for line in LOCK.read_text(encoding="utf-8").splitlines() if '"url"' not in line)
