"""Recorded journals: written once, replayed by every later version of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay import InvalidRequest, JournalDamaged, NonDeterminismError, UnknownName, Workflow, workflow
from replay.client.transfer import export_run
from replay.model.events import Event
from replay.testing import World, replay_file, replay_folder
from replay.testing.journals import difference
from tests.testing.shop import counts, note, order


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recorded journals, one of them of an open run."""
    with World() as world:
        world.stub("kit_charge", 5)
        done, waiting = world.start(counts(3), id="done"), world.start(order(5), id="waiting")
        world.run_until_idle()
        for handle in (done, waiting):
            (tmp_path / f"{handle.id}.jsonl").write_text("\n".join(export_run(handle)))
    return tmp_path


def test_a_folder_of_journals_is_replayed(folder: Path) -> None:
    """Each through today's code; nothing is acted on."""
    found = replay_folder(folder)

    assert [("done", True, 8), ("waiting", True, 2)] == [
        (item.run, item.fits, item.report.events if item.report else 0) for item in found
    ]


def test_code_that_does_not_fit_is_told_by_its_first_difference(folder: Path) -> None:
    """The others are replayed all the same."""

    @workflow(name="kit_counts")
    def otherwise(n: int, state: int = 0) -> Workflow[int]:
        yield from note("something else")
        return n + state

    done, waiting = replay_folder(folder, workflows={"kit_counts": otherwise})

    assert isinstance(done.error, NonDeterminismError)
    assert 2 == done.error.seq
    assert waiting.fits


def test_a_workflow_that_is_not_imported_is_an_error_of_its_file(folder: Path) -> None:
    """It cannot be replayed, and says what is known."""
    text = (folder / "done.jsonl").read_text().replace("kit_counts", "kit_amounts")
    (folder / "unsealed.jsonl").write_text(text)

    found = replay_file(folder / "unsealed.jsonl")

    assert isinstance(found.error, JournalDamaged | UnknownName)
    assert not found.fits


def test_a_damaged_file_is_an_error_of_its_own(folder: Path) -> None:
    """Cut short in the middle of a line."""
    path = folder / "done.jsonl"
    path.write_bytes(path.read_bytes()[:-40])

    damaged, other = replay_folder(folder)

    assert isinstance(damaged.error, JournalDamaged)
    assert other.fits


def test_a_folder_without_journals_is_refused(tmp_path: Path) -> None:
    """A check that checked nothing must say so."""
    with pytest.raises(InvalidRequest, match="holds no recorded journal"):
        replay_folder(tmp_path)


def test_journals_are_compared_in_what_replay_reads() -> None:
    """Stacks, attempts, durations, lines, workers and times are not."""
    one = Event(1, "step_failed", "0", "pay", 5, b'{"message":"no","traceback":"here","type":"E"}', 7, 1, 10, "a.py:1", "w1")
    other = one._replace(
        at=9, payload=b'{"message":"no","traceback":"there","type":"E"}', attempt=2, duration=1, line="b.py:2", worker="w2"
    )

    assert "" == difference([one], [other])
    assert "first #1 step_failed 0 pay" in difference([one], [one._replace(check=8)])
    assert difference([one], []).endswith("then nothing")
