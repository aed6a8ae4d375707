"""Recorded runs again, with other answers: what changes, what it costs, and that nothing recorded is touched."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay import (
    Handle,
    InvalidRequest,
    PayloadError,
    Retry,
    UnknownName,
    Workflow,
    annotate,
    ask,
    gather,
    llm_call,
    now,
    random,
    savepoint,
    set_state,
    set_tags,
    signal,
    sleep,
    spawn,
    step,
    timeout,
    workflow,
)
from replay.authoring.llm import asked_otherwise
from replay.client.transfer import export_run
from replay.client.whatif import WhatIf, whatif
from replay.errors import ChildFailed, StepFailed, TimedOut
from replay.llm import LLMResult, Models, Said, Scripted, user
from replay.testing import World

DONE: Counter[str] = Counter()
"""Bodies that were really run."""


@step(name="whatif.classify", retry=Retry(max_attempts=3, initial=0))
def classify(text: str) -> dict[str, Any]:
    DONE["classify"] += 1
    return {"label": "spam" if "win" in text else "ham", "cost": 0.01, "usage": {"input_tokens": len(text), "output_tokens": 1}}


@step(name="whatif.move")
def move(label: str) -> str:
    DONE["move"] += 1
    return f"moved to {label}"


@step(name="whatif.slowly")
async def slowly(text: str) -> str:
    DONE["slowly"] += 1
    return text.upper()


@workflow(name="whatif.mail")
def mail(text: str) -> Workflow[str]:
    found = yield from classify(text)
    yield from set_state("label", found["label"])
    yield from set_tags(label=found["label"])
    yield from sleep(3600)
    if found["label"] == "spam":
        return "binned"
    return (yield from move(found["label"]))


@workflow(name="whatif.busy")
def busy(rounds: int, state: int = 0) -> Workflow[list[Any]]:
    """Everything at once: branches, timers, chance, a child, savepoints, signals, a question."""
    said: list[Any] = [(yield from random())]
    said += yield from gather(slowly("a"), mail("hello"), sleep(5))
    beside = yield from spawn(sleep(10_000))
    del beside
    try:
        said.append((yield from timeout(signal("word", str), 60)))
    except TimedOut:
        said.append("none")
    yield from savepoint("middle", goal="see it through")
    said.append((yield from ask("Well?", timeout=500, default="nobody")))
    said.append((yield from now()).isoformat())
    yield from annotate("done")
    return said


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


@pytest.fixture
def mails(world: World) -> list[Handle[str]]:
    """Three recorded runs: one was binned, two were moved."""
    texts = {"one": "you win", "two": "hello", "three": "dear Ada"}
    handles = [world.start(mail(text), id=name) for name, text in texts.items()]
    world.run()
    DONE.clear()
    return handles


def told(report: WhatIf) -> list[tuple[str, str, Any]]:
    return [(row.run, row.now.status, row.now.value) for row in report.rows]


# ---- nothing changes by itself ------------------------------------------------------------------------------------------------


def test_what_is_not_changed_comes_out_the_same(world: World, mails: list[Handle[str]]) -> None:
    """Event by event, without running a body or touching the source."""
    before = [handle.journal() for handle in mails]
    report = whatif(mails)

    assert ([("one", "completed", "binned"), ("two", "completed", "moved to ham"), ("three", "completed", "moved to ham")], ()) == (
        told(report),
        report.changed,
    )
    assert all(row.same and not row.changes and not row.notes for row in report.rows)
    assert Counter() == DONE
    assert before == [handle.journal() for handle in mails]


@pytest.mark.parametrize("word", [None, "hello"])
def test_a_run_with_everything_in_it_comes_out_the_same(world: World, word: str | None) -> None:
    """Branches, chance, timers that fired and that did not, a child, a question, the clock."""
    handle = world.start(busy(3), id="busy")
    world.run_until_idle()
    if word is not None:
        world.advance(4000)
        world.run_until_idle()
        handle.signal("word", word)
        world.run_until_idle()
        handle.answer(handle.asks()[0], "fine")
    world.run()
    report = whatif(handle)

    (row,) = report.rows
    assert (True, (), ()) == (row.same, row.changes, row.notes)
    assert [event.seq for event in handle.journal()] == [event.seq for event in report.client.get("busy").journal()]


def test_runs_that_are_open_failed_or_were_terminated_stand_where_they_stood(world: World) -> None:
    """A waiting run waits, a failure has its type and message."""

    @step(name="whatif.broken")
    def broken() -> None:
        raise OSError("no disk")

    @workflow(name="whatif.failing")
    def failing() -> Workflow[None]:
        yield from broken()

    @workflow(name="whatif.waiting")
    def waiting() -> Workflow[str]:
        return (yield from signal("word", str))

    handles: list[Handle[Any]] = [
        world.start(failing(), id="failed"),
        *(world.start(waiting(), id=name) for name in ("open", "ended", "stopped")),
    ]
    world.run_until_idle()
    handles[2].terminate("enough")
    handles[3].cancel()
    world.run_until_idle()
    report = whatif(handles)

    assert ["failed", "waiting", "terminated", "cancelled"] == [row.now.status for row in report.rows]
    report.assert_same()


# ---- edits, stubs, live --------------------------------------------------------------------------------------------------------


def test_an_edit_by_name_changes_every_run_that_it_meets(mails: list[Handle[str]]) -> None:
    """A function is called with the recorded answer; what the code asks for in consequence is stubbed or stops the run."""
    report = whatif(mails, edit={"whatif.classify": lambda found: {**found, "label": "spam"}})

    assert [("one", "completed", "binned"), ("two", "completed", "binned"), ("three", "completed", "binned")] == told(report)
    assert ["two", "three"] == [row.run for row in report.changed]
    assert ["whatif.classify", "whatif.move"] == [change.name for change in report.rows[1].changes]
    assert None is report.rows[1].changes[1].now


def test_what_was_not_recorded_stops_the_run_there(mails: list[Handle[str]]) -> None:
    """Its row says which effect, at which line, and what to do; nothing is done by itself."""
    report = whatif(mails[0], edit={2: {"label": "ham"}})

    (row,) = report.rows
    assert ("stopped", Counter()) == (row.now.status, DONE)
    assert row.notes[0].startswith('step whatif.move("ham") at ')
    assert row.notes[0].endswith("was not recorded; stub it, or let it be live")


def test_a_stub_answers_in_the_place_of_a_step(mails: list[Handle[str]]) -> None:
    """A value, or a function of the arguments; an exception fails it."""
    stubbed = whatif(mails, edit={"whatif.classify": {"label": "new"}}, stub={"whatif.move": lambda label: f"not {label}"})
    failed = whatif(mails[1], stub={"whatif.move": OSError("full")})

    assert ["not new"] * 3 == [row.now.value for row in stubbed.rows]
    assert ("failed", "whatif.move", Counter()) == (failed.rows[0].now.status, failed.rows[0].changes[0].name, DONE)
    assert "full" in failed.rows[0].now.value["message"]


def test_live_steps_are_really_done(world: World, mails: list[Handle[str]]) -> None:
    """Plain ones and coroutines, with their retries; only those that are named."""
    handle = world.start(busy(1), id="busy")
    world.run()
    DONE.clear()
    report = whatif([*mails, handle], live={"whatif.classify", "whatif.slowly"})

    report.assert_same()
    assert Counter(classify=3, slowly=1) == DONE


def test_a_live_child_is_run_again_over_its_own_record(world: World) -> None:
    """With the same settings; without a name it is only answered from the record."""
    handle = world.start(busy(1), id="busy")
    world.run()
    edit = {"whatif.classify": {"label": "spam"}}

    with pytest.raises(UnknownName, match=r"no answer to edit 'whatif\.classify'"):
        whatif(handle, edit=edit)
    (row,) = whatif(handle, edit=edit, live={"whatif.mail"}).rows
    assert ("completed", "binned") == (row.now.status, row.now.value[2])


def test_a_live_child_that_fails_fails_its_parent_as_it_would(world: World) -> None:
    """With the failure that a parent sees."""

    @workflow(name="whatif.parent")
    def parent() -> Workflow[str]:
        try:
            return (yield from mail("hello"))
        except ChildFailed as failed:
            return f"{failed.status}: {failed.message}"

    handle = world.start(parent(), id="parent")
    world.run()
    (row,) = whatif(handle, live={"whatif.mail"}, stub={"whatif.move": StepFailed("whatif.move", "OSError", "full", 1)}).rows

    assert row.now.value.startswith("failed: ")


# ---- language models ----------------------------------------------------------------------------------------------------------


@workflow(name="whatif.writer")
def writer(topic: str) -> Workflow[str]:
    reply = yield from llm_call(f"Write about {topic}.", model="gpt-4o", system="be short", temperature=0.5)
    return reply.text.upper()


@pytest.mark.parametrize(
    ("llm", "model", "asked"),
    [
        ({"model": "gpt-4o-mini", "temperature": 0}, "gpt-4o-mini", [("be short", 0)] * 2),
        ({"system": "be long"}, "gpt-4o", [("be long", 0.5)] * 2),
        ({"provider": "other"}, "gpt-4o", [("be short", 0.5)] * 2),
        ({"provider": "other", "model": "x/gpt-4o"}, "gpt-4o", [("be short", 0.5)] * 2),
        ({"provider": "other", "model": "x/meta/llama"}, "meta/llama", [("be short", 0.5)] * 2),
        (lambda call: asked_otherwise(call, messages=lambda said: [*said, user("Please.")]), "gpt-4o", [("be short", 0.5)] * 2),
    ],
)
def test_language_models_are_asked_again_otherwise(llm: Any, model: str, asked: list[Any]) -> None:
    """Another model, provider, prompt or setting; all else comes from the record."""
    with World(models=Models({"openai": Scripted(["old", "old"])})) as world:
        handles = [world.start(writer(topic), id=topic) for topic in ("tea", "rain")]
        world.run()
        scripted = Scripted(["new", "new"])
        report = whatif(handles, llm=llm, models=Models({"openai": scripted, "other": scripted}), jobs=1)

    assert [("OLD", "NEW")] * 2 == [(row.then.value, row.now.value) for row in report.rows]
    assert {model} == {ask.model for ask in scripted.asked}
    assert asked == [(ask.messages[0]["content"], ask.settings["temperature"]) for ask in scripted.asked]
    assert report.now.tokens > 0


def test_a_reply_with_the_same_words_is_the_same_whatever_its_question_and_its_duration() -> None:
    """Latency and digest of the request are beside the point; the words are what a difference shows first."""
    with World(models=Models({"openai": Scripted(["same", "old"])})) as world:
        handles = [world.start(writer(topic), id=topic) for topic in ("tea", "rain")]
        world.run()
        asked = iter(["same", "new"])
        usage = LLMResult[None].decode(handles[0].journal()[1].payload).usage
        script = Scripted(lambda _: Said(text=next(asked), usage=usage))
        report = whatif(handles, llm={"system": "be long"}, models=Models({"openai": script}), jobs=1)

    assert ["", "llm_call old → new"] == [row.difference for row in report.rows]


def test_a_table_says_why_a_run_stopped() -> None:
    """Beneath its rows."""

    @workflow(name="whatif.writer", version="3")
    def rewriter(topic: str) -> Workflow[str]:
        reply = yield from llm_call(f"Say something of {topic}.", model="gpt-4o")
        return reply.text

    with World(models=Models({"openai": Scripted(["old"])})) as world:
        handle = world.start(writer("tea"), id="tea")
        world.run()
        last = str(whatif(handle, workflow=rewriter)).splitlines()[-1]

    assert last.startswith("tea is stopped: llm_call gpt-4o, 1 messages at ")
    assert last.endswith("was not recorded; stub it, or let it be live")


def test_a_changed_prompt_is_only_asked_when_that_is_allowed() -> None:
    """Its recorded reply answers another conversation, so without ``llm`` or ``live`` the run stops there."""

    @workflow(name="whatif.writer", version="2")
    def rewriter(topic: str) -> Workflow[str]:
        reply = yield from llm_call(f"Say something of {topic}.", model="gpt-4o")
        return reply.text

    with World(models=Models({"openai": Scripted(["old"])})) as world:
        handle = world.start(writer("tea"), id="tea")
        world.run()
        stopped = whatif(handle, workflow=rewriter)
        asked = whatif(handle, workflow=rewriter, live="llm_call", models=Models({"openai": Scripted(["new"])}))

    assert ("stopped", "new") == (stopped.rows[0].now.status, asked.rows[0].now.value)


# ---- another input, another version -------------------------------------------------------------------------------------------------


def test_another_input_is_given_by_name_by_call_or_by_a_function(mails: list[Handle[str]]) -> None:
    """What the other input asks for and the record does not have is live here."""
    settings: dict[str, Any] = {"live": {"whatif.classify"}, "stub": {"whatif.move": "moved"}}
    reports = [
        whatif(mails, input={"text": "win win"}, **settings),
        whatif(mails, input=mail("win win"), **settings),
        whatif(mails, input=lambda text: mail(f"{text} win"), **settings),
    ]

    assert [["binned"] * 3] * 3 == [[row.now.value for row in report.rows] for report in reports]


def test_another_version_is_driven_over_old_records(mails: list[Handle[str]]) -> None:
    """Prompt and code regression tests from production journals."""

    @workflow(name="whatif.mail", version="2")
    def stricter(text: str) -> Workflow[str]:
        found = yield from classify(text)
        yield from sleep(3600)
        if found["label"] == "spam" or "Ada" in text:
            return "binned"
        return (yield from move(found["label"]))

    report = whatif(mails, workflow=stricter)

    assert ["three"] == [row.run for row in report.changed]
    assert "moved to ham → None" in report.rows[2].difference


def test_an_input_that_todays_code_cannot_take_is_told(mails: list[Handle[str]]) -> None:
    """Its row is stuck at once."""

    @workflow(name="whatif.mail", version="4")
    def narrower(text: int) -> Workflow[str]:
        yield from sleep(text)
        return ""

    (row,) = whatif(mails[0], workflow=narrower).rows

    assert ("stuck", 1) == (row.now.status, row.now.events)
    assert "expected int" in row.notes[0]


# ---- costs, reports, overlay ----------------------------------------------------------------------------------------------------


def test_costs_then_and_now_are_summed(mails: list[Handle[str]]) -> None:
    """From what the answers tell."""
    report = whatif(mails, edit={"whatif.classify": lambda found: {**found, "cost": 0.5}})

    assert (0.03, 1.5, 3) == (round(report.then.usd, 6), report.now.usd, report.now.calls)
    assert 7 + 5 + 8 + 3 == report.now.tokens


def test_new_journals_are_kept_in_memory(world: World, mails: list[Handle[str]]) -> None:
    """As runs of their own, with state and tags; the source knows nothing of them."""
    report = whatif(mails, edit={"whatif.classify": {"label": "spam"}})
    handle = report.client.get("two")

    assert ("completed", {"label": "spam"}, {"label": "spam"}) == (handle.status, handle.state(), handle.about().tags)
    assert handle.replay().fits
    assert "moved to ham" == world.get("two").result()


def test_a_report_is_a_table(mails: list[Handle[str]]) -> None:
    """One line a run, and the sums."""
    lines = str(whatif(mails, edit={"whatif.classify": {"label": "spam"}})).splitlines()

    assert ["run", "then", "now", "cost", "then", "cost", "now", "first", "difference"] == lines[0].split()
    assert ["two", "completed", "moved", "to", "ham", "completed", "binned", "$0.0100,"] == lines[2].split()[:8]
    assert lines[-1].startswith("3 runs")
    assert "2 changed" in lines[-1]


def test_assert_same_shows_the_table_of_those_that_differ(mails: list[Handle[str]]) -> None:
    """For tests."""
    with pytest.raises(AssertionError, match=r"2 of 3 runs end otherwise\nrun +then") as caught:
        whatif(mails, edit={"whatif.classify": {"label": "spam"}}).assert_same()

    assert "one" not in str(caught.value).split()


def test_progress_hears_of_each_run(mails: list[Handle[str]]) -> None:
    """Once, when it is known."""
    heard: list[str] = []
    whatif(mails, progress=lambda row: heard.append(row.run))

    assert ["one", "three", "two"] == sorted(heard)


def test_exported_files_and_folders_of_them_are_run_again(mails: list[Handle[str]], tmp_path: Path) -> None:
    """Without the store that they come from."""
    for handle in mails:
        (tmp_path / f"{handle.id}.jsonl").write_text("\n".join(export_run(handle)), encoding="utf-8")

    assert ["one", "three", "two"] == [row.run for row in whatif(tmp_path).rows]
    assert ["one"] == [row.run for row in whatif(str(tmp_path / "one.jsonl")).rows]


def test_the_fixture_runs_recorded_journals_again(mails: list[Handle[str]], whatif: Any) -> None:
    """``whatif`` of the pytest plugin is the same function."""
    whatif(mails).assert_same()


# ---- misuse -----------------------------------------------------------------------------------------------------------------


def test_an_edit_that_does_not_fit_its_effect_is_refused(world: World, mails: list[Handle[str]]) -> None:
    """By type, and by kind."""
    with pytest.raises(PayloadError, match=r"new answer of event #4, result of step whatif\.move: expected str, got int 3"):
        whatif(mails[1], edit={4: 3})
    with pytest.raises(InvalidRequest, match="event #3 is a timer_fired, which has no answer to replace"):
        whatif(mails[1], edit={3: None})
    with pytest.raises(PayloadError, match=r"result of step whatif\.move: expected str, got int 3"):
        whatif(mails[1], stub={"whatif.move": 3})


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        (
            {"edit": {"whatif.clasify": 1}},
            UnknownName,
            r"no answer to edit 'whatif\.clasify'; known: sleep, whatif\.",
        ),
        ({"edit": {77: 1}}, UnknownName, "no answer to edit '77'"),
        ({"stub": {"nothing": 1}}, UnknownName, "no effect for stub= 'nothing'"),
        ({"live": ["nothing"]}, UnknownName, "no effect for live= 'nothing'"),
        ({"live": ["x"], "stub": {"x": 1}}, InvalidRequest, "'x' is given two meanings"),
        ({"input": {"txt": 1}}, InvalidRequest, r"whatif\.mail has no argument 'txt'; its arguments are text"),
        ({"input": lambda text: text}, InvalidRequest, "the function made str"),
        ({"input": {"text": 3}}, PayloadError, "expected str, got int 3"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    mails: list[Handle[str]], settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """With the names that are known."""
    with pytest.raises(error, match=sentence):
        whatif(mails, **settings)


def test_runs_there_must_be(tmp_path: Path) -> None:
    """An empty folder is a mistake, so is a file that is not there."""
    with pytest.raises(InvalidRequest, match="there is none"):
        whatif(tmp_path)
    with pytest.raises(InvalidRequest, match=r"gone\.jsonl cannot be read"):
        whatif(tmp_path / "gone.jsonl")
    wrong: Any = [42]
    with pytest.raises(InvalidRequest, match="one of them is int 42"):
        whatif(wrong)


def test_code_that_goes_on_for_ever_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At so many events beyond its record."""
    monkeypatch.setattr("replay.client.replica.ROOM", 50)

    @workflow(name="whatif.until")
    def until_moved() -> Workflow[str]:
        while (said := (yield from move("x"))) != "moved to x":
            pass
        return said

    handle = world.start(until_moved(), id="until")
    world.run()
    (row,) = whatif(handle, stub={"whatif.move": "never"}).rows

    assert ("stopped", ("it goes on for more than 50 events beyond its record",)) == (row.now.status, row.notes)


def test_a_record_that_todays_types_cannot_take_is_told(world: World, mails: list[Handle[str]]) -> None:
    """Its row is stuck, the others go on."""

    @workflow(name="whatif.mail", version="3")
    def typed(text: str) -> Workflow[str]:
        return str((yield from renamed(text)))

    @step(name="whatif.classify")
    def renamed(text: str) -> int:
        return len(text)

    report = whatif(mails, workflow=typed)

    assert {"stuck"} == {row.now.status for row in report.rows}
    assert "expected int" in report.rows[0].notes[0]
    assert json.dumps(report.rows[0].then.value)
