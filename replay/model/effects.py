"""What a workflow can ask for: effects, as values.

Rule 1: building an effect runs nothing. It checks and encodes its arguments, so that what cannot be durable is refused at the
line that wrote it.
Rule 2: ``yield from effect`` is ``yield effect`` with a type: the one door out of a workflow.
Rule 3: a command is answered by an event, and ``answers`` says which kinds fit: the table is the whole agreement.
Rule 4: four families. *Commands* wait for the world (step, sleep, signal, savepoint, child); *combinators* wait for branches;
*pure* effects are answered from what the interpreter knows; *outputs* tell the world something and are answered at once.

Classes here are slotted and built by hand or by ``attrs.define``, not frozen: a frozen object costs 2.5 times as much to build,
and steps are built once for every replayed event. Nobody changes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

import attrs

from replay.errors import PayloadError, TimedOut
from replay.model import events
from replay.model.budgets import Limits, Spent, limits_of
from replay.model.names import Micros
from replay.model.options import OnCancel, OnParentClose, RunOptions, StepOptions, require_span

if TYPE_CHECKING:
    from replay.model.retry import Retry

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Answer = tuple[bool, Callable[[bytes], Any]]
"""Whether it is a failure, and how its bytes become a value or an exception."""


def _nothing(_payload: bytes) -> None:
    """The answer of what has no result."""


class Effect(Generic[R_co]):
    """A request for one durable result of type ``R_co``; yield it, or ``yield from`` it to have its type."""

    __slots__ = ()
    name: str
    if TYPE_CHECKING:

        @property
        def answers(self) -> Mapping[str, Answer]:
            """By what kinds of events it is answered; those of steps and children know their types."""

    def __iter__(self) -> Generator[Effect[Any], Any, R_co]:
        result: R_co = yield self
        return result

    def check(self) -> int:
        """CRC-32 of the encoded arguments, or 0 where nothing is compared."""
        return 0

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {getattr(self, 'name', '')}".rstrip()

    def __repr__(self) -> str:
        return f"<{self}>"


Branch = Effect[R] | Generator[Effect[Any], Any, R]
"""What a combinator runs side by side: an effect, or a generator of effects."""


# ---- commands -----------------------------------------------------------------------------------------------------------


class StepSpec(Protocol):
    """What an interpreter and an engine need to know of a step; ``authoring`` makes them."""

    name: str

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Which events answer it, and how their bytes are read."""

    def invoke(self, payload: bytes, **extra: Any) -> Any:
        """Call the plain function with the decoded arguments."""

    def encode_result(self, value: Any) -> bytes:
        """The result's bytes; PayloadError where it does not fit its annotation."""


