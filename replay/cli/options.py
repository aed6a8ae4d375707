"""Options and kinds of values that many verbs share; each may stand before the verb or after it."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from replay.cli.scene import Scene
from replay.errors import PayloadError
from replay.model.about import EPOCH
from replay.model.codec import from_json

C = TypeVar("C", bound=Callable[..., Any])
pass_scene: Final = click.make_pass_decorator(Scene, ensure=True)
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w)?")
_SECONDS: Final = {None: 1.0, "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
STDIN: Final = "-"


def _keep(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        del param
        if value not in (None, ()):
            ctx.ensure_object(Scene).given[key] = value

    return keep


def _switch(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def switch(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        del param
        if value:
            setattr(ctx.ensure_object(Scene), name, True)

    return switch


def shared(command: C) -> C:
    """The options of every verb that asks a store."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


def modules(command: C) -> C:
    """The option of every verb that needs the workflows' code."""
    return click.option(
        "-m",
        "--module",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=_keep("modules"),
        help="Module that holds workflows; may be repeated.",
    )(command)


def output(command: C) -> C:
    """The options of every verb."""
    return _JSON(_DEBUG(command))


_JSON: Final = click.option(
    "--json", is_flag=True, expose_value=False, callback=_switch("as_json"), help="Answer in JSON, for programs."
)
_DEBUG: Final = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_switch("debug"), help="Show tracebacks of errors."
)
_SHARED: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--store", metavar="URL", expose_value=False, callback=_keep("store"), help="URL of the store."),
    click.option("--namespace", metavar="NAME", expose_value=False, callback=_keep("namespace"), help="Whose runs."),
    _JSON,
    _DEBUG,
)


class Span(click.ParamType):
    """A span of time, in seconds: ``90``, ``1.5s``, ``200ms``, ``5m``, ``2h``, ``3d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """From its text."""
        if isinstance(value, int | float):
            return float(value)
        found = _SPAN.fullmatch(value.strip())
        if found is None:
            self.fail(f"{value!r} is no duration; write 90, 1.5s, 200ms, 5m, 2h or 3d", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


class Moment(click.ParamType):
    """A moment, in microseconds UTC: a duration ago (``2h``) or ISO 8601 (``2026-01-31``, ``2026-01-31T12:00Z``)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """From its text."""
        found = _SPAN.fullmatch(value.strip())
        if found is not None and found[2] is not None:
            ago = datetime.timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
            then = datetime.datetime.now(datetime.UTC) - ago
        else:
            try:
                then = datetime.datetime.fromisoformat(value).astimezone()
            except (ValueError, OverflowError):
                self.fail(f"{value!r} is no time; write 2h for two hours ago, or 2026-01-31T12:00", param, ctx)
        return (then - EPOCH) // datetime.timedelta(microseconds=1)


class Pair(click.ParamType):
    """``key=value``."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """From its text."""
        key, equals, rest = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is no key=value", param, ctx)
        return key, rest


class Edit(click.ParamType):
    """``N=JSON``: a new answer for event N."""

    name = "n=json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, Any]:
        """From its text."""
        number, equals, text = value.partition("=")
        if not equals or not number.strip().lstrip("#").isdecimal():
            self.fail(f"{value!r} is no edit; write the number of an event and its new answer: 3='\"ok\"'", param, ctx)
        try:
            return int(number.strip().lstrip("#")), from_json(text.encode())
        except PayloadError as error:
            self.fail(f"{text!r} is no JSON: {error.got}; quote a text as '\"text\"'", param, ctx)


def read_value(text: str | None) -> Any:
    """A value as JSON, or as text when it is none; ``-`` reads standard input, nothing is None."""
    if text is None:
        return None
    if text == STDIN:
        text = sys.stdin.read().strip()
    try:
        return from_json(text.encode("utf-8", "surrogatepass"))
    except PayloadError:
        return text
