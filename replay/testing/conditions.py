"""Other circumstances for pure code: another hour, another state of chance.

Rule 1: nothing is changed but what the workflow's own modules see: their names for ``time``, ``datetime`` and what is in them stand
for a shifted hour while code is driven, and stand for themselves again afterwards.
Rule 2: what a shifted clock hands out is a plain ``datetime``; only the hour is wrong.
"""

from __future__ import annotations

import contextlib
import datetime
import random
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

SHIFT: Final = 400 * 86_400 + 7 * 3_600 + 11 * 60 + 13.25
"""Seconds by which the other hour differs: another year, month, day, hour, minute and second."""


def namespaces_of(workflow: Any) -> list[dict[str, Any]]:
    """The modules whose code a workflow's function may call: its own, and those of the same package."""
    own: dict[str, Any] = getattr(getattr(workflow, "fn", None), "__globals__", {})
    top = str(own.get("__name__", "")).partition(".")[0]
    if top in {"", "replay"}:
        return [own] if own else []
    kin = [vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == top]
    return [own, *(names for names in kin if names is not own)]


@contextlib.contextmanager
def another_hour(namespaces: list[dict[str, Any]], shift: float) -> Iterator[None]:
    """Let these modules see an hour that differs by so many seconds."""
    stands_for = _shifted(shift)
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for names in namespaces:
        for name, value in list(names.items()):
            if id(value) in stands_for:
                changed.append((names, name, value))
                names[name] = stands_for[id(value)]
    try:
        yield
    finally:
        for names, name, value in changed:
            names[name] = value


@contextlib.contextmanager
def another_chance(seed: int) -> Iterator[None]:
    """Let the random module be in another state."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _shifted(shift: float) -> dict[int, Any]:
    """What stands for what, by the identity of things that live as long as Python does."""
    functions: dict[Any, Callable[..., Any]] = {
        time.time: lambda: time.time() + shift,
        time.time_ns: lambda: time.time_ns() + round(shift * 1e9),
        time.monotonic: lambda: time.monotonic() + shift,
        time.monotonic_ns: lambda: time.monotonic_ns() + round(shift * 1e9),
        time.perf_counter: lambda: time.perf_counter() + shift,
        time.perf_counter_ns: lambda: time.perf_counter_ns() + round(shift * 1e9),
        time.localtime: lambda seconds=None: time.localtime(time.time() + shift if seconds is None else seconds),
        time.gmtime: lambda seconds=None: time.gmtime(time.time() + shift if seconds is None else seconds),
    }
    moments = _datetimes(datetime.timedelta(seconds=shift))
    pairs: list[tuple[Any, Any]] = [*functions.items(), *moments.items()]
    pairs += [(time, _copy(time, functions)), (datetime, _copy(datetime, moments))]
    return {id(real): other for real, other in pairs}


def _copy(module: ModuleType, stands_for: dict[Any, Any]) -> ModuleType:
    other = ModuleType(module.__name__, module.__doc__)
    for name, value in vars(module).items():
        try:
            setattr(other, name, stands_for.get(value, value))
        except TypeError:  # what cannot be hashed stands for itself
            setattr(other, name, value)
    return other


def _datetimes(shift: datetime.timedelta) -> dict[Any, Any]:
    real, day = datetime.datetime, datetime.date

    class Likeness(type):
        """Whoever asks whether something is one of these means the real ones."""

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, cls.__mro__[1])

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, cls.__mro__[1])

    class OtherDatetime(datetime.datetime, metaclass=Likeness):
        """``datetime`` at another hour."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return real(*args, **kwargs)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return real.now(datetime.UTC).replace(tzinfo=None) + shift

        @classmethod
        def today(cls) -> Any:
            return real.now() + shift

    class OtherDate(datetime.date, metaclass=Likeness):
        """``date`` on another day."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return day(*args, **kwargs)

        @classmethod
        def today(cls) -> Any:
            return (real.now() + shift).date()

    return {real: OtherDatetime, day: OtherDate}
