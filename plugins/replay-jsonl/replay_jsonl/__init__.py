"""A store in one file of JSON lines, shared by the processes of one machine: ``jsonl:///path/to/runs.jsonl``."""

from __future__ import annotations

from replay_jsonl.store import JsonlStore, open_jsonl

__all__ = ["JsonlStore", "open_jsonl"]
