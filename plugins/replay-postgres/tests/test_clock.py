"""The server's clock, as it is told between two questions."""

from __future__ import annotations

from replay_postgres.clock import REFRESH, RETRY, STEP, ServerClock

from replay.hooks import StoreUnavailable
from replay.testing.clock import NOON, SECOND


class Times:
    """A monotonic clock and a server's, both moved by hand, microseconds."""

    def __init__(self) -> None:
        self.ticks = 0
        self.server = NOON
        self.questions = 0
        self.down = False
        self.delay = 0
        self.clock = ServerClock(self.ask, lambda: self.ticks)

    def ask(self) -> int:
        self.questions += 1
        if self.down:
            raise StoreUnavailable("here", "down")
        self.pass_time(self.delay)
        answer = self.server
        self.pass_time(self.delay)
        return answer

    def pass_time(self, microseconds: int) -> None:
        self.ticks += microseconds
        self.server += microseconds


def test_the_server_is_asked_once_in_a_while() -> None:
    """In between the monotonic clock carries its time on."""
    times = Times()
    told = []
    for _ in range(5):
        told.append(times.clock() - times.server)
        times.pass_time(REFRESH // 4)

    assert ([0] * 5, 2) == (told, times.questions)


def test_an_answer_counts_for_the_middle_of_the_waiting() -> None:
    """A slow network does not make the clock late."""
    times = Times()
    times.delay = SECOND

    assert times.clock() == times.server


def test_a_server_that_does_not_answer_does_not_stop_the_clock() -> None:
    """It is asked again after a second, not at each look."""
    times = Times()
    times.clock()
    times.down = True
    times.pass_time(REFRESH)

    told = [times.clock(), times.clock()]
    times.pass_time(RETRY)
    told.append(times.clock())

    assert ([NOON + REFRESH] * 2 + [NOON + REFRESH + RETRY], 3) == (told, times.questions)


def test_small_corrections_never_go_back() -> None:
    """The clock stands still until the server's has caught up."""
    times = Times()
    before = times.clock()
    times.server -= 300
    times.clock.measure()

    assert before == times.clock()
    times.pass_time(500)
    assert before + 200 == times.clock()


def test_a_server_whose_clock_was_put_back_is_believed() -> None:
    """An hour is no error of measurement."""
    times = Times()
    times.clock()
    times.server -= 3600 * SECOND
    times.clock.measure()

    assert NOON - 3600 * SECOND == times.clock()
    assert STEP < 3600 * SECOND


def test_what_is_heard_by_the_way_saves_a_question() -> None:
    """A worker that claims every second never asks."""
    times = Times()
    times.clock()
    for _ in range(100):
        times.pass_time(REFRESH // 2)
        times.clock.heard(times.ticks, times.server)
        assert times.server == times.clock()

    assert 1 == times.questions


def test_what_took_long_is_not_believed_while_something_better_is_known() -> None:
    """A claim that waited for a lock says little about the hour."""
    times = Times()
    times.clock()
    before = times.ticks
    times.pass_time(SECOND)
    times.clock.heard(before, times.server - SECOND)

    assert times.server == times.clock()
