"""Hooks for unions.

Rule 1: JSON has six kinds of value, and Python has more classes. A member whose JSON kind no other member shares is
written bare, and so are int, float, str, bool, None and Literals of them.
Rule 2: members that share a kind carry a written tag under ``$type``: a class as a further key of its object, all else
wrapped as ``{"$type": "datetime", "value": ...}``. A class names its own tag with ``__replay_tag__ = "circle"`` so that
the class can be renamed; else it is the class's name.
Rule 3: classes that are told apart by a field of distinct Literals need no tag.
Rule 4: what comes without a tag (it was written when the union was smaller) is told apart by cattrs' rule, the fields
that only one class requires; failing that, the first member that fits takes it.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
from cattrs import Converter
from cattrs.disambiguators import create_default_dis_func

from replay.errors import describe
from replay.model.codec_hooks import PLAIN, Find, Hooks, enum_words, literal_words, scalar_of
from replay.model.codec_json import Misfit
from replay.model.codec_types import (
    ANYTHING,
    Annotation,
    NoneType,
    fields_of,
    is_enum,
    is_literal,
    is_model,
    is_named_tuple,
    is_record,
    is_typed_dict,
    is_union,
    members_of,
    root_of,
    type_name,
    unwrap,
)

TAG: Final = "$type"
VALUE: Final = "value"
_REMEMBERED: Final = 256

JSON_KINDS: Final[dict[type, str]] = {
    NoneType: "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_ALL_KINDS: Final = frozenset(JSON_KINDS.values())


@attrs.frozen(eq=False)
class Member:
    """One member of a union.

    Attributes:
        annotation: What it is.
        hooks: How it is spelt.
        kinds: The JSON kinds that its values may have.
        classes: The Python classes that its values may have.
        native: Whether JSON knows it, so that it never needs a tag.
        tag: Its tag, or empty.
        inline: Whether the tag is a further key of its object.
    """

    annotation: Annotation
    hooks: Hooks
    kinds: frozenset[str]
    classes: tuple[type, ...]
    native: bool
    tag: str = ""
    inline: bool = False

    def write(self, value: Any) -> Any:
        """Spell a value, with its tag."""
        raw = self.hooks.unstructure(value)
        if not self.tag:
            return raw
        return {**raw, TAG: self.tag} if self.inline else {TAG: self.tag, VALUE: raw}

    def read(self, raw: Any) -> Any:
        """Read what has no tag, or has lost it."""
        return self.hooks.structure(raw, self.annotation)

    def read_tagged(self, raw: dict[str, Any]) -> Any:
        """Read what has this member's tag."""
        if self.inline:
            return self.read({key: item for key, item in raw.items() if key != TAG})
        if VALUE not in raw:
            raise Misfit(type_name(self.annotation), "nothing: the key is missing", f".{VALUE}")
        try:
            return self.read(raw[VALUE])
        except Misfit as misfit:
            raise misfit.at(f".{VALUE}") from None


def union_hooks(annotation: Annotation, find: Find) -> Hooks:
    """Make the hooks of a union; one that holds Any is Any."""
    parts = members_of(annotation)
    if any(part in ANYTHING for part in parts):
        return find(Any)
    if len(parts) == 2 and NoneType in parts:
        return _optional(next(part for part in parts if part is not NoneType), find)
    plan = tagged_members(annotation, find)
    write, read = _writer_of(plan, type_name(annotation)), _reader_of(plan, type_name(annotation))
    return Hooks(write, read, leaf=all(member.hooks.leaf for member in plan))


def _optional(annotation: Annotation, find: Find) -> Hooks:
    hooks, name = find(annotation), f"{type_name(annotation)} | None"
    unstructure, structure = hooks.unstructure, hooks.structure

    def write(value: Any) -> Any:
        if value is None:
            return None
        try:
            return unstructure(value)
        except Misfit as misfit:
            raise _or_none(misfit, name) from None

    def read(raw: Any, _: Any) -> Any:
        if raw is None:
            return None
        try:
            return structure(raw, annotation)
        except Misfit as misfit:
            raise _or_none(misfit, name) from None

    return Hooks(write, read, leaf=hooks.leaf)


def _or_none(misfit: Misfit, name: str) -> Misfit:
    if not misfit.path:
        misfit.expected = name
    return misfit


# ---- who gets a tag -----------------------------------------------------------------------------------------------------


