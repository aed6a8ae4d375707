"""A call of a language model, and its answer, as facts.

Rule 1: the request is never journaled. It is made again by replay; the journal holds the reply, and the event's ``check`` is a
checksum of the conversation.
Rule 2: an effect holds a snapshot: each message is spelt when the effect is built, so changing a list or a dict later changes no call.
Rule 3: a conversation grows, so the same messages come again in every call. A message is spelt and digested once and then known by
its content; so replay costs as much as the conversation has messages, not as they have characters.
Rule 4: the conversation (system prompt and messages) is the call's identity. Model, temperature, tools and response type are policy:
they may change while a run is open.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import attrs

from replay.errors import (
    BudgetExceeded,
    EffectError,
    PayloadError,
    ProviderBusy,
    ProviderFailed,
    ReplyInvalid,
    StepFailed,
    TimedOut,
    describe,
)
from replay.model import events
from replay.model.budgets import Spent
from replay.model.codec import PayloadCodec, from_json, to_json, type_name
from replay.model.effects import Answer, Metered
from replay.model.failure import Failure
from replay.model.options import StepOptions
from replay.model.spending import spent_by

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Message = Mapping[str, Any]
"""One message of a conversation, as OpenAI-compatible servers spell it: ``{"role": "user", "content": "…"}``."""

LLM: Final = "llm_call"
"""Name of calls in a journal; one that has a name of its own is ``llm_call:NAME``."""
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
KNOWN_SIZE: Final = 64 * 1024 * 1024
"""Characters of messages that are remembered in a process at most; then all are forgotten."""


class Usage(NamedTuple):
    """Tokens of a call.

    Attributes:
        input: Tokens of the request, cached ones included.
        output: Tokens of the reply, reasoning included.
        cached: Input tokens that the provider had in its cache.
        reasoning: Output tokens that were thought and not said.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Tokens in and out."""
        return self.input + self.output

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(one + two for one, two in zip(self, other, strict=True)))


NO_USAGE: Final = Usage()
"""Of a call that was not made, or whose provider tells nothing."""


@attrs.frozen
class ToolCall:
    """What a model wants done.

    Attributes:
        id: The model's name for this call; the tool's message answers it by ``tool_call_id``.
        name: The tool.
        arguments: Its arguments, as the model spelt them; JSON, if all is well. ``replay.llm.bind`` reads them.
    """

    id: str
    name: str
    arguments: str = "{}"


@attrs.frozen(kw_only=True)
class LLMResult(Generic[T]):
    """What a model answered, as the journal holds it.

    Attributes:
        text: What it said.
        tool_calls: What it wants done.
        parsed: The text as ``response_type``, or None without one.
        usage: Tokens, of the repair turn too.
        cost: Dollars; None when the price of the model is not known.
        model: The model, as the provider names it.
        provider: Which backend answered.
        latency: Seconds from asking to the reply.
        digest: SHA-256 of the whole request, in hex.
        finish: Why it stopped: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or what else the provider says.
        calls: Calls that were made: 1, or 2 with a repair turn; 0 when the reply came from the cache.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    parsed: T = attrs.field(default=None)  # None without a response type
    usage: Usage = NO_USAGE
    cost: float | None = None
    model: str = ""
    provider: str = ""
    latency: float = 0.0
    digest: str = ""
    finish: str = "stop"
    calls: int = 1

    @property
    def message(self) -> dict[str, Any]:
        """The reply as a message, to go on with the conversation."""
        said: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.tool_calls:
            said["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        elif not self.text:
            said["content"] = ""
        return said

    @property
    def spent(self) -> Spent:
        """What it takes from a budget."""
        unpriced = self.calls if self.cost is None else 0
        return Spent(usd=self.cost or 0.0, tokens=self.usage.total, calls=self.calls, unpriced=unpriced)

    def encode(self) -> bytes:
        """Its journal form: what can be computed again (``parsed``), and what is as usual, is left out; a cost never is."""
        default = LLMResult[None]()
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(LLMResult) if field.name != "parsed"}
        said = {name: value for name, value in fields.items() if value != getattr(default, name)}
        if self.tool_calls:
            said["tool_calls"] = [list(attrs.astuple(call)) for call in self.tool_calls]
        if "usage" in said:
            said["usage"] = {kind: count for kind, count in self.usage._asdict().items() if count}
        return to_json({**said, "cost": self.cost})

    @classmethod
    def decode(cls, payload: bytes, response: Response[Any] | None = None) -> Self:
        """From its journal form; fields of later versions are passed over.

        Raises:
            PayloadError: The recorded text does not fit today's response type.
        """
        data = from_json(payload)
        if not isinstance(data, dict):
            raise PayloadError("a model's reply", "an object", describe(data))
        known = {field.name for field in attrs.fields(cls)}
        fields = {key: value for key, value in data.items() if key in known}
        fields["tool_calls"] = tuple(ToolCall(*call) for call in fields.get("tool_calls", ()))
        fields["usage"] = Usage(**fields.get("usage", {}))
        if response is not None and not fields["tool_calls"]:
            fields["parsed"] = response.read(fields.get("text", ""))
        return cls(**fields)


