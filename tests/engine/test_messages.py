"""What can be told to a run: signals, updates, queries, cancelling, terminating, pausing; and what runs tell each other."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from replay import (
    CallbackFailed,
    Cancelled,
    Client,
    Engine,
    InvalidRequest,
    PayloadError,
    RunClosed,
    RunFailed,
    Saga,
    Start,
    TimedOut,
    UnknownName,
    UpdateRefused,
    Workflow,
    annotate,
    callback,
    continue_as_new,
    gather,
    on_update,
    poll,
    publish,
    random,
    saga,
    savepoint,
    send_signal,
    set_state,
    set_tags,
    shield,
    signal,
    sleep,
    step,
    workflow,
)
from replay.authoring.definitions import WORKFLOWS
from replay.model.codec import from_json
from replay.store.contract import Message
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, Gate, OpenEngine, kinds, let_pass, named, reaches, until


@workflow(signals={"add": int})
def adding(times: int) -> Workflow[list[int]]:
    heard = []
    for _ in range(times):
        heard.append((yield from signal("add", int)))  # noqa: PERF401 - a comprehension cannot yield
    return heard


@adding.query
def so_far(heard: list[int], factor: int = 1) -> list[int]:
    return [factor * number for number in heard]


@adding.query
def asks_too_much(unheard_of: int) -> int:
    return unheard_of


@adding.query
def breaks(heard: list[int]) -> float:
    return 1 / (len(heard) - len(heard))


@adding.query
def at_length(size: int) -> str:
    return "x" * size


@adding.query
def gives_up(why: str) -> None:
    raise {"cancelled": Cancelled, "asyncio": asyncio.CancelledError, "exit": SystemExit}[why](why)


@pytest.fixture
def parked(engine: Engine) -> Any:
    """A run that waits for three numbers and has left memory."""
    handle = engine.start(adding(3), id="a")
    reaches(handle, "waiting")
    return handle


# ---- signals ----------------------------------------------------------------------------------------------------------------


def test_signals_come_in_their_order(engine: Engine) -> None:
    """First in, first out, whether the run waits, is resting or has left memory."""
    handle = engine.start(adding(100), id="a")
    for number in range(100):
        handle.signal("add", number)

    assert list(range(100)) == handle.result(PATIENCE)


def test_thousands_of_signals_reach_one_run(engine: Engine) -> None:
    """From many threads at once; none is lost and none comes twice."""
    handle = engine.start(adding(3000), id="a")

    def send(start: int) -> None:
        for number in range(start, 3000, 6):
            handle.signal("add", number)

    threads = [threading.Thread(target=send, args=[start]) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(3000)) == sorted(handle.result(PATIENCE))


def test_a_signal_sent_twice_under_one_id_comes_once(parked: Any) -> None:
    """Idempotent by message id, also after it was consumed."""
    for number in (1, 2, 1, 3, 2):
        parked.signal("add", number, id=f"m{number}")

    assert [1, 2, 3] == parked.result(PATIENCE)


def test_an_early_signal_is_kept(engine: Engine) -> None:
    """It waits until the workflow asks for its name; other names do not take it."""

    @workflow
    def flow() -> Workflow[list[str]]:
        first = yield from signal("first", str)
        return [first, (yield from signal("second", str))]

    handle = engine.start(flow())
    handle.signal("second", "b")
    handle.signal("first", "a")

    assert ["a", "b"] == handle.result(PATIENCE)


def test_messages_of_others_are_not_overtaken(store_url: str, engine: Engine) -> None:
    """What another client posted before comes before what this engine's client posts, also to a run held here."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 0

    @workflow
    def flow() -> Workflow[list[str]]:
        yield from hold()
        heard = []
        for _ in range(20):
            heard.append((yield from signal("word", str)))  # noqa: PERF401 - a comprehension cannot yield
        return heard

    handle = engine.start(flow(), id="a")
    gate.await_entry()
    with Client(store_url) as client:
        for number in range(0, 20, 2):
            client.get("a").signal("word", f"w{number:02}")
            handle.signal("word", f"w{number + 1:02}")
    gate.open()

    assert [f"w{number:02}" for number in range(20)] == handle.result(PATIENCE)


