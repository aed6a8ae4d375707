"""JSON Schema (a subset of draft 2020-12) of what the codec writes for an annotation: for tools, forms and other languages.

Rule 1: a schema describes the bytes, not the class: a datetime is a string of format ``date-time``, a set a unique array.
Rule 2: a class stands once, under ``$defs``, with its docstring as description; so a class may contain itself.
Rule 3: a default is shown where it is plain JSON; a parameter's or field's ``Annotated[..., "text"]`` is its description.
Rule 4: what is no data has no schema: ``PayloadError``.
"""

from __future__ import annotations

import enum
import inspect
import re
import typing
from collections import abc
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import attrs

from replay.errors import PayloadError
from replay.model.codec import payload_codec
from replay.model.codec_converter import ARRAYS, OBJECTS, entry_kinds, find_hooks
from replay.model.codec_hooks import enum_words, literal_words, scalar_of
from replay.model.codec_json import from_json
from replay.model.codec_types import (
    ANYTHING,
    MISSING,
    Annotation,
    Field,
    NoneType,
    fields_of,
    hashable,
    is_empty_tuple,
    is_enum,
    is_literal,
    is_model,
    is_named_tuple,
    is_record,
    is_typed_dict,
    is_union,
    is_wrapped,
    origin_of,
    root_of,
    type_name,
    unwrap,
)
from replay.model.codec_unions import TAG, VALUE, Member, tagged_members

Schema = dict[str, Any]

_PLAIN: Final[Mapping[Any, str]] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    NoneType: "null",
}
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_JSON_FORMATS: Final = frozenset({"date-time", "date", "time", "duration", "uuid"})


def schema_of(annotation: Annotation) -> Schema:
    """Describe what the codec writes and reads for an annotation.

    Returns:
        A JSON schema; classes stand under ``$defs``.

    Raises:
        PayloadError: The annotation is no data.
        DefinitionError: An annotation in a class cannot be resolved.
    """
    making = _Making()
    schema = making.schema(annotation)
    return {**schema, "$defs": making.definitions} if making.definitions else schema


@attrs.define
class _Making:
    """A schema being made: the definitions so far, and the name of each class in them."""

    definitions: dict[str, Schema] = attrs.field(factory=dict)
    names: dict[Any, str] = attrs.field(factory=dict)

    def schema(self, annotation: Annotation) -> Schema:
        if is_wrapped(annotation):
            return {**self.schema(unwrap_once(annotation)), **_described(annotation)}
        annotation = hashable(annotation)
        for knows, make in _KINDS:
            if knows(annotation):
                return make(self, annotation)
        raise PayloadError("a JSON schema", "a type that is data", type_name(annotation))

    # ---- what has no parts ----

    def plain(self, annotation: Annotation) -> Schema:
        return {"type": _PLAIN[annotation]}

    def scalar(self, annotation: Annotation) -> Schema:
        scalar = scalar_of(annotation)
        if scalar is None or scalar.format not in _JSON_FORMATS | {"base64"}:
            return {"type": "string"}
        return {"type": "string", "contentEncoding" if scalar.format == "base64" else "format": scalar.format}

    def literal(self, annotation: Annotation) -> Schema:
        return _choice([word for _, word in literal_words(annotation)])

    # ---- containers ----

    def array(self, annotation: Annotation) -> Schema:
        root, arguments = root_of(annotation), typing.get_args(annotation)
        if root is tuple and (is_empty_tuple(annotation) or (arguments and arguments[-1] is not Ellipsis)):
            return self._places([self.schema(kind) for kind in arguments], len(arguments))
        items = self.schema(arguments[0]) if arguments else {}
        unique = {"uniqueItems": True} if issubclass(root, abc.Set) else {}
        return {"type": "array", **({"items": items} if items else {}), **unique}

    def _places(self, items: list[Schema], least: int) -> Schema:
        places = {"prefixItems": items} if items else {}
        return {"type": "array", **places, "items": False, "minItems": least}

    def mapping(self, annotation: Annotation) -> Schema:
        key, item = entry_kinds(annotation)
        items = self.schema(item)
        words = self._key_words(unwrap(key))
        return {"type": "object", **words, **({"additionalProperties": items} if items else {})}

    def _key_words(self, key: Annotation) -> Schema:
        schema = self.schema(key)
        inline = self.definitions.get(self.names.get(key, ""), schema)
        return {"propertyNames": schema} if inline.get("type") == "string" and len(inline) > 1 else {}

    # ---- unions ----

    def union(self, annotation: Annotation) -> Schema:
        members = tagged_members(annotation, find_hooks)
        if any(member.annotation in ANYTHING for member in members):
            return {}
        return {"anyOf": [self._member(member) for member in members]}

    def _member(self, member: Member) -> Schema:
        schema = self.schema(member.annotation)
        if not member.tag:
            return schema
        tag = {"const": member.tag}
        if member.inline:
            return {"allOf": [schema, {"type": "object", "properties": {TAG: tag}, "required": [TAG]}]}
        return {"type": "object", "properties": {TAG: tag, VALUE: schema}, "required": [TAG, VALUE]}

    # ---- classes ----

    def named(self, annotation: Annotation, make: Callable[[Annotation], Schema]) -> Schema:
        """Put a class under ``$defs`` and refer to it."""
        name = self.names.get(annotation)
        if name is None:
            name = self._free_name(annotation)
            self.names[annotation] = name
            self.definitions[name] = {}
            self.definitions[name].update({"title": type_name(annotation), **_doc(root_of(annotation)), **make(annotation)})
        return {"$ref": f"#/$defs/{name}"}

    def _free_name(self, annotation: Annotation) -> str:
        """Name a definition with what every reader of schemas takes: ``Box_int`` for ``Box[int]``."""
        plain = _NO_NAME.sub("_", type_name(annotation)).strip("_")
        qualified = f"{root_of(annotation).__module__}.{plain}"
        name = qualified if plain in self.definitions else plain
        while name in self.definitions:
            name += "_"
        return name

    def enumeration(self, annotation: Annotation) -> Schema:
        def make(_: Annotation) -> Schema:
            if issubclass(annotation, enum.Flag):
                return {"type": "integer"}
            return _choice(list(enum_words(annotation).values()))

        return self.named(annotation, make)

    def record(self, annotation: Annotation) -> Schema:
        return self.named(annotation, self._fields)

    def _fields(self, annotation: Annotation) -> Schema:
        fields = fields_of(annotation, extras=True)
        properties = {field.name: {**self.schema(field.type), **_default(field)} for field in fields}
        required = [field.name for field in fields if field.required]
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    def named_tuple(self, annotation: Annotation) -> Schema:
        def make(_: Annotation) -> Schema:
            fields = fields_of(annotation, extras=True)
            items = [{"title": field.name, **self.schema(field.type), **_default(field)} for field in fields]
            return self._places(items, sum(field.required for field in fields))

        return self.named(annotation, make)

    def model(self, annotation: Annotation) -> Schema:
        """Take a pydantic model's own schema; its definitions join ours, with its name before theirs."""

        def make(_: Annotation) -> Schema:
            prefix = self.names[annotation]
            own = annotation.model_json_schema(by_alias=True, ref_template=f"#/$defs/{prefix}.{{model}}")
            for name, definition in own.pop("$defs", {}).items():
                self.definitions[f"{prefix}.{name}"] = definition
            return typing.cast("Schema", own)

        return self.named(annotation, make)


