"""The class of an expression's value, where that is certain: enough to know a set, a path, a logger, a client.

Rule 1: a table from kind of expression to how its class is found; what is not in the table is unknown.
Rule 2: a name has a class when all its bindings agree; it is found out once.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final

from replay.lint.catalog import ANNOTATIONS, ATTRIBUTES, PATH, RETURNS, SET, code_of_instance
from replay.lint.meaning import Module, is_none
from replay.lint.scopes import Binding, Bound

_WRAPPERS: Final = frozenset({"typing.Optional", "typing.Final", "typing.Annotated", "typing.ClassVar"})
_SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
_VIEWS: Final = frozenset({"keys", "items"})
_DEPTH: Final = 12


def full_name(module: Module, node: ast.AST, depth: int = 0) -> str:
    """The full name of what an expression denotes; a method is ``class.method`` where the class is certain."""
    if (name := module.dotted(node)) or not isinstance(node, ast.Attribute):
        return name
    kind = class_of(module, node.value, depth + 1)
    return f"{kind}.{node.attr}" if kind else ""


def class_of(module: Module, node: ast.expr | None, depth: int = 0) -> str:
    """Full name of the class of an expression's value, or empty; sets of every kind are ``builtins.set``.

    The class of what a function of the outside world gives is written as the function itself: ``sqlite3.connect``.
    """
    infer = _CLASSES.get(type(node)) if depth < _DEPTH else None
    return infer(module, node, depth + 1) if infer else ""


def annotated_class(module: Module, node: ast.expr | None) -> str:
    """Full name of the class that an annotation means, or empty."""
    node = module.annotation(node)
    while True:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            left, right = node.left, node.right
            if not is_none(left) and not is_none(right):
                return ""
            node = right if is_none(left) else left
        elif isinstance(node, ast.Subscript) and module.dotted(node.value) in _WRAPPERS:
            node = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
        else:
            name = module.dotted(node.value if isinstance(node, ast.Subscript) else node)
            return ANNOTATIONS.get(name, name)


def _set(_module: Module, _node: ast.expr, _depth: int) -> str:
    return SET


def _call(module: Module, node: ast.Call, depth: int) -> str:
    name = full_name(module, node.func, depth)
    if name in RETURNS:
        return RETURNS[name]
    if code_of_instance(name):
        return name
    called = module.callee(node.func)
    if called is None or called.node is None or called.node in module.names.yields:
        return ""
    return annotated_class(module, called.node.returns)


def _answer(module: Module, node: ast.YieldFrom | ast.Yield, _depth: int) -> str:
    """What a step or a helper of this module answers, by its annotation."""
    called = module.callee(node.value.func) if isinstance(node.value, ast.Call) else None
    returns = module.annotation(called.node.returns) if called is not None and called.node is not None else None
    if called is not None and called.node is not None and module.returns_workflow(called.node):
        returns = returns.slice if isinstance(returns, ast.Subscript) else None
    return annotated_class(module, returns)


def _operation(module: Module, node: ast.BinOp, depth: int) -> str:
    sides = {class_of(module, node.left, depth), class_of(module, node.right, depth)}
    if isinstance(node.op, ast.Div):
        return PATH if PATH in sides else ""
    if not isinstance(node.op, _SET_OPERATORS):
        return ""
    # a dict has views that behave like sets, and `dict | dict` is none of this
    views = [_is_view(node.left), _is_view(node.right)]
    return SET if SET in sides or (any(views) and not isinstance(node.op, ast.BitOr)) or all(views) else ""


def _is_view(node: ast.expr) -> bool:
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args
    return is_method and node.func.attr in _VIEWS  # type: ignore[attr-defined]  # it is a method


def _choice(module: Module, node: ast.IfExp, depth: int) -> str:
    return _agreed({class_of(module, part, depth) for part in (node.body, node.orelse) if not is_none(part)})


def _either(module: Module, node: ast.BoolOp, depth: int) -> str:
    return _agreed({class_of(module, part, depth) for part in node.values})


def _named(module: Module, node: ast.Name, depth: int) -> str:
    owner = module.names.scope_of[node].find(node.id)
    if owner is None:
        return ""
    key = (owner, node.id)
    if key not in module.classes:
        module.classes[key] = ""  # while it is found out: names may lead to each other in a circle
        bindings = [b for b in module.bindings(node) if b.how is not Bound.CHANGED and not is_none(b.value)]
        module.classes[key] = _agreed({_bound(module, binding, depth) for binding in bindings})
    return module.classes[key]


def _bound(module: Module, binding: Binding, depth: int) -> str:
    if binding.annotation is not None:
        return annotated_class(module, binding.annotation)
    return class_of(module, binding.value, depth) if binding.how is Bound.VALUE else ""


def _attribute(module: Module, node: ast.Attribute, depth: int) -> str:
    """``path.parent``, and fields of the classes of this module."""
    name = full_name(module, node, depth)
    if name in ATTRIBUTES:
        return ATTRIBUTES[name]
    bindings = module.bindings(node.value) if isinstance(node.value, ast.Name) else []
    owners = [module.annotation(binding.annotation) for binding in bindings]
    owner = owners[0] if len(owners) == 1 else None
    holder = module.binding(owner) if isinstance(owner, ast.Name) else None
    if holder is None or not isinstance(holder.node, ast.ClassDef):
        return ""
    fields = [part for part in holder.node.body if isinstance(part, ast.AnnAssign)]
    types = {ast.unparse(part.target): part.annotation for part in fields}
    return annotated_class(module, types.get(node.attr))


def _agreed(kinds: set[str]) -> str:
    return kinds.pop() if len(kinds) == 1 else ""


_CLASSES: Final[Mapping[type[Any], Callable[[Module, Any, int], str]]] = {
    ast.Set: _set,
    ast.SetComp: _set,
    ast.Call: _call,
    ast.Yield: _answer,
    ast.YieldFrom: _answer,
    ast.BinOp: _operation,
    ast.IfExp: _choice,
    ast.BoolOp: _either,
    ast.Name: _named,
    ast.Attribute: _attribute,
    ast.NamedExpr: lambda module, node, depth: class_of(module, node.value, depth),
}
