"""The functions that build effects; the words of the language.

Each returns a value; yield it, or ``yield from`` it to have its type.
"""

from __future__ import annotations

import datetime
import uuid as uuids
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, overload

from replay.errors import CallbackFailed, EffectError, PayloadError, describe
from replay.model.about import EPOCH, RunInfo
from replay.model.budgets import limits_of
from replay.model.codec import from_json, payload_codec, spell, to_json, type_name
from replay.model.effects import (
    NO_DEFAULT,
    Ambient,
    Branch,
    Budget,
    Call,
    CancelFiber,
    ChildHandle,
    ContinueAsNew,
    Effect,
    Gather,
    Join,
    OnUpdate,
    Output,
    Patched,
    Race,
    Savepoint,
    Shield,
    Signal,
    Sleep,
    Spawn,
    Spawned,
    StartChild,
    Timeout,
    branches_of,
)
from replay.model.names import Micros, micros
from replay.model.options import OnParentClose

T = TypeVar("T")
D = TypeVar("D")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E")
Branches = Branch[T] | Sequence[Branch[T]]
"""What gather and race take: branches, or one list of them."""
Level = Literal["debug", "info", "warning", "error"]

CALLBACK: Final = "callback:"
"""What the name of the signal that answers a callback begins with."""
NAME_LIMIT: Final = 512
"""Characters of a name."""
LONGEST: Final = 200 * 365 * 86_400
"""The longest span, in seconds: every language counts microseconds up to there without loss."""
LAST_MOMENT: Final = 2**53
"""The last moment of a timer, in microseconds since 1970 (year 2255); see ``LONGEST``."""


def checked_span(what: str, seconds: Any) -> Micros:
    """A span in microseconds; ``what`` names it in the error."""
    if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
        raise EffectError(f"{what} of {seconds!r} s", "give it 0 seconds or more, and at most 200 years")
    return micros(seconds)


def checked_name(what: str, name: Any) -> str:
    """What stores and other programs know something by; ``what`` names it in the error."""
    if isinstance(name, str) and 0 < len(name) <= NAME_LIMIT and (name.isprintable() or all(map(_fits, name))):
        return name
    raise EffectError(f"{what} {describe(name)} is no name", f"use 1 to {NAME_LIMIT} printable characters")


def _spelt(fields: Mapping[str, Any], where: str) -> bytes:
    """Named values as JSON: plain ones as they are, others by their classes."""
    return to_json({key: from_json(spell(value, f"{where}, field {key!r}")) for key, value in fields.items()})


def _fits(char: str) -> bool:
    return char >= " " and not "\ud800" <= char <= "\udfff"


