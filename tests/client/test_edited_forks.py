"""A fork of an edited past goes on from that past, not from what was written down in the old one."""

from __future__ import annotations

import attrs
import pytest

from replay import Client, Engine, PayloadError, Workflow, savepoint, signal, step, workflow
from replay.model.codec import from_json
from tests.helpers.engines import PATIENCE, OpenEngine


@attrs.frozen
class Sum:
    """How far a sum has come."""

    number: int = 0
    total: int = 0


@step
def square_of(number: int) -> int:
    """What a number is worth."""
    return number * number


@workflow
def adding_squares(numbers: int, state: Sum | None = None) -> Workflow[int]:
    at = state or Sum()
    while at.number < numbers:
        at = Sum(at.number + 1, at.total + (yield from square_of(at.number)))
        yield from savepoint(f"after {at.number}", state=at, goal=f"total {at.total}")
    return at.total


def test_an_edit_before_a_savepoint_with_state_counts(engine: Engine) -> None:
    """The savepoint is taken again: its state and its notes are those of the edited past."""
    source = engine.start(adding_squares(4), id="source")
    assert 14 == source.result(PATIENCE)

    fork = source.fork("after 2", id="fork", edit={2: 1000})

    assert 1014 == fork.result(PATIENCE)
    assert [1000, 1001] == [from_json(event.payload)["state"]["total"] for event in fork.journal()[2:5:2]]
    assert "total 1001" == fork.savepoints()[1].notes["goal"]
    assert 14 == source.result(PATIENCE)
    assert fork.replay().fits


def test_an_edit_survives_a_recovery_from_the_savepoint(store_url: str, open_engine: OpenEngine) -> None:
    """A worker that begins at the fork's savepoint goes on with the edited state."""
    first = open_engine()
    assert 14 == first.start(adding_squares(4), id="source").result(PATIENCE)
    first.drain()
    with Client(store_url) as client:
        fork = client.get("source", adding_squares).fork("after 3", id="fork", edit={4: 500})
        assert 7 == fork.about().base

    assert 0 + 500 + 4 + 9 == open_engine().get("fork", adding_squares).result(PATIENCE)


@workflow(signals={"more": Sum})
def adding_what_is_said() -> Workflow[int]:
    return (yield from signal("more", Sum)).total


def test_an_edited_signal_is_of_the_declared_type(engine: Engine) -> None:
    """As it would have been when it was sent; what does not fit makes no fork."""
    source = engine.start(adding_what_is_said(), id="source")
    source.signal("more", Sum(total=3))
    assert 3 == source.result(PATIENCE)

    assert 40 == source.fork(id="fork", edit={2: Sum(total=40)}).result(PATIENCE)
    with pytest.raises(PayloadError, match="new answer of event #2: expected Sum"):
        _ = source.fork(id="wrong", edit={2: "forty"})
