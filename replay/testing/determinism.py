"""Is a workflow's code pure? Drive one journal twice under other circumstances, and compare what it asks for and says.

Rule 1: circumstances are what code must not depend on: the hour, the state of chance, and the order of sets, which Python shuffles
from process to process.
Rule 2: the journal is the same for all, so whatever differs comes from the code.
Rule 3: other hash seeds need other processes, and those need a workflow that can be imported by its module's name or file. One that
is defined inside a function is driven in this process only; the report says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import attrs

from replay.authoring.definitions import WORKFLOWS
from replay.client.transfer import write_journal
from replay.errors import InvalidRequest, WorkflowError
from replay.model.effects import Call, WorkflowSpec
from replay.model.events import Event
from replay.store.contract import Run
from replay.testing.conditions import SHIFT, another_chance, another_hour, namespaces_of
from replay.testing.problems import CheckFailed, StillWaiting
from replay.testing.script import Prepare, Script, Signals, Stubs
from replay.testing.transcripts import Entry, first_difference, transcribe
from replay.testing.world import World

HASH_SEEDS: Final = (1, 2, 3)
"""Hash seeds that other processes use. Two of them may agree about a small set, three seldom."""
PATIENCE: Final = 60
"""Seconds that such a process may take."""
ELSEWHERE: Final = 7
"""Seed of the other state of chance."""


@attrs.frozen(kw_only=True)
class DeterminismReport:
    """What was compared.

    Attributes:
        run: The run's id.
        events: Length of its journal.
        circumstances: Under which it was driven.
        hash_seeds: Hash seeds of other processes among them; none when the workflow cannot be imported there.
    """

    run: str
    events: int
    circumstances: tuple[str, ...]
    hash_seeds: tuple[int, ...]


def check_determinism(
    call: Call[Any],
    *,
    id: str = "run",
    stubs: Stubs | None = None,
    signals: Signals = (),
    prepare: Prepare | None = None,
    hash_seeds: Sequence[int] = HASH_SEEDS,
    **options: Any,
) -> DeterminismReport:
    """Run a workflow once, then drive its journal under other clocks, states of chance and hash seeds, and compare.

    Args:
        call: A call of a workflow, such as ``order(cart)``.
        id: The run's id.
        stubs: What stands in for steps.
        signals: What is sent to it: values by name, or (name, value, seconds after the start). A run that does not end is compared as
            far as it came.
        prepare: Called with the world before the run is started.
        hash_seeds: For each one a process of its own; none to stay in this one.
        **options: Of ``World``.

    Raises:
        CheckFailed: What the code asks for or says differs; the error shows both sides.
        InvalidRequest: The workflow's module cannot be imported in another process.
    """
    script = Script(call=call, id=id, stubs=stubs or {}, signals=signals, prepare=prepare)
    run, journal = record(script, options)
    spec = call.spec
    measure = transcribe(spec, id, journal)
    seen: list[tuple[str, list[Entry]]] = []
    with another_hour(namespaces_of(spec), SHIFT), another_chance(ELSEWHERE):
        seen.append(("at another hour, with other luck", transcribe(spec, id, journal)))
    importable = WORKFLOWS.get((spec.name, spec.version)) is spec and _module(spec) not in {"", "__main__"}
    seeds = tuple(hash_seeds) if importable else ()
    others = _elsewhere(spec, run, journal, seeds)
    seen += [(f"under hash seed {seed}", entries) for seed, entries in zip(seeds, others, strict=True)]
    problems = [text for name, entries in seen if (text := first_difference(measure, entries, ("here", name)))]
    if measure and measure[-1].ended.startswith("in an error"):
        problems.insert(0, f"driven once more, it does not fit its own journal: {measure[-1].ended}")
    if problems:
        raise CheckFailed(f"determinism of {spec.name}", tuple(problems))
    return DeterminismReport(run=id, events=len(journal), circumstances=tuple(name for name, _ in seen), hash_seeds=seeds)


def record(script: Script, options: dict[str, Any]) -> tuple[Run, list[Event]]:
    """Play a script in a world of its own; the run and its journal, as far as it came."""
    with World(**options) as world:
        handle = script.begin(world)
        try:
            world.ending(handle.key)
        except StillWaiting:
            pass
        except WorkflowError as error:
            raise CheckFailed("the run itself", (str(error),)) from error
        return handle.about(), handle.journal()


def _module(spec: WorkflowSpec) -> str:
    return str(getattr(getattr(spec, "fn", None), "__module__", ""))


def _elsewhere(spec: WorkflowSpec, run: Run, journal: list[Event], seeds: Sequence[int]) -> list[list[Entry]]:
    """What the code does in other processes, all at once."""
    if not seeds:
        return []
    module = sys.modules.get(_module(spec))
    job = json.dumps(
        {
            "module": _module(spec),
            "file": getattr(module, "__file__", None),
            "path": [entry or os.getcwd() for entry in sys.path],  # noqa: PTH109 - as the path has it
            "workflow": spec.name,
            "version": spec.version,
            "run": run.key.id,
            "journal": list(write_journal(run, journal)),
            "shift": SHIFT,
        }
    )
    processes = [_start(seed) for seed in seeds]
    return [_finish(process, job, spec, seed) for process, seed in zip(processes, seeds, strict=True)]


def _start(seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "replay.testing.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
    )


def _finish(process: subprocess.Popen[str], job: str, spec: WorkflowSpec, seed: int) -> list[Entry]:
    try:
        answer, complaint = process.communicate(job, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        answer, complaint = process.communicate()
        complaint = f"{complaint}\nit took more than {PATIENCE} s"
    if process.returncode:
        problem = f"a process with hash seed {seed} could not drive it: {complaint.strip()[-1_000:]}"
        raise InvalidRequest(f"workflow {spec.name}", problem, "make its module importable, or pass hash_seeds=()")
    return [
        Entry(data["event"], tuple(data["asked"]), tuple(data["withdrawn"]), tuple(data["said"]), data["ended"], data["line"])
        for data in json.loads(answer)
    ]
