"""What a type checker sees of branches side by side. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

from replay import Effect, Spawned, Workflow, cancel, gather, join, now, race, shield, sleep, spawn, step, timeout, workflow


@step
def number(n: int) -> int:
    return n


@step
async def text(value: str) -> str:
    return value


@step
def flag() -> bool:
    return True


def helper() -> Workflow[float]:
    yield from number(1)
    return 0.5


@workflow
def of_different_types() -> Workflow[None]:
    assert_type((yield from gather(number(1), text("a"))), tuple[int, str])
    assert_type((yield from gather(number(1), text("a"), flag())), tuple[int, str, bool])
    assert_type((yield from gather(number(1), text("a"), flag(), sleep(1))), tuple[int, str, bool, None])
    assert_type((yield from gather(helper(), number(1))), tuple[float, int])
    one, two = yield from gather(number(1), helper())
    assert_type(one, int)
    assert_type(two, float)


@workflow
def of_one_type(values: list[int]) -> Workflow[None]:
    effects = [number(each) for each in values]
    assert_type((yield from gather(*effects)), tuple[int, ...])
    assert_type((yield from gather(effects)), tuple[int, ...])
    assert_type((yield from gather(*[number(each) for each in values], limit=3)), tuple[int, ...])
    assert_type((yield from gather([number(each) for each in values], limit=3)), tuple[int, ...])
    assert_type((yield from gather(*effects, min_successful=1)), tuple[int | None, ...])
    assert_type((yield from gather(*effects, return_errors=True)), tuple[int | BaseException, ...])
    assert_type((yield from gather(*effects, min_successful=1, return_errors=True)), tuple[int | BaseException | None, ...])
    assert_type((yield from gather(number(1), number(2), number(3), number(4), number(5))), tuple[int, ...])
    assert_type((yield from gather(*[helper() for _ in values])), tuple[float, ...])


@workflow
def of_the_first() -> Workflow[None]:
    assert_type((yield from race(number(1), number(2))), tuple[int, int])
    index, value = yield from race(text("a"), text("b"))
    assert_type(index, int)
    assert_type(value, str)
    assert_type((yield from timeout(number(1), 5)), int)
    assert_type((yield from timeout(helper(), 5)), float)
    assert_type((yield from shield(text("a"))), str)
    assert_type((yield from shield(helper())), float)


@workflow
def of_what_goes_on_beside() -> Workflow[None]:
    handle = yield from spawn(number(1))
    assert_type(handle, Spawned[int])
    assert_type((yield from join(handle)), int)
    other = yield from spawn(helper())
    assert_type((yield from join(other)), float)
    assert_type((yield from cancel(other, "enough")), None)
    assert_type((yield from gather(join(handle), join(other))), tuple[int, float])


@workflow
def of_nested_ones() -> Workflow[None]:
    deep = gather(number(1), timeout(gather(text("a"), flag()), 5))
    assert_type(deep, Effect[tuple[int, tuple[str, bool]]])
    first, (second, third) = yield from deep
    assert_type(first, int)
    assert_type(second, str)
    assert_type(third, bool)
    assert_type((yield from gather(now(), sleep(1)))[0].year, int)
