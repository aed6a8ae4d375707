"""Each mistake is found on its line, and nothing else is."""

from __future__ import annotations

import re

import pytest

from replay.lint import RULES, check_source
from tests.lint.bad_effects import AGREEMENT, ORDER
from tests.lint.bad_workflows import PRELUDE, WORLD

BAD = {**WORLD, **ORDER, **AGREEMENT}
MARK = re.compile(r"# ((?:RPL\d{3} ?)+)$")


def expected_in(text: str) -> set[tuple[int, str]]:
    """Line and code of each mark at the end of a line."""
    marks = ((number, MARK.search(line)) for number, line in enumerate(text.splitlines(), start=1))
    return {(number, code) for number, mark in marks if mark for code in mark[1].split()}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_found_where_it_is(mistake: str) -> None:
    """Code and line are those that the text is marked with; the good lines between them are clean."""
    text = PRELUDE + BAD[mistake]
    found = check_source(text, "bad.py")

    assert expected_in(text) == {(finding.line, finding.code) for finding in found}, [str(finding) for finding in found]


def test_every_rule_but_the_one_for_unreadable_files_has_bad_examples() -> None:
    """A rule without an example is a rule that nobody has seen work."""
    marked = {code for text in BAD.values() for _, code in expected_in(text)}

    assert set(RULES) - {"RPL000"} == marked


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    """Some two hundred marked lines."""
    assert sum(len(expected_in(text)) for text in BAD.values()) > 200
