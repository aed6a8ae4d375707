"""Queries: questions about a workflow's live variables, answered without a trace in its journal.

Rule 1: a query is a pure function. A parameter that the workflow has a variable for is that variable; the others come from who asks.
Rule 2: it is asked where the workflow's code is: in the asker's process over the journal, or, for who has no code, by the worker that
drives the run. What comes from elsewhere is JSON, and is read as the parameters' annotations say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from replay.errors import InvalidRequest, PayloadTooLarge, ReplayError, UnknownName
from replay.interpreter.interpreter import Interpreter, of_the_run
from replay.model.codec import from_json, hints_of, payload_codec, spell, to_json
from replay.model.effects import WorkflowSpec
from replay.model.failure import Failure


def query_of(spec: WorkflowSpec, name: str) -> Callable[..., Any]:
    """The function that answers a query.

    Raises:
        UnknownName: The workflow has none of that name.
    """
    queries: Mapping[str, Callable[..., Any]] = getattr(spec, "queries", {})
    if name not in queries:
        raise UnknownName("query", name, tuple(queries))
    return queries[name]


def bind(
    fn: Callable[..., Any], name: str, variables: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Values for all parameters of a query, and the names of those that were given and are no variables.

    Raises:
        InvalidRequest: A parameter is neither a variable nor given, or something is given that it does not take.
    """
    rest = list(args)
    bound: dict[str, Any] = {}
    given: set[str] = set()
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.name in kwargs:
            bound[parameter.name] = kwargs[parameter.name]
            given.add(parameter.name)
        elif parameter.name in variables:
            bound[parameter.name] = variables[parameter.name]
        elif rest:
            bound[parameter.name] = rest.pop(0)
            given.add(parameter.name)
        elif parameter.default is parameter.empty:
            problem = f"the workflow has no variable {parameter.name!r} here"
            raise InvalidRequest(f"query {name!r}", problem, f"pass it; variables are: {', '.join(variables) or 'none'}")
    unused = [*map(repr, rest), *(f"{key}={kwargs[key]!r}" for key in kwargs if key not in bound)]
    if unused:
        raise InvalidRequest(f"query {name!r}", f"it takes no {', '.join(unused)}", "leave that out")
    return bound, given


def reply_to(interpreter: Interpreter, name: str, payload: bytes, max_reply: int) -> bytes:
    """What a query is answered with, as an update's reply is spelt; the author's function may raise anything.

    Args:
        interpreter: The run, at rest.
        name: The query's.
        payload: Arguments: a JSON list, or an object of ``args`` and ``kwargs``.
        max_reply: The largest reply, in bytes.
    """
    try:
        fn = query_of(interpreter.spec, name)
        args, kwargs = _read(name, payload)
        frame = interpreter.root_frame
        bound, given = bind(fn, name, {} if frame is None else frame.f_locals, args, kwargs)
        for parameter, annotation in hints_of(fn, given).items():
            bound[parameter] = payload_codec(annotation).from_raw(bound[parameter], f"argument {parameter!r} of query {name!r}")
    except ReplayError as refused:
        return to_json({"refused": Failure.of(refused).message})
    try:
        return b'{"ok":' + _spelt(fn(**bound), name, max_reply) + b"}"
    except BaseException as error:  # noqa: BLE001 - border: the author's function may raise anything
        return b'{"error":' + Failure.of(of_the_run(error)).encode() + b"}"


def _spelt(value: Any, name: str, max_reply: int) -> bytes:
    where = f"reply of query {name!r}"
    reply = spell(value, where)
    if len(reply) > max_reply:
        raise PayloadTooLarge(where, len(reply), max_reply)
    return reply


def _read(name: str, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    data = from_json(payload)
    given = data if isinstance(data, dict) else {"args": data}
    args, kwargs = given.get("args", []), given.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidRequest(f"arguments of query {name!r}", "they are no list", "send a JSON list, or an object of args and kwargs")
    return args, kwargs
