"""How a run ended is remembered for a moment where it ended, so that asking for its result costs no question to the store."""

from __future__ import annotations

from replay import Workflow, step, workflow
from replay.store.contract import RunKey
from tests.helpers.engines import PATIENCE, OpenEngine, between, until

KEY = RunKey("default", "a")


@step
def same(number: int) -> int:
    return number


@workflow
def echo(number: int) -> Workflow[int]:
    return (yield from same(number))


@workflow
def shout(number: int) -> Workflow[str]:
    answer = yield from same(number)
    return f"{answer}!"


def test_a_result_that_is_asked_for_after_the_end_asks_the_store_nothing(store_url: str, open_engine: OpenEngine) -> None:
    """Five hundred results of five hundred runs would be as many questions over the wire."""
    store = between(store_url)
    engine = open_engine(store, workflows=[echo], poll=60.0)
    handle = engine.start(echo(7), id="a")
    until(lambda: not engine.worker.live and KEY in engine.worker.waiters.fresh, store.store)
    before = store.calls["get"]

    assert 7 == handle.result(PATIENCE)
    assert before == store.calls["get"]
    assert 7 == handle.result(PATIENCE)
    assert before + 1 == store.calls["get"], "the memory is for the first who asks"


def test_an_id_that_is_used_again_is_not_answered_with_the_old_ending(store_url: str, open_engine: OpenEngine) -> None:
    """Deleted and started anew, it is another run."""
    store = between(store_url)
    engine = open_engine(store, workflows=[echo, shout], poll=60.0)
    _ = engine.start(echo(7), id="a")
    until(lambda: KEY in engine.worker.waiters.fresh, store.store)
    assert 1 == store.delete([KEY])

    assert "8!" == engine.start(shout(8), id="a").result(PATIENCE)
