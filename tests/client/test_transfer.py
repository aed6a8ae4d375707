"""Runs as text: exported, read again to the byte, imported elsewhere; damage is an error that names the event."""

# mypy: disable-error-code="unused-awaitable"
# A handle may be waited for, and need not be.

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from replay import Client, InvalidRequest, JournalDamaged, RunExists, UnknownRun, Workflow, workflow
from replay.authoring.effects import set_state, signal
from replay.client.transfer import FORMAT, export_run, import_run, read_journal, write_journal
from replay.errors import StoreError
from replay.model.events import KINDS, Event
from replay.store.contract import Run, RunKey
from replay.store.memory import MemoryStore
from replay.testing import World
from tests.testing.shop import counts, order

PAYLOADS = [
    b"", b"null", b"0", b'""', b"[]", b"{}", b'{"a":[1,2.5,"\xc3\xa9"]}', b'{"b": 1}', b"1.0", b"\xff\x00",
    b"[" * 100 + b"]" * 100,
]  # fmt: skip


def made_up(*payloads: bytes) -> list[Event]:
    """A journal with these payloads; only its shape counts."""
    return [
        Event(place, KINDS[place % len(KINDS)], str(place), f"naïve \n {place}", 1_000 + place, payload, place, 2, 3, "a.py:1", "w")
        for place, payload in enumerate(payloads, 1)
    ]


def index(seq: int, **fields: Any) -> Run:
    """An index entry."""
    usual: dict[str, Any] = {
        "key": RunKey("shop", "order-1"), "workflow": "order", "version": "", "queue": "default", "digest": "d", "priority": 0,
        "parent": "", "parent_command": "", "tags": {"who": "ann"}, "state": {"raw": b"\x00", "json": b"[1]"}, "status": "running",
        "base": 0, "applied": seq, "result": b"", "source": "", "created_at": 1, "updated_at": 2, "ready_at": None, "wake_at": None,
        "fence": 3, "worker": "w", "recoveries": 0,
    }  # fmt: skip
    return Run(seq=seq, **{**usual, **fields})


@pytest.fixture
def lines() -> list[str]:
    """An exported run with five events."""
    with World() as world:
        handle = world.start(counts(1), id="counted")
        world.run()
        return list(export_run(handle))


# ---- there and back -----------------------------------------------------------------------------------------------------------


def test_every_payload_comes_back_to_the_byte() -> None:
    """Canonical JSON as JSON, everything else as base64."""
    journal = made_up(*PAYLOADS)
    written = list(write_journal(index(len(journal)), journal))

    assert (RunKey("shop", "order-1"), journal) == read_journal(written)
    assert [b"", b'{"b": 1}', b"1.0", b"\xff\x00", PAYLOADS[-1]] == [
        base64.b64decode(json.loads(line)["payload_b64"]) for line in written if "payload_b64" in line
    ]


def test_lines_may_have_line_ends_and_blank_ones_between() -> None:
    """As a file has."""
    journal = made_up(b"1", b"2")
    text = "\n\n".join(write_journal(index(2), journal)) + "\n"

    assert journal == read_journal(text.splitlines(keepends=True))[1]


def test_the_format_is_written_down_once() -> None:
    """What other programs read: names, not places; defaults left out; payloads as they are."""
    head, event = (json.loads(line) for line in write_journal(index(1), [Event(1, "started", "", "order", 5, b'{"a":1}')]))

    assert (FORMAT, "replay-journal/1") == (head["format"], FORMAT)
    assert ("shop", "order-1", 1, "running") == tuple(head["run"][name] for name in ("namespace", "id", "seq", "status"))
    assert {"json": {"value": [1]}, "raw": {"value_b64": base64.b64encode(b"\x00").decode()}} == head["run"]["state"]
    assert {"seq": 1, "kind": "started", "name": "order", "at": 5, "payload": {"a": 1}, "seal": event["seal"]} == event


def test_exporting_an_unknown_run_is_an_error() -> None:
    """There is nothing to write."""
    with World() as world, pytest.raises(UnknownRun):
        export_run(world.get("nobody"))


# ---- into another store -------------------------------------------------------------------------------------------------------


def test_a_closed_run_is_imported_with_its_result(lines: list[str]) -> None:
    """In the client's own namespace."""
    client = Client(MemoryStore(), namespace="archive")
    handle = import_run(client, lines)

    assert ("completed", 1) == (handle.status, handle.result())
    assert read_journal(lines)[1] == handle.journal()


