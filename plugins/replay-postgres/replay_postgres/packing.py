"""Rows of events that have filled a block become one.

Rule 1: packing changes how a journal is kept, never what it says. It comes after the commit, and what it does is lost without harm:
rows that were not packed stay rows.
Rule 2: it waits for no disk. Whether it survives a power cut does not matter, only that it does so whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from replay.hooks import JournalDamaged, pack, unsealed
from replay_postgres import statements as sql
from replay_postgres.pool import BEGIN, Hot, Row

LAX: Final = "SET LOCAL synchronous_commit = off"


def pack_rows(hot: Hot, spans: Sequence[Row]) -> None:
    """Make blocks of the rows in spans (run, first seq, last seq)."""
    found = {pk: [tuple(row[1:]) for row in rows] for pk, rows in groupby(hot.ask(sql.LOOSE, sql.SPANS.parameters(spans)), SEQ)}
    blocks = []
    for run, first, last in spans:
        block = packed(run, first, last, found.get(run, []))
        if block is not None:
            blocks.append((run, first, last, block))
    if blocks:
        hot.ask_together([(BEGIN, ()), (LAX, ()), (sql.PACK, sql.PACKED.parameters(blocks)), ("COMMIT", ())])


SEQ: Final = itemgetter(0)


def packed(run: int, first: int, last: int, rows: Sequence[Row]) -> bytes | None:
    """Rows as a block; None when they are not whole, damaged, or do not fit into one."""
    if [row[0] for row in rows] != list(range(first, last + 1)):
        return None
    try:
        return pack(unsealed(rows, str(run)))
    except JournalDamaged:
        return None
