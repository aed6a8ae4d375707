"""Effects that a workflow builds and throws away are raised; those that it keeps, replaces or hands on are not."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import replay
from replay import Effect, PayloadError, Workflow, WorkflowFunction, workflow
from replay.testing import UnyieldedEffect, World
from tests.testing.shop import note


def found(made: WorkflowFunction[[], Any]) -> list[str]:
    """Effects that a workflow's run throws away."""
    with World(strict=False) as world:
        world.start(made()).result()
        return [thrown.effect for thrown in world.thrown_away]


# ---- mistakes -----------------------------------------------------------------------------------------------------------


@workflow(name="kit_alone")
def alone() -> Workflow[str]:
    note("forgotten")
    return (yield from note("done"))


@workflow(name="kit_last")
def last() -> Workflow[str]:
    done = yield from note("done")
    note("forgotten")
    return done


@workflow(name="kit_overwritten")
def overwritten() -> Workflow[str]:
    effect = note("forgotten")
    effect = note("done")
    return (yield from effect)


@workflow(name="kit_truth")
def truth() -> Workflow[str]:
    if note("forgotten"):  # type: ignore[truthy-bool]  # the mistake under test; mypy sees it too
        return (yield from note("done"))
    return ""


@workflow(name="kit_listed")
def listed() -> Workflow[str]:
    [note("forgotten") for _ in range(1)]
    return (yield from note("done"))


@workflow(name="kit_held")
def held() -> Workflow[str]:
    kept = note("forgotten")
    done = yield from note("done")
    return f"{done} {type(kept).__name__}"


@workflow(name="kit_in_a_helper")
def in_a_helper() -> Workflow[str]:
    def helper() -> Workflow[str]:
        note("forgotten")
        return (yield from note("done"))

    return (yield from helper())


@workflow(name="kit_in_a_branch")
def in_a_branch() -> Workflow[str]:
    def branch() -> Workflow[str]:
        one = yield from note("one")
        note("forgotten")
        return one

    return "".join((yield from replay.gather(branch(), note("two"))))


@workflow(name="kit_other_effects")
def other_effects() -> Workflow[str]:
    replay.sleep(5)
    return (yield from note("done"))


@pytest.mark.parametrize("made", [alone, last, overwritten, truth, listed, held, in_a_helper, in_a_branch], ids=lambda made: made.name)
def test_an_effect_that_is_thrown_away_is_found(made: WorkflowFunction[[], str]) -> None:
    """Wherever the code stands that forgot to yield it."""
    assert ['step kit_note("forgotten")'] == found(made)


def test_effects_of_every_kind_are_found() -> None:
    """Not only steps."""
    assert ["sleep 5 s"] == found(other_effects)


def test_it_is_raised_with_the_line_and_what_to_write() -> None:
    """A strict world, which is the default, fails the test."""
    with World() as world, pytest.raises(UnyieldedEffect) as caught:
        world.start(alone(), id="run").result()

    line = alone.fn.__code__.co_firstlineno + 2
    assert ("run", f"{__file__}:{line}") == (caught.value.run, caught.value.line)
    assert 'write `yield from kit_note("forgotten")`' in str(caught.value)


# ---- no mistakes ----------------------------------------------------------------------------------------------------------


@workflow(name="kit_replaced")
def replaced() -> Workflow[str]:
    return (yield from note("done").options(timeout=5))


@workflow(name="kit_saga")
def with_saga() -> Workflow[str]:
    def body(saga: replay.Saga) -> Workflow[str]:
        done = yield from note("done")
        saga.compensate(note("undone"))
        return done

    return (yield from replay.saga(body))


@workflow(name="kit_own_saga")
def own_saga() -> Workflow[str]:
    undo: list[Effect[str]] = []
    done = yield from note("done")
    undo.append(note("undone"))
    try:
        yield from note("more")
    except ValueError:
        for effect in undo:
            yield from effect
    return done


@workflow(name="kit_variable_and_list")
def variable_and_list() -> Workflow[str]:
    undo = []
    effect = note("undone")
    undo.append(effect)
    done = yield from note("done")
    return done if undo else ""


@workflow(name="kit_never_begun")
def never_begun() -> Workflow[str]:
    def wrap(effect: Effect[str]) -> Workflow[str]:
        return (yield from effect)

    answers = yield from replay.gather(*[wrap(note(f"{i}")) for i in range(5)], limit=1, min_successful=1)
    return str(answers[0])


@workflow(name="kit_overtaken")
def overtaken() -> Workflow[str]:
    def branch() -> Workflow[str]:
        later = note("later")
        yield from replay.sleep(100)
        return (yield from later)

    _, answer = yield from replay.race(branch(), note("done"))
    return answer


@workflow(name="kit_swept_away")
def swept_away() -> Workflow[str]:
    wrong: Any = 5
    try:
        yield from replay.gather(note("fine"), note(wrong))
    except PayloadError:
        pass
    return (yield from note("done"))


@workflow(name="kit_built_before")
def built_before() -> Workflow[str]:
    effects = [note("one"), note("two")]
    return "".join((yield from replay.gather(effects)))


@workflow(name="kit_mapped")
def mapped() -> Workflow[str]:
    effects: dict[str, Callable[[], Effect[str]]] = {"a": lambda: note("a")}
    return (yield from effects["a"]())


@workflow(name="kit_collected")
def collected() -> Workflow[str]:
    ring: list[Any] = [note("in a ring")]
    ring.append(ring)
    del ring
    gc.collect()
    return (yield from note("done"))


@pytest.mark.parametrize(
    "made",
    [
        replaced, with_saga, own_saga, variable_and_list, never_begun, overtaken, swept_away, built_before, mapped, collected,
    ],
    ids=lambda made: made.name,
)  # fmt: skip
def test_an_effect_that_is_kept_replaced_or_overtaken_is_none(made: WorkflowFunction[[], str]) -> None:
    """No false alarm: only what can never be yielded any more, by the hand of the line that runs."""
    assert [] == found(made)


def test_a_crash_in_the_middle_is_no_mistake_of_the_workflow() -> None:
    """What a dead worker's workflow had built is gone with it."""

    @workflow
    def waits() -> Workflow[str]:
        later = note("later")
        yield from replay.sleep(hours=1)
        return (yield from later)

    with World() as world:
        handle = world.start(waits())
        world.run_until_idle()
        world.crash()
        world.crash()

        assert "later" == handle.result()


def test_production_has_no_hook() -> None:
    """It is there only while a world is open."""
    with World():
        assert hasattr(Effect, "__del__")

    assert not hasattr(Effect, "__del__")
