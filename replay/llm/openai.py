"""OpenAI and every server that speaks its chat completions: Azure, vLLM, Ollama, llama.cpp, LiteLLM, OpenRouter and others.

Rule 1: the ``openai`` client does the HTTP, without retries of its own: those are journaled steps of the engine.
Rule 2: a client belongs to one event loop, and is closed with it (``shutdown_asyncgens``); connections are kept and shared meanwhile.
Rule 3: a key is read when it is needed, named when it is missing, and cut out of whatever a server says; so are headers of one's own.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from replay.errors import DefinitionError, ProviderBusy, ProviderFailed
from replay.llm.contract import Ask, Said, Say
from replay.model.llm import ToolCall, Usage

if TYPE_CHECKING:
    import openai

KEY: Final = "OPENAI_API_KEY"
"""The environment variable that holds the key, unless the provider names another."""
TRANSIENT: Final = frozenset({408, 409, 425, 429})
"""HTTP statuses, besides those of 500 and more, after which asking again may help."""
SPENT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of a 429 that patience does not mend."""
PIECES: Final = 1_000_000
"""Pieces of a streamed reply at most: a server that never ends must not fill the memory."""
SECRET: Final = 6
"""Characters from which on a word is taken for a secret; shorter ones would be cut out of ordinary sentences."""
REASON_LIMIT: Final = 1_000
"""Characters of a server's words that are kept."""


class OpenAI:
    """A server that speaks OpenAI's chat completions.

    Args:
        base_url: Where it is, such as ``http://localhost:11434/v1``; by default ``OPENAI_BASE_URL``, else OpenAI.
        key_env: The environment variable that holds the key; None for a server that asks for none.
        timeout: Seconds without a byte after which it counts as gone.
        headers: Further HTTP headers.
        query: Further parameters of the URL, such as ``{"api-version": "…"}`` of Azure.
        strict: Whether the schema of a response type is to be followed to the letter; not all schemas can be.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        key_env: str | None = KEY,
        timeout: float = 600.0,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> None:
        self.base_url = base_url
        self.key_env = key_env
        self.timeout = timeout
        self.headers = dict(headers or {})
        self.query = dict(query or {})
        self.strict = strict
        self._clients: dict[asyncio.AbstractEventLoop, _Place] = {}

    def __repr__(self) -> str:
        return f"<OpenAI {self.base_url or os.environ.get('OPENAI_BASE_URL') or 'api.openai.com'}>"

    async def complete(self, ask: Ask, say: Say) -> Said:
        """Ask once.

        Raises:
            ProviderBusy: The server does not answer, answers nonsense, or asks for patience.
            ProviderFailed: It refuses.
            DefinitionError: The key is missing, or the ``openai`` package.
        """
        client = await self._client()
        import openai  # loaded by now

        try:
            answer = await client.chat.completions.create(**self._body(ask))
            return await _streamed(answer, say) if ask.stream else _whole(answer)
        except openai.APIStatusError as error:
            raise self._refusal(ask, error) from None
        except openai.APIConnectionError as error:
            raise ProviderBusy("openai", ask.model, self._clean(_chain(error))) from None
        except openai.OpenAIError as error:  # an error inside a stream, which has no status
            raise ProviderBusy("openai", ask.model, self._clean(str(error))) from None
        except Exception as error:  # noqa: BLE001 - border: half a stream, no JSON, and what else a server's nonsense makes a client raise
            raise ProviderBusy("openai", ask.model, self._clean(f"no sound answer: {_chain(error)}")) from None

    def _body(self, ask: Ask) -> dict[str, Any]:
        body: dict[str, Any] = {"model": ask.model, "messages": list(ask.messages), **ask.settings}
        if ask.tools:
            body["tools"] = list(ask.tools)
        if ask.tool_choice is not None:
            body["tool_choice"] = ask.tool_choice
        if ask.schema is not None:
            described = {"name": "reply", "schema": ask.schema, "strict": self.strict}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        if ask.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if ask.key:
            body["extra_headers"] = {"Idempotency-Key": ask.key, **body.get("extra_headers", {})}
        return body

    # ---- the client -----------------------------------------------------------------------------------------------------

    async def _client(self) -> openai.AsyncOpenAI:
        """This loop's client."""
        place = self._clients.setdefault(asyncio.get_running_loop(), _Place())
        async with place.lock:
            if place.client is None:
                place.keeper = self._keeper(place)
                place.client = await anext(place.keeper)
        return place.client

    async def _keeper(self, place: _Place) -> AsyncGenerator[openai.AsyncOpenAI]:
        """A client, made beside the loop, as loading the package takes a second; closed when the loop closes its generators."""
        client = await asyncio.to_thread(self._made)
        try:
            yield client
        finally:
            self._clients = {loop: other for loop, other in self._clients.items() if other is not place}
            await client.close()

    def _made(self) -> openai.AsyncOpenAI:
        try:
            import openai
        except ImportError:
            raise DefinitionError("provider openai", "the package openai is missing", "install replay-engine[openai]") from None
        return openai.AsyncOpenAI(
            api_key=self._key(),
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=0,
            default_headers=self.headers,
            default_query=self.query,
        )

    def _key(self) -> str:
        if self.key_env is None:
            return "none"
        key = os.environ.get(self.key_env)
        if not key:
            advice = f"set {self.key_env}; for a server that wants no key, provide OpenAI(base_url=…, key_env=None)"
            raise DefinitionError("provider openai", f"the environment variable {self.key_env} holds no key", advice)
        return key

    # ---- what went wrong --------------------------------------------------------------------------------------------------

    def _refusal(self, ask: Ask, error: openai.APIStatusError) -> ProviderFailed:
        status, reason = error.status_code, self._clean(error.message)
        if (status in TRANSIENT or status >= 500) and error.code not in SPENT:
            return ProviderBusy("openai", ask.model, reason, status, retry_after(error.response.headers, time.time()))
        return ProviderFailed("openai", ask.model, reason, status)

    def _clean(self, text: str) -> str:
        """A server's words, bounded, and without the key that some of them repeat, be it in a header of one's own."""
        key = os.environ.get(self.key_env) if self.key_env else None
        for secret in [key or "", *self.headers.values()]:
            text = text.replace(secret, "***") if len(secret) >= SECRET else text
        return text[:REASON_LIMIT]


