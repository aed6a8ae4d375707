"""Which runs match a filter, newest first, as a statement that any SQL database runs.

Rule 1: a page costs what it shows, not what there is: each statement walks an index that is already in the order of the list
(children of a run, a tag's word, a status, all by time of creation) and stops when the page is full.
Rule 2: several statuses are as many such walks, merged; asking for all of them at once would sort every run that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, literal, select, tuple_, union_all
from sqlalchemy.engine import Dialect

from replay.store.contract import Filter
from replay.store.sql_schema import runs, tags


def found(query: Filter, *, limit: int, before: tuple[int, str] | None) -> Select[Any]:
    """Numbers of the runs that match and lie below ``before`` (time of creation, id), newest first, at most ``limit``."""
    statuses = list(dict.fromkeys(query.statuses)) if query.statuses is not None else None
    if statuses is None or len(statuses) <= 1 or query.tags or query.parent or query.prefix or query.fairness_key:
        return page(query, statuses, limit, before)
    walks = [select(page(query, [status], limit, before).subquery()) for status in statuses]
    merged = union_all(*walks).subquery()
    return select(merged).order_by(merged.c.created_at.desc(), merged.c.id.desc()).limit(limit)


def page(query: Filter, statuses: Sequence[str] | None, limit: int, before: tuple[int, str] | None) -> Select[Any]:
    """One walk."""
    words = list(query.tags.items())
    created_at: ColumnElement[int] = runs.c.created_at
    statement = select(runs.c.pk, runs.c.created_at, runs.c.id).where(runs.c.namespace == query.namespace)
    if words:
        (name, word), *words = words
        created_at = tags.c.created_at
        statement = statement.join(tags, tags.c.run == runs.c.pk).where(
            tags.c.namespace == query.namespace, tags.c.name == name, tags.c.word == word
        )
    for name, word in words:
        also = tags.alias()
        statement = statement.where(exists().where(also.c.run == runs.c.pk, also.c.name == name, also.c.word == word))
    statement = statement.where(*narrowed(query, statuses, created_at))
    if before:
        statement = statement.where(created_at <= before[0])
        statement = statement.where(tuple_(created_at, runs.c.id) < tuple_(literal(before[0]), literal(before[1])))
    return statement.order_by(created_at.desc(), runs.c.id.desc()).limit(limit)


def narrowed(query: Filter, statuses: Sequence[str] | None, created_at: ColumnElement[int]) -> list[ColumnElement[bool]]:
    """Conditions on a run's own columns."""
    conditions = []
    if query.workflow is not None:
        conditions.append(runs.c.workflow == query.workflow)
    if statuses is not None:
        conditions.append(runs.c.status == statuses[0] if len(statuses) == 1 else runs.c.status.in_(statuses))
    if query.created_after is not None:
        conditions.append(created_at >= query.created_after)
    if query.created_before is not None:
        conditions.append(created_at < query.created_before)
    if query.prefix:
        conditions.append(runs.c.id >= query.prefix)  # ids compare by code points: collation BINARY, or "C" elsewhere
        end = following(query.prefix)
        conditions += [runs.c.id < end] if end else []
    if query.parent:
        conditions += [runs.c.parent == query.parent, runs.c.parent != ""]
    elif query.parent is not None:
        conditions.append(runs.c.parent == "")
    if query.fairness_key is not None:
        conditions += [runs.c.fairness_key == query.fairness_key, *([runs.c.fairness_key != ""] if query.fairness_key else [])]
    return conditions


def following(prefix: str) -> str:
    """The first text, by code points, after all that begin with a prefix; empty when there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD800 else last)  # surrogates are no text
        prefix = prefix[:-1]
    return ""


def spelt(statement: Select[Any], dialect: Dialect) -> tuple[str, tuple[Any, ...]]:
    """A statement and its parameters as a driver takes them, by position."""
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())
