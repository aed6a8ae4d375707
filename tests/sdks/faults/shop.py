"""The shop in Python: `shop.py worker URL LOG`. Each step notes in a file that it was begun, as in shop.mts and go/main.go."""

from __future__ import annotations

import os
import sys
import threading
import time

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
    with replay.Engine(sys.argv[2], workflows=[order, filling, lingering], ttl=2, concurrency=4):
        threading.Event().wait()


if __name__ == "__main__":
    main()
