"""Time travel: forks, edits, past moments, replaying a journal. The run that they come from is never touched."""

from __future__ import annotations

from typing import Any

import pytest

from replay import (
    Engine,
    InvalidRequest,
    NonDeterminismError,
    PayloadError,
    UnknownName,
    Workflow,
    gather,
    publish,
    savepoint,
    send_signal,
    set_state,
    signal,
    sleep,
    step,
    workflow,
)
from replay.model.codec import from_json
from tests.helpers.engines import PATIENCE, Gate, kinds, until

PRICES = {"book": 10, "pen": 2}
ASKED: list[str] = []


@step
def price(item: str) -> int:
    ASKED.append(item)
    return PRICES[item]


@workflow
def buying(items: list[str]) -> Workflow[str]:
    total = 0
    for item in items:
        total += yield from price(item)
        yield from publish("bought", item)
    yield from savepoint("added up", decisions=[f"total {total}"])
    yield from set_state("total", total)
    agreed = yield from signal("agreed", bool)
    verdict = "bought" if agreed else "left"
    return f"{verdict} for {total}"


@pytest.fixture
def bought(engine: Engine) -> Any:
    """A run that has ended: 1 started, 2 price, 3 price, 4 savepoint, 5 signal, 6 completed."""
    ASKED.clear()
    handle = engine.start(buying(["book", "pen"]), id="a")
    until(handle.savepoints, engine.store)
    handle.signal("agreed", True)
    assert "bought for 12" == handle.result(PATIENCE)
    return handle


def test_a_fork_shares_the_past_and_goes_on_by_itself(bought: Any) -> None:
    """From a savepoint's name; the steps before it are not done again, the source stays as it is."""
    before = (bought.journal(), bought.about())
    fork = bought.fork("added up", id="b")
    fork.signal("agreed", False)

    assert "left for 12" == fork.result(PATIENCE)
    assert before == (bought.journal(), bought.about())
    assert ["book", "pen"] == ASKED
    assert ("a#4", 4, {"total": 12}) == (fork.about().source, len(fork.journal()[:4]), fork.state())
    assert before[0][1:4] == fork.journal()[1:4]


def test_a_fork_from_an_event_does_the_rest_again(bought: Any) -> None:
    """What lies after it is asked anew."""
    fork = bought.fork(2, id="b")
    fork.signal("agreed", True)

    assert "bought for 12" == fork.result(PATIENCE)
    assert ["book", "pen", "pen"] == ASKED


def test_what_if_an_answer_had_been_another(bought: Any) -> None:
    """An edited answer is spelt as its step spells it; the run goes on right behind it."""
    fork = bought.fork(edit={3: 200}, id="b")
    fork.signal("agreed", True)

    assert "bought for 210" == fork.result(PATIENCE)
    assert b"200" == fork.journal()[2].payload
    assert b"2" == bought.journal()[2].payload


def test_what_if_a_message_had_been_another(bought: Any) -> None:
    """Signals can be edited, too."""
    assert "left for 12" == bought.fork(edit={5: False}, id="b").result(PATIENCE)


def test_a_fork_says_nothing_again(engine: Engine, bought: Any) -> None:
    """Outputs of the shared past are not repeated; those of what is new are."""
    fork = bought.fork(2, id="b")
    fork.signal("agreed", True)
    fork.result(PATIENCE)

    assert ["book", "pen", "pen"] == [from_json(entry.payload) for entry in engine.read("bought")]


def test_a_fork_with_other_code_goes_on_differently(engine: Engine, bought: Any) -> None:
    """As long as the code fits the shared past."""

    @workflow(name="buying")
    def haggling(items: list[str]) -> Workflow[str]:
        total = 0
        for item in items:
            total += yield from price(item)
            yield from publish("bought", item)
        yield from savepoint("added up", decisions=[f"total {total}"])
        return f"haggled to {total // 2}"

    @workflow(name="buying")
    def stealing(items: list[str]) -> Workflow[str]:
        yield from savepoint("nothing asked")
        return "gone"

    assert "haggled to 6" == bought.fork("added up", id="b", workflow=haggling).result(PATIENCE)
    with pytest.raises(NonDeterminismError, match="recorded:  step_completed price"):
        bought.fork("added up", id="c", workflow=stealing)
    assert ["a", "b"] == sorted(run.key.id for run in engine.find().runs)


def test_a_fork_of_an_open_run_leaves_it_waiting(engine: Engine) -> None:
    """Both go on, each with its own messages."""
    handle = engine.start(buying(["pen"]), id="a")
    until(lambda: "savepoint" in kinds(handle), engine.store)
    fork = handle.fork(id="b")
    handle.signal("agreed", True)
    fork.signal("agreed", False)

    assert ("bought for 2", "left for 2") == (handle.result(PATIENCE), fork.result(PATIENCE))


