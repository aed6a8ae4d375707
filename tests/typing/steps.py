"""What a type checker sees of steps. Read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, assert_type

import attrs

from replay import Retry, Step, StepFunction, Workflow, step, workflow


@attrs.frozen
class Receipt:
    id: str


@step
def charge(card: str, cents: int = 100, *, note: str = "") -> Receipt:
    return Receipt(card)


@step
async def ship(sku: str) -> str:
    return sku


@step
def nothing() -> None: ...


@step(retry=Retry(max_attempts=5, initial=0.2), timeout=10, queue="gpu", raises=[ValueError])
def configured(n: int) -> list[int]:
    return [n]


@step(at_most_once=True)
async def configured_async(n: int) -> dict[str, int]:
    return {"n": n}


@step
def deferred(n: int) -> Awaitable[int]:
    raise NotImplementedError


@step
def optional(n: int | None = None) -> int | None:
    return n


@step()
def with_empty_brackets(n: int) -> int:
    return n


@workflow
def using_steps() -> Workflow[None]:
    assert_type(charge("visa", 5), Step[Receipt])
    assert_type((yield from charge("visa", 5, note="x")), Receipt)
    assert_type((yield from charge(card="visa")), Receipt)
    assert_type((yield from ship("sku")), str)  # an async step answers what it awaits
    assert_type((yield from configured(1)), list[int])
    assert_type((yield from configured_async(1)), dict[str, int])
    assert_type((yield from deferred(1)), int)
    assert_type((yield from optional()), int | None)
    assert_type((yield from with_empty_brackets(1)), int)
    assert_type((yield from charge("visa").options(retry=Retry(), timeout=1, id="x")), Receipt)
    untyped: Any = yield charge("visa")  # a bare yield is Any to every checker
    assert_type((yield from helper(untyped)), str)


def helper(card: str) -> Workflow[str]:
    receipt = yield from charge(card)
    return receipt.id


def in_a_unit_test() -> None:
    kept: StepFunction[[str], str] = ship
    assert_type(kept("sku"), Step[str])
