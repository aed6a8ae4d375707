"""The functions that build effects: what they refuse, before anything is yielded."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from replay import EffectError, InvalidRequest, PayloadError, StepInfo, savepoint, signal, sleep, step_info
from replay.authoring.step_context import CURRENT

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": -1}, "sleep of -1 s; give it 0 seconds or more"),
        ({"seconds": float("nan")}, "sleep of nan s"),
        ({"seconds": float("inf")}, "sleep of inf s"),
        ({"days": 80_000}, "at most 200 years"),
        ({"seconds": 5, "hours": -1}, "sleep of -3595 s"),
        ({"seconds": "5"}, "sleep of str '5'; give it numbers: sleep(90), sleep(hours=24)"),
        ({"seconds": dt.timedelta(1)}, "sleep of timedelta datetime.timedelta(days=1)"),
        ({"hours": "24"}, "sleep of str '24'"),
        ({"seconds": 1, "until": NOON}, "sleep with a span and until=; give it one of them"),
        ({"until": NOON.replace(tzinfo=None)}, "which names no time zone; give it an aware datetime"),
        ({"until": dt.datetime.max.replace(tzinfo=dt.UTC)}, "give it a moment before the year 2255"),
    ],
)
def test_a_sleep_that_cannot_be_is_refused_where_it_is_written(arguments: dict[str, Any], message: str) -> None:
    """With what to give instead."""
    with pytest.raises(EffectError) as caught:
        sleep(**arguments)
    assert message in str(caught.value)


def test_a_sleep_until_the_past_is_a_sleep() -> None:
    """It fires at once."""
    effect: Any = sleep(until=dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC))

    assert -1_000_000 == effect.until


def test_a_span_is_rounded_to_microseconds() -> None:
    """What a journal can say."""
    spans: list[Any] = [sleep(0.0000004), sleep(0.0000006), sleep(0.1 + 0.2)]

    assert [0, 1, 300_000] == [effect.span for effect in spans]


def test_effects_show_themselves() -> None:
    """In reports and lists."""
    assert ["sleep 90 s", "sleep 0.5 s", "sleep until a moment", "signal go", "savepoint here"] == [
        str(effect) for effect in (sleep(minutes=1.5), sleep(0.5), sleep(until=NOON), signal("go"), savepoint("here"))
    ]


def test_a_savepoint_with_what_is_no_data_is_refused() -> None:
    """Naming the field."""
    with pytest.raises(PayloadError) as caught:
        savepoint("here", mood=object())
    assert "savepoint 'here', field 'mood'" in str(caught.value)


def test_step_info_outside_a_step_says_where_it_belongs() -> None:
    """In the body of a step."""
    with pytest.raises(InvalidRequest, match="no step is running here; call it in the body of a @step"):
        step_info()


def test_step_info_inside_a_step_is_what_the_engine_set() -> None:
    """One attempt of one step."""
    told = StepInfo("run", "order", "charge", "3", 2, "run:3")
    token = CURRENT.set(told)
    try:
        assert told is step_info()
        assert "<attempt 2 of step charge, run:3>" == repr(told)
        assert told.cancelled is False
    finally:
        CURRENT.reset(token)
