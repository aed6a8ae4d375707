"""The suite that every store runs which several processes may open at once: real workers, really stopped and killed.

A plugin author subclasses it with the fixture ``url``, beside ``StoreContract``::

    class TestWorkers(WorkerContract):
        @pytest.fixture
        def url(self, tmp_path: Path) -> str:
            return f"shelves://{tmp_path}"

For a store whose clock is a server's there is ``SkewContract`` too; it needs the program ``faketime``.
"""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from replay.client import Client, Handle
from replay.engine.attempts import PROGRESS
from replay.model.events import STEP_COMPLETED
from replay.store.contract import Message
from replay.testing import mortals

QUICK: Final[Mapping[str, Any]] = {"ttl": 2.0, "poll": 0.1, "announce": 0.4}
"""How workers here work: others wait two seconds for the runs of one that is silent, and after one second it is late."""
CALM: Final[Mapping[str, Any]] = {"ttl": 15.0, "poll": 0.1, "announce": 10.0}
"""How they work where none is silent for long."""
PATIENCE: Final = 60.0
"""Seconds after which what is waited for will not come."""
MESSAGES: Final = 1_000
VERSIONS: Final = {"mortals.versioned@1", "mortals.versioned@2"}


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Look again and again, until there is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return found


def reaches(handle: Handle[Any], *statuses: str) -> None:
    """Wait until a run has one of these statuses."""
    until(lambda: handle.status in statuses)


