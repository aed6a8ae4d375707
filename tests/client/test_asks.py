"""Questions to people: asked in state, answered once, refused with a reason."""

from __future__ import annotations

import enum
import threading
from typing import Any, Literal, TypedDict

import attrs
import pytest

import replay
from replay import (
    AnswerRefused,
    AskClosed,
    Cancelled,
    EffectError,
    PayloadError,
    TimedOut,
    UpdateRefused,
    WaitTimedOut,
    Workflow,
    ask,
    continue_as_new,
    gather,
    race,
    savepoint,
    sleep,
    workflow,
)
from replay.model import events
from replay.model.asks import OPEN_ASKS
from replay.model.codec import from_json
from replay.testing import World, crash_everywhere
from replay.testing.clock import SECOND
from tests.helpers.engines import PATIENCE, OpenEngine, kinds, until


@attrs.frozen
class Review:
    """What a reviewer fills in."""

    verdict: Literal["yes", "no"]
    stars: int
    remark: str = ""


class Address(TypedDict):
    street: str
    number: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def positive(number: int) -> None:
    if number <= 0:
        raise ValueError("more than nothing, please")


@workflow(name="asks.number")
def number() -> Workflow[int]:
    return (yield from ask("How many?", type=int, validator=positive, assignee="ada"))


@workflow(name="asks.patient")
def patient(seconds: float) -> Workflow[str]:
    try:
        return (yield from ask("Well?", timeout=seconds))
    except TimedOut as error:
        return f"gave up: {error}"


@pytest.fixture
def world() -> Any:
    with World() as made:
        yield made


def asked(world: World, call: Any, id: str = "run") -> replay.Handle[Any]:
    """A run that has asked."""
    handle = world.start(call, id=id)
    world.run_until_idle()
    return handle


# ---- asking and answering ---------------------------------------------------------------------------------------------------


def test_an_open_question_is_shown_until_it_is_answered(world: World) -> None:
    """With its schema, in the run's state; the answer comes back as its type."""
    handle = asked(world, number())
    (question,) = handle.asks()

    assert ("run", "1", "How many?", {"type": "integer"}, "ada", None) == (
        question.run,
        question.id,
        question.prompt,
        question.schema,
        question.assignee,
        question.due_at,
    )
    handle.answer(question, 3, by="ada")
    assert 3 == handle.result()
    assert [] == handle.asks()


def test_runs_with_open_questions_are_found_by_a_tag(world: World) -> None:
    """And by nothing once their questions are answered."""
    handles = [asked(world, number(), f"r{place}") for place in range(3)]
    handles[1].answer("1", 1)

    assert ["r2", "r0"] == [run.key.id for run in world.find(tags={OPEN_ASKS: "open"}).runs]
    assert ["r2", "r0"] == [question.run for question in world.asks().asks]


def test_questions_of_all_runs_come_in_pages(world: World) -> None:
    """A page of so many runs; of one person's, when asked so."""
    for place in range(3):
        _ = asked(world, number(), f"r{place}")
    _ = asked(world, patient(60), "other")
    first = world.asks(limit=2)
    second = world.asks(limit=2, cursor=first.cursor)

    assert (["other", "r2"], ["r1", "r0"], "") == (
        [question.run for question in first.asks],
        [question.run for question in second.asks],
        second.cursor,
    )
    assert ["r2", "r1", "r0"] == [question.run for question in world.asks(assignee="ada").asks]
    assert ["other"] == [question.run for question in world.asks(assignee="").asks]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("three", "answer must be an integer, got str 'three'"),
        (True, "answer must be an integer, got bool True"),
        (0, "ValueError: more than nothing, please"),
    ],
)
def test_a_wrong_answer_is_refused_with_the_reason_and_leaves_no_trace(world: World, answer: Any, reason: str) -> None:
    """The question stays open."""
    handle = asked(world, number())
    before = handle.journal()

    with pytest.raises(AnswerRefused) as caught:
        handle.answer("1", answer)
    world.run_until_idle()

    assert reason == caught.value.reason
    assert (before, ["1"]) == (handle.journal(), [question.id for question in handle.asks()])
    handle.answer("1", 7)
    assert 7 == handle.result()


def test_what_the_schema_cannot_tell_the_workflow_refuses(world: World) -> None:
    """A moment that is none fits the schema of one that has only a format."""
    import datetime

    @workflow
    def when() -> Workflow[str]:
        return (yield from ask("When?", type=datetime.date)).isoformat()

    handle = asked(world, when())
    with pytest.raises(AnswerRefused, match="expected date"):
        handle.answer("1", "tomorrow")

    handle.answer("1", datetime.date(2026, 5, 1))
    assert "2026-05-01" == handle.result()


def test_a_validator_may_answer_false(world: World) -> None:
    """Then the answer is refused."""

    @workflow
    def picky() -> Workflow[str]:
        return (yield from ask("Name?", validator=str.istitle))

    handle = asked(world, picky())
    with pytest.raises(AnswerRefused, match="ValueError: str 'ada' is not accepted"):
        handle.answer("1", "ada")

    handle.answer("1", "Ada")
    assert "Ada" == handle.result()


