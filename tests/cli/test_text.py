"""Values as short text, and nothing that a terminal would obey."""

from __future__ import annotations

import pytest

from replay.cli import text
from replay.cli.text import PREVIEW


@pytest.mark.parametrize(
    ("micros", "expected"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1 ms"),
        (5_123, "5.12 ms"),
        (1_000_000, "1 s"),
        (59_900_000, "59.9 s"),
        (60_000_000, "1 min"),
        (7_500_000_000, "2 h 5 min"),
        (90_000 * 1_000_000, "1 d 1 h"),
        (86_400 * 1_000_000, "1 d"),
    ],
)
def test_a_span_has_the_units_that_say_something(micros: int, expected: str) -> None:
    """Two of them at most."""
    assert expected == text.span(micros)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    """Escape sequences, and characters that hide or reorder their neighbours."""
    assert r"\x1b[31mred\x1b[0m \u202ereversed\u202c \x9b\x07" == text.plain("\x1b[31mred\x1b[0m \u202ereversed\u202c \x9b\x07")


def test_letters_of_all_kinds_stay() -> None:
    """Only what cannot be seen is spelt out."""
    assert "größe 🎈 名前" == text.plain("größe 🎈 名前")


def test_lines_stay_lines_where_that_is_wanted() -> None:
    """A result that is a text of several lines is printed as such."""
    assert "one\ntwo\\x1b" == text.plain("one\ntwo\x1b", keep="\n")


def test_of_a_huge_payload_only_the_beginning_is_read() -> None:
    """Sixteen megabytes are not parsed to show sixty characters."""
    shown = text.preview(b'["' + b"x" * 16_000_000 + b'"]')

    assert PREVIEW + 1 == len(shown)
    assert shown.endswith("…")


def test_a_payload_that_is_no_json_is_shown_as_text() -> None:
    """Damaged bytes are looked at with this program, too."""
    assert '"\\\\xff{"' == text.preview(b"\xff{")


def test_moments_are_told_in_both_directions() -> None:
    """What was and what will be."""
    assert ["2 s ago", "in 3 s", "0 µs ago"] == [text.ago(8_000_000, 10_000_000), text.ago(13_000_000, 10_000_000), text.ago(1, 1)]


def test_a_moment_for_programs_is_utc_to_the_microsecond() -> None:
    """It sorts as text."""
    assert "1970-01-01T00:00:01.000002Z" == text.iso(1_000_002)
    assert text.iso(None) is None


def test_one_is_not_many() -> None:
    """Grammar."""
    assert ["0 runs", "1 run", "1,000 runs"] == [text.count(number, "run") for number in (0, 1, 1_000)]
