"""Debounce: many starts of one key within a while become one run with the newest input (``engine.debounce``).

Rule 1: who is first creates the collecting run (``engine.debounce``) with its own input; all others leave it a message. Its id is made
of workflow and key; one that has ended is deleted, so that the next start begins anew.
Rule 2: a message counts as heard when the run was still collecting after it had been left, or was nobody's: whatever comes then reads
it. Else the run may have been about to end, and its journal tells; a start that it does not hold is made again.
Rule 3: so no start is lost. One may be made twice when its caller dies, or when a worker stalls just then.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from replay.client.handle import Handle
from replay.client.names import require_name
from replay.engine.debounce import FIRING, NAME, STARTED, Wanted, collect, wanted_of
from replay.engine.family import new_run
from replay.errors import InvalidRequest, PayloadTooLarge, StoreUnavailable, WaitTimedOut, describe
from replay.model.codec import from_json, to_json
from replay.model.effects import Call
from replay.model.journal import Started
from replay.store.contract import CLOSED, Message, NewRun, Posted, Run, RunKey

if TYPE_CHECKING:
    from replay.client.client import Client

R = TypeVar("R")
COLLECTOR: Final = "~debounce:"
"""What the ids of collecting runs begin with."""
PATIENCE: Final = 30.0
"""Seconds that a start waits for a run that is about to end."""
LOOK: Final = 0.05
"""Seconds between two looks."""


class Debounced(Handle[R]):
    """A run that begins when starts of its key have fallen silent; only ``result`` waits for that."""

    def result(self, timeout: float | None = None) -> R:
        """Wait until it has begun and ended; raises what ``Handle.result`` raises."""
        until = None if timeout is None else time.monotonic() + timeout
        seen = 0
        while self.client.store.get([self.key])[0] is None:
            left = 1.0 if until is None else until - time.monotonic()
            if left <= 0:
                raise WaitTimedOut(self.key.id, timeout or 0, "not begun")
            seen = self.client.store.wait(seen, min(left, 0.5))
        return super().result(None if until is None else max(0.0, until - time.monotonic()))


def debounce(client: Client, call: Call[R], *, key: str, delay: float, max_wait: float | None = None) -> Debounced[R]:
    """See ``Client.debounce``."""
    require_name(key, "key")
    for name, seconds in (("delay", delay), ("max_wait", delay if max_wait is None else max_wait)):
        given: Any = seconds
        if not isinstance(given, int | float) or not 0 < seconds < float("inf"):
            raise InvalidRequest(name, f"expected more than 0 seconds, got {describe(seconds)}", "write delay=5")
    token = uuid.uuid4().hex
    wanted = wanted_of(call, run=call.options_.id or client.fresh_id(), delay=delay, max_wait=max_wait, token=token)
    run = collected(client, wanted, key)
    return Debounced(client, RunKey(client.namespace, run), call.spec)


def collected(client: Client, wanted: Wanted, key: str) -> str:
    """Leave a start with whoever collects those of its key; the id of the run that will begin.

    Raises:
        StoreUnavailable: A run that is about to end did not, for too long; it is unknown whether the start was heard.
    """
    name, token = wanted["workflow"], wanted["token"]
    place = RunKey(client.namespace, require_name(f"{COLLECTOR}{name}:{key}", "key"))
    payload = to_json(wanted)
    if len(payload) > client.max_payload:
        raise PayloadTooLarge(f"input of workflow {name}", len(payload), client.max_payload)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        (made,) = client.create([collector(client, place, wanted)], [collect])
        if made.new:
            return str(wanted["run"])
        if made.run.status in CLOSED:
            if _holds(client, place, token):
                return run_of(made.run)
            client.store.delete([place])
            continue
        (fate,) = client.post([Message(token, place, "signal", STARTED, payload)])
        if fate in {Posted.DELIVERED, Posted.DUPLICATE} and (heard := _heard(client, place, token, until)):
            return heard
    raise StoreUnavailable(client.store.url, f"run {place.id} is about to end and does not", "start again: the newest input wins")


def _heard(client: Client, place: RunKey, token: str, until: float) -> str | None:
    """The id of the run that will begin, once it is certain that a message which was left is read; None when it was not."""
    seen = 0
    while time.monotonic() < until:
        (run,) = client.store.get([place])
        if run is None:
            return None
        if run.status in CLOSED:
            return run_of(run) if _holds(client, place, token) else None
        if run.version != FIRING or not run.worker:
            return run_of(run)
        seen = client.store.wait(seen, LOOK)
    return None


def _holds(client: Client, place: RunKey, token: str) -> bool:
    """Whether the last journal of a collecting run knows of a start."""
    return any(token.encode() in event.payload for event in client.store.journal(place))


def run_of(collecting: Run) -> str:
    """The run that a collecting run will begin."""
    return str(from_json(collecting.state["run"]))


def collector(client: Client, place: RunKey, wanted: Wanted) -> NewRun:
    """The run that collects the starts of a key; it lives where what it begins lives."""
    at = client.store.now()
    call, options = collect(wanted), wanted["options"]
    begin = Started(
        workflow=NAME,
        input=call.payload,
        seed=place.id,
        namespace=place.namespace,
        patches=(),
    )
    queue, of = options["queue"] or "default", options["key"] or ""
    made = new_run(place, begin, at=at, queue=queue, priority=options["priority"], fairness_key=of)
    return attrs.evolve(made, state={"run": to_json(wanted["run"])})


__all__ = ["Debounced", "collected", "debounce"]
