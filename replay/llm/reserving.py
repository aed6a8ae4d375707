"""Reserve before a call, settle after it: how budgets hold although many calls are under way at once.

The interpreter knows what journaled replies have cost. What is under way is known here alone, on the loop of the one engine that has
the run. A call is let in when what is left of every budget around it, less what is reserved, has room for it.

Rule 1: a call that does not fit beside others waits until they settle; one that would not fit alone is refused. The refusal is
journaled as the call's failure, so that replay needs neither estimate nor price.
Rule 2: a call that has ended still holds what it cost until the journal knows it: no moment in between lets another one in.
Rule 3: an estimate is a guess of the request (a token for four characters, a thousand for an image) and the most that the model may
say. Where no ``max_tokens`` says that, a thousand tokens are reserved, and the real cost is known only afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from replay.authoring.performing import Purse, Scene
from replay.errors import BudgetExceeded, DefinitionError
from replay.model.budgets import KINDS, Spent
from replay.model.codec import from_json
from replay.model.llm import LLMRequest

CHARACTERS: Final = 4
"""Of a token."""
IMAGE: Final = 1_000
"""Tokens of an image."""
ASSUMED: Final = 1_000
"""Tokens of a reply that nothing limits."""
SECOND_LOOK: Final = 0.01
"""Seconds before a call is refused for good."""
_MOST: Final = ("max_completion_tokens", "max_tokens")


@attrs.define(eq=False)
class Hold:
    """What one attempt takes from the budgets around it.

    Attributes:
        amount: What is reserved, and, once it has ended, what it cost.
        known: Whether the journal knows it by now.
        ended: Whether it has ended.
    """

    amount: Mapping[str, float]
    known: Callable[[], bool]
    ended: bool = False

    def settle(self, spent: Spent) -> None:
        """It has ended."""
        self.amount = {"usd": spent.usd, "tokens": spent.tokens, "calls": spent.calls}
        self.ended = True


class Reserves:
    """What is under way, by budget."""

    def __init__(self) -> None:
        self._holds: weakref.WeakKeyDictionary[Any, list[Hold]] = weakref.WeakKeyDictionary()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @contextlib.asynccontextmanager
    async def reserved(self, scene: Scene, least: Mapping[str, float], amount: Mapping[str, float]) -> AsyncIterator[None]:
        """Wait for room in every budget around an attempt, and take it; what the attempt spends meanwhile is settled in the end.

        Args:
            scene: The attempt.
            least: What must fit.
            amount: What is reserved.

        Raises:
            BudgetExceeded: It would not fit if nothing else were under way.
        """
        before = scene.spent
        hold = Hold(amount, lambda: scene.answered)
        await self._admit(list(_around(scene.purse)), least, hold)
        try:
            yield
        finally:
            hold.settle(scene.spent - before)
            for loop, event in tuple(self._waiting):
                if not loop.is_closed():  # engines may share models, and one that has crashed waits no more
                    loop.call_soon_threadsafe(event.set)

    async def _admit(self, purses: Sequence[Purse], least: Mapping[str, float], hold: Hold) -> None:
        """Come in, wait, or be refused.

        A refusal is looked at twice: at the very moment at which the interpreter takes in an answer, its cost counts double.
        """
        refused = False
        while (short := self._short(purses, least)) is not None:
            kind, limit, taken, hopeless = short
            if hopeless and refused:
                raise BudgetExceeded(kind, limit, taken)
            refused = hopeless
            if hopeless:
                await asyncio.sleep(SECOND_LOOK)
            else:
                await self._change()
        for purse in purses:
            self._holds.setdefault(purse, []).append(hold)

    def _short(self, purses: Sequence[Purse], least: Mapping[str, float]) -> tuple[str, float, float, bool] | None:
        """In what a budget has no room: its limit, what is spent or held, and whether waiting is no use."""
        found = None
        for purse in purses:
            holds = self._holds.get(purse, [])
            holds[:] = [hold for hold in holds if not hold.known()]
            for kind in KINDS:
                limit = purse.limits.of(kind)
                if limit is None:
                    continue
                spent = purse.used(kind) + sum(hold.amount[kind] for hold in holds if hold.ended)
                taken = spent + sum(hold.amount[kind] for hold in holds if not hold.ended)
                if limit - spent < least[kind]:
                    return kind, limit, spent, True
                if limit - taken < least[kind]:
                    found = found or (kind, limit, taken, False)
        return found

    async def _change(self) -> None:
        """Wait until something has settled."""
        here = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(here)
        try:
            await here[1].wait()
        finally:
            self._waiting.discard(here)


def _around(purse: Purse | None) -> Iterator[Purse]:
    while purse is not None:
        yield purse
        purse = purse.outer


def estimate(
    request: LLMRequest, price: Mapping[str, Any] | None, *, purse: Purse, model: str
) -> tuple[dict[str, float], dict[str, float]]:
    """What a call needs at least, and what is reserved for it.

    Args:
        request: What is asked.
        price: Of the model, or None.
        purse: The innermost budget around it.
        model: The model, for the error.

    Raises:
        DefinitionError: A budget in money is around it, and there is no price.
    """
    if price is None and any(around.limits.usd is not None for around in _around(purse)):
        problem = f"a budget in usd is around it, and the price of {model} is not known"
        raise DefinitionError("llm_call", problem, "add the model to Prices, or limit tokens or calls")
    cost = price or {"input": 0, "output": 0}
    told = tokens_of(request)
    most = next((request.settings[key] for key in _MOST if isinstance(request.settings.get(key), int)), None)

    def needs(said: int) -> dict[str, float]:
        usd = (told * cost["input"] + said * cost["output"]) / 1_000_000
        return {"usd": usd, "tokens": told + said, "calls": 1}

    return needs(1 if most is None else most), needs(ASSUMED if most is None else most)


def tokens_of(request: LLMRequest) -> int:
    """A guess at the tokens of a request; images are not counted by their characters."""
    characters = sum(len(str(tool)) for tool in request.tools)
    images = 0
    for frozen in request.frozen:
        if '"image_url"' not in frozen.text:
            characters += len(frozen.text)
            continue
        for part in _parts(from_json(frozen.text.encode())):
            images += "image_url" in part
            characters += len(part.get("text", ""))
    return -(-characters // CHARACTERS) + images * IMAGE


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"text": str(content)}]
