"""The client's calls over raw gRPC, as a client in any language makes them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from replay import Engine, RunFailed
from replay.model.codec import from_json
from replay.service.generated import client_pb2 as cb
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.store.memory import WORLDS
from tests.helpers.engines import until
from tests.service.wire import PATIENCE, Wire, counting, detail, doubling, greeting, key, served, start, tokens_file, wire


@pytest.fixture
def url() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    WORLDS.pop(name, None)


@pytest.fixture
def line(url: str) -> Iterator[Wire]:
    with served(url) as server, wire(server) as stubs:
        yield stubs


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A worker beside the server, straight on its store."""
    with Engine(url, workflows=[greeting, counting, doubling], grace=2) as opened:
        yield opened


def code(caught: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    found: Any = caught.value
    status: grpc.StatusCode = found.code()
    return status


def test_starting_twice_is_one_run(line: Wire) -> None:
    """The same id with the same input is the same run, however the input is spelt."""
    first = line.client.StartRun(start("a", "doubling", b"[ 3 ]", tags={"shop": "x"}))
    again = line.client.StartRun(start("a", "doubling", b"[3]"))

    assert (True, False) == (first.new, again.new)
    assert first.run == again.run
    assert {"shop": "x"} == dict(first.run.tags)


def test_starting_with_other_input_is_refused_with_both_sides(line: Wire) -> None:
    """ALREADY_EXISTS carries the error's facts, so that every language can raise its own."""
    line.client.StartRun(start("a", "doubling", b"[3]"))

    with pytest.raises(grpc.RpcError) as caught:
        line.client.StartRun(start("a", "doubling", b"[4]"))

    name, facts = detail(caught.value)
    assert grpc.StatusCode.ALREADY_EXISTS == code(caught)
    assert ("RunExists", "a") == (name, facts["run"])
    assert facts["existing"] != facts["asked"]


def test_what_does_not_fit_is_an_invalid_argument(line: Wire) -> None:
    """No workflow, no JSON, no name: each says so, and nothing was started."""
    for request in (start("a", ""), start("a", payload=b"{"), start("a\n"), start("a", queue="\x00")):
        with pytest.raises(grpc.RpcError) as caught:
            line.client.StartRun(request)
        assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)
    assert not line.client.ListRuns(cb.ListRunsRequest()).runs


def test_a_request_without_a_namespace_means_the_default_one(line: Wire) -> None:
    """In every call alike."""
    line.client.StartRun(cb.StartRunRequest(key=key("a", ""), workflow="greeting"))

    assert "default" == line.client.GetRun(cb.GetRunRequest(key=key("a", ""))).run.key.namespace
    assert ["a"] == [run.key.id for run in line.client.ListRuns(cb.ListRunsRequest()).runs]


def test_several_starts_are_made_together_and_answered_for_themselves(line: Wire) -> None:
    """What is wrong with one is told in its place, and the others have begun; asked again it is the same."""
    line.client.StartRun(start("taken", "doubling", b"[3]"))
    starts = [
        start("a", "doubling", b"[1]", tags={"shop": "x"}),
        start("taken", "doubling", b"[4]"),
        start("no\nname", "doubling"),
        start("b", "doubling", b"{"),
        start("", "doubling", b"[2]"),
        start("a", "doubling", b"[9]"),
        start("c", "doubling", b"[5]", delay=60_000_000),
    ]
    first, again = (line.client.StartRuns(cb.StartRunsRequest(starts=starts)).outcomes for _ in range(2))

    refusals = ["", "RunExists", "InvalidRequest", "PayloadError", "", "RunExists", ""]
    assert [refusals, refusals] == [[outcome.error.error for outcome in outcomes] for outcomes in (first, again)]
    assert [[True, True, True], [False, True, False]] == [[outcomes[place].new for place in (0, 4, 6)] for outcomes in (first, again)]
    assert ("taken", "no\\nname") == (from_json(first[1].error.facts.encode())["run"], first[2].message.split("'")[1])
    assert ("a", {"shop": "x"}, "c") == (first[0].run.key.id, dict(first[0].run.tags), first[6].run.key.id)
    assert first[6].run.ready_at > first[6].run.created_at + 59_000_000
    assert [] == list(line.client.StartRuns(cb.StartRunsRequest()).outcomes)


