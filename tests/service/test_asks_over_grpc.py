"""Questions answered by a client that knows neither the code nor the store."""

from __future__ import annotations

import uuid

import pytest

from replay import AnswerRefused, AskClosed, Client, Engine, Workflow, ask, workflow
from replay.store.memory import WORLDS
from tests.helpers.engines import until
from tests.service.wire import PATIENCE, served


@workflow(name="wire.asking")
def asking() -> Workflow[int]:
    return (yield from ask("How many?", type=int, validator=lambda number: number > 0, assignee="ada"))


def test_a_question_is_found_and_answered_over_the_wire() -> None:
    """Listed with its schema, refused with the reason, answered once."""
    name = uuid.uuid4().hex
    with served(f"memory://{name}") as server, Engine(f"memory://{name}", workflows=[asking], grace=2) as engine:
        _ = engine.start(asking(), id="far")
        with Client(f"grpc://127.0.0.1:{server.port}") as client:
            (question,) = until(lambda: client.asks(assignee="ada").asks, engine.store)
            handle = client.get("far")
            with pytest.raises(AnswerRefused, match="must be an integer"):
                handle.answer(question, "x")
            with pytest.raises(AnswerRefused, match="int 0 is not accepted"):
                handle.answer(question, 0)
            handle.answer(question, 3)
            with pytest.raises(AskClosed):
                handle.answer(question, 4)

            assert 3 == handle.result(PATIENCE)
    WORLDS.pop(name, None)
