"""Arguments of one function, as bytes and back."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import DefinitionError, PayloadError
from replay.model.codec import ArgumentsCodec
from tests.model.shapes import Cart, Item, plain, texts

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]


def charge(card: str, cents: int = 100) -> None: ...


def ship(cart: Cart, /, *, express: bool = False) -> None: ...


def log(*lines: str, **fields: Decimal) -> None: ...


def free(a, b=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201


def gap(a: int = 1, b: int = 2, c: int = 3) -> None: ...


@pytest.mark.parametrize(
    ("spelling", "fn", "args", "kwargs"),
    [
        (b'["visa"]', charge, ("visa",), {}),
        (b'["visa",5]', charge, ("visa", 5), {}),
        (b'["visa",5]', charge, ("visa",), {"cents": 5}),
        (b'["visa",5]', charge, (), {"cents": 5, "card": "visa"}),
        (b"[]", gap, (), {}),
        (b"[9,8]", gap, (), {"b": 8, "a": 9}),
        (b'{"args":[],"kwargs":{"b":8,"c":9}}', gap, (), {"c": 9, "b": 8}),
        (b'{"args":[0],"kwargs":{"c":9}}', gap, (0,), {"c": 9}),
        (b'{"args":[{"items":[],"notes":{},"owner":null}],"kwargs":{"express":true}}', ship, (Cart([]),), {"express": True}),
        (b'[{"items":[],"notes":{},"owner":null}]', ship, (Cart([]),), {}),
        (b'["a","b"]', log, ("a", "b"), {}),
        (b'{"args":["a"],"kwargs":{"x":"1.5","\xc3\xa9":"2"}}', log, ("a",), {"é": Decimal(2), "x": Decimal("1.5")}),
        (b'[{"b":1},[1,null]]', free, ({"b": 1.0}, (1, None)), {}),
    ],
)
def test_arguments_have_one_spelling(spelling: bytes, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """However they are passed; and learning a short cut changes no byte."""
    codec = ArgumentsCodec.of(fn)

    assert [spelling] * 3 == [codec.encode(args, kwargs) for _ in range(3)]


@pytest.mark.parametrize(
    ("came", "fn", "data"),
    [
        ((("visa", 5), {}), charge, b'["visa",5]'),
        ((("visa",), {}), charge, b'["visa"]'),
        (((), {"card": "visa"}), charge, b'{"args":[],"kwargs":{"card":"visa"}}'),
        (((Cart([Item("a")]),), {"express": True}), ship, b'{"args":[{"items":[{"sku":"a"}]}],"kwargs":{"express":true}}'),
        ((("a", "b"), {"x": Decimal("1.5")}), log, b'{"args":["a","b"],"kwargs":{"x":"1.5"}}'),
        (((), {}), gap, b"[]"),
        ((([1], {"a": 1}), {}), free, b'[[1],{"a":1}]'),
    ],
)
def test_arguments_come_back_as_their_annotations_say(came: tuple[Any, Any], fn: Any, data: bytes) -> None:
    """At once and from the short cut that was learnt."""
    codec = ArgumentsCodec.of(fn)

    assert [came] * 3 == [codec.decode(data) for _ in range(3)]


@pytest.mark.parametrize(
    ("words", "fn", "args", "kwargs"),
    [
        (r"charge\(\) missing a required argument: 'card'", charge, (), {}),
        (r"charge\(\) got an unexpected keyword argument 'money'", charge, ("visa",), {"money": 1}),
        (r"charge\(\) too many positional arguments", charge, ("visa", 1, 2), {}),
        (r"charge\(\) multiple values for argument 'card'", charge, ("visa",), {"card": "x"}),
        (r"ship\(\)", ship, (), {"cart": Cart([])}),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_a_type_error(
    words: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """As in a call, at the call."""
    with pytest.raises(TypeError, match=words):
        ArgumentsCodec.of(fn).encode(args, kwargs)


@pytest.mark.parametrize(
    ("where", "path", "fn", "args", "kwargs"),
    [
        ("argument 'card' of charge", "$", charge, (5,), {}),
        ("argument 'cents' of charge", "$", charge, ("visa", True), {}),
        ("argument 'cents' of charge", "$", charge, ("visa",), {"cents": "5"}),
        ("argument 'card' of charge", "$", charge, ("\ud800",), {}),
        pytest.param("argument 'cents' of charge", "$", charge, ("visa", 10**5000), {}, id="digits"),
        ("argument 'cart' of ship", "$.items[0]", ship, (Cart([1]),), {}),  # type: ignore[list-item]
        ("argument 'express' of ship", "$", ship, (Cart([]),), {"express": 1}),
        ("argument 'lines' of log", "$", log, ("a", 1), {}),
        ("argument 'x' of log", "$", log, (), {"x": 1}),
        ("argument 'b' of free", "$[0]", free, (1, [Item("a")]), {}),
    ],
)
def test_an_argument_that_does_not_fit_is_named(where: str, path: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Also after values of other types have passed by the short cut."""
    codec = ArgumentsCodec.of(fn)
    if fn is charge:
        codec.encode(("visa", 5), {})
        codec.encode(("visa",), {})

    with pytest.raises(PayloadError) as caught:
        codec.encode(args, kwargs)

    assert (where, path) == (caught.value.where, caught.value.path)


