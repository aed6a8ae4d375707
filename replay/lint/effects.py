"""Checks 301 and 305: effects that are built and never yielded, and steps run past the journal.

Rule 1: an effect that is dropped, or kept under a name that nobody reads, never happens.
Rule 2: an effect that is used as if it were its result (compared, tested, formatted, looked into) was not yielded.
Rule 3: an effect that is passed on, stored or returned to a caller may be yielded there; it is innocent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from replay.lint import rules
from replay.lint.findings import Report, shown
from replay.lint.meaning import Callee, Module, Role, values_in
from replay.lint.regions import Code
from replay.lint.scopes import FUNCTIONS, Bound

_CONVERSIONS: Final = frozenset(
    f"builtins.{name}" for name in "str int float bool len repr round abs bytes list tuple dict set sorted sum".split()
)
_MEMBERS: Final = frozenset({"options", "name", "check"})
"""What an effect itself has; any other attribute is its result's."""
_NEUTRAL: Final = (ast.Is, ast.IsNot, ast.In, ast.NotIn)


def dropped(code: Code, node: ast.Expr) -> Iterator[Report]:
    """``sleep(5)`` as a statement."""
    for place, built in _built(code, node.value):
        yield _report(place, f"`{shown(place)}` builds {_called(built)} and drops it")


def kept_unread(code: Code, node: ast.Assign | ast.AnnAssign) -> Iterator[Report]:
    """``pause = sleep(5)`` where nobody reads ``pause``, or only as if it were the result."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    target = targets[0]
    if len(targets) != 1 or not isinstance(target, ast.Name) or node.value is None:
        return
    module = code.module
    owner = module.names.scope_of[target].find(target.id)
    if owner is None or isinstance(owner.node, ast.Module | ast.ClassDef) or target.id in owner.borrowed:
        return
    uses = module.names.uses.get((owner, target.id), [])
    alone = sum(binding.how is not Bound.CHANGED for binding in owner.names[target.id]) == 1
    misused = bool(uses) and alone and module.effect(node.value) and all(_misuse(module, use) for use in uses)
    for place, built in _built(code, node.value) if not uses or misused else ():
        what = f"uses `{target.id}` as if it were the result" if uses else f"never yields `{target.id}`"
        yield _report(place, f"`{shown(place)}` builds {_called(built)}, and the workflow {what}")


def misused(code: Code, node: ast.Call) -> Iterator[Report]:
    """``if patched(...):``, ``now() > deadline``, ``charge(card).id``, ``return ship(...)`` of a workflow."""
    built = code.module.effect(node)
    if built is None:
        return
    if how := _misuse(code.module, node):
        yield _report(node, f"`{shown(node)}` builds {_called(built)}, which {how} as if it were its result")
    elif _is_returned_by_workflow(code, node):
        yield _report(
            node,
            f"`return {shown(node)}` makes {_called(built)} itself the workflow's result",
            "write `return (yield from ...)`",
        )


def run_directly(code: Code, node: ast.Call) -> Iterator[Report]:
    """``charge.fn(...)``."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "fn":
        return
    step = node.func.value
    called = code.module.callee(step)
    binding = code.module.binding(step) if isinstance(step, ast.Name) else None
    imported = binding is not None and binding.how is Bound.IMPORT
    if (called is not None and called.role in {Role.STEP, Role.WORKFLOW}) or imported:
        yield Report(rules.RUN_DIRECTLY, node, f"`{shown(node)}` runs the plain function past the journal")


def _report(node: ast.expr, message: str, advice: str = "") -> Report:
    return Report(rules.NOT_YIELDED, node, message, advice)


def _called(built: Callee) -> str:
    return {
        Role.STEP: f"the step `{built.name}`",
        Role.WORKFLOW: f"the child workflow `{built.name}`",
        Role.GENERATOR: f"the generator `{built.name}`",
    }.get(built.role, f"the effect `{built.name}`")


def _built(code: Code, node: ast.expr) -> Iterator[tuple[ast.expr, Callee]]:
    """The effects, and generators of effects, that are or stand in a value."""
    for part in values_in(node):
        if (built := code.module.effect(part) or _generator(code, part)) is not None:
            yield part, built


def _generator(code: Code, node: ast.expr) -> Callee | None:
    called = code.module.callee(node.func) if isinstance(node, ast.Call) else None
    if called is None or called.role is not Role.GENERATOR:
        return None
    return called if called.node is None or called.node in code.driven else None


def _misuse(module: Module, node: ast.expr) -> str:
    """How an expression is used that only a result can be, or empty."""
    parent = module.names.parent_of.get(node)
    match parent:
        case ast.Attribute() if parent.attr not in _MEMBERS and not parent.attr.startswith("_"):
            return f"is asked for `.{parent.attr}`"
        case ast.Subscript() if parent.value is node:
            return "is looked into"
        case ast.Compare() if not any(isinstance(operator, _NEUTRAL) for operator in parent.ops):
            return "is compared"
        case ast.BinOp():
            return "is calculated with"
        case ast.FormattedValue():
            return "is formatted"
        case ast.For() | ast.comprehension() if parent.iter is node:
            return "is iterated over"
        case ast.Call() if node in parent.args and module.dotted(parent.func) in _CONVERSIONS:
            return "is converted"
    return "is tested" if parent is not None and _is_tested(module, node, parent) else ""


def _is_tested(module: Module, node: ast.expr, parent: ast.AST) -> bool:
    if isinstance(parent, ast.UnaryOp):
        return isinstance(parent.op, ast.Not)
    if isinstance(parent, ast.BoolOp):
        around = module.names.parent_of.get(parent)
        return around is not None and _is_tested(module, parent, around)
    return isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert) and parent.test is node


def _is_returned_by_workflow(code: Code, node: ast.Call) -> bool:
    parent = code.module.names.parent_of.get(node)
    around = (part for part in code.module.names.parents(node) if isinstance(part, (*FUNCTIONS, ast.Lambda)))
    function = next(around, None)
    in_workflow = isinstance(function, FUNCTIONS) and code.module.role(function) is Role.WORKFLOW
    return in_workflow and isinstance(parent, ast.Return) and function in code.module.names.yields
