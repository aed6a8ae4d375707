"""The shop in Python: `shop.py worker URL LOG [MAX_RECOVERIES]`. Each step notes in a file that it was begun."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import replay
from replay import Workflow, step, step_info, workflow


def note() -> None:
    """One line, in one write."""
    line = f"{step_info().idempotency_key} {time.time_ns() // 1000} python/{os.getpid()}\n"
    with open(sys.argv[3], "a", encoding="utf-8") as log:  # noqa: PTH123 - the oldest way to append
        log.write(line)


@step(name="faults.touch")
def touch(number: int) -> int:
    """What is done again and again."""
    note()
    time.sleep(0.05)
    return 2 * number


@step(name="faults.fill")
def fill(size: int) -> str:
    """An answer of so many bytes."""
    return "x" * size


@step(name="faults.linger")
def linger(seconds: int) -> int:
    """Takes its time."""
    note()
    time.sleep(seconds)
    return seconds


@step(name="faults.kill")
def kill() -> str:
    """Takes its worker with it until it is mended."""
    if not Path(f"{sys.argv[3]}.mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return "mended"


@workflow(name="faults.deadly")
def deadly() -> Workflow[str]:
    """A run that kills."""
    return (yield from kill())


@workflow(name="faults.order")
def order(steps: int) -> Workflow[int]:
    """Steps one after the other."""
    total = 0
    for number in range(steps):
        total += yield from touch(number)
    return total


@workflow(name="faults.filling")
def filling(size: int, padding: str) -> Workflow[int]:
    """A large answer, or large arguments."""
    del padding
    text = yield from fill(size)
    return len(text)


@workflow(name="faults.lingering")
def lingering(seconds: int) -> Workflow[int]:
    """A long step and a short one."""
    lingered = yield from linger(seconds)
    doubled = yield from touch(1)
    return lingered + doubled


@lingering.query
def planned(seconds: int, more: int) -> int:
    """How long it takes, and more."""
    return seconds + more


def main() -> None:
    """A worker, until it is killed."""
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    with replay.Engine(sys.argv[2], workflows=[order, filling, lingering, deadly], ttl=2, concurrency=4, max_recoveries=limit):
        threading.Event().wait()


if __name__ == "__main__":
    main()
