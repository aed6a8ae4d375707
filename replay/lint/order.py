"""Check 201: the order of a set, taken into the order of the workflow.

Rule 1: a set may be asked, compared, combined and sorted; only what goes through it one by one takes its order.
Rule 2: what forgets the order again (``sorted``, ``sum``, ``any``, another set) is innocent.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from replay.lint import rules
from replay.lint.catalog import SET
from replay.lint.findings import Report, shown
from replay.lint.inference import class_of
from replay.lint.meaning import Module
from replay.lint.regions import Code
from replay.lint.scopes import FUNCTIONS

_ITERATING: Final = frozenset(
    [f"builtins.{name}" for name in "list tuple iter enumerate zip map filter reversed".split()]
    + ["builtins.dict.fromkeys", "functools.reduce", "collections.deque", "collections.OrderedDict.fromkeys"]
)
_FORGETTING: Final = frozenset(f"builtins.{name}" for name in "sorted len sum min max any all set frozenset".split())
_PASSING: Final = frozenset(f"builtins.{name}" for name in "list tuple map filter iter".split())
_TAKING: Final = frozenset({"join", "extend"})  # methods that go through their argument


def iterated(code: Code, node: ast.AST) -> Iterator[Report]:
    """A set that is gone through one by one."""
    for part in _ITERABLES[type(node)](code.module, node):
        if class_of(code.module, part) == SET and not _is_forgotten(code.module, node):
            yield Report(rules.SET_ORDER, part, f"`{shown(part)}` is a set: its order differs from process to process")


def _of_call(module: Module, node: ast.Call) -> Iterator[ast.expr]:
    name = module.dotted(node.func)
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in _ITERATING or name.startswith("itertools.") or method in _TAKING:
        yield from node.args
    elif isinstance(node.func, ast.Attribute) and method == "pop" and not node.args:
        yield node.func.value


def _of_unpacking(_module: Module, node: ast.Assign) -> Iterator[ast.expr]:
    # `one, = found` takes the only one there is, or raises
    if any(isinstance(target, ast.Tuple | ast.List) and len(target.elts) > 1 for target in node.targets):
        yield node.value


_ITERABLES: Final[Mapping[type[ast.AST], Callable[[Module, Any], Iterator[ast.expr]]]] = {
    ast.For: lambda _module, node: iter([node.iter]),
    ast.comprehension: lambda _module, node: iter([node.iter]),
    ast.Starred: lambda _module, node: iter([node.value] if isinstance(node.ctx, ast.Load) else []),
    ast.Call: _of_call,
    ast.Assign: _of_unpacking,
}
NODES: Final = tuple(_ITERABLES)


def _is_forgotten(module: Module, node: ast.AST) -> bool:
    """Whether what goes through the set gives its order to something that forgets it."""
    parent = module.names.parent_of.get(node)
    if isinstance(node, ast.comprehension):
        return isinstance(parent, ast.SetComp) or (not isinstance(parent, ast.DictComp) and _goes_nowhere(module, parent))
    if isinstance(node, ast.Starred) and isinstance(parent, ast.Call):
        return module.dotted(parent.func) in _FORGETTING
    if isinstance(node, ast.Starred):
        return isinstance(parent, ast.Set) or _goes_nowhere(module, parent)
    return isinstance(node, ast.Call) and _goes_nowhere(module, node)


def _goes_nowhere(module: Module, node: ast.AST | None) -> bool:
    """Whether an ordered value is only counted, searched or sorted."""
    parent = module.names.parent_of.get(node) if node is not None else None
    if isinstance(parent, ast.Call) and parent.func is not node:
        name = module.dotted(parent.func)
        return name in _FORGETTING or (name in _PASSING and _goes_nowhere(module, parent))
    if isinstance(parent, ast.comprehension):
        return _is_forgotten(module, parent)
    return isinstance(parent, ast.Assign) and _is_sorted_later(module, parent)


def _is_sorted_later(module: Module, node: ast.Assign) -> bool:
    """``names = list(found)``, then ``names.sort()``."""
    targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
    function = next((part for part in module.names.parents(node) if isinstance(part, FUNCTIONS)), module.tree)
    sorts = (part.func for part in ast.walk(function) if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute))
    return any(sort.attr == "sort" and isinstance(sort.value, ast.Name) and sort.value.id in targets for sort in sorts)