_KINDS: Final[tuple[tuple[Callable[[Annotation], bool], Callable[[_Making, Annotation], Schema]], ...]] = (
    (lambda annotation: annotation in ANYTHING, lambda making, annotation: {}),  # noqa: ARG005 - one signature for all
    (lambda annotation: annotation in _PLAIN, _Making.plain),
    (is_union, _Making.union),
    (is_literal, _Making.literal),
    (lambda annotation: scalar_of(annotation) is not None, _Making.scalar),
    (is_enum, _Making.enumeration),
    (is_model, _Making.model),
    (is_record, _Making.record),
    (is_typed_dict, _Making.record),
    (is_named_tuple, _Making.named_tuple),
    (lambda annotation: root_of(annotation) in ARRAYS, _Making.array),
    (lambda annotation: root_of(annotation) in OBJECTS, _Making.mapping),
)


def unwrap_once(annotation: Annotation) -> Annotation:
    """Look through one wrapper only, so that the words of each are seen."""
    return annotation.__origin__ if origin_of(annotation) is Annotated else unwrap(annotation)


def _described(annotation: Annotation) -> Schema:
    words = [word for word in getattr(annotation, "__metadata__", ()) if isinstance(word, str)]
    return {"description": " ".join(words)} if words else {}


def _choice(words: list[Any]) -> Schema:
    if len(words) == 1:
        return {"const": words[0]}
    kinds = {_PLAIN[type(word)] for word in words}
    return {**({"type": kinds.pop()} if len(kinds) == 1 else {}), "enum": words}


def _doc(cls: type) -> Schema:
    """Give a class's own docstring, its first paragraph; those that the class's maker wrote say nothing."""
    doc = cls.__doc__ if "__doc__" in vars(cls) else None
    if not doc or doc.startswith(f"{cls.__name__}("):
        return {}
    return {"description": " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())}


def _default(field: Field) -> Schema:
    """Show a default as the codec would write it."""
    if field.default is MISSING:
        return {}
    try:
        return {"default": from_json(payload_codec(field.type).encode(field.default, field.name))}
    except PayloadError:  # a default that does not fit its annotation, such as a sentinel
        return {}
