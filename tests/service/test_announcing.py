"""Workers of any language tell of themselves by one verb; the server keeps their entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from replay import Engine
from replay.engine.presence import KEPT, TOLD, WORKER, beside, workers
from replay.hooks import open_store
from replay.model.names import SECOND
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.store.contract import Claim, Commit, Filter, Run, RunKey, Store
from replay.testing import VirtualClock
from tests.service.proxy import Proxy
from tests.service.wire import PATIENCE, Wire, doubling, served, tokens_file, wire

EVERY = 5 * SECOND


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(open_store("memory://").now())


@pytest.fixture
def store(tmp_path: Path, clock: VirtualClock) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/served.db", clock=clock)) as opened:
        yield opened


@pytest.fixture
def line(store: Store) -> Iterator[Wire]:
    with served(store) as server, wire(server) as stubs:
        yield stubs


def told(worker: str, **facts: Any) -> wb.AnnounceRequest:
    """What a worker tells."""
    usual = {"host": "oak", "pid": 7, "version": "go/0.1.0", "queues": ["default"], "workflows": ["order@2"], "every": EVERY}
    return wb.AnnounceRequest(worker=worker, **{**usual, **facts})


def shown(store: Store) -> list[str]:
    """The names of those that are shown."""
    return [info.id for info in workers(store, "default")]


def entry(store: Store, name: str) -> Run:
    """A worker's entry."""
    (run,) = store.get([RunKey(beside("default"), name)])
    assert run is not None
    return run


def test_a_worker_is_shown_as_it_told_of_itself_until_it_leaves(line: Wire, store: Store) -> None:
    """What it tells, and when it was heard, by the clock of the store."""
    facts = {"capacity": 9, "runs": 3, "step_capacity": 8, "steps": 2, "started_at": 17, "draining": True}
    answer = line.worker.Announce(told("ann", **facts))
    (info,) = workers(store, "default")

    assert ("ann", "oak", 7, "go/0.1.0", ["default"], ["order@2"]) == (
        info.id,
        info.host,
        info.pid,
        info.version,
        info.queues,
        info.workflows,
    )
    assert facts == {name: getattr(info, name) for name in facts}
    assert (store.now(), store.now(), False) == (answer.now, info.heartbeat_at, info.late)
    line.worker.Announce(wb.AnnounceRequest(worker="ann", leaving=True))
    assert [None] == store.get([RunKey(beside("default"), "ann")])


def test_the_verb_carries_all_that_a_worker_can_tell() -> None:
    """What the engine's own heartbeats show and the verb does not know would never be seen of other languages."""
    fields = {field.name for field in wb.AnnounceRequest.DESCRIPTOR.fields}

    assert {"namespace", "worker", "leaving", "every"} == fields - TOLD
    assert set() == TOLD - fields


def test_two_servers_hear_one_worker_in_turn(store: Store, clock: VirtualClock) -> None:
    """One entry under one lease, which is prolonged by whichever hears it, for as long as there are heartbeats."""
    with served(store) as one, served(store) as other, wire(one) as first, wire(other) as second:
        for beat in range(60):
            (first, second)[beat % 2].worker.Announce(told("ann", runs=beat))
            clock.advance(EVERY / SECOND)
        (info,) = workers(store, "default")
        found = entry(store, "ann")

    assert (59, False) == (info.runs, info.late)
    assert (1, "ann", True) == (found.fence, found.worker, (found.ready_at or 0) > store.now())


def test_a_heartbeat_whose_answer_is_not_heard_is_told_again(store: Store) -> None:
    """The entry was made before the connection broke; the next server finds it, and the worker can take it away."""
    with served(store) as server, closing(Proxy(server.port)) as proxy:
        lost = Wire(f"127.0.0.1:{proxy.port}")
        with lost.channel:
            lost.worker.Wait(wb.WaitRequest(), timeout=PATIENCE)
            proxy.answering.clear()
            unheard = lost.worker.Announce.future(told("ann"))
            seen = 0
            while not shown(store):
                seen = store.wait(seen, 0.05)
            proxy.cut()
            proxy.answering.set()
            assert grpc.StatusCode.UNAVAILABLE == unheard.code()
    with served(store) as server, wire(server) as line:
        line.worker.Announce(told("ann", runs=4))
        assert [4] == [info.runs for info in workers(store, "default")]
        line.worker.Announce(wb.AnnounceRequest(worker="ann", leaving=True))
    assert not store.find(Filter(namespace=beside("default"))).runs


def test_entries_of_the_dead_are_swept_and_one_that_only_slept_is_made_again(line: Wire, store: Store, clock: VirtualClock) -> None:
    """Ann was silent until her lease had ended; ben takes her entry away, and she is back with her next heartbeat."""
    line.worker.Announce(told("ann"))
    clock.advance(2 * KEPT / SECOND)
    line.worker.Announce(told("ben"))
    assert ["ben"] == shown(store)
    line.worker.Announce(told("ann"))

    assert ["ann", "ben"] == sorted(shown(store))


