"""The runs around a run: its children, its steps done elsewhere, the run that takes over its name, and what its parent is told.

Rule 1: no I/O. Each is a value that goes into the commit of the turn that asked for it.
Rule 2: position is identity: whoever is asked for again by a replay bears the same name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs

from replay.authoring.definitions import RIVALS
from replay.engine.remote import STEP_RUN, asked_otherwise
from replay.errors import DefinitionError, NonDeterminismError, RunExists
from replay.interpreter.budgets import sealed_with
from replay.interpreter.fibers import Command
from replay.interpreter.issue import child_id, position
from replay.model import events
from replay.model.codec import from_json
from replay.model.effects import Call, Step
from replay.model.events import Event
from replay.model.failure import Failure, qualified
from replay.model.journal import Started
from replay.model.names import SECOND
from replay.store.contract import Message, NewRun, RunKey

if TYPE_CHECKING:
    from replay.engine.live import Live


def new_run(
    key: RunKey,
    begin: Started,
    *,
    at: int,
    queue: str = "default",
    priority: int = 0,
    fairness_key: str = "",
    ready_at: int = 0,
) -> NewRun:
    """A run that begins with one event."""
    event = Event(1, events.STARTED, "", begin.workflow, at, begin.encode())
    return NewRun(
        key=key,
        workflow=begin.workflow,
        version=begin.version,
        queue=queue,
        digest=digest(begin.workflow, begin.input),
        events=[event],
        priority=priority,
        fairness_key=fairness_key,
        ready_at=ready_at,
        parent=begin.parent,
        parent_command=begin.parent_command,
        tags=begin.tags,
    )


def digest(workflow: str, payload: bytes) -> str:
    """What tells two starts of one id apart."""
    return hashlib.sha256(workflow.encode() + b"\n" + payload).hexdigest()[:16]


def child_run(live: Live, command: Command, call: Call[Any]) -> NewRun:
    """A child workflow."""
    options, started = call.options_, live.interp.started
    own = None if options.deadline is None else command.issued_at + options.deadline
    deadlines = [moment for moment in (own, started.deadline) if moment is not None]
    patches: Any = call.spec.patches  # None where it is begun by name alone
    patches = None if patches is None else tuple(sorted(patches))
    begin = Started(
        workflow=call.name,
        version=call.spec.version,
        input=call.payload,
        seed=child_id(live.interp, command.id, call),
        namespace=live.key.namespace,
        parent=live.key.id,
        parent_command=command.id,
        patches=patches,
        deadline=min(deadlines, default=None),
        tags=dict(options.tags),
        budget=options.budget,
    )
    return new_run(
        RunKey(live.key.namespace, begin.seed),
        begin,
        at=command.issued_at,
        queue=options.queue or live.run.queue,
        priority=options.priority,
        fairness_key=live.run.fairness_key if options.key is None else options.key,
        ready_at=command.issued_at + options.delay if options.delay else 0,
    )


def step_run(live: Live, command: Command, step: Step[Any]) -> NewRun:
    """A step that another queue does: a run of its own kind.

    Raises:
        DefinitionError: Its name does not say which step is meant.
    """
    if step.name in RIVALS:
        problem = f"two steps bear this name: {' and '.join(RIVALS[step.name])}; another queue could not tell them apart"
        raise DefinitionError(f"step {step.name}", problem, "give one of them name=…")
    begin = Started(
        workflow=STEP_RUN + step.name,
        input=step.payload,
        seed=child_id(live.interp, command.id, step),
        namespace=live.key.namespace,
        parent=live.key.id,
        parent_command=command.id,
        patches=(),
        deadline=live.interp.started.deadline,
        step=asked_otherwise(step),
    )
    options = step.options_
    return new_run(
        RunKey(live.key.namespace, begin.seed),
        begin,
        at=command.issued_at,
        queue=options.queue or live.run.queue,
        priority=live.run.priority,
        fairness_key=live.run.fairness_key if options.key is None else options.key,
    )


def refusal(live: Live, child: NewRun, problem: RunExists) -> Message:
    """An answer in the place of a child whose id belongs to another run."""
    is_step = child.workflow.startswith(STEP_RUN)
    failure = Failure(type=qualified(RunExists), message=str(problem), args=None if is_step else [child.key.id, "failed"])
    kind = events.STEP_FAILED if is_step else events.CHILD_FAILED
    command = child.parent_command
    return Message(f"{position(live.interp, command, '.')}:taken", live.key, "answer", kind, failure.encode(), command)


def answer_to_parent(live: Live, closing: Event, status: str) -> Message | None:
    """What the parent of a run is told of its end, if it has one."""
    started = live.interp.started
    if not started.parent:
        return None
    is_step = started.workflow.startswith(STEP_RUN)
    payload, kind = closing.payload, events.STEP_COMPLETED if is_step else events.CHILD_COMPLETED
    if closing.kind != events.COMPLETED:
        kind = events.STEP_FAILED if is_step else events.CHILD_FAILED
        payload = _failure_for_parent(live, closing, status, is_step=is_step)
    if live.interp.account is not None:
        payload = sealed_with(live.interp.account.spent, kind, payload)
    key = RunKey(live.key.namespace, started.parent)
    return Message(f"{live.key.id}:answer", key, "answer", kind, payload, started.parent_command)


def _failure_for_parent(live: Live, closing: Event, status: str, *, is_step: bool) -> bytes:
    if is_step:
        failed = [event.payload for event in live.fresh if event.kind == events.STEP_FAILED]
        if failed:
            return failed[-1]
    data = from_json(closing.payload)
    failure = Failure(
        type=data.get("type", "Cancelled"),
        message=data.get("message", data.get("reason", "")),
        traceback=data.get("traceback", ""),
        args=None if is_step else [live.key.id, status],
    )
    return failure.encode()


def successor_of(live: Live, closing: Event) -> NewRun | None:
    """The run that takes over the id: the next journal of ``continue_as_new``, or the next attempt of a failed run.

    The first goes on, so it keeps the state and tags that were set; the second begins again, with those that it was begun with.
    """
    interp = live.interp
    started = interp.started
    goes_on = closing.kind == events.CONTINUED
    common: dict[str, Any] = {"namespace": started.namespace, "parent": started.parent}
    common["tags"] = live.tags if goes_on else started.tags
    chain = started.chain + 1
    common |= {"parent_command": started.parent_command, "seed": f"{live.key.id}~{chain}", "chain": chain}
    if interp.account is not None:
        common |= {"budget": started.budget, "spent": interp.account.spent}
    ready_at = 0
    if goes_on and interp.outcome is not None and interp.outcome.call is not None:
        call = interp.outcome.call
        begin = Started(
            workflow=call.name,
            version=call.spec.version,
            input=call.payload,
            patches=tuple(sorted(call.spec.patches)),
            deadline=started.deadline,
            mail=interp.unread(),
            **common,
        )
    else:
        retry = getattr(interp.spec, "defaults", None) and interp.spec.defaults.retry  # type: ignore[attr-defined]  # workflows have it
        if closing.kind != events.FAILED or live.terminated is not None or not retry or interp.error is None:
            return None
        if isinstance(interp.error, NonDeterminismError) or not retry.allows(interp.error, started.attempt):
            return None
        chance = interp.chance.random("retry")
        ready_at = closing.at + round(retry.delay(started.attempt, chance=chance) * SECOND)
        begin = Started(
            workflow=started.workflow,
            version=started.version,
            input=started.input,
            patches=tuple(sorted(interp.spec.patches)),
            deadline=started.deadline,
            attempt=started.attempt + 1,
            **common,
        )
    run = live.run
    made = new_run(
        live.key, begin, at=closing.at, queue=run.queue, priority=run.priority, fairness_key=run.fairness_key, ready_at=ready_at
    )
    # To start it again is still to start the same.
    return attrs.evolve(made, digest=live.run.digest, state=live.state if goes_on else {})
