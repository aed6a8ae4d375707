"""`replay serve`: a process that serves, says where, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replay import Client, Engine
from replay.service.plugin import read_directly
from tests.service.wire import PATIENCE, doubling, greeting, tokens_file

REPLAY = [sys.executable, "-m", "replay.cli"]
HOME = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**{name: value for name, value in os.environ.items() if not name.startswith("REPLAY_")}, "PYTHONPATH": str(HOME)}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A serving process and the first line that it says."""
    command = [*REPLAY, "serve", "--store", f"sqlite:///{folder}/served.db", "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def address(said: str) -> str:
    """Where it serves, from what it says."""
    found = re.search(r"on (127\.0\.0\.1:\d+) ", said)
    assert found, said
    return f"grpc://{found[1]}"


def test_serve_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """SIGTERM with clients waiting ends it soon and well, and what was done is in the file."""
    with serving(tmp_path) as (process, said), Engine(address(said), workflows=[doubling, greeting], grace=2) as engine:
        assert 90 == engine.start(doubling(10), id="a").result(PATIENCE)
        waiting = engine.start(greeting(), id="b")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE)
        assert "b" == waiting.id
    with Client(f"sqlite:///{tmp_path}/served.db") as client:
        assert {"a", "b"} == {run.key.id for run in client.find().runs}
        assert 90 == client.get("a", doubling).result(PATIENCE)


def test_a_server_that_has_nothing_to_say_says_nothing(tmp_path: Path) -> None:
    """Neither does gRPC, about a switch that it does not know."""
    with serving(tmp_path) as (process, said), Engine(address(said), workflows=[doubling], grace=2) as engine:
        assert 90 == engine.start(doubling(10)).result(PATIENCE)
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=PATIENCE)

    assert "" == complaints


@pytest.mark.parametrize(
    ("release", "given", "expected"),
    [
        ("1.85.1", None, "-event_engine_listener"),
        ("1.85.1", "", ""),
        ("1.79.0", None, None),
        ("1.86.0", None, None),
        ("1.8.0", None, None),
    ],
)
def test_only_a_grpc_that_was_tried_is_told_to_read_directly(
    monkeypatch: pytest.MonkeyPatch, release: str, given: str | None, expected: str | None
) -> None:
    """And none whose environment says something already."""
    monkeypatch.setenv("GRPC_EXPERIMENTS", given or "")  # what it was comes back in the end, also where it was nothing
    if given is None:
        del os.environ["GRPC_EXPERIMENTS"]
    read_directly(release)

    assert expected == os.environ.get("GRPC_EXPERIMENTS")


@pytest.mark.parametrize(("words", "code"), [(["serve"], 2), (["list", "--store", "grpc://localhost:1"], 4)])
def test_without_the_extra_the_wire_says_what_to_install(tmp_path: Path, words: list[str], code: int) -> None:
    """The wire is an extra; that its libraries are missing is no bug."""
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')\n", encoding="utf-8")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{HOME}"}

    command = [*REPLAY, *words]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=PATIENCE)

    assert code == said.returncode, said.stderr
    assert "the module 'grpc' is not installed; install replay-engine[grpc]" in said.stderr


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL in the middle of a run: another server, another worker, the same journal goes on."""
    with serving(tmp_path) as (process, said), Engine(address(said), workflows=[doubling, greeting], grace=0.2, ttl=1.0) as engine:
        assert "b" == engine.start(greeting(), id="b").id
        engine.start(doubling(5), id="a").result(PATIENCE)
        process.kill()
        process.wait(PATIENCE)
    with serving(tmp_path) as (_, said), Engine(address(said), workflows=[doubling, greeting], grace=2) as engine:
        assert 20 == engine.get("a", doubling).result(PATIENCE)
        engine.get("b").signal("word", "again")
        assert "hello again" == engine.get("b", greeting).result(PATIENCE)


def test_serve_says_who_may_come_in(tmp_path: Path) -> None:
    """An open server says so; one with tokens lets those in who have one."""
    with serving(tmp_path) as (_, said):
        assert "no TLS, no tokens: everybody may do everything" in said
    tokens = tokens_file(tmp_path / "tokens.json", {"secret": ("default", ["read"])})
    with serving(tmp_path, "--tokens", str(tokens)) as (_, said):
        assert "(no TLS, tokens)" in said
        with Client(f"{address(said)}?token=secret") as client:
            assert [] == client.find().runs


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tokens", "nowhere.json"], "nowhere.json"),
        (["--tls-clients", "ca.pem"], "certificate and key go together"),
        (["--listen", "nowhere:99999"], "nowhere:99999"),
    ],
)
def test_serve_refuses_what_does_not_fit_in_one_line(tmp_path: Path, options: list[str], problem: str) -> None:
    """No traceback, and no half-open server."""
    command = [*REPLAY, "serve", "--store", "memory://", "--listen", "127.0.0.1:0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=60, check=False)

    assert 0 != ended.returncode
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A process that ends by itself, with what it said."""
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=60, check=False
    )


def test_help_shows_serve_and_loads_no_grpc(tmp_path: Path) -> None:
    """The plugin's command costs nothing until it runs."""
    code = (
        "import sys\nsys.argv = ['replay', '--help']\nfrom replay.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('loaded', sorted({'grpc', 'google', 'sqlalchemy'} & set(sys.modules)))"
    )
    ended = run(tmp_path, "-c", code)

    assert "serve" in ended.stdout
    assert "loaded []" in ended.stdout, ended.stdout + ended.stderr


def test_the_documentation_names_every_option_of_serve(tmp_path: Path) -> None:
    """docs/wire.md and `replay serve --help` agree."""
    ended = run(tmp_path, *REPLAY[1:], "serve", "--help")
    written = (HOME / "docs" / "wire.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--[a-z-]+", ended.stdout)) - {"--help"}

    assert {"--store", "--listen", "--tokens", "--waiting"} <= named
    assert set() == {option for option in named if f"`{option}`" not in written}