def test_an_open_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was done is not done again, what was said is not said again, what it waited for can come."""
    with World() as world:
        world.stub("kit_charge", 5)
        handle = world.start(order(5), id="order")
        world.run_until_idle()
        (tmp_path / "run.jsonl").write_text("\n".join(export_run(handle)))
        moment = world.clock()
    with World() as other:
        other.clock.set(moment)
        other.stub("kit_ship", "shipped")
        with (tmp_path / "run.jsonl").open() as file:
            handle = import_run(other, file)
        handle.signal("approved", True)

        assert ("shipped, shipped", {"paid": 5}) == (handle.result(), handle.state())
        assert [] == other.calls("kit_charge")
        assert [] == other.read("charged")


def test_importing_again_changes_nothing(lines: list[str]) -> None:
    """The same journal is the same run."""
    client = Client(MemoryStore())
    first = import_run(client, lines)
    before = (first.about(), first.journal())
    again = import_run(client, lines)

    assert before == (again.about(), again.journal())


def test_an_id_that_is_taken_by_another_run_is_refused(lines: list[str]) -> None:
    """Nothing is overwritten."""
    with World() as world:
        taken = world.start(counts(2), id="counted")
        with pytest.raises(RunExists, match="counted"):
            import_run(world, lines)

        assert 2 == taken.result()


def test_a_run_with_state_goes_on_from_its_savepoint() -> None:
    """The newest savepoint with state is known after an import too."""

    @workflow(name="transferred")
    def waits(state: list[str] | None = None) -> Workflow[list[str]]:
        from replay import savepoint

        seen = list(state or [])
        while len(seen) < 2:
            seen.append((yield from signal("word", str)))
            yield from set_state("seen", len(seen))
            yield from savepoint("word", state=seen)
        return seen

    with World() as world:
        handle = world.start(waits(), id="words")
        handle.signal("word", "one")
        world.run()
        lines = list(export_run(handle))
    with World(workflows=[waits]) as other:
        handle = import_run(other, lines)
        handle.signal("word", "two")

        assert ["one", "two"] == handle.result()


# ---- damage -------------------------------------------------------------------------------------------------------------------


def test_a_file_that_was_cut_short_between_lines_is_an_error(lines: list[str]) -> None:
    """The first line says how many there are."""
    for kept in range(1, len(lines)):
        with pytest.raises(JournalDamaged, match="cut short") as caught:
            read_journal(lines[:kept])
        assert ("counted", kept) == (caught.value.run, caught.value.seq)


def test_a_file_that_was_cut_short_anywhere_is_an_error(lines: list[str]) -> None:
    """At every byte."""
    text = "\n".join(lines)
    for end in range(len(text)):
        with pytest.raises((JournalDamaged, InvalidRequest)):
            read_journal(text[:end].splitlines())


def test_a_flipped_bit_is_an_error_or_changes_nothing_that_replay_reads(lines: list[str]) -> None:
    """Thousands of single flips, wherever they fall."""
    text = "\n".join(lines).encode()
    expected = [event[:7] for event in read_journal(lines)[1]]
    dice = random.Random(1)
    damaged = 0
    for _ in range(3_000):
        place, bit = dice.randrange(len(text)), 1 << dice.randrange(8)
        flipped = text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :]
        try:
            key, journal = read_journal(flipped.decode("utf-8", "surrogateescape").split("\n"))
        except (StoreError, InvalidRequest):
            damaged += 1
            continue
        assert ("counted", expected) == (key.id, [event[:7] for event in journal])
    assert damaged > 2_000


def test_a_line_that_was_taken_out_is_an_error_that_names_the_event(lines: list[str]) -> None:
    """A gap is seen at once."""
    with pytest.raises(JournalDamaged, match="it is missing, the next one is #3") as caught:
        read_journal([*lines[:2], *lines[3:]])
    assert 2 == caught.value.seq


def test_a_line_too_many_is_an_error(lines: list[str]) -> None:
    """Two files in one, perhaps."""
    with pytest.raises(JournalDamaged, match="says that there are"):
        read_journal([*lines, list(write_journal(index(5), made_up(*[b"1"] * 5)))[-1]])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("hello", "its first line is str 'hello'"),
        ('{"events":[]}', "not that of an exported journal"),
        ('{"format":"other/1"}', "not that of an exported journal"),
        ('{"format":"replay-journal/7","run":{}}', r"its format is replay-journal/7, this code reads up to .*upgrade"),
    ],
    ids=["empty", "text", "json", "other", "newer"],
)
def test_what_is_no_journal_or_a_newer_one_says_so(text: str, problem: str) -> None:
    """The caller passed the wrong file, or must upgrade."""
    with pytest.raises(InvalidRequest, match=problem):
        read_journal(text.splitlines())


def test_a_first_line_that_was_changed_is_an_error(lines: list[str]) -> None:
    """It has a checksum of its own."""
    with pytest.raises(JournalDamaged, match="the first line's checksum"):
        read_journal([lines[0].replace('"status":"completed"', '"status":"failed"'), *lines[1:]])


@pytest.mark.parametrize(
    "change", [{"at": "now"}, {"kind": None}, {"seal": "x"}, {"payload": 5}, {"payload_b64": "%%"}], ids=lambda change: str(*change)
)
def test_a_line_that_is_no_event_is_an_error(lines: list[str], change: dict[str, Any]) -> None:
    """Types are checked before anything is believed."""
    broken = json.dumps({**json.loads(lines[2]), **change})

    with pytest.raises(JournalDamaged) as caught:
        read_journal([*lines[:2], broken, *lines[3:]])
    assert 2 == caught.value.seq