def test_a_start_that_the_store_cannot_keep_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """It fits the rules of names, and no database has a number as large; each is then made alone."""
    with served(f"sqlite:///{tmp_path}/served.db") as server, wire(server) as stubs:
        starts = [start("a"), start("far", delay=2**63 - 1), start("b")]
        outcomes = stubs.client.StartRuns(cb.StartRunsRequest(starts=starts)).outcomes
        listed = stubs.client.ListRuns(cb.ListRunsRequest()).runs

    assert ["", "InvalidRequest", ""] == [outcome.error.error for outcome in outcomes]
    assert {"a", "b"} == {run.key.id for run in listed}


@pytest.mark.parametrize("name", ["a\nb", "x" * 600])
def test_what_is_no_name_is_no_id(line: Wire, name: str) -> None:
    """Of a fork, or of a message: the ids become keys of tables, which have their limits."""
    line.client.StartRun(start("a", "counting"))
    calls = [
        (line.client.ForkRun, cb.ForkRunRequest(source=key("a"), target_id=name)),
        (line.client.SignalRun, cb.SignalRunRequest(key=key("a"), name="stop", message_id=name)),
        (line.client.UpdateRun, cb.UpdateRunRequest(key=key("a"), name="add", payload=b"1", message_id=name)),
        (line.client.QueryRun, cb.QueryRunRequest(key=key("a"), name="missing", message_id=name)),
        (line.client.ControlRun, cb.ControlRunRequest(key=key("a"), verb="cancel", message_id=name)),
    ]
    for verb, request in calls:
        with pytest.raises(grpc.RpcError) as caught:
            verb(request, timeout=PATIENCE)
        assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


def test_nothing_is_started_among_the_entries_of_workers(line: Wire) -> None:
    """That room is replay's own: who takes a worker's name there would hide it."""
    request = cb.StartRunRequest(key=key("ann", "~workers:default"), workflow="doubling")
    (outcome,) = line.client.StartRuns(cb.StartRunsRequest(starts=[request])).outcomes

    assert "InvalidRequest" == outcome.error.error
    with pytest.raises(grpc.RpcError) as caught:
        line.client.StartRun(request)
    assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


def test_one_start_in_a_foreign_namespace_refuses_them_all(tmp_path: Path) -> None:
    """A token of the shop begins nothing at the bank, nor anything beside it."""
    tokens = tokens_file(tmp_path / "tokens.json", {"mine": ("shop", ["read", "start"])})
    with served("memory://foreign-start", tokens=tokens) as server, wire(server, "mine") as stubs:
        starts = [cb.StartRunRequest(key=key(name, name), workflow="doubling") for name in ("shop", "bank")]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.client.StartRuns(cb.StartRunsRequest(starts=starts), metadata=stubs.token)
        listed = stubs.client.ListRuns(cb.ListRunsRequest(filter=pb.Filter(namespace="shop")), metadata=stubs.token).runs

    assert grpc.StatusCode.PERMISSION_DENIED == code(caught)
    assert [] == list(listed)


def test_a_start_of_a_run_that_has_ended_does_not_carry_its_result(line: Wire, engine: Engine) -> None:
    """Results may be large, and many starts have one answer."""
    assert 6 == engine.start(doubling(3), id="done").result(PATIENCE)
    (outcome,) = line.client.StartRuns(cb.StartRunsRequest(starts=[start("done", "doubling", b"[3]")])).outcomes

    assert ("completed", b"", False) == (outcome.run.status, outcome.run.result, outcome.new)


def test_signal_with_start_begins_a_run_once_and_delivers_each_message_once(line: Wire, engine: Engine) -> None:
    """The second call finds the run; the same message id changes nothing."""
    told = cb.SignalRunRequest(name="word", payload=b'"you"', message_id="m1")
    request = cb.SignalWithStartRequest(start=start("a"), signal=told)
    first = line.client.SignalWithStart(request)

    assert first.new
    assert "hello you" == engine.get("a", greeting).result(PATIENCE)


