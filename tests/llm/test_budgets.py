"""Budgets: reserve before, settle after, shared by fibers and children, kept over crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import replay
from replay import (
    BudgetExceeded,
    Cancelled,
    ChildFailed,
    EffectError,
    ReplyInvalid,
    Retry,
    RunFailed,
    StepFailed,
    Workflow,
    budget,
    continue_as_new,
    gather,
    info,
    join,
    llm_call,
    savepoint,
    set_state,
    signal,
    sleep,
    spawn,
    start_child,
    workflow,
)
from replay.llm import Ask, Models, Prices, Said, Say, Scripted, Usage
from replay.model.codec import from_json
from replay.testing import StillWaiting, World, crash_everywhere
from tests.helpers.engines import OpenEngine

PRICES = Prices({"m": {"input": 0, "output": 1_000_000}})
"""A dollar for each token that is said."""


class Thrifty:
    """Says one token where many were allowed; remembers how many calls were under way together."""

    def __init__(self, said: int = 1, pause: float = 0.02) -> None:
        self.said = said
        self.pause = pause
        self.asked = 0
        self.now = 0
        self.most = 0

    async def complete(self, ask: Ask, say: Say) -> Said:
        """After a while."""
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.pause)
        finally:
            self.now -= 1
        return Said(text="x", usage=Usage(0, self.said), model=ask.model)


def models_of(provider: Any, prices: Prices = PRICES) -> Models:
    """Models that cost what they say."""
    return Models({"openai": provider}, prices=prices)


def saying(tokens: int = 1) -> Models:
    """Models whose every reply has so many tokens, at a dollar each; what is asked costs none."""
    return models_of(Scripted(lambda _: Said(text="x", usage=Usage(0, tokens))))


def one(text: str = "x", **settings: Any) -> Any:
    """A call that may say one token."""
    return llm_call(text, model="m", **{"max_tokens": 1, **settings})


def tried(**settings: Any) -> Workflow[str]:
    """A call, and what became of it."""
    try:
        reply = yield from one(**settings)
    except BudgetExceeded as exceeded:
        return f"{exceeded.kind} {exceeded.spent:g}/{exceeded.limit:g}"
    except StepFailed as failed:
        return failed.message
    said: str = reply.text
    return said


@workflow(name="budgets.row")
def row(calls: int, limits: dict[str, float]) -> Workflow[list[str]]:
    def branch() -> Workflow[list[str]]:
        said = []
        for _ in range(calls):
            reply = yield from tried()
            said.append(reply)
        return said

    return (yield from budget(branch(), **limits))  # type: ignore[arg-type]  # numbers by kind


@workflow(name="budgets.wide")
def wide(calls: int, limits: dict[str, float], most: int = 1) -> Workflow[list[str]]:
    branches = [tried(max_tokens=most) for _ in range(calls)]
    return list((yield from budget(gather(branches), **limits)))  # type: ignore[arg-type]  # numbers by kind


# ---- what is let in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "last"),
    [
        ({"calls": 2}, "calls 2/2"),
        ({"usd": 2.5}, "usd 2/2.5"),
        ({"tokens": 10}, "tokens 2/10"),
        ({"calls": 2, "usd": 50}, "calls 2/2"),
        ({"calls": 50, "usd": 2}, "usd 2/2"),
    ],
)
def test_what_does_not_fit_is_refused(limits: dict[str, float], last: str) -> None:
    """By calls, dollars or tokens, whichever ends first; what fits is let in to the last."""
    with World(models=saying()) as world:
        said = world.start(row(3, limits)).result()

    assert ["x", "x", last] == said


def test_a_budget_that_is_spent_refuses_the_first_call() -> None:
    """Nothing is asked, and a run that does not catch it fails by its name."""

    @workflow
    def nothing() -> Workflow[Any]:
        return (yield from budget(one(), usd=0))

    provider = Thrifty()
    with World(models=models_of(provider)) as world, pytest.raises(RunFailed, match="BudgetExceeded: budget exceeded: 0 of 0 usd"):
        world.start(nothing()).result()
    assert 0 == provider.asked


def test_a_refusal_is_not_tried_again() -> None:
    """Whatever the call's policy: patience mends no budget."""

    @workflow
    def patient() -> Workflow[str]:
        return (yield from budget(tried(retry=Retry(max_attempts=5, retry_on=Exception)), calls=0))

    with World(models=saying()) as world:
        handle = world.start(patient())
        assert "calls 0/0" == handle.result()
        assert ["started", "step_failed", "completed"] == [event.kind for event in handle.journal()]


