"""Questions to people, made of public effects: a spawned wait, an update with a validator, state and a tag.

Rule 1: an open question stands in the run's state with its schema, and the run bears a tag; both go when it is answered, given up
or cancelled.
Rule 2: an answer is an update. One that does not fit is refused with the reason, leaves no trace in the journal, and the question
stays open; the first that fits closes it, so of two people one is told that it is closed.
Rule 3: an answer that was accepted counts, even when the question's time ends in the same moment.
Rule 4: ids grow with the journal, so none is used twice in a run, however often it recovers or continues as new.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from types import UnionType
from typing import Any, Final, TypeVar, _SpecialForm, overload

import attrs

from replay.authoring.effects import cancel, checked_name, checked_span, info, join, now, on_update, set_tags, spawn
from replay.errors import AskClosed, Cancelled, EffectError, PayloadError, TimedOut, describe
from replay.model.about import micros_of
from replay.model.asks import ANSWER, OPEN, OPEN_ASKS, Ask
from replay.model.codec import PayloadCodec, from_json, payload_codec, to_json
from replay.model.effects import NO_DEFAULT, Ambient, Effect, Output, Signal, Spawned
from replay.model.names import SECOND, Micros

T = TypeVar("T")
D = TypeVar("D")
Asking = Generator[Effect[Any], Any, T]
TypeForm = UnionType | _SpecialForm
"""A type that is no class, such as ``int | None`` or ``Literal["yes", "no"]``."""
LIMIT: Final = 1_000
"""Questions that one run may have open at a time."""
_ANSWERED: Final = "answered"


@attrs.frozen(kw_only=True)
class _Form:
    """What is asked, before it is asked.

    Attributes:
        prompt: The question.
        codec: Bytes to answer.
        schema: What an answer looks like.
        choices: The only answers, as JSON, or None for any that fits.
        validator: Has the last word, or None.
        span: How long to wait, microseconds, or None.
        default: The answer when nobody gives one.
        assignee: Who is to answer.
        id: Its name, or empty for one of its own.
    """

    prompt: str
    codec: PayloadCodec[Any]
    schema: dict[str, Any]
    choices: list[Any] | None
    validator: Callable[[Any], object] | None
    span: Micros | None
    default: Any
    assignee: str
    id: str

    def read(self, raw: Any) -> Any:
        """An answer as the workflow sees it.

        Raises:
            PayloadError: It is of another type.
        """
        return self.codec.decode(to_json(raw), f"answer to {self.prompt!r}")

    def check(self, raw: Any) -> None:
        """Refuse an answer by raising.

        Raises:
            PayloadError: It is of another type, or none of the choices.
            ValueError: The validator answered False.
            Exception: Whatever the validator raises.
        """
        if self.choices is not None and to_json(raw) not in map(to_json, self.choices):
            raise PayloadError(f"answer to {self.prompt!r}", f"one of {', '.join(map(repr, self.choices))}", describe(raw))
        value = self.read(raw)
        if self.validator is not None and self.validator(value) is False:
            raise ValueError(f"{describe(value)} is not accepted")


@attrs.define(eq=False)
class _Open:
    """A question that waits."""

    form: _Form
    shown: Ask
    waiting: Spawned[Any]
    answer: Any = None


@attrs.define
class _Desk:
    """The open questions of one run.

    Attributes:
        open: By id, oldest first.
        issued: Journal length at which the last id was made, and how many there.
    """

    open: dict[str, _Open] = attrs.field(factory=dict)
    issued: tuple[str, int] = ("", 0)

    def fresh_id(self, chain: int, length: int) -> str:
        """An id that no question of this run had before."""
        base = f"{chain}.{length}" if chain else str(length)
        number = self.issued[1] + 1 if self.issued[0] == base else 1
        self.issued = (base, number)
        return base if number == 1 else f"{base}-{number}"

    def show(self) -> Generator[Effect[Any], Any, None]:
        """Tell the world which questions are open."""
        yield from Output("set_state", OPEN_ASKS, "", to_json([question.shown.facts() for question in self.open.values()]))
        yield from set_tags(**{OPEN_ASKS: OPEN if self.open else ""})

    def find(self, said: Any) -> _Open:
        """The open question that an answer is for.

        Raises:
            AskClosed: It is not open.
        """
        identity = str(said.get("ask", "")) if isinstance(said, dict) else ""
        if identity not in self.open:
            raise AskClosed("", identity, tuple(self.open))
        return self.open[identity]

    def check(self, said: Any) -> None:
        """Refuse an answer by raising; pure."""
        self.find(said).form.check(said.get("value"))

    def take(self, said: Any) -> Generator[Effect[Any], Any, None]:
        """An answer that was not refused closes its question."""
        question = self.find(said)
        question.answer = question.form.read(said.get("value"))
        del self.open[question.shown.id]
        yield from self.show()
        yield from cancel(question.waiting, _ANSWERED)


@overload
def ask(
    prompt: str,
    *,
    type: type[T],
    choices: Sequence[Any] | None = ...,
    validator: Callable[[T], object] | None = ...,
    timeout: float | None = ...,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T]: ...
@overload
def ask(
    prompt: str,
    *,
    form: type[T],
    validator: Callable[[T], object] | None = ...,
    timeout: float | None = ...,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T]: ...
@overload
def ask(
    prompt: str,
    *,
    choices: Sequence[T],
    validator: Callable[[T], object] | None = ...,
    timeout: float | None = ...,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T]: ...
@overload
def ask(
    prompt: str,
    *,
    validator: Callable[[str], object] | None = ...,
    timeout: float | None = ...,
    assignee: str = ...,
    id: str = ...,
) -> Asking[str]: ...
@overload
def ask(
    prompt: str,
    *,
    type: type[T],
    choices: Sequence[Any] | None = ...,
    validator: Callable[[T], object] | None = ...,
    timeout: float,
    default: D,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T | D]: ...
@overload
def ask(
    prompt: str,
    *,
    form: type[T],
    validator: Callable[[T], object] | None = ...,
    timeout: float,
    default: D,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T | D]: ...
@overload
def ask(
    prompt: str,
    *,
    choices: Sequence[T],
    validator: Callable[[T], object] | None = ...,
    timeout: float,
    default: D,
    assignee: str = ...,
    id: str = ...,
) -> Asking[T | D]: ...
@overload
def ask(
    prompt: str,
    *,
    validator: Callable[[str], object] | None = ...,
    timeout: float,
    default: D,
    assignee: str = ...,
    id: str = ...,
) -> Asking[str | D]: ...
@overload
def ask(
    prompt: str,
    *,
    type: TypeForm,
    choices: Sequence[Any] | None = ...,
    validator: Callable[[Any], object] | None = ...,
    timeout: float | None = ...,
    default: Any = ...,
    assignee: str = ...,
    id: str = ...,
) -> Asking[Any]: ...
def ask(
    prompt: str,
    *,
    type: Any = None,
    choices: Sequence[Any] | None = None,
    form: Any = None,
    validator: Callable[[Any], object] | None = None,
    timeout: float | None = None,
    default: Any = NO_DEFAULT,
    assignee: str = "",
    id: str = "",
) -> Asking[Any]:
    """Ask a person, and wait for an answer that fits: from ``handle.answer``, ``replay answer``, or any client.

    Args:
        prompt: The question.
        type: What the answer must be; by default text.
        choices: The only answers that are taken.
        form: A class of several fields, instead of ``type``.
        validator: Called with an answer that fits the type, must be pure; what it raises, or False, refuses the answer.
        timeout: Seconds to wait, or None for ever.
        default: The answer when the time is over.
        assignee: Who is to answer; anyone may.
        id: A name for the question; by default one that no other question of the run has.

    Raises:
        TimedOut: (at the yield) The time is over and there is no default.
        EffectError: The prompt is empty, both a type and a form, no choices, a default without a timeout, or, at the yield, a
            name that is open already or too many open questions.
        PayloadError: A choice does not fit the type, or the type is no data.
    """
    from replay.model.schema import schema_of  # and cattrs with it, which not every workflow needs

    question: Any = prompt
    if not isinstance(question, str) or not question.strip():
        raise EffectError(f"ask was given {describe(question)}", "say what is asked")
    if type is not None and form is not None:
        raise EffectError(f"ask {prompt!r} with both type= and form=", "give it one of them")
    if choices is not None and not choices:
        raise EffectError(f"ask {prompt!r} with no choice at all", "give it some, or leave choices= out")
    if default is not NO_DEFAULT and timeout is None:
        raise EffectError(f"ask {prompt!r} has a default and no timeout", "say after how many seconds it is used")
    annotation: Any = next((given for given in (type, form) if given is not None), None)
    if annotation is None:
        annotation = str if choices is None else _type_of(choices)
    codec = payload_codec(annotation)
    listed = None if choices is None else [from_json(codec.encode(choice, f"choice of {prompt!r}")) for choice in choices]
    made = _Form(
        prompt=prompt,
        codec=codec,
        schema=schema_of(annotation) if listed is None else {"enum": listed},
        choices=listed,
        validator=validator,
        span=None if timeout is None else checked_span(f"ask {prompt!r} with a timeout", timeout),
        default=default,
        assignee=assignee,
        id=checked_name("ask", id) if id else "",
    )
    return _asking(made)


def _type_of(choices: Sequence[Any]) -> Any:
    kinds = {type(choice) for choice in choices}
    return kinds.pop() if len(kinds) == 1 else Any


def _asking(form: _Form) -> Asking[Any]:
    desk = yield from _desk()
    about = yield from info()
    asked_at = micros_of((yield from now()))
    identity = form.id or desk.fresh_id(about.chain, about.journal_length)
    if identity in desk.open:
        raise EffectError(f"ask {form.prompt!r} as {identity!r}, which is open already", "wait for its answer, or give another id=")
    if len(desk.open) >= LIMIT:
        raise EffectError(f"ask {form.prompt!r} while {LIMIT} questions are open", "ask fewer at a time")
    waiting: Spawned[Any] = yield from spawn(Signal(name=f"~ask:{identity}", decode=_by_update_only, span=form.span, default=None))
    shown = Ask(
        id=identity,
        prompt=form.prompt,
        schema=form.schema,
        assignee=form.assignee,
        asked_at=asked_at,
        due_at=None if form.span is None else asked_at + form.span,
    )
    question = desk.open[identity] = _Open(form, shown, waiting)
    yield from desk.show()
    try:
        yield from join(waiting)
    except Cancelled as cancelled:
        if cancelled.reason == _ANSWERED and identity not in desk.open:
            return question.answer
        if desk.open.pop(identity, None) is not None:
            yield from cancel(waiting)
            yield from desk.show()
        raise
    if desk.open.pop(identity, None) is None:  # answered in the moment in which its time was over
        return question.answer
    yield from desk.show()
    if form.default is NO_DEFAULT:
        raise TimedOut(f"ask {form.prompt!r}", (form.span or 0) / SECOND)
    return form.default


def _desk() -> Generator[Effect[Any], Any, _Desk]:
    """The desk of this run; whoever asks first sets it up."""
    shelf: dict[str, Any] = yield Ambient("shelf")
    desk = shelf.get(OPEN_ASKS)
    if not isinstance(desk, _Desk):
        desk = shelf[OPEN_ASKS] = _Desk()
        yield from on_update(ANSWER, desk.take, validator=desk.check)
    return desk


def _by_update_only(_payload: bytes) -> Any:
    """A message cannot be told that it was refused, so it is no answer."""
    raise PayloadError("question", "an answer by handle.answer or `replay answer`", "a signal")
