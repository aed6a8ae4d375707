"""Ledger, restore context and health: pure functions over facts."""

from __future__ import annotations

from typing import Any

import pytest

from replay.model import events
from replay.model.budgets import NOTHING, Spent
from replay.model.codec import to_json
from replay.model.events import Event
from replay.model.health import Sample, Thresholds, health, samples_of, since_savepoint
from replay.model.ledger import Focus, Noted, Review, fold, restore_context
from replay.model.spending import spent_in


def event(seq: int, kind: str, payload: Any = None, **fields: Any) -> Event:
    return Event(seq, kind, fields.pop("command", str(seq)), fields.pop("name", "think"), seq, to_json(payload), **fields)


@pytest.mark.parametrize(
    ("payload", "spent"),
    [
        ({"cost": 0.5}, Spent(usd=0.5, calls=1)),
        ({"cost": None, "usage": [10, 2, 0, 0]}, Spent(tokens=12, calls=1, unpriced=1)),
        ({"cost": 1, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Spent(usd=1.0, tokens=7, calls=1)),
        ({"type": "Busy", "spent": {"usd": 0.1, "tokens": 7, "calls": 1}}, Spent(usd=0.1, tokens=7, calls=1)),
        ({"cost": 1, "calls": 2}, Spent(usd=1.0, calls=2)),
        ({"cost": None, "calls": 2}, Spent(calls=2, unpriced=2)),
        ({"cost": 0.0}, Spent(calls=1)),
        ({"cost": 0.0, "calls": 0}, NOTHING),
        ({"cost": "much", "usage": "none"}, NOTHING),
        ({"cost": True}, NOTHING),
        ("cost", NOTHING),
        ([{"cost": 1}], NOTHING),
    ],
)
def test_an_answer_tells_its_cost(payload: Any, spent: Spent) -> None:
    """By the names in use; what tells nothing costs nothing."""
    assert spent == spent_in(event(2, events.STEP_COMPLETED, payload))


@pytest.mark.parametrize(
    ("usd", "shown"), [(0, "$0.0000"), (12, "$12.0000"), (0.00123, "$0.0012"), (0.00007, "$0.000070"), (2.4e-8, "$2.4e-08")]
)
def test_what_is_more_than_nothing_is_not_shown_as_nothing(usd: float, shown: str) -> None:
    """However little a call costs."""
    assert f"{shown}, 9 tokens" == str(Spent(usd=usd, tokens=9, calls=1))


def test_only_answers_of_steps_cost() -> None:
    """A child's cost is in its own journal, a signal's is nobody's."""
    assert [NOTHING] * 2 == [spent_in(event(2, kind, {"cost": 1})) for kind in (events.SIGNAL_RECEIVED, events.CHILD_COMPLETED)]


def test_a_ledger_is_the_same_however_often_it_is_made() -> None:
    """Reviews of a run that has ended stand beside those in its journal."""
    journal = [
        event(1, events.STARTED, {}, name="agent"),
        event(2, events.SAVEPOINT, {"notes": {"goal": "g", "questions": ["q"]}}, name="one"),
        event(3, events.STEP_ATTEMPT_FAILED, {}, duration=500_000, command="1"),
        event(4, events.STEP_COMPLETED, {"cost": 2}, duration=1_000_000, attempt=2, command="1"),
        event(5, events.SAVEPOINT, {"notes": {"decisions": ["d"], "next_step": "n"}}, name="two"),
        event(6, events.UPDATE_RECEIVED, {"id": "m", "value": {"entry": "2", "status": "approved", "later": 1}}, name="~review"),
    ]
    notes = [
        Noted(7, 4, {"text": "seen", "fields": {"kind": "note", "x": 1}, "seq": 4}),
        Noted(8, 4, {"text": "of old", "chain": 1}),
        Noted(9, 4, "odd"),
    ]
    ledgers = [fold("run", journal, notes, [Review(entry="2", status="rejected", at=9)]) for _ in range(2)]

    assert ledgers[0] == ledgers[1]
    found = ledgers[0]
    assert [("n9", "odd"), ("2", "one"), ("n7", "seen"), ("5", "two")] == [(entry.id, entry.text) for entry in found.timeline]
    assert ["approved", "rejected"] == [review.status for review in found.timeline[1].reviews]
    assert Focus(goal="g", questions=("q",), decisions=("d",), next_step="n") == found.focus
    cost = found.costs["think"]
    assert (1, 2, 1.5, 2.0) == (cost.calls, cost.attempts, cost.seconds, cost.spent.usd)


def test_a_context_leaves_out_the_oldest_notes_and_says_so() -> None:
    """What must be known comes first and is never cut for notes."""
    notes = [f"note {number}" for number in range(100)]
    text = restore_context(Focus(goal="win"), "much happened", notes, [Review(entry="3", status="rejected", feedback="no")], 120)

    assert text.startswith("Goal: win\nReviews to heed:\n- 3 rejected: no\nSo far: much happened\nSince then, without the first 9")
    assert text.endswith("- note 99")
    assert "" == restore_context(Focus(), "", [], [])


def calls(*sizes: int, **fields: Any) -> list[Sample]:
    return [Sample(name="think", size=size, **fields) for size in sizes]


@pytest.mark.parametrize(
    ("samples", "settings", "advice"),
    [
        (calls(*[100] * 10), {}, []),
        (calls(*[100] * 5, *[40] * 4), {}, []),  # fewer than two windows
        (calls(*[100] * 5, *[40] * 5), {}, [("trim", "answers of think are 40% as long as at first")]),
        (calls(*[100] * 5, *[300] * 5), {}, [("distill", "answers of think are 3.0 times as long as at first")]),
        (calls(*[1] * 10, attempts=2), {}, [("fall back", "think takes 2.0 attempts a call")]),
        (
            [*calls(*[1] * 5, seconds=1.0), *calls(*[1] * 5, seconds=2.0)],
            {},
            [("fall back", "think takes 2.0 times as long as at first")],
        ),
        (calls(*[1] * 4, dollars=0.2), {"budget": 1.0}, [("stop", "$0.80 of $1.00 are spent")]),
        ([], {"undistilled": 64_000}, [("distill", "64,000 bytes of notes are not distilled")]),
        ([], {"events_since": 2_000}, [("trim", "recovery would read 2,000 events since the last savepoint with state")]),
        (calls(100, 100, 10, 10), {"thresholds": Thresholds(window=2)}, [("trim", "answers of think are 10% as long as at first")]),
    ],
)
def test_bad_trends_come_with_advice(samples: list[Sample], settings: dict[str, Any], advice: list[tuple[str, str]]) -> None:
    """Each with its reason and a line of code."""
    found = health(samples, **settings)

    assert advice == [(each.do, each.why) for each in found.advice]
    assert all(each.recipe for each in found.advice)
    assert found.ok is not bool(advice)


def test_samples_are_answered_steps() -> None:
    """Attempts are counted from the journal where the answer does not say."""
    journal = [
        event(1, events.STARTED, {}),
        event(2, events.STEP_ATTEMPT_FAILED, {}, command="0"),
        event(3, events.STEP_COMPLETED, "ab", command="0", duration=2_000_000),
        event(4, events.SAVEPOINT, {"notes": {}, "state": 1}),
        event(5, events.STEP_COMPLETED, {"cost": 1}, command="2", attempt=3),
    ]

    assert [
        Sample(name="think", size=4, attempts=2, seconds=2.0),
        Sample(name="think", size=10, attempts=3, dollars=1.0),
    ] == samples_of(journal)
    assert (1, 3) == (since_savepoint(journal), since_savepoint(journal[:3]))
