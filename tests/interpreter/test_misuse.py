"""Yielding what is no effect: refused at that line, with what to write instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from replay import EffectError, Workflow, callback, gather, spawn, workflow
from tests.interpreter.world import World, double, doubled, echo, unlisted


async def coroutine() -> int:
    return 1


async def asynchronous() -> AsyncGenerator[int]:
    yield 1


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


def plain() -> int:
    return 1


WRONG: dict[str, tuple[Any, str, str]] = {
    "a coroutine": (coroutine, "coroutine <coroutine object coroutine", "make the coroutine function a @step and yield its call"),
    "a generator": (lambda: doubled(1), "generator <generator object doubled", "write `yield from helper(…)`"),
    "a list": (lambda: [double(1)], "list [", "write `yield from gather(a, b, …)`"),
    "a tuple": (lambda: (double(1), double(2)), "tuple (", "write `yield from gather(a, b, …)`"),
    "nothing": (lambda: None, "NoneType None", "a bare `yield` waits for nothing; leave it out, or yield `sleep(0)`"),
    "a function": (lambda: plain, "function <function plain", "call it"),
    "a lambda": (lambda: lambda: 1, "function <function", "call it"),
    "a step": (lambda: double, "StepFunction <step double>", "call it"),
    "a workflow": (lambda: child, "WorkflowFunction <workflow child>", "call it"),
    "an effect's builder": (lambda: gather, "function <function gather", "call it"),
    "a number": (lambda: 3, "int 3", "yield what a @step, a @workflow or a function of replay returns"),
    "a text": (lambda: "x" * 999, "str 'xxx", "yield what a @step, a @workflow or a function of replay returns"),
    "an async generator": (asynchronous, "async_generator", "yield what a @step"),
    "an exception": (lambda: ValueError("x"), "ValueError ValueError('x')", "yield what a @step"),
}


@pytest.mark.parametrize(("make", "got", "advice"), WRONG.values(), ids=WRONG)
def test_what_is_no_effect_is_refused_with_advice(make: Any, got: str, advice: str) -> None:
    """Naming what came, in a bounded text."""

    @workflow
    def confused() -> Workflow[Any]:
        yield make()

    world = World(confused())

    assert "replay.errors.EffectError" == world.failure.type
    assert world.failure.message.startswith(f"a workflow yielded {got}")
    assert "which is no effect; " in world.failure.message
    assert advice in world.failure.message
    assert len(world.failure.message) < 500


@pytest.mark.parametrize(("make", "got", "advice"), WRONG.values(), ids=WRONG)
def test_it_is_raised_at_the_line_that_yielded_it(make: Any, got: str, advice: str) -> None:
    """Where it can be caught, and the traceback shows it."""

    @workflow
    def confused() -> Workflow[Any]:
        try:
            yield make()
        except EffectError as error:
            seen = error.__traceback__ and error.__traceback__.tb_lineno
            return seen, (yield from double(1))

    line, answer = World(confused()).answer("0", 2).result

    assert (confused.fn.__code__.co_firstlineno + 3, 2) == (line, answer)


def test_a_value_whose_repr_raises_is_still_named() -> None:
    """An error about an error helps nobody."""

    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @workflow
    def confused() -> Workflow[Any]:
        yield Shy()  # type: ignore[misc]

    assert "Shy <unprintable, repr raised RuntimeError>" in World(confused()).failure.message


def test_a_callback_is_waited_for_with_yield_from() -> None:
    """It is no effect by itself."""

    @workflow
    def asking() -> Workflow[Any]:
        token = yield from callback()
        yield token  # type: ignore[misc]

    assert World(asking()).failure.message.endswith("write `yield from` in front of what callback() answered")


def test_a_branch_that_yields_what_is_no_effect_fails_its_combinator() -> None:
    """As any failure of a branch."""

    def wrong() -> Workflow[Any]:
        yield 3  # type: ignore[misc]

    @workflow
    def both() -> Workflow[Any]:
        return (yield from gather(wrong(), double(1)))

    assert "replay.errors.EffectError" == World(both()).failure.type


def test_a_workflow_that_yields_wrongly_may_go_on() -> None:
    """Command numbers are not spent on refusals."""

    @workflow
    def sturdy() -> Workflow[int]:
        wrongs: list[Any] = [None, 3, [], spawn]
        for wrong in wrongs:
            try:
                yield wrong
            except EffectError:
                pass
        return (yield from double(1))

    assert ["0 step double(1)"] == World(sturdy()).pending


def test_a_subclass_of_an_effect_is_that_effect() -> None:
    """Whoever extends one need not teach the interpreter."""
    kind = type(echo("x"))

    class Loud(kind):  # type: ignore[valid-type,misc]
        __slots__ = ()

    @workflow
    def extended() -> Workflow[Any]:
        plain_one: Any = echo("x")
        return (yield Loud(plain_one.spec, plain_one.payload, plain_one.options_))

    world = World(extended())
    assert ['0 step echo("x")'] == world.pending
    assert 1 == world.answer("0", 1).result


@pytest.mark.parametrize("raised", [SystemExit, GeneratorExit, type("Odd", (BaseException,), {})])
def test_what_is_no_exception_ends_the_run_and_nothing_else(raised: type[BaseException]) -> None:
    """A workflow that calls ``sys.exit`` fails; were it the worker that ended, every worker that claims the run would."""

    @workflow
    def leaving() -> Workflow[Any]:
        try:
            yield from double(1)
        finally:
            raise raised("I quit")

    assert "I quit" == World(leaving()).answer("0", 2).failure.message
    World(leaving()).machine.close()


def test_ctrl_c_is_meant_for_the_process() -> None:
    """It comes in where the code happens to be, and says nothing about the run."""

    @workflow
    def interrupted() -> Workflow[Any]:
        yield from double(1)
        raise KeyboardInterrupt

    world = World(interrupted())
    with pytest.raises(KeyboardInterrupt):
        world.answer("0", 2)
