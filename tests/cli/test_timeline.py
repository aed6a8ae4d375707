"""A journal as rows and bars."""

from __future__ import annotations

import pytest

from replay.cli.timeline import POINT, WAIT, WORK, Axis, Row, answer_of, rows
from replay.model import events
from replay.model.events import KINDS, Event

MS = 1_000


def event(seq: int, at: int, *, kind: str = events.STEP_COMPLETED, duration: int = 0, payload: bytes = b"null") -> Event:
    """An event that was recorded at a moment, after some work."""
    return Event(seq, kind, str(seq), "ship", at, payload, duration=duration)


def bars(journal: list[Event], width: int = 10, asked_at: dict[int, int] | None = None) -> list[str]:
    """The chart of a journal."""
    shown = rows(journal, asked_at or {})
    axis = Axis(shown, width)
    return [axis.bar(row) for row in shown]


def test_a_bar_ends_where_its_event_was_recorded_and_is_as_long_as_the_work() -> None:
    """Two steps one after the other."""
    journal = [event(1, 0, kind="started"), event(2, 500, duration=500), event(3, 1_000, duration=500)]

    assert [f"{POINT}         ", WORK * 5 + " " * 5, " " * 5 + WORK * 5] == bars(journal)


def test_parallel_work_lies_one_above_the_other() -> None:
    """Spans that overlap in time overlap on the chart."""
    assert [" " + WORK * 9, WORK * 8 + "  "] == bars([event(1, 1_000, duration=900), event(2, 800, duration=800)])


def test_what_was_waited_for_is_drawn_lightly_when_its_beginning_is_known() -> None:
    """A timer's beginning is not in the journal; driving the code tells."""
    journal = [event(1, 500, duration=500), event(2, 600, kind="timer_fired")]

    assert [" " * 9 + POINT, " " * 8 + WAIT * 2] == [bars(journal)[1], bars(journal, asked_at={2: 500})[1]]


def test_a_long_wait_leaves_room_for_the_work_beside_it() -> None:
    """A day's sleep between two steps of a millisecond."""
    day = 86_400_000_000
    journal = [event(1, MS, duration=MS), event(2, day, kind="timer_fired"), event(3, day + MS, duration=MS)]
    shown = rows(journal, {2: MS})
    axis = Axis(shown, 24)

    assert axis.is_cut
    assert [10, 4, 10] == [len(axis.bar(row).strip()) for row in shown]


def test_where_nothing_was_done_time_is_drawn_as_it_was() -> None:
    """Only timers: there is nothing to make room for."""
    journal = [event(1, 0, kind="started"), event(2, 100, kind="timer_fired"), event(3, 1_000, kind="timer_fired")]
    axis = Axis(rows(journal, {2: 0, 3: 100}), 10)

    assert not axis.is_cut
    assert [0, 1, 10] == [round(axis.column(moment)) for moment in (0, 100, 1_000)]


@pytest.mark.parametrize("width", [1, 3, 8, 50])
def test_every_bar_is_as_wide_as_the_chart(width: int) -> None:
    """Or the table would fray."""
    journal = [event(seq, seq * 7_919 % 4_001 + seq, duration=seq * 31 % 997) for seq in range(1, 60)]

    assert {width} == {len(bar) for bar in bars(sorted(journal, key=lambda one: one.at), width)}


def test_a_single_moment_is_a_chart_too() -> None:
    """A run that has only begun."""
    assert [POINT + " " * 4] == bars([event(1, 5, kind="started")], 5)


def test_deltas_are_from_event_to_event() -> None:
    """The first has none."""
    assert [0, 5, 10] == [row.delta for row in rows([event(1, 5), event(2, 10), event(3, 20)], {})]


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("step_completed", b'{"number":"r-1"}', '{"number": "r-1"}'),
        ("step_completed", b"null", "null"),
        ("timer_fired", b"null", ""),
        ("completed", b"null", ""),
        ("step_failed", b'{"type":"shop.Declined","message":"no\\nmore"}', "shop.Declined: no"),
        ("step_attempt_failed", b'{"type":"E","message":"m","retry_in":0.25}', "E: m; tried again after 0.25 s"),
        ("started", b'{"input":["a",1],"seed":"x"}', '"a", 1'),
        ("started", b'{"input":{"args":[1],"kwargs":{"k":null}}}', "1, k=null"),
        ("savepoint", b'{"notes":{"goal":"ship","questions":[]},"state":{"turn":3}}', 'state {"turn": 3}; goal "ship"'),
        ("savepoint", b'{"notes":{}}', ""),
        ("cancel_requested", b'{"reason":"enough"}', "enough"),
        ("update_received", b'{"id":"7","value":[1]}', "[1]"),
        ("signal_received", b"false", "false"),
        ("of-a-later-version", b"[1]", "[1]"),
        ("failed", b"\xff", '"\\\\xff"'),
    ],
)
def test_an_event_says_what_matters_on_one_line(kind: str, payload: bytes, expected: str) -> None:
    """Each kind in its own way, damaged payloads too."""
    assert expected == answer_of(event(1, 0, kind=kind, payload=payload))


def test_every_kind_has_its_own_look() -> None:
    """A kind that was added and forgotten here would be a question mark."""
    assert [] == [kind for kind in KINDS if Row(event(1, 0, kind=kind), 0, 0, is_work=False).look.mark == "?"]
