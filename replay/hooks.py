"""What a plugin can bring: eight hooks, and the types it needs for them.

A plugin is a distribution with an entry point in the group ``replay`` that names a module of hook implementations. The stores that
come with replay are registered through the same hooks. Each hook is a promise for ever.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote

import pluggy

from replay.authoring.performing import Performer, Scene
from replay.engine.observers import Observer
from replay.errors import (
    InvalidRequest,
    JournalDamaged,
    LeaseLost,
    ReplayError,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
    UnknownScheme,
)
from replay.model.events import CLOSING, KINDS, Event, seal
from replay.model.queues import Queue, Rate
from replay.store.blobs import Blobs, BlobsFactory, Thing, require_usable
from replay.store.contract import (
    CLOSED,
    CONTROL,
    MESSAGE_KINDS,
    OPEN,
    Capability,
    Claim,
    Claimed,
    Claims,
    Clock,
    Commit,
    Committed,
    Created,
    Entry,
    Filter,
    Lease,
    Message,
    NewRun,
    Page,
    Posted,
    Run,
    RunKey,
    Store,
    StoreFactory,
    TransactionalStore,
    age,
    fits,
    gapless,
    granted,
    index_entry,
    page_after,
    page_cursor,
    require_numbered,
    require_sound,
    takes_on,
    wakes,
)
from replay.store.limits import LOOK, PENDING, Begun, Standing, Waiting, allotted, declared, glance, names, soonest, waiting_of

if TYPE_CHECKING:
    from replay.llm.calling import Models
    from replay.llm.contract import Ask, Provider, Said, Say
    from replay.store.blocks import SIZE as BLOCK_SIZE
    from replay.store.blocks import pack
    from replay.store.sql import (
        EVENT_COLUMNS,
        MESSAGE_COLUMNS,
        RUN_COLUMNS,
        assembled,
        bytes_of,
        run_of,
        sealed,
        tags_of,
        unsealed,
        words_of,
    )
    from replay.store.sql_find import found

PROJECT: Final = "replay"
"""Name of the hooks' project and of the entry-point group."""
PACKAGES: Final[Mapping[str, str]] = {
    "postgresql": "replay-postgres",
    "postgres": "replay-postgres",
    "s3": "replay-s3",
    "grpc": "replay-engine[grpc]",
    "grpcs": "replay-engine[grpc]",
}
"""Which distribution serves a scheme that is not installed."""

LATE: Final[Mapping[str, tuple[str, str]]] = {
    **{name: ("replay.llm.contract", name) for name in ("Ask", "Provider", "Said", "Say")},
    "BLOCK_SIZE": ("replay.store.blocks", "SIZE"),
    "EVENT_COLUMNS": ("replay.store.sql", "EVENT_COLUMNS"),
    "MESSAGE_COLUMNS": ("replay.store.sql", "MESSAGE_COLUMNS"),
    "RUN_COLUMNS": ("replay.store.sql", "RUN_COLUMNS"),
    "assembled": ("replay.store.sql", "assembled"),
    "bytes_of": ("replay.store.sql", "bytes_of"),
    "found": ("replay.store.sql_find", "found"),
    "pack": ("replay.store.blocks", "pack"),
    "run_of": ("replay.store.sql", "run_of"),
    "sealed": ("replay.store.sql", "sealed"),
    "tags_of": ("replay.store.sql", "tags_of"),
    "unsealed": ("replay.store.sql", "unsealed"),
    "words_of": ("replay.store.sql", "words_of"),
}
"""What providers of models need, what SQL stores share, and where it lives; it loads when it is named, as most programs need none."""

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


OFFLOADING: Final = frozenset({"blobs", "blobs_above"})
"""Options of every store's URL that are no business of the store's."""
F = TypeVar("F")


class Migrated(NamedTuple):
    """What became of a store's tables.

    Attributes:
        store: The store's URL without its password.
        found: Their version before, 0 when there were none; None for a store without versions.
        now: Their version now.
    """

    store: str
    found: int | None
    now: int | None


Migrate = Callable[[str], Migrated]
"""Brings a store's tables up to date."""


