"""The clock of tests."""

from __future__ import annotations

from replay.testing import VirtualClock
from replay.testing.clock import NOON


def test_a_clock_stands_still() -> None:
    """Asked twice, either way, it answers the same."""
    clock = VirtualClock()

    assert [NOON] * 4 == [clock(), clock.now(), clock(), clock.now()]


def test_time_passes_when_it_is_told_to() -> None:
    """Down to microseconds, and the answer is the time from then on."""
    clock = VirtualClock(start=0)

    assert [1_500_000, 1_500_001] == [clock.advance(1.5), clock.advance(0.000001)]
    assert 1_500_001 == clock()


def test_a_clock_can_be_put_back() -> None:
    """By a span, or to a moment."""
    clock = VirtualClock(start=5_000_000)
    clock.advance(-2)
    back = clock()
    clock.set(1)

    assert (3_000_000, 1) == (back, clock())
