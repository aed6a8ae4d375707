"""One run through three languages: examples/polyglot is run as a person does."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import toolchains

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "polyglot" / "polyglot.py"
MISSING = toolchains.missing("go", "node")

pytestmark = [
    pytest.mark.node,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the example says; builds of the SDK are not made by two processes of pytest at once."""
    with (tmp_path_factory.getbasetemp().parent / "replay-sdk-typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**toolchains.environment(), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, EXAMPLE], env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert 0 == done.returncode, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_run_begun_in_python_is_finished_in_go_and_typescript(story: str) -> None:
    """Each worker is killed with SIGKILL once its step is in the journal; the next language goes on where it stood."""
    events = re.findall(r"^  #(\d+) (\w+) +(\S+) *(\w*)$", story, re.MULTILINE)

    assert [
        ("1", "started", "polyglot.order", ""),
        ("2", "step_completed", "reserve", "python"),
        ("3", "step_completed", "charge", "go"),
        ("4", "timer_fired", "sleep", "typescript"),
        ("5", "step_completed", "ship", "typescript"),
        ("6", "completed", "polyglot.order", "typescript"),
    ] == events


def test_steps_are_done_in_the_language_of_their_queue(story: str) -> None:
    """Whichever language drives the workflow."""
    assert "  lamp reserved in Python\n  1200 cents charged in Go\n  lamp shipped in TypeScript\n" in story


def test_a_journal_of_three_languages_fits_the_code_of_one(story: str) -> None:
    """The same workflow leaves the same journal, wherever it is driven."""
    assert "driven through the Python workflow: 6 events, it fits" in story
    assert "the server is killed" in story
