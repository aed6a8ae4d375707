"""A block gives back what was packed, and never anything else."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import JournalDamaged
from replay.model.events import Event
from replay.store.blocks import ROOM, pack, unpack
from tests.store.sqlite_case import answer, journal

FACTS = 7
"""The fields that replay reads."""

words = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8)
whole = st.integers(0, 2**32 - 1)
moment = st.integers(-(2**63), 2**63 - 1)
fields = st.tuples(words, words, words, moment, st.binary(max_size=9), whole, whole, moment, words, words)
journals = st.tuples(st.integers(0, 2**40), st.lists(fields, min_size=1, max_size=40)).map(
    lambda drawn: [Event(seq, *rest) for seq, rest in enumerate(drawn[1], drawn[0])]
)


def packed(events: list[Event]) -> bytes:
    """Events that fit into a block."""
    block = pack(events)
    assert block is not None
    return block


@given(events=journals)
def test_what_was_packed_comes_back(events: list[Event]) -> None:
    """All fields of all events, whatever is in them, and as the types that they were."""
    found = unpack(packed(events), "run", events[-1].seq)

    assert events == found
    assert {Event} == {type(event) for event in found}


def test_the_largest_block_comes_back() -> None:
    """A byte points at one of 256 words."""
    events = [answer(seq)._replace(name=f"step-{seq}") for seq in range(1, 257)]

    assert events == unpack(packed(events), "run", 256)


@pytest.mark.parametrize(
    "events",
    [
        [],
        journal(257),
        [answer(1)._replace(name="a\nb")],
        [answer(1), answer(2)._replace(command="a\nb")],
        [answer(1)._replace(worker="\n")],
        [answer(1)._replace(check=2**32)],
        [answer(1)._replace(attempt=-1)],
        [answer(1)._replace(at=2**63)],
        [answer(1, bytes(ROOM)), answer(2, b"1")],
    ],
    ids=["none", "many", "name", "command", "worker", "check", "attempt", "moment", "payload"],
)
def test_what_does_not_fit_is_declined(events: list[Event]) -> None:
    """The store keeps rows then."""
    assert pack(events) is None


def test_every_flipped_bit_is_found() -> None:
    """Facts are never wrong: each flip is refused, or has changed what is for people only."""
    events = journal(30)
    block = packed(events)

    refused = 0
    for place in range(len(block)):
        changed = bytearray(block)
        changed[place] ^= 1 << place % 8
        try:
            found = unpack(bytes(changed), "run", 30)
        except JournalDamaged:
            refused += 1
        else:
            assert [event[:FACTS] for event in events] == [event[:FACTS] for event in found]
    assert refused > len(block) / 2


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_no_block_are_refused(seed: int) -> None:
    """Cut short, one byte gone, or not ours at all."""
    chance = random.Random(seed)
    block = packed(journal(50))
    cut, gone = chance.randrange(len(block) - 4), chance.randrange(len(block) - 4)
    others = [b"", b"\1", chance.randbytes(200), block[:cut], block[:gone] + block[gone + 1 :]]

    for other in others:
        with pytest.raises(JournalDamaged) as caught:
            unpack(other, "order-1", 50)
        assert "order-1" == caught.value.run


def test_the_event_that_was_changed_is_named() -> None:
    """The block's own checksum only says that something is wrong; the seals say where."""
    events = [answer(seq, b"payload-%04d" % seq) for seq in range(1, 100)]
    block = packed(events)

    with pytest.raises(JournalDamaged) as caught:
        unpack(block.replace(b"payload-0042", b"payload-0043"), "order-1", 99)

    assert ("order-1", 42, "its checksum does not fit") == (caught.value.run, caught.value.seq, caught.value.problem)


def test_a_block_of_a_later_format_is_not_guessed_at() -> None:
    """Older code says that it is too old."""
    later = bytes([2]) + packed(journal(3))[1:-4]
    later += crc32(later).to_bytes(4, "little")

    with pytest.raises(JournalDamaged, match="format 2, this code reads 1: upgrade replay-engine"):
        unpack(later, "order-1", 3)


def test_the_bytes_of_a_block_never_change() -> None:
    """Blocks that any release wrote are read by all later ones, on every machine."""
    block = packed([answer(7, b"1")._replace(worker=""), answer(8, b"a\nb")])

    assert EXPECTED == block.hex()


EXPECTED = (
    "0100020007000000000000000e00000002000000060000000200000009000000020000000400000002000000030000001000"
    "0000080000000800000010000000080000000800000004000000737465705f636f6d706c6574656400006368617267650000"
    "73686f702e70793a3400000a616e6e0001370a3807f00b555247060008f00b55524706003100000038000000010000000100"
    "000000020000000000000002000000000000e93b0915c5bca13a010000000300000031610a6249d50ce0"
)
"""Format 1, as the first release wrote it."""
