"""What runs of a store have spent: one with its earlier journals, a tree of them, or many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from replay.client.client import Client
from replay.errors import UnknownRun
from replay.llm.costs import Costs, costs_of
from replay.store.contract import Run, RunKey

PAGE: Final = 500
"""Runs that are asked for at once."""


@attrs.frozen
class RunCosts:
    """What one run has spent.

    Attributes:
        run: The run.
        depth: How many parents it has within what was asked for.
        costs: What it spent itself, its children not counted.
    """

    run: Run
    depth: int
    costs: Costs


def costs_of_run(client: Client, id: str) -> RunCosts:
    """What a run has spent, in all the journals under its id.

    Raises:
        UnknownRun: There is none.
    """
    key = RunKey(client.namespace, id)
    (run,) = client.store.get([key])
    if run is None:
        raise UnknownRun(id, client.namespace)
    earlier = re.compile(re.escape(id) + r"~\d+")
    chain = [one.key for one in _pages(client, prefix=f"{id}~") if earlier.fullmatch(one.key.id)]
    costs = sum((costs_of(client.store.journal(one)) for one in [*chain, key]), Costs())
    return RunCosts(run, 0, costs)


def costs_of_tree(client: Client, id: str) -> Iterator[RunCosts]:
    """What a run has spent, and then each of its children, theirs, and so on; parents before children."""
    waiting = [costs_of_run(client, id)]
    while waiting:
        found = waiting.pop()
        yield found
        children = _pages(client, parent=found.run.key.id)
        waiting += [attrs.evolve(costs_of_run(client, child.key.id), depth=found.depth + 1) for child in children]


def costs_of_many(client: Client, *, workflow: str | None = None, tags: dict[str, str] | None = None) -> Iterator[RunCosts]:
    """What the runs of a namespace have spent, newest first, those that spent nothing left out."""
    for run in _pages(client, workflow=workflow, tags=tags):
        costs = costs_of(client.store.journal(run.key))
        if costs.models:
            yield RunCosts(run, 0, costs)


def _pages(
    client: Client,
    *,
    workflow: str | None = None,
    tags: dict[str, str] | None = None,
    prefix: str | None = None,
    parent: str | None = None,
) -> Iterator[Run]:
    cursor = ""
    while True:
        page = client.find(workflow=workflow, tags=tags, prefix=prefix, parent=parent, limit=PAGE, cursor=cursor)
        yield from page.runs
        cursor = page.cursor
        if not cursor:
            return
