"""Signs of life of steps: heartbeats, the progress that they carry, and when silence has lasted too long.

Rule 1: a heartbeat is a note in memory. About once a second what was noted last is saved: with the next commit of the run, as one
reserved key of what the run shows, and never in the journal, because replay does not need it. The engine looks once more after the
last one, so what a step told before it fell silent is saved too.
Rule 2: progress belongs to a command. The next attempt of the command reads it, on whichever worker; the commit of the command's
answer drops it.
Rule 3: saving is a commit like any other, so it is refused when the run has moved on, and then the step is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from replay.errors import PayloadError, PayloadTooLarge, TimedOut
from replay.model.codec import from_json, spell, to_json
from replay.model.names import SECOND

if TYPE_CHECKING:
    from replay.engine.steps import Attempt

PROGRESS: Final = "~progress"
"""The key under which a run shows the progress of its steps; a user's key may not begin with a tilde."""
EVERY: Final = SECOND
"""Microseconds between two savings of one attempt's progress at the least."""
PROGRESS_LIMIT: Final = 64 * 1024
"""Bytes of one step's progress at most."""


class Pulse:
    """The heartbeats of one attempt, from its first one on; called by its step, asked by the engine.

    Attributes:
        attempt: Whose they are.
        last: When the last one came, by the engine's clock; 0 before the first.
        saved: The progress that the engine knows, encoded.
        alarm: Number of the alarm at which the engine looks at it, or 0.
    """

    __slots__ = ("_next", "_now", "_report", "alarm", "attempt", "last", "saved")

    def __init__(self, attempt: Attempt, saved: bytes, now: Callable[[], int], report: Callable[[Any], None]) -> None:
        self.attempt = attempt
        self.last = 0
        self.saved = saved
        self.alarm = 0
        self._next = 0
        self._now = now
        self._report = report

    def beat(self) -> None:
        """A heartbeat; about once a second it brings the engine what the step has told.

        Raises:
            PayloadError: The progress cannot be spelt.
            PayloadTooLarge: It is too large.
        """
        now = self.last = self._now()
        if now < self._next:
            return
        self._next = now + EVERY
        self._report(Beat(self, self.encoded()))

    def encoded(self) -> bytes:
        """What the step has told last, as it is saved.

        Raises:
            PayloadError: It cannot be spelt.
            PayloadTooLarge: It is too large.
        """
        what = f"progress of step {self.attempt.effect.name}"
        payload = spell(self.attempt.info.progress, what)
        if len(payload) > PROGRESS_LIMIT:
            raise PayloadTooLarge(what, len(payload), PROGRESS_LIMIT)
        return payload

    def latest(self, now: int) -> bytes:
        """The same, for the engine, whose look counts as a heartbeat that brought it.

        What cannot be saved stays as it was saved: the next heartbeat after that raises it where it was told.
        """
        if not self.last:
            return self.saved
        try:
            payload = self.encoded()
        except (PayloadError, PayloadTooLarge, RuntimeError):  # the last: it grew while it was being spelt
            return self.saved
        self._next = now + EVERY
        return payload


class Beat:
    """A heartbeat that brings the engine some progress."""

    __slots__ = ("payload", "pulse")

    def __init__(self, pulse: Pulse, payload: bytes) -> None:
        self.pulse = pulse
        self.payload = payload


def limit(attempt: Attempt, now: int) -> tuple[int, TimedOut] | None:
    """When an attempt will have taken too long, or been silent for too long, as far as is known now."""
    options, name = attempt.effect.options_, attempt.effect.name
    began = now if attempt.began is None else attempt.began  # time counts from when its body began
    limits = []
    if options.timeout is not None:
        limits.append((began + round(options.timeout * SECOND), TimedOut(f"step {name}", options.timeout)))
    if options.heartbeat is not None:
        heard = began if attempt.pulse is None else max(began, attempt.pulse.last)
        limits.append((heard + round(options.heartbeat * SECOND), TimedOut(f"the silence of step {name}", options.heartbeat)))
    return min(limits, key=lambda pair: pair[0], default=None)


def packed(progress: Mapping[str, bytes]) -> bytes:
    """The progress of several commands as one value."""
    return b"{" + b",".join(to_json(command) + b":" + payload for command, payload in progress.items()) + b"}"


def unpacked(shown: Mapping[str, bytes]) -> dict[str, bytes]:
    """The progress of each command, from what a run shows."""
    found = from_json(shown[PROGRESS]) if PROGRESS in shown else {}
    return {command: to_json(progress) for command, progress in found.items()}
