"""Engines on both media, and a key that no test may ever see again."""

from __future__ import annotations

import pytest

from tests.helpers.engines import clock, engine, open_engine, store_url

KEY = "sk-not-to-be-seen-0123456789"

__all__ = ["clock", "engine", "key", "open_engine", "store_url"]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of the tests; and no environment of the machine's own."""
    for name in ("OPENAI_BASE_URL", "REPLAY_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY
