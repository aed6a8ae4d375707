"""What holds for every test, here and in plugins/: no test is skipped in CI, and Hypothesis sets no deadline.

With ``REPLAY_NO_SKIPS=1`` a test that is skipped, or is expected to fail and does, fails: in CI nothing may be missing,
so a skip there is a test that quietly stopped being run. Elsewhere a skip only says what the machine lacks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = ["pytester"]

NO_SKIPS = os.environ.get("REPLAY_NO_SKIPS") == "1"

# Cores are shared and tests run in parallel: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("replay", deadline=None)
hypothesis.settings.load_profile("replay")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge each test's report."""
    return forbid_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge each file's report: a file may skip as a whole."""
    return forbid_skip((yield))


def forbid_skip(report: Report) -> Report:
    """Turn a skip into a failure, where skips are forbidden."""
    if NO_SKIPS and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, and REPLAY_NO_SKIPS forbids it: {reason_of(report)}"
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why the test was skipped, or was expected to fail."""
    expected_to_fail: str | None = getattr(report, "wasxfail", None)
    if expected_to_fail is not None:
        del report.wasxfail  # or pytest would still report it as expected
        return expected_to_fail or "xfail without a reason"
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
