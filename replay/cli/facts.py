"""Runs, events and more as JSON for programs: keys that stay, moments as ISO 8601 in UTC, spans in seconds, payloads as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from replay.cli.text import iso
from replay.model.codec import payload_codec
from replay.model.comparison import said_in
from replay.model.names import SECOND

if TYPE_CHECKING:
    from replay.client.travel import SavepointView
    from replay.errors import NonDeterminismError
    from replay.interpreter.fibers import Command
    from replay.interpreter.interpreter import Interpreter
    from replay.model.asks import Ask
    from replay.model.events import Event
    from replay.store.contract import Entry, Run


def run_facts(run: Run) -> dict[str, Any]:
    """A run's index entry."""
    completed = run.status == "completed"
    closing = said_in(run.result)
    return {
        "id": run.key.id,
        "namespace": run.key.namespace,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status,
        "events": run.seq,
        "result": closing if completed else None,
        "error": None if completed or not isinstance(closing, dict) else closing,
        "created_at": iso(run.created_at),
        "updated_at": iso(run.updated_at),
        "ready_at": iso(run.ready_at),
        "wake_at": iso(run.wake_at),
        "queue": run.queue,
        "fairness_key": run.fairness_key,
        "priority": run.priority,
        "parent": run.parent,
        "source": run.source,
        "tags": dict(run.tags),
        "state": {key: said_in(value) for key, value in run.state.items() if not key.startswith("~")},
        "worker": run.worker,
        "recoveries": run.recoveries,
        "note": run.note,
    }


def event_facts(event: Event) -> dict[str, Any]:
    """An event of a journal."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "command": event.command,
        "name": event.name,
        "at": iso(event.at),
        "payload": said_in(event.payload),
        "check": event.check,
        "attempt": event.attempt,
        "duration": event.duration / SECOND,
        "line": event.line,
        "worker": event.worker,
    }


def command_facts(interpreter: Interpreter, command: Command) -> dict[str, Any]:
    """What a run waits for."""
    return {
        "command": command.id,
        "effect": str(command.effect),
        "line": interpreter.line_of(command),
        "issued_at": iso(command.issued_at),
        "due_at": iso(command.due),
        "attempts": command.attempts,
    }


def savepoint_facts(point: SavepointView) -> dict[str, Any]:
    """A savepoint."""
    return {"name": point.name, "seq": point.seq, "at": iso(point.at), "has_state": point.has_state, "notes": dict(point.notes)}


def entry_facts(entry: Entry) -> dict[str, Any]:
    """An entry of a run's log or notes."""
    said = said_in(entry.payload)
    said = said if isinstance(said, dict) else {"text": said}
    return {"at": iso(entry.at), "level": said.get("level", "note"), "text": said.get("text", ""), "fields": said.get("fields", {})}


def ask_facts(ask: Ask) -> dict[str, Any]:
    """An open question."""
    return {
        "run": ask.run,
        "ask": ask.id,
        "prompt": ask.prompt,
        "schema": dict(ask.schema),
        "assignee": ask.assignee,
        "asked_at": iso(ask.asked_at),
        "due_at": iso(ask.due_at),
    }


def difference_facts(difference: NonDeterminismError | None) -> dict[str, Any] | None:
    """Where today's code does not fit a journal."""
    if difference is None:
        return None
    names = ("seq", "recorded", "asked", "recorded_line", "asked_line")
    return {**{name: getattr(difference, name) for name in names}, "before": list(difference.before)}


def value_facts(value: Any) -> Any:
    """A live value: JSON as its class spells it, else its repr."""
    try:
        return said_in(payload_codec(type(value)).encode(value, "value"))
    except Exception:  # noqa: BLE001 - border: any object may stand in a workflow's variables, and its hooks may raise anything
        return _repr(value)


def variables_facts(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Local variables."""
    return {name: value_facts(value) for name, value in variables.items()}


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - border: a foreign __repr__ may raise anything
        return f"<unprintable, repr raised {type(error).__name__}>"
