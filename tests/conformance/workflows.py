"""The workflows of the conformance cases: simple, and the same in every language.

Rule 1: plain JSON values only, and no arithmetic beyond small whole numbers.
Rule 2: a step is only its name and its arguments; nobody calls it.
Rule 3: what a workflow does is written here once and for all: a change would make old cases lie. For new behaviour, write a new one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

from replay import (
    Cancelled,
    ChildFailed,
    Effect,
    EffectError,
    StepFailed,
    StepInterrupted,
    TimedOut,
    Workflow,
    WorkflowFunction,
    annotate,
    cancel,
    continue_as_new,
    gather,
    info,
    join,
    log,
    now,
    on_update,
    patched,
    publish,
    race,
    random,
    savepoint,
    send_signal,
    set_state,
    set_tags,
    shield,
    signal,
    sleep,
    spawn,
    start_child,
    step,
    timeout,
    uuid,
    workflow,
)
from tests.interpreter.world import unlisted

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def micros_of(moment: dt.datetime) -> int:
    """A moment as microseconds since 1970, which every language can say."""
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


# ---- steps -------------------------------------------------------------------------------------------------------------------


@step
@unlisted
def double(n: int) -> int:
    return 2 * n


@step
@unlisted
def echo(value: Any) -> Any:
    return value


@step
@unlisted
def undo(what: str) -> None: ...


@step
@unlisted
def charge(card: str, cents: int) -> str:
    return card


@step(on_cancel="wait")
@unlisted
def careful(n: int) -> int:
    return n


@step(compare_arguments=False)
@unlisted
def lax(n: int) -> int:
    return n


# ---- helpers -----------------------------------------------------------------------------------------------------------------


def doubled(n: int) -> Workflow[int]:
    """Two steps in turn."""
    once = yield from double(n)
    return (yield from double(once))


def cleaning(branch: Effect[Any], what: str) -> Workflow[Any]:
    """Whatever happens to the branch, ``undo`` follows it."""
    try:
        return (yield from branch)
    finally:
        yield from undo(what)


def hearing(name: str) -> Workflow[Any]:
    return (yield from signal(name))


# ---- in turn -----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def nothing() -> Workflow[str]:
    never: list[Effect[Any]] = []
    yield from never
    return "done"


@workflow
@unlisted
def sequence(n: int) -> Workflow[int]:
    once = yield from double(n)
    twice = yield from double(once)
    return once + twice


@workflow
@unlisted
def echoing(value: Any) -> Workflow[Any]:
    """What a step answers becomes the next one's argument and, with the first argument, the result."""
    first = yield from echo(value)
    second = yield from echo({"given": value, "got": first})
    return [first, second]


@workflow
@unlisted
def catching() -> Workflow[list[Any]]:
    """Each way in which a step can fail."""
    seen: list[Any] = []
    for n in range(3):
        try:
            seen.append((yield from double(n)))
        except StepFailed as failed:
            seen.append(["failed", failed.step, failed.error_type, failed.message, failed.attempts])
        except TimedOut as late:
            seen.append(["timed out", late.what, late.seconds])
        except StepInterrupted as lost:
            seen.append(["interrupted", lost.step])
    return seen


@workflow
@unlisted
def lazily(n: int) -> Workflow[int]:
    return (yield from lax(n))


@workflow
@unlisted
def tidy() -> Workflow[int]:
    return (yield from cleaning(double(1), "it"))  # type: ignore[no-any-return]


# ---- time --------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def napping(seconds: float) -> Workflow[list[int]]:
    before = yield from now()
    yield from sleep(seconds)
    after = yield from now()
    return [micros_of(before), micros_of(after)]


@workflow
@unlisted
def until(moment: int) -> Workflow[str]:
    """Sleep until a moment, given in microseconds since 1970."""
    yield from sleep(until=EPOCH + dt.timedelta(microseconds=moment))
    return "awake"


@workflow
@unlisted
def clock() -> Workflow[list[int]]:
    seen = [micros_of((yield from now()))]
    for n in range(3):
        yield from double(n)
        seen.append(micros_of((yield from now())))
    return seen


# ---- signals -----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def listening(count: int) -> Workflow[list[Any]]:
    """So many messages, then a step."""
    heard = []
    for _ in range(count):
        heard.append((yield from signal("word")))  # noqa: PERF401 - a comprehension cannot yield
    yield from echo(heard)
    return heard