def test_a_model_without_a_price_is_refused_where_money_is_limited() -> None:
    """Its cost would be unknown, which is not 0; limits of tokens and calls let it in."""
    with World(models=models_of(Thrifty(), Prices({}))) as world:
        in_money = world.start(row(1, {"usd": 5})).result()
        in_calls = world.start(row(1, {"calls": 5})).result()

    assert "llm_call: a budget in usd is around it, and the price of m is not known; add the model to Prices" in in_money[0]
    assert ["x"] == in_calls


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({}, "without a limit"),
        ({"usd": -1}, "usd=int -1"),
        ({"usd": float("inf")}, "usd=float inf"),
        ({"tokens": 1.5}, "give it a whole number"),
        ({"calls": "5"}, "calls=str '5'"),
        ({"seconds": -1}, "budget of -1 s"),
        ({"seconds": 1, "raise_by": "more"}, "time cannot be raised"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_where_it_is_written(limits: dict[str, Any], problem: str) -> None:
    """With what to write instead."""
    with pytest.raises(EffectError, match=problem):
        budget(one(), **limits)


# ---- many at once --------------------------------------------------------------------------------------------------------------


def test_branches_share_a_budget(open_engine: OpenEngine) -> None:
    """Ten at once: three are let in, no matter how close together they come."""
    provider = Thrifty()
    said = open_engine(models=models_of(provider)).start(wide(10, {"calls": 3})).result(20)

    assert ({"x": 3, "calls 3/3": 7}, 3) == ({word: said.count(word) for word in sorted(set(said), reverse=True)}, provider.asked)


def test_a_call_that_fits_alone_waits_for_those_under_way(open_engine: OpenEngine) -> None:
    """Each may cost 6 of 10 dollars and costs 1: none is refused, and no two are under way together."""
    provider = Thrifty(said=1)
    said = open_engine(models=models_of(provider)).start(wide(5, {"usd": 10}, most=6)).result(20)

    assert (["x"] * 5, 1) == (said, provider.most)


def test_dear_calls_are_never_let_in_together_beyond_the_limit(open_engine: OpenEngine) -> None:
    """Each costs what it may: of ten, two fit into 7 dollars at 3 each, and no third ever begins."""
    provider = Thrifty(said=3)
    said = open_engine(models=models_of(provider)).start(wide(10, {"usd": 7}, most=3)).result(20)

    assert (2, 2) == (said.count("x"), provider.asked)


def test_who_waits_can_be_cancelled(open_engine: OpenEngine) -> None:
    """A call that waits for room lets go like one that is under way."""

    @workflow
    def impatient() -> Workflow[list[str]]:
        return list((yield from budget(gather(tried(max_tokens=6), limited()), usd=10)))

    def limited() -> Workflow[str]:
        try:
            return (yield from replay.timeout(tried(max_tokens=6), 0.05))
        except replay.TimedOut:
            return "too late"

    provider = Thrifty(pause=1.0)

    assert ["x", "too late"] == open_engine(models=models_of(provider)).start(impatient()).result(20)
    assert 1 == provider.asked


def test_a_failed_attempt_gives_its_reservation_back(open_engine: OpenEngine) -> None:
    """What was reserved for a call that came to nothing is there for others."""

    @workflow
    def twice() -> Workflow[list[str]]:
        def branch() -> Workflow[list[str]]:
            try:
                yield from one("bad", max_tokens=6, retry=Retry(max_attempts=1))
            except replay.ProviderFailed:
                pass
            return [(yield from tried(max_tokens=6))]

        return (yield from budget(branch(), usd=6))

    answers = iter([replay.ProviderBusy("openai", "m", "down"), "x"])

    assert ["x"] == open_engine(models=models_of(Scripted(lambda _: next(answers)))).start(twice()).result(20)


# ---- what counts ------------------------------------------------------------------------------------------------------------------


def test_budgets_are_charged_from_the_inside_out() -> None:
    """A call counts in every budget around it; the tightest refuses."""

    @workflow
    def nested() -> Workflow[list[str]]:
        def outer() -> Workflow[list[str]]:
            first = yield from budget(inner(3), calls=2)
            second = yield from budget(inner(3), calls=2)
            return [*first, *second]

        def inner(calls: int) -> Workflow[list[str]]:
            said = []
            for _ in range(calls):
                reply = yield from tried()
                said.append(reply)
            return said

        return (yield from budget(outer(), calls=3))

    with World(models=saying()) as world:
        assert ["x", "x", "calls 2/2", "x", "calls 3/3", "calls 3/3"] == world.start(nested()).result()


def test_spawned_fibers_belong_to_the_budget_they_were_begun_in() -> None:
    """Also when they go on after it; calls outside belong to none."""

    @workflow
    def spawning() -> Workflow[list[str]]:
        def branch() -> Workflow[Any]:
            handle = yield from spawn(later())
            yield from one()
            return handle

        def later() -> Workflow[str]:
            yield from sleep(10)
            return (yield from tried())

        handle = yield from budget(branch(), calls=1)
        outside = yield from tried()
        inside = yield from join(handle)
        return [outside, inside]

    with World(models=saying()) as world:
        assert ["x", "calls 1/1"] == world.start(spawning()).result()


def test_an_attempt_that_failed_after_it_cost_something_counts() -> None:
    """Two replies that broke their type are paid for, and journaled with the failure."""

    @workflow
    def broken() -> Workflow[list[str]]:
        def branch() -> Workflow[list[str]]:
            try:
                yield from one(response_type=int)
            except ReplyInvalid:
                pass
            return [(yield from tried())]

        return (yield from budget(branch(), calls=2))

    with World(models=saying(3)) as world:
        handle = world.start(broken())
        assert ["calls 2/2"] == handle.result()
        assert {"usd": 6, "tokens": 6, "calls": 2} == from_json(handle.journal()[1].payload)["spent"]
        assert 6 == handle.costs().total.usd


def test_a_refusal_is_a_fact_whatever_prices_say_later() -> None:
    """Replay asks neither table nor estimate."""
    with World(models=saying(2)) as world:
        handle = world.start(row(4, {"usd": 4.5}))
        before = handle.result()
        report = handle.replay()  # which asks nobody

    assert report.fits
    assert ["x", "x", "usd 4/4.5", "usd 4/4.5"] == before


# ---- time and more money ------------------------------------------------------------------------------------------------------------


def test_seconds_end_a_scope() -> None:
    """Its branch is cancelled, cleans up, and the scope raises."""

    @workflow
    def slow() -> Workflow[list[Any]]:
        said: list[Any] = []

        def branch() -> Workflow[None]:
            try:
                yield from sleep(hours=1)
            except Cancelled:
                yield from sleep(1)
                said.append("cleaned up")
                raise

        try:
            yield from budget(branch(), seconds=60)
        except BudgetExceeded as exceeded:
            said.append([exceeded.kind, exceeded.limit])
        said.append((yield from budget(tried(), seconds=60)))
        return said

    with World(models=saying()) as world:
        assert ["cleaned up", ["seconds", 60], "x"] == world.start(slow()).result()


@workflow(name="budgets.raised", signals={"more": dict[str, float]})
def raised(calls: int) -> Workflow[list[str]]:
    return list((yield from budget(gather([tried() for _ in range(calls)]), usd=2, raise_by="more")))


def test_a_call_waits_for_the_signal_that_raises_its_budget() -> None:
    """One signal is for all calls that wait; each is asked again, and waits again where it is not enough."""
    with World(models=saying()) as world:
        handle = world.start(raised(6))
        with pytest.raises(StillWaiting):
            handle.result()
        handle.signal("more", {"usd": 1})
        with pytest.raises(StillWaiting):
            handle.result()
        handle.signal("more", {"usd": 10, "calls": 5})
        assert ["x"] * 6 == handle.result()
        assert 6 == handle.costs().total.usd


@pytest.mark.parametrize(("said", "odd"), [({"dollars": 5}, "dollars by 5"), ({"usd": -1}, "usd by -1")])
def test_a_signal_that_raises_nothing_is_refused(said: dict[str, float], odd: str) -> None:
    """It is told in the run's notes, and the call waits on."""
    with World(models=saying()) as world:
        handle = world.start(raised(3))
        world.run_until_idle()
        handle.signal("more", said)
        world.run_until_idle()
        refused = handle.notes()[0]["text"]
        handle.signal("more", {"usd": 1})
        assert ["x"] * 3 == handle.result()

    assert refused.endswith(f"signal that raises a budget: expected usd, tokens, calls, each by 0 or more, got {odd}")


def test_a_signal_that_comes_early_raises_the_budget_when_it_is_needed() -> None:
    """It is kept, as signals are."""
    with World(models=saying()) as world:
        handle = world.start(raised(3))
        handle.signal("more", {"usd": 5})
        assert ["x"] * 3 == handle.result()


def test_a_tighter_budget_that_no_signal_raises_refuses() -> None:
    """The wait is for the budget that is short, not for any around it."""

    @workflow
    def tight() -> Workflow[str]:
        return (yield from budget(budget(tried(max_tokens=2), usd=9, raise_by="more"), usd=1))

    with World(models=saying()) as world:
        assert "usd 0/1" == world.start(tight()).result()


def test_when_a_budget_ends_its_signal_is_waited_for_no_more() -> None:
    """A later wait for the same name gets the message."""

    @workflow
    def ends() -> Workflow[list[Any]]:
        try:
            yield from replay.timeout(budget(one(), usd=0, raise_by="more"), 5)
        except replay.TimedOut:
            pass
        return [(yield from signal("more", dict[str, float]))]

    with World(models=saying()) as world:
        handle = world.start(ends())
        world.advance(10)
        handle.signal("more", {"usd": 1})
        assert [{"usd": 1.0}] == handle.result()


# ---- children -----------------------------------------------------------------------------------------------------------------------


@workflow(name="budgets.child")
def child(calls: int) -> Workflow[list[str]]:
    said = []
    for _ in range(calls):
        reply = yield from tried()
        said.append(reply)
    return said


@workflow(name="budgets.fails")
def fails(calls: int) -> Workflow[None]:
    for _ in range(calls):
        yield from one()
    raise ValueError("it went wrong")


@workflow(name="budgets.parent")
def parent(children: list[int], usd: float) -> Workflow[list[Any]]:
    def branch() -> Workflow[list[Any]]:
        said: list[Any] = list((yield from gather([child(calls) for calls in children])))
        said.append((yield from child(9)))
        return said

    return (yield from budget(branch(), usd=usd))


def test_children_of_a_gather_have_equal_parts() -> None:
    """What one does not use is there for who comes after."""
    with World(models=saying()) as world:
        first, second, last = world.start(parent([1, 5], 6)).result()

    assert ["x"] == first
    assert ["x", "x", "x", "usd 3/3", "usd 3/3"] == second
    assert (2, "usd 2/2") == (last.count("x"), last[-1])


def test_a_child_tells_what_it_spent_beside_its_result() -> None:
    """Its own journal and its handle show the bare result."""
    with World(models=saying()) as world:
        handle = world.start(parent([2], 6), id="p")
        handle.result()
        (told, *_) = [event for event in handle.journal() if event.kind == "child_completed"]
        bare = world.get("p.0/0/0/0/0").result()

    assert {"~result": ["x", "x"], "~spent": {"calls": 2, "tokens": 2, "usd": 2}} == from_json(told.payload)
    assert ["x", "x"] == bare


def test_a_child_that_fails_tells_what_it_spent() -> None:
    """With its failure."""

    @workflow
    def outer() -> Workflow[list[str]]:
        def branch() -> Workflow[list[str]]:
            try:
                yield from fails(2)
            except ChildFailed as failed:
                return [failed.message, (yield from tried()), (yield from tried())]
            return []

        return (yield from budget(branch(), calls=3))

    with World(models=saying()) as world:
        assert ["it went wrong", "x", "calls 3/3"] == world.start(outer()).result()


def test_a_child_is_given_its_share() -> None:
    """By option; what is beyond the parent's budget is refused at the line that asks for it."""

    @workflow
    def sharing() -> Workflow[list[Any]]:
        def branch() -> Workflow[list[Any]]:
            said: list[Any] = [(yield from child(9).options(budget={"calls": 2}))]
            try:
                yield from child(9).options(budget={"calls": 4})
            except BudgetExceeded as exceeded:
                said.append(f"{exceeded.spent:g}/{exceeded.limit:g}")
            return said

        return (yield from budget(branch(), calls=5))

    with World(models=saying()) as world:
        (first, second) = world.start(sharing()).result()

    assert (2, "calls 2/2", "2/5") == (first.count("x"), first[-1], second)


def test_a_child_that_was_begun_beside_has_what_is_left() -> None:
    """Another one that finds nothing left is refused, and told apart by its number."""

    @workflow
    def beside() -> Workflow[list[Any]]:
        def branch() -> Workflow[list[Any]]:
            handle = yield from start_child(child(9))
            refused = ""
            try:
                yield from child(1)
            except BudgetExceeded as exceeded:
                refused = f"{exceeded.spent:g}/{exceeded.limit:g}"
            return [refused, (yield from join(handle))]

        return (yield from budget(branch(), calls=2))

    with World(models=saying()) as world:
        refused, said = world.start(beside()).result()

    assert ("2/2", 2) == (refused, said.count("x"))


def test_grandchildren_share_what_their_parent_was_given() -> None:
    """A tree of runs never spends more than its root."""

    @workflow(name="budgets.tree")
    def tree(depth: int) -> Workflow[int]:
        said = yield from tried()
        below = (yield from gather(tree(depth - 1), tree(depth - 1), return_errors=True)) if depth else ()
        return (said == "x") + sum(part for part in below if isinstance(part, int))

    with World(models=saying()) as world:
        handle = world.start(tree(3).options(budget={"usd": 6}), id="root")
        found = handle.result()
        spent = handle.costs(tree=True).total

    assert found == spent.calls == spent.usd <= 6
    assert found >= 3


# ---- runs --------------------------------------------------------------------------------------------------------------------------


@workflow(name="budgets.loop")
def loop(turns: int, state: int | None = None) -> Workflow[str]:
    for turn in range(state or 0, turns):
        said = yield from tried()
        yield from set_state("turn", turn)
        if said != "x":
            return f"{said} at turn {turn}"
        yield from savepoint("turn", state=turn + 1)
    return "done"


def test_a_run_has_a_budget_that_outlives_its_savepoints() -> None:
    """Recovery from the newest one knows what was spent before it."""
    with World(models=saying()) as world:
        handle = world.start(loop(9).options(budget={"calls": 4}))
        world.run_until_idle()
        assert "calls 4/4 at turn 4" == handle.result()
    report = crash_everywhere(loop(3).options(budget={"calls": 2}), models=saying())
    assert report.crashes >= 10


def test_a_fresh_journal_goes_on_with_what_is_left() -> None:
    """``continue_as_new`` carries the sum, and the parent hears all of it."""

    @workflow(name="budgets.relay")
    def relay(left: int) -> Workflow[str]:
        said = yield from tried()
        if left and said == "x":
            yield from continue_as_new(left - 1)
        return f"{said} {(yield from info()).chain}"

    @workflow
    def around() -> Workflow[list[str]]:
        def branch() -> Workflow[list[str]]:
            return [(yield from relay(2)), (yield from tried()), (yield from tried())]

        return (yield from budget(branch(), calls=4))

    with World(models=saying()) as world:
        assert "calls 2/2 2" == world.start(relay(9).options(budget={"calls": 2})).result()
        assert ["x 2", "x", "calls 4/4"] == world.start(around()).result()


def test_a_run_that_is_begun_again_has_spent_what_it_has_spent() -> None:
    """Run-level retry is no way around a budget."""

    @workflow(name="budgets.again", retry=Retry(max_attempts=5, initial=0.1))
    def again() -> Workflow[None]:
        yield from one()
        raise ValueError("once more")

    with World(models=saying()) as world:
        handle = world.start(again().options(budget={"calls": 3}), id="a")
        with pytest.raises(RunFailed, match="BudgetExceeded: budget exceeded: 3 of 3 calls"):
            handle.result()
        assert 3 == handle.costs().total.calls


@pytest.mark.parametrize(
    "make",
    [
        lambda: row(4, {"usd": 2.5}),
        lambda: wide(3, {"calls": 2}),
        lambda: parent([1, 2], 4),
        lambda: raised(3),
    ],
    ids=["row", "wide", "children", "raised"],
)
def test_a_budget_survives_a_crash_everywhere(make: Callable[[], Any]) -> None:
    """The sums are those of the journal, so every life of the run has the same."""
    report = crash_everywhere(make(), models=saying(), signals=[("more", {"usd": 5.0})] if "raised" in str(make()) else ())

    assert report.crashes >= 6