def stands_still(process: int) -> bool:
    """Whether all of its threads have stopped; one that waits for the disk does so a little later."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{process}/task").glob("*/stat")]
    return {"T"} == set(states)


class WorkerCase:
    """Fixtures that both contracts use."""

    @pytest.fixture
    def url(self) -> str:
        """The URL of an empty store that other processes can open."""
        raise NotImplementedError("give the suite a store: override the fixture `url`")

    @pytest.fixture
    def client(self, url: str) -> Iterator[Client]:
        """Who starts runs, and looks."""
        with Client(url) as client:
            yield client


class WorkerContract(WorkerCase):
    """What several workers on one store keep, whatever becomes of them."""

    # ---- who is there ---------------------------------------------------------------------------------------------------

    @pytest.mark.slow
    def test_workers_are_known_while_they_live(self, url: str, client: Client, tmp_path: Path) -> None:
        """With what they serve and hold; one that is frozen is late, one that has left is gone."""
        _ = client.start(mortals.patient("a"), id="a")
        with mortals.worker(url, tmp_path, queues=["default", "gpu"], concurrency=7, **QUICK) as process:
            (info,) = until(lambda: [info for info in client.workers() if info.steps])
            told = (info.pid, tuple(info.queues), info.capacity, info.runs, info.draining, info.late)
            assert (process.pid, ("default", "gpu"), 7, 1, False, False) == told
            assert "mortals.patient" in info.workflows
            assert client.get("a").about().worker == info.id

            process.send_signal(signal.SIGSTOP)
            until(lambda: [info.late for info in client.workers()] == [True])
            process.send_signal(signal.SIGCONT)
            until(lambda: [info.late for info in client.workers()] == [False])

            process.terminate()
            until(lambda: [info.draining for info in client.workers()] == [True])
            (tmp_path / "open").touch()
            assert 128 + signal.SIGTERM == process.wait(PATIENCE)
        assert [] == client.workers()
        assert [] == client.find(prefix="~").runs

    @pytest.mark.slow
    def test_a_worker_that_drains_keeps_only_what_its_steps_are_under_way_for(self, url: str, client: Client, tmp_path: Path) -> None:
        """Its other runs go on elsewhere at once, not when their leases would end."""
        given = {**QUICK, "ttl": 600, "steps": 1}
        busy = client.start(mortals.patient("busy"), id="busy")
        with mortals.worker(url, tmp_path, grace=PATIENCE, **given) as leaving:
            until(lambda: "begins busy at the beginning" in mortals.deeds(tmp_path))
            waits_for_room = client.start(mortals.harmless(), id="waits-for-room")
            reaches(waits_for_room, "running")
            leaving.terminate()
            with mortals.worker(url, tmp_path, **given):
                assert 3 == waits_for_room.result(PATIENCE)
                assert "running" == busy.status
                (tmp_path / "open").touch()
                assert ["1", "busy", "2"] == busy.result(PATIENCE)
            assert 143 == leaving.wait(PATIENCE)
        assert 1 == mortals.deeds(tmp_path).count("begins busy at the beginning")

    # ---- workers that die ------------------------------------------------------------------------------------------------

    @pytest.mark.slow
    def test_the_next_worker_goes_on_where_a_killed_one_s_step_was(self, url: str, client: Client, tmp_path: Path) -> None:
        """What it told with its heartbeats is read by the next attempt, in another process."""
        handle = client.start(mortals.patient("a"), id="a")
        with mortals.worker(url, tmp_path, **QUICK) as first:
            until(lambda: PROGRESS in handle.about().state)
            first.kill()
            first.wait()
            with mortals.worker(url, tmp_path, **QUICK):
                until(lambda: "begins a at a later look" in mortals.deeds(tmp_path))
                (tmp_path / "open").touch()
                assert ["1", "a", "2"] == handle.result(PATIENCE)
        assert {} == handle.state()
        assert 3 == sum(event.kind == STEP_COMPLETED for event in handle.journal())

    def lose_workers(self, url: str, folder: Path, handle: Handle[Any], **settings: Any) -> int:
        """Put worker after worker to work, two at a time, until a run is set aside; how many died."""
        hired: list[subprocess.Popen[str]] = []
        with contextlib.ExitStack() as crew:
            while handle.status != "stuck":
                while sum(process.poll() is None for process in hired) < 2:
                    hired.append(crew.enter_context(mortals.worker(url, folder, **{**QUICK, "max_recoveries": 2, **settings})))
                until(lambda: handle.status == "stuck" or any(process.poll() is not None for process in hired[-2:]))
            lost = sum(process.poll() is not None for process in hired)
            for survivor in hired:  # it leaves in peace: killed, it would be one worker more that those beside the run have lost
                survivor.terminate()
                survivor.wait(PATIENCE)
            return lost

    @pytest.mark.slow
    def test_a_run_that_kills_its_workers_is_set_aside_and_can_be_put_back(self, url: str, client: Client, tmp_path: Path) -> None:
        """With the reason, and without those that died with it; resumed, it ends once its step is mended."""
        handle = client.start(mortals.killing(), id="poison")
        others = [client.start(mortals.harmless(), id=f"other-{number}") for number in range(3)]

        lost = self.lose_workers(url, tmp_path, handle)

        run = handle.about()
        assert (3, 3, "stuck", None) == (lost, run.recoveries, run.status, run.ready_at)
        assert "3 workers in a row died while they held it, since event #2 (step_completed quick)" in run.note
        assert "step deadly (command 1, " in run.note
        assert ["poison"] == [found.key.id for found in client.find(status="stuck").runs]
        with mortals.worker(url, tmp_path, max_recoveries=2, **QUICK):
            assert [3] * 3 == [other.result(PATIENCE) for other in others]
            handle.signal("noise", 1)
            (tmp_path / "mended").touch()
            until(lambda: handle.about().fence > run.fence)  # it was looked at, and laid aside again
            reaches(handle, "stuck")
            handle.resume()
            reaches(handle, "completed")
        assert ("alive", 0, "") == (handle.result(PATIENCE), handle.about().recoveries, handle.about().note)
        assert 4 == mortals.deeds(tmp_path).count("deadly")

    @pytest.mark.slow
    def test_a_remote_step_that_kills_is_set_aside_and_its_parent_waits(self, url: str, client: Client, tmp_path: Path) -> None:
        """It can be put back, or terminated: then its parent is told, as of any step that failed."""
        parent = client.start(mortals.killing_elsewhere(), id="parent")
        remote: Handle[str] = client.get("parent.0")
        with mortals.worker(url, tmp_path, **QUICK):
            until(lambda: client.store.get([remote.key])[0])

        lost = self.lose_workers(url, tmp_path, remote, queues=["elsewhere"])

        assert (3, "stuck", ["started"]) == (lost, remote.status, [event.kind for event in parent.journal()])
        assert "step deadly_elsewhere (command 0, " in remote.about().note
        remote.terminate("nobody can mend it")
        with mortals.worker(url, tmp_path, queues=["default", "elsewhere"], **QUICK):
            reaches(parent, "failed")
        assert b"nobody can mend it" in parent.journal()[-1].payload

    # ---- workers that freeze ----------------------------------------------------------------------------------------------

    @pytest.mark.slow
    def test_what_a_frozen_worker_writes_late_is_refused(self, url: str, client: Client, tmp_path: Path) -> None:
        """Stopped past its lease and woken when another has ended its run: nothing that was committed is done twice."""
        handle = client.start(mortals.patient("a"), id="a")
        with mortals.worker(url, tmp_path, **QUICK) as frozen:
            until(lambda: PROGRESS in handle.about().state)
            frozen.send_signal(signal.SIGSTOP)
            until(lambda: stands_still(frozen.pid))
            with mortals.worker(url, tmp_path, **QUICK):
                (tmp_path / "open").touch()
                assert ["1", "a", "2"] == handle.result(PATIENCE)
                journal = handle.journal()
                frozen.send_signal(signal.SIGCONT)
                after = client.start(mortals.harmless(), id="after")
                assert 3 == after.result(PATIENCE)
            until(lambda: frozen.pid in [info.pid for info in client.workers() if not info.late and not info.runs])
        assert journal == handle.journal()
        assert len({event.worker for event in journal if event.worker}) == 2
        done = mortals.deeds(tmp_path)
        assert (1 + 1, 1 + 1) == (done.count("quick 1"), done.count("quick 2"))  # once for each of the two runs

    # ---- many messages, several versions ----------------------------------------------------------------------------------

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_a_thousand_messages_to_one_run(
        self, url: str, client: Client, tmp_path: Path, record_property: Callable[[str, object], None]
    ) -> None:
        """Sent while it runs, some of them twice: in order, none lost, none twice."""
        handle = client.start(mortals.hearing(MESSAGES), id="a")
        words = [Message(f"word-{number}", handle.key, "signal", "word", str(number).encode()) for number in range(MESSAGES)]
        with mortals.worker(url, tmp_path, **CALM):
            began = time.monotonic()
            for first in range(0, MESSAGES, 50):
                client.post([*words[first : first + 50], *words[first : first + 5]])
            sent = time.monotonic()
            heard = handle.result(500)
            record_property("sent_s", round(sent - began, 3))
            record_property("heard_s", round(time.monotonic() - began, 3))

        assert list(range(MESSAGES)) == heard

    @pytest.mark.slow
    def test_two_versions_of_the_code_work_on_one_queue(self, url: str, client: Client, tmp_path: Path) -> None:
        """A run goes on with the version that it began with: who does not have it gives the run back to who does."""
        old = [client.start(mortals.first_version(), id=f"old-{number}") for number in range(5)]
        with mortals.worker(url, tmp_path, version="1", **CALM):
            until(lambda: all(len(handle.journal()) == 2 for handle in old))
            with mortals.worker(url, tmp_path, version="2", **CALM):
                until(lambda: VERSIONS <= {word for info in client.workers() for word in info.workflows})
                new = [client.start(mortals.second_version(), id=f"new-{number}") for number in range(5)]
                for handle in (*old, *new):
                    handle.signal("word", "go")
                answers = [handle.result(PATIENCE) for handle in (*old, *new)]

        assert [*["version 1 heard go"] * 5, *["version 2 heard go"] * 5] == answers

    @pytest.mark.slow
    def test_a_run_of_a_version_that_nobody_has_is_stuck_until_somebody_has_it(self, url: str, client: Client, tmp_path: Path) -> None:
        """It says so, loses nothing, and goes on when the version is back."""
        handle = client.start(mortals.first_version(), id="old")
        with mortals.worker(url, tmp_path, version="1", **CALM) as leaving:
            until(lambda: len(handle.journal()) == 2)
            leaving.terminate()  # one that was killed is thought alive for a while
            leaving.wait(PATIENCE)
        with mortals.worker(url, tmp_path, version="2", **CALM):
            handle.signal("word", "go")
            reaches(handle, "stuck")
        assert "quick" in handle.about().note
        with mortals.worker(url, tmp_path, version="1", **CALM):
            handle.resume()
            reaches(handle, "completed")
        assert "version 1 heard go" == handle.result(PATIENCE)


class SkewContract(WorkerCase):
    """What workers keep whose clocks are an hour apart, on a store that has a clock of its own."""

    @pytest.mark.slow
    @pytest.mark.parametrize("hours", [-1, 1])
    def test_workers_may_disagree_about_the_hour(self, url: str, client: Client, tmp_path: Path, hours: int) -> None:
        """No lease is taken early, timers fire on time, and nothing is done twice."""
        wrong = ["faketime", "-f", f"{hours:+d}h"]
        with mortals.worker(url, tmp_path, **QUICK), mortals.worker(url, tmp_path, wrong, **QUICK):
            began = client.store.now()
            naps = [client.start(mortals.napping(1.5), id=f"nap-{number}") for number in range(10)]
            waits = client.start(mortals.patient("a"), id="a")
            assert ["rested"] * 10 == [nap.result(PATIENCE) for nap in naps]
            lasted = [nap.journal()[-1].at - began for nap in naps]
            (tmp_path / "open").touch()
            assert ["1", "a", "2"] == waits.result(PATIENCE)
        assert all(1_500_000 <= span < 30_000_000 for span in lasted), lasted
        assert 1 == mortals.deeds(tmp_path).count("begins a at the beginning")
        assert "begins a at a later look" not in mortals.deeds(tmp_path)