def test_a_signal_of_another_type_is_refused_where_it_is_sent(parked: Any) -> None:
    """The workflow declares ``signals={"add": int}``."""
    with pytest.raises(PayloadError, match="signal 'add'"):
        parked.signal("add", "one")

    assert ["started"] == kinds(parked)


def test_a_signal_of_another_type_that_comes_all_the_same_is_noted(engine: Engine) -> None:
    """Where nothing was declared, the wait refuses it, and the run goes on waiting."""

    @workflow
    def flow() -> Workflow[int]:
        return (yield from signal("number", int))

    handle = engine.start(flow())
    reaches(handle, "waiting")
    handle.signal("number", "one")
    until(handle.notes, engine.store)
    handle.signal("number", 1)

    assert 1 == handle.result(PATIENCE)
    assert "signal 'number' was refused" in handle.notes()[0]["text"]


def test_an_ended_run_takes_no_messages(engine: Engine) -> None:
    """The sender is told how it ended."""
    handle = engine.start(adding(0), id="a")
    handle.result(PATIENCE)

    for send in (lambda: handle.signal("add", 1), lambda: handle.update("x"), handle.cancel, handle.pause, handle.terminate):
        with pytest.raises(RunClosed, match="completed"):
            send()


def test_a_signal_in_time_is_stronger_than_the_timeout(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Also when the engine hears of both at once: a message that came before the timer was due is taken first."""
    engine = open_engine(clock=clock)

    @workflow
    def flow() -> Workflow[str]:
        return (yield from signal("word", str, timeout=60, default="none"))

    in_time, too_late = engine.start_many([Start(flow(), "in"), Start(flow(), "late")])
    reaches(in_time, "running", "waiting")
    clock.advance(59)
    in_time.signal("word", "said")
    let_pass(engine, clock, 10)

    assert ["said", "none"] == [in_time.result(PATIENCE), too_late.result(PATIENCE)]


# ---- updates and queries ------------------------------------------------------------------------------------------------------


@workflow
def account() -> Workflow[int]:
    balance = 0

    def deposit(amount: int) -> int:
        nonlocal balance
        balance += amount
        return balance

    def slow_deposit(amount: int) -> Workflow[int]:
        nonlocal balance
        yield from sleep(0.01)
        balance += amount
        return balance

    def positive(amount: int) -> None:
        if amount <= 0:
            raise ValueError(f"{amount} is not positive")

    yield from on_update("deposit", deposit, type=int, returns=int, validator=positive)
    yield from on_update("slow", slow_deposit, type=int, returns=int)
    yield from on_update("broken", lambda _: 1 / 0)
    yield from signal("close")
    return balance


@account.query
def total(balance: int) -> int:
    return balance


def test_an_update_is_answered(engine: Engine) -> None:
    """Its handler's result is the reply, also when it yields effects of its own."""
    handle = engine.start(account(), id="a")

    assert 10 == handle.update("deposit", 10).result(PATIENCE)
    assert 15 == handle.update("slow", 5).result(PATIENCE)
    handle.signal("close")
    assert 15 == handle.result(PATIENCE)


def test_a_refused_update_leaves_no_trace(engine: Engine) -> None:
    """The validator, an unfit argument, and a name that nobody handles; the journal does not grow."""
    handle = engine.start(account(), id="a")
    before = handle.journal()

    for name, value, reason in (("deposit", -1, "not positive"), ("deposit", "x", "expected int"), ("rob", 1, "no update 'rob'")):
        with pytest.raises(UpdateRefused, match=reason):
            handle.update(name, value).result(PATIENCE)
    assert before == handle.journal()


def test_an_update_whose_handler_raises_has_failed(engine: Engine) -> None:
    """The caller hears of it, the run goes on."""
    handle = engine.start(account(), id="a")

    with pytest.raises(RunFailed, match="division by zero"):
        handle.update("broken", 1).result(PATIENCE)
    assert 1 == handle.update("deposit", 1).result(PATIENCE)


def test_an_update_after_a_restart_sees_what_was_before(open_engine: OpenEngine) -> None:
    """Handlers are the workflow's own code: they are there again when it is driven again; a reply can be asked for again."""
    first = open_engine(workflows=[account])
    reply = first.start(account(), id="a").update("deposit", 3, id="u1")
    assert 3 == reply.result(PATIENCE)
    first.close()
    handle = open_engine(workflows=[account]).get("a", account)

    assert 7 == handle.update("deposit", 4).result(PATIENCE)
    assert 3 == handle.update("deposit", 3, id="u1").result(PATIENCE)


def test_an_update_to_a_run_that_ends_is_answered(engine: Engine) -> None:
    """A caller does not wait for ever for a reply that nobody will give."""

    @workflow
    def flow() -> Workflow[None]:
        def never(_: Any) -> Workflow[None]:
            yield from signal("never")

        yield from on_update("ask", never)
        yield from signal("end")

    handle = engine.start(flow())
    reply = handle.update("ask")
    until(lambda: named(handle, "update_received"), engine.store)
    handle.signal("end")

    with pytest.raises((RunFailed, RunClosed)):
        reply.result(PATIENCE)
    handle.result(PATIENCE)


def test_a_query_sees_a_run_wherever_it_is(engine: Engine) -> None:
    """Parked, after a message, and when it has ended; asking leaves no trace."""
    handle = engine.start(adding(2), id="a")
    assert [] == handle.query("so_far")
    handle.signal("add", 4)
    until(lambda: named(handle, "signal_received"), engine.store)
    assert [40] == handle.query("so_far", factor=10)
    handle.signal("add", 5)
    handle.result(PATIENCE)

    assert [4, 5] == handle.query("so_far")
    assert ["started", "signal_received", "signal_received", "completed"] == kinds(handle)


def test_unknown_queries_and_variables_are_named(parked: Any) -> None:
    """The error lists what there is."""
    with pytest.raises(UnknownName, match="so_far"):
        parked.query("how_many")
    with pytest.raises(InvalidRequest, match="unheard_of"):
        parked.query("asks_too_much")
    assert 3 == parked.query("asks_too_much", 3)
    with pytest.raises(InvalidRequest, match="query 'asks_too_much': it takes no 4, more=5; leave that out"):
        parked.query("asks_too_much", 3, 4, more=5)


def test_who_has_no_code_asks_the_worker_that_drives_the_run(parked: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parked run is claimed for it, answers, and parks again; its journal holds no trace."""
    parked.signal("add", 4)
    until(lambda: named(parked, "signal_received"), engine.store)
    monkeypatch.delitem(WORKFLOWS, (adding.name, ""))
    elsewhere = Client(engine.store).get("a")

    assert [4] == elsewhere.query("so_far")
    assert [40] == elsewhere.query("so_far", 10)
    assert [12] == elsewhere.query("so_far", factor=3)
    with pytest.raises(InvalidRequest, match="query 'how_many' to run a: no query 'how_many'; known: so_far, asks_too_much"):
        elsewhere.query("how_many")
    with pytest.raises(InvalidRequest, match="unheard_of"):
        elsewhere.query("asks_too_much")
    with pytest.raises(InvalidRequest, match="argument 'factor' of query 'so_far': expected int"):
        elsewhere.query("so_far", "ten")
    with pytest.raises(RunFailed, match="query breaks failed: ZeroDivisionError"):
        elsewhere.query("breaks")
    reaches(parked, "waiting")
    assert ["started", "signal_received"] == kinds(parked)

    parked.terminate()
    reaches(parked, "terminated")
    with pytest.raises(RunClosed):
        elsewhere.query("so_far")


@pytest.mark.parametrize("why", ["cancelled", "asyncio", "exit"])
def test_a_query_that_raises_anything_harms_no_engine(parked: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Not every exception is an ``Exception``; it is the answer, and the run goes on."""
    monkeypatch.delitem(WORKFLOWS, (adding.name, ""))
    with pytest.raises(RunFailed, match=f"query gives_up failed: .*{why}"):
        Client(engine.store).get("a").query("gives_up", why)
    for _ in range(3):
        parked.signal("add", 1)

    assert [1, 1, 1] == parked.result(PATIENCE)


def test_a_validator_that_raises_anything_refuses_its_update(engine: Engine) -> None:
    """Also what is no ``Exception``."""

    def never(_: Any) -> None:
        raise asyncio.CancelledError("no")

    @workflow(name="messages.never")
    def flow() -> Workflow[str]:
        yield from on_update("try", lambda value: value, validator=never)
        return (yield from signal("go", str))

    handle = engine.start(flow())
    with pytest.raises(UpdateRefused, match="CancelledError: no"):
        handle.update("try", 1).result(PATIENCE)
    handle.signal("go", "on")

    assert "on" == handle.result(PATIENCE)


@pytest.mark.parametrize("arguments", [b'{"kwargs":{"\\ud800":1}}', b'[1,"' + b"x" * 100_000 + b'"]', b"[", b"7"])
def test_arguments_that_cannot_be_told_again_harm_no_run(parked: Any, engine: Engine, arguments: bytes) -> None:
    """They come from anywhere; the refusal names them as far as that can be done."""
    engine.store.post([Message("query:1", parked.key, "query", "so_far", arguments)])
    (said,) = until(lambda: engine.store.read("default", "~reply:query:1"), engine.store)

    assert ["refused"] == list(from_json(said.payload))
    assert len(said.payload) < 5_000
    reaches(parked, "waiting")


def test_a_reply_that_is_too_large_fails_its_query_and_not_the_run(open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes no commit of that size would leave the run stuck, again and again."""
    engine = open_engine(max_payload=1_000)
    handle = engine.start(adding(1), id="a")
    monkeypatch.delitem(WORKFLOWS, (adding.name, ""))
    elsewhere = Client(engine.store).get("a")
    with pytest.raises(RunFailed, match=r"query at_length failed: .*PayloadTooLarge.*reply of query 'at_length'"):
        elsewhere.query("at_length", 1_000)

    assert "x" * 900 == elsewhere.query("at_length", 900)
    handle.signal("add", 1)
    assert [1] == handle.result(PATIENCE)


def test_a_reply_that_is_too_large_fails_its_update_and_not_the_run(open_engine: OpenEngine) -> None:
    """As with queries: what the store cannot take would be tried again for ever."""

    @workflow(name="messages.lengthy")
    def flow() -> Workflow[str]:
        yield from on_update("at_length", lambda size: "x" * size)
        return (yield from signal("word", str))

    handle = open_engine(max_payload=1_000).start(flow())
    with pytest.raises(RunFailed, match=r"update at_length failed: .*PayloadTooLarge.*reply of an update"):
        handle.update("at_length", 1_000).result(PATIENCE)
    assert "x" * 900 == handle.update("at_length", 900).result(PATIENCE)
    handle.signal("word", "on")

    assert "on" == handle.result(PATIENCE)


def test_a_moment_beyond_all_time_never_comes(engine: Engine) -> None:
    """No database has a number for it; the run waits for its messages all the same."""

    @workflow(name="messages.patient")
    def flow() -> Workflow[str]:
        return (yield from signal("word", str))

    handle = engine.start(flow().options(deadline=1e13))
    reaches(handle, "waiting", "stuck")
    handle.signal("word", "on")

    assert "on" == handle.result(PATIENCE)


def test_an_update_of_the_same_id_to_another_run_is_another_one(engine: Engine) -> None:
    """Each run replies for itself."""

    @workflow(name="messages.above")
    def flow(base: int) -> Workflow[None]:
        yield from on_update("add", lambda number: base + number)
        yield from signal("stop")

    handles = [engine.start(flow(base)) for base in (10, 20)]

    assert [11, 21] == [handle.update("add", 1, id="once").result(PATIENCE) for handle in handles]


def test_a_message_that_is_no_data_is_refused_where_it_is_sent(parked: Any) -> None:
    """Naming the message and the place in it."""
    with pytest.raises(PayloadError, match=r"signal 'word' at \$\.a\[0\]: expected plain JSON, got object"):
        parked.signal("word", {"a": [object()]})


# ---- cancelling, terminating, pausing ---------------------------------------------------------------------------------------------


def test_cancelling_lets_the_workflow_clean_up(engine: Engine) -> None:
    """``finally`` may yield; the run then ends as cancelled, with the reason."""
    done: list[str] = []

    @step
    def clean(what: str) -> None:
        done.append(what)

    @workflow
    def flow() -> Workflow[None]:
        try:
            yield from signal("never")
        finally:
            yield from clean("room")

    handle = engine.start(flow())
    reaches(handle, "waiting")
    handle.cancel("closing time")

    with pytest.raises(RunFailed, match="closing time") as caught:
        handle.result(PATIENCE)
    assert "cancelled" == caught.value.status == handle.status
    assert ["room"] == done
    assert ["started", "cancel_requested", "step_completed", "cancelled"] == kinds(handle)


def test_a_workflow_may_decline_to_be_cancelled(engine: Engine) -> None:
    """It catches ``Cancelled`` and goes on; asking again changes nothing."""

    @workflow
    def flow() -> Workflow[str]:
        try:
            yield from signal("never")
        except Cancelled:
            return (yield from signal("word", str))
        return ""

    handle = engine.start(flow())
    handle.cancel()
    handle.cancel()
    handle.signal("word", "no")

    assert "no" == handle.result(PATIENCE)
    assert 1 == len(named(handle, "cancel_requested"))


def test_a_shield_holds_cancellation_back(engine: Engine) -> None:
    """What is shielded comes to its end first."""
    gate = Gate()

    @step
    def pay() -> int:
        gate.enter()
        return 9

    @workflow
    def flow() -> Workflow[int]:
        paid = yield from shield(pay())
        yield from set_state("paid", paid)
        yield from signal("never")
        return paid

    handle = engine.start(flow())
    gate.await_entry()
    handle.cancel("enough")
    until(lambda: named(handle, "cancel_requested"), engine.store)
    gate.open()

    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)
    assert ["started", "cancel_requested", "step_completed", "cancelled"] == kinds(handle)


def test_terminating_runs_none_of_its_code(engine: Engine) -> None:
    """Neither ``except`` nor ``finally`` has a say; the journal is closed and can still be driven."""
    handle = engine.start(stubborn(), id="a")
    reaches(handle, "waiting")
    handle.terminate("now")

    with pytest.raises(RunFailed, match="now") as caught:
        handle.result(PATIENCE)
    assert "terminated" == caught.value.status == handle.status
    assert ["started", "failed"] == kinds(handle)
    assert handle.replay().fits


@workflow
def stubborn() -> Workflow[None]:
    while True:
        try:
            yield from signal("never")
        except Cancelled:
            yield from annotate("not me")


def test_a_run_that_never_rests_is_terminated(open_engine: OpenEngine) -> None:
    """It hears no message, also after a restart; ending it needs nobody's ear."""

    @workflow
    def spins() -> Workflow[None]:
        yield from annotate("off we go")
        while True:
            yield from random()

    with open_engine() as engine:
        handles = [engine.start(spins(), id=name) for name in ("a", "b")]
        reaches(handles[0], "running")
        handles[0].terminate("enough")
        with pytest.raises(RunFailed, match="enough"):
            handles[0].result(PATIENCE)
    again = open_engine(workflows=[spins]).get("b")
    again.terminate("of you too")

    with pytest.raises(RunFailed, match="of you too"):
        again.result(PATIENCE)
    assert ["started", "failed"] == kinds(again)


def test_a_run_is_terminated_while_its_step_runs(engine: Engine) -> None:
    """The step's answer comes too late for anyone."""
    gate = Gate()

    @step
    def slow() -> int:
        gate.enter()
        return 1

    @workflow
    def flow() -> Workflow[int]:
        return (yield from slow())

    handle = engine.start(flow())
    gate.await_entry()
    handle.terminate()
    with pytest.raises(RunFailed):
        handle.result(PATIENCE)
    gate.open()

    assert ["started", "failed"] == kinds(handle)


def test_a_paused_run_begins_nothing_new(engine: Engine) -> None:
    """A step that runs comes to its end, the next one waits for ``resume``; signals are kept."""
    gate = Gate()
    begun: list[int] = []

    @step
    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            gate.enter()
        return number

    @workflow
    def flow() -> Workflow[list[int]]:
        first = yield from work(1)
        second = yield from work(2)
        return [first, second, (yield from signal("third", int))]

    handle = engine.start(flow())
    gate.await_entry()
    handle.pause()
    assert "paused" == reaches(handle, "paused")
    gate.open()
    until(lambda: named(handle, "step_completed"), engine.store)
    handle.signal("third", 3)
    until(lambda: not engine.worker.live, engine.store)
    assert ([1], "paused") == (begun, handle.status)
    handle.resume()

    assert [1, 2, 3] == handle.result(PATIENCE)


def test_a_paused_run_begins_no_step_that_waits_for_room(open_engine: OpenEngine) -> None:
    """Of two branches with room for one, the second waits for ``resume``."""
    engine = open_engine(steps=1)
    gate = Gate()
    begun: list[int] = []

    @step
    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            gate.enter()
        return number

    @workflow
    def flow() -> Workflow[list[int]]:
        return list((yield from gather(work(1), work(2))))

    handle = engine.start(flow())
    gate.await_entry()
    handle.pause()
    reaches(handle, "paused")
    gate.open()
    until(lambda: not engine.worker.live, engine.store)
    assert [1] == begun
    handle.resume()

    assert [1, 2] == handle.result(PATIENCE)


def test_a_pause_survives_a_restart(open_engine: OpenEngine) -> None:
    """Paused is a fact of the run, not of an engine's memory."""
    begun: list[int] = []

    @step
    def work() -> int:
        begun.append(1)
        return 1

    @workflow
    def flow() -> Workflow[int]:
        yield from signal("go")
        return (yield from work())

    first = open_engine(workflows=[flow])
    handle = first.start(flow(), id="a")
    handle.pause()
    reaches(handle, "paused")
    first.close()
    second = open_engine(workflows=[flow, adding])
    handle = second.get("a", flow)
    handle.signal("go")
    assert [] == second.start(adding(0)).result(PATIENCE)  # whose turn came later than that of a run that woke
    assert ("paused", []) == (handle.status, begun)
    assert ["started"] == kinds(handle)
    handle.resume()

    assert 1 == handle.result(PATIENCE)


def test_a_paused_run_starts_no_children(engine: Engine) -> None:
    """A child is something new, too; it follows when the run is resumed."""
    gate = Gate()

    @step
    def hold() -> int:
        gate.enter()
        return 0

    @workflow
    def flow() -> Workflow[list[int]]:
        times = yield from hold()
        return (yield from adding(times))

    handle = engine.start(flow(), id="a")
    gate.await_entry()
    handle.pause()
    reaches(handle, "paused")
    gate.open()
    until(lambda: not engine.worker.live, engine.store)
    assert ["a"] == [run.key.id for run in engine.find().runs]
    handle.resume()

    assert [] == handle.result(PATIENCE)


def test_resuming_what_is_not_paused_changes_nothing(parked: Any) -> None:
    """Also twice."""
    parked.resume()
    parked.resume()
    for number in (1, 2, 3):
        parked.signal("add", number)

    assert [1, 2, 3] == parked.result(PATIENCE)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_a_run_that_answers_itself_for_ever_can_be_ended_and_holds_up_no_other(engine: Engine, how: str) -> None:
    """With savepoint after savepoint it still hears messages now and then."""

    @workflow
    def endless() -> Workflow[None]:
        while True:
            yield from savepoint("again")

    handle = engine.start(endless(), id="endless")
    assert [] == engine.start(adding(0)).result(PATIENCE)
    getattr(handle, how)("enough")

    with pytest.raises(RunFailed, match="enough"):
        handle.result(PATIENCE)


# ---- what runs tell ------------------------------------------------------------------------------------------------------------


def test_runs_send_signals_to_each_other(engine: Engine) -> None:
    """Once each, in the order of sending; one to a run that is not there is dropped, and the sender's notes say so."""

    @workflow
    def sender() -> Workflow[None]:
        for number in range(50):
            yield from send_signal("receiver", "add", number)
            yield from savepoint("sent")
        yield from send_signal("nobody", "add", 1)

    receiver = engine.start(adding(50), id="receiver")
    sent = engine.start(sender(), id="sender")
    sent.result(PATIENCE)

    assert list(range(50)) == receiver.result(PATIENCE)
    assert ["signal 'add' to nobody was dropped: there is no such run"] == [note["text"] for note in sent.notes()]


def test_a_signal_to_a_run_that_has_ended_is_told_of(engine: Engine) -> None:
    """By its sender's notes; the sender goes on."""

    @workflow
    def late() -> Workflow[str]:
        yield from send_signal("early", "add", 1)
        return "sent"

    engine.start(adding(0), id="early").result(PATIENCE)
    sender = engine.start(late(), id="late")

    assert "sent" == sender.result(PATIENCE)
    assert ["signal 'add' to early was dropped: it is completed"] == [note["text"] for note in sender.notes()]


def test_outputs_take_effect_once(open_engine: OpenEngine) -> None:
    """Topics, state, tags and notes; a restart says nothing again."""

    @workflow
    def flow() -> Workflow[None]:
        yield from publish("news", {"n": 1})
        yield from set_state("stage", "first")
        yield from set_tags(stage="first", kept="yes")
        yield from annotate("begun", by="test")
        yield from signal("go")
        yield from publish("news", {"n": 2})
        yield from set_state("stage", "second")
        yield from set_tags(stage="second", kept="")

    first = open_engine(workflows=[flow])
    handle = first.start(flow(), id="a")
    until(handle.state, first.store)
    assert ({"stage": "first"}, {"stage": "first", "kept": "yes"}) == (handle.state(), handle.about().tags)
    first.close()
    second = open_engine(workflows=[flow])
    handle = second.get("a", flow)
    handle.signal("go")
    handle.result(PATIENCE)

    assert [{"n": 1}, {"n": 2}] == [from_json(entry.payload) for entry in second.read("news")]
    assert ({"stage": "second"}, {"stage": "second"}) == (handle.state(), handle.about().tags)
    assert [{"text": "begun", "level": "info", "fields": {"by": "test"}, "seq": 1}] == handle.notes()


def test_continuing_as_new_carries_unread_signals(engine: Engine) -> None:
    """The id stays, the journal is fresh, what nobody read is read by the next; the old journal is kept beside."""

    @workflow
    def flow(round_: int, heard: list[int]) -> Workflow[list[int]]:
        heard = [*heard, (yield from signal("add", int))]
        if round_ < 4:
            yield from continue_as_new(round_ + 1, heard)
        return heard

    handle = engine.start(flow(0, []), id="a")
    for number in range(5):
        handle.signal("add", number)

    assert [0, 1, 2, 3, 4] == handle.result(PATIENCE)
    assert ["a", "a~1", "a~2", "a~3", "a~4"] == sorted(run.key.id for run in engine.find(prefix="a").runs)
    assert {"continued"} == {engine.get(f"a~{number}").status for number in range(1, 5)}


# ---- patterns -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["value", "failure", "never"])
def test_a_callback_is_answered_by_its_token(open_engine: OpenEngine, clock: VirtualClock, outcome: str) -> None:
    """With a value, with a failure, or not at all; a second answer changes nothing."""
    engine = open_engine(clock=clock)
    tokens: list[str] = []

    @step
    def ask(token: str) -> None:
        tokens.append(token)

    @workflow
    def flow() -> Workflow[str]:
        question = yield from callback(int, timeout=60)
        yield from ask(question.token)
        try:
            return f"answered {(yield from question)}"
        except CallbackFailed as error:
            return f"failed {error.message}"
        except TimedOut:
            return "never"

    handle = engine.start(flow())
    until(lambda: tokens, engine.store)
    if outcome == "value":
        engine.answer(tokens[0], 7)
    elif outcome == "failure":
        engine.fail(tokens[0], "no such city")
    else:
        until(lambda: named(handle, "step_completed"), engine.store)
        let_pass(engine, clock, 61)

    expected = {"value": "answered 7", "failure": "failed no such city", "never": "never"}[outcome]
    assert expected == handle.result(PATIENCE)


def test_a_callback_answered_twice_keeps_its_first_answer(engine: Engine) -> None:
    """The token is the message's id."""

    @workflow
    def flow() -> Workflow[list[int]]:
        question = yield from callback(int)
        yield from set_state("token", question.token)
        first = yield from question
        yield from signal("end")
        return [first]

    handle = engine.start(flow())
    until(handle.state, engine.store)
    token = handle.state()["token"]
    engine.answer(token, 1)
    engine.answer(token, 2)
    handle.signal("end")

    assert [1] == handle.result(PATIENCE)
    with pytest.raises(InvalidRequest, match="none"):
        engine.answer("no token", 1)


def test_a_saga_undoes_its_work_in_reverse(engine: Engine) -> None:
    """What was done last is undone first, and the failure is raised."""
    done: list[str] = []

    @step
    def do(what: str) -> str:
        if what == "fly":
            raise ValueError("no flight")
        done.append(what)
        return what

    @workflow
    def flow() -> Workflow[None]:
        def body(trip: Saga) -> Workflow[None]:
            for what in ("book hotel", "hire car", "fly"):
                yield from do(what)
                trip.compensate(do(f"undo {what}"))

        yield from saga(body)

    with pytest.raises(RunFailed, match="no flight"):
        engine.start(flow()).result(PATIENCE)
    assert ["book hotel", "hire car", "undo hire car", "undo book hotel"] == done


def answered(handle: Any, steps: int) -> bool:
    return steps == len(named(handle, "step_completed"))


def test_polling_stops_when_it_is_pleased_or_late(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """Pauses grow; the deadline counts from its beginning."""
    engine = open_engine(clock=clock)
    asked: list[int] = []

    @step
    def look(good: int) -> bool:
        asked.append(clock.now())
        return len(asked) >= good

    @workflow
    def flow(good: int) -> Workflow[bool]:
        return (yield from poll(lambda: look(good), lambda ready: ready, every=10, factor=2, max_every=30, deadline=300))

    handle = engine.start(flow(3))
    for number in (1, 2):
        until(partial(answered, handle, number), engine.store)
        let_pass(engine, clock, 21)

    assert handle.result(PATIENCE)
    late = engine.start(flow(1000))
    for _ in range(40):
        let_pass(engine, clock, 31)
        if late.status not in ("waiting", "running", "pending"):
            break
    with pytest.raises(RunFailed, match="poll"):
        late.result(PATIENCE)


def test_polling_does_not_wait_for_a_call_that_takes_too_long(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """The deadline is the poll's, whatever is under way."""
    engine = open_engine(clock=clock)
    gate = Gate()

    @step
    def hangs() -> bool:
        gate.enter()
        return True

    @workflow
    def flow() -> Workflow[bool]:
        return (yield from poll(hangs, lambda ready: ready, deadline=30))

    handle = engine.start(flow())
    gate.await_entry()
    let_pass(engine, clock, 31)

    with pytest.raises(RunFailed, match="poll did not end within 30 s"):
        handle.result(PATIENCE)
    gate.open()


def test_ten_branches_wait_for_ten_messages(engine: Engine) -> None:
    """The fiber that has waited longest for a name takes the oldest message."""

    @workflow
    def flow() -> Workflow[list[int]]:
        return list((yield from gather(*[signal("add", int) for _ in range(10)])))

    handle = engine.start(flow())
    for number in range(10):
        handle.signal("add", number)

    assert list(range(10)) == handle.result(PATIENCE)
