"""The tables of a SQL store, as SQLAlchemy Core knows them: for listing, for people's own queries, for other SQL stores.

Rule 1: what is written here is the newest schema. How a store's tables came to be is told by its own numbered migrations, and a
test holds both together.
Rule 2: names carry ``replay_``, so that a user's own tables can live in the same database and share its transactions.
Rule 3: SQLAlchemy costs a fifth of a second to import, so nothing that runs on the way to a first result imports this module.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

VERSION: Final = 2
"""The schema's version; each change adds one, and a migration to every store."""

Number: Final = BigInteger().with_variant(Integer(), "sqlite")
metadata: Final = MetaData()


def number(name: str, *, primary: bool = False, maybe: bool = False) -> Column[int]:
    """A column of 64-bit integers."""
    return Column(name, Number, primary_key=primary, nullable=maybe, autoincrement=False if primary else "auto")


def text(name: str, *, primary: bool = False) -> Column[str]:
    """A column of text; what is missing is empty."""
    return Column(name, Text, primary_key=primary, nullable=False)


def octets(name: str) -> Column[bytes]:
    """A column of bytes."""
    return Column(name, LargeBinary, nullable=False)


schema: Final = Table("replay_schema", metadata, number("version"))

runs: Final = Table(
    "replay_runs",
    metadata,
    Column("pk", Number, primary_key=True),
    text("namespace"),
    text("id"),
    text("workflow"),
    text("version"),
    text("queue"),
    text("digest"),
    number("priority"),
    text("parent"),
    text("parent_command"),
    text("status"),
    number("seq"),
    number("base"),
    number("applied"),
    text("source"),
    number("created_at"),
    number("updated_at"),
    number("ready_at", maybe=True),
    number("wake_at", maybe=True),
    number("fence"),
    text("worker"),
    number("recoveries"),
    text("note"),
    number("mail"),  # unconsumed messages
    number("box", maybe=True),  # where its messages lie: under its own pk, unless it inherited them or passed them on
    number("journals"),  # journals that were under this id before
    octets("result"),  # behind all that is asked for alone, so that reading those does not walk over it
    Column("fairness_key", Text, nullable=False, server_default=""),
)
Index("replay_runs_key", runs.c.namespace, runs.c.id, unique=True)
ready_index: Final = Index(
    "replay_runs_ready",
    runs.c.namespace,
    runs.c.queue,
    runs.c.workflow,
    runs.c.priority,
    runs.c.ready_at,
    sqlite_where=runs.c.ready_at.is_not(None),
    postgresql_where=runs.c.ready_at.is_not(None),
)
Index(
    "replay_runs_line",
    runs.c.namespace,
    runs.c.queue,
    runs.c.workflow,
    runs.c.priority,
    runs.c.status,
    runs.c.fairness_key,
    runs.c.ready_at,
    sqlite_where=(runs.c.worker == "") & runs.c.ready_at.is_not(None),
    postgresql_where=(runs.c.worker == "") & runs.c.ready_at.is_not(None),
)
Index(
    "replay_runs_held",
    runs.c.namespace,
    runs.c.queue,
    runs.c.ready_at,
    runs.c.fairness_key,
    sqlite_where=runs.c.worker != "",
    postgresql_where=runs.c.worker != "",
)
Index(
    "replay_runs_of_key",
    runs.c.namespace,
    runs.c.fairness_key,
    runs.c.created_at,
    runs.c.id,
    sqlite_where=runs.c.fairness_key != "",
    postgresql_where=runs.c.fairness_key != "",
)
Index("replay_runs_mail", runs.c.worker, sqlite_where=runs.c.mail > 0, postgresql_where=runs.c.mail > 0)
Index("replay_runs_created", runs.c.namespace, runs.c.created_at, runs.c.id)
Index("replay_runs_status", runs.c.namespace, runs.c.status, runs.c.created_at, runs.c.id)
Index(
    "replay_runs_parent",
    runs.c.namespace,
    runs.c.parent,
    runs.c.created_at,
    runs.c.id,
    sqlite_where=runs.c.parent != "",
    postgresql_where=runs.c.parent != "",
)

begun: Final = Table("replay_begun", metadata, text("namespace", primary=True), text("queue", primary=True), text("moments"))

tags: Final = Table(
    "replay_tags",
    metadata,
    number("run", primary=True),
    text("name", primary=True),
    text("word"),
    text("namespace"),  # and when the run was created: what tags are searched by
    number("created_at"),
    sqlite_with_rowid=False,
)
Index("replay_tags_word", tags.c.namespace, tags.c.name, tags.c.word, tags.c.created_at)

state: Final = Table(
    "replay_state",
    metadata,
    number("run", primary=True),
    text("key", primary=True),
    octets("value"),
    sqlite_with_rowid=False,
)

events: Final = Table(
    "replay_events",
    metadata,
    Column("pk", Number, primary_key=True),
    number("run"),
    number("seq"),
    text("kind"),
    text("command"),
    text("name"),
    number("at"),
    octets("payload"),
    number("check"),
    number("attempt"),
    number("duration"),
    text("line"),
    text("worker"),
    number("seal"),
)
Index("replay_events_place", events.c.run, events.c.seq, unique=True)

blocks: Final = Table(
    "replay_blocks",
    metadata,
    number("run", primary=True),
    number("last", primary=True),
    octets("data"),
)

messages: Final = Table(
    "replay_messages",
    metadata,
    number("box", primary=True),
    text("id", primary=True),
    text("kind"),
    text("name"),
    octets("payload"),
    text("command"),
    number("at"),
    number("posted", maybe=True),  # order of posting; none when consumed
)
Index(
    "replay_messages_posted",
    messages.c.box,
    messages.c.posted,
    sqlite_where=messages.c.posted.is_not(None),
    postgresql_where=messages.c.posted.is_not(None),
)

topics: Final = Table(
    "replay_topics",
    metadata,
    text("namespace", primary=True),
    text("topic", primary=True),
    number("offset", primary=True),
    number("at"),
    octets("payload"),
)

blobs: Final = Table("replay_blobs", metadata, text("name", primary=True), octets("data"))
