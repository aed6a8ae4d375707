"""The determinism check: pure code passes, and clock, luck and the order of sets are found, with both sides."""

from __future__ import annotations

import datetime
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import InvalidRequest, Workflow, workflow
from replay.testing import CheckFailed, check_determinism
from replay.testing.conditions import SHIFT, another_chance, another_hour
from tests.testing import shop
from tests.testing.shop import asks, calendar, counts, dice, note, order, pure, set_order, wall_clock

STUBS = {"kit_charge": 5, "kit_ship": "shipped"}
APPROVED = {"approved": True}


def problems(call: replay.Call[object], hash_seeds: tuple[int, ...] = ()) -> tuple[str, ...]:
    """What the check finds."""
    with pytest.raises(CheckFailed) as caught:
        check_determinism(call, hash_seeds=hash_seeds)
    return caught.value.problems


# ---- pure code ------------------------------------------------------------------------------------------------------------


def test_pure_code_passes_under_all_circumstances() -> None:
    """The workflow's own clock and chance are the same everywhere, and types of time are what they are."""
    report = check_determinism(pure())

    assert (5, (1, 2, 3), 4) == (report.events, report.hash_seeds, len(report.circumstances))


def test_stubs_and_signals_are_given_as_to_a_world() -> None:
    """The journal comes from a real run in virtual time."""
    assert 7 == check_determinism(order(5), stubs=STUBS, signals=APPROVED, hash_seeds=()).events


def test_a_run_that_does_not_end_is_compared_as_far_as_it_came() -> None:
    """An open run has a journal too."""
    assert 1 == check_determinism(asks(), hash_seeds=()).events


def test_a_workflow_inside_of_a_function_is_driven_in_this_process_only() -> None:
    """No other process could import it; the report says so."""

    @workflow
    def local() -> Workflow[str]:
        return (yield from note("fine"))

    assert () == check_determinism(local()).hash_seeds


# ---- code that is not --------------------------------------------------------------------------------------------------------


def test_the_order_of_a_set_is_found_by_other_hash_seeds() -> None:
    """Within one process a set keeps its order; from process to process it does not."""
    assert [] == [text for text in problems(set_order(), (1, 2, 3)) if "under hash seed" not in text]


@pytest.mark.parametrize("call", [wall_clock(), calendar(), dice()], ids=lambda call: str(call.name))
def test_clock_and_luck_are_found_in_this_process(call: replay.Call[object]) -> None:
    """The hour differs by more than a year, the state of chance by its seed."""
    assert any("at another hour, with other luck" in text for text in problems(call))


def test_both_sides_are_shown_with_their_line() -> None:
    """What was asked here, and what there."""
    (text,) = problems(calendar())

    here = datetime.datetime.now(datetime.UTC)
    there = here + datetime.timedelta(seconds=SHIFT)
    assert f'here:  asks command 0: step kit_note ["{here:%Y-%m}"]' in text
    assert f'at another hour, with other luck:  asks command 0: step kit_note ["{there:%Y-%m}"]' in text
    assert f"({shop.__file__}:" in text


def test_code_that_does_not_fit_its_own_journal_is_told_first() -> None:
    """Luck in an argument does not even survive one more drive."""

    @workflow
    def lucky() -> Workflow[str]:
        return (yield from note(f"{random.random()}"))

    assert problems(lucky())[0].startswith("driven once more, it does not fit its own journal")


def test_a_module_that_cannot_be_imported_elsewhere_says_what_to_do(tmp_path: Path) -> None:
    """A script has no module's name; here it is asked for all the same."""
    script = tmp_path / "script.py"
    script.write_text(
        "from replay import workflow, sleep\n"
        "import sys\n"
        "if 'replay.testing.probe' in sys.argv[0] or 'probe' in sys.argv[0]:\n"
        "    raise RuntimeError('not here')\n"
        "@workflow(name='kit_scripted')\n"
        "def scripted():\n"
        "    yield from sleep(1)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import script as module  # type: ignore[import-not-found]

        with pytest.raises(InvalidRequest, match=r"(?s)not here.*pass hash_seeds=\(\)"):
            check_determinism(module.scripted(), hash_seeds=(1,))
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["script"]


def test_what_a_module_prints_does_not_disturb_the_other_process(tmp_path: Path) -> None:
    """The answer goes out where nothing else does."""
    (tmp_path / "kit_chatty.py").write_text(
        "from replay import workflow, sleep\n"
        "print('hello')\n"
        "@workflow(name='kit_chatty')\n"
        "def chatty():\n"
        "    yield from sleep(1)\n"
        "    print('in the workflow')\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from replay.testing import check_determinism\n"
        "import kit_chatty\n"
        "print(check_determinism(kit_chatty.chatty(), hash_seeds=(5,)).hash_seeds)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "(5,)" == told.splitlines()[-1]


# ---- circumstances ----------------------------------------------------------------------------------------------------------


def test_another_hour_is_seen_by_the_given_modules_only() -> None:
    """By all their names for it, and only for a while."""
    utc = datetime.UTC
    names: dict[str, Any] = {
        "time": time, "now": time.time, "datetime": datetime, "moment": datetime.datetime, "day": datetime.date,
    }  # fmt: skip
    before = dict(names)
    with another_hour([names], 10 * 86_400.0):
        ahead = [
            names["now"]() - time.time(),
            names["time"].time() - time.time(),
            (names["moment"].now(utc) - datetime.datetime.now(utc)).total_seconds(),
            (names["datetime"].datetime.now(utc) - datetime.datetime.now(utc)).total_seconds(),
        ]
        days = (names["day"].today() - datetime.datetime.now(utc).date()).days
        assert isinstance(datetime.datetime(2026, 1, 1, tzinfo=utc), names["moment"])
        assert datetime.datetime is type(names["moment"](2026, 1, 1, tzinfo=utc))

    assert [10 * 86_400] * 4 == [round(seconds) for seconds in ahead]
    assert 9 <= days <= 11
    assert before == names


def test_another_chance_leaves_no_trace() -> None:
    """The test's own luck goes on where it was."""
    random.seed(3)
    first = [random.random(), random.random()]
    random.seed(3)
    again = [random.random()]
    with another_chance(7):
        random.random()
    again.append(random.random())

    assert first == again


def test_a_workflow_with_state_is_driven_from_its_beginning() -> None:
    """A journal with savepoints is one journal."""
    assert 8 == check_determinism(counts(3), hash_seeds=()).events