@attrs.frozen(eq=False)
class Response(Generic[T]):
    """The type that a reply must have.

    Attributes:
        codec: How its JSON is read.
        schema: The JSON schema that the model is given; an object, as providers demand.
        wrapped: Whether the value stands under ``value`` of that object, as it is no object itself.
        name: The type, as text.
    """

    codec: PayloadCodec[T]
    schema: Mapping[str, Any]
    wrapped: bool
    name: str

    @classmethod
    def of(cls, annotation: Any, codec: PayloadCodec[T], schema: Mapping[str, Any]) -> Response[T]:
        """From an annotation, its codec and its schema."""
        plain = dict(schema)
        reference = plain.pop("$ref", "").removeprefix("#/$defs/")
        if reference:  # providers want an object at the root, not a reference to one
            plain = {**plain["$defs"][reference], **plain}
        wrapped = plain.get("type") != "object"
        if wrapped:
            definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
            inner = {key: value for key, value in schema.items() if key != "$defs"}
            plain = {"type": "object", "properties": {"value": inner}, "required": ["value"], **definitions}
        return cls(codec, plain, wrapped, type_name(annotation))

    def read(self, text: str) -> T:
        """A reply's value; a fence of Markdown around the JSON is looked through.

        Raises:
            PayloadError: The text does not fit.
        """
        where = f"reply for {self.name}"
        said = _unfenced(text).encode()
        if not self.wrapped:
            return self.codec.decode(said, where)
        found = from_json(said)
        if not isinstance(found, dict) or "value" not in found:
            raise PayloadError(where, 'an object with "value"', describe(found))
        return self.codec.from_raw(found["value"], where)

    def spell(self, value: T) -> str:
        """The reply that a model would give for a value."""
        said = self.codec.encode(value, f"reply for {self.name}").decode()
        return f'{{"value":{said}}}' if self.wrapped else said


def _unfenced(text: str) -> str:
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        return stripped.removesuffix("```").partition("\n")[2].strip()
    return stripped


# ---- the request ----------------------------------------------------------------------------------------------------------


class Frozen(NamedTuple):
    """A message as it was when the effect was built."""

    digest: bytes
    text: str


class _Known:
    """Messages by their content, so that each is spelt and digested once."""

    def __init__(self) -> None:
        self._frozen: dict[Any, Frozen] = {}
        self._size = 0

    def freeze(self, message: Message) -> Frozen:
        """A message, spelt and digested.

        Raises:
            EffectError: It is no message.
            PayloadError: It holds what is no JSON.
        """
        try:
            key = _key_of(message)
            found = self._frozen.get(key)
        except TypeError:
            raise EffectError(f"llm_call was given a message of {describe(message)}", "messages are plain JSON") from None
        return self._add(key, message) if found is None else found

    def forget(self) -> None:
        """Know nothing any more."""
        self._frozen, self._size = {}, 0

    def _add(self, key: Any, message: Message) -> Frozen:
        require_message(message)
        text = to_json(message)
        frozen = Frozen(hashlib.sha256(text).digest(), text.decode())
        if self._size + len(text) > KNOWN_SIZE:
            self.forget()
        self._frozen[key] = frozen
        self._size += len(text)
        return frozen


def _key_of(value: Any) -> Any:
    """The content of a message as a key. Python keeps the hash of a text, so a long one is read but once.

    A replay makes one for every message of every call: texts, which are most, are looked at where they stand.
    """
    kind = type(value)
    if kind is dict:
        return dict, *value, *[part if type(part) is str else _key_of(part) for part in value.values()]
    if kind is list or kind is tuple:
        return list, *[part if type(part) is str else _key_of(part) for part in value]
    return value if kind is str else (kind, repr(value) if kind is float else value)  # -0.0 equals 0.0 and is spelt otherwise


KNOWN: Final = _Known()
"""Of this process."""


def require_message(message: Any) -> None:
    """A message must be one.

    Raises:
        EffectError: It is something else.
    """
    advice = 'write {"role": "user", "content": "…"}, or append reply.message'
    if not isinstance(message, dict):
        raise EffectError(f"llm_call was given a message that is {describe(message)}", advice)
    if message.get("role") not in ROLES:
        raise EffectError(f"llm_call was given a message whose role is {describe(message.get('role'))}", advice)