@workflow
@unlisted
def reading_late() -> Workflow[list[Any]]:
    """It sleeps while messages come."""
    yield from sleep(1)
    heard = []
    for _ in range(3):
        heard.append((yield from signal("word")))  # noqa: PERF401 - a comprehension cannot yield
    yield from echo(heard)
    return heard


@workflow
@unlisted
def patient(with_default: bool) -> Workflow[list[Any]]:
    """A wait of five seconds, then one without an end."""
    if with_default:
        first = yield from signal("go", timeout=5, default="nobody came")
    else:
        first = yield from signal("go", timeout=5)
    return [first, (yield from signal("go"))]


@workflow
@unlisted
def several() -> Workflow[Any]:
    """Three fibers wait for one name, a fourth for another."""
    return list((yield from gather(hearing("word"), hearing("word"), hearing("other"), hearing("word"))))


@workflow
@unlisted
def leaving_the_queue() -> Workflow[Any]:
    """Of two that wait for one name the first is cancelled."""
    first = yield from spawn(hearing("word"))
    second = yield from spawn(hearing("word"))
    yield from sleep(1)
    yield from cancel(first)
    return (yield from join(second))


# ---- side by side ------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def pair(a: int, b: int) -> Workflow[list[int]]:
    return list((yield from gather(double(a), double(b))))


@workflow
@unlisted
def nested() -> Workflow[Any]:
    """Gathers in gathers, helpers in branches, a step after all."""
    left, (middle, right) = yield from gather(doubled(1), gather(double(2), gather(double(3), doubled(4))))
    last = yield from double(5)
    return [left, middle, list(right), last]


@workflow
@unlisted
def limited(n: int, limit: int) -> Workflow[list[int]]:
    return list((yield from gather(*[double(i) for i in range(n)], limit=limit)))


@workflow
@unlisted
def lenient() -> Workflow[list[Any]]:
    """Failures in their places, as their messages."""
    got = yield from gather(double(1), double(2), double(3), return_errors=True)
    return [each.message if isinstance(each, StepFailed) else each for each in got]


@workflow
@unlisted
def enough(n: int, least: int) -> Workflow[list[Any]]:
    return list((yield from gather(*[double(i) for i in range(n)], min_successful=least)))


@workflow
@unlisted
def tidy_gather() -> Workflow[str]:
    """A failure in the middle; its neighbours clean up."""
    try:
        yield from gather(cleaning(double(1), "a"), double(2), cleaning(double(3), "c"))
    except StepFailed as failed:
        return failed.message
    return "no failure"


@workflow
@unlisted
def empty() -> Workflow[list[Any]]:
    got: tuple[Any, ...] = yield from gather()
    return [list(got), (yield from double(1))]


@workflow
@unlisted
def starting_order() -> Workflow[None]:
    """Who runs when, told by what is published."""

    def branch(name: str) -> Workflow[None]:
        yield from publish("order", f"{name} begins")
        yield from gather(inner(f"{name}1"), inner(f"{name}2"))
        yield from publish("order", f"{name} ends")

    def inner(name: str) -> Workflow[None]:
        yield from publish("order", name)
        yield from double(1)
        yield from publish("order", f"{name} ends")

    yield from spawn(branch("s"))
    yield from publish("order", "root")
    yield from gather(branch("a"), branch("b"))


@workflow
@unlisted
def fastest(n: int) -> Workflow[list[Any]]:
    index, value = yield from race(*[double(i) for i in range(n)])
    return [index, value]


@workflow
@unlisted
def tidy_race() -> Workflow[list[Any]]:
    """Losers clean up, and a careful step is waited for."""
    index, value = yield from race(cleaning(double(1), "a"), double(2), careful(3))
    return [index, value]


@workflow
@unlisted
def hurried() -> Workflow[Any]:
    try:
        return (yield from timeout(cleaning(double(1), "it"), 2.5))
    except TimedOut as over:
        return f"timed out after {over.seconds:g}"


@workflow
@unlisted
def timeout_in_timeout() -> Workflow[str]:
    def inner() -> Workflow[str]:
        try:
            yield from timeout(double(1), 1)
        except TimedOut:
            return "inner"
        return "in time"

    try:
        return (yield from timeout(inner(), 5))
    except TimedOut:
        return "outer"


# ---- beside ------------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def beside() -> Workflow[int]:
    handle = yield from spawn(doubled(1))
    here = yield from double(10)
    return here + (yield from join(handle))