def test_a_signal_reaches_its_run_and_its_id_comes_back(line: Wire, engine: Engine) -> None:
    """The server chooses an id where none is given."""
    line.client.StartRun(start("a"))

    answer = line.client.SignalRun(cb.SignalRunRequest(key=key("a"), name="word", payload=b'"all"'))

    assert answer.message_id
    assert "hello all" == engine.get("a", greeting).result(PATIENCE)


def test_a_signal_for_nobody_and_one_for_a_closed_run_are_refused(line: Wire, engine: Engine) -> None:
    """NOT_FOUND, and FAILED_PRECONDITION with the run's status."""
    engine.start(doubling(1), id="done").result(PATIENCE)
    closed = grpc.StatusCode.FAILED_PRECONDITION

    for run, status, name in (
        ("nobody", grpc.StatusCode.NOT_FOUND, "UnknownRun"),
        ("done", closed, "RunClosed"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            line.client.SignalRun(cb.SignalRunRequest(key=key(run), name="word", payload=b'"x"'))
        assert (status, name) == (code(caught), detail(caught.value)[0])


def test_an_update_is_answered_refused_or_failed(line: Wire, engine: Engine) -> None:
    """The reply of the workflow, its validator's refusal, and its handler's error."""
    line.client.StartRun(start("c", "counting"))

    def update(name: str, payload: bytes) -> Any:
        return line.client.UpdateRun(cb.UpdateRunRequest(key=key("c"), name=name, payload=payload), timeout=PATIENCE).reply

    assert b"4" == update("add", b"4")
    assert b"6" == update("add", b"2")
    for name, payload, error in (("add", b"-1", "UpdateRefused"), ("nothing", b"1", "UpdateRefused"), ("break", b"1", "RunFailed")):
        with pytest.raises(grpc.RpcError) as caught:
            update(name, payload)
        assert (grpc.StatusCode.FAILED_PRECONDITION, error) == (code(caught), detail(caught.value)[0])


def test_a_query_is_answered_by_the_worker_that_has_the_code(line: Wire, engine: Engine) -> None:
    """Its arguments come as a list or by name; what does not fit, and a run that has ended, are told apart."""
    line.client.StartRun(start("c", "counting"))
    line.client.UpdateRun(cb.UpdateRunRequest(key=key("c"), name="add", payload=b"4"), timeout=PATIENCE)

    def ask(name: str, arguments: bytes) -> Any:
        return line.client.QueryRun(cb.QueryRunRequest(key=key("c"), name=name, arguments=arguments), timeout=PATIENCE).reply

    assert b"6" == ask("missing", b"[10]")
    assert b"16" == ask("missing", b'{"kwargs":{"goal":20}}')
    for name, arguments in (("missing", b"[]"), ("missing", b'["ten"]'), ("missing", b"7"), ("nothing", b"[]")):
        with pytest.raises(grpc.RpcError) as caught:
            ask(name, arguments)
        assert (grpc.StatusCode.INVALID_ARGUMENT, "InvalidRequest") == (code(caught), detail(caught.value)[0])
    line.client.SignalRun(cb.SignalRunRequest(key=key("c"), name="stop"))
    assert 4 == engine.get("c", counting).result(PATIENCE)
    with pytest.raises(grpc.RpcError) as caught:
        ask("missing", b"[10]")
    assert "RunClosed" == detail(caught.value)[0]
    assert ["started", "update_received", "signal_received", "completed"] == [event.kind for event in engine.get("c").journal()]


def test_a_query_or_an_update_takes_no_other_message_s_place(line: Wire, engine: Engine) -> None:
    """Whoever may only read may ask under any id: what others send under it is heard, and each run answers for itself."""
    for run in ("a", "b"):
        line.client.StartRun(start(run, "counting"))
    ask: dict[str, Any] = {"name": "missing", "arguments": b"[10]", "message_id": "m"}
    assert b"10" == line.client.QueryRun(cb.QueryRunRequest(key=key("a"), **ask), timeout=PATIENCE).reply
    add = cb.UpdateRunRequest(key=key("a"), name="add", payload=b"4", message_id="m")
    assert b"4" == line.client.UpdateRun(add, timeout=PATIENCE).reply
    add = cb.UpdateRunRequest(key=key("b"), name="add", payload=b"7", message_id="m")
    assert b"7" == line.client.UpdateRun(add, timeout=PATIENCE).reply

    assert b"3" == line.client.QueryRun(cb.QueryRunRequest(key=key("b"), **ask), timeout=PATIENCE).reply
    assert b"10" == line.client.QueryRun(cb.QueryRunRequest(key=key("a"), **ask), timeout=PATIENCE).reply
    assert ["started", "update_received"] == [event.kind for event in engine.get("a").journal()]


def test_an_update_that_nobody_answers_ends_with_its_deadline(line: Wire) -> None:
    """Without a worker there is no reply; the call says so in time."""
    line.client.StartRun(start("c", "counting"))

    with pytest.raises(grpc.RpcError) as caught:
        line.client.UpdateRun(cb.UpdateRunRequest(key=key("c"), name="add", payload=b"1"), timeout=0.3)

    assert grpc.StatusCode.DEADLINE_EXCEEDED == code(caught)


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("terminate", "terminated")])
def test_a_run_is_ended_from_afar(line: Wire, engine: Engine, verb: str, status: str) -> None:
    """The watcher sees it end."""
    line.client.StartRun(start("a"))
    line.client.ControlRun(cb.ControlRunRequest(key=key("a"), verb=verb, reason="enough"))

    *_, last = line.client.WatchRun(cb.WatchRunRequest(key=key("a")), timeout=PATIENCE)

    assert status == last.run.status


