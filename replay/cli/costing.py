"""``costs``: what runs have spent on language models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from replay.cli import completing, options
from replay.cli.layout import Cells, laid_out
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.text import count, plain
from replay.errors import InvalidRequest

if TYPE_CHECKING:
    from replay.client.costs import RunCosts
    from replay.llm.costs import Costs
    from replay.model.budgets import Spent

LEFT_OUT: Final = ("status", "workflow", "calls")
"""Columns that go when there is too little room."""


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=completing.runs)
@click.option("--tree", is_flag=True, help="With their children, and theirs.")
@click.option("--by-model", is_flag=True, help="One row for each model instead of each run.")
@click.option("--workflow", metavar="NAME", shell_complete=completing.workflows, help="Without ids: runs of this workflow.")
@click.option("--tag", multiple=True, type=options.pair, metavar="KEY=VALUE", help="Without ids: runs with this tag.")
@options.shared
@pass_scene
def costs(scene: Scene, /, ids: Sequence[str], tree: bool, by_model: bool, workflow: str | None, tag: Any) -> None:  # noqa: FBT001 - click passes them by name
    """What runs have spent on language models: calls, tokens, dollars.

    Without an id, all runs of the namespace that spent something. A cost that is not known is not counted as 0: the calls
    without a price are told beside the sum.
    """
    from replay.client.costs import costs_of_many, costs_of_run, costs_of_tree
    from replay.llm.costs import Costs

    if ids and (workflow or tag):
        raise InvalidRequest("costs", "it was given ids and a filter", "give it one of them")
    if tree and not ids:
        raise InvalidRequest("--tree", "it needs the id of a run", "without ids, children are rows of their own anyway")
    with scene.client() as client:
        found: Iterable[RunCosts]
        if not ids:
            found = costs_of_many(client, workflow=workflow, tags=dict(tag) or None)
        elif tree:
            found = (part for one in ids for part in costs_of_tree(client, one))
        else:
            found = (costs_of_run(client, one) for one in ids)
        listed = list(found)
    whole = sum((part.costs for part in listed), Costs())
    if scene.as_json:
        scene.document(
            {
                "runs": [_run_facts(part) for part in listed],
                "models": {model: spent_facts(spent) for model, spent in whole.models.items()},
                "total": spent_facts(whole.total),
            }
        )
        return
    rows = list(whole.models.items()) if by_model else [(part.run.key.id, part.costs.total) for part in listed]
    if not rows:
        scene.note("no call of a language model")
        return
    scene.screen.draw(_table(listed, rows, whole, by_model=by_model, width=scene.screen.width))


def _run_facts(part: RunCosts) -> dict[str, Any]:
    run = part.run
    return {
        "id": run.key.id,
        "parent": run.parent or None,
        "workflow": run.workflow,
        "status": run.status,
        **spent_facts(part.costs.total),
        "models": {model: spent_facts(spent) for model, spent in part.costs.models.items()},
    }


def spent_facts(spent: Spent) -> dict[str, Any]:
    """What was spent, for programs; ``usd`` is null when no call had a price."""
    known = spent.calls > spent.unpriced or not spent.unpriced
    return {"calls": spent.calls, "tokens": spent.tokens, "usd": spent.usd if known else None, "unpriced_calls": spent.unpriced}


def _table(listed: Sequence[RunCosts], rows: Sequence[tuple[str, Spent]], whole: Costs, *, by_model: bool, width: int) -> Any:
    spent = [*[row[1] for row in rows], whole.total]
    names = [row[0] if by_model else f"{'  ' * part.depth}{row[0]}" for row, part in zip(rows, listed, strict=False)]
    names = [name for name, _ in rows] if by_model else names
    columns = [
        Cells("model" if by_model else "run", [*map(plain, names), "all"], most=max(24, width // 2)),
        Cells("workflow", [] if by_model else [*[plain(part.run.workflow) for part in listed], ""], most=32),
        Cells("status", [] if by_model else [*[part.run.status for part in listed], ""]),
        Cells("calls", [f"{one.calls:,}" for one in spent], "right"),
        Cells("tokens", [f"{one.tokens:,}" for one in spent], "right"),
        Cells("usd", [dollars(one) for one in spent], "right"),
    ]
    return laid_out(columns, width, LEFT_OUT)[0]


def dollars(spent: Spent) -> str:
    """A cost, for people; what is not known is said."""
    if not spent.unpriced:
        return f"{spent.usd:,.6f}".rstrip("0").rstrip(".") or "0"
    if spent.unpriced >= spent.calls:
        return "unknown"
    return f"{spent.usd:,.6f} and {count(spent.unpriced, 'call')} without a price"
