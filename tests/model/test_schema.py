"""JSON Schema of what the codec writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import jsonschema  # type: ignore[import-untyped]
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import PayloadError
from replay.model.codec import from_json, payload_codec, type_name
from replay.model.schema import schema_of
from tests.model.shapes import SHAPES, Address, Box, Circle, Color, Item, Pair, Square, Tree


@attrs.define
class City:
    """A place.

    More words.
    """

    name: Annotated[str, "its name in English"]
    people: int = 0
    color: Color = Color.RED
    founded: dt.date | None = None
    tags: set[str] = attrs.field(factory=set)


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"type": "integer"}, int),
        ({"type": "null"}, None),
        ({}, Any),
        ({"type": "array", "items": {"type": "string"}}, list[str]),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, set[int]),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
            tuple[int, str],
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, dict[str, int]),
        ({"type": "string", "format": "date-time"}, dt.datetime),
        ({"type": "string", "contentEncoding": "base64"}, bytes),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, int | None),
        ({"type": "string", "enum": ["a", "b"]}, Literal["a", "b"]),
        ({"const": 1}, Literal[1]),
        ({"type": "string", "description": "a name"}, Annotated[str, "a name"]),
        (
            {
                "$ref": "#/$defs/Box_int",
                "$defs": {
                    "Box_int": {
                        "title": "Box[int]",
                        "type": "object",
                        "properties": {"content": {"type": "integer"}},
                        "required": ["content"],
                    }
                },
            },
            Box[int],
        ),
    ],
)
def test_a_schema_describes_the_bytes(schema: dict[str, Any], annotation: Any) -> None:
    """In the words of JSON Schema."""
    assert schema == schema_of(annotation)


def test_a_class_stands_under_defs_with_docstring_and_defaults() -> None:
    """What a form or a model needs to know."""
    assert {
        "$ref": "#/$defs/City",
        "$defs": {
            "City": {
                "title": "City",
                "description": "A place.",
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "its name in English"},
                    "people": {"type": "integer", "default": 0},
                    "color": {"$ref": "#/$defs/Color", "default": "red"},
                    "founded": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
                    "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                },
                "required": ["name"],
            },
            "Color": {"title": "Color", "type": "string", "enum": ["red", "blue"]},
        },
    } == schema_of(City)


class Leaf(pydantic.BaseModel):
    """A model that contains itself."""

    name: str
    leaves: list[Leaf] = []


MORE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (list[Leaf], st.just([Leaf(name="a", leaves=[Leaf(name="b")])])),
    (City, st.builds(City, st.text(), tags=st.sets(st.text()))),
]


@pytest.mark.parametrize(("annotation", "values"), SHAPES + MORE, ids=[type_name(annotation) for annotation, _ in SHAPES + MORE])
@settings(max_examples=20)
@given(data=st.data())
def test_what_is_written_fits_its_schema(annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    """As another implementation of JSON Schema sees it."""
    schema = schema_of(annotation)
    jsonschema.Draft202012Validator.check_schema(schema)
    written = payload_codec(annotation).encode(data.draw(values), "value")

    jsonschema.validate(from_json(written), schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("annotation", "wrong"),
    [
        (Item, {}),
        (Item, {"sku": 5}),
        (Tree, {"name": "a", "children": [{}]}),
        (Address, {"zip": 1}),
        (Pair, ["x"]),
        (Color, "green"),
        (Circle | Square, {"radius": 1}),
        (Leaf, {"name": "a", "leaves": [{}]}),
        (dict[Color, int], {"green": 1}),
    ],
)
def test_what_does_not_fit_is_refused_by_the_schema(annotation: Any, wrong: object) -> None:
    """A schema that took everything would pass the test above."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of(annotation), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("annotation", [Callable[[int], str], object().__class__.__class__, list[Callable[..., Any]]])
def test_what_is_no_data_has_no_schema(annotation: Any) -> None:
    """It is refused, not described as anything."""
    with pytest.raises(PayloadError, match="a type that is data"):
        schema_of(annotation)
