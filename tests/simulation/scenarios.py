"""Scenarios: what runs in simulated worlds, from the plainest to all at once.

Every step answers by its arguments alone, so that two executions of one command cannot be told apart by what they answer.
"""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import replay
from replay import Cancelled, ChildFailed, Retry, StepFailed, StepInterrupted, TimedOut, Workflow, step, workflow
from replay.testing import Scenario, Simulation


@step
def add(a: int, b: int) -> int:
    return a + b


@step
async def double(n: int) -> int:
    return 2 * n


@step(retry=Retry(max_attempts=4, initial=0.5))
def flaky(n: int) -> int:
    if replay.step_info().attempt < 3:
        raise ConnectionError(f"attempt {replay.step_info().attempt}")
    return n


@step(retry=Retry(max_attempts=2))
def hopeless(n: int) -> int:
    raise ValueError(f"never {n}")


@step(at_most_once=True)
def pay(n: int) -> int:
    return n


@step(timeout=5)
def quick(n: int) -> int:
    return n


@step(name="sim_undo")
def undo(what: str) -> str:
    return f"undone {what}"


@step(name="sim_far", queue="far")
def far(n: int) -> int:
    return n * 100


# ---- workflows ----------------------------------------------------------------------------------------------------------


@workflow(name="sim_sums")
def sums(n: int) -> Workflow[int]:
    """Steps in sequence, said aloud."""
    total = 0
    for i in range(n):
        total = yield from add(total, i)
        yield from replay.publish("sums", [n, i, total])
        yield from replay.set_state("total", total)
    yield from replay.log("done", total=total)
    return total


@workflow(name="sim_fan")
def fan(n: int) -> Workflow[list[int]]:
    """Branches side by side, with a limit, and some that fail."""
    first = yield from replay.gather(*[double(i) for i in range(n)], limit=3)
    second = yield from replay.gather(flaky(1), hopeless(2), quick(3), return_errors=True)
    return [*first, *[answer if isinstance(answer, int) else -1 for answer in second]]


@workflow(name="sim_patience")
def patience(n: int) -> Workflow[list[Any]]:
    """Timers of all kinds."""
    yield from replay.sleep(hours=1)
    winner, _ = yield from replay.race(_later(3), _later(1), _later(2))
    try:
        yield from replay.timeout(replay.sleep(100), 7)
        late = False
    except TimedOut:
        late = True
    answer = yield from replay.signal("nobody", str, timeout=30, default="default")
    yield from replay.sleep(days=2)
    return [n, winner, late, answer]


def _later(seconds: int) -> Workflow[int]:
    yield from replay.sleep(seconds)
    return (yield from double(seconds))


@workflow(name="sim_inbox")
def inbox(n: int) -> Workflow[list[int]]:
    """Messages, in the order in which they came, each once."""
    got = []
    for _ in range(n):
        got.append((yield from replay.signal("number", int)))
        yield from replay.publish("inbox", got[-1])
    return got


@workflow(name="sim_child", retry=Retry(max_attempts=3, initial=1))
def child(n: int) -> Workflow[int]:
    """Fails its first attempt when its number is odd; tells its parent."""
    about = yield from replay.info()
    doubled = yield from double(n)
    if n % 2 and about.attempt == 1:
        raise RuntimeError("first attempt")
    yield from replay.send_signal(about.parent, "hello", n)
    yield from replay.sleep(n)
    return doubled


@workflow(name="sim_family")
def family(n: int) -> Workflow[list[int]]:
    """Children that are awaited, one that fails, one that goes on beside, and what they say."""
    spawned = yield from replay.spawn(_listen(n))
    answers = yield from replay.gather(*[child(i) for i in range(n)])
    try:
        yield from barren(7)
        failed = 0
    except ChildFailed:
        failed = 1
    handle = yield from replay.start_child(child(10), on_parent_close="wait")
    heard = yield from replay.join(spawned)
    last = yield from replay.join(handle)
    return [*answers, failed, *sorted(heard), last]


def _listen(n: int) -> Workflow[list[int]]:
    heard = []
    for _ in range(n):
        heard.append((yield from replay.signal("hello", int)))  # noqa: PERF401 - a comprehension cannot yield from
    return heard


@workflow(name="sim_barren")
def barren(n: int) -> Workflow[int]:
    """A child that fails."""
    return (yield from hopeless(n))


@workflow(name="sim_loop")
def loop(n: int, total: int = 0) -> Workflow[int]:
    """A fresh journal for every turn; messages are carried over."""
    total = yield from add(total, n)
    yield from replay.publish("loop", [n, total])
    if n == 2:
        total += yield from replay.signal("bonus", int)
    if n > 0:
        yield from replay.continue_as_new(n - 1, total)
    return total


@workflow(name="sim_agent")
def agent(n: int, state: list[int] | None = None) -> Workflow[list[int]]:
    """A long loop that recovers at its savepoints."""
    seen = list(state or [])
    while len(seen) < n:
        seen.append((yield from double(len(seen))))
        if len(seen) % 2:
            seen[-1] += yield from replay.signal("nudge", int, timeout=60, default=0)
        yield from replay.publish("agent", seen[-1])
        yield from replay.savepoint("turn", state=seen)
    return seen


