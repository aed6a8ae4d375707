"""The pytest plugin: fixtures, options and a marker, seen through pytest itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from replay.client.transfer import export_run
from replay.testing import World
from tests.testing.shop import counts

ROOT = Path(__file__).parents[2]
PLAIN = ["-p", "no:xdist", "-p", "no:benchmark", "-p", "no:cacheprovider", "-p", "no:randomly"]


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in this process; the plugin is there, as it is installed."""
    return pytester.runpytest_inprocess(*PLAIN, *arguments)


def test_the_fixtures_build_on_each_other(pytester: pytest.Pytester) -> None:
    """A world goes by the clock and the store that the test is given too."""
    pytester.makepyfile(
        """
        import replay
        from replay import step, workflow

        @step(name="plug_ask")
        def ask(): raise RuntimeError("the real one")

        @workflow(name="plug_month")
        def month():
            yield from replay.sleep(days=30)
            return (yield from ask())

        def test_month(replay_world, replay_store, replay_clock, replay_seed):
            replay_world.stub("plug_ask", 7)
            began = replay_clock.now()
            assert 7 == replay_world.start(month(), id="one").result()
            assert replay_clock.now() - began == 30 * 86400 * 1_000_000
            assert replay_store.find.__self__ is replay_world.medium
            assert (0, 1) == (replay_world.seed, len(replay_world.members))
        """
    )

    run(pytester).assert_outcomes(passed=1)


def test_the_marker_gives_the_worlds_options(pytester: pytest.Pytester) -> None:
    """The marker nearest to the test wins."""
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.replay(workers=2, seed=5)

        def test_module(replay_world, replay_seed):
            assert (2, 5, 5) == (len(replay_world.members), replay_world.seed, replay_seed)

        @pytest.mark.replay(workers=3)
        def test_nearest(replay_world):
            assert (3, 5) == (len(replay_world.members), replay_world.seed)
        """
    )

    run(pytester, "--strict-markers").assert_outcomes(passed=2)


def test_the_seed_can_be_given_on_the_command_line(pytester: pytest.Pytester) -> None:
    """It is stronger than the marker's."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.replay(seed=5)
        def test_seed(replay_world, replay_seed):
            assert (42, 42) == (replay_world.seed, replay_seed)
        """
    )

    run(pytester, "--replay-seed", "42").assert_outcomes(passed=1)


def test_the_store_can_be_overridden(pytester: pytest.Pytester) -> None:
    """Whoever overrides one fixture changes those that build on it."""
    pytester.makeconftest(
        """
        import pytest
        from replay.hooks import open_store

        @pytest.fixture
        def replay_store(replay_clock, tmp_path):
            store = open_store(f"sqlite:///{tmp_path}/runs.db", clock=replay_clock)
            yield store
            store.close()
        """
    )
    pytester.makepyfile("def test_store(replay_world): assert replay_world.medium.url.startswith('sqlite')")

    run(pytester).assert_outcomes(passed=1)


@pytest.fixture
def recorded(pytester: pytest.Pytester) -> Path:
    """A folder with one recorded journal."""
    folder = pytester.mkdir("recorded")
    with World() as world:
        handle = world.start(counts(2), id="counted")
        world.run()
        (folder / "counted.jsonl").write_text("\n".join(export_run(handle)))
    return folder


IMPORTS = "import tests.testing.shop"


def test_recorded_journals_are_tests(pytester: pytest.Pytester, recorded: Path) -> None:
    """Each is driven through today's code, beside the project's own tests."""
    pytester.makeconftest(IMPORTS)
    pytester.makepyfile("def test_own(): pass")

    result = run(pytester, "--replay-journals", "recorded", "-v")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*recorded/counted.jsonl::fits PASSED*"])
    del recorded


def test_a_journal_that_does_not_fit_fails_with_its_first_difference(pytester: pytest.Pytester, recorded: Path) -> None:
    """Not with a stack of the test kit's own."""
    pytester.makeconftest(IMPORTS)
    path = recorded / "counted.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))

    result = run(pytester, "--replay-journals", "recorded")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*JournalDamaged: journal of counted is damaged at event #6*cut short*"])
    assert "plugin.py" not in result.stdout.str()


def test_journals_are_tests_in_parallel_too(pytester: pytest.Pytester, recorded: Path) -> None:
    """Each once, whichever process it is given to."""
    pytester.makeconftest(IMPORTS)
    pytester.makepyfile("def test_own(): pass")
    shutil.copy(recorded / "counted.jsonl", recorded / "again.jsonl")

    result = pytester.runpytest_subprocess(
        "-n2", "-p", "no:cacheprovider", "-p", "no:benchmark", "--replay-journals", "recorded", "-o", f"pythonpath={ROOT}"
    )

    result.assert_outcomes(passed=3)


def test_journals_are_left_alone_without_the_option(pytester: pytest.Pytester, recorded: Path) -> None:
    """A project that does not use it does not notice."""
    pytester.makepyfile("def test_own(): pass")

    run(pytester).assert_outcomes(passed=1)
    del recorded


def test_a_folder_that_is_not_there_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Or a typo would be a green test."""
    result = run(pytester, "--replay-journals", "nowhere")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--replay-journals: nowhere is no folder*"])


def test_the_plugin_loads_nothing_heavy() -> None:
    """Pytest starts as fast as before: beyond ``import replay`` nothing but this module loads."""
    script = (
        "import sys, replay, pytest; before = set(sys.modules)\n"
        "import replay.testing.pytest_plugin\n"
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert ["replay.testing", "replay.testing.pytest_plugin"] == loaded
