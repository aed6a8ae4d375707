"""Engines over memory and over SQLite."""

from __future__ import annotations

from tests.helpers.engines import clock, engine, open_engine, store_url

__all__ = ["clock", "engine", "open_engine", "store_url"]
