"""The rule of conftest.py, tried on small suites of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

RULE = Path(__file__).parents[2] / "conftest.py"

SKIPPED = """
    import pytest

    def test_one():
        pytest.skip("no database here")
"""
EXPECTED_TO_FAIL = """
    import pytest

    @pytest.mark.xfail(reason="not yet")
    def test_one():
        assert False
"""
SKIPPED_AS_A_FILE = """
    import pytest

    pytest.importorskip("no_such_module")
"""
LACKING = pytest.mark.parametrize(
    "suite",
    [
        pytest.param(SKIPPED, id="skip"),
        pytest.param(EXPECTED_TO_FAIL, id="xfail"),
        pytest.param(SKIPPED_AS_A_FILE, id="file"),
    ],
)


def run(pytester: pytest.Pytester, suite: str) -> tuple[pytest.ExitCode | int, str]:
    """Run a suite under the rule; answer its exit code and what it printed."""
    pytester.makeconftest(RULE.read_text(encoding="utf-8"))
    pytester.makepyfile(suite)
    result = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:benchmark")
    return result.ret, result.stdout.str()


@LACKING
def test_a_test_that_does_not_run_fails_where_skips_are_forbidden(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    """CI has everything that tests need, so a skip there is a mistake."""
    monkeypatch.setenv("REPLAY_NO_SKIPS", "1")

    code, output = run(pytester, suite)

    assert code in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    assert "REPLAY_NO_SKIPS forbids it" in output


@LACKING
def test_a_test_that_does_not_run_is_no_failure_elsewhere(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    """A developer's machine may lack a database."""
    monkeypatch.delenv("REPLAY_NO_SKIPS", raising=False)

    code, output = run(pytester, suite)

    assert code in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert "REPLAY_NO_SKIPS" not in output
