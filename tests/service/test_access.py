"""Tokens: what each allows, verb by verb, read from the services themselves so that no new verb goes without a check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from replay import Client, Engine, InvalidRequest, StoreRefused
from replay.authoring.definitions import WORKFLOWS
from replay.service.access import Tokens
from replay.service.generated import client_pb2, worker_pb2
from replay.service.generated import client_pb2 as cb
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.service.server import PROTOCOL, Server
from tests.service.wire import PATIENCE, Wire, counting, doubling, key, served, start, tokens_file, wire

SERVICES = {
    "worker": worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
    "client": client_pb2.DESCRIPTOR.services_by_name["ClientService"],
}
VERBS = [(service, method.name) for service, found in SERVICES.items() for method in found.methods]
WITHOUT_NAMESPACE = {"PutBlob", "GetBlob", "Wait"}
"""Verbs that name nobody's runs: bytes are known by their digest only, and `Wait` tells that something changed, not what."""
MINE, THEIRS = "shop", "bank"
Path_ = tuple[tuple[str, int], ...]


def places(message: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where a request says a namespace; lists are given two items, so that the second is looked at too."""
    for field in message.fields:
        if field.name == "namespace":
            yield (*path, (field.name, 0))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for number in (0, 1) if field.is_repeated else (0,):
                yield from places(field.message_type, (*path, (field.name, number)))


def put(request: Any, path: Path_, namespace: str) -> None:
    """Say a namespace at one place, and make what is needed on the way to it."""
    for name, number in path[:-1]:
        found = getattr(request, name)
        if hasattr(found, "add"):
            while len(found) <= number:
                found.add()
            found = found[number]
        else:
            found.SetInParent()
        request = found
    request.namespace = namespace


def request_of(service: str, verb: str, theirs: Path_ | None) -> Any:
    """A request that is all mine but for one place."""
    method = SERVICES[service].methods_by_name[verb]
    module = worker_pb2 if service == "worker" else client_pb2
    request = getattr(module, method.input_type.name)()
    for path in places(method.input_type):
        put(request, path, THEIRS if path == theirs else MINE)
    if verb == "Hello":
        request.protocol = PROTOCOL
    return request


def call(line: Wire, service: str, verb: str, request: Any) -> grpc.StatusCode:
    """The status that a call ends with."""
    method = SERVICES[service].methods_by_name[verb]
    stub = getattr(getattr(line, service), verb)
    sent = iter([request]) if method.client_streaming else request
    try:
        answer = stub(sent, timeout=PATIENCE, metadata=line.token)
        if method.server_streaming:
            next(iter(answer), None)
            answer.cancel()
    except grpc.RpcError as error:
        found: Any = error
        status: grpc.StatusCode = found.code()
        return status
    return grpc.StatusCode.OK


PLACES = [(service, verb, path) for service, verb in VERBS for path in places(SERVICES[service].methods_by_name[verb].input_type)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all cases; nothing is ever written through it."""
    grants = {
        "all": (MINE, ["read", "start", "work", "admin"]),
        "none": (MINE, []),
        "look": (MINE, ["read"]),
        "starter": (MINE, ["start"]),
        "worker": (MINE, ["work"]),
        "root": ("*", ["read", "start", "work", "admin"]),
    }
    tokens = tokens_file(tmp_path_factory.mktemp("tokens") / "tokens.json", grants)
    with served("memory://access-tests", tokens=tokens) as found:
        yield found


@pytest.mark.parametrize(("service", "verb"), VERBS)
def test_without_a_token_or_with_a_wrong_one_every_verb_is_closed(server: Server, service: str, verb: str) -> None:
    """UNAUTHENTICATED, Hello included."""
    for token in ("", "wrong"):
        with wire(server, token) as line:
            assert grpc.StatusCode.UNAUTHENTICATED == call(line, service, verb, request_of(service, verb, None))


@pytest.mark.parametrize(("service", "verb"), [found for found in VERBS if found[1] != "Hello"])
def test_a_token_without_scopes_opens_no_verb(server: Server, service: str, verb: str) -> None:
    """PERMISSION_DENIED, whatever the namespace."""
    with wire(server, "none") as line:
        assert grpc.StatusCode.PERMISSION_DENIED == call(line, service, verb, request_of(service, verb, None))


@pytest.mark.parametrize(("service", "verb", "path"), PLACES)
def test_a_token_of_one_namespace_touches_nothing_of_another(server: Server, service: str, verb: str, path: Path_) -> None:
    """Wherever a request names a namespace, one that is not the token's closes the verb, and the rest of the batch with it."""
    with wire(server, "all") as line:
        assert grpc.StatusCode.PERMISSION_DENIED == call(line, service, verb, request_of(service, verb, path))


def test_every_verb_names_a_namespace_or_is_known_to_need_none() -> None:
    """A new verb must be thought about here."""
    named = {verb for _, verb, _ in PLACES}

    assert WITHOUT_NAMESPACE == {verb for _, verb in VERBS} - named


NEEDS = {
    "read": "Journal Get Find Read GetBlob Wait GetRun ListRuns ReadJournal WatchRun ListSavepoints ReadTopic QueryRun",
    "start": "StartRun StartRuns SignalWithStart DebounceRun SignalRun UpdateRun ControlRun ForkRun PublishTopic Create Post Publish",
    "work": "Claim ClaimStream Renew Release Commit CommitStream PutBlob Announce",
    "admin": "Delete",
}
SCOPE_OF = {verb: scope for scope, verbs in NEEDS.items() for verb in verbs.split()}
HOLDS = {"look": {"read"}, "starter": {"start"}, "worker": {"work", "read"}}


@pytest.mark.parametrize("token", HOLDS)
@pytest.mark.parametrize(("service", "verb"), [found for found in VERBS if found[1] != "Hello"])
def test_a_scope_opens_its_verbs_and_no_others(server: Server, token: str, service: str, verb: str) -> None:
    """To work is to read, as a worker sees journals anyway; nothing else includes another."""
    if SCOPE_OF[verb] in HOLDS[token] and verb in {"Wait", "UpdateRun", "QueryRun", "ClaimStream"}:
        return  # these would wait; that they open is shown by the engines of other tests
    with wire(server, token) as line:
        status = call(line, service, verb, request_of(service, verb, None))

    assert (SCOPE_OF[verb] in HOLDS[token]) == (status is not grpc.StatusCode.PERMISSION_DENIED)


def test_answers_and_replays_own_topics_are_for_workers(server: Server) -> None:
    """A token that may only start runs must not answer in a step's or a workflow's name."""
    answer = wb.PostRequest(messages=[pb.Message(id="m", key=key("a", MINE), kind="answer")])
    reply = wb.PublishRequest(namespace=MINE, entries=[pb.TopicEntry(topic="~reply:m", payload=b"{}")])
    with wire(server, "starter") as line:
        assert grpc.StatusCode.PERMISSION_DENIED == call(line, "worker", "Post", answer)
        assert grpc.StatusCode.PERMISSION_DENIED == call(line, "worker", "Publish", reply)


def test_who_may_read_may_query_by_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the handle of a client that has no code, too; but a message that would take another's place is none for readers."""
    tokens = tokens_file(tmp_path / "tokens.json", {"look": (MINE, ["read"]), "root": (MINE, ["read", "start", "work"])})
    with served("memory://looking", tokens=tokens) as server:
        url = f"grpc://127.0.0.1:{server.port}"
        with (
            Engine(f"{url}?token=root", namespace=MINE, workflows=[counting]) as engine,
            Client(f"{url}?token=look", namespace=MINE) as reader,
            wire(server, "look") as line,
        ):
            _ = engine.start(counting(), id="c")
            monkeypatch.delitem(WORKFLOWS, (counting.name, ""))
            assert 10 == reader.get("c").query("missing", 10)
            for message in (pb.Message(id="m", kind="query"), pb.Message(id=f"query:{'0' * 32}", kind="signal")):
                message.key.CopyFrom(key("c", MINE))
                assert grpc.StatusCode.PERMISSION_DENIED == call(line, "worker", "Post", wb.PostRequest(messages=[message]))


def test_two_tenants_of_one_server_do_not_see_each_other(tmp_path: Path) -> None:
    """The same id in two namespaces is two runs, and each tenant lists one."""
    scopes = ["read", "start", "work"]
    tokens = tokens_file(tmp_path / "tokens.json", {"mine": (MINE, scopes), "theirs": (THEIRS, scopes)})
    with served("memory://tenants", tokens=tokens) as server:
        url = f"grpc://127.0.0.1:{server.port}"
        with (
            Engine(f"{url}?token=mine", namespace=MINE, workflows=[doubling]) as mine,
            Engine(f"{url}?token=theirs", namespace=THEIRS, workflows=[doubling]) as theirs,
            Client(f"{url}?token=mine", namespace=THEIRS) as spy,
        ):
            assert (6, 12) == (mine.start(doubling(3), id="a").result(PATIENCE), theirs.start(doubling(4), id="a").result(PATIENCE))
            assert [1, 1] == [len(client.find().runs) for client in (mine, theirs)]
            with pytest.raises(StoreRefused, match="does not allow 'read' in namespace bank"):
                spy.find()
            with pytest.raises(StoreRefused, match="does not allow 'start' in namespace bank"):
                spy.start(doubling(1), id="b").cancel()


def test_a_token_for_all_namespaces_opens_each(server: Server) -> None:
    """The operator's."""
    with wire(server, "root") as line:
        for namespace in (MINE, THEIRS):
            request = cb.ListRunsRequest(filter=pb.Filter(namespace=namespace))
            assert grpc.StatusCode.OK == call(line, "client", "ListRuns", request)


def test_who_may_start_may_debounce_again_and_again(tmp_path: Path) -> None:
    """What has collected the calls before is deleted by whoever makes the next one; other runs are not theirs to delete."""
    tokens = tokens_file(tmp_path / "tokens.json", {"starter": (MINE, ["read", "start"]), "worker": (MINE, ["read", "start", "work"])})
    with served("memory://debouncing-tenant", tokens=tokens) as server:
        url = f"grpc://127.0.0.1:{server.port}"
        with (
            Engine(f"{url}?token=worker", namespace=MINE, workflows=[doubling]) as engine,
            Client(f"{url}?token=starter", namespace=MINE) as client,
        ):
            results = [client.debounce(doubling(steps), key="k", delay=0.02).result(PATIENCE) for steps in (3, 4)]

            assert [6, 12] == results
            assert "completed" == engine.find(workflow="doubling").runs[0].status
            with pytest.raises(StoreRefused, match="does not allow 'admin'"):
                client.store.delete([run.key for run in client.find(workflow="doubling").runs])


def test_a_worker_with_the_wrong_token_does_not_open(server: Server) -> None:
    """The error names the server, the reason and the remedy; the token is in none of it."""
    with pytest.raises(StoreRefused, match=r"the token is missing or unknown; pass a valid token: grpc://host:port\?token=") as caught:
        Client(f"grpc://127.0.0.1:{server.port}?token=s3cret")

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "{}x",
        '[{"sha256": "ab", "namespace": "shop", "scopes": []}]',
        '[{"sha256": "%s", "namespace": "shop", "scopes": ["fly"]}]' % ("0" * 64),
        '[{"namespace": "shop"}]',
        '[{"sha256": "%s", "namespace": 7, "scopes": ["read"]}]' % ("0" * 64),
        '[{"sha256": "%s", "namespace": "shop", "scopes": "read"}]' % ("0" * 64),
    ],
)
def test_a_tokens_file_that_does_not_fit_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    """A server must not start half open."""
    path = tmp_path / "tokens.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidRequest, match=r"tokens\.json"):
        Tokens.read(path)


def test_starting_with_a_signal_for_another_run_is_refused() -> None:
    """One request, one run."""
    with served("memory://two-runs") as server, wire(server) as line:
        signal = cb.SignalRunRequest(key=key("b"), name="word", payload=b"1")
        status = call(line, "client", "SignalWithStart", cb.SignalWithStartRequest(start=start("a"), signal=signal))

    assert grpc.StatusCode.INVALID_ARGUMENT == status
