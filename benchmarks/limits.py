"""What this machine allows: the same work without replay, measured in the same run.

Each limit is the bare loop that replay's workload cannot beat: a generator, a driver alone, a hand-over to a thread, a server's call.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg

from replay.service.line import Line

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


def replay_from_postgres(dsn: str, steps: int) -> float:
    """Steps a second: read the rows in binary, then as ``replay_from_memory``."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        prepare_postgres(connection)
        with connection.cursor() as cursor:
            cursor.executemany(INSERT_POSTGRES, [(seq, *ROW) for seq in range(steps)])
        query = "SELECT seq, kind, command, name, at, payload FROM limit_events ORDER BY seq"

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
                for _, _, _, name, _, payload in connection.cursor(binary=True).execute(query):
                    if name != asked:
                        raise AssertionError
                    asked = machine.send(int(payload))
            except StopIteration:
                pass
            return steps / (time.perf_counter() - began)

        return best(measure)


INSERT_POSTGRES = "INSERT INTO limit_events VALUES (%s, %s, %s, %s, %s, %s, %s)"


def prepare_postgres(connection: psycopg.Connection) -> None:
    """An empty table of events."""
    connection.execute("DROP TABLE IF EXISTS limit_events")
    connection.execute(
        "CREATE TABLE limit_events (seq bigint PRIMARY KEY, kind text, command text, name text, at bigint, payload bytea, seal bigint)"
    )


def postgres_commits(dsn: str, commits: int = 1_000) -> float:
    """Commits a second of one row each, on one connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def measure() -> float:
            prepare_postgres(connection)
            began = time.perf_counter()
            for seq in range(commits):
                connection.execute(INSERT_POSTGRES, (seq, *ROW), prepare=True)
            return commits / (time.perf_counter() - began)

        return best(measure)


def postgres_rows(dsn: str, rows: int = 20_000, batch: int = 500) -> float:
    """Rows a second by COPY, in commits of 500."""
    with psycopg.connect(dsn) as connection:

        def measure() -> float:
            prepare_postgres(connection)
            connection.commit()
            began = time.perf_counter()
            for first in range(0, rows, batch):
                with connection.cursor() as cursor, cursor.copy("COPY limit_events FROM STDIN") as copy:
                    for seq in range(first, first + batch):
                        copy.write_row((seq, *ROW))
                connection.commit()
            return rows / (time.perf_counter() - began)

        return best(measure)


def s3_puts(endpoint: str, bucket: str, puts: int = 200, at_once: int = 1) -> float:
    """Bare PUTs a second of 500 bytes, one after the other or from several threads."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)

    def put(number: int) -> None:
        client.put_object(Bucket=bucket, Key=f"limit/{number}", Body=b"x" * 500)

    put(0)

    def measure() -> float:
        began = time.perf_counter()
        if at_once == 1:
            for number in range(puts):
                put(number)
        else:
            with ThreadPoolExecutor(at_once) as threads:
                list(threads.map(put, range(puts)))
        return puts / (time.perf_counter() - began)

    return best(measure, 2)


def thread_hops(hops: int = 2_000) -> float:
    """Hand-overs a second to a thread of a pool and back."""
    with ThreadPoolExecutor(1) as pool:

        def measure() -> float:
            began = time.perf_counter()
            for number in range(hops):
                pool.submit(int, number).result()
            return hops / (time.perf_counter() - began)

        return best(measure)


def claims_by_index(path: Path, rows: int, claims: int = 200) -> float:
    """Microseconds of a bare claim: the first row of an index, updated in a commit of its own, beside so many others."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE parked (id INTEGER PRIMARY KEY, ready INTEGER, worker TEXT)")
    connection.execute("CREATE INDEX by_ready ON parked (ready)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO parked (ready, worker) VALUES (?, '')", ((number,) for number in range(rows)))
    connection.execute("COMMIT")

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(claims):
            connection.execute("UPDATE parked SET ready=ready+1000000000 WHERE id=(SELECT id FROM parked ORDER BY ready LIMIT 1)")
        return claims / (time.perf_counter() - began)

    found = best(measure)
    connection.close()
    return 1e6 / found


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
methods = {
    "Call": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
    "Stream": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
}
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("limits.Echo", methods),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
"""
"""A server that does nothing, in a process of its own."""


@contextmanager
def echo() -> Iterator[grpc.Channel]:
    """A channel to that server."""
    with subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            yield channel
        process.terminate()


def pings(ask: Callable[[bytes], object], calls: int) -> float:
    """Round trips a second of 200 bytes each way, about the size of a step's commit, one after the other."""
    ask(b"")

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            ask(b"x" * 200)
        return calls / (time.perf_counter() - began)

    return best(measure)


def unary_calls(calls: int = 1_000) -> float:
    """Bare unary gRPC calls a second over loopback, to a server in another process."""
    with echo() as channel:
        call: Any = channel.unary_unary("/limits.Echo/Call")
        return pings(call, calls)


def streamed_messages(messages: int = 1_000) -> float:
    """The same over one stream, by the line that commits go over."""
    with echo() as channel, closing(Line(channel, "/limits.Echo/Stream", (), 10.0)) as line:
        return pings(line.try_ask, messages)