@hookspec
def replay_stores() -> Mapping[str, StoreFactory]:  # type: ignore[empty-body]
    """Store factories by URL scheme, such as ``{"sqlite": open_sqlite}``."""


@hookspec
def replay_blobs() -> Mapping[str, BlobsFactory]:  # type: ignore[empty-body]
    """Factories of places for large payloads and archives, by URL scheme, such as ``{"file": open_files}``."""


@hookspec
def replay_migrations() -> Mapping[str, Migrate]:  # type: ignore[empty-body]
    """What ``replay store migrate`` calls, by URL scheme, for stores whose tables are not brought up to date when they are opened."""


@hookspec
def replay_providers() -> Mapping[str, Provider]:  # type: ignore[empty-body]
    """Providers of language models, by name."""


@hookspec
def replay_performers() -> Mapping[type[Any], Performer]:  # type: ignore[empty-body]
    """How effects that a plugin brings are done, by the effect's class: a subclass of ``Step`` whose payload is not a function's."""


@hookspec
def replay_observers() -> Sequence[Observer]:  # type: ignore[empty-body]
    """Observers that every engine of this process tells what it does."""


@hookspec
def replay_workflows() -> Sequence[Any]:  # type: ignore[empty-body]
    """Workflows that this plugin offers to every engine; importing them is enough to register them."""


@hookspec
def replay_commands() -> Sequence[Any]:  # type: ignore[empty-body]
    """Commands of the command line, as click commands."""


@functools.cache
def plugins() -> pluggy.PluginManager:
    """The plugin manager, with the built-in hooks and every installed plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(sys.modules[__name__])
    manager.register(importlib.import_module("replay.builtin"), "builtin")  # one floor up: named, not imported
    manager.load_setuptools_entrypoints(PROJECT)
    return manager


def stores() -> dict[str, StoreFactory]:
    """Every installed store factory, by scheme."""
    found: dict[str, StoreFactory] = {}
    for offered in reversed(plugins().hook.replay_stores()):
        found.update(offered)
    return found


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Open the store that a URL names.

    Args:
        url: ``memory://``, ``sqlite:///path``, or what an installed plugin serves; with ``?blobs=URL`` payloads larger than
            ``&blobs_above=65536`` bytes lie there.
        clock: The time, or None for the store's own.

    Raises:
        InvalidRequest: The URL cannot be read.
        UnknownScheme: No installed plugin serves it.
        StoreUnavailable: It cannot be opened or reached.
        SchemaMismatch: It was written by another version.
    """
    inner_url, options = without_options(url, OFFLOADING)
    factory = serving(inner_url, stores())
    if not options:
        return factory(inner_url, clock=clock)
    from replay.store.offloading import LARGE, Offloading

    above, aside = options.get("blobs_above", str(LARGE)), options.get("blobs", "")
    if not aside or not above.isdecimal():
        advice = "write …?blobs=s3%3A%2F%2Fbucket%2Fprefix&blobs_above=65536"
        raise InvalidRequest("store URL", "blobs names no place" if not aside else f"blobs_above={above} is no number of bytes", advice)
    blobs = open_blobs(aside)
    try:
        return Offloading(factory(inner_url, clock=clock), blobs, limit=int(above))
    except BaseException:
        blobs.close()
        raise


def open_blobs(url: str) -> Blobs:
    """Open the place for large payloads or archives that a URL names; it is written, read and removed from once.

    Raises:
        UnknownScheme: No installed plugin serves it.
        InvalidRequest: The URL cannot be read.
        StoreUnavailable: It cannot be used.
    """
    known: dict[str, BlobsFactory] = {}
    for offered in reversed(plugins().hook.replay_blobs()):
        known.update(offered)
    return serving(url, known)(url)


