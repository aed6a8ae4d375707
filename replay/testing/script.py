"""One run as a check asks for it: which call, which stubs, which messages; the same in every world that it is played in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from replay.client.handle import Handle
from replay.errors import RunClosed
from replay.model.effects import Call
from replay.store.contract import Store
from replay.testing.clock import VirtualClock
from replay.testing.world import World

Stubs = Mapping[Any, Any]
"""Answers by step or step's name; see ``World.stub``."""
Signals = Mapping[str, Any] | Sequence[tuple[str, Any] | tuple[str, Any, float]]
"""Messages, in order: values by name, or (name, value) or (name, value, seconds after the start)."""
Prepare = Callable[[World], object]
"""Called with every world before anything is started."""
MakeStore = Callable[[VirtualClock], Store]
"""Opens a fresh, empty store that goes by a clock."""


@attrs.frozen(kw_only=True)
class Script:
    """What is played.

    Attributes:
        call: The run.
        id: Its id.
        stubs: What stands in for steps.
        signals: What is sent to it.
        prepare: What else is to be done to a world first.
    """

    call: Call[Any]
    id: str = "run"
    stubs: Stubs = attrs.field(factory=dict)
    signals: Signals = ()
    prepare: Prepare | None = None

    def set(self, world: World) -> None:
        """Make a world ready."""
        for step, answer in self.stubs.items():
            world.stub(step, answer)
        if self.prepare is not None:
            self.prepare(world)

    def begin(self, world: World) -> Handle[Any]:
        """Make a world ready, start the run, and send its messages."""
        self.set(world)
        handle = world.start(self.call, id=self.id)
        self.send(handle, world)
        return handle

    def send(self, handle: Handle[Any], world: World) -> None:
        """Send the messages, those that come later at their moment."""
        listed = list(self.signals.items()) if isinstance(self.signals, Mapping) else list(self.signals)
        for number, (name, value, *rest) in enumerate(listed):
            sending = _Sending(handle, name, value, f"signal-{number}")
            if rest:
                world.after(rest[0], sending)
            else:
                sending()


@attrs.frozen
class _Sending:
    """A message that is to be sent; a run that has ended meanwhile takes no more."""

    handle: Handle[Any]
    name: str
    value: Any
    id: str

    def __call__(self) -> None:
        with contextlib.suppress(RunClosed):
            self.handle.signal(self.name, self.value, id=self.id)
