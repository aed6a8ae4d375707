"""Values to bytes and back, by annotation.

Rule 1: what fits goes in, and comes back as what the annotation says; what does not fit is a ``PayloadError`` that says
where, at which path, what was expected and what came. There is no silent coercion: only an int where a float is wanted
is taken, as PEP 484 has it.
Rule 2: ``encode(decode(encode(x))) == encode(x)``, so a workflow sees in its first run what it will see in every replay.
Rule 3: one meaning, two speeds. The converter (``codec_converter``) alone says what an annotation means; a *lane* here is
a short cut for values whose exact types show at once that the converter would pass them through. What a lane does not
recognise goes to the converter, which also words the error. The converter, and cattrs, are loaded when first needed.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar, overload

from replay.errors import describe
from replay.model.codec_json import MAX_DEPTH, Misfit, check_plain, dumps, loads, quote, scan
from replay.model.codec_types import ANYTHING, Annotation, NoneType, hashable, is_union, members_of, root_of, type_name, unwrap

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

EMPTY: Final[Any] = inspect.Parameter.empty
"""How ``inspect`` says that there is no annotation; it means Any."""

_CACHED: Final = 4096
_PLAIN: Final = frozenset({bool, int, float, str, list, tuple, dict})

WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: quote,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    NoneType: {None: "null"}.__getitem__,
}
"""How exact scalars are spelt; floats need canonical care and are left out."""


class _Encode(Protocol[T_contra]):
    def __call__(self, value: T_contra, where: str) -> bytes: ...


class _Decode(Protocol[T_co]):
    def __call__(self, data: bytes, where: str) -> T_co: ...


class _FromRaw(Protocol[T_co]):
    def __call__(self, raw: Any, where: str) -> T_co: ...


class PayloadCodec(Generic[T]):
    """Turns values of one annotation into bytes and back; got from ``payload_codec``.

    Attributes:
        annotation: What it was made for.
        plain: Whether the annotation is plain JSON, so that no converter is needed.
        exact: The scalar classes whose very instances are spelt and read as JSON does, without another look.
        encode: ``encode(value, where) -> bytes``; ``where`` names the place in a ``PayloadError``.
        decode: ``decode(data, where) -> T``; raises ``PayloadError`` likewise.
        from_raw: ``from_raw(raw, where) -> T``: the same for JSON that has been read already.
    """

    __slots__ = ("annotation", "decode", "encode", "exact", "from_raw", "plain")

    def __init__(
        self,
        annotation: Annotation,
        encode: _Encode[T],
        decode: _Decode[T],
        from_raw: _FromRaw[T],
        *,
        plain: bool = True,
        exact: frozenset[type] = frozenset(),
    ) -> None:
        self.annotation = annotation
        self.encode = encode
        self.decode = decode
        self.from_raw = from_raw
        self.plain = plain
        self.exact = exact & WRITERS.keys()

    def reader(self, where: str) -> Callable[[bytes], T]:
        """``decode`` for one place; the lane of ints, which is the busiest, is cut short once more."""
        decode = self.decode
        if self.annotation is not int:
            return lambda data: decode(data, where)

        def read(data: bytes) -> Any:
            try:
                if data.isdigit() and data[0] != 48:
                    return int(data)
            except ValueError:  # thousands of digits
                pass
            return decode(data, where)

        return read

    def __repr__(self) -> str:
        return f"<PayloadCodec of {type_name(self.annotation)}>"


@overload
def payload_codec(annotation: type[T]) -> PayloadCodec[T]: ...


@overload
def payload_codec(annotation: Any) -> PayloadCodec[Any]: ...


def payload_codec(annotation: Any) -> PayloadCodec[Any]:
    """Give the codec of an annotation; the same one each time, as long as it is among the last few thousand asked for.

    Nothing is resolved or refused here: that happens at the first value.
    """
    try:
        return _cached_codec(annotation)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[int, {"min": 0}]
        return _make_codec(annotation)


def spell(value: Any, where: str) -> bytes:
    """A value that nobody has annotated: plain JSON as it is, anything else as its own class spells it.

    Raises:
        PayloadError: It is no data; ``where`` is named in it.
    """
    kind = type(value)
    return payload_codec(Any if value is None or kind in _PLAIN else kind).encode(value, where)


def _make_codec(annotation: Annotation) -> PayloadCodec[Any]:
    careful = _Careful(annotation)
    plain = Any if annotation is EMPTY else hashable(unwrap(annotation))
    if plain in ANYTHING:
        return _anything(annotation, careful)
    lane = _SCALAR_LANES.get(plain) if isinstance(plain, type) else None
    if lane is not None:
        return lane(annotation, careful)
    kinds = _scalar_kinds(plain)
    if kinds is not None:
        return _union_lane(kinds, annotation, careful)
    fits = _fits(plain, read=False)
    fits_raw = _fits(plain, read=True)
    if fits is None or fits_raw is None:
        return PayloadCodec(annotation, careful.encode, careful.decode, careful.from_raw, plain=False)
    return _shaped(annotation, careful, fits, fits_raw)


_cached_codec: Final = functools.lru_cache(maxsize=_CACHED)(_make_codec)


# ---- the careful way ----------------------------------------------------------------------------------------------------


class _Careful:
    """Goes through the converter, whose hooks are made at the first value."""

    __slots__ = ("_annotation", "_hooks")

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = Any if annotation is EMPTY else annotation
        self._hooks: Any = None

    def encode(self, value: Any, where: str) -> bytes:
        try:
            hooks = self._hooks or self._make_hooks()
            raw = hooks.unstructure(value)
            if hooks.endless:
                check_plain(raw)
            data = dumps(raw)
            if hooks.prove:
                self._prove(value, data)
            return data
        except Misfit as misfit:
            raise misfit.error(where) from None
        except RecursionError:
            raise _too_deep().error(where) from None

    def decode(self, data: bytes, where: str) -> Any:
        try:
            return (self._hooks or self._make_hooks()).structure(loads(data))
        except Misfit as misfit:
            raise misfit.error(where) from None
        except RecursionError:
            raise _too_deep().error(where) from None

    def from_raw(self, raw: Any, where: str) -> Any:
        try:
            return (self._hooks or self._make_hooks()).structure(raw)
        except Misfit as misfit:
            raise misfit.error(where) from None
        except RecursionError:
            raise _too_deep().error(where) from None

    def _make_hooks(self) -> Any:
        from replay.model.codec_converter import hooks_for

        self._hooks = hooks_for(self._annotation)
        return self._hooks

    def _prove(self, value: Any, data: bytes) -> None:
        """Show rule 2 for this value: classes with converters, validators or a hand-written ``__init__`` may break it."""
        back = self._hooks.structure(loads(data))
        again = dumps(self._hooks.unstructure(back))
        if again != data:
            got = f"{describe(value)}; read back it is {describe(back)}: building it from its fields must change nothing"
            raise Misfit(f"{type_name(self._annotation)} that survives a round trip", got)


def _too_deep() -> Misfit:
    return Misfit(f"nesting of at most {MAX_DEPTH} levels", "a value nested deeper, or one that contains itself")


# ---- lanes for scalars --------------------------------------------------------------------------------------------------


def _decode_exactly(kind: type, careful: _Careful) -> _Decode[Any]:
    """Read one JSON value whose class must be exactly this."""

    def decode(data: bytes, where: str) -> Any:
        try:
            text = data.decode()
            value, end = scan(text, 0)
        except (StopIteration, ValueError, RecursionError, AttributeError):
            return careful.decode(data, where)
        if type(value) is kind and end == len(text):
            return value
        return careful.decode(data, where)

    return decode


def _from_raw_exactly(kind: type, careful: _Careful) -> _FromRaw[Any]:
    def from_raw(raw: Any, where: str) -> Any:
        return raw if type(raw) is kind else careful.from_raw(raw, where)

    return from_raw


def _int_lane(annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    def encode(value: Any, where: str) -> bytes:
        if type(value) is int:
            try:
                return b"%d" % value
            except ValueError:  # thousands of digits
                pass
        return careful.encode(value, where)

    def decode(data: bytes, where: str) -> Any:
        # Digits without a leading zero are an int in JSON and in Python alike; signs and the rest go the long way.
        if data.isdigit() and (data[0] != 48 or len(data) == 1) and len(data) < 4000:
            return int(data)
        return slow(data, where)

    slow = _decode_exactly(int, careful)
    return PayloadCodec(annotation, encode, decode, _from_raw_exactly(int, careful), exact=frozenset({int}))


def _str_lane(annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    def encode(value: Any, where: str) -> bytes:
        if type(value) is str:
            try:
                return quote(value).encode()
            except UnicodeEncodeError:
                pass
        return careful.encode(value, where)

    read, from_raw = _decode_exactly(str, careful), _from_raw_exactly(str, careful)
    return PayloadCodec(annotation, encode, read, from_raw, exact=frozenset({str}))


def _word_lane(words: dict[Any, bytes], annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    """The lane of True, False and None: a table; a key's class is checked, as ``1 == True``."""
    kind = type(next(iter(words)))
    values = {word: value for value, word in words.items()}

    def encode(value: Any, where: str) -> bytes:
        return words[value] if type(value) is kind else careful.encode(value, where)

    def decode(data: bytes, where: str) -> Any:
        return values[data] if data in values else careful.decode(data, where)

    return PayloadCodec(annotation, encode, decode, _from_raw_exactly(kind, careful), exact=frozenset({kind}))


