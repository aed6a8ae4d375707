"""The effect that asks a language model, and what messages are made of."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

import attrs

from replay.authoring.tools import Tool, tool_name, tool_schema
from replay.errors import EffectError, ProviderBusy, TimedOut, describe
from replay.model.codec import payload_codec, spell, to_json
from replay.model.effects import Effect
from replay.model.llm import LLM, LLMCall, LLMRequest, LLMResult, LLMSpec, Message, Models, Response, ToolCall, freeze
from replay.model.options import StepOptions
from replay.model.retry import Retry
from replay.model.schema import schema_of

T = TypeVar("T")
RETRY: Final = Retry(max_attempts=6, initial=1.0, max_delay=60.0, retry_on=(ProviderBusy, TimedOut, OSError))
"""How often a provider that does not answer is asked again, unless the call says otherwise."""
OPTIONS: Final = StepOptions(retry=RETRY)
_SYSTEM: Final = frozenset({"system", "developer"})
_CHOICES: Final = ("auto", "none", "required")


@overload
def llm_call(
    messages: str | Sequence[Message],
    *,
    model: Models,
    response_type: type[T],
    system: str | None = None,
    tools: Iterable[Tool] = (),
    tool_choice: str | Mapping[str, Any] | None = None,
    stream: bool = False,
    name: str = "",
    retry: Retry | None = None,
    timeout: float | None = None,
    compare_arguments: bool = True,
    **settings: Any,
) -> Effect[LLMResult[T]]: ...
@overload
def llm_call(
    messages: str | Sequence[Message],
    *,
    model: Models,
    system: str | None = None,
    tools: Iterable[Tool] = (),
    tool_choice: str | Mapping[str, Any] | None = None,
    stream: bool = False,
    name: str = "",
    retry: Retry | None = None,
    timeout: float | None = None,
    compare_arguments: bool = True,
    **settings: Any,
) -> Effect[LLMResult[None]]: ...
def llm_call(
    messages: str | Sequence[Message],
    *,
    model: Models,
    response_type: Any = None,
    system: str | None = None,
    tools: Iterable[Tool] = (),
    tool_choice: str | Mapping[str, Any] | None = None,
    stream: bool = False,
    name: str = "",
    retry: Retry | None = None,
    timeout: float | None = None,
    compare_arguments: bool = True,
    **settings: Any,
) -> Effect[Any]:
    """Ask a language model.

    Args:
        messages: What was said so far, or one text of the user.
        model: Which model, ``provider/model`` where it is not the default provider's; several are asked in order when one fails.
        response_type: What the reply must be (attrs, dataclass, pydantic, TypedDict, …); a reply that does not fit is repaired once.
        system: The system prompt.
        tools: Functions, steps or ready descriptions that the model may ask for.
        tool_choice: ``auto``, ``none``, ``required``, or a tool's name.
        stream: Whether tokens are published as they come; see ``replay.llm.tokens``.
        name: A name of its own, for journals and stubs.
        retry: When to try again; by default six times, when the provider did not answer.
        timeout: Seconds that one attempt may take.
        compare_arguments: Whether replay compares a checksum of the conversation; without, prompts may be edited under open runs.
        **settings: ``temperature``, ``max_tokens`` and the rest, passed on.

    Raises:
        ProviderFailed: (at the yield) No model of the list answered.
        ReplyInvalid: (at the yield) The reply did not fit ``response_type``, twice.
        BudgetExceeded: (at the yield) A budget around it does not allow it.
        EffectError: Messages, model or tools that are none.
        PayloadError: Messages or settings that are no JSON.
    """
    described = tuple([tool_schema(tool) for tool in tools])
    request = LLMRequest(
        models=_models(model),
        frozen=freeze(_conversation(messages, system)),
        tools=described,
        tool_choice=_choice(tool_choice, [tool_name(tool) for tool in described]),
        response=None if response_type is None else response_of(response_type),
        settings=_settings(settings),
        stream=stream,
    )
    options = OPTIONS
    if retry is not None or timeout is not None or not compare_arguments:
        changed: dict[str, Any] = {"retry": retry or RETRY, "timeout": timeout, "compare_arguments": compare_arguments}
        options = attrs.evolve(OPTIONS, **changed).checked("llm_call")
    return LLMCall(_spec(f"{LLM}:{name}" if name else LLM, request.response), request, options)


@functools.lru_cache(maxsize=1024)
def _spec(name: str, response: Response[Any] | None) -> LLMSpec:
    return LLMSpec(name, response)


def response_of(annotation: Any) -> Response[Any]:
    """The response type that an annotation means."""
    try:
        return _response(annotation)
    except TypeError:  # an annotation without a hash
        return Response.of(annotation, payload_codec(annotation), schema_of(annotation))


@functools.lru_cache(maxsize=1024)
def _response(annotation: Any) -> Response[Any]:
    return Response.of(annotation, payload_codec(annotation), schema_of(annotation))


def _models(given: Models) -> tuple[str, ...]:
    listed: tuple[Any, ...] = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not listed or not all(isinstance(model, str) and model.strip("/") for model in listed):
        raise EffectError(f"llm_call with model={describe(given)}", 'name one, such as "gpt-4o-mini", or several')
    return listed


def _conversation(messages: Any, system: str | None) -> list[Message]:
    said: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    if isinstance(messages, str):
        said.append({"role": "user", "content": messages})
    elif isinstance(messages, list | tuple):
        said += messages
    else:
        raise EffectError(f"llm_call was given {describe(messages)} as messages", "give it a text or a list of messages")
    if not said:
        raise EffectError("llm_call was given no message", "say something")
    return said


def _choice(choice: Any, names: list[str]) -> Any:
    if choice is None or choice in _CHOICES or isinstance(choice, Mapping):
        if choice is not None and not names:
            raise EffectError(f"llm_call with tool_choice={choice!r} and no tools", "pass tools=[…]")
        return choice
    if choice in names:
        return {"type": "function", "function": {"name": choice}}
    raise EffectError(f"llm_call with tool_choice={describe(choice)}", f"use one of {', '.join([*_CHOICES, *names])}")


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    to_json(settings)  # or the digest of the request would stumble over it, where no line of the author's is to be seen
    return settings


def asked_otherwise(
    call: LLMCall[Any],
    *,
    model: Models | None = None,
    provider: str | None = None,
    system: str | None = None,
    messages: Sequence[Message] | Callable[[list[dict[str, Any]]], Sequence[Message]] | None = None,
    **settings: Any,
) -> LLMCall[Any]:
    """The same call, put to another model or provider, or in other words.

    Args:
        call: The call.
        model: Which model, or several in order.
        provider: Whose; the models' names stay.
        system: Another system prompt.
        messages: Another conversation, or a function that makes one of the call's.
        **settings: Temperature and the rest; what is not named stays.

    Raises:
        EffectError: Messages or model that are none.
        PayloadError: Messages or settings that are no JSON.
    """
    request = call.request
    models = request.models if model is None else _models(model)
    if provider is not None:
        models = tuple([f"{provider}/{name.partition('/')[2] or name}" for name in models])
    said: Sequence[Message] = request.messages
    if system is not None:
        said = _conversation([message for message in said if message["role"] not in _SYSTEM], system)
    if messages is not None:
        said = _conversation(messages(list(request.messages)) if callable(messages) else messages, system)
    changed = attrs.evolve(request, models=models, frozen=freeze(said), settings={**request.settings, **_settings(settings)})
    return LLMCall(_spec(call.name, changed.response), changed, call.options_)


# ---- messages ---------------------------------------------------------------------------------------------------------------


def image(data: bytes | str, *, type: str = "image/png", detail: str = "auto") -> dict[str, Any]:
    """An image in a message: its bytes, or a URL that the provider can reach.

    Args:
        data: The bytes, or the URL.
        type: The bytes' media type.
        detail: How closely the model looks: ``auto``, ``low`` or ``high``.
    """
    url = data if isinstance(data, str) else f"data:{type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def user(*parts: str | Mapping[str, Any]) -> dict[str, Any]:
    """A message of the user, of texts and images."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": "user", "content": parts[0]}
    return {"role": "user", "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]}


def tool_message(call: ToolCall, value: Any) -> dict[str, Any]:
    """What a tool answered, for the model: a text as it is, all else as JSON."""
    said = value if isinstance(value, str) else spell(value, f"answer of tool {call.name}").decode()
    return {"role": "tool", "tool_call_id": call.id, "content": said}


__all__ = ["asked_otherwise", "image", "llm_call", "response_of", "tool_message", "user"]
