"""Commits whose answer was not heard are sent again and say so; the server knows its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from replay.engine.family import new_run
from replay.hooks import open_store
from replay.model.events import Event
from replay.model.journal import Started
from replay.model.names import SECOND
from replay.service import translate as to
from replay.service.generated import types_pb2 as pb
from replay.service.generated import worker_pb2 as wb
from replay.store.contract import Claim, Commit, Lease, RunKey, Store
from tests.service.proxy import Proxy
from tests.service.wire import PATIENCE, Wire, served, wire

KEY = RunKey("default", "long")
APPLIED, FENCED, CONFLICT = pb.COMMITTED_APPLIED, pb.COMMITTED_FENCED, pb.COMMITTED_CONFLICT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/served.db")) as opened:
        yield opened


@pytest.fixture
def line(store: Store) -> Iterator[Wire]:
    with served(store) as server, wire(server) as stubs:
        yield stubs


@pytest.fixture
def lease(store: Store) -> Lease:
    """Ann's, of a run that has begun."""
    (made,) = store.create([new_run(KEY, Started(workflow="w", seed="long"), at=store.now())], worker="ann", ttl=60 * SECOND)
    assert made.lease is not None
    return made.lease


def answered(seq: int = 2, worker: str = "ann", **fields: Any) -> Event:
    """The answer of a step."""
    return Event(seq, "step_completed", "0", "pay", 1_000_000, b"7", worker=worker, **fields)


def sent(line: Wire, *commits: Commit, again: bool = False) -> list[Any]:
    """What becomes of commits."""
    return list(line.worker.Commit(wb.CommitRequest(commits=map(to.commit_out, commits), again=again)).fates)


def endings(lease: Lease) -> dict[str, Commit]:
    """One commit of each sort."""
    successor = new_run(KEY, Started(workflow="w", seed="long~1", input=b"[1]"), at=2_000_000)
    closing_event = Event(2, "continued", "", "w", 2_000_000, b"{}", worker="ann")
    return {
        "goes on": Commit(lease=lease, expected=1, events=[answered(line="pay.py:3", duration=5, attempt=2)], applied=2),
        "ends": Commit(lease=lease, expected=1, events=[answered()], status="completed", result=b"7", release=True),
        "is given back": Commit(lease=lease, expected=1, status="waiting", release=True),
        "only shows something": Commit(lease=lease, expected=1, state={"stage": b'"paid"'}),
        "passes its name on": Commit(
            lease=lease, expected=1, events=[closing_event], status="continued", result=b"{}", release=True, successor=successor
        ),
    }


@pytest.mark.parametrize("sort", ["goes on", "ends", "is given back", "only shows something", "passes its name on"])
def test_what_was_applied_unheard_is_applied(line: Wire, store: Store, lease: Lease, sort: str) -> None:
    """However the run stands after it; and it stands there once."""
    commit = endings(lease)[sort]
    assert [APPLIED] == sent(line, commit)
    written = store.journal(KEY)

    assert [APPLIED] == sent(line, commit, again=True)
    assert written == store.journal(KEY)
    if sort != "only shows something":
        assert APPLIED not in sent(line, commit)


def test_what_was_not_applied_is_applied_now(line: Wire, store: Store, lease: Lease) -> None:
    """The request was lost, and not the answer."""
    assert [APPLIED] == sent(line, endings(lease)["goes on"], again=True)
    assert 2 == len(store.journal(KEY))


def test_what_another_has_written_is_not_taken_for_ones_own(line: Wire, store: Store, lease: Lease) -> None:
    """The lease moved on, and another worker did the same step at the same moment: the commit is refused as before."""
    store.release([lease])
    (claimed,) = store.claim(Claim(worker="ben", namespace="default", queues=["default"], workflows=["w"], limit=1, ttl=SECOND)).runs
    theirs = Commit(lease=claimed.lease, expected=1, events=[answered(worker="ben")])
    assert [APPLIED] == sent(line, theirs)

    for sort in ("goes on", "ends", "is given back", "passes its name on"):
        assert [FENCED] == sent(line, endings(lease)[sort], again=True)
    assert [CONFLICT] == sent(line, Commit(lease=claimed.lease, expected=1, events=[answered(attempt=2)]), again=True)


def test_each_of_a_batch_is_looked_at_for_itself(line: Wire, store: Store, lease: Lease) -> None:
    """One was applied, one was refused, one is new."""
    other = RunKey("default", "other")
    (made,) = store.create([new_run(other, Started(workflow="w", seed="other"), at=store.now())], worker="ann", ttl=60 * SECOND)
    assert made.lease is not None
    first = endings(lease)["goes on"]
    foreign = Commit(lease=lease._replace(fence=9), expected=1, events=[answered()])
    assert [APPLIED] == sent(line, first)

    assert [APPLIED, FENCED, APPLIED] == sent(line, first, foreign, endings(made.lease)["goes on"], again=True)


def test_a_commit_whose_answer_was_cut_off_is_recognised(store: Store, lease: Lease) -> None:
    """The stream of commits breaks between the server's commit and the client's ear; the next one asks again."""
    commit = endings(lease)["ends"]
    with served(store) as server, closing(Proxy(server.port)) as proxy:
        lost = Wire(f"127.0.0.1:{proxy.port}")
        with lost.channel:
            lost.worker.Wait(wb.WaitRequest(), timeout=PATIENCE)
            proxy.answering.clear()
            unheard = lost.worker.CommitStream(iter([wb.CommitRequest(commits=[to.commit_out(commit)])]), timeout=PATIENCE)
            seen = 0
            while len(store.journal(KEY)) < 2:
                seen = store.wait(seen, 0.05)
            proxy.cut()
            proxy.answering.set()
            with pytest.raises(grpc.RpcError):
                next(unheard)
        with wire(server) as line:
            again = wb.CommitRequest(commits=[to.commit_out(commit)], again=True)
            found = next(line.worker.CommitStream(iter([again]), timeout=PATIENCE))

    assert [APPLIED] == list(found.fates)
    assert [1, 2] == [event.seq for event in store.journal(KEY)]