def test_an_answered_question_is_closed(world: World) -> None:
    """Who comes second is told so, whether the run goes on or has ended."""

    @workflow
    def twice() -> Workflow[list[str]]:
        first = yield from ask("First?")
        return [first, (yield from ask("Second?"))]

    handle = asked(world, twice())
    handle.answer("1", "a")
    with pytest.raises(AskClosed) as caught:
        handle.answer("1", "b")
    assert ("run", "1", ("2",)) == (caught.value.run, caught.value.ask, caught.value.open)

    handle.answer("2", "c")
    assert ["a", "c"] == handle.result()
    with pytest.raises(AskClosed):
        handle.answer("2", "d")


def test_of_two_people_who_answer_at_once_one_is_told_that_it_is_closed(open_engine: OpenEngine) -> None:
    """Both have seen the question open."""
    engine = open_engine()

    @workflow
    def slow() -> Workflow[str]:
        answer = yield from ask("Who?")
        yield from sleep(hours=1)
        return answer

    handle = engine.start(slow(), id="race")
    until(handle.asks, engine.store)
    gate, fates = threading.Barrier(2), list[str]()

    def person(name: str) -> None:
        gate.wait()
        try:
            handle.answer("1", name, timeout=PATIENCE)
        except AskClosed:
            fates.append("closed")
        else:
            fates.append(name)

    people = [threading.Thread(target=person, args=(name,)) for name in ("ada", "bob")]
    for each in people:
        each.start()
    for each in people:
        each.join()

    (winner,) = set(fates) - {"closed"}
    assert {winner, "closed"} == set(fates)
    (taken,) = [event for event in handle.journal() if event.kind == events.UPDATE_RECEIVED]
    assert winner == from_json(taken.payload)["value"]["value"]


def test_an_answer_waits_for_a_worker(store_url: str) -> None:
    """It is refused at once when the schema says so, else it lies there and counts when one comes."""
    with replay.Engine(store_url) as engine:
        asking = engine.start(number(), id="away")
        until(asking.asks, engine.store)
    with replay.Client(store_url) as client:
        handle = client.get("away")
        with pytest.raises(AnswerRefused):
            handle.answer("1", "x")
        with pytest.raises(WaitTimedOut):
            handle.answer("1", 5, timeout=0)
    with replay.Engine(store_url) as engine:
        assert 5 == engine.get("away").result(PATIENCE)


# ---- forms and choices --------------------------------------------------------------------------------------------------------


def test_a_form_has_several_fields(world: World) -> None:
    """An attrs class; what is missing or wrong is named by its field."""

    @workflow
    def reviewing() -> Workflow[Review]:
        return (yield from ask("What do you say?", form=Review))

    handle = asked(world, reviewing())
    for wrong, reason in (
        ({"verdict": "yes"}, "answer lacks 'stars'"),
        ({"verdict": "perhaps", "stars": 1}, "answer.verdict must be one of 'yes', 'no', got str 'perhaps'"),
        ({"verdict": "no", "stars": "5"}, "answer.stars must be an integer, got str '5'"),
        (7, "answer must be an object, got int 7"),
    ):
        with pytest.raises(AnswerRefused) as caught:
            handle.answer("1", wrong)
        assert reason == caught.value.reason

    handle.answer("1", {"verdict": "no", "stars": 1})
    assert Review("no", 1) == handle.result()


def test_a_form_may_be_a_typed_dict_or_a_value_of_its_class_may_answer(world: World) -> None:
    """Whatever the codec knows."""

    @workflow
    def moving() -> Workflow[tuple[Address, Review]]:
        return (yield from gather(ask("Where?", form=Address), ask("And?", form=Review)))

    handle = asked(world, moving())
    assert ["1", "1-2"] == [question.id for question in handle.asks()]
    handle.answer("1-2", Review("yes", 5, "nice"))
    handle.answer("1", {"street": "Elm", "number": 3})

    assert ({"street": "Elm", "number": 3}, Review("yes", 5, "nice")) == handle.result()


def test_choices_are_the_only_answers(world: World) -> None:
    """Of any one type; an enum's members come back as such."""

    @workflow
    def choosing() -> Workflow[list[str]]:
        size = yield from ask("Which size?", choices=[38, 40])
        colour = yield from ask("Which colour?", choices=[Colour.RED, Colour.BLUE])
        return [f"{type(size).__name__} {size}", colour.name]

    handle = asked(world, choosing())
    assert {"enum": [38, 40]} == handle.asks()[0].schema
    with pytest.raises(AnswerRefused, match="must be one of 38, 40, got int 39"):
        handle.answer("1", 39)
    handle.answer("1", 40)
    (question,) = handle.asks()
    assert {"enum": ["red", "blue"]} == question.schema
    handle.answer(question, Colour.BLUE)

    assert ["int 40", "BLUE"] == handle.result()


# ---- time and cancellation ------------------------------------------------------------------------------------------------------


