"""What any release of any SDK wrote, every later one reads: each recorded case is played again and compared exactly."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.interpreter.ambient import Chance
from replay.model import events
from replay.model.codec import to_json
from replay.model.events import seal
from tests.conformance import cases, record
from tests.conformance.cases import CASES, Json, Player, bytes_of, event_of, play, read, resumable, spelt, text_of
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.workflows import WORKFLOWS
from tests.interpreter.world import close_all

FILES = sorted(CASES.glob("*.json"))
each_case = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
SHOWN = ("commands", "withdrawn", "abandoned", "outputs", "unread", "outcome", "error")


@pytest.fixture(autouse=True)
def _evicted() -> Any:
    yield
    close_all()


def expected(case: Json) -> Json:
    return {key: case[key] for key in SHOWN}


@each_case
def test_a_case_is_played_as_it_was_recorded(path: Path) -> None:
    """After each event the same commands, withdrawals and outputs; in the end the same outcome, or the same report."""
    case = read(path)

    assert expected(case) == play(case).seen


@each_case
def test_every_event_keeps_its_seal(path: Path) -> None:
    """The checksum over the fields that replay reads, byte for byte."""
    script = read(path)["script"]

    assert [entry["seal"] for entry in script] == [seal(event_of(entry)) for entry in script]


@each_case
def test_a_case_may_be_cut_anywhere(path: Path) -> None:
    """A fresh interpreter that is fed the first part stands where the first one stood, and goes on alike."""
    case = read(path)
    whole = play(case)
    for cut in range(1, len(whole.commands)):
        player = Player(case["workflow"], case["run"])
        for entry in case["script"][:cut]:
            player.feed(event_of(entry))
        assert whole.commands[cut - 1] == player.commands[-1]
        player.feed(event_of(case["script"][cut]))
        assert whole.commands[cut] == player.commands[-1]
        assert whole.outputs[cut] == player.outputs[-1]


@each_case
def test_a_case_may_be_recovered_at_any_savepoint_with_state(path: Path) -> None:
    """Going on equals starting again."""
    case = read(path)
    script = [event_of(entry) for entry in case["script"]]
    whole = play(case).seen
    for place in resumable(case["script"]):
        player = Player(case["workflow"], case["run"])
        player.recover(script[0], script[place])
        for event in script[place + 1 :]:
            player.feed(event)
        assert {**whole, **{key: whole[key][place:] for key in SHOWN[:4]}} == player.seen


@each_case
def test_recording_again_gives_the_same_file(path: Path) -> None:
    """So a case can be traced to its scenario, and nobody has edited it by hand."""
    assert SCENARIOS[path.stem].record() == read(path)
    assert text_of(read(path)) == path.read_text(encoding="utf-8")


@each_case
def test_a_case_holds_nothing_that_only_python_could_say(path: Path) -> None:
    """Its payloads say the same to every JSON reader; there is no path, no address, no traceback in it."""
    case = read(path)
    text = path.read_text(encoding="utf-8")

    assert path.stem == case["name"]
    assert case["workflow"] in WORKFLOWS
    assert bytes_of("input", case) == WORKFLOWS[case["workflow"]].call((), {}).payload if not case.get("input") else True
    assert [] == [word for word in ("Traceback", ".py", "0x", "object at", "/work") if word in text]
    assert case == json.loads(json.dumps(case))


def test_every_scenario_is_recorded() -> None:
    """`python -m tests.conformance.record` writes those that are missing."""
    assert set(SCENARIOS) == {path.stem for path in FILES}


def test_the_cases_cover_every_kind_of_event() -> None:
    """In the script of one of them."""
    seen = {entry["kind"] for path in FILES for entry in read(path)["script"]}

    assert set(events.KINDS) <= seen


def test_the_cases_cover_every_kind_of_command_and_output() -> None:
    """In what an interpreter shows."""
    shown = [read(path) for path in FILES]
    commands = {entry["kind"] for case in shown for after in case["commands"] for entry in after}
    outputs = {entry["name"] for case in shown for after in case["outputs"] for entry in after}

    assert {"step", "timer", "signal", "savepoint", "child"} == commands
    assert {"send_signal", "publish", "set_state", "set_tags", "annotate", "log", "reply"} == outputs


def test_every_workflow_is_used() -> None:
    """None of them is dead."""
    used = {read(path)["workflow"] for path in FILES}

    assert {"child"} == set(WORKFLOWS) - used  # it is only ever a child, and children are not driven here


def test_no_two_cases_say_the_same() -> None:
    """Each earns its place."""
    seen = {json.dumps([case["workflow"], case["run"], case["script"]]) for case in map(read, FILES)}

    assert len(FILES) == len(seen)


# ---- the recorder and the harness --------------------------------------------------------------------------------------------


def test_a_file_that_exists_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is history; ``--new`` is for those that nobody has read yet."""
    monkeypatch.setattr(cases, "CASES", tmp_path)
    monkeypatch.setattr(record, "CASES", tmp_path)
    assert 0 == record.main(["sequence"])
    path = tmp_path / "sequence.json"
    good = path.read_text(encoding="utf-8")
    assert (CASES / "sequence.json").read_text(encoding="utf-8") == good

    path.write_text("{}", encoding="utf-8")
    assert 1 == record.main(["sequence"])
    assert "{}" == path.read_text(encoding="utf-8")
    assert "sequence: the file exists and says something else" in capsys.readouterr().err

    assert 0 == record.main(["sequence", "--new"])
    assert good == path.read_text(encoding="utf-8")


def test_a_scenario_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With where to write it."""
    with pytest.raises(SystemExit):
        record.main(["nonsense"])
    assert "no scenario nonsense; write it in scenarios.py" in capsys.readouterr().err


def changes(case: Json) -> list[tuple[str, Json]]:
    """A case with one thing changed, for each thing that is compared."""
    changed = []
    for key in SHOWN:
        other = json.loads(json.dumps(case))
        value = other[key]
        if isinstance(value, list):
            value.append([{"id": "x"}])
        else:
            other[key] = {"kind": "other"}
        changed.append((key, other))
    for place, entry in enumerate(case["commands"][0]):
        for field in entry:
            other = json.loads(json.dumps(case))
            other["commands"][0][place][field] = "other"
            changed.append((f"command {field}", other))
    return changed


@pytest.mark.parametrize("name", ["sequence", "child", "signal-in-time", "savepoint-state", "misfit-arguments"])
def test_the_comparison_sees_every_difference(name: str) -> None:
    """If it were blind, the tests above would always pass."""
    case = read(CASES / f"{name}.json")
    seen = play(case).seen

    assert expected(case) == seen
    assert [] == [what for what, other in changes(case) if expected(other) == seen]


@given(st.binary(max_size=60))
def test_any_bytes_come_back_from_a_file_as_they_were(payload: bytes) -> None:
    """As JSON, as text or as Base64."""
    assert payload == bytes_of("payload", json.loads(json.dumps(spelt("payload", payload))))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_value_comes_back_from_a_file_as_it_was(value: Any) -> None:
    """Canonically spelt."""
    payload = to_json(value)

    assert payload == bytes_of("payload", json.loads(text_of({"entry": spelt("payload", payload)}))["entry"])


def test_a_payload_that_is_no_json_is_base64() -> None:
    """And one that a reader of numbers would spoil is text."""
    assert {"payload_base64": "/w=="} == spelt("payload", b"\xff")
    assert {"payload_text": "9007199254740993"} == spelt("payload", b"9007199254740993")
    assert {"payload_text": " 1"} == spelt("payload", b" 1")
    assert {"payload": 1} == spelt("payload", b"1")
    assert {} == spelt("payload", b"")


def test_the_known_answers_of_the_page_are_those_of_the_code() -> None:
    """Whoever writes an interpreter reads them there."""
    rows = [line.strip("| ").split("|") for line in (CASES.parent / "README.md").read_text(encoding="utf-8").splitlines()]
    known = [[cell.strip(" `") for cell in row] for row in rows if len(row) == 6 and row[1].strip().isdigit()]
    assert 5 == len(known)
    for seed, base, path, number, expected_random, expected_uuid in known:
        drawn = []
        for draw in ("random", "uuid"):
            chance = Chance(seed)
            chance.rebase(int(base))
            for _ in range(int(number)):
                chance.random(path)
            drawn.append(str(getattr(chance, draw)(path)))
        assert [expected_random, expected_uuid] == drawn


def test_paths_of_fibers_are_unique_in_every_case() -> None:
    """No id is issued twice in one run: neither again when it has been answered, nor to another command."""
    for path in FILES:
        issued: dict[str, tuple[str, str, int]] = {}
        for before, now in itertools.pairwise([[], *read(path)["commands"]]):
            pending = {entry["id"] for entry in before}
            fresh = {entry["id"] for entry in now} - pending
            assert not fresh & issued.keys(), path.stem
            for entry in now:
                what = (entry["kind"], entry["name"], entry.get("check", 0))
                assert what == issued.setdefault(entry["id"], what), f"{path.stem}: {entry['id']}"
