"""Hooks: how one annotation is spelt in JSON, both ways, for everything that has no parts.

Rule 1: both ways are strict. Writing checks the value as sharply as reading checks the JSON, so bytes that were written
can be read.
Rule 2: a subclass of a scalar is written when reading it back gives an equal value; it comes back as the scalar.

=============  ===========================================
datetime       ISO 8601 with microseconds and offset; naive stays naive
date, time     ISO 8601
timedelta      ISO 8601 duration in days and seconds, such as ``P1DT2.5S``
Decimal        its digits, as text
UUID           its 36 characters
bytes          base64
Path           its text
Enum           its value; its name, where the values are no scalars
=============  ===========================================
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import re
import typing
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import attrs

from replay.errors import describe
from replay.model.codec_json import Misfit, check_plain
from replay.model.codec_types import Annotation, NoneType, type_name


@attrs.frozen
class Hooks:
    """Both ways of one annotation; each raises ``Misfit``.

    Attributes:
        unstructure: Value to plain JSON.
        structure: Plain JSON, and the annotation, to value: the signature of cattrs' hooks.
        leaf: Whether the values have no parts, so that trying again to find the culprit is cheap.
    """

    unstructure: Callable[[Any], Any]
    structure: Callable[[Any, Any], Any]
    leaf: bool = False


Find = Callable[[Annotation], Hooks]
"""Gives the hooks of a part's annotation."""


# ---- plain JSON ---------------------------------------------------------------------------------------------------------


def _exact(kind: type, strip: Callable[[Any], Any] | None = None) -> Hooks:
    name = type_name(kind)

    def check(value: Any, _: Any = None) -> Any:
        if type(value) is kind:
            return value
        if strip is not None and isinstance(value, kind) and not isinstance(value, bool):
            return strip(value)
        raise Misfit(name, describe(value))

    return Hooks(check, check, leaf=True)


def _check_float(value: Any, _: Any = None) -> Any:
    if type(value) is float:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            if (exact := float(value)) == value:
                return exact
        except OverflowError:
            pass
        raise Misfit("float", f"{describe(value)}, which no float holds exactly")
    raise Misfit("float", describe(value))


def _check_any(value: Any) -> Any:
    check_plain(value)
    return value


def _as_it_is(raw: Any, _: Any) -> Any:
    return raw


PLAIN: Final[Mapping[Any, Hooks]] = {
    int: _exact(int, int.__int__),
    str: _exact(str, str.__str__),
    bool: _exact(bool),
    NoneType: _exact(NoneType),
    float: Hooks(_check_float, _check_float, leaf=True),
    Any: Hooks(_check_any, _as_it_is),
    object: Hooks(_check_any, _as_it_is),
}


# ---- scalars that are text in JSON --------------------------------------------------------------------------------------

