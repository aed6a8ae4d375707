"""Arguments of one function, as bytes and back.

Rule 1: what is written is what was passed: defaults are not applied, so a parameter with a default can be added later
and old bytes still mean what they meant.
Rule 2: arguments that can be passed by position are written as a JSON array, in the order of the parameters; if some
cannot (a gap, a keyword-only or ``**`` parameter) the whole is ``{"args": [...], "kwargs": {...}}``. So ``f(1, b=2)``
and ``f(1, 2)`` are the same bytes.
Rule 3: argument tuples of exact scalars (int, str, bool, None) whose types have passed once pass again without being
looked at one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import attrs

from replay.errors import PayloadError, describe
from replay.model.codec_json import Misfit, loads, quote, scan
from replay.model.codec_payload import EMPTY, WRITERS, PayloadCodec, payload_codec
from replay.model.codec_types import hints_of

_LEARNED: Final = 64
_SCALARS: Final = frozenset(WRITERS)
_NEVER: Final = 2**31
_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_REST: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_Place = tuple[PayloadCodec[Any], str]  # of a parameter: its codec and its name in errors
_Types = tuple[type, ...]
_Key = type | _Types  # of a single argument its class alone, which is quicker to look up


def _key(types: _Types) -> _Key:
    return types[0] if len(types) == 1 else types


def _speller(writers: list[Callable[[Any], str]]) -> Callable[..., bytes]:
    """Make what spells arguments whose classes are known; the short ones, which are most, are straight lines."""
    if writers == [WRITERS[int]]:
        return lambda value: b"[%d]" % value
    if len(writers) == 1:
        (write,) = writers
        return lambda value: f"[{write(value)}]".encode()
    if len(writers) == 2:
        first, second = writers
        return lambda one, two: f"[{first(one)},{second(two)}]".encode()
    return lambda *values: f"[{','.join([write(value) for write, value in zip(writers, values, strict=True)])}]".encode()


@attrs.frozen
class _Layout:
    """A signature, laid out for quick binding.

    Attributes:
        positional: Places of the parameters that can be passed by position.
        by_name: Their names, if all of them can be passed by name too.
        named: Places of the parameters that can be passed by name.
        rest: Place of ``*args``.
        others: Codec of ``**kwargs``.
        least: How many positional values a call without names needs at least; out of reach if it needs names.
        most: How many it may have.
    """

    positional: tuple[_Place, ...]
    by_name: tuple[str, ...]
    named: Mapping[str, _Place]
    rest: _Place | None
    others: PayloadCodec[Any] | None
    least: int
    most: int


class ArgumentsCodec:
    """Turns the arguments of one function into bytes and back; got from ``ArgumentsCodec.of``.

    Attributes:
        name: The function's name, for errors.
        signature: Its signature without the skipped parameters.
    """

    __slots__ = ("_fn", "_layout", "_localns", "_passing", "_spelling", "name", "signature")

    def __init__(self, fn: Callable[..., Any], signature: inspect.Signature, localns: Mapping[str, Any] | None) -> None:
        self.name = getattr(fn, "__name__", type(fn).__name__)
        self.signature = signature
        self._fn = fn
        self._localns = localns
        self._layout: _Layout | None = None
        self._spelling: dict[_Key, Callable[..., bytes]] = {}
        self._passing: set[_Key] = set()

    @classmethod
    def of(cls, fn: Callable[..., Any], skip: Collection[str] = (), localns: Mapping[str, Any] | None = None) -> ArgumentsCodec:
        """Read a function's signature; annotations are resolved at the first value.

        Args:
            fn: The function.
            skip: Parameters that are not passed by the caller, such as a connection that the engine hands in.
            localns: Names known where the function was defined, for annotations that are local classes.
        """
        whole = inspect.signature(fn)
        kept = [parameter for parameter in whole.parameters.values() if parameter.name not in skip]
        return cls(fn, whole.replace(parameters=kept), localns)

    # ---- writing ----

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Bind, check and spell arguments.

        Raises:
            TypeError: They do not fit the signature, as in a call.
            PayloadError: One of them does not fit its annotation.
            DefinitionError: An annotation cannot be resolved.
        """
        if kwargs:
            args, kwargs = self._place(args, kwargs)
        if kwargs:
            return self._encode_with_names(args, kwargs)
        spell = self._spelling.get(type(args[0]) if len(args) == 1 else tuple(map(type, args)))
        if spell is not None:
            try:
                return spell(*args)
            except ValueError:  # thousands of digits, a lone surrogate
                pass
        args, _ = self._place(args, kwargs)
        self._learn_spelling(args)
        return self._encode_array(args)

    def _encode_array(self, args: tuple[Any, ...]) -> bytes:
        return b"[" + b",".join([codec.encode(value, where) for (codec, where), value in self._with_codecs(args)]) + b"]"

    def _encode_with_names(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        parts = []
        for name in sorted(kwargs):
            codec, where = self._named(name)
            parts.append(self._spell_name(name) + b":" + codec.encode(kwargs[name], where))
        return b'{"args":' + self._encode_array(args) + b',"kwargs":{' + b",".join(parts) + b"}}"

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Pass by position what can be; ``inspect`` binds what is not simple, and words the errors."""
        layout = self._layout or self._lay_out()
        if kwargs and layout.by_name:
            values, named = list(args), dict(kwargs)
            for name in layout.by_name[len(args) :]:
                if name not in named:
                    break
                values.append(named.pop(name))
            if not named:
                args, kwargs = tuple(values), named
        if not kwargs and layout.least <= len(args) <= layout.most:
            return args, kwargs
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        return bound.args, bound.kwargs

    def _spell_name(self, name: str) -> bytes:
        try:
            return quote(name).encode()
        except UnicodeEncodeError:
            raise PayloadError(f"argument {name!r} of {self.name}", "valid Unicode", "a name with a lone surrogate") from None

    def _learn_spelling(self, args: tuple[Any, ...]) -> None:
        types = tuple(map(type, args))
        if _SCALARS.issuperset(types) and len(self._spelling) < _LEARNED and self._go_as_they_are(types):
            self._spelling[_key(types)] = _speller([WRITERS[kind] for kind in types])

    # ---- reading ----

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give the positional and the keyword arguments that ``encode`` was given, as their annotations say.

        Raises:
            PayloadError: The bytes do not fit the signature or an annotation.
            DefinitionError: An annotation cannot be resolved.
        """
        try:
            text = data.decode()
            raw, end = scan(text, 0)
            complete = end == len(text)
        except (StopIteration, ValueError, RecursionError, AttributeError):
            raw, complete = None, False
        if not complete:
            raw = self._load(data)
        if type(raw) is list:
            if (type(raw[0]) if len(raw) == 1 else tuple(map(type, raw))) in self._passing:
                return tuple(raw), {}
            return self._read_array(raw), {}
        return self._read_with_names(raw)

    def _load(self, data: bytes) -> Any:
        try:
            return loads(data)
        except Misfit as misfit:
            raise misfit.error(f"arguments of {self.name}") from None

    def _read_array(self, raw: list[Any]) -> tuple[Any, ...]:
        layout = self._layout or self._lay_out()
        args = tuple([codec.from_raw(item, where) for (codec, where), item in self._with_codecs(raw)])
        if not layout.least <= len(args) <= layout.most:
            self._require_fit(args, {})
        self._learn_passing(raw)
        return args

    def _read_with_names(self, raw: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not (isinstance(raw, dict) and raw.keys() == {"args", "kwargs"}):
            raise PayloadError(f"arguments of {self.name}", 'an array, or {"args": [...], "kwargs": {...}}', describe(raw))
        if not (isinstance(raw["args"], list) and isinstance(raw["kwargs"], dict)):
            raise PayloadError(f"arguments of {self.name}", 'an array under "args", an object under "kwargs"', describe(raw))
        args = tuple([codec.from_raw(item, where) for (codec, where), item in self._with_codecs(raw["args"])])
        kwargs = {}
        for name, item in raw["kwargs"].items():
            codec, where = self._named(name)
            kwargs[name] = codec.from_raw(item, where)
        self._require_fit(args, kwargs)
        return args, kwargs

    def _require_fit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PayloadError(f"arguments of {self.name}", f"{self.name}{self.signature}", str(error)) from None

    def _learn_passing(self, raw: list[Any]) -> None:
        types = tuple(map(type, raw))
        if _SCALARS.issuperset(types) and len(self._passing) < _LEARNED and self._go_as_they_are(types):
            self._passing.add(_key(types))

    # ---- parameters ----

    def _go_as_they_are(self, types: _Types) -> bool:
        """Whether all values of exactly these classes are spelt and read as JSON does."""
        return all(kind in codec.exact for (codec, _), kind in self._with_codecs(types))

    def _with_codecs(self, values: Collection[Any]) -> Iterator[tuple[_Place, Any]]:
        """Give each positional value the place of its parameter."""
        layout = self._layout or self._lay_out()
        places = layout.positional
        if len(values) > len(places):
            if layout.rest is None:
                got = f"{len(values)} values; the function takes fewer than it did when they were written"
                expected = f"at most {len(places)} for {self.name}{self.signature}"
                raise PayloadError(f"arguments of {self.name}", expected, got)
            places = (*places, *[layout.rest] * (len(values) - len(places)))
        return zip(places, values, strict=False)

    def _named(self, name: str) -> _Place:
        layout = self._layout or self._lay_out()
        place = layout.named.get(name)
        if place is not None:
            return place
        if layout.others is None:
            known = ", ".join(self.signature.parameters) or "none"
            raise PayloadError(f"arguments of {self.name}", f"parameters of {self.name} ({known})", f"argument {name!r}")
        return layout.others, f"argument {name!r} of {self.name}"

    def _lay_out(self) -> _Layout:
        parameters = self.signature.parameters
        hints = hints_of(self._fn, tuple(parameters), self._localns)
        places = {name: (payload_codec(hints.get(name, Any)), f"argument {name!r} of {self.name}") for name in parameters}
        kinds = {name: parameter.kind for name, parameter in parameters.items()}
        needed = {name for name, p in parameters.items() if p.default is EMPTY and p.kind not in _REST}
        positional = [name for name, kind in kinds.items() if kind in _BY_PLACE]
        rest = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), None)
        others = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD), None)
        simple = needed <= set(positional)
        by_name = positional if all(kinds[name] is inspect.Parameter.POSITIONAL_OR_KEYWORD for name in positional) else ()
        self._layout = _Layout(
            positional=tuple(places[name] for name in positional),
            by_name=tuple(by_name),
            named={name: place for name, place in places.items() if kinds[name] in _BY_NAME},
            rest=None if rest is None else places[rest],
            others=None if others is None else places[others][0],
            least=len(needed) if simple else _NEVER,
            most=len(positional) if rest is None else _NEVER - 1,
        )
        return self._layout
