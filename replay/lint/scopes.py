"""Who binds a name where: the scopes of a module, built in one pass without recursion.

Rule 1: scopes are Python's own: module, class, function, lambda, comprehension; a class's names are not seen from its methods.
Rule 2: a binding remembers what was bound (an import, a function, a value), so that a name can be followed to its meaning.
Rule 3: source order is kept: the last binding of a name is the last in its list.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

import attrs

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Bound(Enum):
    """What a name was bound to."""

    IMPORT = "import"
    FUNCTION = "function"
    CLASS = "class"
    VALUE = "value"
    CHANGED = "changed"  # x += ..., which keeps the type
    PARAMETER = "parameter"
    OTHER = "other"  # loops, with, except, unpacking: something that is not followed


@attrs.frozen(eq=False)
class Binding:
    """One place that binds a name.

    Attributes:
        how: What it is bound to.
        node: The statement, definition or parameter.
        scope: The scope in which the statement stands; another than the name's own after ``global``.
        dotted: Full name of what an import binds.
        value: The expression that is bound.
        annotation: Its annotation.
    """

    how: Bound
    node: ast.AST
    scope: Scope
    dotted: str = ""
    value: ast.expr | None = None
    annotation: ast.expr | None = None


@attrs.define(eq=False)
class Scope:
    """A region of source with names of its own.

    Attributes:
        node: What opens it.
        parent: The scope around it; None for a module.
        names: Bindings by name, in source order.
        borrowed: Names declared ``global`` or ``nonlocal``, with the scope that owns them.
        stars: Modules from which everything is imported.
    """

    node: ast.AST
    parent: Scope | None
    names: dict[str, list[Binding]] = attrs.field(factory=dict)
    borrowed: dict[str, Scope] = attrs.field(factory=dict)
    stars: list[str] = attrs.field(factory=list)

    @property
    def module(self) -> Scope:
        """The module's scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    @property
    def function(self) -> Scope:
        """The nearest scope around that is no comprehension: where a walrus binds."""
        scope = self
        while isinstance(scope.node, COMPREHENSIONS) and scope.parent is not None:
            scope = scope.parent
        return scope

    def find(self, name: str) -> Scope | None:
        """The scope whose binding of ``name`` is seen from here, or None for builtins and the unknown."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.borrowed:
                return scope.borrowed[name]
            if name in scope.names and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.parent
        return None

    def bind(self, name: str, binding: Binding) -> None:
        """Note one binding, here or where ``global`` sends it."""
        self.borrowed.get(name, self).names.setdefault(name, []).append(binding)


@attrs.define(eq=False)
class Names:
    """All scopes of a module.

    Attributes:
        root: The module's scope.
        scope_of: The scope in which a node stands.
        parent_of: The node around a node.
        uses: Where a name of a scope is read.
        yields: The yields of each function, nested functions left out.
    """

    root: Scope
    scope_of: dict[ast.AST, Scope] = attrs.field(factory=dict)
    parent_of: dict[ast.AST, ast.AST] = attrs.field(factory=dict)
    uses: dict[tuple[Scope, str], list[ast.Name]] = attrs.field(factory=dict)
    yields: dict[ast.AST, list[ast.Yield | ast.YieldFrom]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> Names:
        """The scopes of a parsed module."""
        names = cls(Scope(tree, None))
        loads: list[ast.Name] = []
        stack: list[tuple[ast.AST, Scope]] = [(tree, names.root)]
        while stack:
            node, scope = stack.pop()
            names.scope_of[node] = scope
            if (declare := _DECLARE.get(type(node))) is not None:
                declare(node, scope)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                loads.append(node)
            elif isinstance(node, ast.Yield | ast.YieldFrom):
                names.yields.setdefault(scope.function.node, []).append(node)
            children = list(_children(node, scope))
            names.parent_of.update((child, node) for child, _ in children)
            stack.extend(reversed(children))
        for load in loads:
            if (owner := names.scope_of[load].find(load.id)) is not None:
                names.uses.setdefault((owner, load.id), []).append(load)
        return names

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, innermost first."""
        while (parent := self.parent_of.get(node)) is not None:
            yield parent
            node = parent


def _children(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    """The nodes inside a node, each with the scope it stands in, in source order."""
    if isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
        inside = Scope(node, scope)
        inner: list[ast.AST] = [*node.body] if isinstance(node.body, list) else [node.body]
        skipped = {*inner} if isinstance(node, ast.ClassDef) else {*inner, node.args}
        yield from ((child, scope) for child in ast.iter_child_nodes(node) if child not in skipped)
        if not isinstance(node, ast.ClassDef):
            yield node.args, inside
        yield from ((child, inside) for child in inner)
    elif isinstance(node, ast.arguments):
        around = scope.parent or scope
        yield from ((arg, scope) for arg in _arguments(node))
        yield from ((default, around) for default in [*node.defaults, *node.kw_defaults] if default is not None)
    elif isinstance(node, COMPREHENSIONS):
        inside = Scope(node, scope)
        yield from ((generator, inside) for generator in node.generators)
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        yield from ((element, inside) for element in elements)
    elif isinstance(node, ast.comprehension):
        first = isinstance(scope.node, COMPREHENSIONS) and scope.node.generators[0] is node
        yield node.iter, (scope.parent or scope) if first else scope
        yield from ((child, scope) for child in (node.target, *node.ifs))
    else:
        yield from ((child, scope) for child in ast.iter_child_nodes(node) if not isinstance(child, _MARKS))


_MARKS: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)  # one object shared by many parents