class Step(Effect[R_co]):
    """Do something outside, at least once, and remember the answer."""

    __slots__ = ("answers", "name", "options_", "payload", "spec")
    answers: Mapping[str, Answer]

    def __init__(self, spec: StepSpec, payload: bytes, options: StepOptions) -> None:
        self.spec = spec
        self.name = spec.name
        self.answers = spec.answers
        self.payload = payload
        self.options_ = options

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        heartbeat: float | None = None,
        queue: str | None = None,
        key: str | None = None,
        on_cancel: OnCancel | None = None,
        id: str | None = None,
    ) -> Self:
        """The same call, done otherwise; what is left out stays as the step declares it."""
        given = {
            "retry": retry,
            "timeout": timeout,
            "heartbeat": heartbeat,
            "queue": queue,
            "key": key,
            "on_cancel": on_cancel,
            "id": id,
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return self.again(attrs.evolve(self.options_, **changed).checked(f"step {self.name}"))

    def again(self, options: StepOptions) -> Self:
        """The same call with these options."""
        return type(self)(self.spec, self.payload, options)

    def check(self) -> int:
        """CRC-32 of the encoded arguments."""
        return zlib.crc32(self.payload) if self.options_.compare_arguments else 0

    def __str__(self) -> str:
        return f"step {self.name}{_shown(self.payload)}"


class Metered(Step[R_co]):
    """A step whose answers tell what it cost, so that it counts in the budgets around it.

    Attributes:
        charge: Told what an answer cost; None outside of every budget.
    """

    __slots__ = ("charge",)

    def __init__(self, spec: StepSpec, payload: bytes, options: StepOptions) -> None:
        super().__init__(spec, payload, options)
        self.charge: Callable[[Spent], None] | None = None

    def spent(self, payload: bytes) -> Spent:
        """What an answer, or a failed attempt, tells that it cost."""
        raise NotImplementedError

    def metered(self, charge: Callable[[Spent], None]) -> Self:
        """The same call, for an account; reading an answer charges it."""
        made = self.again(self.options_)
        made.charge = charge
        made.answers = {kind: (failed, self._charging(read, charge)) for kind, (failed, read) in self.answers.items()}
        return made

    def _charging(self, read: Callable[[bytes], Any], charge: Callable[[Spent], None]) -> Callable[[bytes], Any]:
        def reading(payload: bytes) -> Any:
            value = read(payload)
            charge(self.spent(payload))
            return value

        return reading


@attrs.define(eq=False, repr=False)
class Sleep(Effect[None]):
    """Wait for a durable timer.

    Attributes:
        span: Microseconds from the workflow's clock, or None when ``until`` is set.
        until: The moment itself.
    """

    span: Micros | None = None
    until: Micros | None = None
    name: str = "sleep"

    answers: ClassVar[Mapping[str, Answer]] = {events.TIMER_FIRED: (False, _nothing)}

    def __str__(self) -> str:
        return "sleep until a moment" if self.span is None else f"sleep {self.span / 1e6:g} s"


class _NoDefault:
    """Marks a signal without a default."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Final = _NoDefault()


@attrs.define(eq=False, repr=False)
class Signal(Effect[R_co]):
    """Wait for the next message of a name; the one that came first is answered first.

    Attributes:
        name: The message's name.
        decode: Bytes to value.
        span: How long to wait, in microseconds, or None.
        default: The answer when the time is over; without one, ``TimedOut``.
        expected: The type, as text.
    """

    name: str
    decode: Callable[[bytes], Any]
    span: Micros | None = None
    default: Any = NO_DEFAULT
    expected: str = "Any"

    answers: ClassVar[Mapping[str, Answer]] = {}  # the interpreter matches signals by name; a timer may answer too

    def read(self, payload: bytes) -> tuple[Any, Exception | None]:
        """A message's value, or why it does not fit."""
        try:
            return self.decode(payload), None
        except PayloadError as unfit:
            return None, unfit

    def time_over(self) -> tuple[Any, Exception | None]:
        """The answer when nothing came in time."""
        if self.default is NO_DEFAULT:
            return None, TimedOut(f"signal {self.name}", (self.span or 0) / 1e6)
        return self.default, None

    def __str__(self) -> str:
        return f"signal {self.name}"


@attrs.define(eq=False, repr=False)
class Savepoint(Effect[None]):
    """A named place to fork from; with state, a place to recover from.

    Attributes:
        name: The place's name.
        state: The value to start again with, or ``NO_DEFAULT``; encoded by the workflow's own ``state`` parameter.
        notes: Encoded goal, hypotheses, questions, decisions, next step and further fields.
    """

    name: str
    state: Any
    notes: bytes

    answers: ClassVar[Mapping[str, Answer]] = {events.SAVEPOINT: (False, _nothing)}

    def check(self) -> int:
        """CRC-32 of the encoded arguments."""
        return zlib.crc32(self.notes)


class WorkflowSpec(Protocol):
    """What an interpreter and an engine need to know of a workflow; ``authoring`` makes them."""

    name: str
    version: str
    patches: frozenset[str]

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Which events answer it as a child, and how their bytes are read."""

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call[Any]:
        """A call of this workflow with other arguments; one that is a call already is taken as it is."""

    def begin(self, payload: bytes, state: Any = NO_DEFAULT) -> Generator[Effect[Any], Any, Any]:
        """A fresh generator over the decoded input."""

    def decode(self, payload: bytes) -> Any:
        """The result from its bytes."""

    def encode_result(self, value: Any) -> bytes:
        """The result's bytes."""

    def encode_state(self, value: Any) -> bytes:
        """The bytes of a savepoint's state."""

    def decode_state(self, payload: bytes) -> Any:
        """A savepoint's state from its bytes."""


class Call(Effect[R_co]):
    """A workflow with its arguments: something to start, and, yielded in another workflow, a child run."""

    __slots__ = ("answers", "name", "options_", "payload", "spec")
    answers: Mapping[str, Answer]

    def __init__(self, spec: WorkflowSpec, payload: bytes, options: RunOptions) -> None:
        self.spec = spec
        self.name = spec.name
        self.answers = spec.answers
        self.payload = payload
        self.options_ = options

    def options(
        self,
        *,
        id: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        priority: int | None = None,
        delay: float | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        on_parent_close: OnParentClose | None = None,
        budget: Mapping[str, float] | None = None,
    ) -> Self:
        """The same call, started otherwise, as ``RunOptions`` says, but for spans in seconds; what is left out stays as it is."""
        owner = f"workflow {self.name}"
        given = {
            "id": id,
            "queue": queue,
            "key": key,
            "priority": priority,
            "delay": None if delay is None else require_span(owner, "delay", delay),
            "deadline": None if deadline is None else require_span(owner, "deadline", deadline),
            "tags": tags,
            "on_parent_close": on_parent_close,
            "budget": None if budget is None else limits_of(owner, budget),
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return type(self)(self.spec, self.payload, attrs.evolve(self.options_, **changed).checked(owner))

    def check(self) -> int:
        """CRC-32 of the encoded arguments."""
        return zlib.crc32(self.payload)

    def __str__(self) -> str:
        return f"child {self.name}{_shown(self.payload)}"


# ---- combinators --------------------------------------------------------------------------------------------------------


@attrs.define(eq=False, repr=False)
class Gather(Effect[tuple[R, ...]]):
    """All branches side by side; results in the order of the branches."""

    branches: Sequence[Branch[Any]]
    limit: int | None = None
    min_successful: int | None = None
    return_errors: bool = False
    name: str = "gather"


@attrs.define(eq=False, repr=False)
class Race(Effect[tuple[int, R]]):
    """The branch that ends first, as (index, value); the others are cancelled."""

    branches: Sequence[Branch[Any]]
    name: str = "race"


@attrs.define(eq=False, repr=False)
class Timeout(Effect[R_co]):
    """A branch that must end in time, else ``TimedOut``."""

    branch: Branch[Any]
    span: Micros
    name: str = "timeout"


@attrs.define(eq=False, repr=False)
class Shield(Effect[R_co]):
    """A branch that cancellation does not enter; it is held back until the branch has ended."""

    branch: Branch[Any]
    name: str = "shield"


@attrs.define(eq=False, repr=False)
class Budget(Effect[R_co]):
    """A branch whose calls of language models, its fibers' and its children's too, share what may be spent.

    Attributes:
        branch: What is limited.
        limits: What its calls may use.
        span: Microseconds that it may take, or None.
        raise_by: Name of the signal that raises the limits, or empty.
    """

    branch: Branch[Any]
    limits: Limits
    span: Micros | None = None
    raise_by: str = ""
    name: str = "budget"


class Spawned(Generic[R_co]):
    """A fiber that runs on beside its maker; ``join`` it, or ``cancel`` it."""

    __slots__ = ("fiber", "id")

    def __init__(self, id: str, fiber: Any) -> None:
        self.id = id
        self.fiber = fiber

    def __repr__(self) -> str:
        return f"<fiber {self.id}>"


class ChildHandle(Spawned[R_co]):
    """A child run that goes on beside its parent; ``run_id`` is its id, ``join`` waits for its result."""

    __slots__ = ("run_id",)

    def __init__(self, id: str, fiber: Any, run_id: str) -> None:
        super().__init__(id, fiber)
        self.run_id = run_id


@attrs.define(eq=False, repr=False)
class Spawn(Effect[Spawned[R]]):
    """Run a branch beside this fiber."""

    branch: Branch[R]
    name: str = "spawn"


@attrs.define(eq=False, repr=False)
class StartChild(Effect[ChildHandle[R]]):
    """Start a child run and go on."""

    call: Call[R]
    name: str = "start_child"


@attrs.define(eq=False, repr=False)
class Join(Effect[R_co]):
    """Wait for a spawned fiber."""

    handle: Spawned[R_co]
    name: str = "join"


@attrs.define(eq=False, repr=False)
class CancelFiber(Effect[None]):
    """Cancel a spawned fiber; it cleans up while its canceller goes on."""

    handle: Spawned[Any]
    reason: str = "cancelled"
    name: str = "cancel"


# ---- pure ---------------------------------------------------------------------------------------------------------------


@attrs.define(eq=False, repr=False)
class Ambient(Effect[R_co]):
    """Something the interpreter knows: ``now``, ``random``, ``uuid``, ``info``, or the run's ``shelf`` for helpers made of effects."""

    name: str


@attrs.define(eq=False, repr=False)
class Patched(Effect[bool]):
    """Whether this run began with code that declares the patch."""

    name: str


@attrs.define(eq=False, repr=False)
class OnUpdate(Effect[None]):
    """Answer updates of a name with a function of this workflow; a generator may yield effects.

    Attributes:
        name: The update's name.
        handler: Called with the decoded argument; its result is the reply.
        decode: Bytes to argument.
        encode: Reply to bytes.
        validator: Called first, must be pure; what it raises refuses the update without a trace.
    """

    name: str
    handler: Callable[[Any], Any]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    validator: Callable[[Any], None] | None = None


@attrs.define(eq=False, repr=False)
class ContinueAsNew(Effect[Any]):
    """End this journal and begin a fresh one under the same id; the arguments are those of the workflow, or one call."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str = "continue_as_new"


# ---- outputs ------------------------------------------------------------------------------------------------------------


@attrs.define(eq=False, repr=False)
class Output(Effect[None]):
    """Tell the world something, once, in the commit of the event that led to it.

    Attributes:
        name: ``send_signal``, ``publish``, ``set_state``, ``annotate``, ``set_tags``, ``log`` or ``reply``.
        target: Run, topic, key, level or message id, by kind.
        label: Name of a signal, text of a note or line.
        payload: Encoded value.
    """

    name: str
    target: str
    label: str
    payload: bytes


def branches_of(given: Iterable[Any]) -> list[Branch[Any]]:
    """Branches as a list; ``gather([a, b])`` is taken as ``gather(a, b)``."""
    listed = list(given)
    if len(listed) == 1 and isinstance(listed[0], list | tuple):
        return list(listed[0])
    return listed


def _shown(payload: bytes, limit: int = 120) -> str:
    text = payload.decode("utf-8", "replace")
    if text.startswith("[") and text.endswith("]"):
        text = f"({text[1:-1]})"
    return text if len(text) <= limit else f"{text[:limit]}…)"
