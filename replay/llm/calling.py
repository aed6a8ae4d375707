"""Do an ``LLMCall``: find the provider, reserve, ask, repair once, and spell the reply that will be journaled.

Rule 1: an attempt asks the models of the list in order, until one answers; which retries follow is the step's policy, as everywhere.
Rule 2: what was spent is noted at once in the scene, so that an attempt that fails afterwards is paid for, too.
Rule 3: the cache is a topic of the store for each digest of a request; its first entry is the reply. It is off unless it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import attrs

from replay.authoring.performing import Scene
from replay.errors import PayloadError, ProviderBusy, ProviderFailed, ReplyInvalid, StoreError, UnknownName
from replay.llm.contract import DEFAULT, PROVIDED, Ask, Provider, Said
from replay.llm.prices import Prices
from replay.llm.reserving import Reserves, estimate
from replay.llm.speaking import Speaker, logger, sound
from replay.model.codec import from_json, to_json
from replay.model.llm import NO_USAGE, LLMCall, LLMRequest, LLMResult, Response, ToolCall

CACHE: Final = "~llm:"
"""What the topic of a cached reply begins with; the request's digest follows."""
REPAIR: Final = "Your reply does not fit: {}. Answer again with nothing but JSON that fits the schema."
"""What a model is told whose reply does not fit."""
SHOWN: Final = 500
"""Characters of a reply that an error shows."""


class Models:
    """The models that an engine can ask.

    Args:
        providers: By name; stronger than those of ``provide`` and of plugins.
        prices: What they cost; by default the table that ships with the package.
        cache: Whether a request that was answered before, in any run of the namespace, is answered from the cache.
    """

    def __init__(self, providers: Mapping[str, Provider] | None = None, *, prices: Prices | None = None, cache: bool = False) -> None:
        self.own = dict(providers or {})
        self.plugged: Mapping[str, Provider] = {}
        self.cache = cache
        self._prices = prices
        self._reserves = Reserves()

    @property
    def prices(self) -> Prices:
        """What they cost; read when it is first needed."""
        if self._prices is None:
            self._prices = Prices.shipped()
        return self._prices

    def find(self, model: str) -> tuple[str, Provider, str]:
        """Provider's name, provider, and model's name without it.

        Raises:
            UnknownName: There is no such provider.
        """
        known = {**self.plugged, **PROVIDED, **self.own}
        name, slash, rest = model.partition("/")
        if not slash:
            name, rest = DEFAULT, model
        if name not in known:
            raise UnknownName(f"provider of language models for model {model!r}:", name, tuple(sorted(known)))
        return name, known[name], rest

    async def perform(self, call: LLMCall[Any], scene: Scene) -> bytes:
        """One attempt of a call; the reply's bytes.

        Raises:
            BudgetExceeded: A budget does not allow it.
            ProviderFailed: No model answered.
            ReplyInvalid: The reply did not fit, nor did its repair.
            UnknownName: There is no such provider.
        """
        request, began = call.request, time.perf_counter()
        digest = request.digest()
        if self.cache and (kept := await _kept(scene, digest)) is not None:
            latency = round(time.perf_counter() - began, 6)
            return attrs.evolve(kept, latency=latency, usage=NO_USAGE, cost=0.0, calls=0).encode()
        for model in request.models:
            self.find(model)  # a name that is wrong is told at once, not when the others have failed
        result = attrs.evolve(await self._first_that_answers(request, scene), digest=digest)
        result = attrs.evolve(result, latency=round(time.perf_counter() - began, 6))
        payload = result.encode()
        if self.cache:
            await _keep(scene, digest, payload)
        if scene.spent != result.spent:  # a model before it answered, and in vain
            payload = to_json({**from_json(payload), "spent": scene.spent.encode()})
        return payload

    async def _first_that_answers(self, request: LLMRequest, scene: Scene) -> LLMResult[Any]:
        failures: list[ProviderFailed] = []
        for model in request.models:
            try:
                return await self._ask(model, request, scene, len(failures))
            except ProviderFailed as failed:
                failures.append(failed)
        raise _told_of(failures)

    async def _ask(self, model: str, request: LLMRequest, scene: Scene, before: int) -> LLMResult[Any]:
        """Ask one model; when its reply does not fit, once more, with what is wrong."""
        provider, asked, name = self.find(model)
        ask = Ask(
            model=name,
            messages=request.messages,
            tools=request.tools,
            tool_choice=request.tool_choice,
            schema=None if request.response is None else request.response.schema,
            settings=request.settings,
            stream=request.stream,
            key=scene.info.idempotency_key + (f"/{before}" if before else ""),  # another model's question is another one
        )
        result = await self._turn(provider, asked, ask, request, scene, 2 * before + 1)
        problem = _misfit(request.response, result)
        if problem is None or request.response is None:
            return result
        told = {"role": "user", "content": REPAIR.format(problem)}
        ask = attrs.evolve(ask, messages=[*ask.messages, result.message, told], key=f"{ask.key}/repair")
        repaired = await self._turn(provider, asked, ask, request, scene, 2 * before + 2)
        if (problem := _misfit(request.response, repaired)) is not None:
            raise ReplyInvalid(model, request.response.name, str(problem), repaired.text[:SHOWN])
        known = result.cost is not None and repaired.cost is not None
        cost = (result.cost or 0) + (repaired.cost or 0) if known else None
        return attrs.evolve(repaired, usage=result.usage.plus(repaired.usage), cost=cost, calls=2)

    async def _turn(self, provider: str, asked: Provider, ask: Ask, request: LLMRequest, scene: Scene, number: int) -> LLMResult[Any]:
        """One question and its answer, reserved, told and paid for."""
        if scene.purse is None:
            return await self._answer(provider, asked, ask, scene, number)
        least, amount = estimate(request, self.prices.of(provider, ask.model), purse=scene.purse, model=ask.model)
        async with self._reserves.reserved(scene, least, amount):
            return await self._answer(provider, asked, ask, scene, number)

    async def _answer(self, provider: str, asked: Provider, ask: Ask, scene: Scene, number: int) -> LLMResult[Any]:
        speaker = Speaker(scene, number) if ask.stream else None
        try:
            said = await asked.complete(ask, _nobody if speaker is None else speaker.say)
        except Exception as error:
            if speaker is not None:
                await speaker.end("failed")
            if isinstance(error, ProviderFailed):  # which knows itself by another name, if by any
                raise attrs.evolve(error, provider=provider) from error
            raise
        result = self._result(provider, ask, said)
        scene.spent += result.spent
        if speaker is not None:
            await speaker.end("done")
        return result

    def _result(self, provider: str, ask: Ask, said: Said) -> LLMResult[Any]:
        usage = said.usage or NO_USAGE
        cost = None if said.usage is None else self.prices.cost(usage, provider, ask.model, said.model)
        return LLMResult(
            text=sound(said.text),
            tool_calls=tuple(ToolCall(sound(call.id), sound(call.name), sound(call.arguments)) for call in said.tool_calls),
            usage=usage,
            cost=cost,
            model=said.model or ask.model,
            provider=provider,
            finish=said.finish,
        )


