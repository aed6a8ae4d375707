"""Many events as one piece of bytes: how a long journal is kept where nothing is added to it any more.

Rule 1: a block holds columns, not records. Words that come again (kind, name, line, worker) are written once and pointed at, so
that C code reads a thousand events in the time that Python reads two hundred rows.
Rule 2: the bytes end with their CRC-32. When it fits, nothing else needs to be checked; when it does not, each event's own
``seal``, which is inside too, says which one was changed.
Rule 3: a block is an offer. Events that do not fit (text with a line feed, a number too large, much payload) give none, and the
store keeps them as rows.

The bytes are the same on every machine: numbers are little-endian. A format byte leads, so that there can be others one day.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Final
from zlib import crc32

from replay.errors import JournalDamaged
from replay.model.events import Event, seal

SIZE: Final = 128
"""Events in a block; at most 256, as a byte points at a word."""
ROOM: Final = 512 * 1024
"""Bytes of payload in a block at most: larger ones gain nothing, and a block is read whole."""
FORMAT: Final = 1

HEADER: Final = struct.Struct("<BxHQ16I")
"""Format, number of events, first seq, then the sizes of the parts as ``pack`` lists them."""
TAIL: Final = struct.Struct("<I")
BREAK: Final = "\n"

as_event: Final[Callable[[Iterable[Any]], Event]] = partial(tuple.__new__, Event)
"""``Event._make`` without its check of the length: the hottest line of recovery."""


def pack(events: Sequence[Event]) -> bytes | None:
    """Events of one journal, numbered without a gap, as a block; None when they do not fit into one."""
    if not 0 < len(events) <= 256:
        return None
    _, kinds, commands, names, moments, payloads, checks, attempts, durations, lines, workers = zip(*events, strict=True)
    if sum(map(len, payloads)) > ROOM:
        return None
    joined = b"\n".join(payloads)
    apart = joined.count(b"\n") == len(payloads) - 1
    try:
        parts = [
            *words(kinds),
            *words(names),
            *words(lines),
            *words(workers),
            column(commands),
            numbers("q", moments),
            numbers("I", checks),
            numbers("I", attempts),
            numbers("q", durations),
            numbers("I", map(seal, events)),
            b"" if apart else numbers("I", map(len, payloads)),
            joined if apart else b"".join(payloads),
        ]
    except (ValueError, OverflowError):
        return None
    body = HEADER.pack(FORMAT, len(events), events[0].seq, *map(len, parts)) + b"".join(parts)
    return body + TAIL.pack(crc32(body))


def unpack(block: bytes, run: str, last: int) -> list[Event]:
    """The events of a block that ends with event ``last``.

    Raises:
        JournalDamaged: They are not those that were packed.
    """
    whole = len(block) > HEADER.size and crc32(block[:-4]) == int.from_bytes(block[-4:], "little")
    if whole and block[0] != FORMAT:
        problem = f"its block has format {block[0]}, this code reads {FORMAT}: upgrade replay-engine"
        raise JournalDamaged(run, last, problem)
    try:
        events, seals = parse(block)
        changed = [] if whole else [event for event, sealed in zip(events, seals, strict=True) if seal(event) != sealed]
    except (ValueError, IndexError, OverflowError, MemoryError, struct.error):
        raise JournalDamaged(run, last, "the block that it is in cannot be read") from None
    if changed:
        raise JournalDamaged(run, changed[0].seq, "its checksum does not fit")
    return events  # what was changed, if anything, is for people only


def parse(block: bytes) -> tuple[list[Event], Sequence[int]]:
    """Events and their seals, unchecked."""
    _, count, first, *sizes = HEADER.unpack_from(block)
    parts = [block[begin:end] for begin, end in pairwise(accumulate(sizes, initial=HEADER.size))]
    events = zip(
        range(first, first + count),
        looked_up(parts[0], parts[1]),
        parts[8].decode().split(BREAK),
        looked_up(parts[2], parts[3]),
        numbered("q", parts[9]),
        payloads_of(parts[14], parts[15]),
        numbered("I", parts[10]),
        numbered("I", parts[11]),
        numbered("q", parts[12]),
        looked_up(parts[4], parts[5]),
        looked_up(parts[6], parts[7]),
        strict=True,
    )
    return list(map(as_event, events)), numbered("I", parts[13])


def column(texts: Sequence[str]) -> bytes:
    """Texts as one.

    Raises:
        ValueError: One of them has a line feed.
    """
    text = BREAK.join(texts)
    if text.count(BREAK) != len(texts) - 1:
        raise ValueError("a line feed in a text")
    return text.encode()


def words(texts: Sequence[str]) -> tuple[bytes, bytes]:
    """Different texts, and for each text a byte that says which one it is."""
    places: dict[str, int] = {}
    pointers = bytes([places.setdefault(text, len(places)) for text in texts])
    return column(list(places)), pointers


def looked_up(texts: bytes, pointers: bytes) -> Iterable[str]:
    """The reverse of ``words``."""
    return map(texts.decode().split(BREAK).__getitem__, pointers)


def numbers(code: str, values: Iterable[int]) -> bytes:
    """Numbers as little-endian bytes.

    Raises:
        OverflowError: One is too large.
    """
    made = array(code, values)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def numbered(code: str, data: bytes) -> array[int]:
    """The reverse of ``numbers``."""
    made: array[int] = array(code)
    made.frombytes(data)
    if sys.byteorder == "big":
        made.byteswap()
    return made


def payloads_of(sizes: bytes, data: bytes) -> Iterable[bytes]:
    """Payloads that stand between line feeds, or by their sizes where one of them has a line feed itself."""
    if not sizes:
        return data.split(b"\n")
    return [data[begin:end] for begin, end in pairwise(accumulate(numbered("I", sizes), initial=0))]
