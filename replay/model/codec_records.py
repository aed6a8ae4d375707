"""Hooks for the classes that users write: attrs classes, dataclasses, TypedDicts, NamedTuples, pydantic models.

Rule 1: a class is an object of its fields by name, a NamedTuple an array.
Rule 2: unknown keys are ignored when reading (a newer program may have written them); a missing key takes its default;
a missing key without one is an error.
Rule 3: only the very class is written: a subclass would come back as its base and lose what it adds.

cattrs writes the code of attrs classes and dataclasses, with the hooks given here; it makes no path, so each part that may
fail deep inside is wrapped to add its name, and leaves are tried again, one by one, after a failure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn_from_attrs, override

from replay.errors import describe
from replay.model.codec_hooks import Find, Hooks
from replay.model.codec_json import Misfit, dumps, key_step
from replay.model.codec_registry import upcasters_of
from replay.model.codec_types import Annotation, Field, fields_of, root_of, type_name

NOTHING: Final = "nothing: the key is missing"
_SEPARATE: Final = "annotate it as a union of the classes that may come, or convert it"
_writer: Final = Converter(detailed_validation=False)


# ---- attrs classes and dataclasses --------------------------------------------------------------------------------------


def record_hooks(annotation: Annotation, find: Find) -> Hooks:
    """Make the hooks of an attrs class or a dataclass."""
    root, name = root_of(annotation), type_name(annotation)
    parts = [(field, find(field.type)) for field in fields_of(annotation)]
    stand_ins, named = _stand_ins([field for field, _ in parts]), _named_parameters(root)
    options: dict[str, Any] = {field.name: _traced(field, hooks) for field, hooks in parts}
    write = make_dict_unstructure_fn_from_attrs(stand_ins, root, _writer, named, _cattrs_use_linecache=False, **options)
    read = make_dict_structure_fn_from_attrs(stand_ins, root, _writer, named, _cattrs_use_linecache=False, **options)

    def unstructure(value: Any) -> Any:
        if value.__class__ is not root:
            raise Misfit(name, _foreign(value, root))
        try:
            return write(value)
        except Misfit as misfit:
            raise _place(misfit, parts, lambda field: getattr(value, field.name), reading=False) from None
        except AttributeError as error:
            raise Misfit(name, f"a {root.__name__} without a field ({error})") from None

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not dict:
            raise Misfit(name, describe(raw))
        try:
            return read(raw, root)
        except Misfit as misfit:
            raise _place(misfit, parts, lambda field: raw[field.name], reading=True) from None
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - border: a converter, validator or __init__ of the user's may raise anything
            _require_keys(raw, (field for field, _ in parts))
            raise Misfit(name, f"{describe(raw)}; the class refused: {type(error).__name__}: {error}") from None

    return Hooks(unstructure, structure)


def _stand_ins(fields: list[Field]) -> list[Any]:
    """Describe resolved fields to cattrs, which would resolve annotations itself, and not those of local classes."""
    made = {
        field.name: attrs.field(default=attrs.NOTHING if field.required else None, alias=field.alias, kw_only=True) for field in fields
    }
    return list(attrs.fields(attrs.make_class("Fields", made)))


def _named_parameters(root: type) -> dict[str, Any]:
    """Satisfy cattrs, which wants to know TypeVars, though only to name its function: the hooks are ours."""
    return {parameter.__name__: object for parameter in getattr(root, "__parameters__", ())}


def _traced(field: Field, hooks: Hooks) -> Any:
    """Give a field's hooks to cattrs; those of a part with parts add the field to the path."""
    if hooks.leaf:
        return override(unstruct_hook=hooks.unstructure, struct_hook=hooks.structure)
    step, unstructure, structure, annotation = f".{field.name}", hooks.unstructure, hooks.structure, field.type

    def write(value: Any) -> Any:
        try:
            return unstructure(value)
        except Misfit as misfit:
            raise misfit.at(step) from None

    def read(raw: Any, _: Any) -> Any:
        try:
            return structure(raw, annotation)
        except Misfit as misfit:
            raise misfit.at(step) from None

    return override(unstruct_hook=write, struct_hook=read)


def _place(misfit: Misfit, parts: list[tuple[Field, Hooks]], get: Callable[[Field], Any], *, reading: bool) -> Misfit:
    """Tell which field a leaf's misfit came from; that of a part with parts has its path already."""
    if misfit.path:
        return misfit
    for field, hooks in parts:
        if hooks.leaf:
            try:
                value = get(field)
                hooks.structure(value, field.type) if reading else hooks.unstructure(value)
            except (KeyError, AttributeError):
                continue
            except Misfit as found:
                return found.at(f".{field.name}")
    return misfit


def _foreign(value: Any, root: type) -> str:
    return f"{describe(value)}; {_SEPARATE}" if isinstance(value, root) else describe(value)


def _require_keys(raw: dict[str, Any], fields: Iterable[Field]) -> None:
    for field in fields:
        if field.required and field.name not in raw:
            raise Misfit(type_name(field.type), NOTHING, f".{field.name}")


def has_logic(root: type) -> bool:
    """Whether building a record from its fields runs code of the user's, which might change what it is given."""
    if upcasters_of(root):
        return True
    if attrs.has(root):
        return _attrs_has_logic(root)
    return _dataclass_has_logic(root)


def _attrs_has_logic(root: type) -> bool:
    fields: Any = attrs.fields(root)
    if any(field.converter or field.validator or not field.init for field in fields):
        return True
    hooks = ("__attrs_post_init__", "__attrs_pre_init__", "__attrs_init__")
    return any(hasattr(root, hook) for hook in hooks) or not _is_generated(root, "<attrs generated")


