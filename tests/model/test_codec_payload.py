"""Values to bytes and back, by annotation."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import attrs
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import DefinitionError, PayloadError
from replay.model.codec import payload_codec, register_type, type_name
from tests.model.shapes import (
    SHAPES,
    Address,
    Box,
    Cart,
    Circle,
    Color,
    Ended,
    Item,
    Labelled,
    Level,
    Pair,
    Point,
    Private,
    Shipment,
    Size,
    Square,
    Started,
    Tree,
    UserId,
    Weight,
    dicts,
    ints,
    lists,
)


def encode(annotation: Any, value: object) -> bytes:
    return payload_codec(annotation).encode(value, "value")


def decode(annotation: Any, data: bytes) -> Any:
    return payload_codec(annotation).decode(data, "value")


@pytest.mark.parametrize(("annotation", "values"), SHAPES, ids=[type_name(annotation) for annotation, _ in SHAPES])
@settings(max_examples=40)
@given(data=st.data())
def test_a_value_comes_back_as_it_was(annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    """Law 4: what was written is what is read, in the first run and in every replay."""
    value = data.draw(values)
    written = encode(annotation, value)
    read = decode(annotation, written)

    assert value == read
    assert type(value) is type(read) or annotation in (Any, object)  # whose 1.0 is 1
    assert written == encode(annotation, read)


Typed = tuple[Any, st.SearchStrategy[Any]]
LEAVES = [shape for shape in SHAPES if shape[0] in (int, str, float, bool, Item, Color, dt.datetime, Decimal)]


def nested(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Annotations built of annotations, each with values of it."""

    def both(left: Typed, right: Typed) -> Typed:
        return tuple.__class_getitem__((left[0], right[0])), st.tuples(left[1], right[1])

    return st.one_of(
        inner.map(lambda one: (list.__class_getitem__(one[0]), lists(one[1]))),
        inner.map(lambda one: (dict.__class_getitem__((str, one[0])), dicts(st.text(max_size=3), one[1]))),
        inner.map(lambda one: (one[0] | None, st.none() | one[1])),
        inner.map(lambda one: (Box.__class_getitem__(one[0]), st.builds(Box, one[1]))),  # type: ignore[attr-defined]
        st.builds(both, inner, inner),
    )


annotated_values = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=4)


@given(data=st.data())
def test_types_nest_as_one_likes(data: st.DataObject) -> None:
    """Containers, classes and Optionals compose."""
    annotation, values = data.draw(annotated_values)
    value = data.draw(values)
    written = encode(annotation, value)

    assert value == decode(annotation, written)
    assert written == encode(annotation, decode(annotation, written))


@pytest.mark.parametrize(
    ("spelling", "annotation", "value"),
    [
        (b'{"content":5}', Box[int], Box(5)),
        (b'{"content":[1],"label":"l"}', Labelled[int], Labelled([1], "l")),
        (b'{"_secret":2}', Private, Private(2)),
        (b'"2026-11-20T07:08:09.000000+00:00"', dt.datetime, dt.datetime(2026, 11, 20, 7, 8, 9, tzinfo=dt.UTC)),
        (b'"2026-11-20T07:08:09.000000"', dt.datetime, dt.datetime(2026, 11, 20, 7, 8, 9)),  # noqa: DTZ001 - naive stays naive
        (b'"P1DT2.5S"', dt.timedelta, dt.timedelta(days=1, seconds=2.5)),
        (b'"-PT0.000001S"', dt.timedelta, dt.timedelta(microseconds=-1)),
        (b'"1.10"', Decimal, Decimal("1.10")),
        (b'"AAE="', bytes, b"\0\1"),
        (b'["blue","red"]', set[Color], {Color.RED, Color.BLUE}),
        (b"[1,10,2]", set[int], {10, 2, 1}),
        (b'[1,"r"]', Pair, Pair(1)),
        (b'{"10":"b","9":"a"}', dict[int, str], {9: "a", 10: "b"}),
        (b"2", float, 2),
        (b'{"x":1,"tags":[],"y":0}', None, None),
        (b"1", Level, Level.LOW),
        (b'{"$type":"Circle","radius":1}', Circle | Square, Circle(1.0)),
        (b'{"at":1,"kind":"ended"}', Started | Ended, Ended(1)),
        (b'{"$type":"date","value":"2026-11-20"}', dt.date | str, dt.date(2026, 11, 20)),
        (b'"2026-11-20"', dt.date | str, "2026-11-20"),
        (b'{"$type":"list[int]","value":[1]}', list[int] | list[str], [1]),
        (b"[1]", list[int] | str, [1]),
    ],
)
def test_the_spelling_of_a_type_is_fixed(spelling: bytes, annotation: Any, value: object) -> None:
    """Journals are for ever, and other languages read them."""
    if annotation is None:
        annotation, value, spelling = Point, Point(1.0), b'{"tags":[],"x":1,"y":0}'

    assert spelling == encode(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "came", "value"),
    [
        (Any, [1, [2]], (1, (2,))),
        (float, 2.0, 2),
        (list[float], [1.0, 0.5], [1, 0.5]),
        (str, "s", Size.S),
        (str, "light", Weight.LIGHT),
        (int, 1, Level.LOW),
    ],
)
def test_a_value_comes_back_as_its_annotation_says(annotation: Any, came: object, value: object) -> None:
    """A tuple without annotation is a list, at once and after each crash."""
    read = decode(annotation, encode(annotation, value))

    assert came == read
    assert repr(came) == repr(read)