def test_a_control_that_is_sent_again_is_one(line: Wire, engine: Engine) -> None:
    """Its answer was not heard, and the run has ended meanwhile: the same message is no second one."""
    run = engine.start(greeting(), id="a")
    stop = cb.ControlRunRequest(key=key("a"), verb="terminate", reason="enough", message_id="once")
    line.client.ControlRun(stop)
    with pytest.raises(RunFailed):
        run.result(PATIENCE)

    line.client.ControlRun(stop)
    with pytest.raises(grpc.RpcError) as caught:
        line.client.ControlRun(cb.ControlRunRequest(key=key("a"), verb="terminate"))
    assert "RunClosed" == detail(caught.value)[0]


def test_a_paused_run_goes_on_when_it_is_resumed(line: Wire, engine: Engine) -> None:
    """Paused, then resumed, then told its word."""
    line.client.StartRun(start("a"))
    line.client.ControlRun(cb.ControlRunRequest(key=key("a"), verb="pause"))
    watch = line.client.WatchRun(cb.WatchRunRequest(key=key("a")), timeout=PATIENCE)
    assert "paused" == next(seen.run.status for seen in watch if seen.run.status == "paused")
    line.client.ControlRun(cb.ControlRunRequest(key=key("a"), verb="resume"))
    line.client.SignalRun(cb.SignalRunRequest(key=key("a"), name="word", payload=b'"again"'))

    assert "hello again" == engine.get("a", greeting).result(PATIENCE)


def test_an_unknown_control_is_refused(line: Wire) -> None:
    """The error names the verbs that there are."""
    line.client.StartRun(start("a"))

    with pytest.raises(grpc.RpcError, match="use one of cancel, pause, resume, terminate") as caught:
        line.client.ControlRun(cb.ControlRunRequest(key=key("a"), verb="explode"))

    assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


def test_runs_are_listed_in_pages_newest_first(line: Wire) -> None:
    """Every run once, whatever the page's size."""
    for number in range(7):
        line.client.StartRun(start(f"r{number}"))
    found: list[str] = []
    cursor = ""
    while True:
        page = line.client.ListRuns(cb.ListRunsRequest(limit=3, cursor=cursor))
        found += [run.key.id for run in page.runs]
        cursor = page.cursor
        if not cursor:
            break

    assert [f"r{number}" for number in reversed(range(7))] == found


def test_a_filter_narrows_by_workflow_status_tag_and_prefix(line: Wire) -> None:
    """What is unset does not narrow."""
    line.client.StartRun(start("a-1", tags={"shop": "x"}))
    line.client.StartRun(start("a-2", "doubling", b"[1]"))
    line.client.StartRun(start("b-1", tags={"shop": "y"}))

    def ids(**narrow: Any) -> set[str]:
        return {run.key.id for run in line.client.ListRuns(cb.ListRunsRequest(filter=pb.Filter(**narrow))).runs}

    assert {"a-1", "a-2", "b-1"} == ids()
    assert {"a-2"} == ids(workflow="doubling")
    assert {"a-1", "a-2"} == ids(prefix="a-")
    assert {"b-1"} == ids(tags={"shop": "y"})
    assert {"a-1", "a-2", "b-1"} == ids(statuses=["pending", "running"])
    assert set() == ids(statuses=["completed"])


