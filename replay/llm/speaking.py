"""Tokens on their way to whoever watches a run: published while they come, beside the journal.

Rule 1: each piece names the attempt that it belongs to. When an attempt fails, or a worker dies and another begins anew, the pieces of
the newest attempt are the ones that count: ``tokens`` sorts them out.
Rule 2: pieces are published a few times a second, not one by one, for each costs the store a commit.
Rule 3: nothing waits for them and nothing depends on them: the journal holds the reply. A store that does not take them is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from replay.authoring.performing import Scene
from replay.errors import StoreError
from replay.model.codec import from_json, to_json

logger: Final = logging.getLogger("replay")
TOKENS: Final = "~tokens:"
"""What the topic of a run's tokens begins with; the run's id follows."""
EVERY: Final = 0.1
"""Seconds between two commits of one call's tokens."""


class Speaker:
    """Publishes what one attempt says.

    Args:
        scene: The attempt.
        number: Which question of the attempt it is, from 1: fall-backs and repairs ask again.
    """

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene = scene
        self._mark = {"command": scene.info.command, "attempt": [scene.life, scene.info.attempt, number]}
        self._pieces: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def say(self, piece: str) -> None:
        """Publish a piece, soon."""
        self._pieces.append(piece)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._soon())

    async def end(self, how: str) -> None:
        """Publish the rest, and how it ended: ``done`` or ``failed``."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._publish({"end": how})

    async def _soon(self) -> None:
        await asyncio.sleep(EVERY)
        await self._publish({})

    async def _publish(self, more: Mapping[str, str]) -> None:
        pieces, self._pieces = self._pieces, []
        text = {"text": sound("".join(pieces))} if pieces else {}
        try:
            await self._scene.publish(TOKENS + self._scene.info.run_id, [to_json({**self._mark, **text, **more})])
        except StoreError as error:
            logger.warning("tokens of run %s could not be published: %s", self._scene.info.run_id, error)


def sound(text: str) -> str:
    """A model's words as valid Unicode: one that is cut off may leave half a character, which no store can keep."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@attrs.define
class Saying:
    """What a call has said so far.

    Attributes:
        text: The pieces of its newest attempt.
        attempt: Which that is.
        end: ``done``, ``failed``, or empty while it goes on.
    """

    text: str = ""
    attempt: tuple[int, ...] = ()
    end: str = ""


def tokens(entries: Iterable[bytes], said: dict[str, Saying] | None = None) -> dict[str, Saying]:
    """What each call of a run has said, by command; pieces of attempts that failed are dropped.

    Args:
        entries: Payloads of the topic ``TOKENS`` + run id, oldest first.
        said: What came before, to be gone on with; it is changed.
    """
    found = {} if said is None else said
    for entry in entries:
        piece: dict[str, Any] = from_json(entry)
        attempt = tuple(piece["attempt"])
        saying = found.setdefault(piece["command"], Saying(attempt=attempt))
        if attempt < saying.attempt:
            continue
        if attempt > saying.attempt:
            saying.attempt, saying.text, saying.end = attempt, "", ""
        saying.text += piece.get("text", "")
        saying.end = piece.get("end", "")
        if saying.end == "failed":
            saying.text = ""
    return found