class _Place:
    """Where one event loop keeps its client."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.keeper: AsyncGenerator[openai.AsyncOpenAI] | None = None
        self.client: openai.AsyncOpenAI | None = None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """How many seconds a server asks to wait: in milliseconds, in seconds, or until a date.

    Args:
        headers: Of its answer.
        now: Seconds since 1970.
    """
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        asked = headers.get("retry-after")
        if asked is None:
            return None
        if asked.strip().replace(".", "", 1).isdecimal():
            return float(asked)
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - now)
    except ValueError:
        return None


def _chain(error: BaseException) -> str:
    """An error and what it came from, in a line."""
    cause = error.__cause__
    text = f"{type(error).__name__}: {error}"
    return text if cause is None else f"{text} ({type(cause).__name__}: {cause})"


# ---- what was said ------------------------------------------------------------------------------------------------------------


def _whole(answer: Any) -> Said:
    """A reply that came at once."""
    choice = answer.choices[0]
    message = choice.message
    calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments or "{}") for call in message.tool_calls or ())
    text = message.content or getattr(message, "refusal", None) or ""
    finish = choice.finish_reason or "stop"
    return Said(text=text, tool_calls=calls, usage=_usage(answer.usage), model=answer.model or "", finish=finish)


@attrs.define
class _Call:
    """A call of a tool whose parts come one by one."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, part: Any) -> None:
        """One more part."""
        self.id = part.id or self.id
        if part.function is not None:
            self.name += part.function.name or ""
            self.arguments += part.function.arguments or ""


async def _streamed(stream: Any, say: Say) -> Said:
    """A reply that comes in pieces.

    Raises:
        EOFError: It ended before it was finished, or never ends.
    """
    text: list[str] = []
    calls: dict[int, _Call] = {}
    usage, model, finish, pieces = None, "", "", 0
    async with stream:
        async for chunk in stream:
            model, usage = chunk.model or model, _usage(chunk.usage) or usage
            for choice in chunk.choices:
                piece = choice.delta.content or getattr(choice.delta, "refusal", None)
                if piece:
                    text.append(piece)
                    say(piece)
                for part in choice.delta.tool_calls or ():
                    calls.setdefault(part.index, _Call()).add(part)
                finish = choice.finish_reason or finish
            pieces += 1
            if pieces > PIECES:
                raise EOFError(f"the stream did not end within {PIECES:,} pieces")
    if not finish:
        raise EOFError("the stream ended before the reply was finished")
    asked = tuple(ToolCall(call.id, call.name, call.arguments or "{}") for _, call in sorted(calls.items()))
    return Said(text="".join(text), tool_calls=asked, usage=usage, model=model, finish=finish)


def _usage(told: Any) -> Usage | None:
    if told is None:
        return None
    cached = getattr(getattr(told, "prompt_tokens_details", None), "cached_tokens", None) or 0
    thought = getattr(getattr(told, "completion_tokens_details", None), "reasoning_tokens", None) or 0
    return Usage(told.prompt_tokens or 0, told.completion_tokens or 0, cached, thought)