@workflow(name="sim_saga")
def trip(n: int) -> Workflow[str]:
    """Work that is undone in reverse when it fails or is cancelled."""

    def body(saga: replay.Saga) -> Workflow[str]:
        yield from add(n, 1)
        saga.compensate(undo("flight"))
        yield from add(n, 2)
        saga.compensate(undo("hotel"))
        yield from replay.signal("go", bool, timeout=3600)
        return "gone"

    try:
        return (yield from replay.saga(body))
    except TimedOut:
        return "stayed"
    except Cancelled:
        yield from undo("everything")
        return "cancelled"


@workflow(name="sim_careful")
def careful(n: int) -> Workflow[int]:
    """A step that must not be begun twice."""
    paid = 0
    for i in range(n):
        try:
            paid += yield from pay(i)
        except StepInterrupted:
            yield from undo(f"payment {i}")
    return paid


@workflow(name="sim_updates")
def updates(n: int) -> Workflow[int]:
    """Requests with replies, until they add up."""
    total = 0
    done = False

    def increase(by: int) -> Workflow[int]:
        nonlocal total, done
        doubled = yield from double(by)
        total += doubled  # not in one line: it would read the total before the yield
        done = total >= n
        return total

    yield from replay.on_update("increase", increase, type=int, returns=int)
    while not done:
        yield from replay.sleep(10)
    return total


@workflow(name="sim_remote")
def remote(n: int) -> Workflow[list[int]]:
    """Steps in another queue."""
    return list((yield from replay.gather(*[far(i) for i in range(n)])))


@workflow(name="sim_cleanup")
def cleanup(n: int) -> Workflow[str]:
    """Cancelled from outside while branches are under way; cleans up and says so."""
    try:
        yield from replay.gather(replay.sleep(days=1), _endless(), flaky(n))
    except Cancelled:
        yield from replay.shield(undo("all"))
        yield from replay.publish("cleanup", n)
        raise
    return "never"


def _endless() -> Workflow[None]:
    while True:
        try:
            yield from replay.sleep(7)
            yield from hopeless(1)
        except StepFailed:
            yield from double(1)


# ---- scenarios ------------------------------------------------------------------------------------------------------------


def plain(world: Simulation) -> None:
    """Steps in sequence."""
    for i in range(3):
        world.start(sums(3 + i), id=f"sums-{i}")


def fans(world: Simulation) -> None:
    """Branches."""
    for i in range(2):
        world.start(fan(4 + i), id=f"fan-{i}")


def timers(world: Simulation) -> None:
    """Days pass."""
    for i in range(2):
        world.start(patience(i), id=f"patience-{i}")


def messages(world: Simulation) -> None:
    """Messages from outside, now and later."""
    handle = world.start(inbox(6), id="inbox")
    for i in range(3):
        handle.signal("number", i)
    for i in range(3, 6):
        world.after(i, lambda i=i: handle.signal("number", i))  # type: ignore[misc]  # bound early on purpose


def families(world: Simulation) -> None:
    """Children."""
    world.start(family(3), id="family")


def loops(world: Simulation) -> None:
    """Fresh journals under one id."""
    world.start(loop(5), id="loop").signal("bonus", 1000)


def agents(world: Simulation) -> None:
    """Recovery from savepoints."""
    handle = world.start(agent(9), id="agent")
    for i in range(3):
        world.after(20 * i, lambda i=i: handle.signal("nudge", 100 * i))  # type: ignore[misc]  # bound early on purpose


def sagas(world: Simulation) -> None:
    """Compensation."""
    world.start(trip(1), id="stays")
    world.start(trip(2), id="goes").signal("go", True)
    cancelled = world.start(trip(3), id="cancelled")
    world.after(30, cancelled.cancel)


def payments(world: Simulation) -> None:
    """Steps at most once."""
    for i in range(3):
        world.start(careful(4), id=f"careful-{i}")


def requests(world: Simulation) -> None:
    """Updates."""
    handle = world.start(updates(6), id="updates")
    for i in range(1, 5):
        world.after(3 * i, lambda i=i: handle.update("increase", i))  # type: ignore[misc]  # bound early on purpose


def elsewhere(world: Simulation) -> None:
    """Remote steps."""
    world.start(remote(3), id="remote")


def endings(world: Simulation) -> None:
    """Runs that are cancelled, terminated, paused and resumed, or overdue."""
    cancelled = world.start(cleanup(1), id="cancelled")
    world.after(25, cancelled.cancel)
    terminated = world.start(cleanup(2), id="terminated")
    world.after(25, terminated.terminate)
    world.start(cleanup(3), id="overdue", deadline=40)
    paused = world.start(sums(4), id="paused")
    paused.pause()
    world.after(50, paused.resume)
    world.after(5_000, paused.resume)  # the first one may have overtaken the pause


def everything(world: Simulation) -> None:
    """All at once."""
    for scenario in (plain, fans, timers, messages, families, loops, agents, payments, requests, elsewhere, endings):
        scenario(world)


OPTIONS: Final[Mapping[str, Any]] = {"queues": ("default", "far")}
"""What all scenarios need of their worlds."""
SCENARIOS: Final[tuple[Scenario, ...]] = (
    plain, fans, timers, messages, families, loops, agents, sagas, payments, requests, elsewhere, endings,
)  # fmt: skip
