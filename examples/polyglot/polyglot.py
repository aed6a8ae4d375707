"""One order, three languages, one server: `python examples/polyglot/polyglot.py`.

The same workflow is written three times, in Python, Go and TypeScript, and each language does one of its steps. A worker in Python
begins the order and is killed; the server is killed and comes back; a worker in Go goes on, and is killed; one in TypeScript brings
the order to its end. No step is done twice, and at last the journal is driven through the Python workflow once more: it fits.

It needs Go and Node.js with npm; the two SDKs of this repository are built first.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import replay
from replay import Event, Handle, StoreError

HERE = Path(__file__).resolve().parent
SDK = HERE.parents[1] / "sdks" / "typescript"
order = importlib.import_module("order").order  # beside this file
PATIENCE = 120.0
"""Seconds after which something that should happen has not."""


def build(folder: Path) -> Path:
    """Compile the workers; the one in Go, which is a program of its own."""
    path = f"{os.environ['PATH']}:/usr/local/go/bin"
    environment = {**os.environ, "PATH": path}
    for needed in ("go", "node", "npm"):
        if shutil.which(needed, path=path) is None:
            sys.exit(f"this example needs {needed}: install Go from golang-go or go.dev, Node.js from nodejs and npm")
    program = folder / "order-go"
    commands = [
        (["go", "build", "-o", str(program), "."], HERE / "go"),
        (["npm", "install", "--silent", "--no-package-lock", "--install-links=false"], HERE / "typescript"),
        ([str(SDK / "node_modules" / ".bin" / "tsc"), "-p", "."], HERE / "typescript"),
    ]
    if not (SDK / "node_modules" / ".package-lock.json").exists():
        commands.insert(1, (["npm", "ci", "--silent"], SDK))
    if not (SDK / "dist").exists():
        commands.insert(-2, (["npm", "run", "--silent", "build"], SDK))
    for command, where in commands:
        subprocess.run(command, cwd=where, env=environment, check=True)
    return program


def serve(folder: Path, listen: str) -> tuple[subprocess.Popen[str], str]:
    """A server over a file, and its address."""
    command = [sys.executable, "-m", "replay.cli", "serve", "--store", f"sqlite:///{folder}/orders.db", "--listen", listen]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        for word in line.replace("grpc://", " ").split():
            if word.startswith("127.0.0.1:"):
                return server, word.rstrip(",.")
    raise SystemExit("the server did not start")


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so; a server that is away for a moment is waited for, too."""
    late = time.monotonic() + PATIENCE
    while time.monotonic() < late:
        try:
            if true():
                return
        except StoreError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within {PATIENCE:.0f} s")


def answered(run: Handle[list[str]], name: str) -> Callable[[], bool]:
    """Whether a step of the run has been answered."""
    return lambda: any((event.kind, event.name) == ("step_completed", name) for event in run.journal())


def kill(process: subprocess.Popen[str], who: str) -> None:
    """SIGKILL: nothing can be tidied up."""
    process.kill()
    process.wait()
    print(f"  … {who} is killed", flush=True)


def language(event: Event) -> str:
    """Which language wrote an event down; the Python worker's name is host and process."""
    return next((name for name in ("go", "typescript") if event.worker.startswith(name)), "python" if event.worker else "")


def play(folder: Path) -> int:
    """The whole story."""
    program = build(folder)
    server, address = serve(folder, "127.0.0.1:0")
    url = f"grpc://{address}"
    workers = {
        "Python": [sys.executable, str(HERE / "order.py"), url],
        "Go": [str(program), url],
        "TypeScript": ["node", str(HERE / "typescript" / "dist" / "order.js"), url],
    }
    client = replay.Client(url)
    run = client.start(order("lamp", 1200), id="order-1")
    print(f"order-1 is started on {url}", flush=True)
    working: list[subprocess.Popen[str]] = [server]
    try:
        for who, done in (("Python", "reserve"), ("Go", "charge")):
            print(f"a worker in {who}", flush=True)
            worker = subprocess.Popen(workers[who], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
            working.append(worker)
            until(answered(run, done), f"step {done}")
            kill(worker, f"the worker in {who}")
            if who == "Python":
                kill(server, "the server")
                server, _ = serve(folder, address)
                working.append(server)
        print("a worker in TypeScript", flush=True)
        working.append(subprocess.Popen(workers["TypeScript"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True))
        until(lambda: run.status == "completed", "the order")
        print("\n".join(f"  {line}" for line in run.result()))
        journal = run.journal()
        for event in journal:
            print(f"  #{event.seq} {event.kind:15} {event.name:15} {language(event)}")
        report = run.replay()
        print(f"driven through the Python workflow: {report.events} events, {'it fits' if report.fits else report.difference}")
        done_once = sorted(event.name for event in journal if event.kind == "step_completed") == ["charge", "reserve", "ship"]
        return 0 if report.fits and done_once else 1
    finally:
        client.close()
        for process in working:
            process.kill()
            process.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(play(Path(place)))
