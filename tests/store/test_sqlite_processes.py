"""Several processes on one file: they take turns, they may be killed, they may fork, and the file stays whole."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from replay.errors import StoreUnavailable
from replay.store.blocks import SIZE
from replay.store.contract import Claim, Commit, NewRun, RunKey
from replay.store.sqlite import SQLiteStore
from tests.store.sqlite_case import HOUR, ORDER, answer, begin, execute, grow, journal, opened

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
RUNS = [RunKey("default", f"run-{number}") for number in range(8)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@contextlib.contextmanager
def worker(path: Path, name: str, turns: int) -> Iterator[subprocess.Popen[str]]:
    """A process that claims runs, appends to them and gives them back; it begins when it is told to."""
    command = [sys.executable, "-c", WORK, f"sqlite:///{path}?busy_timeout=60", name, str(turns)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert "ready\n" == out(process).readline()
        try:
            yield process
        finally:
            process.kill()  # if it has not ended by itself


def out(process: subprocess.Popen[str]) -> IO[str]:
    """What a process says."""
    assert process.stdout is not None
    return process.stdout


def tell(process: subprocess.Popen[str]) -> None:
    """Let a process begin."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


WORK = """
import json, sys
from replay.store.contract import Claim, Commit, Committed
from replay.store.sqlite import open_sqlite
from tests.store.sqlite_case import HOUR, answer
url, name, turns = sys.argv[1:]
store = open_sqlite(url)
claim = Claim(worker=name, namespace="default", queues=["default"], workflows=["order"], limit=3, ttl=HOUR)
print("ready", flush=True)
sys.stdin.readline()
done = 0
while done < int(turns):
    for run, lease, events, mail in store.claim(claim).runs:
        length = len(events)
        for last in (False, False, True):
            commit = Commit(lease=lease, expected=length, events=[answer(length + 1)], release=last, wake_at=1 if last else None)
            fate = store.commit([commit])[0]
            print(json.dumps([run.key.id, lease.fence, length + 1, fate.value]), flush=True)
            length += 1
            done += 1
store.close()
"""


def test_processes_share_the_work(path: Path) -> None:
    """No lock leaks out, no run is claimed twice with one fence, no event is lost or written twice."""
    with opened(path) as store:
        store.create([NewRun(key=key, workflow="order", events=journal(1)) for key in RUNS])

        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(worker(path, f"worker-{number}", 150)) for number in range(3)]
            for process in workers:
                tell(process)
            said = [[json.loads(line) for line in process.communicate()[0].splitlines()] for process in workers]

        assert [0, 0, 0] == [process.returncode for process in workers]
        assert {"applied"} == {fate for lines in said for *_, fate in lines}
        claimed = Counter((run, fence) for lines in said for run, fence in {(run, fence) for run, fence, *_ in lines})
        assert {1} == set(claimed.values())
        written = Counter((run, seq) for lines in said for run, _, seq, _ in lines)
        assert {1} == set(written.values())
        for key in RUNS:
            events = store.journal(key)
            assert journal(len(events)) == events
            assert len(events) - 1 == sum(run == key.id for run, _ in written)
    assert [("ok",)] == execute(path, "PRAGMA integrity_check")


@pytest.mark.parametrize("seed", range(3))
def test_a_process_may_be_killed_at_any_moment(path: Path, seed: int) -> None:
    """What it was told is committed is there; the file is whole; whoever comes next goes on."""
    chance = random.Random(seed)
    with opened(path) as store:
        store.create([NewRun(key=key, workflow="order", events=journal(1)) for key in RUNS])
    told: dict[str, int] = {}
    for kill in range(6):
        with worker(path, f"worker-{kill}", 100_000) as process:
            tell(process)
            for _ in range(chance.randrange(1, 120)):
                run, _, seq, fate = json.loads(out(process).readline())
                assert "applied" == fate
                told[run] = max(seq, told.get(run, 0))
            process.kill()

        assert [("ok",)] == execute(path, "PRAGMA integrity_check")
        with opened(path) as store:
            for key in RUNS:
                events = store.journal(key)
                assert journal(len(events)) == events
                assert len(events) >= told.get(key.id, 1)
            execute(path, "UPDATE replay_runs SET ready_at = 1 WHERE worker <> ''")  # an hour later


def test_a_process_killed_in_a_large_commit_leaves_all_or_nothing(path: Path) -> None:
    """Also when blocks are made and rows taken away in it."""
    script = f"""
from replay.store.contract import Commit, Lease, RunKey
from replay.store.sqlite import open_sqlite
from tests.store.sqlite_case import answer
store = open_sqlite("sqlite:///{path}")
lease = Lease(RunKey("default", "order-1"), 1, "ann", 0)
length = len(store.journal(lease.key))
print("ready", flush=True)
while True:
    events = [answer(seq) for seq in range(length + 1, length + {SIZE - 5})]
    store.commit([Commit(lease=lease, expected=length, events=events)])
    length += len(events)
"""
    with opened(path) as store:
        begin(store)
        lengths = [1]
        for moment in range(8):
            with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
                assert "ready\n" == out(process).readline()
                seen = store.wait(0, 0)
                for _ in range(moment):
                    seen = store.wait(seen, 60)
                process.kill()

            events = store.journal(ORDER)
            assert journal(len(events)) == events
            assert 0 == (len(events) - 1) % (SIZE - 6)
            lengths.append(len(events))
    assert sorted(lengths) == lengths
    assert [("ok",)] == execute(path, "PRAGMA integrity_check")


