"""What tests of workflows, stores and plugins are made of; public, as steady as ``replay`` itself.

Names load when they are used, so that a program may import ``replay.testing`` where pytest is not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from replay.testing.clock import VirtualClock
    from replay.testing.crashes import CrashReport, crash_everywhere
    from replay.testing.determinism import DeterminismReport, check_determinism
    from replay.testing.journals import Recorded, replay_file, replay_folder
    from replay.testing.llm import Babbles, Cuts, Fails, LLMServer, Says
    from replay.testing.problems import CheckFailed, NoAnswer, RunsOn, SimulationFailed, StillWaiting, UnyieldedEffect
    from replay.testing.savepoints import SavepointReport, check_savepoints
    from replay.testing.simulation import Decision, Scenario, Simulation, SimulationReport, simulate
    from replay.testing.stage import StepCall, Takes
    from replay.testing.store_contract import StoreContract, TransactionContract
    from replay.testing.world import World

__all__ = [
    "Babbles",
    "CheckFailed",
    "CrashReport",
    "Cuts",
    "Decision",
    "DeterminismReport",
    "Fails",
    "LLMServer",
    "NoAnswer",
    "Recorded",
    "RunsOn",
    "SavepointReport",
    "Says",
    "Scenario",
    "Simulation",
    "SimulationFailed",
    "SimulationReport",
    "StepCall",
    "StillWaiting",
    "StoreContract",
    "Takes",
    "TransactionContract",
    "UnyieldedEffect",
    "VirtualClock",
    "World",
    "check_determinism",
    "check_savepoints",
    "crash_everywhere",
    "replay_file",
    "replay_folder",
    "simulate",
]

HOMES: Final = {
    "CheckFailed": "replay.testing.problems",
    "Babbles": "replay.testing.llm",
    "CrashReport": "replay.testing.crashes",
    "Cuts": "replay.testing.llm",
    "Fails": "replay.testing.llm",
    "LLMServer": "replay.testing.llm",
    "Says": "replay.testing.llm",
    "Decision": "replay.testing.simulation",
    "DeterminismReport": "replay.testing.determinism",
    "NoAnswer": "replay.testing.problems",
    "Recorded": "replay.testing.journals",
    "RunsOn": "replay.testing.problems",
    "SavepointReport": "replay.testing.savepoints",
    "Scenario": "replay.testing.simulation",
    "Simulation": "replay.testing.simulation",
    "SimulationFailed": "replay.testing.problems",
    "SimulationReport": "replay.testing.simulation",
    "StepCall": "replay.testing.stage",
    "StillWaiting": "replay.testing.problems",
    "StoreContract": "replay.testing.store_contract",
    "Takes": "replay.testing.stage",
    "TransactionContract": "replay.testing.store_contract",
    "UnyieldedEffect": "replay.testing.problems",
    "VirtualClock": "replay.testing.clock",
    "World": "replay.testing.world",
    "check_determinism": "replay.testing.determinism",
    "check_savepoints": "replay.testing.savepoints",
    "crash_everywhere": "replay.testing.crashes",
    "replay_file": "replay.testing.journals",
    "replay_folder": "replay.testing.journals",
    "simulate": "replay.testing.simulation",
}
"""Where each name lives."""


def __getattr__(name: str) -> Any:
    """Load a name from its home."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