class Plain:
    """A class that is no data."""


@attrs.define
class Sub(Item):
    extra: int = 0


NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
ROUND = Cart([], notes={})
ROUND.notes["cart"] = ROUND.notes
LOOP = Tree("loop")
LOOP.children.append(LOOP)

MISFITS: list[tuple[Any, object, str, str]] = [
    (int, "5", "$", "int"),
    (int, True, "$", "int"),
    (int, 1.0, "$", "int"),
    (int, None, "$", "int"),
    (bool, 1, "$", "bool"),
    (str, 5, "$", "str"),
    (str, b"x", "$", "str"),
    (float, "1.0", "$", "float"),
    (float, True, "$", "float"),
    (float, 10**400, "$", "float"),
    (float, 2**53 + 1, "$", "float"),
    (float, float("inf"), "$", "a finite number"),
    (None, 0, "$", "None"),
    (str, "\ud800", "$", "valid Unicode"),
    (list[int], (1,), "$", "list[int]"),
    (list[int], [1, "2"], "$[1]", "int"),
    (list[str], "abc", "$", "list[str]"),
    (dict[str, int], {"a": 1, "b": "c"}, "$.b", "int"),
    (dict[str, int], {1: 1}, "$[1]", "str"),
    (dict[int, str], {"1": "a"}, "$['1']", "int"),
    (dict[str, list[int]], {"a b": [1, None]}, "$['a b'][1]", "int"),
    (int | str, 1.5, "$", "int | str"),
    (int | None, "x", "$", "int | None"),
    (tuple[int, str], (1, 2), "$[1]", "str"),
    (tuple[int, str], (1,), "$", "tuple[int, str]"),
    (tuple[int, ...], [1], "$", "tuple[int, ...]"),
    (set[int], {"x"}, "$[str 'x']", "int"),
    (set[int], [1], "$", "set[int]"),
    (set, {(1, (2, 3))}, "$", "set"),
    (dt.datetime, "2026-11-20T07:08:09", "$", "datetime"),
    (dt.date, dt.datetime(2026, 11, 20, tzinfo=dt.UTC), "$", "date"),
    (Decimal, 1.5, "$", "Decimal"),
    (uuid.UUID, "00000000-0000-0000-0000-000000000005", "$", "UUID"),
    (Path, "a/b", "$", "Path"),
    (bytes, "abc", "$", "bytes"),
    (Color, "red", "$", "Color ('red', 'blue')"),
    (Literal["a", 1], True, "$", "Literal['a', 1]"),
    (UserId, 5, "$", "str"),
    (Item, {"sku": "a"}, "$", "Item"),
    (Item, Sub("a"), "$", "Item"),
    (Item, Item("a", count="3"), "$.count", "int"),  # type: ignore[arg-type]
    (Cart, Cart([Item("a"), Item("b", price=1)]), "$.items[1].price", "Decimal"),  # type: ignore[arg-type]
    (Cart, Cart([], notes={"a": [Item("x")]}), "$.notes.a[0]", "plain JSON"),
    (Cart, Cart([], owner=5), "$.owner", "str | None"),  # type: ignore[arg-type]
    (Tree, Tree("a", [Tree("b"), Tree("c", [], Tree(None))]), "$.children[1].parent.name", "str"),  # type: ignore[arg-type]
    (Box[int], Box("x"), "$.content", "int"),
    (Labelled[int], Labelled([1, "x"], "l"), "$.content[1]", "int"),
    (Shipment, Shipment(at=NOON, parts={UserId("u"): [Point(1.0), Point("2")]}), "$.parts.u[1].x", "float"),  # type: ignore[arg-type]
    (Address, {"zip": 5}, "$.street", "str"),
    (Address, {"street": "s", "town": "t"}, "$", "the keys of Address (street, zip)"),
    (Address, {"street": "s", "zip": "5"}, "$.zip", "int"),
    (Pair, (1, "r"), "$", "Pair"),
    (Pair, Pair(1, 2), "$.right", "str"),  # type: ignore[arg-type]
    (Circle | Square, Item("a"), "$", "Circle | Square"),
    (Circle | str, Circle("x"), "$.radius", "float"),  # type: ignore[arg-type]
    (Any, Item("a"), "$", "plain JSON"),
    (Any, [Point(1.0)], "$[0]", "plain JSON"),
    (list, [dt.date(2026, 1, 1)], "$[0]", "plain JSON"),
    (Plain, Plain(), "$", "a type that is data, not Plain"),
    (Callable[[int], str], len, "$", "a type that is data, not Callable[[int], str]"),
    (Iterator[int], iter([1]), "$", "a type that is data, not Iterator[int]"),
    (list[threading.Thread], [threading.current_thread()], "$[0]", "a type that is data, not Thread"),
    (
        dict[int | str, int],
        {1: 1},
        "$[1]",
        "a type that is data, not a mapping with keys of int | str, of which some are text in JSON and some are not",
    ),
    (Cart, ROUND, "$.notes" + ".cart" * 23 + "…", "nesting of at most 100 levels"),
    (Tree, LOOP, "$", "nesting of at most 100 levels"),
]


