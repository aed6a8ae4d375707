"""Engines and processes: the default store beside the program, forks, pickles, environment."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal as signals
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import Client, Engine, InvalidRequest, RunFailed, WaitTimedOut, Workflow, signal, sleep, step, workflow
from tests.helpers.engines import PATIENCE


@step
def plus_one(number: int) -> int:
    return number + 1


@workflow
def counting_up(number: int) -> Workflow[int]:
    for _ in range(3):
        number = yield from plus_one(number)
    return number


@workflow
def never_ending() -> Workflow[int]:
    yield from sleep(0)
    return (yield from signal("never", int))


@workflow
def failing() -> Workflow[int]:
    yield from sleep(0)
    raise ValueError("as asked")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPLAY_STORE", raising=False)
    return tmp_path


def test_run_keeps_its_journal_beside_the_program(here: Path) -> None:
    """In ``.replay/replay.db``; the same call again is answered from there."""
    assert 4 == replay.run(counting_up(1), id="a", timeout=PATIENCE)
    assert (here / ".replay" / "replay.db").exists()
    with Client("sqlite:///.replay/replay.db") as client:
        before = client.get("a").journal()
    assert 4 == replay.run(counting_up(1), id="a", timeout=PATIENCE)

    with Client("sqlite:///.replay/replay.db") as client:
        assert before == client.get("a").journal()


def test_the_environment_names_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``REPLAY_STORE`` is stronger than the default, an argument is stronger than both."""
    monkeypatch.setenv("REPLAY_STORE", "sqlite:///named.db")
    assert 4 == replay.run(counting_up(1), timeout=PATIENCE)
    assert 4 == replay.run(counting_up(1), store="sqlite:///given.db", timeout=PATIENCE)

    assert {"named.db", "given.db"} <= {path.name for path in here.iterdir()}
    assert not (here / ".replay").exists()


def test_run_raises_what_became_of_it(here: Path) -> None:
    """A failure, or impatience; the run stays in the store."""
    with pytest.raises(RunFailed, match="as asked"):
        replay.run(failing(), id="f", timeout=PATIENCE)
    with pytest.raises(WaitTimedOut):
        replay.run(never_ending(), id="n", timeout=0.05)

    with Client("sqlite:///.replay/replay.db") as client:
        assert ["failed", "waiting"] == [client.get(name).status for name in ("f", "n")]


def test_a_forked_child_is_told_that_the_engine_is_not_there(store_url: str) -> None:
    """Its threads stayed in the parent: a call is refused instead of waiting for ever; leaving does no harm to the parent."""
    with Engine(store_url) as engine:
        handle = engine.start(never_ending(), id="a")
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (lambda: engine.start(counting_up(1)), lambda: handle.signal("never", 1), lambda: handle.result(5)):
                try:
                    call()
                except InvalidRequest as error:
                    refused += "another process" in str(error)
            engine.close()
            os._exit(40 + refused)
        _, status = os.waitpid(child, 0)
        handle.signal("never", 7)

        assert (43, 7) == (os.waitstatus_to_exitcode(status), handle.result(PATIENCE))


def test_a_forked_child_may_open_an_engine_of_its_own(tmp_path: Path) -> None:
    """On the same file, while the parent's goes on."""
    url = f"sqlite:///{tmp_path}/runs.db"
    with Engine(url) as engine:
        ours = engine.start(never_ending(), id="ours")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with Engine(url) as own:
                    code = own.start(counting_up(40), id="theirs").result(PATIENCE)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        ours.signal("never", 7)

        assert (43, 7, 43) == (
            os.waitstatus_to_exitcode(status),
            ours.result(PATIENCE),
            engine.get("theirs", counting_up).result(PATIENCE),
        )


