"""The public names of the test kit."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import replay.testing


@pytest.mark.parametrize("name", replay.testing.__all__)
def test_a_public_name_has_a_home(name: str) -> None:
    """It loads from there."""
    assert getattr(replay.testing, name) is getattr(importlib.import_module(replay.testing.HOMES[name]), name)


def test_the_public_names_are_those_that_have_a_home() -> None:
    """None is promised and missing, none is there and not promised."""
    assert sorted(replay.testing.HOMES) == replay.testing.__all__ == dir(replay.testing)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    """As of any other module."""
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        replay.testing.nothing_of_the_kind  # noqa: B018 - to look it up is the test


def test_the_test_kit_is_imported_without_pytest() -> None:
    """A program may use a clock of tests where pytest is not installed."""
    script = "import sys; from replay.testing import VirtualClock; print('pytest' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "False" == answer.stdout.strip()
