"""Words of a command line as the typed arguments of a workflow, a query or a signal.

Rule 1: a word is JSON when it reads as what the parameter's annotation asks for, else it is text: ``42`` is a number for an ``int`` and
a text for a ``str``.
Rule 2: values become what the annotations say, as a journal's bytes would; so what is wrong is told by the codec, with its path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from replay.authoring.definitions import WorkflowFunction
from replay.errors import InvalidRequest, PayloadError
from replay.model.codec import PayloadCodec, from_json, hints_of, payload_codec, to_json
from replay.model.effects import Call

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def read_call(
    workflow: WorkflowFunction[..., Any], texts: Sequence[str], named: Sequence[tuple[str, str]], whole: str | None
) -> Call[Any]:
    """A call of a workflow.

    Args:
        workflow: Which one.
        texts: Arguments by place.
        named: Arguments by name.
        whole: All arguments as one JSON list or object, instead.

    Raises:
        InvalidRequest: They do not fit the signature.
        PayloadError: One does not fit its annotation.
    """
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    if whole is None:
        args, kwargs = read_arguments(workflow.fn, workflow.arguments.signature, texts, named)
    elif texts or named:
        raise InvalidRequest("--input", "arguments were given besides it", "give all of them in one way")
    else:
        args, kwargs = _from_whole(workflow, whole)
    try:
        call: Call[Any] = workflow(*args, **kwargs)
    except TypeError as error:
        raise _unfit(workflow, error) from error
    return call


def read_arguments(
    fn: Callable[..., Any], signature: inspect.Signature, texts: Sequence[str], named: Sequence[tuple[str, str]]
) -> tuple[list[Any], dict[str, Any]]:
    """Values for the parameters of a function."""
    parameters = list(signature.parameters.values())
    hints = hints_of(fn, [parameter.name for parameter in parameters])
    by_place = [parameter.name for parameter in parameters if parameter.kind in _BY_PLACE]
    by_place += [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_POSITIONAL] * len(texts)
    rest = next((parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD), "")
    names = [*by_place, *[""] * len(texts)]
    args = [_read(text, hints.get(name, Any), name or "?") for text, name in zip(texts, names, strict=False)]
    kwargs = {name: _read(text, hints.get(name, hints.get(rest, Any)), name) for name, text in named}
    return args, kwargs


def _read(text: str, annotation: Any, name: str) -> Any:
    return read_with(payload_codec(annotation), text, f"argument {name!r}")


def read_with(codec: PayloadCodec[Any], text: str, where: str) -> Any:
    """One word as what a codec reads.

    Raises:
        PayloadError: It fits neither as JSON nor as text.
    """
    try:
        raw = from_json(text.encode("utf-8", "surrogatepass"))
    except PayloadError:
        return codec.from_raw(text, where)
    try:
        return codec.from_raw(raw, where)
    except PayloadError as unfit:
        try:
            return codec.from_raw(text, where)
        except PayloadError:
            raise unfit from None


def _from_whole(workflow: WorkflowFunction[..., Any], whole: str) -> tuple[Sequence[Any], Mapping[str, Any]]:
    try:
        given = from_json(whole.encode("utf-8", "surrogatepass"))
    except PayloadError as error:
        raise InvalidRequest("--input", f"it is no JSON: {error.got}", "write a list of arguments, or an object of names") from error
    if isinstance(given, dict):
        spelt: dict[str, Any] = {"args": [], "kwargs": {}}
        given = {**spelt, **given} if given and given.keys() <= spelt.keys() else {**spelt, "kwargs": given}
    if not isinstance(given, list | dict):
        advice = "write a list of arguments, or an object of names"
        raise InvalidRequest("--input", f"expected a JSON list or object, got {type(given).__name__}", advice)
    try:
        return workflow.arguments.decode(to_json(given))
    except TypeError as error:
        raise _unfit(workflow, error) from error


def _unfit(workflow: WorkflowFunction[..., Any], error: TypeError) -> InvalidRequest:
    signature = f"{workflow.name}{workflow.arguments.signature}"
    return InvalidRequest(f"arguments of {workflow.name}", str(error), f"its signature is {signature}")
