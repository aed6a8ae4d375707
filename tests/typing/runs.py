"""What a type checker sees of workflows, children and runs. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import attrs

import replay
from replay import Call, ChildHandle, Engine, Handle, Retry, Workflow, WorkflowFunction, gather, join, start_child, step, workflow


@attrs.frozen
class Cart:
    sku: str


@attrs.frozen
class Receipt:
    id: str


@step
def charge(sku: str) -> Receipt:
    return Receipt(sku)


@workflow
def order(cart: Cart, note: str = "") -> Workflow[Receipt]:
    return (yield from charge(cart.sku))


@workflow(version="2", retry=Retry(max_attempts=2), queue="slow", signals={"go": bool})
def configured(n: int) -> Workflow[list[int]]:
    yield from order(Cart("x"))
    return [n]


@workflow
def parent() -> Workflow[str]:
    assert_type(order(Cart("x")), Call[Receipt])
    assert_type((yield from order(Cart("x"), note="y")), Receipt)
    assert_type((yield from order(Cart("x")).options(id="mine", deadline=60)), Receipt)
    assert_type((yield from configured(1)), list[int])
    handle = yield from start_child(order(Cart("x")), on_parent_close="abandon")
    assert_type(handle, ChildHandle[Receipt])
    assert_type(handle.run_id, str)
    assert_type((yield from join(handle)), Receipt)
    assert_type((yield from gather(order(Cart("x")), configured(1))), tuple[Receipt, list[int]])
    return handle.run_id


def from_outside() -> None:
    kept: WorkflowFunction[[int], list[int]] = configured
    assert_type(kept(1), Call[list[int]])
    assert_type(replay.run(order(Cart("x")), id="order-42"), Receipt)
    with Engine("memory://") as engine:
        handle = engine.start(order(Cart("x")), id="order-42")
        print(assert_type(handle, Handle[Receipt]))
        assert_type(handle.result(timeout=10), Receipt)
        assert_type(engine.start(parent()).result(), str)
        found = engine.get("order-42")
        print(assert_type(found, Handle[Any]))


async def from_a_coroutine(engine: Engine) -> None:
    assert_type(await engine.start(order(Cart("x"))), Receipt)
    assert_type(await engine.start(configured(1)), list[int])


@order.query
def total(cart: Cart) -> int:
    return len(cart.sku)


def of_a_query() -> None:
    assert_type(total(Cart("x")), int)
