"""A real S3 server for tests: Ceph with two of its gateways, on the loopback address, in a temporary folder.

Rule 1: it is made of the machine's binaries (Debian: radosgw, ceph-mon, ceph-osd), and needs neither root nor configuration; data lie
in memory.
Rule 2: one serves a whole test run. Whoever uses it holds a shared lock on a file; the process that runs the daemons waits for that
lock alone, and so ends them when the last user has gone, however it went.
Rule 3: two gateways over one cluster: what two clients do at once through both is a true race.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

PROGRAMS: Final = ("monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin")
USERS: Final = ("writer", "reader")
"""Each has its own name as access key, and ``secret`` as secret."""
SECRET: Final = "secret"  # noqa: S105 - of a server that lives for a test run
KEEPERS: Final[list[subprocess.Popen[bytes]]] = []
"""Processes that run daemons for this one and perhaps for others; they end by themselves."""
PATIENCE: Final = 100.0
"""Seconds that the daemons may take to start."""
SETTINGS: Final = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
crash dir = {folder}
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
mon data avail crit = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
mon pg warn min per osd = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
setuser match path =
rgw thread pool size = 32
rgw enable usage log = false
rgw dns name = localhost
"""
GATEWAY: Final = """
[client.{name}]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


def missing() -> list[str]:
    """Programs that are not on this machine."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@attrs.define
class Cluster:
    """The daemons.

    Attributes:
        folder: Where their files are.
        endpoints: Where the gateways listen.
    """

    folder: Path
    endpoints: list[str] = attrs.field(factory=list)
    _daemons: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def start(self) -> None:
        """Start all of them; comes back when both gateways answer and the users are known."""
        monitor, fsid = free_port(), str(uuid.uuid4())
        ports = {f"rgw{number}": free_port() for number in (1, 2)}
        gateways = "".join(GATEWAY.format(name=name, port=port) for name, port in ports.items())
        self._conf.write_text(SETTINGS.format(fsid=fsid, port=monitor, folder=self.folder) + gateways)
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir()
        monmap = str(self.folder / "monmap")
        self._run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{monitor}/0]", "--fsid", fsid, monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        self._run("ceph", "osd", "new", disk)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=h", "root=default")
        self._daemon("ceph-osd", "-i", "0")
        for user in USERS:
            self._run(
                "radosgw-admin", "user", "create", "--uid", user, "--display-name", user, f"--access-key={user}", f"--secret={SECRET}"
            )
        for name, port in ports.items():
            self._daemon("radosgw", "-n", f"client.{name}")
            answers(port)
            self.endpoints.append(f"http://127.0.0.1:{port}")

    @property
    def _conf(self) -> Path:
        return self.folder / "ceph.conf"

    def _run(self, program: str, *arguments: str) -> None:
        command = [program, "-c", str(self._conf), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603 - Ceph's own programs
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")

    def _daemon(self, program: str, *arguments: str) -> None:
        command = [program, "-c", str(self._conf), "-f", *arguments]
        with (self.folder / f"{program}.out").open("ab") as out:
            self._daemons.append(subprocess.Popen(command, stdout=out, stderr=out))  # noqa: S603 - Ceph's own programs

    def stop(self) -> None:
        """End them: there is nothing to keep."""
        for daemon in reversed(self._daemons):
            daemon.kill()
        for daemon in self._daemons:
            daemon.wait()


def answers(port: int) -> None:
    """Wait until a gateway takes connections.

    Raises:
        TimeoutError: It does not.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise TimeoutError(f"no gateway at port {port}") from None
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def shared_cluster(place: Path) -> Iterator[list[str]]:
    """The gateways' addresses, of the one cluster for all processes that name the same folder; the first of them starts it."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "life").open("a+b") as life:
        with (place / "start").open("a+b") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(life, fcntl.LOCK_SH)
            told = place / "endpoints"
            if not told.exists():
                begin(place)
            endpoints: list[str] = json.loads(told.read_text())
        yield endpoints


def begin(place: Path) -> None:
    """Start the process that runs the daemons.

    Raises:
        RuntimeError: It could not.
    """
    code = "import pathlib, sys; from replay_s3.testing.ceph import keep; keep(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(place)]
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 - this module
    KEEPERS.append(keeper)
    assert keeper.stdout is not None
    with keeper.stdout as said:
        if said.readline() != b"ready\n":
            raise RuntimeError(f"Ceph did not start (exit {keeper.wait()}): see the lines above")


def keep(place: Path) -> None:
    """Run a cluster for as long as somebody holds the lock of its folder."""
    folder = Path(tempfile.mkdtemp(prefix="replay-rgw-"))  # a short name: sockets lie in it
    told = place / "endpoints"
    cluster = Cluster(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with (place / "life").open("a+b") as life:
            cluster.start()
            told.write_text(json.dumps(cluster.endpoints))
            os.write(1, b"ready\n")
            fcntl.flock(life, fcntl.LOCK_EX)
            told.unlink()
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def client(endpoint: str, user: str = USERS[0]) -> Any:
    """A client of a gateway, as one of the users."""
    import boto3

    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=user, aws_secret_access_key=SECRET, region_name="us-east-1")


def free_port() -> int:
    """A port of the loopback address that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