def _arguments(node: ast.arguments) -> Iterator[ast.arg]:
    yield from (*node.posonlyargs, *node.args)
    if node.vararg is not None:
        yield node.vararg
    yield from node.kwonlyargs
    if node.kwarg is not None:
        yield node.kwarg


# ---- what binds a name --------------------------------------------------------------------------------------------------


def _targets(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """The names in an assignment's target, with what each gets where that can be seen."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        given: Iterable[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            given = value.elts
        for element, part in zip(target.elts, given, strict=True):
            yield from _targets(element, None if isinstance(part, ast.Starred) else part)


def _bind_targets(target: ast.expr, value: ast.expr | None, node: ast.AST, scope: Scope) -> None:
    for name, part in _targets(target, value):
        scope.bind(name, Binding(Bound.OTHER if part is None else Bound.VALUE, node, scope, value=part))


def _import(node: ast.Import, scope: Scope) -> None:
    for alias in node.names:
        top = alias.name.partition(".")[0]
        dotted = alias.name if alias.asname else top
        scope.bind(alias.asname or top, Binding(Bound.IMPORT, node, scope, dotted=dotted))


def _import_from(node: ast.ImportFrom, scope: Scope) -> None:
    start = "." * node.level + (f"{node.module}." if node.module else "")
    for alias in node.names:
        if alias.name == "*":
            scope.stars.append(start)
        else:
            scope.bind(alias.asname or alias.name, Binding(Bound.IMPORT, node, scope, dotted=start + alias.name))


def _assign(node: ast.Assign, scope: Scope) -> None:
    for target in node.targets:
        _bind_targets(target, node.value, node, scope)


def _annotated(node: ast.AnnAssign, scope: Scope) -> None:
    if isinstance(node.target, ast.Name):
        binding = Binding(Bound.VALUE, node, scope, value=node.value, annotation=node.annotation)
        scope.bind(node.target.id, binding)


def _augmented(node: ast.AugAssign, scope: Scope) -> None:
    if isinstance(node.target, ast.Name):
        scope.bind(node.target.id, Binding(Bound.CHANGED, node, scope, value=node.value))


def _walrus(node: ast.NamedExpr, scope: Scope) -> None:
    owner = scope.function
    owner.bind(node.target.id, Binding(Bound.VALUE, node, owner, value=node.value))


def _parameter(node: ast.arg, scope: Scope) -> None:
    # *args: int is a tuple of int, **kwargs: int a dict: the annotation is not the name's own
    arguments = scope.node.args if isinstance(scope.node, (*FUNCTIONS, ast.Lambda)) else None
    starred = arguments is not None and node in (arguments.vararg, arguments.kwarg)
    annotation = None if starred else node.annotation
    scope.bind(node.arg, Binding(Bound.PARAMETER, node, scope, annotation=annotation))


def _borrow(node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
    for name in node.names:
        owner = scope.module if isinstance(node, ast.Global) else scope.parent.find(name) if scope.parent else None
        scope.borrowed[name] = owner or scope.module


def _named(node: Any, scope: Scope) -> None:
    """``except ... as name`` and the captures of ``match``."""
    name = getattr(node, "name", None) or getattr(node, "rest", None)
    if isinstance(name, str):
        scope.bind(name, Binding(Bound.OTHER, node, scope))


_DECLARE: Final[Mapping[type[ast.AST], Callable[[Any, Scope], None]]] = {
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.NamedExpr: _walrus,
    ast.For: lambda node, scope: _bind_targets(node.target, None, node, scope),
    ast.AsyncFor: lambda node, scope: _bind_targets(node.target, None, node, scope),
    ast.comprehension: lambda node, scope: _bind_targets(node.target, None, node, scope),
    ast.withitem: lambda node, scope: _bind_targets(node.optional_vars, None, node, scope),
    ast.arg: _parameter,
    ast.Global: _borrow,
    ast.Nonlocal: _borrow,
    ast.FunctionDef: lambda node, scope: scope.bind(node.name, Binding(Bound.FUNCTION, node, scope)),
    ast.AsyncFunctionDef: lambda node, scope: scope.bind(node.name, Binding(Bound.FUNCTION, node, scope)),
    ast.ClassDef: lambda node, scope: scope.bind(node.name, Binding(Bound.CLASS, node, scope)),
    ast.ExceptHandler: _named,
    ast.MatchAs: _named,
    ast.MatchStar: _named,
    ast.MatchMapping: _named,
}