def sleep(
    seconds: float = 0,
    *,
    minutes: float = 0,
    hours: float = 0,
    days: float = 0,
    until: datetime.datetime | None = None,
) -> Effect[None]:
    """Wait for a durable timer; the spans add up, counted from the workflow's clock.

    Args:
        seconds: A span.
        minutes: A span.
        hours: A span.
        days: A span.
        until: An aware moment instead of a span; one that has passed fires at once.

    Raises:
        EffectError: Both a span and a moment, a negative or boundless span, or a naive moment.
    """
    try:
        span = seconds + 60 * minutes + 3600 * hours + 86400 * days
    except TypeError:
        parts: tuple[Any, ...] = (seconds, minutes, hours, days)
        odd = next(part for part in parts if not isinstance(part, int | float))
        raise EffectError(f"sleep of {describe(odd)}", "give it numbers: sleep(90), sleep(hours=24)") from None
    if until is None:
        return Sleep(span=checked_span("sleep", span))
    if span:
        raise EffectError("sleep with a span and until=", "give it one of them")
    if until.tzinfo is None:
        raise EffectError(f"sleep until {until.isoformat()}, which names no time zone", "give it an aware datetime")
    moment = Micros((until - EPOCH) // datetime.timedelta(microseconds=1))
    if moment > LAST_MOMENT:
        raise EffectError(f"sleep until {until.isoformat()}", "give it a moment before the year 2255")
    return Sleep(until=moment)


@overload
def signal(name: str, type: type[T], *, timeout: float | None = None) -> Effect[T]: ...
@overload
def signal(name: str, type: type[T], *, timeout: float, default: D) -> Effect[T | D]: ...
@overload
def signal(name: str, type: Any = ..., *, timeout: float | None = None, default: Any = ...) -> Effect[Any]: ...
def signal(name: str, type: Any = Any, *, timeout: float | None = None, default: Any = NO_DEFAULT) -> Effect[Any]:
    """The next message of a name, first in, first out; one that came early is kept.

    Args:
        name: The message's name.
        type: What it must be; one that does not fit is refused.
        timeout: Seconds to wait, or None for ever.
        default: The answer when the time is over.

    Raises:
        TimedOut: (at the yield) The time is over and there is no default.
        EffectError: A default without a timeout, or a span that is none.
    """
    if default is not NO_DEFAULT and timeout is None:
        raise EffectError(f"signal {name!r} has a default and no timeout", "say after how many seconds it is used")
    codec = payload_codec(type)
    where = f"signal {checked_name('signal', name)!r}"
    return Signal(
        name=name,
        decode=lambda payload: codec.decode(payload, where),
        span=None if timeout is None else checked_span(f"signal {name!r} with a timeout", timeout),
        default=default,
        expected=type_name(type),
    )


def savepoint(
    name: str,
    *,
    state: Any = NO_DEFAULT,
    goal: str | None = None,
    hypotheses: list[str] | None = None,
    questions: list[str] | None = None,
    decisions: list[str] | None = None,
    next_step: str | None = None,
    **metadata: Any,
) -> Effect[None]:
    """A named place to fork from; with ``state``, also a place to recover from.

    Args:
        name: The place's name; it may be used again, the newest counts.
        state: What the workflow's ``state`` parameter is given when the run is recovered from here.
        goal: What the run is after.
        hypotheses: What it believes.
        questions: What it does not know.
        decisions: What it has decided.
        next_step: What it will do next.
        **metadata: Anything else that is JSON.
    """
    notes = {
        "goal": goal,
        "hypotheses": hypotheses,
        "questions": questions,
        "decisions": decisions,
        "next_step": next_step,
        **metadata,
    }
    said = _spelt({key: value for key, value in notes.items() if value is not None}, f"savepoint {name!r}")
    return Savepoint(name=checked_name("savepoint", name), state=state, notes=said)


# ---- branches -----------------------------------------------------------------------------------------------------------


@overload
def gather(a: Branch[A], b: Branch[B], /) -> Effect[tuple[A, B]]: ...
@overload
def gather(a: Branch[A], b: Branch[B], c: Branch[C], /) -> Effect[tuple[A, B, C]]: ...
@overload
def gather(a: Branch[A], b: Branch[B], c: Branch[C], e: Branch[E], /) -> Effect[tuple[A, B, C, E]]: ...
@overload
def gather(*branches: Branches[T], limit: int | None = None) -> Effect[tuple[T, ...]]: ...
@overload
def gather(*branches: Branches[T], limit: int | None = None, min_successful: int) -> Effect[tuple[T | None, ...]]: ...
@overload
def gather(*branches: Branches[T], limit: int | None = None, return_errors: Literal[True]) -> Effect[tuple[T | BaseException, ...]]: ...
@overload
def gather(
    *branches: Branches[T], limit: int | None = None, min_successful: int, return_errors: Literal[True]
) -> Effect[tuple[T | BaseException | None, ...]]: ...
def gather(
    *branches: Branches[Any], limit: int | None = None, min_successful: int | None = None, return_errors: bool = False
) -> Effect[Any]:
    """Run branches side by side; their results in the order of the branches.

    The first failure cancels the others, waits until they have cleaned up, and is raised.

    Args:
        *branches: Effects, or generators of effects; or one list of them.
        limit: How many run at a time.
        min_successful: Enough results: the rest is cancelled, and what did not succeed is None.
        return_errors: Put failures in their places instead of raising the first.

    Raises:
        EffectError: A limit or minimum that cannot be met.
    """
    listed = branches_of(branches)
    if limit is not None and limit < 1:
        raise EffectError(f"gather with limit={limit!r}", "let at least one branch run")
    if min_successful is not None and not 1 <= min_successful <= len(listed):
        raise EffectError(f"gather of {len(listed)} branches with min_successful={min_successful!r}", "ask for 1 up to that many")
    return Gather(listed, limit, min_successful, return_errors)


def race(*branches: Branches[T]) -> Effect[tuple[int, T]]:
    """The first branch that ends well, as (index, value); the others are cancelled and clean up first."""
    return Race(branches_of(branches))


def timeout(branch: Branch[T], seconds: float) -> Effect[T]:
    """A branch that must end in time.

    Raises:
        TimedOut: (at the yield) It did not; it was cancelled and has cleaned up.
    """
    return Timeout(branch, checked_span("timeout", seconds))


def shield(branch: Branch[T]) -> Effect[T]:
    """A branch that cancellation does not enter; it is held back until the branch has ended."""
    return Shield(branch)


def budget(
    branch: Branch[T],
    *,
    usd: float | None = None,
    tokens: int | None = None,
    calls: int | None = None,
    seconds: float | None = None,
    raise_by: str = "",
) -> Effect[T]:
    """A branch whose calls of language models, its fibers' and its children's too, share what may be spent.

    Args:
        branch: What is limited.
        usd: Dollars.
        tokens: Tokens in and out.
        calls: Calls.
        seconds: How long the branch may take.
        raise_by: Name of a signal, such as ``{"usd": 5}``, that raises the limits: a call that does not fit waits for it.

    Raises:
        BudgetExceeded: (at the call that does not fit) What is left has no room for it; (here) the seconds are over.
        EffectError: No limit, or one that cannot be kept.
    """
    limits = limits_of("budget", {"usd": usd, "tokens": tokens, "calls": calls})
    if not limits and seconds is None:
        raise EffectError("a budget without a limit", "give it usd=, tokens=, calls= or seconds=")
    if raise_by and not limits:
        raise EffectError("a budget of seconds with raise_by=", "time cannot be raised; limit usd, tokens or calls")
    span = None if seconds is None else checked_span("budget", seconds)
    return Budget(branch, limits, span, raise_by and checked_name("signal", raise_by))


def spawn(branch: Branch[T]) -> Effect[Spawned[T]]:
    """Run a branch beside this one; ``join`` it, or ``cancel`` it. It ends with the run at the latest."""
    return Spawn(branch)


def join(handle: Spawned[T]) -> Effect[T]:
    """The result of a spawned branch or child; its failure is raised here."""
    return Join(handle)


def cancel(handle: Spawned[Any], reason: str = "cancelled") -> Effect[None]:
    """Cancel a spawned branch or child; ``join`` it to wait until it has cleaned up."""
    return CancelFiber(handle, reason)


def start_child(call: Call[T], *, id: str = "", on_parent_close: OnParentClose | None = None) -> Effect[ChildHandle[T]]:
    """Start a child run and go on; ``join`` its handle for the result.

    Args:
        call: A call of a workflow.
        id: The child's id; by default its parent's and its command's.
        on_parent_close: ``cancel`` it, ``abandon`` it (it goes on by itself), or ``wait`` for it; by default what the call says.
    """
    if not isinstance(call, Call):
        raise EffectError("start_child was given no call of a workflow", "write start_child(order(cart))")
    return StartChild(call.options(id=id or None, on_parent_close=on_parent_close))


# ---- outputs ------------------------------------------------------------------------------------------------------------


def send_signal(run_id: str, name: str, value: Any = None) -> Effect[None]:
    """Send a message to another run, once."""
    where = f"signal {checked_name('signal', name)!r}"
    return Output("send_signal", checked_name("run id", run_id), name, spell(value, where))


def publish(topic: str, data: Any) -> Effect[None]:
    """Append to a topic that anyone can read, once."""
    if checked_name("topic", topic).startswith("~"):
        raise EffectError(f"topic {topic!r}, which begins with a tilde as those of replay do", "choose another name")
    return Output("publish", topic, "", spell(data, f"entry of topic {topic!r}"))


def set_state(key: str, value: Any) -> Effect[None]:
    """Set a value that ``handle.state()`` shows; one that is no plain JSON is spelt by its class."""
    if checked_name("key of set_state", key).startswith("~"):
        raise EffectError(f"set_state key {key!r}, which begins with a tilde as those of replay do", "choose another name")
    return Output("set_state", key, "", spell(value, f"state {key!r}"))


def set_tags(**tags: str) -> Effect[None]:
    """Change words that the run is found by; an empty word removes a tag."""
    return Output("set_tags", "", "", to_json({checked_name("tag", key): str(value) for key, value in tags.items()}))


def annotate(text: str, **fields: Any) -> Effect[None]:
    """Leave a note for people, beside the journal; fields that are no plain JSON are spelt by their classes."""
    return Output("annotate", "", text, _spelt(fields, "note"))


def log(message: str, *, level: Level = "info", **fields: Any) -> Effect[None]:
    """A line in the log, once: it is written in the commit of the event that led to it, never again by a replay."""
    return Output("log", level, message, _spelt(fields, "line of the log"))


# ---- what the interpreter knows -------------------------------------------------------------------------------------------


def now() -> Effect[datetime.datetime]:
    """The workflow's clock: the moment of the last event."""
    return Ambient("now")


def random() -> Effect[float]:
    """A number from 0 up to 1, the same in every replay."""
    return Ambient("random")


def uuid() -> Effect[uuids.UUID]:
    """A UUID of version 4, the same in every replay."""
    return Ambient("uuid")


def info() -> Effect[RunInfo]:
    """What the run may know of itself."""
    return Ambient("info")


def patched(name: str) -> Effect[bool]:
    """Whether this run began, or re-entered at a savepoint with state, with code that declares the patch."""
    return Patched(name)


def continue_as_new(*args: Any, **kwargs: Any) -> Effect[Any]:
    """End this journal and begin a fresh one under the same id; never returns. Unread signals are carried over.

    Args:
        *args: The workflow's arguments, or one call of a workflow.
        **kwargs: Its keyword arguments.
    """
    return ContinueAsNew(args, kwargs)


def on_update(
    name: str,
    handler: Callable[[Any], Any],
    *,
    type: Any = Any,
    returns: Any = Any,
    validator: Callable[[Any], None] | None = None,
) -> Effect[None]:
    """Answer updates of a name, from here on, with a function of this workflow.

    Args:
        name: The update's name.
        handler: Called with the argument; its result is the reply. A generator may yield effects.
        type: What the argument must be.
        returns: What the reply is.
        validator: Called first and must be pure; what it raises refuses the update, which then leaves no trace.
    """
    takes, gives = payload_codec(type), payload_codec(returns)
    return OnUpdate(
        name=checked_name("update", name),
        handler=handler,
        decode=lambda payload: takes.decode(payload, f"argument of update {name!r}"),
        encode=lambda value: gives.encode(value, f"reply of update {name!r}"),
        validator=validator,
    )


# ---- a question to an outside system --------------------------------------------------------------------------------------


class Callback(Generic[T]):
    """A question that an outside system answers by its token, through any client; ``yield from`` it to wait for the answer.

    Attributes:
        token: What to hand out: the run's id and a name that no other callback has. It is no secret: whoever knows the run's id and
            its code can work it out, so whoever answers must be let in by other means.
    """

    __slots__ = ("_decode", "_span", "token")

    def __init__(self, token: str, decode: Callable[[bytes], Any], span: Micros | None) -> None:
        self.token = token
        self._decode = decode
        self._span = span

    def __iter__(self) -> Generator[Effect[Any], Any, T]:
        name = CALLBACK + self.token.rpartition("#")[2]
        outcome = yield Signal(name=name, decode=from_json, span=self._span)
        if not isinstance(outcome, dict):
            raise PayloadError(f"answer of callback {self.token}", "an object with value or error", describe(outcome))
        if "error" in outcome:
            raise CallbackFailed(self.token, str(outcome["error"]))
        value: T = self._decode(to_json(outcome.get("value")))
        return value


@overload
def callback(type: type[T], *, timeout: float | None = None) -> Generator[Effect[Any], Any, Callback[T]]: ...
@overload
def callback(type: Any = ..., *, timeout: float | None = None) -> Generator[Effect[Any], Any, Callback[Any]]: ...
def callback(type: Any = Any, *, timeout: float | None = None) -> Generator[Effect[Any], Any, Callback[Any]]:
    """Make a token; hand it out, then ``yield from`` what this answers.

    Args:
        type: What the answer must be.
        timeout: Seconds to wait, counted from the wait.

    Raises:
        CallbackFailed: (at the wait) The outside system answered with a failure.
        TimedOut: (at the wait) Nothing came in time.
    """
    name = yield from uuid()
    about = yield from info()
    codec = payload_codec(type)
    return Callback(
        f"{about.run_id}#{name}",
        lambda payload: codec.decode(payload, f"answer of callback {name}"),
        None if timeout is None else checked_span("callback with a timeout", timeout),
    )
