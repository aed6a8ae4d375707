"""Many child runs, some at a time, some of which fail: `python examples/batch.py`.

A workflow's call, yielded in another workflow, is a child run: it has an id, a journal and a result of its own, and any worker may
drive it. `gather` runs branches side by side, `limit` of them at a time; with `return_errors=True` a failure takes its place among the
results.
"""

from __future__ import annotations

import threading
import time

import replay
from replay import ChildFailed, Workflow, gather, set_tags, step, workflow

LIMIT = 4
busy = threading.Semaphore(LIMIT)  # the outside world, which complains when too many come at once


@step
def render(page: int) -> int:
    """Something slow."""
    if not busy.acquire(blocking=False):
        raise RuntimeError("too many at once")
    try:
        time.sleep(0.02)
        return 100 + page
    finally:
        busy.release()


@step
def check(page: int, size: int) -> None:
    if page % 7 == 0:
        raise ValueError(f"page {page} is blank in all its {size} bytes")


@workflow
def convert(page: int) -> Workflow[int]:
    size = yield from render(page)
    yield from check(page, size)
    return size


@workflow
def book(pages: int) -> Workflow[dict[str, int]]:
    yield from set_tags(kind="book")
    results = yield from gather(*(convert(page) for page in range(1, pages + 1)), limit=LIMIT, return_errors=True)
    failed = [result for result in results if isinstance(result, ChildFailed)]
    sizes = [result for result in results if isinstance(result, int)]
    return {"pages": len(results), "bytes": sum(sizes), "failed": len(failed)}


def main() -> None:
    with replay.Engine("memory://") as engine:
        done = engine.start(book(20), id="book-1").result()
        print("result:  ", done)
        print("children:", len(engine.find(parent="book-1").runs), "runs of their own, such as", end=" ")
        first = engine.find(parent="book-1", status="failed").runs[0]
        print(first.key.id, f"({first.status})")
        for event in engine.get(first.key.id).journal():
            print("         ", event)
        print("by tag:  ", [run.key.id for run in engine.find(tags={"kind": "book"}).runs])


if __name__ == "__main__":
    main()