def _float_lane(annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    def encode(value: Any, where: str) -> bytes:
        if type(value) is float:
            try:
                return dumps(value)
            except Misfit:
                pass
        return careful.encode(value, where)

    def from_raw(raw: Any, where: str) -> Any:
        return raw if type(raw) is float else careful.from_raw(raw, where)

    return PayloadCodec(annotation, encode, _decode_exactly(float, careful), from_raw)


_SCALAR_LANES: Final[dict[type, Callable[[Annotation, _Careful], PayloadCodec[Any]]]] = {
    int: _int_lane,
    str: _str_lane,
    float: _float_lane,
    bool: functools.partial(_word_lane, {True: b"true", False: b"false"}),
    NoneType: functools.partial(_word_lane, {None: b"null"}),
}


# ---- lanes for shapes ---------------------------------------------------------------------------------------------------


def _anything(annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    def encode(value: Any, where: str) -> bytes:
        writer = WRITERS.get(type(value))
        try:
            if writer is not None:
                return writer(value).encode()
            check_plain(value)
            return dumps(value)
        except (Misfit, ValueError, RecursionError):
            return careful.encode(value, where)

    def decode(data: bytes, where: str) -> Any:
        try:
            return loads(data)
        except Misfit as misfit:
            raise misfit.error(where) from None

    def from_raw(raw: Any, where: str) -> Any:  # noqa: ARG001 - one signature for all
        return raw

    return PayloadCodec(annotation, encode, decode, from_raw, exact=frozenset(WRITERS))


def _union_lane(kinds: frozenset[type], annotation: Annotation, careful: _Careful) -> PayloadCodec[Any]:
    """The lane of unions of scalars, such as ``int | None``."""

    def encode(value: Any, where: str) -> bytes:
        kind = type(value)
        writer = WRITERS.get(kind) if kind in kinds else None
        if writer is not None:
            try:
                return writer(value).encode()
            except ValueError:  # thousands of digits, a lone surrogate
                pass
        return careful.encode(value, where)

    def decode(data: bytes, where: str) -> Any:
        try:
            raw = loads(data)
        except Misfit as misfit:
            raise misfit.error(where) from None
        return raw if type(raw) in kinds else careful.from_raw(raw, where)

    def from_raw(raw: Any, where: str) -> Any:
        return raw if type(raw) in kinds else careful.from_raw(raw, where)

    return PayloadCodec(annotation, encode, decode, from_raw, exact=kinds)


def _scalar_kinds(annotation: Annotation) -> frozenset[type] | None:
    """List the members of a union of scalars, or the one scalar."""
    members = members_of(annotation) if is_union(annotation) else (annotation,)
    return frozenset(members) if all(member in _SCALAR_LANES for member in members) else None


_Fits = Callable[[Any], bool]


def _shaped(annotation: Annotation, careful: _Careful, fits: _Fits, fits_raw: _Fits) -> PayloadCodec[Any]:
    def encode(value: Any, where: str) -> bytes:
        try:
            if fits(value):
                return dumps(value)
        except (Misfit, RecursionError):
            pass
        return careful.encode(value, where)

    def decode(data: bytes, where: str) -> Any:
        try:
            raw = loads(data)
        except Misfit as misfit:
            raise misfit.error(where) from None
        return raw if fits_raw(raw) else careful.from_raw(raw, where)

    def from_raw(raw: Any, where: str) -> Any:
        return raw if fits_raw(raw) else careful.from_raw(raw, where)

    return PayloadCodec(annotation, encode, decode, from_raw)


def _fits(annotation: Annotation, *, read: bool) -> _Fits | None:
    """Make a test "is exactly this shape of plain JSON"; None when the annotation is no such shape.

    Args:
        annotation: Such as ``list[int]`` or ``dict[str, list[str]]``.
        read: Whether the test will see what JSON was read into, where anything is plain.
    """
    inner = unwrap(annotation)
    root = root_of(inner)
    if root not in (list, dict):
        return None
    arguments = typing.get_args(inner) or (Any,) * (1 if root is list else 2)
    if root is dict and arguments[0] not in (str, Any):
        return None
    items = _items_fit(unwrap(arguments[-1]), read=read)
    if items is None:
        return None
    if root is list:
        return lambda value: type(value) is list and items(value)
    keys = _exactly(frozenset({str}))
    return lambda value: type(value) is dict and keys(value) and items(value.values())


def _items_fit(annotation: Annotation, *, read: bool) -> Callable[[Iterable[Any]], bool] | None:
    if annotation in ANYTHING:
        return (lambda items: True) if read else _all_plain  # noqa: ARG005 - one signature for all
    kinds = _scalar_kinds(annotation)
    if kinds is not None:
        return _exactly(kinds)
    inner = _fits(annotation, read=read)
    return None if inner is None else lambda items: all(map(inner, items))


def _exactly(kinds: frozenset[type]) -> Callable[[Iterable[Any]], bool]:
    superset = kinds.issuperset
    return lambda items: superset(map(type, items))


def _all_plain(items: Iterable[Any]) -> bool:
    for item in items:
        check_plain(item)
    return True
