"""How a run starts, and how it goes on elsewhere: payloads that the interpreter itself reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import JournalDamaged
from replay.model.codec import from_json, to_json
from replay.model.events import KINDS, Event, seal
from replay.model.journal import Resume, Started

names = st.text(max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
mail = st.lists(st.tuples(names, plain.map(to_json)), max_size=3).map(tuple)
begins = st.builds(
    Started,
    workflow=st.text(min_size=1, max_size=5),
    version=names,
    input=st.lists(plain, max_size=2).map(to_json),
    seed=names,
    namespace=st.text(min_size=1, max_size=5),
    parent=names,
    parent_command=names,
    patches=st.none() | st.lists(names, max_size=2).map(tuple),
    deadline=st.none() | st.integers(0, 2**53),
    attempt=st.integers(1, 9),
    mail=mail,
    tags=st.dictionaries(names, names, max_size=2),
    chain=st.integers(0, 9),
)


def event(payload: bytes, *, seq: int = 1, kind: str = "started") -> Event:
    return Event(seq, kind, "", "w", 1, payload)


@given(begins)
def test_a_beginning_comes_back_as_it_was(begin: Started) -> None:
    """Whatever is empty in it, or left to its default."""
    assert begin == Started.decode(event(begin.encode()))


def test_to_know_no_patch_is_not_to_be_begun_without_the_code() -> None:
    """The one keeps the old path, the other takes what its worker knows."""
    assert () == Started.decode(event(Started(workflow="w", patches=()).encode())).patches
    assert Started.decode(event(Started(workflow="w").encode())).patches is None


def test_what_is_missing_has_its_default_and_what_is_unknown_is_passed_over() -> None:
    """Within one format, fields are only added."""
    assert Started(workflow="w") == Started.decode(event(b'{"mood":"good","workflow":"w"}'))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (event(b'{"workflow":"w"}', seq=2), "a journal begins with #1 started, here stands #2 started w"),
        (event(b'{"workflow":"w"}', kind="completed"), "a journal begins with #1 started"),
        (event(b'{"format":2,"workflow":"w"}'), "written in format 2, this code reads up to 1"),
        (event(b"{}"), "its payload names no workflow"),
        (event(b"[1]"), "its payload names no workflow"),
        (event(b"3"), "its payload names no workflow"),
    ],
)
def test_what_is_no_beginning_is_damage(wrong: Event, problem: str) -> None:
    """The error names the event."""
    with pytest.raises(JournalDamaged, match=problem) as caught:
        Started.decode(wrong, "run-1")
    assert ("run-1", wrong.seq) == (caught.value.run, caught.value.seq)


@given(state=plain, following=st.integers(0, 99), letters=mail, notes=st.dictionaries(names, plain, max_size=2))
def test_a_savepoint_with_state_comes_back_as_it_was(state: Any, following: int, letters: Any, notes: Any) -> None:
    """All that recovery needs."""
    resume = Resume(state=to_json(state), next=following, outs=1, updates=2, patches=("a",), mail=letters, notes=notes)

    assert resume == Resume.decode(resume.encode())


def test_a_savepoint_without_state_is_no_place_to_recover_from() -> None:
    """It holds notes only."""
    assert Resume.decode(b'{"notes":{}}') is None


@pytest.mark.parametrize("state", [None, 0, "", [], False])
def test_a_falsy_state_is_a_state(state: Any) -> None:
    """It was given."""
    resume = Resume(state=to_json(state), next=0, outs=0, updates=0, patches=(), mail=(), notes={})
    back = Resume.decode(resume.encode())

    assert back is not None
    assert state == from_json(back.state)


# ---- events -------------------------------------------------------------------------------------------------------------

WHOLE = Event(7, "step_completed", "0/1", "charge", 1_767_225_600_000_000, b'"r"', 99, 2, 3, "shop.py:1", "w-1")


def test_a_seal_is_a_known_number() -> None:
    """Other languages compute the same."""
    assert 3_985_990_444 == seal(WHOLE)


@pytest.mark.parametrize(
    "changed",
    [{"seq": 8}, {"kind": "step_failed"}, {"command": "0/2"}, {"name": "refund"}, {"at": 0}, {"payload": b'"s"'}, {"check": 0}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_seal_guards_what_replay_reads(changed: dict[str, Any]) -> None:
    """Each of the seven fields."""
    assert seal(WHOLE) != seal(WHOLE._replace(**changed))


def test_a_seal_does_not_guard_what_is_for_people() -> None:
    """Attempt, duration, line, worker."""
    assert seal(WHOLE) == seal(WHOLE._replace(attempt=9, duration=9, line="x", worker="y"))


def test_an_event_shows_itself() -> None:
    """In reports."""
    assert ("#7 step_completed 0/1 charge", "#1 cancel_requested") == (str(WHOLE), str(Event(1, "cancel_requested", "", "", 0, b"")))
    assert len(KINDS) == len(set(KINDS))
