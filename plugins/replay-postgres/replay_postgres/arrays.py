"""Columns of a batch on their way to the server: each is one parameter, a PostgreSQL array in its binary form.

Rule 1: a batch of n rows is as many parameters as a row has columns, so the statement is the same for every n, and is prepared once.
Rule 2: every array and every number has one type on the wire, whatever its values: psycopg would choose the smallest that fits, and
the server would prepare the statement again for each mixture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
from psycopg.adapt import Dumper
from psycopg.pq import Format

HEAD: Final = struct.Struct(">iiiii")
EMPTY: Final = struct.Struct(">iii")
NULL: Final = b"\xff\xff\xff\xff"
INT8, TEXT, BYTEA = 20, 25, 17


class Longs(list[int | None]):
    """A column of numbers."""


class Texts(list[str | None]):
    """A column of texts."""


class Names(Texts):
    """Texts to look for: no batch, however many they are."""


class Octets(list[bytes | None]):
    """A column of bytes."""


class LongsDumper(Dumper):
    """Numbers as ``int8[]``."""

    format = Format.BINARY
    oid = 1016

    def dump(self, obj: Longs) -> bytes:
        """The array's binary form.

        Raises:
            OverflowError: A number needs more than 64 bits.
        """
        try:
            return framed(INT8, obj, [struct.pack(">" + "iq" * len(obj), *[part for value in obj for part in (8, value)])])
        except struct.error:
            parts = [NULL if value is None else b"\0\0\0\x08" + value.to_bytes(8, "big", signed=True) for value in obj]
            return framed(INT8, obj, parts)


class TextsDumper(Dumper):
    """Texts as ``text[]``."""

    format = Format.BINARY
    oid = 1009

    def dump(self, obj: Texts) -> bytes:
        """The array's binary form.

        Raises:
            UnicodeEncodeError: A text has half a surrogate pair.
        """
        return framed(TEXT, obj, sized([None if value is None else value.encode() for value in obj]))


class OctetsDumper(Dumper):
    """Bytes as ``bytea[]``."""

    format = Format.BINARY
    oid = 1001

    def dump(self, obj: Octets) -> bytes:
        """The array's binary form."""
        return framed(BYTEA, obj, sized(obj))


def framed(oid: int, values: Sequence[Any], parts: Iterable[bytes]) -> bytes:
    """An array of one dimension."""
    if not values:
        return EMPTY.pack(0, 0, oid)
    return HEAD.pack(1, 1, oid, len(values), 1) + b"".join(parts)


def sized(values: Iterable[bytes | None]) -> list[bytes]:
    """Each value behind its length."""
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(NULL)
        else:
            parts += (len(value).to_bytes(4, "big"), value)
    return parts


COLUMNS: Final[dict[type[Any], type[Dumper]]] = {Longs: LongsDumper, Texts: TextsDumper, Octets: OctetsDumper}
DUMPERS: Final[dict[type[Any], type[Dumper]]] = {**COLUMNS, Names: TextsDumper}
KINDS: Final[dict[str, tuple[type[Any], str]]] = {
    "number": (Longs, "int8"),
    "text": (Texts, "text"),
    "octets": (Octets, "bytea"),
}


@attrs.frozen
class Shape:
    """The columns of a batch, as a statement reads them.

    Attributes:
        alias: What the statement calls the batch.
        columns: Name and kind of each, as ``name:kind`` separated by blanks; a name alone is a text.
    """

    alias: str
    columns: str

    def __add__(self, more: str) -> Shape:
        return Shape(self.alias, f"{self.columns} {more}")

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.partition(":")[0] for column in self.columns.split()]

    @property
    def kinds(self) -> list[tuple[type[Any], str]]:
        """For each column, what it is here and what it is there."""
        return [KINDS[column.partition(":")[2] or "text"] for column in self.columns.split()]

    def sql(self, first: int) -> str:
        """The batch as a table, whose columns are the parameters from ``$first`` on."""
        parameters = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(self.kinds, first))
        names = ", ".join(f'"{name}"' for name in self.names)
        return f"unnest({parameters}) AS {self.alias}({names})"

    def parameters(self, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Rows, turned into columns."""
        kinds = self.kinds
        if not rows:
            return [column() for column, _ in kinds]
        return [column(values) for (column, _), values in zip(kinds, zip(*rows, strict=True), strict=True)]
