"""Starting runs: idempotent by id, many at once, later, elsewhere; and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from replay import (
    Client,
    DefinitionError,
    Engine,
    InvalidRequest,
    PayloadError,
    PayloadTooLarge,
    RunExists,
    RunFailed,
    Start,
    UnknownRun,
    UnknownScheme,
    Workflow,
    signal,
    sleep,
    step,
    workflow,
)
from replay.model.journal import Started
from replay.testing import VirtualClock
from tests.helpers.engines import PATIENCE, OpenEngine, let_pass, reaches, until


@attrs.frozen
class Cart:
    """What is ordered."""

    card: str
    items: list[int]


@workflow
def ordering(cart: Cart, gift: bool = False) -> Workflow[int]:
    yield from sleep(0)
    return sum(cart.items) + gift


@workflow
def listening() -> Workflow[str]:
    return (yield from signal("word", str))


@step
def no_workflow() -> int:
    return 1


def test_starting_the_same_again_is_the_same_run(engine: Engine) -> None:
    """While it is open and when it has ended; nothing runs twice."""
    first = engine.start(ordering(Cart("visa", [1, 2])), id="a")
    assert 3 == first.result(PATIENCE)
    second = engine.start(ordering(Cart("visa", [1, 2])), id="a")

    assert (3, first.journal()) == (second.result(PATIENCE), second.journal())


def test_the_same_id_with_other_input_is_an_error(engine: Engine) -> None:
    """It says what has the id; a run of another workflow has it just as well."""
    _ = engine.start(ordering(Cart("visa", [1])), id="a")

    for other in (ordering(Cart("visa", [2])), ordering(Cart("visa", [1]), gift=True), listening()):
        with pytest.raises(RunExists, match="'a' exists as ordering"):
            _ = engine.start(other, id="a")


def test_fifty_threads_start_one_run(open_engine: OpenEngine, store_url: str) -> None:
    """Through two engines and a client at once: one journal, one result for all."""
    engines = [open_engine(), open_engine()]
    with Client(store_url) as client, ThreadPoolExecutor(10) as pool:
        asked = [*engines, client]
        handles = list(pool.map(lambda n: asked[n % 3].start(ordering(Cart("visa", [n // 50, 5])), id="a"), range(50)))

        assert {5} == set(pool.map(lambda handle: handle.result(PATIENCE), handles))
    assert 1 == len(engines[0].find().runs)


def test_many_are_started_at_once(engine: Engine) -> None:
    """Handles come in the order of the starts; an id that is left out is made up."""
    handles = engine.start_many([Start(ordering(Cart("visa", [n])), f"r{n}" if n % 2 else "") for n in range(50)])

    assert list(range(50)) == [handle.result(PATIENCE) for handle in handles]
    assert [f"r{n}" for n in range(1, 50, 2)] == [handle.id for handle in handles[1::2]]
    assert 50 == len({handle.id for handle in handles})


def test_one_taken_id_among_many_leaves_the_others_started(engine: Engine) -> None:
    """The error names the one."""
    _ = engine.start(ordering(Cart("visa", [1])), id="r1")

    with pytest.raises(RunExists, match="r1"):
        engine.start_many([Start(ordering(Cart("visa", [10 * n])), f"r{n}") for n in range(3)])
    assert (0, 20) == (engine.get("r0", ordering).result(PATIENCE), engine.get("r2", ordering).result(PATIENCE))


def test_a_client_starts_what_an_engine_drives(store_url: str, open_engine: OpenEngine) -> None:
    """It does not work itself; it may also be there first."""
    with Client(store_url) as client:
        handle = client.start(ordering(Cart("visa", [4])), id="a")
        assert "pending" == handle.status
        open_engine()

        assert 4 == handle.result(PATIENCE)


def test_a_delayed_run_begins_in_time(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """It exists at once, and is taken when its time has come."""
    engine = open_engine(clock=clock)
    handle = engine.start(ordering(Cart("visa", [4])), id="a", delay=3600)
    let_pass(engine, clock, 3599)
    assert ("pending", 1) == (handle.status, len(handle.journal()))
    let_pass(engine, clock, 2)

    assert 4 == handle.result(PATIENCE)


def test_a_deadline_cancels_a_run(open_engine: OpenEngine, clock: VirtualClock) -> None:
    """It is told why."""
    engine = open_engine(clock=clock)
    handle = engine.start(listening(), deadline=60)
    reaches(handle, "running", "waiting")
    let_pass(engine, clock, 61)

    with pytest.raises(RunFailed, match="the deadline has passed") as caught:
        handle.result(PATIENCE)
    assert "cancelled" == caught.value.status


def test_what_a_run_was_started_with_is_in_its_journal(engine: Engine) -> None:
    """Workflow, input, tags and namespace are the first event."""
    handle = engine.start(ordering(Cart("visa", [1]), gift=True), id="a", tags={"who": "ann"}, priority=3)
    begun = Started.decode(handle.journal()[0])

    assert ("ordering", "default", {"who": "ann"}) == (begun.workflow, begun.namespace, begun.tags)
    assert b'[{"card":"visa","items":[1]},true]' == begun.input
    assert (3, {"who": "ann"}) == (handle.about().priority, handle.about().tags)


def test_namespaces_do_not_see_each_other(open_engine: OpenEngine) -> None:
    """One id in two namespaces is two runs; an engine drives its own only."""
    ours, theirs = open_engine(namespace="ours"), open_engine(namespace="theirs")
    first = ours.start(ordering(Cart("visa", [1])), id="a")
    second = theirs.start(ordering(Cart("visa", [2])), id="a")

    assert (1, 2) == (first.result(PATIENCE), second.result(PATIENCE))
    assert (["ours"], ["theirs"]) == tuple([run.key.namespace for run in engine.find().runs] for engine in (ours, theirs))
    with pytest.raises(UnknownRun, match="'ours'"):
        _ = ours.get("b").status


# ---- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [ordering, ordering.fn, no_workflow, no_workflow(), sleep(1), "ordering", None, 5],
    ids=lambda got: type(got).__name__ + str(got)[:9],
)
def test_only_a_call_of_a_workflow_can_be_started(engine: Engine, wrong: Any) -> None:
    """The error shows what to write."""
    with pytest.raises(InvalidRequest, match=r"engine\.start\(order\(cart\)\)"):
        _ = engine.start(wrong)
    with pytest.raises(InvalidRequest):
        engine.start_many([Start(wrong, "a")])
    assert [] == list(engine.find().runs)


def test_arguments_that_do_not_fit_are_refused_at_the_call() -> None:
    """Before there is a run."""
    with pytest.raises(PayloadError, match=r"argument 'cart' of .*ordering"):
        ordering("no cart")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="cart"):
        ordering()  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", "a\x00b", "\ud800", 5, b"bytes", ["list"]], ids=ascii)
def test_a_name_that_is_none_is_refused(engine: Engine, name: Any) -> None:
    """As id, queue, signal, message id and tag alike; nobody else's request fails with it."""
    handle = engine.start(listening(), id="a")
    calls: list[Callable[[], Any]] = [
        lambda: engine.get(name),
        lambda: handle.signal(name, 1),
        lambda: handle.signal("word", 1, id=name),
        lambda: handle.update(name),
        lambda: engine.start(listening(), id=name),
        lambda: handle.fork(id=name),
    ]
    if not isinstance(name, list):
        calls.append(lambda: engine.start(listening(), tags={name: "x"}))
    if name != "":
        calls.append(lambda: engine.start(listening(), queue=name))

    for call in calls:
        with pytest.raises(InvalidRequest, match="no name"):
            call()
    handle.signal("word", "still here")
    assert "still here" == handle.result(PATIENCE)