def test_a_cursor_of_somebody_else_is_refused(line: Wire) -> None:
    """It is no cursor of this store."""
    with pytest.raises(grpc.RpcError) as caught:
        line.client.ListRuns(cb.ListRunsRequest(cursor="page two"))

    assert (grpc.StatusCode.INVALID_ARGUMENT, "InvalidRequest") == (code(caught), detail(caught.value)[0])


def test_a_followed_journal_brings_every_event_once_until_the_run_ends(line: Wire, engine: Engine) -> None:
    """What is there, then what comes."""
    line.client.StartRun(start("a"))
    stream = line.client.ReadJournal(cb.ReadJournalRequest(key=key("a"), follow=True), timeout=PATIENCE)
    seen = list(next(stream).events)
    line.client.SignalRun(cb.SignalRunRequest(key=key("a"), name="word", payload=b'"you"'))
    seen += [event for page in stream for event in page.events]

    assert list(range(1, len(seen) + 1)) == [event.seq for event in seen]
    assert ("started", "completed") == (seen[0].kind, seen[-1].kind)


def test_a_journal_that_is_not_followed_ends_where_it_is(line: Wire) -> None:
    """After a seq too."""
    line.client.StartRun(start("a"))

    def kinds(after: int) -> list[str]:
        pages = line.client.ReadJournal(cb.ReadJournalRequest(key=key("a"), after=after), timeout=PATIENCE)
        return [event.kind for page in pages for event in page.events]

    assert (["started"], []) == (kinds(0), kinds(1))


