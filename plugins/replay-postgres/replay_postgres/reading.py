"""Rows as records: journals from rows and blocks, index entries, and what is found.

Rule 1: a journal is read in one statement, so that rows which become a block meanwhile are seen as one or the other.
Rule 2: what comes out of the database is checked before it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from replay.hooks import Event, Filter, Run, RunKey, assembled, bytes_of, run_of, words_of
from replay_postgres import statements as sql
from replay_postgres.pool import Hot, Row

SEQ: Final = itemgetter(0)


def whole(row: Sequence[Any]) -> Run:
    """An index entry from a ``RUN`` row."""
    return run_of(row[3:], words_of(row[-2]), bytes_of(row[-1]))


def split(rows: Iterable[Row]) -> tuple[list[Row], list[tuple[int, bytes]], int]:
    """Events, blocks, and the journal's length, of what was read mixed."""
    events: list[Row] = []
    blocks: list[tuple[int, bytes]] = []
    length = 0
    for row in rows:
        if row[1] is not None:
            events.append(row)
        elif row[5] is not None:
            blocks.append((row[0], row[5]))
        else:
            length = row[0]
    return sorted(events, key=SEQ), sorted(blocks), length


def journal(hot: Hot, key: RunKey, after: int, limit: int) -> list[Event]:
    """Events of one run after a seq.

    Raises:
        JournalDamaged: A checksum does not fit, or one is missing.
    """
    events, blocks, length = split(hot.ask(sql.ONE_JOURNAL, (*key, after, after + limit)))
    count = min(limit, length - after)
    return assembled(key, events, blocks, after, count) if count > 0 else []


def journals(hot: Hot, runs: Mapping[int, Run]) -> dict[int, list[Row]]:
    """What runs are recovered from, as rows by the runs' numbers."""
    found: dict[int, list[Row]] = {pk: [] for pk in runs}
    spans = [(pk, max(1, run.base)) for pk, run in runs.items()]
    for pk, *row in hot.ask(sql.JOURNALS, sql.FROM.parameters(spans)):
        found[pk].append(tuple(row))
    return found


def recovery(run: Run, rows: Iterable[Row]) -> list[Event]:
    """The first event, then the newest savepoint with state and what follows it; all events when there is none.

    A lease that ended before its journal was read may meet events of the next holder; they are not the claim's.

    Raises:
        JournalDamaged: A checksum does not fit, or one is missing.
    """
    events, blocks, _ = split(rows)
    if run.base <= 1:
        return assembled(run.key, events, blocks, 0, run.seq)[: run.seq]
    first = [row for row in events if row[0] == 1]
    count = run.seq - run.base + 1
    later = assembled(run.key, events[len(first) :], blocks, run.base - 1, count)
    return [*assembled(run.key, first, (), 0, 1), *later[:count]]


def finding(query: Filter, schema: str, *, limit: int, before: tuple[int, str] | None) -> tuple[str, Mapping[str, Any]]:
    """The statement that finds runs, and its parameters, by name; SQLAlchemy loads when something is looked for."""
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    from replay.hooks import found

    compiled = found(query, limit=limit, before=before).compile(
        dialect=PGDialect_psycopg(),  # type: ignore[no-untyped-call]  # SQLAlchemy leaves dialects untyped
        schema_translate_map={None: schema},
        compile_kwargs={"render_postcompile": True},
        render_schema_translate=True,
    )
    return str(compiled), compiled.params
