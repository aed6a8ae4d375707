"""Annotations as data: how they are named, unwrapped and resolved, and which fields a class has.

Rule 1: an annotation is read once, at first use, so that classes may refer to what is defined further down.
Rule 2: wrappers that say nothing about the spelling (NewType, Annotated, Final, type aliases, TypeVars) are looked through.
Rule 3: what cannot be resolved is a ``DefinitionError`` that names it; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, Union

import attrs

from replay.errors import DefinitionError

NoneType = type(None)


class _Missing(enum.Enum):
    MISSING = enum.auto()


MISSING: Final = _Missing.MISSING
"""Stands for "there is no default"."""

Annotation = Any
"""Whatever may stand behind the colon of a parameter: a class, a generic alias, a union, a NewType ..."""

_QUALIFIERS: Final[tuple[Any, ...]] = (
    typing.Final,
    typing.ClassVar,
    typing.Required,
    typing.NotRequired,
    getattr(typing, "ReadOnly", typing.Required),
)
_BARE_TUPLE: Final[Any] = typing.Tuple  # noqa: UP006 - the alias itself is meant
_UNIONS: Final[tuple[Any, ...]] = (Union, types.UnionType)
ANYTHING: Final[tuple[Any, ...]] = (Any, object)


# ---- looking at one annotation ------------------------------------------------------------------------------------------


def origin_of(annotation: Annotation) -> Any:
    """Tell what stands before the brackets, or None."""
    return typing.get_origin(annotation)


def unwrap(annotation: Annotation) -> Annotation:
    """Look through NewType, Annotated, qualifiers, type aliases and TypeVars; None becomes its class."""
    while True:
        inner = _inner(annotation)
        if inner is annotation:
            return annotation
        annotation = inner


def _inner(annotation: Annotation) -> Annotation:
    if annotation is None:
        return NoneType
    if isinstance(annotation, TypeVar):
        return _bound(annotation)
    if hasattr(annotation, "__supertype__"):
        return annotation.__supertype__
    if type(annotation).__name__ == "TypeAliasType":
        return annotation.__value__
    origin = origin_of(annotation)
    if origin is Annotated or origin in _QUALIFIERS:
        return annotation.__origin__ if origin is Annotated else annotation.__args__[0]
    if origin is not None and type(origin).__name__ == "TypeAliasType":
        return origin.__value__[typing.get_args(annotation)]
    return Any if annotation in _QUALIFIERS else annotation


def _bound(variable: TypeVar) -> Annotation:
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007 - made of values
    return Any if variable.__bound__ is None else variable.__bound__


def is_wrapped(annotation: Annotation) -> bool:
    """Whether ``unwrap`` would see something else."""
    return _inner(annotation) is not annotation


def is_union(annotation: Annotation) -> bool:
    """Whether this is ``A | B``, ``Optional[A]`` or ``Union[A, B]``."""
    return origin_of(annotation) in _UNIONS


def is_literal(annotation: Annotation) -> bool:
    """Whether this is ``Literal[...]``."""
    return origin_of(annotation) is Literal


def root_of(annotation: Annotation) -> Annotation:
    """Tell the class behind a generic alias: ``Box`` of ``Box[int]``, ``dict`` of ``dict[str, int]``."""
    return origin_of(annotation) or annotation


def members_of(annotation: Annotation) -> tuple[Annotation, ...]:
    """List a union's members, unions inside unwrapped, each once."""
    found: dict[Any, None] = {}
    for member in typing.get_args(annotation):
        inner = unwrap(member)
        for part in members_of(inner) if is_union(inner) else (inner,):
            found[part] = None
    return tuple(found)


def is_record(annotation: Annotation) -> bool:
    """Whether this is an attrs class or a dataclass, generic or not."""
    root = root_of(annotation)
    return isinstance(root, type) and (attrs.has(root) or dataclasses.is_dataclass(root))


def is_typed_dict(annotation: Annotation) -> bool:
    """Whether this is a TypedDict, generic or not."""
    return typing.is_typeddict(root_of(annotation)) or type(root_of(annotation)).__name__ == "_TypedDictMeta"


def is_named_tuple(annotation: Annotation) -> bool:
    """Whether this is a NamedTuple, generic or not."""
    root = root_of(annotation)
    return isinstance(root, type) and issubclass(root, tuple) and hasattr(root, "_fields")


def is_empty_tuple(annotation: Annotation) -> bool:
    """Whether this is ``tuple[()]``, which is not the same as ``tuple``."""
    return origin_of(annotation) is tuple and not typing.get_args(annotation) and annotation is not _BARE_TUPLE


def is_enum(annotation: Annotation) -> bool:
    """Whether this is an Enum."""
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def is_model(annotation: Annotation) -> bool:
    """Whether this is a pydantic v2 model, told by its methods: pydantic itself is never imported here."""
    root = root_of(annotation)
    return isinstance(root, type) and hasattr(root, "model_validate_json") and hasattr(root, "model_dump")


