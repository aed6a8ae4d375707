"""What a budget allows, and what was spent of it, as plain numbers.

Rule 1: what is spent is known from journaled facts alone: the usage and cost that replies carry, and what children report.
Rule 2: a cost that is not known is not 0: it is counted apart, and no budget in money lets such a call happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from replay.errors import EffectError, describe

KINDS: Final = ("usd", "tokens", "calls")
"""What is limited and counted; a budget of seconds is a timer."""


@attrs.frozen(kw_only=True)
class Spent:
    """What calls of language models used.

    Attributes:
        usd: Dollars, of the calls whose cost is known.
        tokens: Tokens in and out.
        calls: Calls.
        unpriced: Calls whose cost is not known.
    """

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    unpriced: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            usd=self.usd + other.usd,
            tokens=self.tokens + other.tokens,
            calls=self.calls + other.calls,
            unpriced=self.unpriced + other.unpriced,
        )

    def __sub__(self, other: Spent) -> Spent:
        return self + Spent(usd=-other.usd, tokens=-other.tokens, calls=-other.calls, unpriced=-other.unpriced)

    def __str__(self) -> str:
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        unknown = f", {self.unpriced} of unknown cost" if self.unpriced else ""
        return f"{dollars(self.usd)}{tokens}{unknown}" if self != NOTHING else "nothing"

    def of(self, kind: str) -> float:
        """What was used of one kind."""
        used: float = getattr(self, kind)
        return used

    def encode(self) -> dict[str, Any]:
        """Its journal form; what is 0 is left out."""
        return {key: value for key, value in attrs.asdict(self).items() if value}

    @classmethod
    def decode(cls, data: Any) -> Self:
        """From its journal form; what is missing is 0, what is no number is passed over."""
        given = data if isinstance(data, dict) else {}
        known = [field.name for field in attrs.fields(cls)]
        return cls(**{name: given[name] for name in known if isinstance(given.get(name), int | float)})


def dollars(usd: float) -> str:
    """An amount for people: never 0 for what is more."""
    return f"${usd:.4f}" if usd == 0 or usd >= 0.001 else f"${usd:.1e}" if usd < 1e-6 else f"${usd:.6f}"


NOTHING: Final = Spent()
"""What was not spent."""


@attrs.frozen(kw_only=True)
class Limits:
    """What may be spent; None is no limit.

    Attributes:
        usd: Dollars.
        tokens: Tokens in and out.
        calls: Calls.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None

    def of(self, kind: str) -> float | None:
        """The limit of one kind."""
        limit: float | None = getattr(self, kind)
        return limit

    def raised(self, more: Mapping[str, float]) -> Limits:
        """These limits and more; a kind that is not limited stays so."""
        changed: dict[str, Any] = {kind: limit + more.get(kind, 0) for kind in KINDS if (limit := self.of(kind)) is not None}
        return Limits(**changed)

    def encode(self) -> dict[str, Any]:
        """Its journal form; what is not limited is left out."""
        return {kind: limit for kind in KINDS if (limit := self.of(kind)) is not None}

    def __bool__(self) -> bool:
        return any(self.of(kind) is not None for kind in KINDS)


def limits_of(what: str, given: Mapping[str, Any]) -> Limits:
    """Limits as an author writes them.

    Args:
        what: What they limit, for the error.
        given: Numbers from 0 up, by kind; None for no limit.

    Raises:
        EffectError: A kind that is none, or a limit that cannot be kept.
    """
    for kind, limit in given.items():
        if kind not in KINDS:
            raise EffectError(f"{what} limits {kind!r}", f"limit {', '.join(KINDS)}")
        if limit is not None and not _is_limit(kind, limit):
            number = "a number" if kind == "usd" else "a whole number"
            raise EffectError(f"{what} with {kind}={describe(limit)}", f"give it {number} from 0 up")
    return Limits(**given)


def _is_limit(kind: str, limit: Any) -> bool:
    """Whether it can be kept; a whole number may come as a float, as JSON does not tell them apart."""
    number = isinstance(limit, int | float) and 0 <= limit < float("inf")
    return number and (kind == "usd" or limit == int(limit))
