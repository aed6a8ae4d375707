"""Many starts of one key become one run with the newest input: a workflow that collects them until they fall silent.

Rule 1: starts come as signals. When none has come for the delay, or the longest wait is over, the run that was asked for begins as an
abandoned child, and this one ends: it costs a row while it collects, and a closed row afterwards.
Rule 2: nothing that was delivered is lost. A run that ends leaves behind what came too late for it, so this one ends in two steps. It
continues as new in its version ``firing``, which inherits every message that came before, and leaves itself a mark as the last of
them: the mark makes its clock that of this turn, so that all mail which was there is read before its own short patience ends. Only what
comes to a run of that version, while a worker holds it, may come too late, and whoever sent it can see that (``client.debouncing``).
"""

from __future__ import annotations

from typing import Any, Final

from replay.authoring.definitions import Workflow, workflow
from replay.authoring.effects import continue_as_new, info, now, send_signal, signal, start_child
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Call
from replay.model.names import Micros, QueueName
from replay.model.options import RunOptions

NAME: Final = "replay.debounce"
FIRING: Final = "firing"
"""The version that a collecting run continues as before it ends."""
STARTED: Final = "start"
"""Name of the signal that a start comes as; its value says what is to begin, or is None for the mark."""
PAGE: Final = 500
"""Signals that one journal takes in; then it goes on in a fresh one."""

SILENCE: Final = object()
"""Stands for no signal."""

Wanted = dict[str, Any]
"""What is to begin: workflow, version, patches, input, options, the ``run``'s id, ``delay`` and ``max_wait`` in seconds, ``token``."""


@workflow(name=NAME)
def collect(wanted: Wanted, until: float | None = None) -> Workflow[str]:
    """Wait until starts fall silent, at the longest until a moment in seconds."""
    if until is None and wanted["max_wait"] is not None:
        until = (yield from now()).timestamp() + wanted["max_wait"]
    for _ in range(PAGE):
        patience = wanted["delay"]
        if until is not None:
            patience = max(0.0, min(patience, until - (yield from now()).timestamp()))
        later: Any = yield from signal(STARTED, Any, timeout=patience, default=SILENCE)
        if later is SILENCE:
            yield from send_signal((yield from info()).run_id, STARTED, None)
            yield from continue_as_new(fire(wanted, until))
        wanted = {**later, "run": wanted["run"]}
    yield from continue_as_new(collect(wanted, until))
    raise AssertionError("unreachable")


@workflow(name=NAME, version=FIRING)
def fire(wanted: Wanted, until: float | None = None) -> Workflow[str]:
    """Begin what is wanted, unless more starts have come meanwhile; its id."""
    late: Wanted | None = None
    heard: Any = yield from signal(STARTED, Any)
    while heard is not SILENCE:
        late = heard or late
        heard = yield from signal(STARTED, Any, timeout=0.001, default=SILENCE)
    if late is not None:
        wanted = {**late, "run": wanted["run"]}
        if until is None or (yield from now()).timestamp() < until:
            yield from continue_as_new(collect(wanted, until))
    yield from start_child(call_of(wanted), id=wanted["run"], on_parent_close="abandon")
    return str(wanted["run"])


class Named:
    """A workflow whose code need not be here: enough to begin it, and to pass its answer over."""

    def __init__(self, name: str, version: str, patches: list[str] | None) -> None:
        self.name = name
        self.version = version
        self.patches = None if patches is None else frozenset(patches)
        self.answers = {events.CHILD_COMPLETED: (False, from_json), events.CHILD_FAILED: (True, lambda _: RuntimeError(name))}


def wanted_of(call: Call[Any], *, run: str, delay: float, max_wait: float | None, token: str) -> Wanted:
    """What is to begin, from a call."""
    options, patches = call.options_, getattr(call.spec, "patches", None)
    return {
        "workflow": call.name,
        "version": call.spec.version,
        "patches": None if patches is None else sorted(patches),
        "input": from_json(call.payload),
        "options": {
            "queue": options.queue,
            "key": options.key,
            "priority": options.priority,
            "delay": options.delay,
            "deadline": options.deadline,
            "tags": dict(options.tags),
        },
        "run": run,
        "delay": delay,
        "max_wait": max_wait,
        "token": token,
    }


def call_of(wanted: Wanted) -> Call[Any]:
    """A call, from what is to begin."""
    given = wanted["options"]
    queue, deadline = given["queue"], given["deadline"]
    options = RunOptions(
        queue=None if queue is None else QueueName(queue),
        key=given["key"],
        priority=given["priority"],
        delay=Micros(given["delay"]),
        deadline=None if deadline is None else Micros(deadline),
        tags=given["tags"],
    )
    spec: Any = Named(wanted["workflow"], wanted["version"], wanted["patches"])
    return Call(spec, to_json(wanted["input"]), options)
