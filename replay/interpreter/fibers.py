"""Fibers, and the scopes that wait for them.

Rule 1: a fiber is a generator with a path. The root's path is empty and its commands are 0, 1, 2 …; a combinator takes one
number n, and its branches are the fibers ``n/0/``, ``n/1/`` …
Rule 2: nothing here recurses over fibers by calling them. A fiber that can go on is put at the end of one queue, first ready
first; that queue is the only source of order.
Rule 3: no branch outlives its combinator. A scope that has its answer cancels the branches that still run, in order, and answers
when the last of them has ended.
Rule 4: a fiber is cancelled once. ``Cancelled`` is thrown at its current yield; one that has an answer waiting receives the
answer first and ``Cancelled`` at its next wait, so that nothing the world told is lost; one that never ran never runs.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, Protocol

from replay.errors import Cancelled, EffectError, TimedOut, describe
from replay.model.effects import Branch, Effect, Gather, Race, Sleep, Step, Timeout

if TYPE_CHECKING:
    from replay.interpreter.budgets import Account

WAIT: Final = object()
"""The fiber waits; an event or another fiber will resume it."""
CLOSINGS: Final = 2_000
"""How often a generator is closed that yields while it is closed, all that it is inside of included."""


class Command:
    """An effect as issued: what the world is asked to answer.

    Attributes:
        id: Path of its fiber and number within it.
        effect: What was asked for.
        fiber: Who waits.
        issued_at: The workflow's clock at its issue, microseconds UTC.
        due: Moment at which its timer fires, or None.
        attempts: Attempts that have failed so far.
        failure: Payload of the last failed attempt.
        failed_at: When that was recorded.
        intent: Whether an ``at_most_once`` step was begun.
        cancelled: Whether a cancellation waits for its end.
        abandoned: Whether it is a child that goes on by itself, its parent having ended.
    """

    # No slots: what most commands never need has its value in the class, which makes building one twice as quick.
    due: int | None = None
    attempts = 0
    failure = b""
    failed_at = 0
    intent = False
    cancelled = False
    abandoned = False

    def __init__(self, id: str, effect: Effect[Any], fiber: Fiber, issued_at: int) -> None:
        self.id = id
        self.effect = effect
        self.fiber = fiber
        self.issued_at = issued_at

    def __repr__(self) -> str:
        return f"<command {self.id} {self.effect}>"


class Fiber:
    """One concurrent branch inside a workflow.

    Attributes:
        path: Prefix of its commands' ids.
        gen: Its generator, or None before it first runs.
        branch: What the generator is made of.
        commands: Number of its next command.
        outs: Number of its next output.
        waits: The command, scope or fiber that it waits for, or None.
        scope: The scope that waits for it, or None.
        index: Its place among the scope's branches.
        cancel: The cancellation that was asked for, or None.
        delivered: Whether that was thrown.
        done: Whether it has ended, with ``value`` or ``error``.
        joiners: Fibers that wait for its end.
        account: The innermost budget that it belongs to, or None.
    """

    __slots__ = (
        "account",
        "branch",
        "cancel",
        "commands",
        "delivered",
        "done",
        "error",
        "gen",
        "index",
        "joiners",
        "outs",
        "path",
        "scope",
        "value",
        "waits",
    )

    def __init__(self, path: str, branch: Branch[Any], scope: Scope | None = None, index: int = 0) -> None:
        self.path = path
        self.gen: Generator[Any, Any, Any] | None = None
        self.branch = branch
        self.commands = 0
        self.outs = 0
        self.waits: Command | Scope | Fiber | None = None
        self.scope = scope
        self.index = index
        self.cancel: Cancelled | None = None
        self.delivered = False
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.joiners: list[Fiber] = []
        self.account: Account | None = None if scope is None else scope.account

    def begin(self) -> Generator[Any, Any, Any]:
        """Its generator, made when it first runs.

        Raises:
            EffectError: The branch is a generator that somebody drives already, or that has ended.
        """
        branch = self.branch
        if not isinstance(branch, Generator):
            self.gen = _single(branch)
        elif getattr(branch, "gi_suspended", False) or getattr(branch, "gi_frame", branch) is None:
            got = f"a branch that was begun before: {describe(branch)}"
            raise EffectError(got, "call the generator function once for each branch")
        else:
            self.gen = branch
        return self.gen

    def next_command(self) -> str:
        """The id of its next command."""
        number = self.commands
        self.commands = number + 1
        return f"{self.path}{number}"


def _single(effect: Effect[Any]) -> Generator[Effect[Any], Any, Any]:
    return (yield effect)


def close_generator(generator: Generator[Any, Any, Any]) -> None:
    """Close a generator whose run is not over; what its ``finally`` blocks yield or raise is refused.

    The innermost ``yield from`` is closed first, again and again where it yields: closing the outer one would leave an inner one
    behind that Python complains about when it is dropped, and show its refusal to the outer one as an error.
    """
    for _ in range(CLOSINGS):
        innermost: Any = generator
        while getattr(inner := getattr(innermost, "gi_yieldfrom", None), "gi_frame", None) is not None:
            innermost = inner
        try:
            innermost.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S112 - border: the author's finally blocks may do anything, call sys.exit included
            continue
        if innermost is generator:
            return


def require_branch(branch: Any, combinator: str) -> None:
    """A branch must be an effect or a generator of effects.

    Raises:
        EffectError: It is something else.
    """
    if isinstance(branch, Effect):
        return
    if not isinstance(branch, Generator):
        got = f"{combinator} was given a branch that is no effect: {describe(branch)}"
        raise EffectError(got, "give it step calls, other effects, or generators that yield effects")
    if getattr(branch, "__name__", "") == "<genexpr>":
        got = f"{combinator} was given a generator expression, which would ask for one effect after the other"
        raise EffectError(got, f"write {'race' if combinator == 'race' else 'gather'}(*[… for …])")


class Loom(Protocol):
    """What a scope needs of the interpreter."""

    def weave(self, fiber: Fiber) -> None:
        """Put a new fiber at the end of the queue."""

    def cancel_fiber(self, fiber: Fiber, reason: str) -> None:
        """Cancel a fiber, once."""

    def resume(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        """Put a waiting fiber at the end of the queue, with its answer."""


class Scope:
    """A combinator at work: it starts branches, hears of their ends, and answers its owner."""

    __slots__ = ("account", "closing", "error", "fibers", "live", "loom", "owner", "value")
    shields = False

    def __init__(self, loom: Loom, owner: Fiber) -> None:
        self.loom = loom
        self.owner = owner
        self.account = owner.account
        self.fibers: list[Fiber] = []
        self.live = 0
        self.closing = False
        self.value: Any = None
        self.error: BaseException | None = None

    def start(self, path: str, branch: Branch[Any]) -> None:
        """Begin one more branch."""
        index = len(self.fibers)
        fiber = Fiber(f"{path}/{index}/", branch, self, index)
        self.fibers.append(fiber)
        self.live += 1
        self.loom.weave(fiber)

    def ended(self, fiber: Fiber) -> None:
        """One branch has ended."""
        self.live -= 1
        if not self.closing:
            self.settle(fiber)
        if self.live == 0:
            self.answer()

    def settle(self, fiber: Fiber) -> None:
        """What this branch's end means; the policy of the combinator."""
        raise NotImplementedError

    def close(self, reason: str) -> None:
        """The answer is known, or nobody wants it: cancel what still runs, in order."""
        self.closing = True
        for fiber in self.fibers:
            if not fiber.done:
                self.loom.cancel_fiber(fiber, reason)

    def answer(self) -> None:
        """The last branch has ended: tell the owner."""
        owner = self.owner
        if owner.cancel is not None and not owner.delivered and not self.shields:
            owner.delivered = True
            self.loom.resume(owner, None, owner.cancel)
        else:
            self.loom.resume(owner, self.value, self.error)


