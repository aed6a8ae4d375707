"""What calls cost, in dollars, by a table that ships with the package and can be replaced.

Rule 1: a model that the table does not know has no price: its cost is None, never 0. A model of one's own that costs nothing is told
so: ``Prices.shipped().and_also({"local/llama3": {"input": 0, "output": 0}})``.
Rule 2: a cost is worked out once, when the reply comes, and journaled; a new table changes no cost of the past.

The table is ``prices.json``: dollars per million tokens by model, put together in November 2026 from the public lists that the
genai-prices project (MIT) collects. ``long`` holds the prices of calls whose input is longer than ``above``.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from replay.errors import InvalidRequest
from replay.model.llm import Usage

PER: Final = 1_000_000
"""Tokens that a price is of."""
VARIABLE: Final = "REPLAY_PRICES"
"""The environment variable that names a file to be used instead of the table that ships."""
_DATED: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_KEYS: Final = frozenset({"input", "output", "cached", "above", "long"})


@attrs.frozen
class Prices:
    """Prices by model.

    Attributes:
        table: Dollars per million tokens, ``input``, ``output`` and ``cached``, by ``model`` or ``provider/model``.
    """

    table: Mapping[str, Mapping[str, Any]]

    def __attrs_post_init__(self) -> None:
        for model, price in self.table.items():
            for part in (price, price.get("long", {})):
                odd = [key for key, value in part.items() if key not in _KEYS or (key != "long" and not _is_price(value))]
                if odd or (part is price and not {"input", "output"} <= part.keys()):
                    problem = f"of model {model!r}: {json.dumps(dict(price), default=repr)}"
                    raise InvalidRequest("prices", problem, 'write {"model": {"input": 0.15, "output": 0.6}}, per million tokens')

    @classmethod
    def shipped(cls) -> Prices:
        """The table that ships with the package, or the file that ``REPLAY_PRICES`` names."""
        path = os.environ.get(VARIABLE)
        return cls.load(path) if path else _shipped()

    @classmethod
    def load(cls, path: str | Path) -> Prices:
        """A table from a JSON file.

        Raises:
            InvalidRequest: There is none, or it is no table of prices.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidRequest("prices", f"{path} cannot be read: {error}", "name a JSON file") from None
        if not isinstance(found, dict) or not all(isinstance(price, dict) for price in found.values()):
            raise InvalidRequest("prices", f"{path} is no object of objects", 'write {"model": {"input": 0.15, "output": 0.6}}')
        return cls(found)

    def and_also(self, more: Mapping[str, Mapping[str, Any]]) -> Prices:
        """These prices, and others that are stronger."""
        return Prices({**self.table, **more})

    def of(self, provider: str, *models: str) -> Mapping[str, Any] | None:
        """The price of the first of these names that is known, with or without its provider's, or its date."""
        for model in models:
            for name in (model, _DATED.sub("", model)):
                found = self.table.get(f"{provider}/{name}") or self.table.get(name)
                if found is not None:
                    return found
        return None

    def cost(self, usage: Usage, provider: str, *models: str) -> float | None:
        """What a call costs, in dollars; None when its price is not known."""
        price = self.of(provider, *models)
        if price is None:
            return None
        if usage.input > price.get("above", usage.input):
            price = {**price, **price.get("long", {})}
        cached = price.get("cached", price["input"])
        fresh = usage.input - usage.cached
        return float(fresh * price["input"] + usage.cached * cached + usage.output * price["output"]) / PER


@functools.cache
def _shipped() -> Prices:
    return Prices.load(Path(__file__).with_name("prices.json"))


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
