"""A false alarm costs the linter its readers: good workflows give no finding."""

from __future__ import annotations

import ast

import pytest

from replay.lint import check_source
from tests.lint.good_python import PLAIN
from tests.lint.good_workflows import EFFECTFUL, PRELUDE

GOOD = {**EFFECTFUL, **PLAIN}
FOREIGN = "other people's workflows"
ALONE = {FOREIGN, "annotated as what Workflow stands for", "allowed by a comment"}


@pytest.mark.parametrize("idiom", GOOD)
def test_a_good_workflow_gives_no_finding(idiom: str) -> None:
    """What the design shows and people write is clean."""
    assert [] == [str(finding) for finding in check_source(PRELUDE + GOOD[idiom], f"{idiom}.py")]


@pytest.mark.parametrize("idiom", [idiom for idiom in GOOD if idiom not in ALONE])
def test_a_good_workflow_is_silent_because_it_is_good(idiom: str) -> None:
    """The same text, with one impure line in each workflow, has a finding in each: the silence is not blindness."""
    tree = ast.parse(PRELUDE + GOOD[idiom])
    workflows = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and is_workflow(node)]
    for node in workflows:
        node.body = [*ast.parse("import os as machine\nmachine.getpid()").body, *node.body]
    found = [finding for finding in check_source(ast.unparse(tree), idiom) if finding.code == "RPL103"]

    assert len(workflows) == len(found) > 0


def is_workflow(node: ast.FunctionDef) -> bool:
    """Whether it is decorated, or is the one that the corpus makes a workflow by assignment."""
    names = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
    return bool(names & {"workflow", "wf", "r.workflow"}) or node.name == "_order"
