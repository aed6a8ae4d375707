"""SIGKILL at random moments: the short version of ``python -m tests.faults.chaos --kills 500``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from replay import Client, Engine
from replay.model import events
from replay.model.events import Event
from replay.model.journal import Started
from replay.store.contract import NewRun, RunKey
from tests.faults import load
from tests.faults.chaos import Audit, Report, chaos, main
from tests.helpers.engines import PATIENCE

pytestmark = pytest.mark.faults


@pytest.mark.slow
def test_workers_may_be_killed_at_any_moment(url: str, log: Path) -> None:
    """No run is lost, no committed step is done again, no journal has a gap, nothing is booked or said twice."""
    report = chaos(url, log, kills=25, seed=20, workers=2, open_at_once=24)

    assert {"lost": [], "done_again": [], "gaps": [], "begun_twice": [], "misbooked": [], "misspoken": []} == report.violations
    assert report.executions > 0
    assert 25 == report.kills


@pytest.mark.slow
def test_workers_on_many_machines_may_be_killed_at_any_moment(shared_url: str, log: Path) -> None:
    """The same over a database, and over nothing but a bucket."""
    report = chaos(shared_url, log, kills=6, seed=20, workers=2, life=0.5, ttl=15, open_at_once=11)

    assert {"lost": [], "done_again": [], "gaps": [], "begun_twice": [], "misbooked": [], "misspoken": []} == report.violations
    assert report.executions > 0
    assert 6 == report.kills


def test_the_load_ends_well_when_nobody_is_killed(url: str, log: Path) -> None:
    """Its results are the right ones, and the audit has nothing to say."""
    chance = random.Random(5)
    load.prepare(url)
    errands = {errand.id: errand for errand in load.errands("a", chance, transactions=True)}
    with Engine(url, workflows=load.WORKFLOWS) as engine:
        handles = {handle.id: handle for handle in load.begin(engine, list(errands.values()))}
        untold = dict(errands)
        while untold:
            untold = {name: errand for name, errand in untold.items() if not errand.told(handles[name])}
        assert [errand.expected for errand in errands.values()] == [handle.result(PATIENCE) for handle in handles.values()]
        report = Report(seed=5)
        Audit(engine, report, load.executions(log)).of(errands)

    assert report.sound
    assert 0 == report.repeated
    assert (len(errands), "lost: 0") == (report.runs, str(report).splitlines()[3].strip())


def test_the_audit_sees_what_must_not_be(url: str, log: Path) -> None:
    """Each kind of violation is found: else all that silence would mean nothing."""
    load.prepare(url)
    errand = load.Errand("a", load.chaos_row(2), 1, words=2)
    done = (("a#0", 1, 100, 1), ("a#1", 1, 200, 1))
    with Client(url) as client:
        client.store.create([ended(load.chaos_row(2), "a", steps=2, word="chaos_work")])
        client.store.publish("default", [(load.TOPIC, b'["a",0]'), (load.TOPIC, b'["a",1]')])

        def found(*executions: tuple[str, int, int, int], expected: int = 1) -> Report:
            report = Report(seed=0)
            Audit(client, report, executions).of({"a": load.Errand("a", errand.call, expected, words=2)})
            return report

        assert found(*done).sound
        assert ["a is completed 1 instead of 2 []"] == found(*done, expected=2).lost
        assert "a#1 attempt 2 began 1 µs after its answer" in found(*done, ("a#1", 2, 1_002, 9)).done_again[0]
        assert 1 == found(*done, ("a#1", 1, 150, 9)).repeated

        client.store.publish("default", [(load.TOPIC, b'["a",1]')])
        assert ['["a", 1] 2 times'] == found(*done).misspoken
        client.store.create([ended(load.chaos_payments(1), "b", steps=1, word="chaos_once")])
        assert ["b#0 2 times"] == found(*done, ("b#0", 1, 1, 1), ("b#0", 1, 2, 2)).begun_twice
        client.store.create([ended(load.chaos_books(1), "c", steps=1, word="chaos_book")])
        assert ["c#0: 0 instead of 1"] == found(*done).misbooked


def ended(call: object, name: str, *, steps: int, word: str) -> NewRun:
    """A run whose journal was written by hand: step n was answered at moment 1,000 + n."""
    begin = Started(workflow=call.name, input=call.payload)  # type: ignore[attr-defined]  # a call
    journal = [Event(1, events.STARTED, "", begin.workflow, 1, begin.encode())]
    journal += [Event(2 + n, events.STEP_COMPLETED, str(n), word, 1_000 + n, str(n).encode()) for n in range(steps)]
    journal.append(Event(2 + steps, events.COMPLETED, "", begin.workflow, 2_000, b"1"))
    return NewRun(key=RunKey("default", name), workflow=begin.workflow, events=journal, status="completed", result=b"1")


def test_anyone_can_run_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a seed and a store of one's own; the exit code tells."""
    code = main(["--store", f"sqlite:///{tmp_path}/own.db", "--kills", "1", "--seed", "3", "--workers", "1", "--json"])

    assert 0 == code
    assert '"sound": true' in capsys.readouterr().out