class GatherScope(Scope):
    """All branches; ``limit`` of them at a time."""

    __slots__ = ("effect", "failed", "failures", "next", "path", "succeeded")

    def __init__(self, loom: Loom, owner: Fiber, path: str, effect: Gather[Any]) -> None:
        super().__init__(loom, owner)
        self.path = path
        self.effect = effect
        self.next = 0
        self.succeeded = 0
        self.failures = 0
        self.failed: BaseException | None = None
        self.value: Any = [None] * len(effect.branches)
        self.fill()

    def fill(self) -> None:
        """Start branches as far as the limit allows."""
        branches = self.effect.branches
        limit = self.effect.limit or len(branches)
        while self.next < len(branches) and self.live < limit:
            self.next += 1
            self.start(self.path, branches[self.next - 1])

    def settle(self, fiber: Fiber) -> None:
        """One more result, or one more failure."""
        effect, error = self.effect, fiber.error
        if error is None:
            self.value[fiber.index] = fiber.value
            self.succeeded += 1
        else:
            self.failures += 1
            self.failed = self.failed or error
            self.value[fiber.index] = error if effect.return_errors else None
        if self._hopeless():
            self.error = self.failed
            self.close("another branch of gather failed")
        elif effect.min_successful is not None and self.succeeded >= effect.min_successful:
            self.close("gather has enough results")
        else:
            self.fill()

    def answer(self) -> None:
        """Results in the order of the branches."""
        self.value = tuple(self.value)
        super().answer()

    def _hopeless(self) -> bool:
        """Whether the failures so far decide the answer."""
        effect = self.effect
        if effect.min_successful is not None:
            return len(effect.branches) - self.failures < effect.min_successful
        return self.failures > 0 and not effect.return_errors