def test_one_that_slept_and_was_not_swept_goes_on_under_its_lease(line: Wire, store: Store, clock: VirtualClock) -> None:
    """A lease that has merely ended still holds; it is prolonged before anybody is swept."""
    line.worker.Announce(told("ann"))
    clock.advance(2 * KEPT / SECOND)
    line.worker.Announce(told("ann"))

    assert (["ann"], 1) == (shown(store), entry(store, "ann").fence)


@pytest.mark.parametrize("ended", [False, True])
def test_a_sweep_that_was_not_finished_is_finished_by_the_next(line: Wire, store: Store, clock: VirtualClock, ended: bool) -> None:
    """Its server died after it had claimed the entry, or after it had ended it; the entry's worker lives and is shown again."""
    line.worker.Announce(told("ann"))
    clock.advance(2 * KEPT / SECOND)
    claim = Claim(worker="ben", namespace=beside("default"), queues=[WORKER], workflows=[WORKER], limit=9, ttl=KEPT)
    (claimed,) = store.claim(claim).runs
    if ended:
        store.commit([Commit(lease=claimed.lease, expected=1, status="completed", result=b"null", release=True)])
    for _ in range(2):
        line.worker.Announce(told("ann"))
        clock.advance(KEPT / SECOND)
    line.worker.Announce(told("ann"))

    assert ["ann"] == shown(store)
    assert "ann" == entry(store, "ann").worker


def test_an_engine_of_an_older_build_and_the_verb_share_one_entry(line: Wire, store: Store, clock: VirtualClock) -> None:
    """Workers that keep their entries themselves go on doing so, with the verbs of the store."""
    line.worker.Announce(told("ann"))
    held = entry(store, "ann")
    lease = pb.Lease(key=pb.RunKey(namespace=beside("default"), id="ann"), fence=held.fence, worker="ann")
    state = {WORKER: b'{"every":5000000,"host":"elm"}'}
    commit = pb.Commit(lease=lease, expected=1, applied=1, status="running", state=state)
    answer = line.worker.Commit(wb.CommitRequest(commits=[commit]))

    assert [pb.COMMITTED_APPLIED] == list(answer.fates)
    assert ["elm"] == [info.host for info in workers(store, "default")]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (told(""), grpc.StatusCode.INVALID_ARGUMENT),
        (told("a\nb"), grpc.StatusCode.INVALID_ARGUMENT),
        (told("ann", namespace="~workers:shop"), grpc.StatusCode.INVALID_ARGUMENT),
        (told("ann", every=0), grpc.StatusCode.INVALID_ARGUMENT),
        (told("ann", workflows=["x" * 100_000] * 11), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["no name", "no printable name", "a room of replay's own", "no time", "too much"],
)
def test_what_does_not_fit_is_refused(line: Wire, store: Store, request_: wb.AnnounceRequest, status: grpc.StatusCode) -> None:
    """No name, another's room, no time, too much: each with its reason, and nothing is written."""
    with pytest.raises(grpc.RpcError) as caught:
        line.worker.Announce(request_)
    found: Any = caught.value

    assert status == found.code()
    assert not any(store.find(Filter(namespace=beside(name))).runs for name in ("default", "shop", "~workers:shop"))


def test_a_token_to_work_is_enough_and_is_for_its_own_namespace(store: Store, tmp_path: Path) -> None:
    """Workers of the shop are not shown at the bank."""
    tokens = tokens_file(tmp_path / "tokens.json", {"works": ("shop", ["work"])})
    with served(store, tokens=tokens) as server, wire(server, "works") as line:
        line.worker.Announce(told("ann", namespace="shop"), metadata=line.token)
        with pytest.raises(grpc.RpcError) as caught:
            line.worker.Announce(told("ann", namespace="bank"), metadata=line.token)
        found: Any = caught.value
        assert grpc.StatusCode.PERMISSION_DENIED == found.code()
        assert [1, 0] == [len(workers(store, name)) for name in ("shop", "bank")]
        line.worker.Announce(wb.AnnounceRequest(namespace="shop", worker="ann", leaving=True), metadata=line.token)

    assert not store.find(Filter(namespace=beside("shop"))).runs


def test_engines_over_the_wire_and_workers_by_the_verb_are_shown_together(tmp_path: Path) -> None:
    """Whatever way a heartbeat takes, it ends in the same place."""
    with served(f"sqlite:///{tmp_path}/served.db") as server, wire(server) as line:
        url = f"grpc://127.0.0.1:{server.port}"
        with Engine(url, workflows=[doubling], announce=0.05) as engine:
            line.worker.Announce(told("ann"))
            seen = 0
            while len(engine.workers()) < 2:
                seen = engine.store.wait(seen, 0.05)
            assert {"go", "python"} == {info.version.partition("/")[0] for info in engine.workers()}
