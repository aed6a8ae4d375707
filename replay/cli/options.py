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
_DEBUG: Final = click.option("--debug", is_flag=True, expose_value=False, callback=_switch("debug"), help="Show tracebacks of errors.")
_SHARED: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--store", metavar="URL", expose_value=False, callback=_keep("store"), help="URL of the store."),
    click.option("--namespace", metavar="NAME", expose_value=False, callback=_keep("namespace"), help="Whose runs."),
    _JSON,
    _DEBUG,
)


# ---- kinds of values; click names an option's value after the function --------------------------------------------------


def duration(text: str) -> float:
    """Seconds: ``90``, ``1.5s``, ``200ms``, ``5m``, ``2h``, ``3d``."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration; write 90, 1.5s, 200ms, 5m, 2h or 3d")
    return float(found[1]) * _SECONDS[found[2]]


def time(text: str) -> int:
    """A moment, in microseconds UTC: some time ago (``2h``) or ISO 8601 (``2026-01-31``, ``2026-01-31T12:00Z``)."""
    found = _SPAN.fullmatch(text.strip())
    try:
        if found is not None and found[2] is not None:
            ago = datetime.timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
            then = datetime.datetime.now(datetime.UTC) - ago
        else:
            then = datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time; write 2h for two hours ago, or 2026-01-31T12:00") from None
    return (then - EPOCH) // datetime.timedelta(microseconds=1)


def pair(text: str) -> tuple[str, str]:
    """``key=value``."""
    key, equals, rest = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is no key=value")
    return key, rest


def edit(text: str) -> tuple[int, Any]:
    """``N=JSON``: a new answer for event N."""
    number, equals, value = text.partition("=")
    number = number.strip().removeprefix("#")
    if not equals or not number.isdecimal():
        raise click.BadParameter(f"{text!r} is no edit; write the number of an event and its new answer: 3='\"ok\"'")
    try:
        return int(number), from_json(value.encode("utf-8", "surrogatepass"))
    except PayloadError as error:
        raise click.BadParameter(f"{value!r} is no JSON: {error.got}; write a text as '\"text\"'") from None


def read_text(text: str) -> str:
    """A word, or what standard input holds for ``-``."""
    return sys.stdin.read().strip() if text == STDIN else text


def read_value(text: str | None) -> Any:
    """A value as JSON, or as text when it is none; nothing is None."""
    if text is None:
        return None
    try:
        return from_json(text.encode("utf-8", "surrogatepass"))
    except PayloadError:
        return text
