"""Every example runs, ends well, and says what it promises to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

TELLING: dict[str, list[str]] = {
    "hello": [r"\(greeting Ada, for real\)", r"^Hello, Ada! Hello, Grace!$"],
    "order_saga": [
        r"^life 1:\n  reserve book\n  book a courier.*\n  charge 1200 cents\n  cancel the courier.*\n  … and here the power fails$",
        r"^  exit code -9\n\nlife 2:\n  release the reservation.*\nnothing was sold: card 4711 is empty\n  exit code 0$",
        r"^every thing was done once$",
    ],
    "approval": [
        r"forgotten: refused: nobody answered in time\nunwanted asks 1: May Alan have 600\.00\?",
        r"AnswerRefused: .* answer\.verdict must be one of 'yes', 'no', got str 'perhaps'",
        r"AnswerRefused: .* ValueError: a no needs a reason",
        r"AskClosed: question '1' of run large is closed",
        r"large:     500\.00 paid to Grace\nunwanted:  refused: too dear$",
    ],
    "batch": [r"'failed': 2, 'pages': 20", r"20 runs of their own", r"#3 step_failed 1 check", r"by tag:   \['book-1'\]"],
    "etl": [r"going on after page 19, with 1000 rows", r"page=60, rows=3000", r"^60 pages read, 2 of them twice"],
    "research_agent": [
        r"life 1:\n  … killed in the middle of a thought\nlife 2:\n  … killed while a tool was reading\nlife 3:",
        r"^  … killed before the last word\nlife 4:$",
        r"^  Durable execution: 3 findings\n  3 replies are in the journal, \d+ tokens, 0\.\d+ USD$",
        r"asked 5 times for 3 replies",
    ],
    "code_review": [
        r'^asked:  May agent reviewer call post_comment with \{"file": "cart\.py", "line": 2',
        r"grace:  no, keep it short\nposted: \['cart\.py:2 1\.19 wants a name\.'\]$",
        r"^review: The tax rate wants a name: request changes \(5 turns",
    ],
    "rag": [
        r"^What grows with each lease\?\n  A fencing token grows with each lease\. \(leases\.md\)\n  12 steps and replies",
        r"A signal that comes early is kept\. \(signals\.md\)",
    ],
    "cart": [
        r"reply:    4 things",
        r"ten things fit into a cart",
        r"trace:    0 events more",
        r"\['1 x book', '1 x lamp', '2 x pen'\] although the run is completed",
    ],
    "webhook": [r"small: paid 1200 cents, reference R-1200", r"large: not paid: no such account"],
    "whatif": [
        r"^in production:\n  \(forwarding .*\n  \(forwarding .*\n\nthe same again, nothing asked:\nall end as they ended$",
        r"^3 runs +0 changed +\$0\.000022, 110 tokens +\$0\.000020, 98 tokens$",
        r"^pills +completed forwarded +completed binned .* llm_call {\"label\":\"ham\"} → {\"label\":\"spam\"}$",
        r"^3 runs +0 changed .*\$0\.000365, 110 tokens$",
        r"^1 of 3 runs end otherwise$",
    ],
    "versions": [
        r"recorded:  step_completed charge as command 0 .*versions\.py:\d+\)\n  now asks:  step check_fraud\(1200\)",
        r"^old is stuck$",
        r"^old: charged 1200, shipped by train$",
        r"^new: refused$",
    ],
}
"""What an example's output must hold, as patterns; one that is not named here is missing a test."""


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run an example as a person does, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, once it has ended well."""
    assert 0 == done.returncode, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_example_has_a_test() -> None:
    """One that nobody runs decays."""
    assert sorted(TELLING) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(TELLING))
def test_an_example_shows_what_it_promises(name: str, tmp_path: Path) -> None:
    """It ends with 0 and its output holds the telling lines."""
    output = said(run(EXAMPLES / f"{name}.py", cwd=tmp_path))

    assert [] == [pattern for pattern in TELLING[name] if not re.search(pattern, output, re.MULTILINE)], output


def test_a_run_that_has_ended_is_not_executed_again(tmp_path: Path) -> None:
    """The second `python hello.py` reads the result from the journal."""
    said(run(EXAMPLES / "hello.py", cwd=tmp_path))

    assert "Hello, Ada! Hello, Grace!\n" == said(run(EXAMPLES / "hello.py", cwd=tmp_path))


@pytest.mark.faults
def test_the_demo_survives_two_kills(tmp_path: Path) -> None:
    """Over the library's own files and with short pauses, but with all that `make demo` shows."""
    arguments = ["--root", str(ROOT / "replay"), "--folder", str(tmp_path / "demo"), "--seconds", "1", "--pause", "0.5"]

    output = said(run(EXAMPLES / "demo" / "demo.py", *arguments, cwd=tmp_path))

    assert 2 == len(re.findall(r"✗ worker \d is killed", output))
    assert re.search(r"✓ \d+ steps, 0 committed steps executed again", output)
    assert "NOT TRUE" not in output
    report = (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"^\d+ files with [\d,]+ lines\. Approved by the demo itself\.$", report, re.MULTILINE)
    assert "| Python |" in report


@pytest.mark.faults
def test_the_demo_reads_a_folder_without_git(tmp_path: Path) -> None:
    """Hidden files and caches are left out."""
    stuff = tmp_path / "stuff"
    (stuff / ".hidden").mkdir(parents=True)
    (stuff / ".hidden" / "secret.py").write_text("x = 1\n", encoding="utf-8")
    for number in range(40):
        (stuff / f"note-{number}.md").write_text("a word, a line\n" * number, encoding="utf-8")
    arguments = ["--root", str(stuff), "--folder", str(tmp_path / "demo"), "--seconds", "1", "--pause", "0.2"]

    output = said(run(EXAMPLES / "demo" / "demo.py", *arguments, cwd=tmp_path))

    assert "✓ 42 steps, 0 committed steps executed again" in output
    assert "40 files with 780 lines" in (tmp_path / "demo" / "report.md").read_text(encoding="utf-8")
