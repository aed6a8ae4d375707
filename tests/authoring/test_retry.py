"""Retry: when to try again, as plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import Cancelled, Retry
from replay.model.retry import ONCE


def test_delays_grow_by_the_factor_up_to_the_cap() -> None:
    """Exponential back-off."""
    retry = Retry(max_attempts=9, initial=0.5, factor=2, max_delay=5, jitter=0)

    assert [0.5, 1.0, 2.0, 4.0, 5.0, 5.0] == [retry.delay(attempt, chance=0.9) for attempt in range(1, 7)]


def test_jitter_takes_away_up_to_its_fraction() -> None:
    """By chance, which is an argument."""
    retry = Retry(initial=10, jitter=0.5)

    assert (10, 7.5, 5) == tuple(retry.delay(1, chance=chance) for chance in (0, 0.5, 1))


def test_full_jitter_may_take_it_all() -> None:
    """But never more."""
    assert 0 == Retry(initial=10, jitter=1).delay(1, chance=1)


@given(
    attempt=st.integers(1, 10**6),
    initial=st.floats(0, 1e6),
    factor=st.floats(0, 1e3),
    cap=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
)
def test_a_delay_lies_between_nought_and_the_cap(
    attempt: int, initial: float, factor: float, cap: float, jitter: float, chance: float
) -> None:
    """Whatever the numbers are, also where a power overflows."""
    retry = Retry(initial=initial, factor=factor, max_delay=cap, jitter=jitter)

    assert 0 <= retry.delay(attempt, chance=chance) <= cap


def test_no_pause_stays_no_pause_however_often_it_failed() -> None:
    """Nought times anything is nought, also when the factor has overflowed."""
    assert 0 == Retry(initial=0, max_attempts=10**6).delay(5_000, chance=0)


def test_attempts_are_counted_in_all() -> None:
    """Three attempts are two retries."""
    retry = Retry(max_attempts=3)

    assert [True, True, False, False] == [retry.allows(ValueError(), attempt) for attempt in (1, 2, 3, 4)]


def test_once_is_never_again() -> None:
    """The default of steps."""
    assert not ONCE.allows(ValueError(), 1)


@pytest.mark.parametrize(
    ("error", "again"),
    [(ValueError(), True), (UnicodeError(), False), (KeyError(), False), (OSError(), False)],
)
def test_only_errors_of_the_named_kinds_are_worth_another_attempt(error: Exception, again: bool) -> None:
    """And ``give_up_on`` is stronger than ``retry_on``."""
    retry = Retry(max_attempts=3, retry_on=[ValueError], give_up_on=[UnicodeError])

    assert again is retry.allows(error, 1)


def test_what_is_no_exception_is_not_tried_again() -> None:
    """Cancelled and the interpreter's own ends."""
    retry = Retry(max_attempts=3)

    assert [False, False] == [retry.allows(error, 1) for error in (Cancelled(), KeyboardInterrupt())]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "Retry.max_attempts must be a whole number from 1 up, got 0"),
        ({"max_attempts": 2.5}, "Retry.max_attempts must be a whole number from 1 up, got 2.5"),
        ({"max_attempts": "3"}, "Retry.max_attempts must be a whole number from 1 up, got '3'"),
        ({"initial": -1}, "Retry.initial must be a number from 0 up, got -1"),
        ({"initial": float("inf")}, "Retry.initial must be a number from 0 up, got inf"),
        ({"initial": "1"}, "Retry.initial must be a number from 0 up, got '1'"),
        ({"factor": -0.1}, "Retry.factor must be a number from 0 up"),
        ({"max_delay": float("nan")}, "Retry.max_delay must be a number from 0 up, got nan"),
        ({"jitter": -0.1}, "Retry.jitter must be from 0 to 1, got -0.1"),
        ({"jitter": 1.5}, "Retry.jitter must be from 0 to 1, got 1.5"),
        ({"retry_on": ["ValueError"]}, r"Retry.retry_on must be exception classes, such as \[OSError\], got 'ValueError'"),
        ({"give_up_on": [int]}, "Retry.give_up_on must be exception classes"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_where_it_is_written(settings: dict[str, Any], message: str) -> None:
    """Naming the field."""
    with pytest.raises(ValueError, match=message):
        Retry(**settings)


def test_one_class_need_not_be_a_list() -> None:
    """What everyone writes first."""
    assert (OSError,) == Retry(retry_on=OSError).retry_on


def test_a_policy_is_a_value() -> None:
    """Equal where its fields are, and frozen."""
    assert Retry(max_attempts=3) == Retry()
    assert hash(Retry()) == hash(Retry(max_attempts=3))