def is_class_like(annotation: Annotation) -> bool:
    """Whether the annotation is a user's class with a name: what gets a tag in unions, a ``$defs`` entry, an upcaster."""
    kinds = (is_record, is_typed_dict, is_named_tuple, is_enum, is_model)
    return any(is_kind(annotation) for is_kind in kinds)


def type_name(annotation: Annotation) -> str:
    """Spell an annotation for people: ``list[int] | None``, without modules."""
    special = _special_name(annotation)
    if special is not None:
        return special
    origin, arguments = origin_of(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return " | ".join(map(type_name, arguments))
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    name = _bare_name(annotation if origin is None else origin)
    return f"{name}[{', '.join(map(type_name, arguments))}]" if arguments else name


def _special_name(annotation: Annotation) -> str | None:
    if annotation is NoneType or annotation is None:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{', '.join(map(type_name, annotation))}]"
    if is_empty_tuple(annotation):
        return "tuple[()]"
    return annotation if isinstance(annotation, str) else None


def _bare_name(annotation: Annotation) -> str:
    name = getattr(annotation, "__qualname__", None) or getattr(annotation, "__name__", None)
    return str(name).rpartition("<locals>.")[2] if name else str(annotation).replace("typing.", "")


# ---- resolving ----------------------------------------------------------------------------------------------------------


def resolve(
    annotations: Mapping[str, Any], names: Mapping[str, Any], fallback: Mapping[str, Any], *, what: str, extras: bool = False
) -> dict[str, Annotation]:
    """Resolve string annotations, at any depth.

    Args:
        annotations: Annotation by name.
        names: The globals to look names up in.
        fallback: Further names.
        what: The declaration, for the error.
        extras: Keep ``Annotated``'s extra words.

    Raises:
        DefinitionError: A name is not known there.
    """
    resolved = {}
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            resolved.update(typing.get_type_hints(holder, dict(names), dict(fallback), include_extras=extras))
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            raise _unresolvable(what, name, annotation, error) from error
    return resolved


def _unresolvable(what: str, name: str, annotation: Annotation, error: Exception) -> DefinitionError:
    return DefinitionError(
        what,
        f"the annotation {type_name(annotation)!r} of {name!r} cannot be resolved ({error})",
        "define or import the type at module level, and not only under TYPE_CHECKING",
    )


def normal(annotation: Annotation) -> Annotation:
    """Strip ``Annotated`` at any depth and resolve references to builtins."""
    if annotation is Any or isinstance(annotation, (type, TypeVar)):
        return annotation
    return resolve({"type": annotation}, {}, {}, what=f"the type {type_name(annotation)}")["type"]


def hashable(annotation: Annotation) -> Annotation:
    """Strip ``Annotated`` where its words make an annotation useless as a key."""
    try:
        hash(annotation)
    except TypeError:
        return normal(annotation)
    return annotation


def hints_of(
    fn: Callable[..., Any],
    names: Collection[str],
    localns: Mapping[str, Any] | None = None,
    *,
    extras: bool = False,
) -> dict[str, Annotation]:
    """Resolve some of a function's annotations; names without one are left out.

    Args:
        fn: The function; its globals, its closure and ``localns`` are searched.
        names: Parameters, and ``"return"``.
        localns: Names known where the function was defined.
        extras: Keep ``Annotated``'s extra words.

    Raises:
        DefinitionError: A name is not known there.
    """
    plain = _unwrapped(fn)
    written = {name: hint for name, hint in getattr(plain, "__annotations__", {}).items() if name in names}
    cells = dict(zip(_code_freevars(plain), getattr(plain, "__closure__", None) or (), strict=False))
    closure = {name: cell.cell_contents for name, cell in cells.items() if _is_filled(cell)}
    parameters = {parameter.__name__: parameter for parameter in getattr(plain, "__type_params__", ())}
    fallback = {**(localns or {}), **closure, **parameters}
    what = getattr(plain, "__qualname__", repr(plain))
    return resolve(written, getattr(plain, "__globals__", {}), fallback, what=what, extras=extras)


def _unwrapped(fn: Any) -> Any:
    """Find the function whose annotations count: behind wrappers, methods, partials and callable instances."""
    fn = inspect.unwrap(fn)
    if isinstance(fn, functools.partial):
        return _unwrapped(fn.func)
    if hasattr(fn, "__func__"):
        return _unwrapped(fn.__func__)
    return fn if hasattr(fn, "__code__") or isinstance(fn, type) else _unwrapped(type(fn).__call__)


def _code_freevars(fn: Any) -> tuple[str, ...]:
    code = getattr(fn, "__code__", None)
    return () if code is None else code.co_freevars


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


# ---- fields of classes --------------------------------------------------------------------------------------------------


