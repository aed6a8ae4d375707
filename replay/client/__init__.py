"""The composition root: ``Client`` asks, ``Engine`` also works, ``Handle`` is one run seen from outside."""

from __future__ import annotations

from replay.client.client import AskPage, Client, Start
from replay.client.embedded import Engine, run
from replay.client.handle import Handle, Reply
from replay.client.travel import ReplayReport, SavepointView
from replay.engine.presence import WorkerInfo

__all__ = ["AskPage", "Client", "Engine", "Handle", "ReplayReport", "Reply", "SavepointView", "Start", "WorkerInfo", "run"]
