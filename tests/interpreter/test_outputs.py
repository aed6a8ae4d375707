"""Outputs: what a run tells the world, once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from replay import (
    Effect,
    EffectError,
    PayloadError,
    Workflow,
    annotate,
    gather,
    log,
    publish,
    savepoint,
    send_signal,
    set_state,
    set_tags,
    signal,
    spawn,
    workflow,
)
from replay.interpreter.issue import position
from tests.interpreter.world import World, double


def test_outputs_are_said_by_the_event_that_led_to_them() -> None:
    """Answered at once, numbered per fiber, and taking no command number."""

    @workflow
    def talkative() -> Workflow[None]:
        yield from publish("news", {"n": 1})
        yield from double(1)
        yield from send_signal("other", "ping", [2])
        yield from set_state("at", None)
        yield from double(2)

    world = World(talkative())
    assert [("o0", "publish", "news", "", {"n": 1})] == world.said

    world.answer("0", 2)
    assert [("o1", "send_signal", "other", "ping", [2]), ("o2", "set_state", "at", "", None)] == world.said
    assert ["1 step double(2)"] == world.pending

    world.answer("1", 4)
    assert [] == world.said


def test_each_kind_of_output_has_its_own_shape() -> None:
    """Target, label and value."""

    @workflow
    def all_of_them() -> Workflow[list[Any]]:
        effects: list[Effect[Any]] = [
            send_signal("run-2", "ping"),
            publish("topic", 0),
            set_state("key", ""),
            set_tags(size="L", color=3),  # type: ignore[arg-type]
            annotate("a note", who="me"),
            log("a line", level="warning", n=1),
        ]
        answers: list[Any] = []
        for effect in effects:
            answers.append((yield from effect))  # noqa: PERF401 - a comprehension cannot yield
        return answers

    world = World(all_of_them())

    assert [None] * 6 == world.result
    assert [
        ("o0", "send_signal", "run-2", "ping", None),
        ("o1", "publish", "topic", "", 0),
        ("o2", "set_state", "key", "", ""),
        ("o3", "set_tags", "", "", {"color": "3", "size": "L"}),
        ("o4", "annotate", "", "a note", {"who": "me"}),
        ("o5", "log", "warning", "a line", {"n": 1}),
    ] == world.said


def test_outputs_of_a_branch_are_numbered_in_that_branch() -> None:
    """A change in one branch does not renumber another's messages."""

    def branch(name: str) -> Workflow[None]:
        yield from publish("news", f"{name} begins")
        yield from double(1)
        yield from publish("news", f"{name} ends")

    @workflow
    def both() -> Workflow[None]:
        yield from gather(branch("a"), branch("b"))
        yield from publish("news", "over")

    world = World(both())
    assert [("0/0/o0", "a begins"), ("0/1/o0", "b begins")] == [(each[0], each[4]) for each in world.said]

    world.answer("0/1/0", 2)
    assert [("0/1/o1", "b ends")] == [(each[0], each[4]) for each in world.said]

    world.answer("0/0/0", 2)
    assert [("0/0/o1", "a ends"), ("o0", "over")] == [(each[0], each[4]) for each in world.said]


def test_outputs_come_in_the_order_in_which_fibers_run() -> None:
    """One queue decides everything."""

    def branch(name: str) -> Workflow[None]:
        yield from publish("news", name)

    @workflow
    def crowd() -> Workflow[None]:
        yield from spawn(branch("a"))
        yield from publish("news", "root")
        yield from gather(branch("b"), branch("c"))

    assert ["root", "a", "b", "c"] == [each[4] for each in World(crowd()).said]


def test_an_output_with_what_is_no_data_is_refused_at_its_line() -> None:
    """Before it is yielded."""
    makers: list[Callable[[], Any]] = [
        lambda: publish("t", object()),
        lambda: send_signal("r", "n", {object()}),
        lambda: set_state("k", double),
        lambda: annotate("t", x=1j),
        lambda: log("t", x=object()),
        lambda: savepoint("t", x={object()}),
    ]
    for make in makers:
        with pytest.raises(PayloadError):
            make()


def test_fields_of_a_note_may_be_any_data() -> None:
    """Each is spelt by its class, as ``set_state`` does; so are a savepoint's."""
    fields: dict[str, Any] = {"due": date(2024, 5, 1), "cents": Decimal("1.50"), "plain": [1]}
    spelt = b'{"cents":"1.50","due":"2024-05-01","plain":[1]}'

    assert [spelt] * 2 == [effect.payload for effect in (annotate("t", **fields), log("t", **fields))]  # type: ignore[attr-defined]
    assert spelt == savepoint("t", **fields).notes  # type: ignore[attr-defined]


def test_an_output_that_is_no_plain_json_is_spelt_by_its_class() -> None:
    """As a client spells what it sends; there is no annotation to go by."""
    assert [b'"1.50"', b'"2024-05-01"'] == [
        effect.payload  # type: ignore[attr-defined]  # outputs have one
        for effect in (send_signal("r", "n", Decimal("1.50")), set_state("k", date(2024, 5, 1)))
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: publish("~log:a", 1), "topic '~log:a', which begins with a tilde as those of replay do; choose another name"),
        (lambda: publish("", 1), "topic str '' is no name; use 1 to 512 printable characters"),
        (lambda: send_signal("", "n"), "run id str '' is no name"),
        (lambda: send_signal("r", "a\x00b"), r"signal str 'a\\x00b' is no name"),
        (lambda: set_state("x" * 513, 1), "key of set_state str 'x+… .515 characters. is no name"),
        (lambda: set_tags(**{"\ud800": "x"}), "tag str .* is no name"),
        (lambda: signal("", int), "signal str '' is no name"),
        (lambda: savepoint("a\nb"), r"savepoint str 'a\\nb' is no name"),
    ],
)
def test_an_output_to_what_has_no_name_is_refused_at_its_line(make: Callable[[], Any], message: str) -> None:
    """A store could not keep it, or another would mistake it."""
    with pytest.raises(EffectError, match=message):
        make()


def test_a_messages_id_is_made_of_run_and_place() -> None:
    """Sending twice is sending once; a later journal of the same run is another sender."""

    @workflow
    def sending() -> Workflow[None]:
        yield from send_signal("other", "ping")
        yield from double(1)

    assert "r:o0" == position(World(sending(), run="r").machine, "o0", ":")
    assert "r~3:o0" == position(World(sending(), run="r", chain=3).machine, "o0", ":")


def test_replaying_says_the_same_again() -> None:
    """The engine knows what has been said; the interpreter does not."""

    @workflow
    def talkative() -> Workflow[None]:
        for n in range(3):
            yield from publish("news", n)
            yield from double(n)

    world = World(talkative()).answer("0", 0).answer("1", 2)

    assert ["o0", "o1", "o2"] == [identity for identity, _ in world.again().outputs]
