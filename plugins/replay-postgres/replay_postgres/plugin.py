"""What replay asks this plugin for; the store itself loads when its scheme is named."""

from __future__ import annotations

from collections.abc import Mapping

from replay.hooks import Clock, Migrate, Migrated, Store, StoreFactory, hookimpl


def _postgres(url: str, *, clock: Clock | None = None) -> Store:
    from replay_postgres.store import open_postgres

    return open_postgres(url, clock=clock)


@hookimpl
def replay_stores() -> Mapping[str, StoreFactory]:
    """``postgresql://host/database``, or ``postgres://…``."""
    return {"postgresql": _postgres, "postgres": _postgres}


def _migrate(url: str) -> Migrated:
    from replay_postgres.migrations import migrate

    return migrate(url)


@hookimpl
def replay_migrations() -> Mapping[str, Migrate]:
    """Numbered migrations, applied by the operator."""
    return {"postgresql": _migrate, "postgres": _migrate}