def migrate_store(url: str) -> Migrated:
    """Bring a store's tables up to date, as its operator.

    Raises:
        UnknownScheme: No installed plugin serves it.
        StoreUnavailable: It cannot be reached, or someone holds a lock that is needed.
        SchemaMismatch: It was written by newer code.
    """
    inner_url, _ = without_options(url, OFFLOADING)
    factory = serving(inner_url, stores())
    known: dict[str, Migrate] = {}
    for offered in reversed(plugins().hook.replay_migrations()):
        known.update(offered)
    migrate = known.get(inner_url.partition("://")[0].partition("+")[0])
    if migrate is not None:
        return migrate(inner_url)
    store = factory(inner_url, clock=None)  # which brings up to date what there is
    store.close()
    return Migrated(store.url, None, None)


def serving(url: str, factories: Mapping[str, F]) -> F:
    """The factory that serves a URL.

    Raises:
        UnknownScheme: None does.
    """
    scheme, separator, _ = url.partition("://")
    factory = factories.get(scheme.partition("+")[0]) if separator else None
    if factory is None:
        raise UnknownScheme(scheme if separator else url, tuple(sorted(factories)), PACKAGES.get(scheme, ""))
    return factory


def without_options(url: str, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """A URL without some options of its query, and those options."""
    base, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    taken = {name: unquote(value) for name, _, value in (pair.partition("=") for pair in pairs) if name in names}
    rest = "&".join(pair for pair in pairs if pair.partition("=")[0] not in names)
    return (f"{base}?{rest}" if rest else base if taken else url), taken


def providers() -> dict[str, Provider]:
    """Every installed provider of language models, by name."""
    found: dict[str, Provider] = {}
    for offered in reversed(plugins().hook.replay_providers()):
        found.update(offered)
    return found


def performers(models: Models | None = None) -> dict[type[Any], Performer]:
    """How effects are done that are no functions of their authors.

    Args:
        models: The language models that calls ask; None for those that are installed.
    """
    from replay.llm.calling import Models  # which an engine needs, and a command line's help does not
    from replay.model.llm import LLMCall

    asked = Models() if models is None else models
    asked.plugged = providers()
    found: dict[type[Any], Performer] = {LLMCall: asked.perform}
    for offered in reversed(plugins().hook.replay_performers()):
        found.update(offered)
    return found


def __getattr__(name: str) -> Any:
    """Load a part of what SQL stores share."""
    if name not in LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, part = LATE[name]
    return getattr(importlib.import_module(module), part)


__all__ = [
    "BLOCK_SIZE",
    "CLOSED",
    "CLOSING",
    "CONTROL",
    "EVENT_COLUMNS",
    "KINDS",
    "LOOK",
    "MESSAGE_COLUMNS",
    "MESSAGE_KINDS",
    "OPEN",
    "PENDING",
    "RUN_COLUMNS",
    "Ask",
    "Begun",
    "Blobs",
    "BlobsFactory",
    "Capability",
    "Claim",
    "Claimed",
    "Claims",
    "Clock",
    "Commit",
    "Committed",
    "Created",
    "Entry",
    "Event",
    "Filter",
    "InvalidRequest",
    "JournalDamaged",
    "Lease",
    "LeaseLost",
    "Message",
    "Migrate",
    "Migrated",
    "NewRun",
    "Observer",
    "Page",
    "Performer",
    "Posted",
    "Provider",
    "Queue",
    "Rate",
    "ReplayError",
    "Run",
    "RunKey",
    "Said",
    "Say",
    "Scene",
    "SchemaMismatch",
    "Standing",
    "Store",
    "StoreError",
    "StoreFactory",
    "StoreUnavailable",
    "Thing",
    "TransactionalStore",
    "UnknownScheme",
    "Waiting",
    "age",
    "allotted",
    "assembled",
    "bytes_of",
    "declared",
    "fits",
    "found",
    "gapless",
    "glance",
    "granted",
    "hookimpl",
    "hookspec",
    "index_entry",
    "migrate_store",
    "names",
    "open_blobs",
    "open_store",
    "pack",
    "page_after",
    "page_cursor",
    "plugins",
    "require_numbered",
    "require_sound",
    "require_usable",
    "run_of",
    "seal",
    "sealed",
    "soonest",
    "stores",
    "tags_of",
    "takes_on",
    "unsealed",
    "waiting_of",
    "wakes",
    "words_of",
]
