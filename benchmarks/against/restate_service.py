"""The workloads as Restate handlers; hypercorn serves them, over HTTP/2 in both directions."""

from __future__ import annotations

import time
from typing import Any

import restate

bench = restate.Service("bench")
ARRIVED: list[float] = [0.0]
TRIED: set[bytes] = set()


async def work(number: int) -> int:
    return number


@bench.handler()
async def sequence(context: restate.Context, steps: int) -> int:
    total = 0
    for number in range(steps):
        total += await context.run_typed("work", work, number=number)
    return total


@bench.handler()
async def at_once(context: restate.Context, steps: int) -> int:
    done = await restate.gather(*[context.run_typed("work", work, number=number) for number in range(steps)])
    return len(done)


@bench.handler()
async def failing_once(context: restate.Context, steps: int) -> float:
    """Seconds of the second attempt, from the arrival of its request with the journal to the last step."""
    for number in range(steps):
        await context.run_typed("work", work, number=number)
    took = time.perf_counter() - ARRIVED[0]
    run = bytes(str(context.request().id), "utf-8")
    if run not in TRIED:
        TRIED.add(run)
        raise RuntimeError("the crash that is wanted")
    return took


handlers = restate.app([bench])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The service, which notes when a request arrives."""
    if scope["type"] == "http":
        ARRIVED[0] = time.perf_counter()
    await handlers(scope, receive, send)