@pytest.mark.parametrize(("annotation", "value", "path", "expected"), MISFITS)
def test_a_value_that_does_not_fit_is_refused_with_its_place(annotation: Any, value: object, path: str, expected: str) -> None:
    """Before anything runs, and never by silent coercion."""
    with pytest.raises(PayloadError) as caught:
        payload_codec(annotation).encode(value, "argument 'card' of charge")

    error = caught.value
    assert ("argument 'card' of charge", path, expected) == (error.where, error.path, error.expected)
    assert "" != error.got


UNREADABLE: list[tuple[Any, bytes, str, str]] = [
    (int, b"", "$", "JSON"),
    (int, b"01", "$", "JSON"),
    (int, b"1_0", "$", "JSON"),
    (int, b"1.0", "$", "int"),
    (int, b'"5"', "$", "int"),
    (int, b"true", "$", "int"),
    (int, b"\xff", "$", "JSON in UTF-8"),
    (int, b"9" * 5000, "$", "JSON"),
    (bool, b"1", "$", "bool"),
    (str, b"5", "$", "str"),
    (float, b'"1"', "$", "float"),
    (float, b"NaN", "$", "JSON"),
    (None, b"0", "$", "None"),
    (list[int], b'[1,"2"]', "$[1]", "int"),
    (list[int], b'{"0":1}', "$", "list[int]"),
    (dict[int, str], b'{"1.5":"a"}', "$['1.5']", "int"),
    (dict[int, str], b'{"x":"a"}', "$.x", "JSON"),
    (tuple[int, str], b"[1]", "$", "tuple[int, str]"),
    (set[int], b'[1,"x"]', "$[1]", "int"),
    (dt.datetime, b'"2026-11-20"', "$", "datetime"),
    (dt.datetime, b"5", "$", "datetime"),
    (dt.timedelta, b'"P"', "$", "timedelta"),
    (dt.timedelta, b'"1 day"', "$", "timedelta"),
    (Decimal, b'" 1"', "$", "Decimal"),
    (Decimal, b"1.5", "$", "Decimal"),
    (uuid.UUID, b'"{0}"', "$", "UUID"),
    (bytes, b'"a*"', "$", "bytes"),
    (Color, b'"green"', "$", "Color ('red', 'blue')"),
    (Color, b"[]", "$", "Color ('red', 'blue')"),
    (Level, b"true", "$", "Level (1, 2)"),
    (Literal[1], b"true", "$", "Literal[1]"),
    (Item, b"{}", "$.sku", "str"),
    (Item, b"[]", "$", "Item"),
    (Item, b'{"sku":"a","count":"3"}', "$.count", "int"),
    (Cart, b'{"items":[{"sku":"a"},{}]}', "$.items[1].sku", "str"),
    (Cart, b'{"items":[],"owner":5}', "$.owner", "str | None"),
    (Tree, b'{"name":"a","children":[{"name":1}]}', "$.children[0].name", "str"),
    (Address, b"{}", "$.street", "str"),
    (Pair, b"[]", "$", "Pair of 2 items"),
    (Pair, b'["x"]', "$.left", "int"),
    (Circle | Square, b'{"$type":"Oval"}', "$['$type']", "Circle | Square, tagged 'Circle', 'Square'"),
    (Circle | Square, b'{"$type":"Circle"}', "$.radius", "float"),
    (dt.date | str, b'{"$type":"date"}', "$.value", "date"),
    (dt.date | str, b'{"$type":"date","value":"x"}', "$.value", "date"),
    (Started | Ended, b'{"kind":"lost","at":1}', "$", "Started | Ended"),
]