@workflow
@unlisted
def joined_by_many() -> Workflow[list[int]]:
    handle = yield from spawn(double(1))

    def waiting() -> Workflow[int]:
        return (yield from join(handle))

    return list((yield from gather(waiting(), waiting(), join(handle))))


@workflow
@unlisted
def stopping() -> Workflow[str]:
    """A spawned fiber is cancelled twice, cleans up, and is joined."""
    handle = yield from spawn(cleaning(double(1), "it"))
    yield from sleep(1)
    yield from cancel(handle, "no longer needed")
    yield from cancel(handle, "again")
    try:
        yield from join(handle)
    except Cancelled as cancelled:
        return cancelled.reason
    return "not cancelled"


@workflow
@unlisted
def never_begun() -> Workflow[str]:
    """Cancelled before its first line."""

    def branch() -> Workflow[None]:
        yield from publish("order", "never")
        yield from double(1)

    handle = yield from spawn(branch())
    yield from cancel(handle)
    yield from sleep(1)
    try:
        yield from join(handle)
    except Cancelled as cancelled:
        return cancelled.reason
    return "not cancelled"


@workflow
@unlisted
def leaving() -> Workflow[str]:
    """Fibers that live at the end are cancelled and clean up; one of them spawns another, which never runs."""

    def late() -> Workflow[None]:
        try:
            yield from double(2)
        finally:
            yield from undo("b")
            yield from spawn(double(3))

    yield from spawn(cleaning(double(1), "a"))
    yield from spawn(late())
    yield from sleep(1)
    return "left"


@workflow
@unlisted
def answer_first() -> Workflow[list[Any]]:
    """A fiber is cancelled while its answer stands in the queue: it takes the answer, and stops at its next wait."""
    seen: list[Any] = []
    source = yield from spawn(double(1))
    handles: list[Any] = []

    def canceller() -> Workflow[None]:
        yield from join(source)
        yield from cancel(handles[0], "too late")

    def victim() -> Workflow[None]:
        seen.append((yield from join(source)))
        seen.append((yield from random()) < 1)
        yield from double(2)
        seen.append("never")

    yield from spawn(canceller())
    handles.append((yield from spawn(victim())))
    yield from sleep(9)
    try:
        yield from join(handles[0])
    except Cancelled as cancelled:
        seen.append(cancelled.reason)
    return seen


# ---- children ----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def child(n: int) -> Workflow[int]:
    return (yield from double(n))


@workflow
@unlisted
def parent(n: int) -> Workflow[Any]:
    """A child in sequence, two side by side, one with an id of its own."""
    try:
        first = yield from child(n)
    except ChildFailed as failed:
        return [failed.run, failed.workflow, failed.error_type, failed.message, failed.status]
    second, third = yield from gather(child(first), child(first).options(id="mine"))
    return [first, second, third]


@workflow
@unlisted
def family(policy: str) -> Workflow[Any]:
    """A child that goes on beside its parent, and what becomes of it."""
    policies: Mapping[str, Any] = {"cancel": "cancel", "abandon": "abandon", "wait": "wait"}
    handle = yield from start_child(child(1), on_parent_close=policies[policy])
    yield from sleep(1)
    return handle.run_id


@workflow
@unlisted
def brief(policy: str) -> Workflow[str]:
    """It ends in the breath in which it starts its child."""
    policies: Mapping[str, Any] = {"cancel": "cancel", "abandon": "abandon", "wait": "wait"}
    handle = yield from start_child(child(1), id="kid", on_parent_close=policies[policy])
    return handle.run_id


@workflow
@unlisted
def joining_a_child() -> Workflow[Any]:
    handle = yield from start_child(child(1))
    here = yield from double(10)
    return [handle.run_id, here, (yield from join(handle))]


# ---- cancellation ------------------------------------------------------------------------------------------------------------


def joining(effect: Effect[Any]) -> Workflow[Any]:
    handle = yield from spawn(effect)
    return (yield from join(handle))