def tagged_members(annotation: Annotation, find: Find) -> list[Member]:
    """Decide by rules 1 to 3 which members carry a tag."""
    members = [_member(part, find(part)) for part in members_of(annotation)]
    members.sort(key=lambda member: not is_literal(member.annotation))  # a Literal of str before str; the rest as written
    shared = {kind for kind, count in Counter(kind for each in members for kind in each.kinds).items() if count > 1}
    objects = [each for each in members if "object" in each.kinds]
    wrapped = [each for each in members if not each.native and each not in objects and each.kinds & shared]
    tell = wrapped or ("object" in shared and discriminator(each.annotation for each in objects) is None)
    chosen = [*wrapped, *(objects if tell else ())]
    tags = _tags_of([each.annotation for each in chosen])
    by_member = dict(zip(map(id, chosen), tags, strict=True))
    return [attrs.evolve(each, tag=by_member.get(id(each), "")) for each in members]


def _member(annotation: Annotation, hooks: Hooks) -> Member:
    kinds = json_kinds(annotation)
    inline = is_record(annotation) or is_typed_dict(annotation) or (is_model(annotation) and kinds == {"object"})
    native = annotation in PLAIN or (is_literal(annotation) and all(type(v) in PLAIN for v in typing.get_args(annotation)))
    return Member(annotation, hooks, kinds, classes_of(annotation), native, inline=inline)


def json_kinds(annotation: Annotation) -> frozenset[str]:
    """Tell which of JSON's six kinds the values of an annotation may have."""
    root = root_of(annotation)
    if is_union(annotation):
        parts = map(json_kinds, members_of(annotation))
        kinds = frozenset[str]().union(*parts)
        return kinds | {"object"} if len(kinds) < len(members_of(annotation)) else kinds
    if annotation in JSON_KINDS:
        return frozenset({JSON_KINDS[annotation]})
    if is_literal(annotation):
        return frozenset(JSON_KINDS[type(word)] for _, word in literal_words(annotation))
    if is_enum(annotation):
        return frozenset(JSON_KINDS[type(word)] for word in enum_words(annotation).values())
    if scalar_of(annotation) is not None:
        return frozenset({"string"})
    if is_model(annotation):
        return _ALL_KINDS if getattr(root, "__pydantic_root_model__", False) else frozenset({"object"})
    if is_record(annotation) or is_typed_dict(annotation):
        return frozenset({"object"})
    return _container_kind(root)


def _container_kind(root: Any) -> frozenset[str]:
    from replay.model.codec_converter import ARRAYS, OBJECTS

    if root in ARRAYS or is_named_tuple(root):
        return frozenset({"array"})
    return frozenset({"object"}) if root in OBJECTS else _ALL_KINDS


def classes_of(annotation: Annotation) -> tuple[type, ...]:
    """Tell which Python classes the values of an annotation have."""
    from replay.model.codec_converter import ARRAYS, OBJECTS

    root = root_of(annotation)
    if annotation is float:
        return (float, int)
    if is_literal(annotation):
        return tuple({type(value): None for value in typing.get_args(annotation)})
    if is_typed_dict(annotation):
        return (dict,)
    if root in ARRAYS:
        return ARRAYS[root].accepted
    if root in OBJECTS:
        return OBJECTS[root].accepted
    return (root,) if isinstance(root, type) else (object,)


def _tags_of(annotations: Sequence[Annotation]) -> list[str]:
    tags = [tag_of(annotation) for annotation in annotations]
    double = {tag for tag, count in Counter(tags).items() if count > 1}
    return [f"{root_of(a).__module__}.{tag}" if tag in double else tag for tag, a in zip(tags, annotations, strict=True)]


def tag_of(annotation: Annotation) -> str:
    """Give the tag of a member: what its class says in ``__replay_tag__``, else its name."""
    own = vars(root_of(annotation)).get("__replay_tag__") if isinstance(root_of(annotation), type) else None
    return own if isinstance(own, str) else type_name(annotation)


def discriminator(annotations: Iterable[Annotation]) -> tuple[str, dict[Any, Annotation]] | None:
    """Find a required field that is a Literal in every class, with values that are nobody else's."""
    classes = list(annotations)
    if not all(is_record(each) or is_typed_dict(each) for each in classes):
        return None
    tables = [{f.name: unwrap(f.type) for f in fields_of(each)} for each in classes]
    for name in tables[0]:
        if all(is_literal(table.get(name)) for table in tables):
            owners = [(word, each) for each, table in zip(classes, tables, strict=True) for _, word in literal_words(table[name])]
            if len({(type(word), word) for word, _ in owners}) == len(owners):
                return name, {(type(word), word): each for word, each in owners}
    return None


