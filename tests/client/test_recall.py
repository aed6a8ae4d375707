"""A run's memory of its reasoning, its ledger, and what reviewers say of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from replay import (
    Distillation,
    EffectError,
    InvalidRequest,
    JournalDamaged,
    PayloadError,
    RecallState,
    StepFailed,
    UnknownName,
    UpdateRefused,
    Workflow,
    annotate,
    ask,
    recall,
    signal,
    step,
    workflow,
)
from replay.authoring.recall import Recall
from replay.testing import World, check_savepoints, crash_everywhere
from tests.helpers.engines import PATIENCE, OpenEngine

LONG = "thinking aloud, " * 4_000


@attrs.frozen
class Mind:
    """An agent's state."""

    turn: int = 0
    memory: RecallState = attrs.field(factory=RecallState)


@step(name="recall.summarise")
def summarise(asked: Distillation) -> str:
    """Count what there is."""
    return f"{asked.previous}[{asked.why}: {len(asked.notes)} notes on {asked.goal or 'nothing'}]"


@step(name="recall.think")
def think(turn: int) -> dict[str, Any]:
    return {"text": f"thought {turn}", "cost": 0.25, "usage": {"input_tokens": 100, "output_tokens": 10}}


@workflow(name="recall.agent")
def agent(turns: int, state: Mind | None = None) -> Workflow[list[str]]:
    mind = state or Mind()
    memory = yield from recall(mind.memory, distill=summarise, every=3)
    for turn in range(mind.turn, turns):
        reply = yield from think(turn)
        yield from memory.note(reply["text"], turn=turn)
        yield from memory.savepoint(
            f"turn {turn}",
            state=lambda kept, turn=turn: Mind(turn + 1, kept),
            goal="find out" if turn == 0 else None,
            decisions=[f"go to {turn + 1}"],
        )
    yield from signal("end")
    return [memory.context(), *(f"{review.entry} {review.status}" for review in memory.take_reviews())]


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


# ---- notes, digests, recovery --------------------------------------------------------------------------------------------------


def test_notes_are_distilled_after_so_many(world: World) -> None:
    """The digest before is handed on; what was distilled leaves the context."""
    handle = world.start(agent(7), id="agent")
    handle.signal("end")
    context = handle.result()[0]

    assert (
        "Goal: find out\nDecisions:\n- go to 7\n"
        "So far: [notes: 3 notes on find out][notes: 3 notes on find out]\nSince then:\n- thought 6"
    ) == context
    assert ["digest", "digest"] == [entry.kind for entry in handle.ledger().digests]


def test_an_agent_that_recovers_remembers_the_same(world: World) -> None:
    """The state of its savepoints holds all that it remembers; digests are not made again."""
    handles = [world.start(agent(8), id=name) for name in ("steady", "crashing")]
    world.run_until_idle()
    world.crash()
    for handle in handles:
        handle.signal("end")
    world.run()

    assert handles[0].result() == handles[1].result()
    assert 2 == len([call for call in world.calls(summarise) if call.run == "crashing"])


def test_an_agent_may_die_anywhere() -> None:
    """It ends the same and writes the same journal, and at each savepoint, going on equals starting again."""
    assert crash_everywhere(agent(4), signals={"end": None}).worlds > 20
    assert 4 == len(check_savepoints(agent(4), signals={"end": None}).savepoints)


def test_raw_reasoning_goes_to_the_blob_side_when_it_is_large(open_engine: OpenEngine) -> None:
    """Its entry has the beginning, and ``raw`` all of it; at so many bytes it is distilled."""

    @workflow(name="recall.loud")
    def loud() -> Workflow[int]:
        memory = yield from recall(distill=summarise, max_bytes=100_000)
        yield from memory.ingest(LONG, source="model")
        yield from memory.ingest("short")
        yield from memory.ingest(LONG)
        return len(memory.state.thoughts)

    handle = open_engine().start(loud(), id="loud")
    assert 0 == handle.result(PATIENCE)

    first, short, _, digest = handle.ledger().timeline[:4]
    assert (LONG[:500], len(LONG), {"source": "model"}, "raw") == (first.text, first.size, first.fields, first.kind)
    assert (LONG, "short") == (handle.raw(first.id), handle.raw(short.id))
    assert "[bytes: 3 notes on nothing]" == digest.text
    with pytest.raises(UnknownName, match="no entry 'r9'; known: r1, r2, r3, r4"):
        handle.raw("r9")