WAITS: Final[Mapping[str, Callable[[], Any]]] = {
    "step": lambda: double(1),
    "timer": lambda: sleep(60),
    "signal": lambda: signal("go"),
    "signal in time": lambda: signal("go", timeout=5),
    "savepoint": lambda: savepoint("here"),
    "child": lambda: child(1),
    "join": lambda: joining(double(1)),
    "gather": lambda: gather(double(1), sleep(1), signal("go"), child(2)),
    "limit": lambda: gather(double(1), double(2), double(3), limit=2),
    "race": lambda: race(double(1), double(2)),
    "timeout": lambda: timeout(double(1), 5),
    "deep": lambda: gather(race(double(1), sleep(9)), gather(doubled(2), timeout(double(3), 4))),
    "shield": lambda: shield(doubled(1)),
    "shielded branch": lambda: gather(shield(double(1)), double(2)),
    "guarded gather": lambda: shield(gather(double(1), double(2))),
    "careful": lambda: careful(1),
    "careful branch": lambda: gather(careful(1), double(2)),
    "clean-up": lambda: gather(cleaning(double(1), "a"), gather(cleaning(double(2), "b"), double(3))),
}


@workflow
@unlisted
def cancellable(where: str) -> Workflow[list[Any]]:
    """Wait somewhere; what came of it, or why it was cancelled; then one more step."""
    try:
        waited: Any = yield from WAITS[where]()
        seen = "went on"
    except Cancelled as cancelled:
        waited = None
        seen = f"cancelled: {cancelled.reason}"
    try:
        after = yield from echo(seen)
    except Cancelled as cancelled:
        return [seen, waited if where == "shield" else None, f"then cancelled: {cancelled.reason}"]
    return [seen, after]


@workflow
@unlisted
def stubborn() -> Workflow[list[Any]]:
    """``except`` for failures does not catch a cancellation; who catches it goes on, and is not cancelled again."""
    seen: list[Any] = []
    try:
        while True:
            try:
                yield from double(len(seen))
            except Exception:  # noqa: BLE001 - any failure
                seen.append("failed")
    except Cancelled as cancelled:
        seen.append(cancelled.reason)
    seen.append(list((yield from gather(double(8), double(9)))))
    return seen


# ---- updates -----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def counter() -> Workflow[int]:
    """``add`` is a plain function; what is not positive is refused before it is journaled; ``ask`` is another one."""
    total = 0

    def add(n: Any) -> int:
        nonlocal total
        total += int(n)
        return total

    def positive(n: Any) -> None:
        if n <= 0:
            raise ValueError("give me more")

    yield from on_update("add", add, validator=positive)
    yield from on_update("ask", lambda value: {"asked": value})
    yield from signal("stop")
    return total


@workflow
@unlisted
def workshop() -> Workflow[list[Any]]:
    """``work`` yields effects; its failures are its caller's."""
    done: list[Any] = []

    def work(n: Any) -> Workflow[Any]:
        yield from publish("news", {"begins": n})
        twice = yield from doubled(n)
        done.append(twice)
        return {"done": twice}

    yield from on_update("work", work)
    yield from signal("stop")
    return done


# ---- outputs -----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def talkative() -> Workflow[str]:
    def branch(name: str) -> Workflow[None]:
        yield from publish("news", f"{name} begins")
        yield from double(1)
        yield from send_signal("other", "ping", name)

    yield from publish("news", {"n": 1, "é": [None]})
    yield from send_signal("other-run", "ping", [1])
    yield from gather(branch("a"), branch("b"))
    yield from set_state("stage", None)
    yield from set_tags(size="L", colour="")
    yield from annotate("a note", who="me")
    yield from log("a line", level="warning", n=0)
    return "said"


# ---- chance and self ---------------------------------------------------------------------------------------------------------


def drawing(n: int) -> Workflow[list[Any]]:
    drawn: list[Any] = []
    for _ in range(n):
        drawn.append((yield from random()))
        drawn.append(str((yield from uuid())))
    return drawn


@workflow
@unlisted
def chances() -> Workflow[list[Any]]:
    """Drawn at the root and in branches, before and after a step."""
    first = yield from drawing(2)
    branches = yield from gather(drawing(1), drawing(1), random())
    yield from double(1)
    return [first, list(branches), (yield from drawing(1))]


@workflow
@unlisted
def chances_over_savepoints(state: list[Any] | None = None) -> Workflow[list[Any]]:
    """Counted anew after each savepoint with state."""
    drawn: list[Any] = list(state or [])
    while len(drawn) < 4:
        drawn += yield from drawing(1)
        yield from savepoint(f"after {len(drawn)}", state=drawn)
    drawn += yield from drawing(1)
    return drawn


@workflow
@unlisted
def curious() -> Workflow[list[Any]]:
    seen = []
    for n in range(2):
        me = yield from info()
        seen.append([me.run_id, me.workflow, me.version, me.namespace, me.attempt, me.parent, me.journal_length, me.chain])
        seen.append([None if me.deadline is None else micros_of(me.deadline)])
        yield from double(n)
    return seen


