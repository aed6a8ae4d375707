"""``replay check``: find what makes a workflow differ from its replay, by reading its source and nothing else.

Rule 1: the checked code is parsed, never imported or run.
Rule 2: a table says which check looks at which kind of node; a check is a function from a node to reports.
Rule 3: what cannot be parsed is a finding (RPL000), so that a check never passes because it could not look.
Rule 4: a false alarm is worse than a miss: what is not certain is not reported.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from replay.lint import agreement, effects, memory, order, world
from replay.lint.files import module_paths, python_files
from replay.lint.findings import Finding, Report
from replay.lint.meaning import Foreign, Module
from replay.lint.neighbours import Neighbours, Sources, read_source
from replay.lint.regions import Code, Region, region_nodes
from replay.lint.rules import RULES, UNREADABLE
from replay.lint.suppression import allowed_in, is_allowed

Check = Callable[[Code, Any], Iterator[Report]]

_OF_FUNCTION: Final[tuple[Callable[[Code, Region], Iterator[Report]], ...]] = (agreement.not_a_generator,)
_OF_NODE: Final[Mapping[type[ast.AST], tuple[Check, ...]]] = {
    ast.Name: (world.named_in_the_world, world.taken_at_import, memory.used),
    ast.Attribute: (world.named_in_the_world, memory.written),
    ast.Subscript: (memory.written,),
    ast.Call: (order.iterated, effects.misused, effects.run_directly),
    ast.For: (order.iterated,),
    ast.Starred: (order.iterated,),
    ast.comprehension: (order.iterated, world.awaited),
    ast.Assign: (order.iterated, effects.kept_unread),
    ast.AnnAssign: (effects.kept_unread,),
    ast.Expr: (effects.dropped,),
    ast.Yield: (agreement.yields_no_effect,),
    ast.YieldFrom: (agreement.yields_no_effect,),
    ast.Try: (agreement.swallows,),
    ast.TryStar: (agreement.swallows,),
    ast.With: (agreement.suppresses, world.guarded),
    ast.Global: (memory.declared_global,),
    ast.AsyncFunctionDef: (world.defined_async,),
    ast.Await: (world.awaited,),
    ast.AsyncFor: (world.awaited,),
    ast.AsyncWith: (world.awaited,),
}

_WORDS: Final = ("replay", "workflow", "Workflow", "yield")
"""A file with none of these has no workflow, and is only parsed."""


def check_source(text: str, filename: str) -> list[Finding]:
    """Check one source text by itself; other files are not read.

    Args:
        text: Python source.
        filename: What to call it in findings.

    Returns:
        The findings in order of their place; empty when nothing is wrong.
    """
    return _check(text, filename, Foreign())


def check_paths(paths: Iterable[Path]) -> list[Finding]:
    """Check files, and all ``.py`` files below folders; imports between them are followed by reading.

    A file that is missing or cannot be read is a finding, RPL000.
    """
    sources = Sources()
    return sorted(finding for path in python_files(paths) for finding in _check_file(path, sources))


def check_module(name: str) -> list[Finding]:
    """Check a module, or all modules of a package, by its dotted name, without importing it.

    Raises:
        InvalidRequest: No such module can be found, or it has no Python source.
    """
    return check_paths(module_paths(name))


def _check_file(path: Path, sources: Sources) -> list[Finding]:
    try:
        text = read_source(path)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return [_unreadable(str(path), f"cannot be read: {error}")]
    return _check(text, str(path), Neighbours.of(path, sources))


def _check(text: str, filename: str, foreign: Foreign) -> list[Finding]:
    text = text.removeprefix("\ufeff")
    try:
        if not any(word in text for word in _WORDS):
            ast.parse(text, filename)
            return []
        module = Module.of(text, filename, foreign)
        allowed = allowed_in(text)
    except SyntaxError as error:
        return [_unreadable(filename, f"is not Python: {error.msg}", error.lineno or 1, error.offset or 1)]
    except (ValueError, RecursionError, MemoryError) as error:
        return [_unreadable(filename, f"cannot be parsed: {error}")]
    code = Code.of(module)
    found: dict[tuple[int, int, str], Finding] = {}
    for region in code.regions:
        for report in _reports(code, region):
            place = (report.node.lineno, report.node.col_offset, report.code)
            if place not in found and not is_allowed(report, allowed):
                found[place] = _finding(filename, region, report)
    return sorted(found.values())


def _reports(code: Code, region: Region) -> Iterator[Report]:
    for look in _OF_FUNCTION:
        yield from look(code, region)
    for node in [region.node, *region_nodes(code.module, region.node)]:
        for check in _OF_NODE.get(type(node), ()):
            yield from check(code, node)


def _finding(filename: str, region: Region, report: Report) -> Finding:
    rule = report.rule
    around = f", in `{region.helper}`, which workflow `{region.workflow}` reaches" if region.helper else ""
    return Finding(
        path=filename,
        line=report.node.lineno,
        column=report.node.col_offset + 1,
        code=rule.code,
        rule=rule.name,
        message=report.message + around,
        advice=report.advice or rule.advice,
        function=region.workflow,
    )


def _unreadable(filename: str, problem: str, line: int = 1, column: int = 1) -> Finding:
    rule = RULES[UNREADABLE]
    return Finding(filename, line, column, rule.code, rule.name, f"the file {problem}", rule.advice)