@pytest.mark.parametrize(("annotation", "data", "path", "expected"), UNREADABLE)
def test_bytes_that_do_not_fit_are_refused_with_their_place(annotation: Any, data: bytes, path: str, expected: str) -> None:
    """Reading is as strict as writing."""
    with pytest.raises(PayloadError) as caught:
        payload_codec(annotation).decode(data, "result of charge")

    error = caught.value
    assert ("result of charge", path, expected) == (error.where, error.path, error.expected)


@given(st.sampled_from([annotation for annotation, _ in SHAPES]), st.sampled_from(SHAPES), st.data())
def test_bytes_of_another_type_are_read_or_refused(annotation: Any, other: tuple[Any, Any], data: st.DataObject) -> None:
    """No error but PayloadError, and what is read can be written."""
    written = encode(other[0], data.draw(other[1]))
    try:
        read = decode(annotation, written)
    except PayloadError:
        return
    assert read == decode(annotation, encode(annotation, read))


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default() -> None:
    """Old and new programs read each other's bytes."""
    assert Item("a") == decode(Item, b'{"sku":"a","colour":"red"}')
    assert {"street": "s"} == decode(Address, b'{"street":"s","town":"t"}')
    assert Pair(1) == decode(Pair, b"[1]")


def test_a_union_reads_what_was_written_before_it_was_one() -> None:
    """A class that joins later does not make old bytes unreadable."""
    assert Circle(2.0) == decode(Circle | Square, encode(Circle, Circle(2.0)))
    assert "2026-11-20" == decode(dt.date | str, encode(str, "2026-11-20"))
    assert [1] == decode(list[int] | set[int], encode(list[int], [1]))


@attrs.define
class Renamed:
    """Was called Disc."""

    __replay_tag__ = "Disc"
    radius: float


def test_a_class_names_its_own_tag() -> None:
    """So it can be renamed."""
    assert Renamed(1.0) == decode(Renamed | Square, b'{"$type":"Disc","radius":1}')


def split(text: str) -> list[str]:
    return text.split()


@attrs.define
class Wordy:
    words: list[str] = attrs.field(converter=split)


@dataclasses.dataclass
class Doubling:
    count: int

    def __post_init__(self) -> None:
        self.count *= 2


@pytest.mark.parametrize("value", [Wordy("a b"), Doubling(1)])
def test_a_class_that_changes_what_it_is_given_is_refused_when_written(value: object) -> None:
    """Rather than when it is read, after a crash."""
    with pytest.raises(PayloadError):
        encode(type(value), value)


@attrs.define
class Positive:
    count: int = attrs.field()

    @count.validator
    def _check(self, _: Any, value: int) -> None:
        if value < 1:
            raise ValueError("too few")


def test_a_validators_words_are_in_the_error() -> None:
    """The class says what is wrong, the error says where."""
    with pytest.raises(PayloadError, match=r"at \$\[1\].*the class refused: ValueError: too few"):
        decode(list[Positive], b'[{"count":1},{"count":0}]')


class Model(pydantic.BaseModel):
    """A model of pydantic's."""

    name: str
    at: dt.datetime
    tags: set[str] = set()
    parent: Model | None = None


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Names(pydantic.RootModel[list[str]]):
    pass


