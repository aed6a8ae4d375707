"""The interpreter: answers in, commands out. Pure; it cannot tell whether what it is fed is old or new."""

from __future__ import annotations

from replay.interpreter.interpreter import Interpreter, Outcome

__all__ = ["Interpreter", "Outcome"]
