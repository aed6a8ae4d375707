"""Conformance cases: read, written, and played; README.md beside this file says what each field means.

Rule 1: what is compared is compared exactly: bytes by their checksums, lists by their order.
Rule 2: a case holds nothing that only Python could say.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from replay.errors import JournalDamaged, NonDeterminismError, PayloadError
from replay.interpreter import Interpreter
from replay.interpreter.fibers import Command
from replay.interpreter.issue import child_id, position, savepoint_payload
from replay.model import events
from replay.model.codec import from_json, to_json
from replay.model.effects import Call, Output, Savepoint, Signal, Sleep, Step
from replay.model.events import Event, seal
from replay.model.journal import Resume
from tests.conformance.workflows import WORKFLOWS
from tests.interpreter.world import fresh

Json = dict[str, Any]
CASES: Final = Path(__file__).parent / "cases"
VERSION: Final = 1
"""Version of the files' format."""
SAFE: Final = 2**53 - 1
"""The largest whole number that a reader of JSON may be trusted with, in every language."""
INVISIBLE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Zl", "Zp"})
"""Categories of characters that a file shows as escapes, for the sake of those who read it."""
KINDS: Final[Mapping[type[Any], str]] = {Step: "step", Sleep: "timer", Signal: "signal", Savepoint: "savepoint", Call: "child"}


# ---- bytes in a JSON file ----------------------------------------------------------------------------------------------------


def spelt(name: str, payload: bytes) -> Json:
    """Bytes as a field: a JSON value, its exact text, or Base64; nothing when there are none."""
    if not payload:
        return {}
    try:
        value = from_json(payload)
    except PayloadError:
        return {f"{name}_base64": base64.b64encode(payload).decode()}
    if to_json(value) == payload and is_safe(value):
        return {name: value}
    return {f"{name}_text": payload.decode()}


def bytes_of(name: str, entry: Mapping[str, Any]) -> bytes:
    """The bytes that a field stands for."""
    if f"{name}_base64" in entry:
        return base64.b64decode(entry[f"{name}_base64"])
    if f"{name}_text" in entry:
        text: str = entry[f"{name}_text"]
        return text.encode()
    return to_json(entry[name]) if name in entry else b""


def is_safe(value: Any) -> bool:
    """Whether every language's own JSON reader reads it exactly."""
    if isinstance(value, dict):
        return all(map(is_safe, value.values()))
    if isinstance(value, list):
        return all(map(is_safe, value))
    return not isinstance(value, int) or abs(value) <= SAFE


# ---- what an interpreter shows -----------------------------------------------------------------------------------------------


def event_entry(event: Event) -> Json:
    """An event as a case holds it."""
    entry: Json = {"seq": event.seq, "kind": event.kind}
    entry |= {key: getattr(event, key) for key in ("command", "name") if getattr(event, key)}
    entry["at"] = event.at
    entry |= {"check": event.check} if event.check else {}
    return {**entry, **spelt("payload", event.payload), "seal": seal(event)}


def event_of(entry: Mapping[str, Any]) -> Event:
    """The event of an entry."""
    return Event(
        seq=entry["seq"],
        kind=entry["kind"],
        command=entry.get("command", ""),
        name=entry.get("name", ""),
        at=entry["at"],
        payload=bytes_of("payload", entry),
        check=entry.get("check", 0),
    )


def command_entry(machine: Interpreter, command: Command) -> Json:
    """A pending command as a case holds it."""
    effect = command.effect
    entry: Json = {"id": command.id, "kind": KINDS[type(effect)], "name": effect.name}
    if isinstance(effect, Step | Call):
        entry |= spelt("arguments", effect.payload)
    if isinstance(effect, Call):
        entry["run"] = child_id(machine, command.id, effect)
    if isinstance(effect, Savepoint):
        entry |= spelt("payload", savepoint_payload(machine, command.fiber, effect))
    if effect.check():
        entry["check"] = effect.check()
    if command.due is not None:
        entry["due"] = command.due
    if command.attempts:
        entry["attempts"] = command.attempts
    entry |= {flag: True for flag in ("intent", "cancelled") if getattr(command, flag)}
    return entry