MODEL = Model(name="m", at=dt.datetime(2026, 11, 20, tzinfo=dt.UTC), tags={"a"}, parent=Model(name="p", at=NOON))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Model, MODEL),
        (list[Model], [MODEL]),
        (Box[Model], Box(MODEL)),
        (Model | Item, MODEL),
        (Model | str, "x"),
        (Names, Names(["a"])),
        (Names | Model, Names([])),
    ],
)
def test_a_pydantic_model_comes_back_as_it_was(annotation: Any, value: object) -> None:
    """Also inside other types and in unions."""
    assert value == decode(annotation, encode(annotation, value))


def test_a_pydantic_model_is_read_strictly() -> None:
    """Text is no number, and the place is named."""
    with pytest.raises(PayloadError) as caught:
        decode(list[Model], b'[{"name":5,"at":"2026-11-20T00:00:00Z"}]')

    assert "$[0].name" == caught.value.path


def test_a_pydantic_model_that_hides_data_is_refused() -> None:
    """A secret is written as stars, and stars do not come back as the secret."""
    with pytest.raises(PayloadError, match="survives a round trip"):
        encode(Secret, Secret(password=pydantic.SecretStr("x")))


class Celsius:
    """A class that the codec must be taught."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and self.degrees == other.degrees

    def __hash__(self) -> int:
        return hash(self.degrees)


def test_the_codec_can_be_taught_a_type() -> None:
    """With two functions."""
    register_type(Celsius, unstructure=lambda value: value.degrees, structure=Celsius)

    assert b"[21.5]" == encode(list[Celsius], [Celsius(21.5)])
    assert Celsius(3.0) == decode(Celsius | str, encode(Celsius | str, Celsius(3.0)))


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    """A type imported for type checkers only is unknown when it is needed."""
    local = attrs.make_class("Local", {"item": attrs.field(type="Nowhere")})  # type: ignore[call-overload]

    with pytest.raises(DefinitionError, match="Nowhere"):
        encode(local, local(1))


def test_a_local_class_may_contain_itself() -> None:
    """Its own name is known to it."""

    @attrs.define
    class Node:
        next: Node | None = None

    assert Node(Node()) == decode(Node, encode(Node, Node(Node())))


def test_plain_types_need_no_converter() -> None:
    """What reads classes is loaded when a class comes along."""
    script = (
        "import sys\n"
        "from replay.model.codec import ArgumentsCodec, payload_codec\n"
        "def f(a: int, b: str | None = None): ...\n"
        "ArgumentsCodec.of(f).decode(ArgumentsCodec.of(f).encode((1, 'x'), {}))\n"
        "payload_codec(list[dict[str, int]]).encode([{'a': 1}], '')\n"
        "print(sorted({'cattrs', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == run.stdout.strip()


@pytest.mark.parametrize(
    ("plain", "annotation"),
    [
        (True, int),
        (True, Any),
        (True, list[dict[str, int]]),
        (True, UserId),
        (True, int | None),
        (False, Item),
        (False, dict[int, str]),
        (False, list[Item]),
    ],
)
def test_a_codec_knows_whether_its_type_is_plain(plain: bool, annotation: Any) -> None:
    """Plain types skip the converter."""
    assert plain is payload_codec(annotation).plain


def test_lanes_and_converter_agree() -> None:
    """A short cut changes no byte: subclasses, which no lane takes, are spelt like what they are."""

    class Text(str):
        __slots__ = ()

    class Listed(list[Any]):
        pass

    class Kind(enum.IntEnum):
        ONE = 1

    for annotation, exact, odd in [
        (str, "é", Text("é")),
        (list[int], [1], Listed([1])),
        (int, 1, Kind.ONE),
        (Any, [1], Listed([1])),
    ]:
        assert encode(annotation, exact) == encode(annotation, odd)


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("int", int),
        ("None", None),
        ("int | None", int | None),
        ("dict[str, list[Item]]", dict[str, list[Item]]),
        ("Box[int]", Box[int]),
        ("Literal['a']", Literal["a"]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("tuple[()]", tuple[()]),
        ("Callable[[int], str]", Callable[[int], str]),
        ("UserId", UserId),
        ("Any", Any),
        ("Nowhere", "Nowhere"),
    ],
)
def test_an_annotation_has_a_readable_name(name: str, annotation: Any) -> None:
    """Errors are for people."""
    assert name == type_name(annotation)


@given(ints)
def test_ints_of_any_size_take_the_same_bytes(value: int) -> None:
    """The quick way for digits and the careful one agree."""
    assert str(value).encode() == encode(int, value)
    assert value == decode(int, b" %d" % value)
