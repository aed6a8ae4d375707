"""Whether a JSON value fits a schema, for the keywords that ``schema_of`` writes.

Rule 1: one row per keyword; a keyword without a row demands nothing, so a value is refused only for a reason that is understood.
Rule 2: the first misfit is told, with its place and both sides.
Rule 3: nothing recurses deeper than ``DEPTH``: a value that does is refused, not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from replay.errors import describe

DEPTH: Final = 64
"""Levels of a value that are looked at."""
_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def misfit(schema: Mapping[str, Any], value: Any, where: str = "answer") -> str:
    """Why a value does not fit a schema, as a sentence; empty when it does."""
    return _misfit(schema, value, where, schema.get("$defs", {}), 0)


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """A schema, or the definition that it refers to."""
    known = schema.get("$defs", {}) if definitions is None else definitions
    for _ in range(DEPTH):
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name not in known:
            break
        schema = known[name]
    return schema


def _misfit(schema: Mapping[str, Any], value: Any, where: str, definitions: Mapping[str, Any], depth: int) -> str:
    if depth > DEPTH:
        return f"{where} is nested more than {DEPTH} deep"
    schema = resolved(schema, definitions)
    for keyword, check in _CHECKS.items():
        if keyword in schema:
            found = check(
                schema[keyword], value, where, schema, lambda part, item, place: _misfit(part, item, place, definitions, depth + 1)
            )
            if found:
                return found
    return ""


Look = Callable[[Mapping[str, Any], Any, str], str]
_Check = Callable[[Any, Any, str, Mapping[str, Any], Look], str]


def _type(kinds: Any, value: Any, where: str, _schema: Mapping[str, Any], _look: Look) -> str:
    named = kinds if isinstance(kinds, list) else [kinds]
    fits = any(_KINDS.get(kind, lambda _: True)(value) for kind in named)
    return "" if fits else f"{where} must be {_article(' or '.join(map(str, named)))}, got {describe(value)}"


def _enum(choices: Sequence[Any], value: Any, where: str, _schema: Mapping[str, Any], _look: Look) -> str:
    fits = any(_same(choice, value) for choice in choices)
    return "" if fits else f"{where} must be one of {', '.join(map(repr, choices))}, got {describe(value)}"


def _const(only: Any, value: Any, where: str, _schema: Mapping[str, Any], _look: Look) -> str:
    return "" if _same(only, value) else f"{where} must be {only!r}, got {describe(value)}"


def _any_of(options: Sequence[Any], value: Any, where: str, _schema: Mapping[str, Any], look: Look) -> str:
    found = [look(option, value, where) for option in options]
    return "" if not found or "" in found else "; or ".join(dict.fromkeys(found))


def _all_of(parts: Sequence[Any], value: Any, where: str, _schema: Mapping[str, Any], look: Look) -> str:
    return next((found for part in parts if (found := look(part, value, where))), "")


def _required(names: Sequence[str], value: Any, where: str, _schema: Mapping[str, Any], _look: Look) -> str:
    missing = [name for name in names if isinstance(value, dict) and name not in value]
    return f"{where} lacks {', '.join(map(repr, missing))}" if missing else ""


def _properties(properties: Mapping[str, Any], value: Any, where: str, _schema: Mapping[str, Any], look: Look) -> str:
    held = [(name, part) for name, part in properties.items() if isinstance(value, dict) and name in value]
    return next((found for name, part in held if (found := look(part, value[name], f"{where}.{name}"))), "")


def _further(part: Any, value: Any, where: str, schema: Mapping[str, Any], look: Look) -> str:
    known = schema.get("properties", {})
    for name in value if isinstance(value, dict) else ():
        if name in known:
            continue
        found = (
            look(part, value[name], f"{where}.{name}") if isinstance(part, Mapping) else "" if part else f"{where} takes no {name!r}"
        )
        if found:
            return found
    return ""


def _items(part: Any, value: Any, where: str, schema: Mapping[str, Any], look: Look) -> str:
    listed = value if isinstance(value, list) else []
    places = schema.get("prefixItems", [])
    if part is False:
        return f"{where} takes at most {len(places)} items, got {len(listed)}" if len(listed) > len(places) else ""
    rest = enumerate(listed[len(places) :], len(places))
    return next((found for number, item in rest if (found := look(part, item, f"{where}[{number}]"))), "")


def _prefix(parts: Sequence[Any], value: Any, where: str, _schema: Mapping[str, Any], look: Look) -> str:
    listed = value if isinstance(value, list) else []
    pairs = enumerate(zip(parts, listed, strict=False))
    return next((found for number, (part, item) in pairs if (found := look(part, item, f"{where}[{number}]"))), "")


def _least(least: int, value: Any, where: str, _schema: Mapping[str, Any], _look: Look) -> str:
    short = isinstance(value, list) and len(value) < least
    return f"{where} needs at least {least} items, got {len(value)}" if short else ""


_CHECKS: Final[Mapping[str, _Check]] = {
    "const": _const,
    "enum": _enum,
    "type": _type,
    "anyOf": _any_of,
    "allOf": _all_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _further,
    "items": _items,
    "prefixItems": _prefix,
    "minItems": _least,
}


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _article(noun: str) -> str:
    return noun if noun == "null" else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