def output_entry(machine: Interpreter, identity: str, output: Output) -> Json:
    """An output as a case holds it."""
    entry: Json = {"id": identity, "name": output.name}
    entry |= {key: getattr(output, key) for key in ("target", "label") if getattr(output, key)}
    if output.name == "send_signal":
        entry["message"] = position(machine, identity, ":")
    payload = _told(output.payload) if output.name == "reply" and output.label == "error" else output.payload
    return entry | spelt("payload", payload)


def outcome_entry(machine: Interpreter) -> Json | None:
    """How a run ended, as a case holds it."""
    outcome = machine.outcome
    if outcome is None:
        return None
    payload = _told(outcome.payload) if outcome.kind == events.FAILED else outcome.payload
    return {"kind": outcome.kind, **spelt("payload", payload)}


def _told(failure: bytes) -> bytes:
    """Of a failure, what is the same on every machine."""
    data = from_json(failure)
    return to_json({key: data[key] for key in ("type", "message")})


def error_entry(error: NonDeterminismError | JournalDamaged) -> Json:
    """Why a journal does not fit, as a case holds it."""
    if isinstance(error, NonDeterminismError):
        return {"type": "NonDeterminismError", "seq": error.seq, "recorded": error.recorded, "asked": error.asked}
    return {"type": "JournalDamaged", "seq": error.seq}


class Player:
    """Feeds a case's events and notes what the interpreter shows after each."""

    def __init__(self, workflow: str, run: str) -> None:
        self.machine = fresh(WORKFLOWS[workflow], run)
        self.commands: list[list[Json]] = []
        self.withdrawn: list[list[str]] = []
        self.abandoned: list[list[Json]] = []
        self.outputs: list[list[Json]] = []
        self.error: Json | None = None

    def feed(self, event: Event) -> None:
        """Feed one event."""
        self.machine.withdrawn = []
        self.machine.issued = []
        self.machine.outputs = []
        try:
            self.machine.feed(event)
        except (NonDeterminismError, JournalDamaged) as error:
            self.error = error_entry(error)
            return
        self.note()

    def recover(self, started: Event, savepoint: Event) -> None:
        """Begin at a savepoint instead of at the beginning."""
        self.machine.recover(started, savepoint)
        self.note()

    def note(self) -> None:
        """What the interpreter shows now."""
        machine = self.machine
        self.commands.append([command_entry(machine, command) for command in machine.pending.values()])
        self.withdrawn.append([command.id for command in machine.withdrawn])
        self.abandoned.append([command_entry(machine, command) for command in machine.issued if command.abandoned])
        self.outputs.append([output_entry(machine, identity, output) for identity, output in machine.outputs])

    @property
    def seen(self) -> Json:
        """All that a case says about it."""
        return {
            "commands": self.commands,
            "withdrawn": self.withdrawn,
            "abandoned": self.abandoned,
            "outputs": self.outputs,
            "unread": [{"name": name, **spelt("payload", payload)} for name, payload in self.machine.unread()],
            "outcome": outcome_entry(self.machine),
            "error": self.error,
        }


def play(case: Json) -> Player:
    """Feed all of a case's events."""
    player = Player(case["workflow"], case["run"])
    for entry in case["script"]:
        player.feed(event_of(entry))
    return player


def resumable(script: Iterable[Json]) -> list[int]:
    """Places in the script of the savepoints with state."""
    return [
        place
        for place, entry in enumerate(script)
        if entry["kind"] == events.SAVEPOINT and Resume.decode(bytes_of("payload", entry)) is not None
    ]


# ---- files -------------------------------------------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    """Where a case lives."""
    return CASES / f"{name}.json"


def read(path: Path) -> Json:
    """A case from its file."""
    case: Json = json.loads(path.read_text(encoding="utf-8"))
    return case


def text_of(case: Json) -> str:
    """A case as its file's text: one line for each event and for what was seen after it."""
    parts = []
    for key, value in case.items():
        whole = _line(value)
        if key in {"script", "commands", "withdrawn", "abandoned", "outputs"} and len(whole) > 100:
            whole = "[\n" + ",\n".join(f"    {_line(item)}" for item in value) + "\n  ]"
        parts.append(f"  {_line(key)}: {whole}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(_escaped(char) if unicodedata.category(char) in INVISIBLE else char for char in text)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
