"""What a finding says, and what the linter promises about itself."""

from __future__ import annotations

import argparse
import ast
import asyncio.tasks
import dataclasses
import json
import re
import textwrap
from pathlib import Path
from types import ModuleType

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import replay.authoring
from replay.lint import RULES, Finding, check_source
from replay.lint.meaning import EFFECTS, PATTERNS

HEAD = "import time\nfrom replay import sleep, step, workflow\n"


def only(body: str) -> Finding:
    """The one finding in a text."""
    (finding,) = check_source(HEAD + textwrap.dedent(body), "shop/flow.py")
    return finding


def test_a_finding_says_where_what_and_what_instead() -> None:
    """Everything that a person or an editor needs."""
    expected = Finding(
        path="shop/flow.py",
        line=5,
        column=11,
        code="RPL101",
        rule="clock",
        message="`time.time()` reads the machine's clock",
        advice="write `yield from now()`: the workflow's own clock",
        function="order",
    )

    assert expected == only("@workflow\ndef order():\n    yield time.time()\n")


def test_a_finding_reads_as_a_place_and_an_advice() -> None:
    """The first line is one that editors can jump by."""
    text = str(only("@workflow\ndef order():\n    yield time.time()\n"))

    assert "shop/flow.py:5:11: RPL101 clock: `time.time()` reads the machine's clock [order]" == text.splitlines()[0]
    assert text.endswith("\n    write `yield from now()`: the workflow's own clock")


def test_a_finding_is_data() -> None:
    """It survives a trip through JSON."""
    finding = only("@workflow\ndef order():\n    yield time.time()\n")

    assert finding == Finding(**json.loads(json.dumps(finding.as_dict())))


def test_a_finding_in_a_helper_names_the_workflow_that_reaches_it() -> None:
    """Whoever reads it asks why a plain function is workflow code."""
    finding = only(
        """
        class Shop:
            @workflow
            def order(self):
                yield sleep(price())
        def price():
            return stamp()
        def stamp():
            return time.time()
        """
    )

    assert ("Shop.order", 11) == (finding.function, finding.line)
    assert finding.message.endswith(", in `stamp`, which workflow `Shop.order` reaches")


def test_a_helper_of_two_workflows_is_reported_once() -> None:
    """One mistake is one finding."""
    finding = only(
        """
        def stamp():
            return time.time()
        @workflow
        def one():
            yield sleep(stamp())
        @workflow
        def two():
            yield sleep(stamp())
        """
    )

    assert "one" == finding.function


def test_findings_come_in_the_order_of_their_places() -> None:
    """As they are read, not as they were found."""
    helper = "def late():\n    return time.time()\n"
    body = f"{helper}@workflow\ndef order():\n    yield sleep(late())\n    time.sleep(1)\n    sleep(1)\n"

    assert [4, 8, 9] == [finding.line for finding in check_source(HEAD + body, "x.py")]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_rule_can_be_shown_in_the_docs(rule: object) -> None:
    """Code, name, a reason that is one sentence, and an advice."""
    code, name, reason, advice = attrs.astuple(rule)  # type: ignore[arg-type]  # a rule is an attrs class

    assert re.fullmatch(r"RPL\d{3}", code)
    assert re.fullmatch(r"[a-z-]+", name)
    assert reason.endswith(".")
    assert "\n" not in reason
    assert advice
    assert not advice.endswith(".")


def test_rules_are_in_order_and_their_names_are_their_own() -> None:
    """A name may stand in a comment instead of a code, so it means one rule."""
    assert sorted(RULES) == list(RULES)
    assert len(RULES) == len({rule.name for rule in RULES.values()})


def test_every_effect_that_replay_offers_is_known_to_the_linter() -> None:
    """An effect that the linter does not know could be dropped in silence."""
    room = Path(next(iter(replay.authoring.__path__)))
    functions = [
        node
        for path in sorted(room.glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.returns is not None and not node.name.startswith("_")
    ]
    effects = {node.name for node in functions if ast.unparse(node.returns or node).startswith("Effect[")}
    patterns = {node.name for node in functions if ast.unparse(node.returns or node).startswith("Generator[Effect[")}

    assert len(effects) > 15
    assert set() == effects - EFFECTS
    assert set() == patterns - PATTERNS


# ---- it never breaks, and what it says does not depend on what stands around


@pytest.mark.parametrize("module", [argparse, dataclasses, asyncio.tasks, ast], ids=lambda module: module.__name__)
def test_every_construct_of_the_language_can_be_checked(module: ModuleType) -> None:
    """Real modules of which every function is made a workflow: no construct stops the linter."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in functions:
        node.decorator_list.append(ast.Name("workflow", ast.Load()))
    found = check_source("from replay import workflow\n" + ast.unparse(tree), module.__name__)

    assert "RPL302" in {finding.code for finding in found}
    assert "RPL000" not in {finding.code for finding in found}


@given(st.text())
def test_no_text_stops_the_linter(text: str) -> None:
    """Whatever is in a file, the answer is findings."""
    assert all(finding.code in RULES for finding in check_source("# replay: allow[\n" + text, "any.py"))


CHOICES = st.sampled_from(
    ["time.time()", "sleep(1)", "yield sleep(1)", "yield", "x = sleep(1)", "x = {1}", "list(x)", "return x", "global y",
     "y.append(x)", "def f(): yield x", "f()", "yield from f()", "del x", "x += 1", "import time", "from replay import *",
     "class C: x: set[int] = {1}", "lambda: (yield)", "x = x", "time = time.time", "f = f", "@f\ndef f(): pass",
     "sleep = sleep(1)", "nonlocal y", "with x as x: yield", "x, *y = f(), x", "[x := y for y in x]", "yield f", "f.fn(x)"]
)  # fmt: skip


@example(["x = x"] * 12)
@example(["x = x | y", "y = x or y", "x = y if y else x"] * 8)
@given(st.lists(CHOICES, min_size=1, max_size=12))
def test_names_that_lead_to_themselves_end(lines: list[str]) -> None:
    """Circles of aliases, types and decorators are followed a few steps and given up."""
    body = textwrap.indent("\n".join(lines), "    ")
    text = f"{HEAD}y = []\n@workflow\ndef order(x):\n{body}\nx = y\ny = x\n"

    assert all(finding.code != "RPL000" for finding in check_source(text, "any.py"))
