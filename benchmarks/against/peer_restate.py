"""Restate: its server, a native binary from npm, and its Python SDK under hypercorn, which is ten times as fast as under uvicorn.

Configuration: the defaults of the server, which flushes a log on disk (RocksDB); ports of the kernel's choice, telemetry off. W1: a
handler runs the steps and raises, the server tries again and sends the journal; timed from that request's arrival to the last step.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.against.harness import REPLAYED, RUNS, STEPS, WARM, Found, Place, main, median_ms, process_ms, timed, wait_until

SERVER = Path(__file__).parent / "node_modules" / ".bin" / "restate-server"
IN_FLIGHT = 50


def free_ports(many: int) -> list[int]:
    """Ports that nobody uses at this moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(many)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def process(command: list[str], log: Path, **settings: Any) -> Iterator[None]:
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said, **settings) as child:
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def answers(url: str, **request: Any) -> bool:
    try:
        return httpx.request(request.pop("method", "GET"), url, timeout=10, **request).status_code < 300
    except httpx.HTTPError:
        return False


@contextmanager
def rig(place: Place) -> Iterator[httpx.Client]:
    """Server and service; a client of the server's front door."""
    ingress, admin, node, service = free_ports(4)
    known = {
        **os.environ,
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RUST_LOG": "warn",
    }
    server = [str(SERVER), "--no-logo", "--base-dir", str(place.folder / "restate"), "--listen-mode", "tcp", "--node-name", "bench"]
    server += ["--bind-ip", "127.0.0.1", "--bind-port", str(node)]
    hypercorn = [sys.executable, "-m", "hypercorn", "benchmarks.against.restate_service:app", "--bind", f"127.0.0.1:{service}"]
    with process(server, place.folder / "server.log", env=known), process(hypercorn, place.folder / "service.log"):
        wait_until(lambda: answers(f"http://127.0.0.1:{admin}/health"), every=0.2)
        door = {"uri": f"http://127.0.0.1:{service}", "force": True}
        wait_until(lambda: answers(f"http://127.0.0.1:{admin}/deployments", method="POST", json=door), every=0.5)
        wait_until(lambda: answers(f"http://127.0.0.1:{ingress}/bench/sequence", method="POST", json=WARM), every=0.2)
        with httpx.Client(base_url=f"http://127.0.0.1:{ingress}/bench", timeout=120) as client:
            yield client


def call(client: httpx.Client, name: str, steps: int) -> float:
    answer = client.post(f"/{name}", json=steps)
    answer.raise_for_status()
    return float(answer.json())


def replaying(place: Place) -> Found:
    with rig(place) as client:
        return Found(REPLAYED / call(client, "failing_once", REPLAYED), "from the arrival of the request that brings the journal")


def in_sequence(place: Place) -> Found:
    with rig(place) as client:
        return Found(STEPS / timed(lambda: call(client, "sequence", STEPS)))


def many_runs(place: Place) -> Found:
    async def all_of_them(base: str) -> None:
        limits = httpx.Limits(max_connections=IN_FLIGHT)
        async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits) as client:
            for answer in await asyncio.gather(*(client.post("/sequence", json=5) for _ in range(RUNS))):
                answer.raise_for_status()

    with rig(place) as client:
        return Found(RUNS / timed(lambda: asyncio.run(all_of_them(str(client.base_url)))), f"{IN_FLIGHT} in flight")


def at_once(place: Place) -> Found:
    with rig(place) as client:
        call(client, "at_once", WARM)
        return Found(timed(lambda: call(client, "at_once", STEPS)), "restate.gather")


def latency(place: Place) -> Found:
    with rig(place) as client:
        return Found(median_ms(lambda: call(client, "sequence", 1)))


def importing(place: Place) -> Found:
    return Found(process_ms("import restate", place.folder))


if __name__ == "__main__":
    main({"W1": replaying, "W2": in_sequence, "W3": many_runs, "W4": at_once, "W5": latency, "W7 import": importing})
