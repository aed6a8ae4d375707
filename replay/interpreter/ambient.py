"""Time, chance and self-knowledge, without asking the world.

Rule 1: ``now`` is the moment of the last event that was fed.
Rule 2: chance is a counter under SHA-256: number n of a fiber is the digest of ``seed LF base LF path LF n`` in UTF-8, where seed
is the run's seed, base the seq of the last savepoint with state (0 before the first), path the fiber's path, and n counts the
draws of that fiber since then. ``random`` is the digest's first 8 bytes, big-endian, shifted right by 11, times 2**-53;
``uuid`` is its first 16 bytes with version 4 and the RFC 9562 variant set. Slow and the same in every language.
"""

from __future__ import annotations

import hashlib
import uuid as uuids


class Chance:
    """The random source of one run."""

    __slots__ = ("_base", "_drawn", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._base = 0
        self._drawn: dict[str, int] = {}

    def rebase(self, seq: int) -> None:
        """A savepoint with state was passed: count from 0 again, under its number."""
        self._base = seq
        self._drawn.clear()

    def _draw(self, path: str) -> bytes:
        number = self._drawn.get(path, 0)
        self._drawn[path] = number + 1
        return hashlib.sha256(f"{self._seed}\n{self._base}\n{path}\n{number}".encode()).digest()

    def random(self, path: str) -> float:
        """A float in [0, 1)."""
        return (int.from_bytes(self._draw(path)[:8]) >> 11) * 2.0**-53

    def uuid(self, path: str) -> uuids.UUID:
        """A UUID of version 4."""
        return uuids.UUID(bytes=self._draw(path)[:16], version=4)
