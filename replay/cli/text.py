"""Values as short text for people: spans, moments, payloads; and nothing that a terminal would obey."""

from __future__ import annotations

import datetime
import json
import unicodedata
from typing import Any, Final

from replay.model.about import moment
from replay.model.comparison import is_reply, said_in
from replay.model.names import SECOND

PREVIEW: Final = 2_000
"""Bytes of a payload that are looked at to show it on one line."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# They reorder or hide what stands beside them: an id made of them could pass for another one.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(text: str, *, keep: str = "") -> str:
    """Text whose control and formatting characters are spelt out; those in ``keep`` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in _INVISIBLE else char.encode("unicode_escape").decode()
        for char in text
    )


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters; what was cut off is told by an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def span(micros: float) -> str:
    """A span, in the two largest units that say something: ``5.1 ms``, ``2 h 5 min``."""
    if abs(micros) < SECOND:
        return f"{micros:.0f} µs" if abs(micros) < 1_000 else f"{micros / 1_000:.3g} ms"
    seconds = micros / SECOND
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for place, (size, unit) in enumerate(_UNITS[:-1]):
        if whole >= size:
            smaller, name = _UNITS[place + 1]
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def iso(micros: int | None) -> str | None:
    """A moment for programs: ISO 8601, UTC, microseconds."""
    return None if micros is None else moment(micros).isoformat(timespec="microseconds").replace("+00:00", "Z")


def local(micros: int) -> datetime.datetime:
    """A moment in the time zone of this machine (``TZ``)."""
    return moment(micros).astimezone()


def date_and_time(micros: int) -> str:
    """A moment for people, with its zone."""
    return f"{local(micros):%Y-%m-%d %H:%M:%S %Z}".rstrip()


def ago(micros: int, now: int) -> str:
    """How long ago a moment was, or how soon it will be."""
    return f"{span(now - micros)} ago" if now >= micros else f"in {span(micros - now)}"


def count(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def preview(payload: bytes) -> str:
    """The beginning of a payload on one line; of a huge one, no more is read than is shown."""
    if len(payload) <= PREVIEW:
        return compact(said_in(payload))
    return plain(payload[:PREVIEW].decode("utf-8", "ignore")) + "…"


def compact(value: Any) -> str:
    """JSON on one line, as a person would write it; of a model's reply its words come first."""
    if is_reply(value):
        value = {key: value[key] for key in sorted(value, key=lambda key: (key not in {"text", "tool_calls"}, key))}
    return plain(json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=repr))
