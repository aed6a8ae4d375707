"""What runs have spent on language models: a fold over journals.

Rule 1: only journaled facts count: the replies, and the attempts that failed after they had cost something.
Rule 2: a cost that is not known makes no sum smaller: calls without a price are counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from replay.model import events
from replay.model.budgets import NOTHING, Spent
from replay.model.events import Event
from replay.model.llm import LLM, LLMResult
from replay.model.spending import spent_in

FAILED: Final = "(failed attempts)"
"""Stands for the model of attempts whose journal names none."""


@attrs.frozen
class Costs:
    """What was spent, by model.

    Attributes:
        models: By ``provider/model``.
    """

    models: Mapping[str, Spent] = attrs.field(factory=dict)

    @property
    def total(self) -> Spent:
        """All of it."""
        return sum(self.models.values(), NOTHING)

    def __add__(self, other: Costs) -> Costs:
        names = sorted({*self.models, *other.models})
        return Costs({name: self.models.get(name, NOTHING) + other.models.get(name, NOTHING) for name in names})


def costs_of(journal: Iterable[Event]) -> Costs:
    """What the calls in a journal cost."""
    found: dict[str, Spent] = {}
    for event in journal:
        if is_reply(event):
            spent = spent_in(event)
            if spent != NOTHING:
                model = _model(event)
                found[model] = found.get(model, NOTHING) + spent
    return Costs(dict(sorted(found.items())))


def is_reply(event: Event) -> bool:
    """Whether an event answers a call of a language model."""
    named = event.name == LLM or event.name.startswith(f"{LLM}:")
    return named and event.kind in {events.STEP_COMPLETED, events.STEP_FAILED, events.STEP_ATTEMPT_FAILED}


def _model(event: Event) -> str:
    if event.kind != events.STEP_COMPLETED:
        return FAILED
    result = LLMResult[Any].decode(event.payload)
    return f"{result.provider}/{result.model}"