def test_odd_but_sound_names_are_names(engine: Engine) -> None:
    """Slashes, spaces, quotes, emoji, percent signs, and 512 characters of anything."""
    for name in ("a/b c", "'; DROP TABLE runs; --", "日本語 🎉", "100%_", "x" * 512, "a~b#c.d:e"):
        assert 1 == engine.start(ordering(Cart("visa", [1])), id=name).result(PATIENCE)
        assert name == engine.find(prefix=name).runs[0].key.id


def test_an_input_that_is_too_large_is_refused(open_engine: OpenEngine) -> None:
    """So is a message; the limit and the size are named."""
    engine = open_engine(max_payload=100)
    handle = engine.start(listening(), id="a")

    with pytest.raises(PayloadTooLarge, match="100 are allowed"):
        _ = engine.start(ordering(Cart("x" * 200, [])))
    with pytest.raises(PayloadTooLarge, match="signal 'word'"):
        handle.signal("word", "x" * 200)
    with pytest.raises(PayloadTooLarge, match="update 'ask'"):
        _ = handle.update("ask", "x" * 200)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"threads": 0},
        {"steps": -1},
        {"ttl": 0},
        {"poll": -1},
        {"queues": "default"},
        {"queues": []},
        {"queues": [""]},
        {"namespace": ""},
    ],
    ids=str,
)
def test_an_engine_with_odd_settings_is_refused(settings: Any) -> None:
    """Before a thread is started or a store is opened."""
    with pytest.raises(InvalidRequest):
        Engine("memory://", **settings)


def test_what_an_engine_offers_must_be_workflows() -> None:
    """Two of one name and version are refused, too."""

    @workflow(name="ordering")
    def twin() -> Workflow[int]:
        yield from sleep(0)
        return 1

    with pytest.raises(DefinitionError, match="@workflow"):
        Engine("memory://", workflows=[no_workflow])  # type: ignore[list-item]  # that is the point
    with pytest.raises(DefinitionError, match="two of this name"):
        Engine("memory://", workflows=[ordering, twin])


def test_an_unknown_store_lists_the_known_ones() -> None:
    """And names the package to install, where there is one."""
    with pytest.raises(UnknownScheme, match=r"installed: .*memory.*sqlite"):
        Engine("nosuch://x")
    with pytest.raises(UnknownScheme, match="no store for"):
        Client("just text")


def test_a_workflow_that_nobody_offers_waits(open_engine: OpenEngine) -> None:
    """It is pending until an engine offers it."""
    first = open_engine(workflows=[listening])
    handle = first.start(ordering(Cart("visa", [3])), id="a")
    until(lambda: handle.status == "pending", first.store)
    open_engine(workflows=[ordering])

    assert 3 == handle.result(PATIENCE)
