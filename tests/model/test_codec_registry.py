"""Types change over the years, bytes in journals do not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from replay.errors import PayloadError
from replay.model.codec import payload_codec, upcaster


@attrs.define
class Money:
    """Version 1 was ``{"cents": 150}``, version 2 ``{"value": "1.50"}``, version 3 is this."""

    amount: Decimal
    currency: str


@attrs.define
class Order:
    lines: list[Money]


@upcaster(Money)
def cents_became_a_decimal(raw: Any) -> Any:
    if "cents" in raw:
        return {"value": str(Decimal(raw["cents"]) / 100)}
    return raw


@upcaster(Money)
def value_became_amount_with_a_currency(raw: Any) -> Any:
    if "value" in raw:
        return {"amount": raw["value"], "currency": "EUR"}
    return raw


@pytest.mark.parametrize(
    "data",
    [
        b'{"lines":[{"cents":150}]}',
        b'{"lines":[{"value":"1.5"}]}',
        b'{"lines":[{"amount":"1.5","currency":"EUR"}]}',
    ],
)
def test_bytes_of_every_version_are_read_as_todays_class(data: bytes) -> None:
    """A renamed and retyped field, over two versions, nested in a list."""
    assert Order([Money(Decimal("1.5"), "EUR")]) == payload_codec(Order).decode(data, "input")


def test_upcasting_does_not_change_what_is_written() -> None:
    """Only today's shape is written."""
    assert b'[{"amount":"1.5","currency":"EUR"}]' == payload_codec(list[Money]).encode([Money(Decimal("1.5"), "EUR")], "input")


@attrs.define
class Broken:
    x: int


def test_an_upcaster_that_fails_is_named() -> None:
    """With the place of the value that it choked on."""

    @upcaster(Broken)
    def choke(raw: Any) -> Any:
        return raw["old"]

    with pytest.raises(PayloadError, match=r"at \$\[0\].*choke raised KeyError: 'old'"):
        payload_codec(list[Broken]).decode(b'[{"x":1}]', "input")


@attrs.define
class Impatient:
    x: int


def test_an_upcaster_that_changes_current_shapes_is_refused_when_writing() -> None:
    """Else every replay would see another value."""

    @upcaster(Impatient)
    def add_one(raw: Any) -> Any:
        return {"x": raw["x"] + 1}

    with pytest.raises(PayloadError, match="survives a round trip"):
        payload_codec(Impatient).encode(Impatient(1), "input")
