"""Random workflows: a program is data, made by a seed, and one workflow runs it; so effects meet that no person would put together."""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import replay
from replay import Cancelled, Workflow, WorkflowError, workflow
from replay.testing import Simulation
from tests.simulation.hard_scenarios import stubborn
from tests.simulation.scenarios import add, double, flaky, hopeless

Program = list[Any]
"""The word, then its arguments; parts are programs too."""
LEAVES = (
    "step", "step", "async", "async", "flaky", "hopeless", "stubborn", "sleep", "sleep", "signal", "signal", "say", "point", "ambient",
    "log",
)  # fmt: skip
BRANCHES = (
    "seq", "seq", "seq", "gather", "gather", "race", "timeout", "join", "cancel", "shield", "tidy", "child", "handle", "try", "try",
)  # fmt: skip


def make(dice: random.Random, depth: int) -> Program:
    """A random program."""
    if depth == 0 or dice.random() < 0.25:
        return [dice.choice(LEAVES), dice.randrange(8)]
    word = dice.choice(BRANCHES)
    parts = [make(dice, depth - 1) for _ in range(dice.randint(1, 4 if word in {"seq", "gather", "race"} else 1))]
    return [word, dice.randrange(8), *parts]


@workflow(name="sim_program")
def program(tree: Program) -> Workflow[Any]:
    """Run a program; failures become words, so that everything ends."""
    try:
        return (yield from _run(tree))
    except WorkflowError as error:
        return type(error).__name__


def _run(tree: Program) -> Workflow[Any]:
    word, number, *parts = tree
    return (yield from WORDS[word](number, parts))


def _step(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from add(n, 1))


def _async(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from double(n))


def _flaky(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from flaky(n))


def _hopeless(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from hopeless(n))


def _stubborn(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from stubborn(n))


def _sleep(n: int, _parts: list[Program]) -> Workflow[Any]:
    yield from replay.sleep(n * 3)
    return "slept"


def _signal(n: int, _parts: list[Program]) -> Workflow[Any]:
    return (yield from replay.signal(f"s{n % 3}", int, timeout=n * 4, default="nothing"))


def _say(n: int, _parts: list[Program]) -> Workflow[Any]:
    yield from replay.publish("program", n)
    yield from replay.set_state(f"key{n % 2}", n)
    about = yield from replay.info()
    yield from replay.send_signal(about.run_id, f"s{n % 3}", n)
    return "said"


def _point(n: int, _parts: list[Program]) -> Workflow[Any]:
    yield from replay.savepoint(f"point {n}", decisions=[f"{n}"])
    return "saved"


def _ambient(_n: int, _parts: list[Program]) -> Workflow[Any]:
    luck = yield from replay.random()
    name = yield from replay.uuid()
    return (yield from add(int(luck * 1000), name.int % 1000))


def _log(n: int, _parts: list[Program]) -> Workflow[Any]:
    yield from replay.log(f"line {n}")
    return "logged"


def _seq(_n: int, parts: list[Program]) -> Workflow[Any]:
    answers = []
    for part in parts:
        answers.append((yield from _try(0, [part])))  # noqa: PERF401 - a comprehension cannot yield from
    return answers


def _gather(n: int, parts: list[Program]) -> Workflow[Any]:
    branches = [_run(part) for part in parts]
    if n % 4 == 0:
        answers: Any = yield from replay.gather(*branches, return_errors=True)
        return [type(answer).__name__ if isinstance(answer, BaseException) else answer for answer in answers]
    if n % 4 == 1:
        return list((yield from replay.gather(*branches, min_successful=1)))
    return list((yield from replay.gather(*branches, limit=1 + n % 3)))


def _race(_n: int, parts: list[Program]) -> Workflow[Any]:
    return list((yield from replay.race(*[_run(part) for part in parts])))


def _timeout(n: int, parts: list[Program]) -> Workflow[Any]:
    return (yield from replay.timeout(_run(parts[0]), n * 2))


def _join(_n: int, parts: list[Program]) -> Workflow[Any]:
    spawned = yield from replay.spawn(_run(parts[0]))
    yield from double(1)
    return (yield from replay.join(spawned))


def _cancel(n: int, parts: list[Program]) -> Workflow[Any]:
    spawned = yield from replay.spawn(_run(parts[0]))
    yield from replay.sleep(n)
    yield from replay.cancel(spawned)
    if n % 2:
        return "left alone"
    try:
        return (yield from replay.join(spawned))
    except Cancelled:
        return "cancelled"


def _shield(_n: int, parts: list[Program]) -> Workflow[Any]:
    return (yield from replay.shield(_run(parts[0])))


def _tidy(n: int, parts: list[Program]) -> Workflow[Any]:
    try:
        return (yield from _run(parts[0]))
    finally:
        yield from add(n, 1000)


def _try(_n: int, parts: list[Program]) -> Workflow[Any]:
    try:
        return (yield from _run(parts[0]))
    except WorkflowError as error:
        return type(error).__name__


def _child(_n: int, parts: list[Program]) -> Workflow[Any]:
    return (yield from program(parts[0]))


def _handle(n: int, parts: list[Program]) -> Workflow[Any]:
    policy = ("cancel", "abandon", "wait")[n % 3]
    child = yield from replay.start_child(program(parts[0]), on_parent_close=policy)  # type: ignore[arg-type]  # one of the three
    yield from replay.sleep(n)
    if n % 2:
        return "left alone"
    return (yield from replay.join(child))


WORDS: dict[str, Callable[[int, list[Program]], Workflow[Any]]] = {
    "step": _step, "async": _async, "flaky": _flaky, "hopeless": _hopeless, "stubborn": _stubborn, "sleep": _sleep, "signal": _signal,
    "say": _say, "point": _point, "ambient": _ambient, "log": _log, "seq": _seq, "gather": _gather, "race": _race,
    "timeout": _timeout, "join": _join, "cancel": _cancel, "shield": _shield, "tidy": _tidy, "child": _child, "handle": _handle,
    "try": _try,
}  # fmt: skip


def programs(world: Simulation) -> None:
    """Three random programs, one of them cancelled, with messages from outside."""
    dice = random.Random(world.seed)
    for i in range(3):
        handle = world.start(program(make(dice, 5)), id=f"program-{i}")
        for n in range(3):
            world.after(dice.random() * 20, lambda handle=handle, n=n: _tell(handle, n))  # type: ignore[misc]  # bound early on purpose
        if i == 2:
            world.after(dice.random() * 20, lambda handle=handle: _end(handle))  # type: ignore[misc]  # bound early on purpose


def _tell(handle: replay.Handle[Any], n: int) -> None:
    handle.signal(f"s{n}", 10 * n)


def _end(handle: replay.Handle[Any]) -> None:
    handle.cancel()