# ---- patches -----------------------------------------------------------------------------------------------------------------


@workflow(patches=["new-path"])
@unlisted
def patchy(state: list[Any] | None = None) -> Workflow[list[Any]]:
    """The old path asks for one step, the new one for another; a savepoint with state lies between two turns."""
    seen: list[Any] = list(state or [])
    while len(seen) < 2:
        if (yield from patched("new-path")):
            seen.append((yield from echo(f"new {len(seen)}")))
        else:
            seen.append((yield from double(len(seen))))
        yield from savepoint("turn", state=seen)
    return seen


@workflow
@unlisted
def undeclared() -> Workflow[str]:
    try:
        yield from patched("unheard-of")
    except EffectError:
        return "refused"
    return "accepted"


# ---- savepoints --------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def thinking() -> Workflow[str]:
    yield from savepoint(
        "plan",
        goal="win",
        hypotheses=["h1", "h2"],
        questions=[],
        decisions=["go"],
        next_step="run",
        mood="good",
    )
    yield from gather(savepoint("left"), savepoint("right", goal=""))
    return "thought"


@workflow
@unlisted
def looping(turns: int, state: list[int] | None = None) -> Workflow[list[int]]:
    done = list(state or [])
    while len(done) < turns:
        done.append((yield from double(len(done))))
        yield from savepoint(f"turn {len(done)}", state=done, goal="all")
    return done


@workflow
@unlisted
def chatty(state: list[Any] | None = None) -> Workflow[list[Any]]:
    """A bit of everything between savepoints: mail, updates, outputs, chance, time, branches."""
    said: list[Any] = list(state or [])

    def add(value: Any) -> int:
        said.append(value)
        return len(said)

    yield from on_update("add", add)
    while True:
        word = yield from signal("word", timeout=60, default="nothing")
        said += [word, (yield from random()), str((yield from uuid())), micros_of((yield from now()))]
        yield from publish("news", word)
        said += yield from gather(double(len(said)), double(1))
        handle = yield from spawn(double(7))
        said.append((yield from join(handle)))
        if word == "stop":
            return said
        yield from savepoint("turn", state=said)


@workflow
@unlisted
def falsy_state(state: int | None = None) -> Workflow[str]:
    """Nought is a state."""
    if state is None:
        yield from double(1)
        yield from savepoint("zero", state=0)
    yield from double(2)
    return "done"


@workflow
@unlisted
def careless(where: str, state: int = 0) -> Workflow[str]:
    """A savepoint with state where it cannot be."""
    try:
        if where == "branch":
            yield from gather(savepoint("here", state=1))
        else:
            yield from spawn(double(1))
            yield from savepoint("here", state=1)
    except EffectError:
        return "refused"
    return "accepted"


# ---- the end -----------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def once_more(n: int) -> Workflow[str]:
    yield from publish("news", n)
    word = yield from signal("word")
    if n < 3:
        yield from continue_as_new(n + 1)
    return f"{n} {word}"


@workflow
@unlisted
def going_over() -> Workflow[Any]:
    yield from double(1)
    yield from spawn(cleaning(double(2), "it"))
    yield from sleep(1)
    yield from continue_as_new(sequence(5))


@workflow
@unlisted
def continuing_in_a_branch() -> Workflow[str]:
    try:
        yield from gather(continue_as_new())
    except EffectError:
        return "refused"
    return "accepted"


# ---- all together ------------------------------------------------------------------------------------------------------------


@workflow
@unlisted
def order(card: str, cents: int) -> Workflow[Any]:
    """Charge, wait for an approval or a day, ship or refund."""
    receipt = yield from charge(card, cents)
    yield from set_state("receipt", receipt)
    approved = yield from signal("approved", timeout=86_400, default=False)
    if not approved:
        yield from undo(receipt)
        return {"refunded": receipt}
    shipped, mailed = yield from gather(echo(f"ship {receipt}"), echo(f"mail {receipt}"))
    return {"mailed": mailed, "shipped": shipped}


def _all() -> dict[str, WorkflowFunction[..., Any]]:
    return {thing.name: thing for thing in list(globals().values()) if isinstance(thing, WorkflowFunction)}


WORKFLOWS: Final[Mapping[str, WorkflowFunction[..., Any]]] = _all()
"""The workflows by the names that cases call them."""
