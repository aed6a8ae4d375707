"""What a type checker sees of messages, time, chance and notes. Read by mypy and pyright, never run."""

from __future__ import annotations

import datetime
import uuid as uuids
from typing import Any, Literal, assert_type

import attrs

from replay import (
    Callback,
    RunInfo,
    Workflow,
    annotate,
    ask,
    callback,
    continue_as_new,
    gather,
    info,
    log,
    now,
    on_update,
    patched,
    poll,
    publish,
    random,
    saga,
    Saga,
    savepoint,
    send_signal,
    set_state,
    set_tags,
    signal,
    sleep,
    step,
    uuid,
    workflow,
)


@attrs.frozen
class Approval:
    by: str


@step
def number(n: int) -> int:
    return n


@workflow
def messages() -> Workflow[None]:
    assert_type((yield from signal("go", bool)), bool)
    assert_type((yield from signal("go", Approval)), Approval)
    assert_type((yield from signal("go", list[int])), list[int])
    assert_type((yield from signal("go", bool, timeout=5)), bool)
    assert_type((yield from signal("go", bool, timeout=5, default=False)), bool)
    assert_type((yield from signal("go", Approval, timeout=5, default=None)), Approval | None)
    assert_type((yield from signal("go")), Any)
    assert_type((yield from signal("go", timeout=5, default=1)), Any)


@workflow
def outside() -> Workflow[None]:
    question = yield from callback(int, timeout=60)
    assert_type(question, Callback[int])
    assert_type(question.token, str)
    assert_type((yield from question), int)
    untyped = yield from callback()
    assert_type((yield from untyped), Any)


@workflow
def asking() -> Workflow[None]:
    assert_type((yield from ask("Name?")), str)
    assert_type((yield from ask("Sure?", type=bool, timeout=5)), bool)
    assert_type((yield from ask("Sure?", type=bool, timeout=5, default=None)), bool | None)
    assert_type((yield from ask("Size?", choices=[1, 2])), int)
    assert_type((yield from ask("Well?", form=Approval, validator=lambda given: bool(given))), Approval)
    assert_type((yield from ask("Really?", type=Literal["yes", "no"], timeout=5, default=None)), Any)
    assert_type((yield from ask("Number?", type=int, validator=lambda n: n > 0)), int)
    both = yield from gather(ask("Name?"), ask("Sure?", type=bool))
    assert_type(both, tuple[str, bool])


@workflow(patches=["fraud-check"], version="2")
def knowing(state: int = 0) -> Workflow[None]:
    assert_type((yield from now()), datetime.datetime)
    assert_type((yield from random()), float)
    assert_type((yield from uuid()), uuids.UUID)
    assert_type((yield from info()), RunInfo)
    assert_type((yield from info()).deadline, datetime.datetime | None)
    assert_type((yield from patched("fraud-check")), bool)
    assert_type((yield from sleep(hours=24)), None)
    assert_type((yield from savepoint("here", state=1, goal="win", mood="good")), None)


@workflow
def saying() -> Workflow[None]:
    assert_type((yield from send_signal("run", "go", True)), None)
    assert_type((yield from publish("topic", {"n": 1})), None)
    assert_type((yield from set_state("key", None)), None)
    assert_type((yield from set_tags(size="L")), None)
    assert_type((yield from annotate("text", who="me")), None)
    assert_type((yield from log("text", level="warning", n=1)), None)
    assert_type((yield from on_update("add", lambda n: n, type=int, returns=int)), None)


def booking(trip: Saga) -> Workflow[str]:
    one = yield from number(1)
    trip.compensate(number(one))
    trip.compensate(lambda: number(one))
    return "booked"


@workflow
def patterns() -> Workflow[str]:
    assert_type((yield from saga(booking)), str)
    assert_type((yield from poll(lambda: number(1), lambda n: n > 5, every=1)), int)
    if (yield from patched("x")):
        yield from continue_as_new()
    return "done"
