"""``inspect --request``: what a language model was asked, computed again by driving the code over the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from replay.cli.facts import event_facts
from replay.cli.scene import Scene
from replay.cli.screen import facts, styled
from replay.cli.text import compact, plain, shorten
from replay.errors import UnknownName

if TYPE_CHECKING:
    from replay.client import Handle
    from replay.model.events import Event
    from replay.model.llm import LLMCall

SHOWN: Final = 2_000
"""Characters of a message that are shown."""


def show_request(scene: Scene, handle: Handle[Any], journal: list[Event], seq: int) -> None:
    """Show the request that an event answers, or those that are under way after it.

    Raises:
        UnknownName: Neither is there.
    """
    from replay.client.travel import drive
    from replay.llm.costs import is_reply
    from replay.model.codec import from_json
    from replay.model.llm import LLMCall

    event = journal[seq - 1]
    answers = is_reply(event)
    interpreter = drive(handle.spec(), handle.id, journal[: seq - 1] if answers else journal[:seq])
    asked = [command for command in interpreter.pending.values() if isinstance(command.effect, LLMCall)]
    if answers:
        asked = [command for command in asked if command.id == event.command]
    calls = [(command.id, command.effect) for command in asked if isinstance(command.effect, LLMCall)]
    interpreter.close()
    if not calls:
        known = tuple(f"#{other.seq}" for other in journal if is_reply(other))
        raise UnknownName("call of a language model answered by event", f"#{seq}", known)
    recorded = from_json(event.payload).get("digest") if answers and event.kind == "step_completed" else None
    if scene.as_json:
        scene.document({"id": handle.id, "event": event_facts(event), "requests": [_facts(*call, recorded) for call in calls]})
        return
    for command, call in calls:
        _draw(scene, command, call, recorded)


def _facts(command: str, call: LLMCall[Any], recorded: str | None) -> dict[str, Any]:
    request = call.request
    digest = request.digest()
    return {
        "command": command,
        "models": list(request.models),
        "messages": request.messages,
        "tools": list(request.tools),
        "tool_choice": request.tool_choice,
        "schema": None if request.response is None else request.response.schema,
        "settings": dict(request.settings),
        "digest": digest,
        "as_recorded": None if recorded is None else digest == recorded,
    }


def _draw(scene: Scene, command: str, call: LLMCall[Any], recorded: str | None) -> None:
    about = _facts(command, call, recorded)
    digest = about["digest"]
    if about["as_recorded"] is False:
        digest = styled(f"{digest}\nnot what was recorded ({recorded}): today's code asks otherwise", "yellow")
    scene.screen.draw(
        facts(
            [
                ("command", command),
                ("models", ", ".join(map(plain, about["models"]))),
                ("tools", ", ".join(plain(tool["function"]["name"]) for tool in about["tools"])),
                ("schema", None if about["schema"] is None else plain(shorten(compact(about["schema"]), 500))),
                ("settings", plain(compact(about["settings"])) if about["settings"] else None),
                ("digest", digest),
            ]
        )
    )
    scene.screen.gap()
    said = [(message["role"], plain(shorten(_said(message), SHOWN), keep="\n")) for message in about["messages"]]
    scene.screen.draw(facts(said))


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    rest = {key: value for key, value in message.items() if key not in {"role", "content"}}
    text = content if isinstance(content, str) else "" if content is None else compact(content)
    return "\n".join(part for part in (text, compact(rest) if rest else "") if part)
