"""Tools of a language model, described by Python functions.

Rule 1: the signature is the schema: annotations say what the model must give, defaults what it may leave out, the docstring what it
is good for. A parameter is described by ``Annotated[str, "…"]`` or by the docstring's ``Args:``.
Rule 2: what a model gives is checked as any other data from outside: ``bind`` reads the arguments by the same annotations.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from replay.authoring.definitions import StepFunction, WorkflowFunction
from replay.errors import DefinitionError, PayloadError, describe
from replay.model.codec import PayloadCodec, from_json, hints_of, payload_codec
from replay.model.llm import ToolCall
from replay.model.schema import Schema, schema_of

Tool = Callable[..., Any] | Mapping[str, Any]
"""A function, a step, a workflow, or a ready description as OpenAI-compatible servers take it."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENTRY: Final = re.compile(r"\s*\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")
_SKIPPED: Final = ("self", "connection", "state")


def tool_schema(tool: Tool) -> Mapping[str, Any]:
    """What a model is told of a tool.

    Raises:
        DefinitionError: It is no function, or its parameters cannot be named one by one.
        PayloadError: An annotation is no data.
    """
    if not isinstance(tool, Mapping):
        return _described(tool)
    about = tool.get("function")
    if not isinstance(about, Mapping) or not isinstance(about.get("name"), str):
        advice = 'write {"type": "function", "function": {"name": …, "description": …, "parameters": …}}'
        raise DefinitionError("llm_call", f"a tool is {describe(tool)}", advice)
    return tool


@functools.lru_cache(maxsize=1024)
def _described(tool: Callable[..., Any]) -> Mapping[str, Any]:
    fn, name = _function(tool)
    parameters = _parameters(fn, name)
    words = _words(fn)
    hints = _hints(tool, fn, parameters)
    properties: dict[str, Schema] = {}
    definitions: dict[str, Schema] = {}
    for parameter in parameters.values():
        schema = schema_of(hints.get(parameter.name, Any))
        definitions.update(schema.pop("$defs", {}))
        said = {"description": words[parameter.name]} if parameter.name in words and "description" not in schema else {}
        properties[parameter.name] = {**schema, **said}
    needed = [parameter.name for parameter in parameters.values() if parameter.default is inspect.Parameter.empty]
    takes = {"type": "object", "properties": properties, "required": needed, **({"$defs": definitions} if definitions else {})}
    description = words.get("", "")
    return {
        "type": "function",
        "function": {"name": name, **({"description": description} if description else {}), "parameters": takes},
    }


def bind(tool: Tool, call: ToolCall) -> dict[str, Any]:
    """The arguments of a model's call, checked and read by the function's annotations: ``tool(**bind(tool, call))``.

    Raises:
        PayloadError: They do not fit; tell the model, in the message that answers its call.
    """
    where = f"arguments of tool {call.name}"
    given = from_json((call.arguments or "{}").encode())
    if not isinstance(given, dict):
        raise PayloadError(where, "an object", describe(given))
    if isinstance(tool, Mapping):
        return given
    readers = _readers(tool)
    strange = [key for key in given if key not in readers]
    if strange:
        raise PayloadError(where, f"parameters {', '.join(readers) or 'none'}", f"argument {strange[0]!r}")
    missing = [key for key, (_, needed) in readers.items() if needed and key not in given]
    if missing:
        raise PayloadError(where, f"argument {missing[0]!r}", "nothing")
    return {key: readers[key][0].from_raw(value, f"argument {key!r} of tool {call.name}") for key, value in given.items()}


@functools.lru_cache(maxsize=1024)
def _readers(tool: Callable[..., Any]) -> Mapping[str, tuple[PayloadCodec[Any], bool]]:
    """By parameter, how it is read, and whether it must be given."""
    fn, name = _function(tool)
    parameters = _parameters(fn, name)
    hints = _hints(tool, fn, parameters)
    return {
        key: (payload_codec(hints.get(key, Any)), parameter.default is inspect.Parameter.empty) for key, parameter in parameters.items()
    }


def tool_name(tool: Tool) -> str:
    """What a model calls a tool."""
    name: str = tool_schema(tool)["function"]["name"]
    return name


def _function(tool: Any) -> tuple[Callable[..., Any], str]:
    named = isinstance(tool, StepFunction | WorkflowFunction)
    fn, name = (tool.fn, tool.name) if named else (tool, getattr(tool, "__name__", ""))
    if not inspect.isfunction(fn) and not inspect.ismethod(fn):
        raise DefinitionError("llm_call", f"a tool is {describe(tool)}", "give it functions, steps, or ready descriptions")
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"tool {name!r}", "models take letters, digits, _ and - in a tool's name", "give it another name=")
    return fn, name


def _hints(tool: Any, fn: Callable[..., Any], names: Iterable[str]) -> dict[str, Any]:
    """The parameters' annotations; a step that was made inside a function knows the names that are known there."""
    return hints_of(fn, tuple(names), getattr(tool, "_localns", None), extras=True)


def _parameters(fn: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    found = {key: one for key, one in inspect.signature(fn).parameters.items() if key not in _SKIPPED}
    for one in found.values():
        if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY}:
            raise DefinitionError(f"tool {name}", f"a model cannot name its parameter {one}", "give each parameter a name")
    return found


def _words(fn: Callable[..., Any]) -> dict[str, str]:
    """The docstring's words: of the whole under ``""``, and of each parameter of its ``Args:``."""
    whole, _, rest = inspect.cleandoc(fn.__doc__ or "").partition("\nArgs:\n")
    words = {"": re.split(r"\n(?:Returns|Raises|Yields):\n", whole)[0].strip()}
    last = ""
    for line in rest.split("\n"):
        if line and not line.startswith(" "):  # the next section
            break
        entry = _ENTRY.fullmatch(line)
        if entry is not None and len(line) - len(line.lstrip()) <= 4:
            last = entry[1]
            words[last] = entry[2].strip()
        elif last and line.strip():
            words[last] += f" {line.strip()}"
    return words