LATE = """
import sys
from replay.store.contract import Commit, Lease, RunKey
from replay.store.sqlite import open_sqlite
from tests.store.sqlite_case import answer
store = open_sqlite(sys.argv[1])
lease = Lease(RunKey("default", "order-1"), 1, "ann", 0)
for seq in (2, 3, 4):
    print(store.commit([Commit(lease=lease, expected=seq - 1, events=[answer(seq)])])[0].value, flush=True)
    sys.stdin.readline()
"""


def test_a_worker_that_was_stopped_past_its_lease_is_fenced(path: Path) -> None:
    """SIGSTOP, another process takes the run, SIGCONT: every late commit is refused."""
    claim = Claim(worker="next", namespace="default", queues=["default"], workflows=["order"], limit=1, ttl=HOUR)
    command = [sys.executable, "-c", LATE, f"sqlite:///{path}"]
    with opened(path) as store:
        begin(store)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert "applied\n" == out(process).readline()
            process.send_signal(signal.SIGSTOP)
            execute(path, "UPDATE replay_runs SET ready_at = 1")  # an hour later
            assert [journal(2)] == [claimed.journal for claimed in store.claim(claim).runs]
            process.send_signal(signal.SIGCONT)

            assert "fenced\nfenced\n" == process.communicate("go\n" * 3)[0]

        assert journal(2) == store.journal(ORDER)


# ---- forks --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(deed: Callable[[], object]) -> Iterator[None]:
    """A forked process that does something, and is asked how it went at the end."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            deed()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    try:
        yield
    finally:
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def add(store: SQLiteStore, name: str, number: int) -> None:
    """Create some runs, one by one."""
    for place in range(number):
        store.create([NewRun(key=RunKey("default", f"{name}-{place}"), workflow="order", events=journal(1))])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_store_may_be_used_on_both_sides_of_a_fork(path: Path) -> None:
    """Each goes on with connections of its own; what the child commits stays, also when the parent is the first to close."""
    turn, back = os.pipe(), os.pipe()
    with opened(path) as store:
        begin(store)

        def deed() -> None:
            assert journal(1) == store.journal(ORDER)
            add(store, "early", 3)
            os.write(back[1], b"!")
            os.read(turn[0], 1)
            add(store, "late", 30)

        with child(deed):
            os.read(back[0], 1)
            add(store, "parent", 3)
            store.close()
            os.write(turn[1], b"!")

    with opened(path) as store:
        names = [("early", 3), ("late", 30), ("parent", 3)]
        assert all(store.get([RunKey("default", f"{name}-{place}") for name, number in names for place in range(number)]))
    assert [("ok",)] == execute(path, "PRAGMA integrity_check")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_threads_that_read_and_write(path: Path) -> None:
    """And they for it: nobody is caught half-way, in neither process."""
    stop = threading.Event()
    with opened(path) as store:
        lease = begin(store)

        def write() -> None:
            length = 1
            while not stop.is_set():
                store.commit([Commit(lease=lease, expected=length, events=[answer(length + 1)])])
                length += 1

        def read() -> None:
            while not stop.is_set():
                events = store.journal(ORDER)
                assert journal(len(events)) == events

        threads = [threading.Thread(target=deed) for deed in (write, read, read)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                with child(functools.partial(add, store, f"child-{number}", 5)):
                    pass
        finally:
            stop.set()
            for thread in threads:
                thread.join()

        assert all(store.get([RunKey("default", f"child-{number}-{place}") for number in range(5) for place in range(5)]))
        events = store.journal(ORDER)
        assert journal(len(events)) == events
    assert [("ok",)] == execute(path, "PRAGMA integrity_check")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_within_a_transaction_has_no_store(path: Path) -> None:
    """The transaction is the parent's; the child is told so, and can open a store of its own."""
    with opened(path) as store:
        lease = begin(store)

        def inside() -> None:
            with pytest.raises(StoreUnavailable, match="it is closed; open it again"):
                store.post([])

        def step(connection: object) -> Commit:
            with child(inside):
                pass
            return Commit(lease=lease, expected=1, events=[answer(2)])

        def fork_and_return(connection: object) -> Commit:
            pids.append(os.fork())
            return Commit(lease=lease, expected=2, events=[answer(3)])

        pids: list[int] = []
        store.transact(step)
        try:
            store.transact(fork_and_return)
        except StoreUnavailable:
            os._exit(42 if not pids[0] else 1)
        assert 42 == os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])
        grow(store, lease, 3, to=4)
        assert journal(4) == store.journal(ORDER)