@attrs.frozen(kw_only=True, eq=False)
class LLMRequest:
    """All that a model is asked with.

    Attributes:
        models: Which to ask, in order: the next one when one fails; each is ``model`` or ``provider/model``.
        frozen: The conversation, spelt.
        tools: JSON descriptions of tools.
        tool_choice: Which tool it may or must use.
        response: The type of its reply, or None.
        settings: Temperature and the rest, passed on as they are.
        stream: Whether tokens are published as they come.
    """

    models: tuple[str, ...]
    frozen: tuple[Frozen, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = None
    response: Response[Any] | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    stream: bool = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation; a copy of its own each time."""
        return [from_json(message.text.encode()) for message in self.frozen]

    def conversation(self) -> bytes:
        """What identifies the conversation, as JSON."""
        return b'"%s"' % hashlib.sha256(b"".join([message.digest for message in self.frozen])).hexdigest().encode()

    def digest(self) -> str:
        """What identifies the whole request: SHA-256, in hex."""
        rest = {
            "models": self.models,
            "tools": self.tools,
            "tool_choice": self.tool_choice,
            "response": None if self.response is None else self.response.schema,
            "settings": self.settings,
        }
        return hashlib.sha256(self.conversation() + to_json(rest)).hexdigest()

    def size(self) -> int:
        """Characters of the conversation."""
        return sum(len(message.text) for message in self.frozen)


def freeze(messages: Iterable[Message]) -> tuple[Frozen, ...]:
    """A conversation, spelt.

    Raises:
        EffectError: One of them is no message.
        PayloadError: One of them holds what is no JSON.
    """
    known = KNOWN.freeze
    return tuple([known(message) for message in messages])


# ---- the effect ------------------------------------------------------------------------------------------------------------


class LLMSpec:
    """What an interpreter and an engine need to know of calls of one name and response type.

    Attributes:
        name: Their name in a journal.
        response: The type of their replies, or None.
    """

    def __init__(self, name: str, response: Response[Any] | None) -> None:
        self.name = name
        self.response = response
        self.answers: Mapping[str, Answer] = {
            events.STEP_COMPLETED: (False, self.decode),
            events.STEP_FAILED: (True, self.failure),
        }

    def decode(self, payload: bytes) -> LLMResult[Any]:
        """The result from its bytes."""
        return LLMResult.decode(payload, self.response)

    def invoke(self, payload: bytes, **extra: Any) -> Any:
        """It has no function: a performer does it."""
        raise NotImplementedError

    def encode_result(self, value: Any) -> bytes:
        """The reply's bytes: of a result, a text, or a value of the response type.

        Raises:
            PayloadError: It is none of these.
        """
        if isinstance(value, LLMResult):
            self.decode(value.encode())
            return value.encode()
        if self.response is not None and not isinstance(value, str):
            return LLMResult[None](text=self.response.spell(value)).encode()
        if not isinstance(value, str):
            raise PayloadError(f"reply of {self.name}", "a text or an LLMResult", describe(value))
        return self.encode_result(LLMResult[None](text=value))

    def failure(self, payload: bytes) -> Exception:
        """The exception that the workflow sees."""
        failure = Failure.decode(payload)
        known = failure.revive(_THEMSELVES)
        if known is not None:
            return known
        return StepFailed(self.name, failure.type, failure.message, failure.attempts, failure.traceback)


_THEMSELVES: Final = (BudgetExceeded, ProviderBusy, ProviderFailed, ReplyInvalid, TimedOut)
"""Failures of a call that come back as what they are; all else is ``StepFailed``."""


class LLMCall(Metered[R_co]):
    """Ask a language model.

    Attributes:
        request: All that it is asked with.
    """

    __slots__ = ("request",)

    def __init__(self, spec: LLMSpec, request: LLMRequest, options: StepOptions) -> None:
        super().__init__(spec, b"", options)
        self.request = request
        self.payload = request.conversation()

    def check(self) -> int:
        """CRC-32 of what identifies the conversation."""
        return zlib.crc32(self.payload) if self.options_.compare_arguments else 0

    def again(self, options: StepOptions) -> Self:
        """The same call, done otherwise."""
        return type(self)(self.spec, self.request, options)  # type: ignore[arg-type]  # its own spec

    def spent(self, payload: bytes) -> Spent:
        """What an answer, or a failed attempt, tells that it cost."""
        return spent_by(payload)

    def __str__(self) -> str:
        return f"{self.name} {' or '.join(self.request.models)}, {len(self.request.frozen)} messages"


Models = str | Sequence[str]
"""One model, or several to be asked in order."""
