"""Effects that a workflow builds and throws away.

``charge(card)`` without ``yield from`` builds a value and asks for nothing; the workflow goes on as if the card were charged. While
a world drives workflows, every effect that dies unyielded by the hand of running workflow code is noticed.

Rule 1: no false alarm. An effect that has died can never be yielded any more, and only a death at an instruction that throws
something away counts: an expression statement, a variable that is given another value, a test for truth. What dies in a call is
let go: ``charge(…).options(…)`` replaces its effect, a saga drops compensations that were not needed, an exception sweeps away what
had been built beside it.
Rule 2: what a variable alone still held when the workflow ended well was forgotten too. What a list or a function held was kept in
reserve, and is no mistake.
Rule 3: production pays nothing: the hook is ``Effect.__del__``, which exists only while a world is open.

It leans on reference counting, so it notices under CPython only.
"""

from __future__ import annotations

import dis
import functools
import gc
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import attrs

from replay.interpreter.fibers import Fiber
from replay.interpreter.interpreter import Interpreter
from replay.model.effects import Call, ContinueAsNew, Effect, StartChild, Step, WorkflowSpec
from replay.model.events import Event

CALLS: Final = ("CALL", "PRECALL", "SEND", "END_SEND", "FOR_ITER", "RETURN", "YIELD", "INSTRUMENTED", "BEFORE_WITH", "RERAISE")
"""What the names of instructions begin with at which a death is no mistake of the line: another frame ends there, or an exception
is on its way."""
OWN: Final = str(Path(__file__).parents[1])
"""Where replay itself is; what its own code drops is its own business."""
ALONE: Final = 4
"""References to an effect that only one variable holds, as seen in ``_note``: the variable, the list of referents, the loop's
variable, and the call that counts."""


@attrs.frozen
class Found:
    """One effect that was thrown away.

    Attributes:
        run: The run's id.
        effect: The effect, as text.
        line: ``file:line`` where it was thrown away, or of the yield before the workflow ended.
    """

    run: str
    effect: str
    line: str


@attrs.define
class Watch:
    """What was noticed, and what was asked for; one to a world.

    Attributes:
        found: Effects that were thrown away.
        offer: Told of every workflow and step that is asked for, so that a world can do what no other process could import.
    """

    offer: Callable[[Any], None]
    found: list[Found] = attrs.field(factory=list)