def _dataclass_has_logic(root: type) -> bool:
    fields: Any = dataclasses.fields(root)
    if any(not field.init for field in fields) or hasattr(root, "__post_init__"):
        return True
    return not _is_generated(root, "<string>")


def _is_generated(root: type, prefix: str) -> bool:
    code = getattr(vars(root).get("__init__"), "__code__", None)
    return code is not None and code.co_filename.startswith(prefix) and root.__new__ in (object.__new__, Exception.__new__)


# ---- TypedDict ----------------------------------------------------------------------------------------------------------


def typed_dict_hooks(annotation: Annotation, find: Find) -> Hooks:
    """Make the hooks of a TypedDict; a key that it does not have is an error when writing."""
    name, fields = type_name(annotation), fields_of(annotation)
    parts = {field.name: (field, find(field.type)) for field in fields}

    def unstructure(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit(name, describe(value))
        for key in value:
            if key not in parts:
                raise Misfit(f"the keys of {name} ({', '.join(parts)})", f"the key {describe(key)}")
        _require_keys(value, fields)
        return {key: _inside(parts[key][0], parts[key][1].unstructure, item) for key, item in value.items()}

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not dict:
            raise Misfit(name, describe(raw))
        _require_keys(raw, fields)
        return {key: _inside(field, hooks.structure, raw[key], field.type) for key, (field, hooks) in parts.items() if key in raw}

    return Hooks(unstructure, structure)


# ---- NamedTuple ---------------------------------------------------------------------------------------------------------


def named_tuple_hooks(annotation: Annotation, find: Find) -> Hooks:
    """Make the hooks of a NamedTuple; a shorter array takes the defaults."""
    root, name, fields = root_of(annotation), type_name(annotation), fields_of(annotation)
    parts = [(field, find(field.type)) for field in fields]
    least = sum(field.required for field in fields)

    def unstructure(value: Any) -> Any:
        if value.__class__ is not root:
            raise Misfit(name, _foreign(value, root))
        return [_inside(field, hooks.unstructure, item) for (field, hooks), item in zip(parts, value, strict=True)]

    def structure(raw: Any, _: Any) -> Any:
        if type(raw) is not list:
            raise Misfit(name, describe(raw))
        if not least <= len(raw) <= len(parts):
            raise Misfit(f"{name} of {len(parts)} items", f"{len(raw)} items: {describe(raw)}")
        return root(*[_inside(field, hooks.structure, item, field.type) for (field, hooks), item in zip(parts, raw, strict=False)])

    return Hooks(unstructure, structure)


def _inside(field: Field, hook: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return hook(*arguments)
    except Misfit as misfit:
        raise misfit.at(key_step(field.name)) from None


# ---- pydantic -----------------------------------------------------------------------------------------------------------


def model_hooks(annotation: Annotation, _find: Find) -> Hooks:
    """Make the hooks of a pydantic v2 model: its own JSON, read in strict mode, and shown to come back the same."""
    cls, name = annotation, type_name(annotation)

    def unstructure(value: Any) -> Any:
        if value.__class__ is not cls:
            raise Misfit(name, _foreign(value, cls))
        try:
            raw = value.model_dump(mode="json", by_alias=True)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - border: serializers of the user's may raise anything
            raise Misfit(name, f"{describe(value)}; the model refused: {error}") from None
        back = structure(raw, cls)
        if back.__dict__ != value.__dict__ or back.__pydantic_extra__ != value.__pydantic_extra__:
            raise Misfit(f"{name} that survives a round trip", f"{describe(value)}; read back it is {describe(back)}")
        return raw

    def structure(raw: Any, _: Any) -> Any:
        try:
            return cls.model_validate_json(dumps(raw), strict=True)
        except (Misfit, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - border: validators of the user's may raise anything
            raise _model_misfit(name, raw, error) from None

    return Hooks(unstructure, structure)


def _model_misfit(name: str, raw: Any, error: Exception) -> Misfit:
    """Word the first complaint of a pydantic ValidationError."""
    complaints = getattr(error, "errors", None)
    if complaints is None:
        return Misfit(name, f"{describe(raw)}; the model refused: {type(error).__name__}: {error}")
    first = complaints()[0]
    steps = [f"[{step}]" if isinstance(step, int) else key_step(step) for step in first["loc"]]
    return Misfit(name, f"{describe(first.get('input', raw))}; the model refused: {first['msg']}", *reversed(steps))


# ---- upcasting ----------------------------------------------------------------------------------------------------------


def upcasting(hooks: Hooks, annotation: Annotation) -> Hooks:
    """Let a class's upcasters see the JSON before it is structured; the list is live."""
    chain, structure, name = upcasters_of(root_of(annotation)), hooks.structure, type_name(annotation)

    def upcast_and_structure(raw: Any, kind: Any) -> Any:
        if chain:
            raw = _upcast(raw)
        return structure(raw, kind)

    def _upcast(raw: Any) -> Any:
        for fn in chain:
            try:
                raw = fn(raw)
            except Exception as error:  # noqa: BLE001 - border: an upcaster of the user's may raise anything
                got = f"{describe(raw)}; its upcaster {fn.__qualname__} raised {type(error).__name__}: {error}"
                raise Misfit(name, got) from None
        return raw

    return attrs.evolve(hooks, structure=upcast_and_structure)
