"""costs, and the request in inspect."""

from __future__ import annotations

import re

import pytest

from replay import Engine
from replay.llm import Models, Prices, Said, Scripted, Usage
from tests.cli import shop
from tests.cli.conftest import Program

PRICES = Prices({"m": {"input": 0, "output": 1_000_000}})
MODELS = Models({"openai": Scripted(lambda ask: Said(text=f"to {ask.model}", usage=Usage(3, 2)))}, prices=PRICES)


@pytest.fixture
def asked(program: Program) -> Program:
    """A run ``a`` that asked twice and has a child that asked once, a run ``b`` with an unknown price, a run without calls."""
    with Engine(program.store, models=MODELS) as engine:
        engine.start(shop.asks("m", 2, 1), id="a", tags={"team": "blue"}).result(20)
        engine.start(shop.asks("n", 1, 0), id="b").result(20)
        engine.start(shop.asks("m", 0, 0), id="c").result(20)
    return program


def test_costs_of_a_namespace(asked: Program) -> None:
    """A row for each run that spent something, and the sum; what is not known is said."""
    said = asked.done("costs")

    rows = [line.split() for line in said.splitlines()]
    assert ["run", "workflow", "status", "calls", "tokens", "usd"] == rows[0]
    assert {"b", "a", "a.2", "all"} == {row[0] for row in rows[1:] if len(row) > 1}
    assert re.search(r"a +cli-asks +completed +2 +10 +4\n", said)
    assert re.search(r"b +cli-asks +completed +1 +5 +unknown\n", said)
    assert re.search(r"all +4 +20 +6\.000000 and 1 call without a price", said)


def test_costs_of_a_run_and_of_its_tree(asked: Program) -> None:
    """Its own calls alone, or with those of its children."""
    alone, tree = asked("costs", "a", "--json").json, asked("costs", "a", "--tree", "--json").json

    assert {"calls": 2, "tokens": 10, "usd": 4.0, "unpriced_calls": 0} == alone["total"]
    assert {"calls": 3, "tokens": 15, "usd": 6.0, "unpriced_calls": 0} == tree["total"]
    assert [("a", None), ("a.2", "a")] == [(run["id"], run["parent"]) for run in tree["runs"]]


def test_costs_by_model(asked: Program) -> None:
    """Whoever ran it."""
    said = asked.done("costs", "--by-model")

    assert re.search(r"openai/m +3 +15 +6\n", said)
    assert re.search(r"openai/n +1 +5 +unknown\n", said)
    assert {"openai/m", "openai/n"} == asked("costs", "--json").json["models"].keys()


def test_costs_are_told_by_tag_and_workflow(asked: Program) -> None:
    """As ``list`` finds runs; where nothing was spent, that is said."""
    assert ["a"] == [run["id"] for run in asked("costs", "--tag", "team=blue", "--json").json["runs"]]
    nothing = asked("costs", "--workflow", "cli-order")
    assert (0, "no call of a language model") == (nothing.code, nothing.err.strip().removeprefix("replay: "))


@pytest.mark.parametrize(
    ("words", "problem"),
    [(("costs", "a", "--tag", "x=y"), "ids and a filter"), (("costs", "--tree"), "needs the id"), (("costs", "z"), "no run 'z'")],
)
def test_costs_that_cannot_be_told(asked: Program, words: tuple[str, ...], problem: str) -> None:
    """One sentence and an exit code."""
    answer = asked(*words)

    assert 0 != answer.code
    assert problem in answer.err


def test_inspect_shows_the_request_that_no_journal_holds(asked: Program) -> None:
    """Computed again: models, messages, settings, and whether it is what was asked then."""
    said = asked("inspect", "a", "--at", "2", "--request", "--json").json
    (request,) = said["requests"]

    assert (["m"], {"temperature": 0}, True) == (request["models"], request["settings"], request["as_recorded"])
    assert [{"role": "system", "content": "be short"}, {"role": "user", "content": "question 0"}] == request["messages"]
    shown = asked.done("inspect", "a", "--at", "2", "--request")
    assert re.search(r"user +question 0", shown)


def test_inspect_tells_when_todays_code_asks_otherwise(asked: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that compares nothing may have been edited; then the request shown is not the one that was answered."""
    monkeypatch.setattr(shop, "EDITED", True)
    said = asked.done("inspect", "a", "--at", "#2", "--request")

    assert "be long" in said
    assert "not what was recorded" in said


@pytest.mark.parametrize("at", ["4", "5"])
def test_inspect_tells_where_no_model_was_asked(asked: Program, at: str) -> None:
    """With the events of those that were."""
    answer = asked("inspect", "a", "--at", at, "--request")

    assert (1, True) == (min(answer.code, 1), "known: #2, #3" in answer.err)


def test_inspect_shows_what_is_being_asked(program: Program) -> None:
    """A call that is under way is shown at the event after which it was begun."""
    with Engine(program.store, models=Models({"openai": Scripted(["x"], pause=60)})) as engine:
        engine.grace = 0
        _ = engine.start(shop.asks("m", 1, 0), id="a")
        said = program("inspect", "a", "--at", "1", "--request", "--json").json

    assert ["0", None] == [said["requests"][0]["command"], said["requests"][0]["as_recorded"]]


def test_a_request_needs_its_event(asked: Program) -> None:
    """A run has many."""
    assert "say which: --at N" in asked("inspect", "a", "--request").err
