"""The order in Python, and the step that is done in Python. ``order.py URL`` is a worker."""

from __future__ import annotations

import sys
import threading

import replay
from replay import Workflow, sleep, step, workflow


@step(name="reserve", queue="python")
def reserve(sku: str) -> str:
    return f"{sku} reserved in Python"


@step(name="charge", queue="go")
def charge(cents: int) -> str:  # done in Go: see go/main.go
    raise NotImplementedError


@step(name="ship", queue="typescript")
def ship(sku: str) -> str:  # done in TypeScript: see typescript/order.ts
    raise NotImplementedError


@workflow(name="polyglot.order")
def order(sku: str, cents: int) -> Workflow[list[str]]:
    reserved = yield from reserve(sku)
    charged = yield from charge(cents)
    yield from sleep(0.5)
    shipped = yield from ship(sku)
    return [reserved, charged, shipped]


if __name__ == "__main__":
    with replay.Engine(sys.argv[1], queues=["default", "python"], ttl=2):
        threading.Event().wait()  # until a signal ends it