def test_a_lost_blob_is_told(world: World) -> None:
    """Never an empty text."""

    @workflow(name="recall.lost")
    def lost() -> Workflow[None]:
        yield from annotate(LONG)

    handle = world.start(lost(), id="lost")
    world.run()
    world.medium._world.blobs.clear()  # type: ignore[attr-defined]  # a memory store's

    with pytest.raises(JournalDamaged, match="there is no blob of that name"):
        handle.raw("n1")


def test_distilling_on_request_takes_a_text_or_what_has_one(world: World) -> None:
    """As a reply of a language model; a generator of effects will do, too."""

    @attrs.frozen
    class Reply:
        text: str

    def model(asked: Distillation) -> Workflow[Reply]:
        said = yield from summarise(asked)
        return Reply(said.upper())

    @workflow(name="recall.asked")
    def asked() -> Workflow[list[str]]:
        memory = yield from recall(distill=model)
        nothing = yield from memory.distill()
        yield from memory.note("one")
        first = yield from memory.distill()
        return [nothing, first, (yield from memory.distill("again"))]

    assert ["", "[ASKED: 1 NOTES ON NOTHING]", "[ASKED: 1 NOTES ON NOTHING]"] == world.start(asked()).result()


def test_distilling_without_a_text_or_a_function_is_refused(world: World) -> None:
    """At the line that asks."""

    @workflow(name="recall.refused")
    def refused(how: str) -> Workflow[str]:
        try:
            memory = yield from recall(distill=think if how == "no text" else None, every=0 if how == "limit" else 5)  # type: ignore[arg-type]
            yield from memory.note("x")
            yield from memory.distill()
        except (EffectError, PayloadError, StepFailed) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    said = [world.start(refused(how)).result() for how in ("none", "limit", "no text")]

    assert said[0].startswith("EffectError: distill without a function")
    assert said[1].startswith("EffectError: recall with every=0")
    assert said[2].startswith("PayloadError: argument 'turn'")


# ---- the ledger ---------------------------------------------------------------------------------------------------------


def test_a_ledger_tells_what_was_thought_decided_and_spent(world: World) -> None:
    """A fold over journal and notes, whoever asks and whenever."""
    handle = world.start(agent(2), id="agent")
    world.run_until_idle()
    ledger = handle.ledger()

    assert [("r1", "note", "thought 0"), ("3", "savepoint", "turn 0"), ("r2", "note", "thought 1"), ("5", "savepoint", "turn 1")] == [
        (entry.id, entry.kind, entry.text) for entry in ledger.timeline
    ]
    assert ["3", "5"] == [entry.id for entry in ledger.decisions]
    assert ("find out", ("go to 2",), "open") == (ledger.focus.goal, ledger.focus.decisions, ledger.status)
    assert (2, 0.5, 220) == (ledger.costs["recall.think"].calls, ledger.spent.usd, ledger.spent.tokens)
    assert {"entries": 4, "decisions": 2, "dollars": 0.5} == {key: ledger.summary[key] for key in ("entries", "decisions", "dollars")}


def test_a_ledger_has_answers_signals_failures_and_the_end(world: World) -> None:
    """Of any workflow, whether it keeps a recall or not."""

    @step(name="recall.broken")
    def broken() -> None:
        raise OSError("no disk")

    @workflow(name="recall.plain")
    def plain() -> Workflow[None]:
        yield from ask("Go?")
        yield from signal("go")
        yield from annotate("here", kind="decision")
        yield from broken()

    handle = world.start(plain(), id="plain")
    world.run_until_idle()
    handle.answer("1", "yes", by="ada")
    handle.signal("go", 7)
    world.run()

    assert [
        ("answer", "question 1: 'yes'"),
        ("signal", "go"),
        ("decision", "here"),
        ("failure", "recall.broken: OSError: no disk"),
        ("end", "failed"),
    ] == sorted(((entry.kind, entry.text) for entry in handle.ledger().timeline), key=lambda pair: ORDER.index(pair[0]))
    assert "ada" == handle.ledger().timeline[0].fields["by"]


ORDER = ["answer", "signal", "decision", "failure", "end"]


