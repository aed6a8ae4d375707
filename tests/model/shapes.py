"""Types for the codec's tests, and strategies for values of them."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import attrs
from hypothesis import strategies as st

T = TypeVar("T")
Amount = TypeVar("Amount", bound=Decimal)
UserId = NewType("UserId", str)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    S = "s"
    L = "l"


class Weight(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    LIGHT = "light"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(enum.Enum):
    """Values that are no scalars: spelt by name."""

    HOME = (0, 0)
    AWAY = (1, 5)


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Item:
    """One line of a cart.

    A second paragraph.
    """

    sku: str
    count: int = 1
    price: Decimal = Decimal("1.50")


@attrs.define
class Cart:
    items: list[Item]
    owner: str | None = None
    notes: dict[str, Any] = attrs.field(factory=dict)


@attrs.define
class Tree:
    """A class that contains itself."""

    name: str
    children: list[Tree] = attrs.field(factory=list)
    parent: Tree | None = None


@attrs.define
class Box(Generic[T]):
    content: T


@attrs.define
class Labelled(Box[list[T]], Generic[T]):
    label: str


@attrs.define
class Wallet(Generic[Amount]):
    amount: Amount


@attrs.define
class Private:
    _secret: int
    doubled: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.doubled = 2 * self._secret


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(kw_only=True)
class Shipment:
    at: dt.datetime
    parts: dict[UserId, list[Point]]


class Address(TypedDict):
    street: str
    zip: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str = "r"


@attrs.define
class Circle:
    radius: float


@attrs.define
class Square:
    side: float


@attrs.define
class Started:
    at: int
    kind: Literal["started"] = "started"


@attrs.define
class Ended:
    at: int
    kind: Literal["ended"] = "ended"


texts = st.text(max_size=8)
ints = st.integers() | st.sampled_from([0, -1, 2**53, -(2**63), 10**40])
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | ints | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets) | st.datetimes()
decimals = st.decimals(allow_nan=False) | st.sampled_from([Decimal("1.10"), Decimal("1E+400"), Decimal("-0")])
items = st.builds(Item, texts, ints, decimals)
points = st.builds(Point, floats, floats, st.lists(texts, max_size=2).map(tuple))
trees = st.recursive(
    st.builds(Tree, texts), lambda inner: st.builds(Tree, texts, st.lists(inner, max_size=2), st.none() | inner), max_leaves=4
)


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(inner, max_size=4)


def dicts(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    return st.dictionaries(keys, values, max_size=4)


# Annotation and values of it: every value must come back equal, and as an instance of the same class.
SHAPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, ints),
    (str, texts),
    (float, floats),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, plain),
    (object, plain),
    (list, lists(plain)),
    (dict, dicts(texts, plain)),
    (list[int], lists(ints)),
    (list[float], lists(floats)),
    (list[dict[str, Any]], lists(dicts(texts, plain))),
    (dict[str, list[str]], dicts(texts, lists(texts))),
    (Sequence[int], lists(ints)),
    (Mapping[str, int], dicts(texts, ints)),
    (int | None, st.none() | ints),
    (int | str | None, st.none() | ints | texts),
    (bool | int | str, st.booleans() | ints | texts),
    (list[int | None], lists(st.none() | ints)),
    (float | str, floats | texts),
    (dt.datetime, moments),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas()),
    (Decimal, decimals),
    (uuid.UUID, st.uuids()),
    (bytes, st.binary(max_size=8)),
    (bytearray, st.binary(max_size=8).map(bytearray)),
    (Path, texts.filter(lambda text: "\0" not in text).map(Path)),
    (PurePosixPath, texts.map(PurePosixPath)),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Weight, st.sampled_from(Weight)),
    (Level, st.sampled_from(Level)),
    (Place, st.sampled_from(Place)),
    (Right, st.sampled_from([Right(0), Right.READ, Right.READ | Right.WRITE])),
    (Literal["a", 1, True], st.sampled_from(["a", 1, True])),
    (Literal[Color.RED], st.just(Color.RED)),
    (UserId, texts),
    (Annotated[bytes | int, {"least": 0}], st.binary() | ints),
    (dict[str, Annotated[bytes, {"least": 0}]], dicts(texts, st.binary())),
    (set[int], st.sets(ints, max_size=4)),
    (frozenset[str], st.frozensets(texts, max_size=4)),
    (AbstractSet[Color], st.frozensets(st.sampled_from(Color))),
    (set[tuple[int, str]], st.sets(st.tuples(ints, texts), max_size=4)),
    (tuple[int, str], st.tuples(ints, texts)),
    (tuple[Item, ...], lists(items).map(tuple)),
    (tuple[()], st.just(())),
    (tuple, lists(ints).map(tuple)),
    (collections.deque[int], lists(ints).map(collections.deque)),
    (collections.Counter[str], lists(texts).map(collections.Counter)),
    (dict[int, str], dicts(ints, texts)),
    (dict[Color, int], dicts(st.sampled_from(Color), ints)),
    (dict[uuid.UUID, list[int]], dicts(st.uuids(), lists(ints))),
    (dict[tuple[int, int], str], dicts(st.tuples(ints, ints), texts)),
    (dict[bool, int], dicts(st.booleans(), ints)),
    (dict[Item, int], dicts(items, ints)),
    (Item, items),
    (Cart, st.builds(Cart, lists(items), st.none() | texts, dicts(texts, plain))),
    (list[Item], lists(items)),
    (Tree, trees),
    (Private, st.builds(Private, ints)),
    (Box[int], st.builds(Box, ints)),
    (Box[list[Point]], st.builds(Box, lists(points))),
    (Labelled[int], st.builds(Labelled, lists(ints), texts)),
    (Wallet, st.builds(Wallet, decimals)),
    (Box, st.builds(Box, plain)),
    (Point, points),
    (Shipment, st.builds(Shipment, at=moments, parts=dicts(texts, lists(points)))),
    (Address, st.fixed_dictionaries({"street": texts}, optional={"zip": ints})),
    (Pair, st.builds(Pair, ints, texts)),
    (Item | None, st.none() | items),
    (Circle | Square, st.builds(Circle, floats) | st.builds(Square, floats)),
    (Started | Ended | None, st.none() | st.builds(Started, ints) | st.builds(Ended, ints)),
    (Item | str, items | texts),
    (Item | dict[str, int] | list[int], items | dicts(texts, ints) | lists(ints)),
    (dt.datetime | str, moments | texts),
    (dt.datetime | dt.date, moments | st.dates()),
    (Decimal | int | str, decimals | ints | texts),
    (Color | str, st.sampled_from(Color) | texts),
    (Size | str, st.sampled_from(Size) | texts),
    (Literal["never"] | dt.datetime, st.just("never") | moments),
    (list[int] | set[int] | tuple[int, str], lists(ints) | st.sets(ints) | st.tuples(ints, texts)),
    (
        Pair | Point | Address | bytes | None,
        st.builds(Pair, ints) | points | st.binary() | st.just({"street": "s"}) | st.none(),
    ),
    (list[Circle | None] | Box[Item | str], lists(st.none() | st.builds(Circle, floats)) | st.builds(Box, items | texts)),
]
