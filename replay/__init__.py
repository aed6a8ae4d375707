"""Durable execution in Python: a workflow is a generator of effects, driven over a journal.

``import replay`` loads what is needed to write workflows; engines and stores load when they are named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from replay.authoring.definitions import StepFunction, Workflow, WorkflowFunction, step, workflow
from replay.authoring.effects import (
    Callback,
    annotate,
    budget,
    callback,
    cancel,
    continue_as_new,
    gather,
    info,
    join,
    log,
    now,
    on_update,
    patched,
    publish,
    race,
    random,
    savepoint,
    send_signal,
    set_state,
    set_tags,
    shield,
    signal,
    sleep,
    spawn,
    start_child,
    timeout,
    uuid,
)
from replay.authoring.patterns import CompensationFailed, Saga, poll, saga
from replay.authoring.step_context import StepInfo, step_info
from replay.errors import (
    AnswerRefused,
    AskClosed,
    BudgetExceeded,
    CallbackFailed,
    Cancelled,
    ChildFailed,
    DefinitionError,
    EffectError,
    InvalidRequest,
    JournalDamaged,
    LeaseLost,
    NonDeterminismError,
    PayloadError,
    PayloadTooLarge,
    ProviderBusy,
    ProviderFailed,
    ReplayError,
    ReplyInvalid,
    RequestError,
    RunClosed,
    RunExists,
    RunFailed,
    RunSetAside,
    SchemaMismatch,
    StepFailed,
    StepInterrupted,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    TimedOut,
    UnknownName,
    UnknownRun,
    UnknownScheme,
    UpdateRefused,
    WaitTimedOut,
    WorkflowError,
)
from replay.model.about import RunInfo
from replay.model.codec import upcaster
from replay.model.effects import Call, ChildHandle, Effect, Spawned, Step
from replay.model.events import Event
from replay.model.retry import Retry

if TYPE_CHECKING:
    from replay.authoring.asks import ask
    from replay.authoring.llm import llm_call
    from replay.authoring.recall import Distillation, Recall, RecallState, recall
    from replay.client import AskPage, Client, Engine, Handle, ReplayReport, Reply, Start, WorkerInfo, run
    from replay.client.whatif import WhatIf, whatif
    from replay.model.asks import Ask
    from replay.model.health import Health, Thresholds
    from replay.model.ledger import Ledger, Review
    from replay.model.llm import LLMResult
    from replay.model.queues import Queue, Rate

__version__ = "0.1.0"
_LATE: dict[str, str] = {
    **dict.fromkeys(("AskPage", "Client", "Engine", "Handle", "ReplayReport", "Reply", "Start", "WorkerInfo", "run"), "replay.client"),
    **dict.fromkeys(("WhatIf", "whatif"), "replay.client.whatif"),
    **dict.fromkeys(("Distillation", "Recall", "RecallState", "recall"), "replay.authoring.recall"),
    **dict.fromkeys(("Health", "Thresholds"), "replay.model.health"),
    **dict.fromkeys(("Ledger", "Review"), "replay.model.ledger"),
    "Ask": "replay.model.asks",
    **dict.fromkeys(("Queue", "Rate"), "replay.model.queues"),
    "LLMResult": "replay.model.llm",
    "ask": "replay.authoring.asks",
    "llm_call": "replay.authoring.llm",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    message = f"module 'replay' has no attribute {name!r}"
    raise AttributeError(message)


__all__ = [
    "AnswerRefused",
    "Ask",
    "AskClosed",
    "AskPage",
    "BudgetExceeded",
    "Call",
    "Callback",
    "CallbackFailed",
    "Cancelled",
    "ChildFailed",
    "ChildHandle",
    "Client",
    "CompensationFailed",
    "DefinitionError",
    "Distillation",
    "Effect",
    "EffectError",
    "Engine",
    "Event",
    "Handle",
    "Health",
    "InvalidRequest",
    "JournalDamaged",
    "LLMResult",
    "LeaseLost",
    "Ledger",
    "NonDeterminismError",
    "PayloadError",
    "PayloadTooLarge",
    "ProviderBusy",
    "ProviderFailed",
    "Queue",
    "Rate",
    "Recall",
    "RecallState",
    "ReplayError",
    "ReplayReport",
    "Reply",
    "ReplyInvalid",
    "RequestError",
    "Retry",
    "Review",
    "RunClosed",
    "RunExists",
    "RunFailed",
    "RunInfo",
    "RunSetAside",
    "Saga",
    "SchemaMismatch",
    "Spawned",
    "Start",
    "Step",
    "StepFailed",
    "StepFunction",
    "StepInfo",
    "StepInterrupted",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "Thresholds",
    "TimedOut",
    "UnknownName",
    "UnknownRun",
    "UnknownScheme",
    "UpdateRefused",
    "WaitTimedOut",
    "WhatIf",
    "WorkerInfo",
    "Workflow",
    "WorkflowError",
    "WorkflowFunction",
    "annotate",
    "ask",
    "budget",
    "callback",
    "cancel",
    "continue_as_new",
    "gather",
    "info",
    "join",
    "llm_call",
    "log",
    "now",
    "on_update",
    "patched",
    "poll",
    "publish",
    "race",
    "random",
    "recall",
    "run",
    "saga",
    "savepoint",
    "send_signal",
    "set_state",
    "set_tags",
    "shield",
    "signal",
    "sleep",
    "spawn",
    "start_child",
    "step",
    "step_info",
    "timeout",
    "upcaster",
    "uuid",
    "whatif",
    "workflow",
]
