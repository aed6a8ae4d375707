"""What a worker can drive: workflows by name and version, and the steps that it does for other queues.

Rule 1: a run is driven by the version that it began with where that is here, else by today's code; whether that fits, replay tells.
Rule 2: where nothing was named, every decorated workflow that has been imported is offered, and those that were met while driving.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Final

from replay.authoring.definitions import RIVALS, STEPS, WORKFLOWS
from replay.engine.presence import versioned
from replay.engine.remote import STEP_RUN, StepRun
from replay.model.effects import WorkflowSpec

BUILT_IN: Final[Mapping[str, str]] = {"replay.debounce": "replay.engine.debounce"}
"""Workflows that every worker offers, and their modules, which load when a run of theirs is taken."""


class Offers:
    """The offers of one worker.

    Args:
        workflows: By (name, version); None for every decorated workflow that has been imported.
    """

    def __init__(self, workflows: Mapping[tuple[str, str], WorkflowSpec] | None = None) -> None:
        self._named = workflows
        self._met: dict[tuple[str, str], WorkflowSpec] = {}

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._known() or key in self._met

    def _known(self) -> Mapping[tuple[str, str], WorkflowSpec]:
        return self._named if self._named is not None else WORKFLOWS

    def learn(self, specs: Iterable[WorkflowSpec]) -> None:
        """Workflows that were met and cannot be found by name, such as those defined in a function."""
        if self._named is None:
            known = [spec for spec in specs if hasattr(spec, "begin")]  # a name alone teaches nothing
            self._met.update({(spec.name, spec.version): spec for spec in known})

    def names(self) -> list[str]:
        """What to ask a store for."""
        names = {name for name, _ in [*self._known(), *self._met]}  # a copy: another thread may import a workflow meanwhile
        return sorted(names | BUILT_IN.keys() | {STEP_RUN + name for name in list(STEPS) if name not in RIVALS})

    def told(self) -> list[str]:
        """What others may know: workflows with their versions, and the steps that it does for others."""
        named = {versioned(*key) for key in [*self._known(), *self._met]}
        return sorted(named | {name for name in self.names() if name.startswith(STEP_RUN)})

    def find(self, name: str, version: str) -> WorkflowSpec | None:
        """The version that the run began with when it is registered, else today's code: the one of no or the highest version."""
        if name.startswith(STEP_RUN):
            step = STEPS.get(name.removeprefix(STEP_RUN))
            return None if step is None else StepRun(step)
        if name in BUILT_IN:
            importlib.import_module(BUILT_IN[name])
            return WORKFLOWS.get((name, version))
        offered: dict[tuple[str, str], WorkflowSpec] = {**self._known(), **self._met}
        if (name, version) in offered:
            return offered[name, version]
        versions = sorted(other for known, other in offered if known == name)
        if not versions:
            return None
        return offered[name, "" if "" in versions else versions[-1]]