def test_watching_or_reading_a_run_that_is_not_there_says_so(line: Wire) -> None:
    """NOT_FOUND, not an empty stream."""
    for call, request in (
        (line.client.WatchRun, cb.WatchRunRequest(key=key("x"))),
        (line.client.ReadJournal, cb.ReadJournalRequest(key=key("x"), follow=True)),
        (line.client.ListSavepoints, cb.ListSavepointsRequest(key=key("x"))),
        (line.client.GetRun, cb.GetRunRequest(key=key("x"))),
        (line.client.ForkRun, cb.ForkRunRequest(source=key("x"))),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            list(call(request, timeout=PATIENCE))
        assert (grpc.StatusCode.NOT_FOUND, "UnknownRun") == (code(caught), detail(caught.value)[0])


def test_a_run_is_forked_at_a_savepoint_and_the_source_is_not_touched(line: Wire, engine: Engine) -> None:
    """The fork shares the past up to there and hears another word."""
    line.client.StartRun(start("a"))
    line.client.SignalRun(cb.SignalRunRequest(key=key("a"), name="word", payload=b'"one"'))
    engine.get("a", greeting).result(PATIENCE)
    (point,) = line.client.ListSavepoints(cb.ListSavepointsRequest(key=key("a"))).savepoints

    fork = line.client.ForkRun(cb.ForkRunRequest(source=key("a"), target_id="b", at="begun")).run
    line.client.SignalRun(cb.SignalRunRequest(key=key("b"), name="word", payload=b'"two"'))

    assert ("begun", {"goal": "greet"}) == (point.name, {name: note for name, note in from_json(point.notes).items() if note})
    assert f"a#{point.seq}" == fork.source
    assert "hello two" == engine.get("b", greeting).result(PATIENCE)
    assert "hello one" == engine.get("a", greeting).result(PATIENCE)


def test_the_same_fork_again_is_the_same_run(line: Wire) -> None:
    """By id, source and past; a fork of another place or another run under that id is refused."""
    for run in ("a", "b"):
        line.client.StartRun(start(run, "doubling", b"[3]"))
    ask = cb.ForkRunRequest(source=key("a"), target_id="branch")
    assert line.client.ForkRun(ask).run == line.client.ForkRun(ask).run

    with pytest.raises(grpc.RpcError) as caught:
        line.client.ForkRun(cb.ForkRunRequest(source=key("b"), target_id="branch"))
    assert "RunExists" == detail(caught.value)[0]


def test_a_fork_with_another_answer_goes_another_way(line: Wire, engine: Engine) -> None:
    """An edited answer is what the fork is told."""
    engine.start(doubling(3), id="a").result(PATIENCE)

    line.client.ForkRun(cb.ForkRunRequest(source=key("a"), target_id="b", edits={3: b"100"}))

    assert 6 == engine.get("a", doubling).result(PATIENCE)
    assert 104 == engine.get("b", doubling).result(PATIENCE)


def test_an_edit_behind_the_fork_is_refused(line: Wire, engine: Engine) -> None:
    """It could never be heard."""
    engine.start(doubling(3), id="a").result(PATIENCE)

    with pytest.raises(grpc.RpcError) as caught:
        line.client.ForkRun(cb.ForkRunRequest(source=key("a"), target_id="b", at="2", edits={4: b"1"}))

    assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


def test_a_followed_topic_brings_what_was_published_and_what_comes(line: Wire) -> None:
    """In order, each once."""
    request = cb.PublishTopicRequest(entries=[pb.TopicEntry(topic="news", payload=b"%d" % number) for number in range(3)])
    line.client.PublishTopic(request)
    stream = line.client.ReadTopic(cb.ReadTopicRequest(topic="news", follow=True), timeout=PATIENCE)
    heard = [entry.payload for entry in next(stream).entries]
    line.client.PublishTopic(cb.PublishTopicRequest(entries=[pb.TopicEntry(topic="news", payload=b"3")]))
    heard += [entry.payload for entry in next(stream).entries]
    stream.cancel()

    assert [b"0", b"1", b"2", b"3"] == heard


def test_replays_own_topics_cannot_be_written_by_a_client(line: Wire) -> None:
    """Or it could answer updates in a workflow's name."""
    with pytest.raises(grpc.RpcError) as caught:
        line.client.PublishTopic(cb.PublishTopicRequest(entries=[pb.TopicEntry(topic="~reply:m", payload=b"{}")]))

    assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


# ---- keys, limits, debounce ---------------------------------------------------------------------------------------------


def test_a_run_is_started_and_found_by_its_key(line: Wire) -> None:
    """Whose share of the queue it takes."""
    line.client.StartRun(cb.StartRunRequest(key=key("a"), workflow="doubling", input=b"[3]", fairness_key="ann"))
    line.client.StartRun(cb.StartRunRequest(key=key("b"), workflow="doubling", input=b"[3]"))

    found = line.client.ListRuns(cb.ListRunsRequest(filter=pb.Filter(fairness_key="ann"))).runs

    assert [("a", "ann")] == [(run.key.id, run.fairness_key) for run in found]


def test_a_claim_carries_limits(line: Wire) -> None:
    """Beside the names of its queues; a limit that is none is an invalid argument."""
    for name in "abc":
        line.client.StartRun(start(name, "doubling", b"[3]"))
    limits = [wb.QueueLimits(name="default", concurrency=2, rate_count=5, rate_per=60)]
    claim = wb.ClaimRequest(worker="w", queues=["default"], workflows=["doubling"], limit=9, ttl=9_000_000, limits=limits)

    assert [2, 0] == [len(line.worker.Claim(claim).runs) for _ in range(2)]
    with pytest.raises(grpc.RpcError) as caught:
        line.worker.Claim(wb.ClaimRequest(worker="w", queues=["a"], limits=[wb.QueueLimits(name="a", concurrency=0)]))
    assert grpc.StatusCode.INVALID_ARGUMENT == code(caught)


def test_debounced_starts_become_one_run(line: Wire, engine: Engine) -> None:
    """With the newest input; the server needs no code of it."""
    wanted = [
        cb.DebounceRunRequest(start=cb.StartRunRequest(workflow="doubling", input=b"[%d]" % number), key="k", delay=0.1)
        for number in range(4)
    ]

    (run,) = {line.client.DebounceRun(request).run_id for request in wanted}

    until(lambda: engine.find(workflow="doubling", status="completed").runs, engine.store)
    assert 6 == engine.get(run).result(PATIENCE)