def test_a_spawned_process_opens_its_own_engine(tmp_path: Path) -> None:
    """It is handed the URL, and both drive runs in one file."""
    url = f"sqlite:///{tmp_path}/runs.db"
    script = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        from replay import Engine, Workflow, sleep, workflow

        @workflow
        def from_elsewhere() -> Workflow[int]:
            yield from sleep(0)
            return 43

        with Engine(sys.argv[1]) as engine:
            print(engine.start(from_elsewhere(), id="theirs").result(20))
        """
    )
    with Engine(url) as engine:
        done = subprocess.run(
            [sys.executable, "-c", script, url, str(Path(__file__).parents[2])], capture_output=True, text=True, check=False, timeout=60
        )

        assert ("43\n", "") == (done.stdout, done.stderr)
        assert 43 == engine.get("theirs").result(PATIENCE)


@pytest.mark.parametrize("kind", [Client, Engine])
def test_a_client_cannot_be_pickled(kind: Any) -> None:
    """It holds threads and connections; the error says what to send instead."""
    with kind("memory://") as client, pytest.raises(InvalidRequest, match="send the store's URL"):
        pickle.dumps(client)


def test_a_pool_of_processes_is_told_so_too() -> None:
    """Where an engine slips into the arguments of a process that is spawned."""
    with Engine("memory://") as engine:
        process = multiprocessing.get_context("spawn").Process(target=print, args=(engine,))
        with pytest.raises(InvalidRequest, match="cannot be sent to another process"):
            process.start()


def test_a_program_may_end_without_closing(tmp_path: Path) -> None:
    """Threads of an engine that was forgotten do not keep the process, nor do they complain."""
    script = textwrap.dedent(
        """
        import sys
        from replay import Engine, Workflow, signal, sleep, workflow

        @workflow
        def forgotten() -> Workflow[int]:
            yield from sleep(0)
            return (yield from signal("never", int))

        engine = Engine(sys.argv[1])
        handle = engine.start(forgotten(), id="a")
        print(handle.id)
        """
    )
    url = f"sqlite:///{tmp_path}/runs.db"
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=False, timeout=60)

    assert (0, "a\n", "") == (done.returncode, done.stdout, done.stderr)
    with Client(url) as client:
        assert 1 <= len(client.get("a").journal())


def test_sigterm_leaves_an_engine_that_drains(here: Path) -> None:
    """A program that does nothing about it loses no step that was under way: its answer is in the journal."""
    program = """
        import sys
        import threading
        from replay import Engine, Workflow, step, workflow

        pause = threading.Event()

        @step
        def hears(number: int) -> str:
            print("begun", flush=True)
            word = sys.stdin.readline().strip()
            while engine.worker.held.leaving is None:  # the word may come before the main thread has seen the signal
                pause.wait(0.01)
            return word

        @workflow
        def flow() -> Workflow[str]:
            first = yield from hears(1)
            return first + (yield from hears(2))

        with Engine("sqlite:///runs.db", grace=20) as engine:
            engine.start(flow(), id="a").result()
    """
    (here / "program.py").write_text(textwrap.dedent(program), encoding="utf-8")
    command, pipe = [sys.executable, "program.py"], subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(replay.__file__).parents[1])}
    with subprocess.Popen(command, cwd=here, stdin=pipe, stdout=pipe, text=True, env=environment) as running:
        assert running.stdout is not None
        assert "begun\n" == running.stdout.readline()
        running.terminate()
        said, _ = running.communicate("the word\n", timeout=PATIENCE)

    assert (143, "") == (running.returncode, said)
    with Client("sqlite:///runs.db") as client:
        assert ["started", "step_completed"] == [event.kind for event in client.get("a").journal()]


def test_a_program_s_own_handler_of_sigterm_stays(here: Path) -> None:
    """The engine listens only where nobody else does."""

    def mine(number: int, frame: object) -> None: ...

    before = signals.signal(signals.SIGTERM, mine)
    try:
        with Engine("memory://"):
            assert mine is signals.getsignal(signals.SIGTERM)
        signals.signal(signals.SIGTERM, signals.SIG_DFL)
        with Engine("memory://"):
            assert signals.SIG_DFL is not signals.getsignal(signals.SIGTERM)
        assert signals.SIG_DFL is signals.getsignal(signals.SIGTERM)
    finally:
        signals.signal(signals.SIGTERM, before)
