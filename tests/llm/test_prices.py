"""The price table: what ships, what replaces it, and what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay import InvalidRequest
from replay.llm import Prices, Usage

MILLION = Usage(1_000_000, 1_000_000)


def test_the_table_that_ships_knows_the_models_of_the_day() -> None:
    """In dollars per million tokens; one price checked by hand for each of some makers."""
    shipped = Prices.shipped()

    assert len(shipped.table) >= 150
    assert [0.75, 12.5, 18.0] == [shipped.cost(MILLION, "x", name) for name in ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-0")]


def test_an_unknown_model_costs_nobody_knows_what() -> None:
    """Never 0."""
    assert None is Prices.shipped().cost(MILLION, "local", "llama3")


def test_a_model_is_known_with_its_providers_name_and_without_its_date() -> None:
    """The more exact name wins."""
    prices = Prices({"m": {"input": 1, "output": 0}, "local/m": {"input": 0, "output": 0}})

    assert [1, 0, 1, 1, None] == [
        prices.cost(MILLION, provider, model)
        for provider, model in [("x", "m"), ("local", "m"), ("x", "m-2024-08-06"), ("x", "m-latest"), ("x", "m-mini")]
    ]


def test_cached_tokens_and_long_requests_have_their_own_prices() -> None:
    """As providers have it."""
    prices = Prices({"m": {"input": 2, "output": 10, "cached": 1, "above": 1_000_000, "long": {"input": 4}}})

    assert 2 == prices.cost(Usage(1_000_000, 0), "x", "m")
    assert 1.5 == prices.cost(Usage(1_000_000, 0, cached=500_000), "x", "m")
    assert 8 == prices.cost(Usage(2_000_000, 0), "x", "m")


def test_a_file_replaces_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the environment, so that workers of the command line have it too."""
    path = tmp_path / "prices.json"
    path.write_text('{"m": {"input": 3, "output": 4}}', encoding="utf-8")
    monkeypatch.setenv("REPLAY_PRICES", str(path))

    assert (7, None) == (Prices.shipped().cost(MILLION, "x", "m"), Prices.shipped().cost(MILLION, "x", "gpt-4o"))
    assert 3 == Prices.shipped().and_also({"m": {"input": 1, "output": 2}}).cost(MILLION, "x", "m")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nope", "cannot be read"),
        ("[]", "no object of objects"),
        ('{"m": 5}', "no object of objects"),
        ('{"m": {"input": 1}}', "of model 'm'"),
        ('{"m": {"input": 1, "output": "2"}}', "of model 'm'"),
        ('{"m": {"input": 1, "output": -2}}', "of model 'm'"),
        ('{"m": {"input": 1, "output": 2, "outptu": 3}}', "of model 'm'"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """With the model that is wrong."""
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidRequest, match=problem):
        Prices.load(path)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path."""
    missing: Any = tmp_path / "none.json"

    with pytest.raises(InvalidRequest, match=r"none\.json cannot be read"):
        Prices.load(missing)