def test_the_ledger_of_a_fork_has_the_notes_of_the_shared_past(world: World) -> None:
    """Up to where it was forked, whoever wrote them."""
    source = world.start(agent(3), id="source")
    world.run_until_idle()
    fork = source.fork("turn 0", id="fork", edit={2: {"text": "another thought"}})
    again = source.fork("turn 1", id="again")
    world.run_until_idle()

    assert ["thought 0", "thought 1", "thought 2"] == [entry.text for entry in again.ledger().timeline if entry.kind == "note"]
    assert ["another thought", "thought 1", "thought 2"] == [entry.text for entry in fork.ledger().timeline if entry.kind == "note"]
    assert 3 == len([call for call in world.calls(think) if call.run == "source"])


# ---- reviews ------------------------------------------------------------------------------------------------------------


def test_a_review_is_told_to_the_run_and_stands_in_the_ledger(world: World) -> None:
    """The newest counts; the run takes them when it likes."""
    handle = world.start(agent(1), id="agent")
    world.run_until_idle()
    handle.review("r1", "rejected", "too vague", by="ada")
    handle.review("3", "needs revision")
    handle.review("r1", "approved")
    entry = handle.ledger().entry("r1")

    assert entry is not None
    assert [("rejected", "too vague", "ada"), ("approved", "", "")] == [(each.status, each.feedback, each.by) for each in entry.reviews]
    assert ["3"] == [each.id for each in handle.ledger().to_heed]
    assert {"approved": 1, "rejected": 0, "needs revision": 1} == handle.ledger().summary["reviews"]
    assert "Reviews to heed:\n- 3 needs revision" in handle.ledger().context()
    handle.signal("end")
    context, *reviews = handle.result()
    assert "- r1 rejected: too vague" in context
    assert ["r1 rejected", "3 needs revision", "r1 approved"] == reviews


def test_a_run_that_has_ended_can_be_reviewed(world: World) -> None:
    """Beside its journal, which stays as it is."""
    handle = world.start(agent(1), id="agent")
    handle.signal("end")
    world.run()
    before = handle.journal()
    handle.review("r1", "rejected", "wrong", by="bob")
    entry = handle.ledger().entry("r1")

    assert entry is not None
    assert entry.review is not None
    assert ("rejected", "wrong", "bob", before) == (entry.review.status, entry.review.feedback, entry.review.by, handle.journal())


def test_a_review_that_makes_no_sense_is_refused(world: World) -> None:
    """By the client what it can see, else by the workflow; no trace is left."""
    handle = world.start(agent(1), id="agent")
    world.run_until_idle()
    before = handle.journal()

    with pytest.raises(InvalidRequest, match="status: 'fine' is none; use approved, rejected, needs revision"):
        handle.review("r1", "fine")
    with pytest.raises(UnknownName, match="no entry 'r7'; known: r1, 3"):
        handle.review("r7", "approved")
    for wrong in ({"entry": ""}, {"entry": "r1", "status": "fine"}, 7):
        with pytest.raises(UpdateRefused, match="ValueError"):
            handle.update("~review", wrong).result()
    assert before == handle.journal()


def test_a_workflow_without_a_recall_takes_no_reviews(world: World) -> None:
    """Nobody would hear them; it says so."""

    @workflow(name="recall.deaf")
    def deaf() -> Workflow[None]:
        yield from annotate("x")
        yield from signal("end")

    handle = world.start(deaf(), id="deaf")
    world.run_until_idle()

    with pytest.raises(UpdateRefused, match="no update '~review'"):
        handle.review("n1", "approved")


# ---- health -------------------------------------------------------------------------------------------------------------


def test_health_is_known_inside_and_outside(world: World) -> None:
    """Outside from the journal; inside from what was observed, and what can be done is done."""

    @workflow(name="recall.ailing")
    def ailing() -> Workflow[list[str]]:
        memory: Recall = yield from recall(distill=summarise)
        for turn in range(10):
            yield from think(turn)
            memory.observe("think", size=1_000 if turn < 5 else 100)
        yield from memory.note("much")
        found = memory.health(budget=100.0)
        left = yield from memory.follow(found)
        return [advice.do for advice in found.advice] + [advice.do for advice in left] + [memory.state.digests[0].text]

    handle = world.start(ailing(), id="ailing")

    assert ["trim", "trim", "[health: 1 notes on nothing]"] == handle.result()
    assert ["stop"] == [advice.do for advice in handle.health(budget=3.0).advice]
    assert handle.health().ok
