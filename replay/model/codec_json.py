"""Canonical JSON: one value, one spelling, in every language.

Rule 1: plain values only: None, bool, int, float, str, list, tuple, dict with str keys. All else is refused, never guessed.
Rule 2: keys sorted by code point, no spaces, UTF-8 without escapes that JSON does not ask for.
Rule 3: a float that is a whole number below 2**53 is spelt as that number (``1.0`` -> ``1``), as JavaScript and Go would;
``-0.0`` keeps its sign; every other float is Python's shortest repr. NaN and infinities are refused.
Rule 4: what was written can be read: nesting is bounded by ``MAX_DEPTH``, lone surrogates are refused.

So ``to_json(from_json(to_json(x))) == to_json(x)``, which is what makes checksums of payloads comparable between languages.

Inside the codec a value that does not fit is a ``Misfit``, which gathers its path on the way up; at the codec's border it
becomes a ``PayloadError`` that also says where.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from json import encoder as json_encoder
from typing import Any, Final

from replay.errors import PayloadError, describe

MAX_DEPTH: Final = 100
"""The deepest nesting of lists and dicts that is written: the stack must hold it at the reader's too."""

_EXACT_INTEGERS: Final = 2**53
_PATH_SHOWN: Final = 24
_WHOLE_FLOAT: Final = re.compile(r"\.0(?![0-9])")
NoneType = type(None)
_SCALARS: Final = frozenset({str, int, bool, float, NoneType})
_ANNOTATE: Final = "annotate it with its type, so that it comes back as what it is"


class Misfit(Exception):
    """A value does not fit; the path grows while the exception travels outward.

    Attributes:
        expected: What was expected, as text.
        got: What came, as text, with advice where there is some.
        path: Steps from the inside out, each such as ``.price`` or ``[3]``.
    """

    def __init__(self, expected: str, got: str, *path: str) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got
        self.path = list(path)

    def at(self, step: str) -> Misfit:
        """Say that the trouble lies under this step of the path."""
        self.path.append(step)
        return self

    def error(self, where: str) -> PayloadError:
        """Make the public error of it."""
        steps = self.path[::-1]
        shown = "".join(steps[:_PATH_SHOWN]) + ("…" if len(steps) > _PATH_SHOWN else "")
        return PayloadError(where, self.expected, self.got, f"${shown}")


def key_step(key: object) -> str:
    """Spell a mapping's key as a step of a path."""
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{key[:60]!r}]"
    return f"[{describe(key, 60).partition(' ')[2]}]"


# ---- writing ------------------------------------------------------------------------------------------------------------


def to_json(value: object) -> bytes:
    """Spell a plain value as canonical JSON.

    Raises:
        PayloadError: The value, or something in it, is not plain, not finite, no valid Unicode, or nested too deeply.
    """
    try:
        check_plain(value)
        return dumps(value)
    except Misfit as misfit:
        raise misfit.error("value") from None


def _refuse(value: object) -> Any:
    raise Misfit("plain JSON", _no_data(value))


def _make_writer() -> Callable[[object], str]:
    options: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "allow_nan": False, "separators": (",", ":")}
    slow = json.JSONEncoder(default=_refuse, check_circular=False, **options).encode
    make: Any = getattr(json_encoder, "c_make_encoder", None)
    if make is None:
        return slow
    # What JSONEncoder.encode builds anew for every value is built once here; a Python whose parts differ takes the slow way.
    try:
        chunks = make(None, _refuse, json_encoder.encode_basestring, None, ":", ",", True, False, False)
        chunks([{"b": 1, "a": "é"}], 0)
    except TypeError:  # pragma: no cover - no Python known today
        return slow
    join = "".join

    def write(value: object) -> str:
        return join(chunks(value, 0))

    return write


_write: Final = _make_writer()
quote: Final[Callable[[str], str]] = json_encoder.encode_basestring
"""Spell a str as JSON text."""


def dumps(raw: object) -> bytes:
    """Spell what is known to have str keys and bounded nesting; anything else in it that is no JSON is a ``Misfit``."""
    try:
        text = _write(raw)
        if ".0" in text and _WHOLE_FLOAT.search(text):
            text = _write(_with_whole_floats(raw))
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise _blame(raw, error) from None
    except Misfit as misfit:
        check_plain(raw)  # finds the path
        raise misfit from None


