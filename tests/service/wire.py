"""Servers, tokens and raw stubs for tests of the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from replay import Workflow, on_update, publish, savepoint, signal, step, workflow
from replay.hooks import open_store
from replay.service.faults import TRAILER
from replay.service.generated import client_pb2 as cb
from replay.service.generated import client_pb2_grpc, types_pb2, worker_pb2_grpc
from replay.service.server import Server, Service
from replay.store.contract import Store

PATIENCE = 20.0
"""Seconds after which a call that a test waits for has failed."""


@step(name="wire.double")
def double(number: int) -> int:
    """A step that answers at once."""
    return number * 2


@workflow
def doubling(steps: int) -> Workflow[int]:
    """Steps one after the other."""
    total = 0
    for number in range(steps):
        total += yield from double(number)
    return total


@workflow
def greeting() -> Workflow[str]:
    """Waits for a word, past a savepoint."""
    yield from publish("news", "begun")
    yield from savepoint("begun", goal="greet")
    word = yield from signal("word", str)
    return f"hello {word}"


@workflow
def counting() -> Workflow[int]:
    """Takes updates until it is told to stop."""
    total = 0

    def add(number: int) -> int:
        nonlocal total
        total += number
        return total

    def positive(number: int) -> None:
        if number < 0:
            raise ValueError("not positive")

    yield from on_update("add", add, type=int, returns=int, validator=positive)
    yield from on_update("break", lambda _: 1 / 0)
    yield from signal("stop")
    return total


@counting.query
def missing(total: int, goal: int) -> int:
    """How much is missing to a goal."""
    return goal - total


@contextmanager
def served(store: str | Store, **service: Any) -> Iterator[Server]:
    """A server over a store, on a port of its own."""
    opened = open_store(store) if isinstance(store, str) else store
    server = Server(opened, Service(**{"listen": "127.0.0.1:0", **service}))
    try:
        yield server
    finally:
        server.stop(1)
        if isinstance(store, str):
            opened.close()


class Wire:
    """Raw stubs on a server.

    Attributes:
        client: The client service.
        worker: The worker service.
        token: Goes with every call as ``metadata=wire.token``.
    """

    def __init__(self, target: str, token: str = "", **options: Any) -> None:
        self.channel = grpc.insecure_channel(target, list(options.items()))
        self.client: Any = client_pb2_grpc.ClientServiceStub(self.channel)
        self.worker: Any = worker_pb2_grpc.WorkerServiceStub(self.channel)
        self.token = (("authorization", f"Bearer {token}"),) if token else ()


@contextmanager
def wire(server: Server, token: str = "", **options: Any) -> Iterator[Wire]:
    """Stubs on a server, closed in the end."""
    found = Wire(f"127.0.0.1:{server.port}", token, **options)
    with found.channel:
        yield found


def tokens_file(path: Path, grants: dict[str, tuple[str, list[str]]]) -> Path:
    """A file of tokens: namespace and scopes by token."""
    entries = [
        {"sha256": hashlib.sha256(token.encode()).hexdigest(), "namespace": namespace, "scopes": scopes}
        for token, (namespace, scopes) in grants.items()
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def key(run: str, namespace: str = "default") -> types_pb2.RunKey:
    """A run's key on the wire."""
    return types_pb2.RunKey(namespace=namespace, id=run)


def start(run: str, workflow: str = "greeting", payload: bytes = b"[]", **fields: Any) -> cb.StartRunRequest:
    """A request to start a run."""
    return cb.StartRunRequest(key=key(run), workflow=workflow, input=payload, **fields)


def detail(error: grpc.RpcError) -> tuple[str, dict[str, Any]]:
    """The typed detail of a status: the error's class and its facts."""
    call: Any = error
    (value,) = [value for name, value in call.trailing_metadata() if name == TRAILER]
    found = types_pb2.ErrorDetail.FromString(value)
    return found.error, json.loads(found.facts)
