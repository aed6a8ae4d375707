"""What this machine allows: the same work without replay, measured in the same run.

Each limit is the bare loop that replay's workload cannot beat: a generator, sqlite3 alone, a thread-pool hop.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

ROW = ("step_completed", "17", "work", 1_700_000_000_000_000, b"17", 123456789)


def best(measure: Callable[[], float], rounds: int = 3) -> float:
    """The best of some rounds: noise only ever makes slower."""
    return max(measure() for _ in range(rounds))


def replay_from_memory(steps: int) -> float:
    """Steps a second: a bare generator that is sent decoded answers after a check of their names."""
    rows = [("work", b"%d" % number) for number in range(steps)]

    def workflow() -> Generator[str, int, int]:
        total = 0
        for _ in range(steps):
            total += yield "work"
        return total

    def measure() -> float:
        began = time.perf_counter()
        machine = workflow()
        asked = next(machine)
        try:
            for name, payload in rows:
                if name != asked:
                    raise AssertionError
                asked = machine.send(int(payload))
        except StopIteration:
            pass
        return steps / (time.perf_counter() - began)

    return best(measure)


def open_sqlite(path: Path) -> sqlite3.Connection:
    """A file in WAL with synchronous=FULL, as replay opens it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events (run INTEGER, seq INTEGER, kind TEXT, command TEXT, name TEXT, at INTEGER, "
        "payload BLOB, seal INTEGER, PRIMARY KEY (run, seq)) WITHOUT ROWID"
    )
    return connection


def replay_from_sqlite(path: Path, steps: int) -> float:
    """Steps a second: read the rows, then as ``replay_from_memory``."""
    connection = open_sqlite(path)
    connection.execute("DELETE FROM events")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?,?)", [(1, seq, *ROW) for seq in range(steps)])
    connection.execute("COMMIT")

    def workflow() -> Generator[str, int, int]:
        total = 0
        for _ in range(steps):
            total += yield "work"
        return total

    def measure() -> float:
        began = time.perf_counter()
        machine = workflow()
        asked = next(machine)
        rows = connection.execute("SELECT seq, kind, command, name, at, payload FROM events WHERE run=1 ORDER BY seq").fetchall()
        try:
            for _, _, _, name, _, payload in rows:
                if name != asked:
                    raise AssertionError
                asked = machine.send(int(payload))
        except StopIteration:
            pass
        return steps / (time.perf_counter() - began)

    found = best(measure)
    connection.close()
    return found


def sqlite_commits(path: Path, commits: int = 1_000) -> float:
    """Commits a second of one row each, WAL and synchronous=FULL."""
    connection = open_sqlite(path)
    connection.execute("DELETE FROM events")

    def measure() -> float:
        connection.execute("DELETE FROM events")
        began = time.perf_counter()
        for seq in range(commits):
            connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?)", (1, seq, *ROW))
        return commits / (time.perf_counter() - began)

    found = best(measure)
    connection.close()
    return found


def sqlite_rows(path: Path, rows: int = 30_000, batch: int = 500) -> float:
    """Rows a second in commits of 500."""
    connection = open_sqlite(path)

    def measure() -> float:
        connection.execute("DELETE FROM events")
        began = time.perf_counter()
        for first in range(0, rows, batch):
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO events VALUES (?,?,?,?,?,?,?,?)", [(1, seq, *ROW) for seq in range(first, first + batch)]
            )
            connection.execute("COMMIT")
        return rows / (time.perf_counter() - began)

    found = best(measure)
    connection.close()
    return found


ECHO = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor
method = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("limits.Echo", {"Echo": method}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""
"""A server that does nothing, in a process of its own."""


def unary_calls(calls: int = 1_000) -> float:
    """Bare unary gRPC calls a second over loopback, one after the other, to a server in another process."""
    import grpc

    with subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            echo: Any = channel.unary_unary("/limits.Echo/Echo")
            echo(b"", wait_for_ready=True)

            def measure() -> float:
                began = time.perf_counter()
                for _ in range(calls):
                    echo(b"x" * 200)
                return calls / (time.perf_counter() - began)

            found = best(measure)
        process.terminate()
    return found
