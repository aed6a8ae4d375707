"""A failure as a fact: what is kept of an exception, and how it comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import Cancelled, StepFailed, TimedOut
from replay.model.codec import from_json
from replay.model.failure import MESSAGE_LIMIT, TRACEBACK_LIMIT, Failure, cancelled_payload, qualified, type_of


class Declined(Exception):
    pass


@attrs.define
class Detailed(Exception):
    code: int
    reasons: list[str]


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Picky(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(["unknown", "declined"][code])


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_failure_names_class_message_and_traceback() -> None:
    """Of an exception that was raised."""
    failure = Failure.of(raised(Declined("no money")), attempts=3)

    assert (f"{__name__}.Declined", "no money", 3, ["no money"]) == (failure.type, failure.message, failure.attempts, failure.args)
    assert "in raised" in failure.traceback


def test_built_in_classes_are_named_without_their_module() -> None:
    """As people write them."""
    assert ["ValueError", "replay.errors.TimedOut", f"{__name__}.Declined"] == [
        type_of(ValueError()), qualified(TimedOut), type_of(Declined()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [Declined("a", 1, None), Detailed(3, ["x"]), TimedOut("step", 2.5), StepFailed("s", "t", "m"), ValueError(), KeyError("k")],
    ids=type_of,
)
def test_an_exception_comes_back_as_itself_where_its_class_is_named(error: Exception) -> None:
    """With its arguments, through bytes."""
    back = Failure.decode(Failure.of(error).encode()).revive([LookupError, type(error)])

    assert type(error) is type(back)
    assert back is not None
    assert (error.args, str(error)) == (back.args, str(back))


def test_a_class_that_is_not_named_does_not_come_back() -> None:
    """Nor does a base class of it count; nothing is imported."""
    failure = Failure.of(Declined("x"))

    assert failure.revive([]) is None
    assert failure.revive([Exception, ValueError]) is None


def test_one_that_does_not_take_its_arguments_back_stays_data() -> None:
    """Whatever its constructor raises."""
    assert Failure.of(Picky(1)).revive([Picky]) is None
    assert Failure(type=f"{__name__}.Declined", message="no arguments known").revive([Declined]) is None


def test_arguments_that_are_no_data_are_left_out() -> None:
    """The message is kept."""
    failure = Failure.of(Declined(Path("/x"), object()))

    assert failure.args is None
    assert "Path" in failure.message


def test_the_traceback_of_a_step_is_kept_once() -> None:
    """Of a workflow that a step's failure ended: in the failure's traceback, not among its arguments too."""
    kept = Failure.of(StepFailed("charge", "ValueError", "no", 3, "Traceback: a long one"))

    assert ["charge", "ValueError", "no", 3] == kept.args


def test_a_huge_failure_makes_no_huge_journal() -> None:
    """Message, traceback and arguments are bounded."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise Declined("x" * 100_000)

    with pytest.raises(Declined) as caught:
        deep(500)
    failure = Failure.of(caught.value)

    assert (MESSAGE_LIMIT, None) == (len(failure.message), failure.args)
    assert len(failure.traceback) <= TRACEBACK_LIMIT
    assert len(failure.encode()) < 4 * (MESSAGE_LIMIT + TRACEBACK_LIMIT)


def test_an_exception_that_cannot_be_printed_is_named() -> None:
    """An error about an error helps nobody."""
    failure = Failure.of(raised(Shy()))

    assert "<unprintable, str raised RuntimeError>" == failure.message
    assert f"{__name__}.Shy" == failure.type


def test_text_that_utf_8_cannot_spell_is_made_to_fit() -> None:
    """An undecodable file name in a message must not lose the failure."""
    failure = Failure.of(OSError("no file \udcff"))

    assert "no file ?" == failure.message
    assert failure == Failure.decode(failure.encode())


@given(st.text(), st.text(), st.integers(1, 99), st.text(), st.none() | st.lists(st.text(), max_size=2))
def test_a_failure_comes_back_from_its_bytes(kind: str, message: str, attempts: int, trace: str, args: list[Any] | None) -> None:
    """Field by field."""
    failure = Failure(type=kind, message=message, attempts=attempts, traceback=trace, args=args)

    assert failure == Failure.decode(failure.encode())


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"retry_in":1}', b"null", b"[]", b'"text"'])
def test_what_is_missing_has_its_default(payload: bytes) -> None:
    """Another writer left it out."""
    assert Failure(type="Exception", message="") == Failure.decode(payload)


def test_a_cancellation_keeps_its_reason() -> None:
    """Bounded, and spellable."""
    assert {"reason": "enough ?"} == from_json(cancelled_payload(Cancelled("enough \ud800")))
    assert MESSAGE_LIMIT == len(from_json(cancelled_payload(Cancelled("x" * 100_000)))["reason"])