@pytest.mark.parametrize(
    ("where", "fn", "data"),
    [
        ("arguments of charge", charge, b"nonsense"),
        ("arguments of charge", charge, b"5"),
        ("arguments of charge", charge, b'{"card":"visa"}'),
        ("arguments of charge", charge, b"[]"),
        ("arguments of charge", charge, b'["visa",1,2]'),
        ("arguments of charge", charge, b'{"args":["visa"],"kwargs":{"money":1}}'),
        ("arguments of charge", charge, b'{"args":["visa"],"kwargs":{"card":"x"}}'),
        ("argument 'cents' of charge", charge, b'["visa","5"]'),
        ("argument 'cents' of charge", charge, b'{"args":["visa"],"kwargs":{"cents":"5"}}'),
    ],
)
def test_bytes_that_do_not_fit_the_signature_are_refused(where: str, fn: Any, data: bytes) -> None:
    """A function that lost a parameter says so."""
    codec = ArgumentsCodec.of(fn)
    codec.decode(b'["visa",5]')

    with pytest.raises(PayloadError) as caught:
        codec.decode(data)

    assert where == caught.value.where


def test_a_parameter_with_a_default_can_be_added_later() -> None:
    """Defaults are not written, so old bytes mean what they meant."""

    def charge_v2(card: str, cents: int = 100, currency: str = "EUR") -> None: ...

    old = ArgumentsCodec.of(charge).encode(("visa",), {})

    assert old == ArgumentsCodec.of(charge_v2).encode(("visa",), {})
    assert (("visa",), {}) == ArgumentsCodec.of(charge_v2).decode(old)


def test_skipped_parameters_are_not_the_callers() -> None:
    """A connection is handed in by the engine."""

    def pay(connection: object, cents: int) -> None: ...

    codec = ArgumentsCodec.of(pay, skip=["connection"])

    assert b"[5]" == codec.encode((5,), {})
    assert ((5,), {}) == codec.decode(b"[5]")


def test_an_annotation_that_cannot_be_resolved_is_an_error_at_first_use() -> None:
    """Naming function, parameter and what to do; declaring it was no error."""

    def lost(thing: Nothing) -> None: ...

    codec = ArgumentsCodec.of(lost)

    with pytest.raises(DefinitionError, match=r"lost.*'Nothing' of 'thing' cannot be resolved.*TYPE_CHECKING"):
        codec.encode((1,), {})


def test_annotations_see_local_classes_through_localns() -> None:
    """A function and its types may be defined inside another function."""

    @attrs.define
    class Local:
        x: int

    def use(local: Local) -> None: ...

    assert b'[{"x":1}]' == ArgumentsCodec.of(use, localns=locals()).encode((Local(1),), {})


def test_methods_partials_and_wrappers_are_functions_too() -> None:
    """Their annotations are found where they were written."""

    class Till:
        def charge(self, item: Item) -> None: ...

        def __call__(self, item: Item) -> None: ...

    def count(times: int, item: Item) -> None: ...

    for fn in (Till().charge, Till(), partial(count, 3)):
        assert b'[{"count":1,"price":"1.50","sku":"a"}]' == ArgumentsCodec.of(fn).encode((Item("a"),), {})


@given(a=plain, b=plain)
def test_arguments_without_annotations_are_plain_json(a: Any, b: Any) -> None:
    """They come back as JSON gives them."""
    codec = ArgumentsCodec.of(free)

    assert ((a, b), {}) == codec.decode(codec.encode((a, b), {}))


@given(st.lists(st.tuples(texts, st.integers()), min_size=1, max_size=5))
def test_a_learnt_short_cut_serves_other_values(calls: list[tuple[str, int]]) -> None:
    """Only classes are learnt, never values."""
    codec = ArgumentsCodec.of(charge)

    assert [(call, {}) for call in calls] == [codec.decode(codec.encode(call, {})) for call in calls]
