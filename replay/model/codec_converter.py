"""What an annotation means: the one table from kinds of annotations to hooks.

Rule 1: the first line of ``KINDS`` that knows an annotation decides; whatever no line knows is no data and is refused.
Rule 2: containers are as strict as their parts: a list is a list, a tuple has its length, mappings have the keys that
their annotation says. A set is an array sorted by its items' JSON, so that equal sets are equal bytes.
Rule 3: a mapping's keys are text in JSON: a key that is text there anyway is itself, any other is its JSON text.
Rule 4: a class may contain itself: while its hooks are being made, its own parts get hooks that are looked up later.
"""

from __future__ import annotations

import collections
import functools
import itertools
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import attrs

from replay.errors import describe
from replay.model.codec_hooks import (
    PLAIN,
    Find,
    Hooks,
    enum_hooks,
    literal_hooks,
    no_hooks,
    scalar_hooks,
    scalar_of,
)
from replay.model.codec_json import Misfit, check_plain, dumps, key_step, loads
from replay.model.codec_records import (
    has_logic,
    model_hooks,
    named_tuple_hooks,
    record_hooks,
    typed_dict_hooks,
    upcasting,
)
from replay.model.codec_registry import registered
from replay.model.codec_types import (
    Annotation,
    fields_of,
    hashable,
    is_class_like,
    is_empty_tuple,
    is_enum,
    is_literal,
    is_model,
    is_named_tuple,
    is_record,
    is_typed_dict,
    is_union,
    is_wrapped,
    normal,
    root_of,
    type_name,
    unwrap,
)
from replay.model.codec_unions import union_hooks

# ---- containers ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Container:
    """A class of containers.

    Attributes:
        accepted: What a value must be an instance of.
        build: Makes a value of what was read.
    """

    accepted: tuple[type, ...]
    build: Callable[[Any], Any]


_SEQUENCE: Final = Container((list, tuple), list)
ARRAYS: Final[Mapping[Any, Container]] = {
    list: Container((list,), list),
    tuple: Container((tuple,), tuple),
    set: Container((set,), set),
    frozenset: Container((frozenset,), frozenset),
    collections.deque: Container((collections.deque,), collections.deque),
    abc.Sequence: _SEQUENCE,
    abc.MutableSequence: Container((list,), list),
    abc.Collection: _SEQUENCE,
    abc.Iterable: _SEQUENCE,
    abc.Set: Container((frozenset, set), frozenset),
    abc.MutableSet: Container((set,), set),
}
_SETS: Final = (set, frozenset, abc.Set, abc.MutableSet)
OBJECTS: Final[Mapping[Any, Container]] = {
    dict: Container((dict,), dict),
    abc.Mapping: Container((dict, abc.Mapping), dict),
    abc.MutableMapping: Container((dict,), dict),
    collections.Counter: Container((collections.Counter,), collections.Counter),
}


def _array_hooks(annotation: Annotation, find: Find) -> Hooks:
    root, arguments, name = root_of(annotation), typing.get_args(annotation), type_name(annotation)
    if root is tuple and (is_empty_tuple(annotation) or (arguments and arguments[-1] is not Ellipsis)):
        return _tuple_hooks(annotation, find)
    kind, container = arguments[0] if arguments else Any, ARRAYS[root]
    accepted, build = container.accepted, None if container.build is list else container.build
    hooks, is_set = find(kind), root in _SETS
    write, read = hooks.unstructure, hooks.structure

    def unstructure(value: Any) -> Any:
        _require(accepted, value, name)
        raw: list[Any] = []
        try:
            raw.extend(map(write, value))
        except Misfit as misfit:
            raise misfit.at(_shown_item(value, len(raw)) if is_set else f"[{len(raw)}]") from None
        return sorted(raw, key=dumps) if is_set else raw

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not list:
            raise Misfit(name, describe(raw))
        value: list[Any] = []
        try:
            value.extend(map(read, raw, itertools.repeat(kind)))
        except Misfit as misfit:
            raise misfit.at(f"[{len(value)}]") from None
        return value if build is None else _built(build, value, name)

    return Hooks(unstructure, structure)


def _require(accepted: tuple[type, ...], value: Any, name: str) -> None:
    if not isinstance(value, accepted):
        raise Misfit(name, describe(value))


def _shown_item(value: Any, index: int) -> str:
    """Show the item of a set that did not fit: a set has no places."""
    return f"[{describe(next(itertools.islice(value, index, None)), 60)}]"