def test_a_question_is_given_up_when_its_time_is_over(world: World) -> None:
    """It raises, or answers with its default, and is shown no more."""
    handle = asked(world, patient(3600))
    (question,) = handle.asks()
    assert question.asked_at + 3600 * SECOND == question.due_at
    world.advance(hours=1)

    assert "gave up: ask 'Well?' did not end within 3600 s" == handle.result()
    assert ([], {}) == (handle.asks(), handle.about().tags)


def test_a_default_answers_in_time(world: World) -> None:
    """As it is, not encoded."""

    @workflow
    def hurried() -> Workflow[bool]:
        return (yield from ask("Sure?", type=bool, timeout=60, default=None)) is None

    assert asked(world, hurried()).result() is True


def test_a_question_that_loses_a_race_is_withdrawn(world: World) -> None:
    """So is one whose run is cancelled; nobody can answer it any more."""

    @workflow
    def racing() -> Workflow[list[Any]]:
        first = yield from race(ask("Slow?"), sleep(60))
        try:
            yield from ask("Still there?")
        except Cancelled:
            return [first[0], (yield from ask("Any last words?"))]
        return []

    handle = asked(world, racing())
    world.advance(60)
    assert ["Still there?"] == [question.prompt for question in handle.asks()]
    handle.cancel()
    world.run_until_idle()
    (last,) = handle.asks()
    handle.answer(last, "bye")

    assert [1, "bye"] == handle.result()


def test_a_run_that_ends_leaves_no_question(world: World) -> None:
    """Cancelled while it asks, or terminated."""
    handles = [asked(world, number(), name) for name in ("cancelled", "terminated")]
    handles[0].cancel()
    handles[1].terminate()
    world.run_until_idle()

    assert [[], []] == [handle.asks() for handle in handles]
    assert () == tuple(world.asks().asks)


@pytest.mark.parametrize("seconds", [5, 50])
def test_who_asks_may_die_anywhere(seconds: int) -> None:
    """Whether it is answered after ten seconds or given up before."""

    def answer_later(world: World) -> None:
        said = {"ask": "1", "value": "fine"}
        world.after(10, lambda: world.find(status="waiting").runs and world.get("run").update("~answer", said, id="only-once"))

    assert crash_everywhere(patient(seconds), prepare=answer_later).worlds > 5


# ---- names and misuse ---------------------------------------------------------------------------------------------------------------


def test_no_id_is_used_twice_in_a_run(world: World) -> None:
    """Neither behind a savepoint with state nor in the next journal; a late answer never meets another question."""
    seen: list[str] = []

    @workflow
    def loop(chain: int = 0, state: int = 0) -> Workflow[str]:
        while state < 2:
            yield from ask("Go on?")
            state += 1
            yield from savepoint("turn", state=state)
        if chain == 0:
            yield from continue_as_new(1)
        return "done"

    handle = asked(world, loop())
    while handle.asks():
        (question,) = handle.asks()
        seen.append(question.id)
        world.crash()
        handle.answer(question, "yes")
        world.run_until_idle()

    assert ("done", ["1", "3", "1.1", "1.3"]) == (handle.result(), seen)


def test_a_question_may_have_a_name_of_its_own(world: World) -> None:
    """One that is open already is refused at the line that asks again."""

    @workflow
    def named() -> Workflow[str]:
        try:
            yield from gather(ask("One?", id="same"), ask("Two?", id="same"))
        except EffectError as error:
            return str(error)
        return ""

    said = asked(world, named()).result()
    assert "ask 'Two?' as 'same', which is open already; wait for its answer, or give another id=" == said


def test_a_question_cannot_be_answered_by_a_signal(world: World) -> None:
    """Nobody could be told why it was refused."""
    handle = asked(world, number())
    handle.signal("~ask:1", 3)
    world.run_until_idle()

    assert ["1"] == [question.id for question in handle.asks()]
    assert handle.notes()[0]["text"].startswith("signal '~ask:1' was refused: question: expected an answer by handle.answer")


def test_an_answer_of_no_shape_is_refused(world: World) -> None:
    """From a client that does not keep to the form."""
    handle = asked(world, number())
    for wrong in (7, {}, {"ask": "9", "value": 1}):
        with pytest.raises(UpdateRefused, match="AskClosed"):
            handle.update("~answer", wrong).result()

    assert kinds(handle) == ["started"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prompt": " "}, "say what is asked"),
        ({"prompt": "?", "type": int, "form": Review}, "give it one of them"),
        ({"prompt": "?", "choices": []}, "give it some"),
        ({"prompt": "?", "default": 1}, "say after how many seconds it is used"),
        ({"prompt": "?", "timeout": -1}, "give it 0 seconds or more"),
        ({"prompt": "?", "type": int, "choices": ["x"]}, "expected int, got str 'x'"),
        ({"prompt": "?", "type": threading.Lock}, "expected"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_at_its_line(given: dict[str, Any], sentence: str) -> None:
    """Before anything is yielded."""
    with pytest.raises((EffectError, PayloadError), match=sentence):
        ask(**given)
