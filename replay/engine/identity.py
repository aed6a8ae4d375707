"""Who a worker is, and whether one of this machine is still alive.

Rule 1: a name tells host, process namespace, process and its start, so that a number used again is no mistaken identity.
Rule 2: a worker of this machine whose process is gone will not come back: its leases end now instead of later. The fence makes this
safe even when it is wrong. They are not given back, as nobody did that: who takes the runs over counts one worker lost.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from replay.store.contract import Filter, Lease, Run, Store


def worker_name() -> str:
    """A name for one engine of this process."""
    return f"{_home()}/{os.getpid()}.{_began(os.getpid())}/{secrets.token_hex(3)}"


def place() -> dict[str, str | int]:
    """Where this process is, and what it runs, for people."""
    from replay import __version__

    return {"host": socket.gethostname(), "pid": os.getpid(), "version": f"python/{__version__}"}


def _home() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        namespace = "0"
    return f"{socket.gethostname()}/{namespace}"


def _began(pid: int) -> str:
    """When a process began, as its kernel tells it; empty where it does not."""
    return (_facts(pid) or [""] * 20)[19]


def _facts(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on; nothing where it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_dead(worker: str) -> bool:
    """Whether a worker was a process of this machine that is gone."""
    home, _, rest = worker.rpartition("/")
    home, _, process = home.rpartition("/")
    del rest
    pid, _, began = process.partition(".")
    if home != _home() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _facts(int(pid))[:1] == ["Z"] or (bool(began) and _began(int(pid)) != began)  # nobody has buried it yet


def end_orphans(store: Store, namespace: str, *, limit: int = 1_000) -> int:
    """End the leases of workers of this machine that are gone; how many."""
    orphans: list[Run] = []
    cursor = ""
    while len(orphans) < limit:
        page = store.find(Filter(namespace=namespace, statuses=("running",)), limit=200, cursor=cursor)
        orphans += [run for run in page.runs if run.worker and is_dead(run.worker)]
        cursor = page.cursor
        if not cursor:
            break
    leases = [Lease(run.key, run.fence, run.worker, 0) for run in orphans]
    if leases:
        store.renew(leases, ttl=0)
    return len(leases)