def _built(build: Callable[[Any], Any], value: Any, name: str) -> Any:
    try:
        return build(value)
    except TypeError as error:  # items that cannot be hashed
        raise Misfit(name, f"{describe(value)} ({error})") from None


def _tuple_hooks(annotation: Annotation, find: Find) -> Hooks:
    """Make the hooks of a tuple that has a place for each item."""
    kinds, name = typing.get_args(annotation), type_name(annotation)
    hooks = [find(kind) for kind in kinds]
    writers, readers = [each.unstructure for each in hooks], [each.structure for each in hooks]

    def unstructure(value: Any) -> Any:
        if not isinstance(value, tuple) or len(value) != len(kinds):
            raise Misfit(name, describe(value))
        raw: list[Any] = []
        try:
            raw.extend(write(item) for write, item in zip(writers, value, strict=True))
        except Misfit as misfit:
            raise misfit.at(f"[{len(raw)}]") from None
        return raw

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not list or len(raw) != len(kinds):
            raise Misfit(name, describe(raw))
        value: list[Any] = []
        try:
            value.extend(read(item, kind) for read, item, kind in zip(readers, raw, kinds, strict=True))
        except Misfit as misfit:
            raise misfit.at(f"[{len(value)}]") from None
        return tuple(value)

    return Hooks(unstructure, structure)


def _object_hooks(annotation: Annotation, find: Find) -> Hooks:
    root, name, (key_kind, item_kind) = root_of(annotation), type_name(annotation), entry_kinds(annotation)
    accepted, build = OBJECTS[root].accepted, OBJECTS[root].build
    keys, items = _key_hooks(key_kind, find), find(item_kind)
    write_key, read_key, write, read = keys.unstructure, keys.structure, items.unstructure, items.structure

    def unstructure(value: Any) -> Any:
        _require(accepted, value, name)
        raw: dict[str, Any] = {}
        key: Any = None
        try:
            for key, item in value.items():
                raw[write_key(key)] = write(item)
        except Misfit as misfit:
            raise misfit.at(key_step(key)) from None
        if len(raw) != len(value):
            raise Misfit(name, f"{describe(value)}, in which different keys are spelt alike")
        return raw

    def structure(raw: Any, _: Any) -> Any:
        _require((dict,), raw, name)
        value: dict[Any, Any] = {}
        key = ""
        try:
            for key, item in raw.items():
                value[read_key(key, key_kind)] = read(item, item_kind)
        except Misfit as misfit:
            raise misfit.at(key_step(key)) from None
        except TypeError as error:  # a key that cannot be hashed
            raise Misfit(name, f"{describe(raw)} ({error})") from None
        return value if build is dict else build(value)

    return Hooks(unstructure, structure)


def entry_kinds(annotation: Annotation) -> tuple[Annotation, Annotation]:
    """Tell what a mapping's keys and values are."""
    arguments = typing.get_args(annotation)
    if root_of(annotation) is collections.Counter:
        return (arguments[0] if arguments else str), int
    key, item = arguments or (str, Any)
    return (str if key is Any else key), item


def _key_hooks(kind: Annotation, find: Find) -> Hooks:
    hooks = find(kind)
    spelt_as_text = _is_text(unwrap(kind))
    if spelt_as_text is None:
        return no_hooks(f"a mapping with keys of {type_name(kind)}, of which some are text in JSON and some are not", find)
    if spelt_as_text:
        return hooks

    def unstructure(key: Any) -> str:
        return dumps(hooks.unstructure(key)).decode()

    def structure(text: Any, _: Any) -> Any:
        return hooks.structure(loads(text.encode()), kind)

    return Hooks(unstructure, structure)


def _is_text(kind: Annotation) -> bool | None:
    """Whether values of an annotation are str in JSON: always, never, or (None) some of them."""
    from replay.model.codec_unions import json_kinds

    kinds = json_kinds(kind)
    if "string" not in kinds:
        return False
    return True if kinds == {"string"} else None


# ---- the table ----------------------------------------------------------------------------------------------------------

Factory = Callable[[Annotation, Find], Hooks]