@attrs.frozen
class Field:
    """One field of a user's class.

    Attributes:
        name: The attribute, and the key in JSON.
        type: Its annotation, resolved, type parameters filled in.
        default: Its default; ``MISSING`` when it has none, ``factory`` when it is computed.
        factory: Whether a default is computed.
        required: Whether it must be there.
        alias: What the class's ``__init__`` calls it.
    """

    name: str
    type: Annotation
    default: Any = MISSING
    factory: bool = False
    required: bool = True
    alias: str = attrs.field(default=attrs.Factory(lambda self: self.name, takes_self=True))


def fields_of(annotation: Annotation, *, extras: bool = False) -> tuple[Field, ...]:
    """List the fields that a record, TypedDict or NamedTuple is built from.

    Raises:
        DefinitionError: An annotation in the class cannot be resolved.
    """
    cls = root_of(annotation)
    hints = _class_hints(cls, extras=extras)
    mappings = type_arguments(annotation)

    def typed(name: str, fallback: Annotation = Any) -> Annotation:
        owner = next((base for base in cls.__mro__ if name in inspect.get_annotations(base)), cls)
        return substitute(hints.get(name, Any if fallback is None else fallback), mappings.get(owner, {}))

    if is_typed_dict(cls):
        required = _required_keys(cls)
        return tuple(Field(name, typed(name), required=name in required) for name in cls.__annotations__)
    if is_named_tuple(cls):
        return tuple(
            Field(name, typed(name), cls._field_defaults.get(name, MISSING), required=name not in cls._field_defaults)
            for name in cls._fields
        )
    return tuple(_record_field(field, typed(field.name, field.type)) for field in _record_fields(cls) if field.init)


def _required_keys(cls: Any) -> frozenset[str]:
    """Tell a TypedDict's required keys, also where its qualifiers are strings, which typing itself does not see."""
    required = set(cls.__required_keys__)
    for name, hint in _class_hints(cls, extras=True).items():
        qualifiers = set(_origins(hint))
        if typing.Required in qualifiers:
            required.add(name)
        if typing.NotRequired in qualifiers:
            required.discard(name)
    return frozenset(required)


def _origins(annotation: Annotation) -> Iterator[Any]:
    """List the qualifiers around an annotation, outermost first."""
    while origin_of(annotation) in (Annotated, *_QUALIFIERS):
        yield origin_of(annotation)
        annotation = _inner(annotation)


def _record_fields(cls: type) -> tuple[Any, ...]:
    return attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)


def _record_field(field: Any, annotation: Annotation) -> Field:
    default, factory = field.default, False
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default, factory = MISSING, True
    elif default is attrs.NOTHING:
        default = MISSING
    elif default is dataclasses.MISSING:
        default, factory = MISSING, field.default_factory is not dataclasses.MISSING
    required, alias = default is MISSING and not factory, getattr(field, "alias", field.name)
    return Field(field.name, annotation, default, factory, required, alias)


@functools.lru_cache(maxsize=1024)
def _class_hints(cls: type, *, extras: bool) -> dict[str, Annotation]:
    try:
        return typing.get_type_hints(cls, include_extras=extras)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return _resolved_one_by_one(cls, extras=extras)


def _resolved_one_by_one(cls: type, *, extras: bool) -> dict[str, Annotation]:
    """Resolve what makes fields; a ClassVar of unknown type is nobody's business, and a local class knows itself."""
    hints: dict[str, Annotation] = {}
    for base in reversed(cls.__mro__):
        names = vars(sys.modules.get(base.__module__, types))
        written = {name: hint for name, hint in inspect.get_annotations(base).items() if "ClassVar" not in str(hint)}
        hints.update(resolve(written, names, {cls.__name__: cls}, what=type_name(cls), extras=extras))
    return hints


def type_arguments(annotation: Annotation) -> dict[Any, dict[Any, Annotation]]:
    """Tell, for a class and each of its bases, what fills its TypeVars: ``{Box: {T: int}}`` for ``Box[int]``.

    Each has its own, as a class and its base may call different things T.
    """
    root = root_of(annotation)
    own = dict(zip(getattr(root, "__parameters__", ()), typing.get_args(annotation), strict=False))
    mappings = {root: own}
    for base in getattr(root, "__orig_bases__", getattr(root, "__bases__", ())):
        if root_of(base) not in (object, typing.Generic, typing.Protocol):
            mappings = {**type_arguments(substitute(base, own)), **mappings}
    return mappings


def substitute(annotation: Annotation, mapping: Mapping[Any, Annotation]) -> Annotation:
    """Fill TypeVars in."""
    if isinstance(annotation, TypeVar):
        return mapping.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or isinstance(annotation, type) or not mapping:
        return annotation
    if is_union(annotation):
        return functools.reduce(operator.or_, (substitute(part, mapping) for part in typing.get_args(annotation)))
    return annotation[tuple(mapping.get(parameter, parameter) for parameter in parameters)]
