"""A store in PostgreSQL, shared by many workers on many machines: ``postgresql://user:password@host:port/database``."""

from __future__ import annotations

from replay_postgres.store import PostgresStore, open_postgres

__all__ = ["PostgresStore", "open_postgres"]
