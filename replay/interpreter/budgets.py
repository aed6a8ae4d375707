"""Budgets: what a scope may spend, from journaled facts alone.

Rule 1: a fiber belongs to the innermost budget around the place where it was begun; what its calls cost is charged to that one and to
all around it, when the event that tells it is fed. So replay arrives at the same sums.
Rule 2: whether a call fits is not decided here. The engine knows what is under way and what it may cost; a call that it refuses comes
back as a failure in the journal.
Rule 3: a child gets a share when it is started, and that is decided here: what it was given, else its part of what is left, the other
branches of the ``gather`` around it having theirs. The share is held until the child tells what it spent; one that is cancelled
cannot tell, and keeps it.
Rule 4: with ``raise_by``, a call that was refused waits for the signal that raises the limit, and is asked again; all calls of the
budget that wait share one signal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from replay.errors import BudgetExceeded, PayloadError
from replay.interpreter.fibers import WAIT, Fiber, GatherScope, Loom, PassScope, RaceScope, Scope
from replay.model import events
from replay.model.budgets import KINDS, NOTHING, Limits, Spent
from replay.model.codec import from_json, payload_codec, to_json
from replay.model.effects import Budget, Call, Join, Metered, Signal, Sleep, Spawn, Spawned

if TYPE_CHECKING:
    from replay.interpreter.interpreter import Interpreter

SPENT, RESULT = "~spent", "~result"
"""Keys of the answer of a child that has a budget; one without answers its bare result."""


class Account:
    """One budget: what it allows, what is spent, and what children hold.

    Attributes:
        limits: What it allows.
        spent: What journaled answers told.
        held: The shares of children that are under way, by command.
        outer: The budget around it, or None.
        raise_by: Name of the signal that raises the limits, or empty.
        waiting: The fiber that waits for that signal, or None.
    """

    __slots__ = ("__weakref__", "held", "limits", "outer", "raise_by", "spent", "waiting")

    def __init__(self, limits: Limits, outer: Account | None = None, raise_by: str = "", spent: Spent = NOTHING) -> None:
        self.limits = limits
        self.spent = spent
        self.held: dict[str, Limits] = {}
        self.outer = outer
        self.raise_by = raise_by
        self.waiting: Spawned[Any] | None = None

    def used(self, kind: str) -> float:
        """What is spent or held."""
        return self.spent.of(kind) + sum(share.of(kind) or 0 for share in self.held.values())

    def left(self, kind: str) -> float | None:
        """What is neither spent nor held, or None where nothing limits it."""
        limit = self.limits.of(kind)
        return None if limit is None else limit - self.used(kind)

    def charge(self, spent: Spent) -> None:
        """An answer told what it cost."""
        for account in _around(self):
            account.spent += spent

    def hold(self, command: str, share: Limits) -> None:
        """A child begins."""
        for account in _around(self):
            account.held[command] = share

    def settle(self, command: str, spent: Spent) -> None:
        """A child has told what it spent."""
        for account in _around(self):
            account.held.pop(command, None)
        self.charge(spent)


class BudgetScope(Scope):
    """A branch with an account, and, where seconds are limited, a timer beside it."""

    __slots__ = ("span",)

    def __init__(self, loom: Loom, owner: Fiber, path: str, effect: Budget[Any]) -> None:
        super().__init__(loom, owner)
        self.span = effect.span
        self.account = Account(effect.limits, owner.account, effect.raise_by)
        self.start(path, effect.branch)
        if effect.span is not None:
            self.start(path, Sleep(span=effect.span, name="budget"))

    def settle(self, fiber: Fiber) -> None:
        """The branch has ended, or its time is over."""
        if fiber.index == 0:
            self.value, self.error = fiber.value, fiber.error
            self.close("the branch has ended")
        else:
            seconds = (self.span or 0) / 1e6
            self.error = BudgetExceeded("seconds", seconds, seconds)
            self.close("the budget of seconds is spent")

    def answer(self) -> None:
        """The last branch has ended; a signal that would raise the limits is waited for no more."""
        if self.account is not None and self.account.waiting is not None:
            self.loom.cancel_fiber(self.account.waiting.fiber, "the budget has ended")
        super().answer()


# ---- calls that are metered -------------------------------------------------------------------------------------------------


def issue_metered(run: Interpreter, fiber: Fiber, effect: Metered[Any]) -> object:
    """Ask for something that costs; inside a budget its answers charge the account."""
    account = fiber.account
    if account is None or effect.charge is not None:
        return run.issue(fiber, effect)
    if any(around.raise_by for around in _around(account)):
        fiber.waits = PassScope(run, fiber, fiber.next_command(), _asked_again(effect, account))
        return WAIT
    return run.issue(fiber, effect.metered(account.charge))


def _asked_again(effect: Metered[Any], account: Account) -> Generator[Any, Any, Any]:
    """A call, asked again each time that a signal has raised the limit which refused it."""
    while True:
        before = [(around, around.limits) for around in _around(account) if around.raise_by]
        try:
            return (yield effect.metered(account.charge))
        except BudgetExceeded as refused:
            kind, limit = refused.kind, refused.limit
            short = next((one for one, then in before if limit in {then.of(kind), one.limits.of(kind)}), None)
            if short is None:
                raise
        if short.limits.of(kind) == limit:  # else it was raised meanwhile
            if short.waiting is None:
                short.waiting = yield Spawn(_raising(short))
            yield Join(short.waiting)


def _raising(account: Account) -> Generator[Any, Any, None]:
    """Wait for the signal, and raise the limits."""
    try:
        more = yield Signal(name=account.raise_by, decode=_more, expected="numbers by usd, tokens, calls")
        account.limits = account.limits.raised(more)
    finally:
        account.waiting = None


def _more(payload: bytes) -> Mapping[str, float]:
    where = "signal that raises a budget"
    more = payload_codec(dict[str, float]).decode(payload, where)
    for kind, by in more.items():
        if kind not in KINDS or by < 0:
            raise PayloadError(where, f"{', '.join(KINDS)}, each by 0 or more", f"{kind} by {by:g}")
    return more


# ---- children ---------------------------------------------------------------------------------------------------------------


def issue_child(run: Interpreter, fiber: Fiber, call: Call[Any]) -> object:
    """Ask for a child; inside a budget, or with one of its own, it gets a share and tells what it spent."""
    own, account = call.options_.budget, fiber.account
    if account is None and own is None:
        return run.issue(fiber, call)
    share = own if account is None else _share(fiber, account, own)
    asked = type(call)(call.spec, call.payload, attrs.evolve(call.options_, budget=share))
    command = f"{fiber.path}{fiber.commands}"
    asked.answers = {kind: (failed, _settling(read, account, command)) for kind, (failed, read) in call.answers.items()}
    if account is not None:
        account.hold(command, share or Limits())
    return run.issue(fiber, asked)


def _share(fiber: Fiber, account: Account, own: Limits | None) -> Limits:
    """What a child may spend: what it was given, else its part of what is left of the tightest budget around it."""
    share: dict[str, Any] = {}
    for kind in KINDS:
        wanted = None if own is None else own.of(kind)
        parts = [] if wanted is None else [wanted]
        for around in _around(account):
            left = around.left(kind)
            if left is None:
                continue
            if left <= 0 or (wanted is not None and wanted > left):
                raise BudgetExceeded(kind, around.limits.of(kind) or 0, around.used(kind))
            parts.append(min(left, _part(fiber, around, kind)))
        share[kind] = wanted if wanted is not None else min(parts, default=None)
    return Limits(**share)


def _part(fiber: Fiber, account: Account, kind: str) -> float:
    """An equal part of what is not spent for each open branch of the gathers inside the budget."""
    whole = (account.limits.of(kind) or 0) - account.spent.of(kind)
    branches = _branches(fiber, account)
    return whole / branches if kind == "usd" else -(-whole // branches)


def _branches(fiber: Fiber, account: Account) -> int:
    """How many branches share a budget at this place: those of each gather and race between, that have not ended."""
    count = 1
    scope = fiber.scope
    while scope is not None and not (isinstance(scope, BudgetScope) and scope.account is account):
        if isinstance(scope, GatherScope | RaceScope):
            unbegun = len(scope.effect.branches) - len(scope.fibers) if isinstance(scope, GatherScope) else 0
            count *= max(1, unbegun + sum(not branch.done for branch in scope.fibers))
        scope = scope.owner.scope
    return count


def _around(account: Account) -> Generator[Account, None, None]:
    found: Account | None = account
    while found is not None:
        yield found
        found = found.outer


def _settling(read: Callable[[bytes], Any], account: Account | None, command: str) -> Callable[[bytes], Any]:
    def reading(payload: bytes) -> Any:
        bare, spent = opened(payload)
        value = read(bare)
        if account is not None:
            account.settle(command, spent)
        return value

    return reading


def sealed_with(spent: Spent, kind: str, payload: bytes) -> bytes:
    """A child's answer and what it spent: beside its result, or in the record of its failure."""
    if kind == events.CHILD_COMPLETED:
        return to_json({SPENT: spent.encode(), RESULT: from_json(payload)})
    return to_json({**from_json(payload), SPENT: spent.encode()})


def opened(payload: bytes) -> tuple[bytes, Spent]:
    """A child's answer, and what it spent; one of a child that tells nothing is as it is."""
    data = from_json(payload) if payload else None
    if not isinstance(data, dict) or SPENT not in data:
        return payload, NOTHING
    spent = Spent.decode(data[SPENT])
    return (to_json(data[RESULT]) if RESULT in data else payload), spent