# ---- writing ------------------------------------------------------------------------------------------------------------


def _writer_of(members: Sequence[Member], name: str) -> Callable[[Any], Any]:
    remembered: dict[type, tuple[Member, ...]] = {}

    def unstructure(value: Any) -> Any:
        kind = type(value)
        candidates = remembered.get(kind)
        if candidates is None:
            candidates = _candidates(members, kind)
            if len(remembered) < _REMEMBERED:
                remembered[kind] = candidates
        return _first_that_fits(candidates, value, name, Member.write)

    return unstructure


def _candidates(members: Sequence[Member], kind: type) -> tuple[Member, ...]:
    """Order the members that may take a value of this class: its very class, then its bases."""
    exact = [member for member in members if kind in member.classes[:1]]
    near = [member for member in members if member not in exact and issubclass(kind, member.classes)]
    return (*exact, *near)


def _first_that_fits(candidates: Sequence[Member], value: Any, name: str, act: Callable[[Member, Any], Any]) -> Any:
    if len(candidates) == 1:
        try:
            return act(candidates[0], value)
        except Misfit as misfit:
            raise misfit if misfit.path else Misfit(name, misfit.got) from None
    for member in candidates:
        try:
            return act(member, value)
        except Misfit:
            continue
    raise Misfit(name, describe(value))


# ---- reading ------------------------------------------------------------------------------------------------------------


def _reader_of(members: Sequence[Member], name: str) -> Callable[[Any, Any], Any]:
    by_tag = {member.tag: member for member in members if member.tag}
    by_class = {cls: _readers(members, cls, kind) for cls, kind in JSON_KINDS.items()}
    choose = _chooser([member for member in members if "object" in member.kinds])

    def structure(raw: Any, _: Any) -> Any:
        if by_tag and type(raw) is dict and TAG in raw:
            return _read_tagged(by_tag, raw, name)
        candidates = by_class.get(type(raw), ())
        if type(raw) is dict and len(candidates) > 1:
            candidates = choose(raw) or candidates
        return _first_that_fits(candidates, raw, name, Member.read)

    return structure


def _readers(members: Sequence[Member], cls: type, kind: str) -> tuple[Member, ...]:
    able = [member for member in members if kind in member.kinds]
    return tuple(sorted(able, key=lambda member: (not member.native, cls is not member.annotation, bool(member.tag))))


def _read_tagged(by_tag: dict[str, Member], raw: dict[str, Any], name: str) -> Any:
    tag = raw[TAG]
    member = by_tag.get(tag) if isinstance(tag, str) else None
    if member is None:
        known = ", ".join(map(repr, by_tag))
        raise Misfit(f"{name}, tagged {known}", f"the tag {describe(tag)}", f"[{TAG!r}]")
    return member.read_tagged(raw)


def _chooser(objects: Sequence[Member]) -> Callable[[dict[str, Any]], tuple[Member, ...]]:
    """Tell untagged objects apart: by a field of Literals, else by cattrs' rule of fields that only one class requires."""
    by_annotation = {member.annotation: member for member in objects}
    found = discriminator(by_annotation) if len(objects) > 1 else None
    if found is not None:
        name, owners = found

        def by_literal(raw: dict[str, Any]) -> tuple[Member, ...]:
            word = raw.get(name)
            owner = owners.get((type(word), word)) if not isinstance(word, (list, dict)) else None
            return () if owner is None else (by_annotation[owner],)

        return by_literal
    return _by_unique_fields(by_annotation)


def _by_unique_fields(members: dict[Annotation, Member]) -> Callable[[dict[str, Any]], tuple[Member, ...]]:
    records = [annotation for annotation in members if is_record(annotation)]
    if len(records) < 2 or len(records) < len(members):
        return lambda raw: ()  # noqa: ARG005 - one signature for all
    try:
        tell = create_default_dis_func(Converter(), *records, use_literals=False, overrides={})
    except (TypeError, ValueError):
        return lambda raw: ()  # noqa: ARG005 - one signature for all

    def by_fields(raw: dict[str, Any]) -> tuple[Member, ...]:
        try:
            owner: Any = tell(raw)
        except ValueError:
            return ()
        return (members[owner],) if owner in members else ()

    return by_fields
