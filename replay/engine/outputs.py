"""What a workflow says: signals, entries of topics, what it shows, what it is found by, notes and log lines.

Rule 1: what was said takes effect with the commit of the turn in which it was said, once.
Rule 2: a long note stands on the blob side; its entry has the beginning, and the blob's name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from replay.errors import PayloadTooLarge
from replay.interpreter.issue import position
from replay.model.codec import from_json, to_json
from replay.model.failure import Failure
from replay.store.contract import Message, RunKey

if TYPE_CHECKING:
    from replay.engine.live import Live

REPLY, NOTES, LOG, REVIEWS = "~reply:", "~notes:", "~log:", "~reviews:"
"""Topics that replay itself uses; a user's topic may not begin with a tilde."""
INLINE: Final = 16 * 1024
"""Characters of a note that stand in its entry; a longer one goes to the blob side."""
PREVIEW: Final = 500
"""Characters of such a note that its entry shows."""


def note_payload(text: str) -> bytes:
    """A note that the engine itself leaves for people."""
    return to_json({"text": text, "fields": {}})


def say(live: Live, *, inline: bool) -> tuple[dict[str, bytes], dict[str, str]]:
    """Turn what a workflow said since the last commit into posts and topics; and what it shows, and is found by, from now on."""
    state: dict[str, bytes] = {}
    tags: dict[str, str] = {}
    for identity, output, seq in live.outputs:
        kind = output.name
        if kind == "send_signal":
            key = RunKey(live.key.namespace, output.target)
            live.posts.append(Message(position(live.interp, identity, ":"), key, "signal", output.label, output.payload))
        elif kind == "publish":
            live.topics.append((output.target, output.payload))
        elif kind == "set_state":
            state[output.target] = output.payload
        elif kind == "set_tags":
            tags.update(from_json(output.payload))
        elif kind == "reply":
            label, payload = output.label, output.payload or b"null"
            if len(payload) > live.max_payload:
                label, payload = "error", Failure.of(PayloadTooLarge("reply of an update", len(payload), live.max_payload)).encode()
            live.topics.append((REPLY + output.target, b'{"' + label.encode() + b'":' + payload + b"}"))
        else:
            topic = (LOG if kind == "log" else NOTES) + live.key.id
            said = {"text": output.label, "level": output.target or "info", "fields": from_json(output.payload), "seq": seq}
            if live.interp.started.chain:
                said["chain"] = live.interp.started.chain
            if len(output.label) > INLINE and not inline:
                said |= _put_aside(live, output.label)
            live.topics.append((topic, to_json(said)))
    return state, tags


def _put_aside(live: Live, text: str) -> dict[str, Any]:
    """A long text goes to the blob side; its entry has the beginning, and the blob's name."""
    data = text.encode("utf-8", "surrogatepass")
    live.blobs.append(data)
    return {"text": text[:PREVIEW], "blob": hashlib.sha256(data).hexdigest(), "size": len(data)}