def _nobody(_piece: str) -> None:
    """Nobody listens."""


def _misfit(response: Response[Any] | None, result: LLMResult[Any]) -> PayloadError | None:
    """Why a reply does not fit; one that calls a tool has not been given yet."""
    if response is None or result.tool_calls:
        return None
    try:
        response.read(result.text)
    except PayloadError as misfit:
        return misfit
    return None


def _told_of(failures: list[ProviderFailed]) -> ProviderFailed:
    """What is told when none answered: of those that may answer later the one that asks for the least patience."""
    busy = [failed for failed in failures if isinstance(failed, ProviderBusy)]
    chosen = min(busy, key=lambda failed: failed.retry_after or 0) if busy else failures[-1]
    others = "; ".join(str(failed) for failed in failures if failed is not chosen)
    return attrs.evolve(chosen, reason=f"{chosen.reason} (and {others})") if others else chosen


async def _kept(scene: Scene, digest: str) -> LLMResult[Any] | None:
    """A cached reply; a cache that does not answer is passed over."""
    try:
        found = await scene.read(CACHE + digest)
    except StoreError as error:
        logger.warning("the cache of replies does not answer: %s", error)
        return None
    return None if found is None else LLMResult[Any].decode(found)


async def _keep(scene: Scene, digest: str, payload: bytes) -> None:
    try:
        await scene.publish(CACHE + digest, [payload])
    except StoreError as error:
        logger.warning("a reply could not be cached: %s", error)