class WatchedInterpreter(Interpreter):
    """An interpreter whose fibers are tapped."""

    def __init__(self, spec: WorkflowSpec, run: str, watch: Watch) -> None:
        super().__init__(spec, run)
        self.watch = watch

    @property
    def last(self) -> Event | None:
        """The last event that it was fed, or None when it began at a savepoint and was fed none since."""
        return self._recent[-1]

    def _run(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        if fiber.gen is None and fiber.cancel is None:
            fiber.gen = Tap(fiber.begin(), self.run, self.watch)
        super()._run(fiber, value, error)


class _Local(threading.local):
    tap: Tap | None = None


_RUNNING: Final = _Local()
"""The tap whose generator runs in this thread."""
_YIELDED: Final[set[int]] = set()
"""Identities of living effects that were yielded, or handed over inside one that was."""


class Tap(Generator[Effect[Any], Any, Any]):
    """A fiber's generator, seen from outside: what it yields, and what dies while it runs."""

    def __init__(self, generator: Generator[Effect[Any], Any, Any], run: str, watch: Watch) -> None:
        self._generator = generator
        self._run = run
        self._watch = watch
        self._held: set[int] = set()
        self._fresh: list[Found] = []
        self._late: list[Found] = []
        self._line = ""

    @property
    def gi_frame(self) -> FrameType | None:
        """The generator's frame, for those who show lines and variables."""
        return getattr(self._generator, "gi_frame", None)

    @property
    def gi_yieldfrom(self) -> Any:
        """What the generator waits for."""
        return getattr(self._generator, "gi_yieldfrom", None)

    def send(self, value: Any, /) -> Effect[Any]:
        """Let it run until it yields."""
        return self._go(lambda: self._generator.send(value))

    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Effect[Any]:
        """Raise something at its yield, and let it run until it yields again."""
        return self._go(lambda: self._generator.throw(error))

    def close(self) -> None:
        """End it where it stands; nothing of that counts."""
        self._generator.close()

    def _go(self, run: Callable[[], Effect[Any]]) -> Effect[Any]:
        before, _RUNNING.tap = _RUNNING.tap, self
        self._fresh, self._late = [], []
        try:
            effect = run()
        except StopIteration:
            self._watch.found += [*self._fresh, *self._late]
            raise
        except BaseException:
            self._held.clear()  # what it was about to do was overtaken
            raise
        finally:
            _RUNNING.tap = before
        self._watch.found += self._fresh
        self._yielded(effect)
        self._note()
        return effect

    def _yielded(self, effect: Any) -> None:
        """An effect was yielded, and with it all that it is made of."""
        seen = [effect]
        while seen:
            part = seen.pop()
            if isinstance(part, Effect):
                _YIELDED.add(id(part))
                if isinstance(part, Call | Step):
                    self._watch.offer(part.spec)
                seen.extend(_parts(part))
            elif isinstance(part, Generator):
                seen.extend(_held_by(part))

    def _note(self) -> None:
        """Remember the effects that a variable alone holds over this yield."""
        self._held.clear()
        frame = self.gi_frame
        if frame is None:
            return
        self._line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        for generator in _chain(self._generator):
            for thing in gc.get_referents(generator):
                if isinstance(thing, Effect) and id(thing) not in _YIELDED and sys.getrefcount(thing) == ALONE:
                    self._held.add(id(thing))

    def died(self, effect: Effect[Any], frame: FrameType | None) -> None:
        """An effect died unyielded while this generator ran; ``frame`` is where."""
        if frame is None or frame.f_code is _GO:
            if id(effect) in self._held:
                self._late.append(Found(self._run, str(effect), self._line))
        elif not frame.f_code.co_filename.startswith(OWN) and not _instruction(frame).startswith(CALLS):
            self._fresh.append(Found(self._run, str(effect), f"{frame.f_code.co_filename}:{frame.f_lineno}"))


def _parts(effect: Effect[Any]) -> Iterable[Any]:
    """What an effect is made of."""
    if isinstance(effect, ContinueAsNew):
        return [*effect.args, *effect.kwargs.values()]
    if isinstance(effect, StartChild):
        return [effect.call]
    return [*getattr(effect, "branches", ()), *([effect.branch] if hasattr(effect, "branch") else ())]


def _held_by(generator: Generator[Any, Any, Any]) -> Iterator[Any]:
    """Effects that a generator which has not begun was given."""
    for thing in gc.get_referents(generator):
        if isinstance(thing, Effect):
            yield thing
        elif isinstance(thing, list | tuple):
            yield from (item for item in thing if isinstance(item, Effect))


def _chain(generator: Any) -> Iterator[Any]:
    """A generator and those that it waits for by ``yield from``, except an effect's own."""
    while isinstance(generator, Generator):
        frame = getattr(generator, "gi_frame", None)
        if frame is None or frame.f_code is _ITER:
            return
        yield generator
        generator = getattr(generator, "gi_yieldfrom", None)


def _instruction(frame: FrameType) -> str:
    """The name of the instruction that a frame is at."""
    offsets = _instructions(frame.f_code)
    return next((offsets[place] for place in range(frame.f_lasti, -1, -2) if place in offsets), "")


@functools.lru_cache(maxsize=1024)
def _instructions(code: CodeType) -> dict[int, str]:
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}


_GO: Final = Tap._go.__code__  # noqa: SLF001 - its own
_ITER: Final = Effect.__iter__.__code__


# ---- the hook -----------------------------------------------------------------------------------------------------------


class _Hook:
    """``Effect.__del__``, there as long as a world is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._collecting = False

    def open(self) -> None:
        """One more world is open."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                gc.callbacks.append(self._on_collection)
                setattr(Effect, "__del__", _died)  # noqa: B010 - a hook, not a part of the class

    def close(self) -> None:
        """One world less."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                delattr(Effect, "__del__")
                gc.callbacks.remove(self._on_collection)
                _YIELDED.clear()

    @property
    def collecting(self) -> bool:
        """Whether the collector of cycles is at work: what it finds is not thrown away by the line that runs."""
        return self._collecting

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        self._collecting = phase == "start"


def _died(effect: Effect[Any]) -> None:
    identity = id(effect)
    if identity in _YIELDED:
        _YIELDED.discard(identity)
        return
    tap = _RUNNING.tap
    if tap is None or HOOK.collecting:
        return
    frame = sys._getframe(1)  # noqa: SLF001 - the frame that lets go is what counts
    while frame.f_code.co_filename == __file__ and frame.f_code is not _GO and frame.f_back is not None:
        frame = frame.f_back
    tap.died(effect, frame)


HOOK: Final = _Hook()
"""The one hook of this process."""
