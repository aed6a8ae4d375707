"""The other process of ``check_determinism``: a job comes in on standard input, what the code does goes out on standard output.

Run as ``python -m replay.testing.probe``. What is imported is the module of a workflow that the asking process has imported itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any

import attrs

from replay.client.transfer import read_journal
from replay.client.travel import spec_for
from replay.testing.conditions import another_chance, another_hour, namespaces_of
from replay.testing.transcripts import transcribe

CHANCE = 11
"""Seed of this process's state of chance."""


def load(name: str, file: str | None) -> None:
    """Import a workflow's module by its name, or, where that is not on the path, from its file."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        found = importlib.util.spec_from_file_location(name, file) if file else None
        if found is None or found.loader is None:
            raise
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        found.loader.exec_module(module)


def main() -> None:
    """Do one job."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what a module prints when it is imported is no answer
    job: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = job["path"]
    load(job["module"], job["file"])
    spec = spec_for(job["workflow"], job["version"])
    _, journal = read_journal(job["journal"])
    transcribe(spec, job["run"], journal)  # so that every annotation has been read while names mean what they mean
    with another_hour(namespaces_of(spec), job["shift"]), another_chance(CHANCE):
        entries = transcribe(spec, job["run"], journal)
    json.dump([attrs.asdict(entry) for entry in entries], answer)


if __name__ == "__main__":
    main()