class RaceScope(Scope):
    """The first branch that ends well."""

    __slots__ = ("failed",)

    def __init__(self, loom: Loom, owner: Fiber, path: str, effect: Race[Any]) -> None:
        super().__init__(loom, owner)
        self.failed: BaseException | None = None
        for branch in effect.branches:
            self.start(path, branch)

    def settle(self, fiber: Fiber) -> None:
        """The first success wins."""
        if fiber.error is None:
            self.value = (fiber.index, fiber.value)
            self.close("another branch won the race")
        else:
            self.failed = self.failed or fiber.error
            if self.live == 0:
                self.error = self.failed


class TimeoutScope(Scope):
    """A branch beside a timer."""

    __slots__ = ("span",)

    def __init__(self, loom: Loom, owner: Fiber, path: str, effect: Timeout[Any]) -> None:
        super().__init__(loom, owner)
        self.span = effect.span
        self.start(path, effect.branch)
        self.start(path, Sleep(span=effect.span, name="timeout"))

    def settle(self, fiber: Fiber) -> None:
        """Whichever of the two ends first."""
        if fiber.index == 0:
            self.value, self.error = fiber.value, fiber.error
            self.close("the branch has ended")
        else:
            self.error = TimedOut("the branch", self.span / 1e6)
            self.close("the branch took too long")


class PassScope(Scope):
    """One branch, whose end is its owner's answer."""

    __slots__ = ()

    def __init__(self, loom: Loom, owner: Fiber, path: str, branch: Branch[Any]) -> None:
        super().__init__(loom, owner)
        self.start(path, branch)

    def settle(self, fiber: Fiber) -> None:
        """The branch has ended."""
        self.value, self.error = fiber.value, fiber.error


class ShieldScope(PassScope):
    """One branch that cancellation of its owner does not enter."""

    __slots__ = ()
    shields = True


def waits_to_end(command: Command) -> bool:
    """Whether cancelling leaves this command in place until its end is known."""
    effect = command.effect
    return isinstance(effect, Step) and effect.options_.on_cancel == "wait"
