"""A long loop that recovers in the time of one turn: `python examples/etl.py`.

A flaky source is read page by page: each read is tried again with growing pauses. After each page `savepoint(state=…)` says all that
the workflow needs in order to go on. After a crash it is not driven over its whole journal, but called with that state. The program
kills itself twice on the way, to show it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

import replay
from replay import Retry, Workflow, savepoint, step, step_info, workflow

PAGES = 60


@attrs.frozen
class Progress:
    """All that must be known to go on."""

    page: int = 0
    rows: int = 0
    checksum: int = 0


class SourceBusy(Exception):
    """Try again in a moment."""


@step(retry=Retry(max_attempts=5, initial=0.002, max_delay=0.02, retry_on=(SourceBusy,)))
def read_page(page: int) -> list[int]:
    if page % 10 == 3 and step_info().attempt < 3:
        raise SourceBusy(f"page {page}, attempt {step_info().attempt}")
    with Path("reads.txt").open("a", encoding="utf-8") as reads:
        reads.write(f"{page}\n")
    if page in {20, 40} and not Path(f"died-{page}").exists():
        Path(f"died-{page}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [page * 100 + row for row in range(50)]


@workflow
def load(pages: int, state: Progress | None = None) -> Workflow[Progress]:
    """Begun for the first time, it has no state; begun again after a crash, it has that of its last savepoint."""
    done = state or Progress()
    if state:
        print(f"  going on after page {done.page - 1}, with {done.rows} rows", flush=True)
    while done.page < pages:
        rows = yield from read_page(done.page)
        done = Progress(page=done.page + 1, rows=done.rows + len(rows), checksum=(done.checksum * 31 + sum(rows)) % 1_000_003)
        yield from savepoint(f"page {done.page - 1}", state=done, next_step=f"read page {done.page}")
    return done


def live() -> None:
    """One life of the program."""
    with replay.Engine("sqlite:///etl.db") as engine:
        run = engine.start(load(PAGES), id="load-1")
        print(f"  {run.result()}")
        tried = [event for event in run.journal() if event.kind == "step_attempt_failed"]
        print(f"  {len(run.journal())} events, {len(run.savepoints())} savepoints, {len(tried)} failed attempts, such as {tried[0]}")


if __name__ == "__main__":
    if sys.argv[1:] == ["live"]:
        live()
    else:
        with tempfile.TemporaryDirectory() as folder:
            for life in (1, 2, 3):
                print(f"life {life}:", flush=True)
                subprocess.run([sys.executable, Path(__file__).resolve(), "live"], cwd=folder, check=False)
            reads = (Path(folder) / "reads.txt").read_text(encoding="utf-8").split()
        again = len(reads) - len(set(reads))
        print(f"{len(set(reads))} pages read, {again} of them twice: those that were under way when the process was killed")
        sys.exit((len(set(reads)), again) != (PAGES, 2))