def _registered_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Make the hooks of a class that a user has taught the codec."""
    cls, name = root_of(annotation), type_name(annotation)
    unstructure, structure = registered(cls) or (None, None)

    def write(value: Any) -> Any:
        _require((cls,), value, name)
        raw = _guarded(unstructure, value, name)
        check_plain(raw)
        return raw

    def read(raw: Any, _: Any) -> Any:
        return _guarded(structure, raw, name)

    return Hooks(write, read)


def _guarded(fn: Any, value: Any, name: str) -> Any:
    try:
        return fn(value)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - border: a hook of the user's may raise anything
        raise Misfit(name, f"{describe(value)} ({type(error).__name__}: {error})") from None


def _is_registered(annotation: Annotation) -> bool:
    return registered(root_of(annotation)) is not None


def _is_in(table: Mapping[Any, Any]) -> Callable[[Annotation], bool]:
    return lambda annotation: root_of(annotation) in table


KINDS: Final[tuple[tuple[Callable[[Annotation], bool], Factory], ...]] = (
    (_is_registered, _registered_hooks),
    (lambda annotation: annotation in PLAIN, lambda annotation, find: PLAIN[annotation]),  # noqa: ARG005
    (is_wrapped, lambda annotation, find: find(unwrap(annotation))),
    (is_union, union_hooks),
    (is_literal, literal_hooks),
    (lambda annotation: scalar_of(annotation) is not None, scalar_hooks),
    (is_enum, enum_hooks),
    (is_model, model_hooks),
    (is_record, record_hooks),
    (is_typed_dict, typed_dict_hooks),
    (is_named_tuple, named_tuple_hooks),
    (_is_in(ARRAYS), _array_hooks),
    (_is_in(OBJECTS), _object_hooks),
)

_recursive: Final[set[Any]] = set()
_being_made: Final[ContextVar[frozenset[Any]]] = ContextVar("being_made", default=frozenset())


def find_hooks(annotation: Annotation) -> Hooks:
    """Give the hooks of an annotation.

    Raises:
        DefinitionError: An annotation in a class cannot be resolved.
    """
    annotation = hashable(annotation)
    if annotation in _being_made.get():
        return _later(annotation)
    return _make_hooks(annotation)


@functools.lru_cache(maxsize=4096)
def _make_hooks(annotation: Annotation) -> Hooks:
    token = _being_made.set(_being_made.get() | {annotation})
    try:
        factory = next((factory for knows, factory in KINDS if knows(annotation)), no_hooks)
        hooks = factory(annotation, find_hooks)
    finally:
        _being_made.reset(token)
    return upcasting(hooks, annotation) if is_class_like(annotation) else hooks


def _later(annotation: Annotation) -> Hooks:
    _recursive.add(annotation)
    return Hooks(
        lambda value: _make_hooks(annotation).unstructure(value),
        lambda raw, kind: _make_hooks(annotation).structure(raw, kind),
    )


# ---- the door -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Whole:
    """Both ways of a whole payload.

    Attributes:
        unstructure: Value to plain JSON.
        structure: Plain JSON to value.
        prove: Whether each written value must be shown to survive the way back.
        endless: Whether its classes contain themselves, so that only the value bounds the nesting.
    """

    unstructure: Callable[[Any], Any]
    structure: Callable[[Any], Any]
    prove: bool
    endless: bool


def hooks_for(annotation: Annotation) -> Whole:
    """Give both ways of an annotation, for ``PayloadCodec``."""
    clean = normal(annotation)
    hooks = find_hooks(clean)
    parts = list(parts_of(clean))
    prove = any(_runs_user_code(part) or _must_hash_anything(part) for part in parts)
    return Whole(hooks.unstructure, lambda raw: hooks.structure(raw, clean), prove, not _recursive.isdisjoint(parts))


def _runs_user_code(annotation: Annotation) -> bool:
    return _is_registered(annotation) or (is_record(annotation) and has_logic(root_of(annotation)))


def _must_hash_anything(annotation: Annotation) -> bool:
    """Whether items or keys hold Any: a tuple in there comes back as a list, which no set and no mapping takes."""
    root, arguments = root_of(annotation), typing.get_args(annotation)
    if root in _SETS:
        return Any in parts_of(arguments[0] if arguments else Any)
    return root in OBJECTS and Any in parts_of(arguments[0] if arguments else str)


def parts_of(annotation: Annotation) -> Iterator[Annotation]:
    """List every annotation within an annotation, itself first, each once."""
    seen: set[Any] = set()
    waiting = [annotation]
    while waiting:
        part = hashable(unwrap(waiting.pop()))
        if part in seen:
            continue
        seen.add(part)
        yield part
        if not is_literal(part):
            waiting.extend(part for part in typing.get_args(part) if part is not Ellipsis and not isinstance(part, list))
        if (is_record(part) or is_typed_dict(part) or is_named_tuple(part)) and not is_model(part):
            waiting.extend(field.type for field in fields_of(part))
