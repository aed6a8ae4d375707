"""For tests and benchmarks: a PostgreSQL cluster of its own in a temporary folder, and a wire to it that can be cut.

Rule 1: a cluster is made of the machine's binaries and needs no configuration; it has its own folder, socket and port of the loopback
address, so it disturbs no other.
Rule 2: PostgreSQL refuses to run as root, so as root it runs as the user ``postgres``.
Rule 3: it is gone when its ``with`` ends; a cluster whose process was killed leaves a folder below the temporary one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import psycopg

PLACES: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
"""Where distributions put the server's binaries, beside what ``pg_config`` and the path say."""
USER: Final = "postgres"
GUARDED: Final = "guarded"
"""A role that needs its password, once somebody has made it; all others need none."""
READY: Final = b"Z\x00\x00\x00\x05I"
"""What a server says when it is done and no transaction is open."""
IN_TRANSACTION: Final = b"Z\x00\x00\x00\x05T"
"""The same while one is open."""


def binaries() -> Path | None:
    """The folder of the server's binaries, the newest when there are several; None when there are none."""
    config = shutil.which("pg_config")
    if config:
        found = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - found on the path
        if found and (Path(found) / "initdb").exists():
            return Path(found)
    initdb = shutil.which("initdb")
    if initdb:
        return Path(initdb).resolve().parent
    found_by_place = [folder for place in PLACES for folder in Path("/").glob(place[1:]) if (folder / "initdb").exists()]
    return max(found_by_place, key=lambda folder: [int(part) for part in str(folder).split("/") if part.isdigit()], default=None)


class TemporaryCluster:
    """A running server.

    Args:
        settings: Settings of the server, as ``name=value``; by default nothing is flushed to disk, for speed.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        folder: Where its files and its socket are.
    """

    def __init__(self, settings: Sequence[str] = ("fsync=off",)) -> None:
        found = binaries()
        if found is None:
            raise FileNotFoundError("no PostgreSQL server binaries: install the package postgresql")
        self._binaries = found
        self._settings = [*settings, "max_connections=60"]
        self.folder = Path(tempfile.mkdtemp(prefix="replay-pg-"))
        self.port = free_port()

    def __enter__(self) -> Self:
        self.folder.chmod(0o711)
        self._work = self.folder / "pg"
        self._work.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self._work, USER, USER)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        rules = Path(self._data) / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self._work / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        subprocess.run(  # noqa: S603 - the server's own programs
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}, cwd=self._work
        )

    def start(self) -> None:
        """Start it; comes back when it takes connections."""
        settings = " ".join(f"-c {setting}" for setting in self._settings)
        options = f"-p {self.port} -h 127.0.0.1 -k {self._work} {settings}"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", str(self._work / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` as for maintenance, ``immediate`` as by a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def url(self, options: str = "", *, database: str = "postgres", user: str = USER, port: int | None = None) -> str:
        """A store's URL."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}" + (f"?{options}" if options else "")

    @contextlib.contextmanager
    def connection(self, database: str = "postgres", user: str = USER) -> Iterator[psycopg.Connection]:
        """A connection of its own, in autocommit mode."""
        with contextlib.closing(
            psycopg.connect(host="127.0.0.1", port=self.port, dbname=database, user=user, autocommit=True)
        ) as connection:
            yield connection

    def execute(self, sql: str) -> None:
        """Run a statement as the cluster's owner."""
        with self.connection() as connection:
            connection.execute(sql.encode())


@contextlib.contextmanager
def pooler(cluster: TemporaryCluster) -> Iterator[int]:
    """A pgbouncer of one's own that shares the cluster's connections by transactions; its port.

    Raises:
        FileNotFoundError: There is none on this machine.
    """
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("no pgbouncer: install the package pgbouncer")
    folder, port = Path(tempfile.mkdtemp(prefix="replay-pgbouncer-")), free_port()
    folder.chmod(0o755)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port} user={USER}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 200\n"
    )
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*as_user, found, "-q", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        answers(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> None:
    """Wait until somebody listens at a port of this machine.

    Raises:
        TimeoutError: Nobody does.
    """
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens at port {port}")


class CutWire:
    """A wire to a server on this machine, which can be cut where it hurts.

    Attributes:
        port: Where it begins, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._armed: Literal["", "question", "answer"] = ""
        self._stay_down = False
        self._down = False
        self._ends: set[socket.socket] = set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._welcome, daemon=True).start()

    def lose(self, what: Literal["question", "answer"], *, stay_down: bool = False) -> None:
        """Cut the wire when something is said next.

        Args:
            what: ``question``: what is asked next does not reach the server. ``answer``: what is asked next is done, to the end of
                its transaction, and nobody hears of it.
            stay_down: Whether nobody can connect afterwards, until ``mend``.
        """
        self._stay_down = stay_down
        self._armed = what

    def cut(self, *, stay_down: bool = False) -> None:
        """Cut every connection now."""
        self._down = stay_down
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self._armed, self._down = "", False

    def close(self) -> None:
        """Take the wire away."""
        self.cut(stay_down=True)
        self._door.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._door.accept()
                if self._down:
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", self._to))
                self._ends |= {here, there}
                threading.Thread(target=self._carry, args=(here, there, "question"), daemon=True).start()
                threading.Thread(target=self._carry, args=(there, here, "answer"), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, what: str) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self._armed == what == "question":
                    break
                if self._armed == what == "answer":
                    held += data
                    if held.endswith(READY):
                        break
                    if not held.endswith(IN_TRANSACTION):
                        continue
                    data = b""
                target.sendall(held + data)
                held = b""
            if self._armed == what:
                self._armed = ""
                self._down = self._stay_down
        for end in (source, target):
            self._ends.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def free_port() -> int:
    """A port of the loopback address that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