def _with_whole_floats(raw: Any) -> Any:
    """Replace the floats that rule 3 spells as integers."""
    if isinstance(raw, float):
        whole = raw.is_integer() and abs(raw) < _EXACT_INTEGERS and (raw != 0 or math.copysign(1, raw) > 0)
        return int(raw) if whole else raw
    if isinstance(raw, dict):
        return {key: _with_whole_floats(item) for key, item in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [_with_whole_floats(item) for item in raw]
    return raw


def check_plain(value: object) -> None:
    """Raise ``Misfit`` unless the value is made of what JSON gives back: bounded nesting, str keys, no other classes."""
    if type(value) in _SCALARS:
        return
    try:
        if _is_plain(value, MAX_DEPTH):
            return
    except (TypeError, RecursionError):
        pass
    _explain(value, MAX_DEPTH)


def _is_plain(value: Any, depth: int) -> bool:
    """Answer quickly for what is exactly plain; a key that is no str is a TypeError."""
    kind = type(value)
    if kind is dict:
        "".join(value)  # the fastest proof that all keys are str
        value = value.values()
    elif kind is not list and kind is not tuple:
        return False
    for item in value:  # noqa: SIM110 - all() over a generator takes twice as long
        if type(item) not in _SCALARS and not (depth > 1 and _is_plain(item, depth - 1)):
            return False
    return True


def _explain(value: Any, depth: int) -> None:
    """Find what is not plain; take subclasses of what is, for they are written alike."""
    if isinstance(value, (str, int, float, NoneType)):
        return
    if not isinstance(value, (dict, list)) and type(value) is not tuple:
        raise Misfit("plain JSON", _no_data(value))
    if depth == 0:
        raise Misfit(f"nesting of at most {MAX_DEPTH} levels", "a value nested deeper, or one that contains itself")
    if isinstance(value, dict):
        _explain_entries(value, depth)
        return
    index = 0
    try:
        for index, item in enumerate(value):  # noqa: B007 - the index tells the path
            _explain(item, depth - 1)
    except Misfit as misfit:
        raise misfit.at(f"[{index}]") from None


def _explain_entries(entries: dict[Any, Any], depth: int) -> None:
    for key, item in entries.items():
        if not isinstance(key, str):
            raise Misfit("str keys", f"the key {describe(key)}; annotate the mapping, such as dict[int, str]")
        try:
            _explain(item, depth - 1)
        except Misfit as misfit:
            raise misfit.at(key_step(key)) from None


def _no_data(value: object) -> str:
    if _is_live(value):
        return f"{describe(value)}; it is no data: pass what it is made from, and make it again where it is used"
    return f"{describe(value)}; {_ANNOTATE}"


def _is_live(value: object) -> bool:
    """Whether a value is bound to this process: a function, a generator, a coroutine, a lock, an open file, a module."""
    kind = type(value)
    if callable(value) or hasattr(kind, "__next__") or hasattr(kind, "__await__") or hasattr(kind, "__enter__"):
        return True
    return kind.__name__ == "module"


def _blame(raw: object, error: Exception) -> Misfit:
    """Find what JSON refused: an infinity, a lone surrogate, a number with thousands of digits, or too deep a nesting."""
    if isinstance(error, RecursionError):
        return Misfit(f"nesting of at most {MAX_DEPTH} levels", "a value nested deeper, or one that contains itself")
    try:
        _find_unspeakable(raw)
    except Misfit as misfit:
        return misfit
    return Misfit("plain JSON", f"{type(error).__name__}: {error}")


def _find_unspeakable(raw: object) -> None:
    if isinstance(raw, dict):
        for key, item in raw.items():
            _find_unspeakable(key)
            try:
                _find_unspeakable(item)
            except Misfit as misfit:
                raise misfit.at(key_step(key)) from None
    elif isinstance(raw, (list, tuple)):
        for index, item in enumerate(raw):
            try:
                _find_unspeakable(item)
            except Misfit as misfit:
                raise misfit.at(f"[{index}]") from None
    else:
        _check_speakable(raw)


def _check_speakable(raw: object) -> None:
    if isinstance(raw, float) and not math.isfinite(raw):
        raise Misfit("a finite number", f"{raw!r}; JSON has no word for it")
    if isinstance(raw, str):
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise Misfit("valid Unicode", f"a str with a lone surrogate: {ascii(raw)[:200]}") from None
    if isinstance(raw, int):
        try:
            int.__repr__(raw)
        except ValueError:
            raise Misfit("a number of bounded length", f"an int of {raw.bit_length():,} bits") from None


# ---- reading ------------------------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)
scan: Final[Callable[[str, int], tuple[Any, int]]] = _decoder.scan_once  # type: ignore[attr-defined]
"""Read one JSON value at a place of a text: (value, end); StopIteration when there is none."""


def from_json(data: bytes) -> Any:
    """Read JSON strictly.

    Raises:
        PayloadError: It is no JSON, no UTF-8, holds NaN or an infinity, or is nested too deeply.
    """
    try:
        return loads(data)
    except Misfit as misfit:
        raise misfit.error("JSON") from None


def loads(data: bytes) -> Any:
    """Read JSON strictly; what is none is a ``Misfit``."""
    try:
        text = data.decode()
        value, end = scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, ValueError, RecursionError, AttributeError):
        pass
    return _loads_carefully(data)


def _loads_carefully(data: bytes) -> Any:
    try:
        return _decoder.decode(bytes(data).decode())
    except RecursionError:
        raise Misfit(f"JSON nested at most {MAX_DEPTH} levels", "deeper nesting") from None
    except UnicodeDecodeError as error:
        raise Misfit("JSON in UTF-8", f"{_shown(data)} ({error.reason} at byte {error.start})") from None
    except (ValueError, TypeError) as error:
        raise Misfit("JSON", f"{_shown(data)} ({error})") from None


def _shown(data: object) -> str:
    return describe(data, 80)