_DURATION: Final = re.compile(r"(-?)P(?:(\d{1,9})D)?(?:T(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,15})(?:\.(\d{1,6}))?S)?)?", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(Infinity|s?NaN\d*)", re.ASCII)
_SECONDS_A_DAY: Final = 86_400


def _spell_datetime(value: dt.datetime) -> str:
    return value.isoformat(timespec="microseconds")


def _read_datetime(text: str) -> dt.datetime:
    if len(text) < len("20261120T12"):
        raise ValueError("no time of day")
    return dt.datetime.fromisoformat(text)


def _spell_timedelta(value: dt.timedelta) -> str:
    sign, size = ("-", -value) if value < dt.timedelta(0) else ("", value)
    fraction = f".{size.microseconds:06}".rstrip("0") if size.microseconds else ""
    days = f"{size.days}D" if size.days else ""
    return f"{sign}P{days}T{size.seconds}{fraction}S"


def _read_timedelta(text: str) -> dt.timedelta:
    found = _DURATION.fullmatch(text)
    if found is None or text[-1] in "PT":
        raise ValueError("no ISO 8601 duration in days, hours, minutes and seconds")
    sign, days, hours, minutes, seconds, fraction = found.groups()
    micros = int((fraction or "0").ljust(6, "0"))
    whole = int(seconds or 0) + 60 * int(minutes or 0) + 3600 * int(hours or 0)
    size = dt.timedelta(int(days or 0), 0, micros) + dt.timedelta(whole // _SECONDS_A_DAY, whole % _SECONDS_A_DAY)
    return -size if sign else size


def _read_decimal(text: str) -> Decimal:
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("no decimal number")
    return Decimal(text)


def _read_uuid(text: str) -> uuid.UUID:
    if len(text) != len("00000000-0000-0000-0000-000000000000"):
        raise ValueError("not 36 characters")
    return uuid.UUID(text)


def _spell_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _read_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


@attrs.frozen
class Scalar:
    """A class whose values are text in JSON.

    Attributes:
        kind: What a value must be an instance of.
        spell: Value to text.
        read: Text to value; raises ValueError or ArithmeticError.
        format: The JSON schema's word for it.
    """

    kind: type
    spell: Callable[[Any], str]
    read: Callable[[str], Any]
    format: str


SCALARS: Final[Mapping[Any, Scalar]] = {
    dt.datetime: Scalar(dt.datetime, _spell_datetime, _read_datetime, "date-time"),
    dt.date: Scalar(dt.date, dt.date.isoformat, dt.date.fromisoformat, "date"),
    dt.time: Scalar(dt.time, dt.time.isoformat, dt.time.fromisoformat, "time"),
    dt.timedelta: Scalar(dt.timedelta, _spell_timedelta, _read_timedelta, "duration"),
    Decimal: Scalar(Decimal, str, _read_decimal, "decimal"),
    uuid.UUID: Scalar(uuid.UUID, str, _read_uuid, "uuid"),
    bytes: Scalar(bytes, _spell_bytes, _read_bytes, "base64"),
    bytearray: Scalar(bytearray, _spell_bytes, lambda text: bytearray(_read_bytes(text)), "base64"),
}


def scalar_of(annotation: Annotation) -> Scalar | None:
    """Tell how a class is spelt whose values are text in JSON; None for other annotations.

    Paths are known by their module: pathlib touches files, so it is not imported on this floor.
    """
    if isinstance(annotation, type) and annotation.__module__.partition(".")[0] == "pathlib":
        return Scalar(annotation, str, annotation, "path")
    return SCALARS.get(annotation)


def scalar_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Make the hooks of a class whose values are text in JSON."""
    scalar = scalar_of(annotation) or SCALARS[annotation]
    kind, spell, read, name = scalar.kind, scalar.spell, scalar.read, type_name(annotation)

    def unstructure(value: Any) -> str:
        if type(value) is kind:
            return spell(value)
        if not isinstance(value, kind) or (kind is dt.date and isinstance(value, dt.datetime)):
            raise Misfit(name, describe(value))
        text = spell(value)
        if read(text) != value:
            raise Misfit(name, f"{describe(value)}, which would come back as {describe(read(text))}")
        return text

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not str:
            raise Misfit(name, describe(raw))
        try:
            return read(raw)
        except (ValueError, InvalidOperation, OverflowError) as error:
            raise Misfit(name, f"{describe(raw)} ({error})") from None

    return Hooks(unstructure, structure, leaf=True)


# ---- choices ------------------------------------------------------------------------------------------------------------

_WORDS: Final = (str, int, bool)


def enum_words(cls: type[enum.Enum]) -> dict[enum.Enum, Any]:
    """Spell an Enum's members: by value where all values are scalars, else by name."""
    members = list(cls)
    by_value = all(type(member.value) in _WORDS for member in members)
    return {member: member.value if by_value else member.name for member in members}


def enum_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Make the hooks of an Enum; a Flag is its number, so that combinations work."""
    if issubclass(annotation, enum.Flag):
        return _flag_hooks(annotation)
    words = enum_words(annotation)
    members = {(type(word), word): member for member, word in words.items()}
    members.update({(type(words[member]), words[member]): member for member in annotation.__members__.values()})
    name = f"{type_name(annotation)} ({', '.join(map(repr, words.values()))})"

    def unstructure(value: Any) -> Any:
        if value.__class__ is annotation or isinstance(value, annotation):
            return words[value]
        raise Misfit(name, describe(value))

    def structure(raw: Any, _: Any) -> Any:
        try:
            return members[type(raw), raw]
        except (KeyError, TypeError):
            raise Misfit(name, describe(raw)) from None

    return Hooks(unstructure, structure, leaf=True)


def _flag_hooks(annotation: type[enum.Flag]) -> Hooks:
    name = type_name(annotation)

    def unstructure(value: Any) -> Any:
        if isinstance(value, annotation):
            return value.value
        raise Misfit(name, describe(value))

    def structure(raw: Any, _: Any) -> Any:
        try:
            if type(raw) is int:
                return annotation(raw)
        except ValueError:
            pass
        raise Misfit(name, describe(raw))

    return Hooks(unstructure, structure, leaf=True)


def literal_words(annotation: Annotation) -> list[tuple[Any, Any]]:
    """Give a Literal's values with what they are in JSON."""

    def word(value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return enum_words(type(value))[value]
        return _spell_bytes(value) if isinstance(value, bytes) else value

    return [(value, word(value)) for value in typing.get_args(annotation)]


def literal_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Make the hooks of a Literal."""
    pairs = literal_words(annotation)
    words = {(type(value), value): word for value, word in pairs}
    values = {(type(word), word): value for value, word in pairs}
    name = type_name(annotation)

    def through(table: Mapping[Any, Any]) -> Callable[..., Any]:
        def choose(value: Any, _: Any = None) -> Any:
            try:
                return table[type(value), value]
            except (KeyError, TypeError):
                raise Misfit(name, describe(value)) from None

        return choose

    return Hooks(through(words), through(values), leaf=True)


# ---- what is no data ----------------------------------------------------------------------------------------------------


def no_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Refuse every value of an annotation that is no data."""
    name = type_name(annotation)
    advice = "use an attrs class, a dataclass or another type that is data, or teach the codec with register_type"

    def refuse(value: Any, _: Any = None) -> Any:
        raise Misfit(f"a type that is data, not {name}", f"{describe(value)}; {advice}")

    return Hooks(refuse, refuse, leaf=True)