def test_a_fork_has_no_parent_and_no_deadline(engine: Engine) -> None:
    """It answers nobody: a what-if must not be taken for the real answer."""

    @workflow
    def parent() -> Workflow[str]:
        return (yield from buying(["pen"]))

    handle = engine.start(parent(), id="p", deadline=3600)
    child = engine.get("p.0", buying)
    until(lambda: engine.store.get([child.key])[0] and "savepoint" in kinds(child), engine.store)
    fork = child.fork(id="b")
    fork.signal("agreed", False)
    assert "left for 2" == fork.result(PATIENCE)
    assert ("", "waiting") == (fork.about().parent, until(lambda: handle.status == "waiting" and handle.status, engine.store))
    child.signal("agreed", True)

    assert "bought for 2" == handle.result(PATIENCE)


def test_a_fork_in_the_middle_of_branches_repeats_what_was_under_way(engine: Engine) -> None:
    """Of a gather, what had been answered stays answered."""
    gate, asked = Gate(), []

    @step
    def ask(number: int) -> int:
        asked.append(number)
        if number == 1 and len(asked) < 4:
            gate.enter()
        return number

    @workflow
    def flow() -> Workflow[list[int]]:
        return list((yield from gather(ask(0), ask(1), ask(2))))

    handle = engine.start(flow(), id="a")
    until(lambda: 2 == kinds(handle).count("step_completed"), engine.store)
    fork = handle.fork(id="b")

    assert [0, 1, 2] == fork.result(PATIENCE)
    gate.open()
    assert [0, 1, 2] == handle.result(PATIENCE)
    assert [0, 1, 1, 2] == sorted(asked)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"at": "nowhere"}, UnknownName, "added up"),
        ({"at": 0}, UnknownName, "1 to 6"),
        ({"at": 7}, UnknownName, "1 to 6"),
        ({"edit": {9: 1}}, UnknownName, "1 to 6"),
        ({"at": 2, "edit": {3: 1}}, InvalidRequest, "after #2"),
        ({"edit": {1: "x"}}, InvalidRequest, "#1 is a started"),
        ({"edit": {4: "x"}}, InvalidRequest, "#4 is a savepoint"),
        ({"edit": {2: "no number"}}, PayloadError, "result of step price"),
    ],
    ids=str,
)
def test_a_fork_that_cannot_be_is_refused(engine: Engine, bought: Any, arguments: Any, error: Any, match: str) -> None:
    """With what there is; and nothing is created."""
    with pytest.raises(error, match=match):
        bought.fork(**arguments, id="b")

    assert ["a"] == [run.key.id for run in engine.find().runs]


def test_any_past_moment_can_be_seen(bought: Any) -> None:
    """The workflow's own variables and the line where it stood."""
    moments = [bought.at(number) for number in range(1, 7)]

    assert [0, 10, 12, 12] == [moment.variables["total"] for moment in moments[:4]]
    assert ["book", "pen"] == [moment.variables["item"] for moment in moments[:2]]
    assert moments[0].line.endswith(f"{__file__.rsplit('/', 1)[1]}:{buying.fn.__code__.co_firstlineno + 4}")
    assert ('step price("book")',) == moments[0].pending
    assert ("signal agreed",) == moments[3].pending
    assert ("", ()) == (moments[5].line, moments[5].pending)


def test_a_journal_is_driven_through_today_s_code(engine: Engine, bought: Any) -> None:
    """The report tells how much was read, where it stands, and whether it fits; nothing is acted on."""
    report = bought.replay()
    assert (6, True, "completed", ()) == (report.events, report.fits, report.outcome, report.pending)

    waiting = engine.start(buying([]), id="b")
    until(lambda: "savepoint" in kinds(waiting), engine.store)
    report = waiting.replay()
    assert (2, True, "", ("signal agreed",)) == (report.events, report.fits, report.outcome, report.pending)
    assert __file__.rsplit("/", 1)[1] in report.line
    assert ["book", "pen"] == ASKED


def test_a_fork_may_have_the_id_of_nobody_else(engine: Engine, bought: Any) -> None:
    """Forking twice to one id does not quietly give back another run."""
    from replay import RunExists

    first = bought.fork("added up", id="b")
    first.signal("agreed", True)
    first.result(PATIENCE)

    with pytest.raises(RunExists, match="b"):
        bought.fork(edit={3: 5}, id="b")
    with pytest.raises(RunExists, match="a"):
        bought.fork(2, id="a")
    assert "bought for 12" == engine.get("b", buying).result(PATIENCE)


def test_messages_sent_in_the_past_are_not_sent_again(engine: Engine) -> None:
    """By a fork that shares that past; what its own part sends is its own."""

    @workflow
    def hearing() -> Workflow[list[int]]:
        heard: list[int] = []
        while len(heard) < 3:
            heard.append((yield from signal("number", int)))
        return heard

    @workflow
    def sending() -> Workflow[None]:
        yield from send_signal("ear", "number", 1)
        yield from sleep(0)
        yield from send_signal("ear", "number", 2)

    ear = engine.start(hearing(), id="ear")
    handle = engine.start(sending(), id="a")
    handle.result(PATIENCE)
    handle.fork(1, id="b", workflow=sending).result(PATIENCE)

    assert [1, 2, 2] == ear.result(PATIENCE)
