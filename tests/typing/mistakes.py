"""What a type checker refuses: each line marked here is an error to mypy and to pyright, and an unneeded mark is one too."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

import attrs

from replay import (
    Effect,
    Engine,
    Retry,
    Workflow,
    cancel,
    gather,
    join,
    log,
    race,
    set_tags,
    signal,
    spawn,
    start_child,
    step,
    timeout,
    workflow,
)


@attrs.frozen
class Receipt:
    id: str


@step
def charge(card: str, cents: int) -> Receipt:
    return Receipt(card)


@step
async def ship(sku: str) -> str:
    return sku


@workflow
def order(n: int) -> Workflow[Receipt]:
    return (yield from charge("visa", n))


def wrong_arguments() -> None:
    charge("visa", "five")  # type: ignore[arg-type]
    charge("visa")  # type: ignore[call-arg]
    charge("visa", 5, 6)  # type: ignore[call-arg]
    charge("visa", cents=5, colour="red")  # type: ignore[call-arg]
    ship(3)  # type: ignore[arg-type]
    order("x")  # type: ignore[arg-type]
    order()  # type: ignore[call-arg]
    charge("visa", 5).options(retry=3)  # type: ignore[arg-type]
    charge("visa", 5).options(colour="red")  # type: ignore[call-arg]
    order(1).options(on_parent_close="leave")  # type: ignore[arg-type]


@workflow
def wrong_results() -> Workflow[int]:
    assert_type((yield from charge("visa", 5)), str)  # type: ignore[assert-type]
    assert_type((yield from ship("sku")), int)  # type: ignore[assert-type]
    one, two, _three = yield from gather(ship("a"), charge("visa", 5))  # type: ignore[misc]
    index: str
    index, _ = yield from race(ship("a"), ship("b"))  # type: ignore[assignment]
    flag: str = yield from signal("go", bool)  # type: ignore[assignment]
    late: str = yield from timeout(charge("visa", 5), 5)  # type: ignore[assignment]
    handle = yield from spawn(ship("a"))
    joined: int = yield from join(handle)  # type: ignore[assignment]
    print(index, flag, late, joined, one, two)
    return "no int"  # type: ignore[return-value]


@workflow
def wrong_yields() -> Workflow[None]:
    yield 3  # type: ignore[misc]
    yield None  # type: ignore[misc]
    yield charge  # type: ignore[misc]
    yield from gather(3, 4)  # type: ignore[call-overload]
    yield from join(charge("visa", 5))  # type: ignore[arg-type]
    yield from cancel("0/0")  # type: ignore[arg-type]
    yield from start_child(charge("visa", 5))  # type: ignore[arg-type]
    yield from log("text", level="loud")  # type: ignore[arg-type]
    yield from set_tags(size=3)  # type: ignore[arg-type]


@workflow  # type: ignore[arg-type]
def no_generator() -> int:
    return 1


@workflow  # type: ignore[arg-type]
async def asynchronous() -> int:
    return 1


@workflow  # type: ignore[arg-type]
def of_no_effects() -> Workflow[int] | None:
    return None


@step(retry=3)  # type: ignore[call-overload,untyped-decorator]
def wrong_setting() -> None: ...


@step(retries=3)  # type: ignore[call-overload,untyped-decorator]
def unknown_setting() -> None: ...


def wrong_runs(engine: Engine) -> None:
    print(engine.start(order))  # type: ignore[arg-type]
    print(engine.start(charge("visa", 5)))  # type: ignore[arg-type]
    result: int = engine.start(order(1)).result()  # type: ignore[assignment]
    effect: Effect[int] = ship("a")  # type: ignore[assignment]
    Retry(3)  # type: ignore[call-arg]
    print(result, effect)
