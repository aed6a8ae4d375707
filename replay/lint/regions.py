"""What is workflow code: the functions that an interpreter drives, and those that they call while it does.

Rule 1: a workflow is decorated with ``@workflow``, or returns ``Workflow[...]``; functions and lambdas inside belong to it.
Rule 2: functions of the module that workflow code calls run with it, so they are workflow code, and those that they call.
Rule 3: a step's body is free, and so is one under a decorator that is not known: it may be a step by another name.
Rule 4: only generators of effects owe the interpreter anything (``driven``); a generator that is merely iterated owes nothing.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from replay.lint.meaning import Callee, Module, Role, values_in
from replay.lint.scopes import FUNCTIONS, FunctionNode

_ENTERED: Final = frozenset({Role.GENERATOR, Role.PLAIN})
_CALLERS: Final = frozenset(f"builtins.{name}" for name in ("map", "filter", "sorted", "min", "max")) | {"functools.reduce"}
"""Functions that call the functions given to them, at once and in this process."""


@attrs.frozen(eq=False)
class Region:
    """One function of workflow code, with what stands inside it.

    Attributes:
        node: The function.
        workflow: Name of the workflow that it belongs to, or its own where no workflow of the module reaches it.
        helper: Its own name, where that is another.
    """

    node: FunctionNode
    workflow: str
    helper: str = ""


@attrs.frozen(eq=False)
class Code:
    """All workflow code of a module.

    Attributes:
        module: The module.
        regions: The functions, workflows first.
        driven: Generators that an interpreter drives; only these are held to the agreement about yields.
    """

    module: Module
    regions: tuple[Region, ...]
    driven: frozenset[ast.AST]

    @classmethod
    def of(cls, module: Module) -> Code:
        """Find it, beginning with the workflows."""
        search = _Search(module)
        functions = [node for node in ast.walk(module.tree) if isinstance(node, FUNCTIONS)]
        functions.sort(key=lambda node: node.lineno)
        search.follow(node for node in functions if module.role(node) is Role.WORKFLOW)
        annotated = [node for node in functions if module.role(node) is not Role.STEP and module.returns_workflow(node)]
        search.follow(node for node in annotated if node not in search.inside)
        return cls(module, tuple(search.regions.values()), search.all_driven())


@attrs.define(eq=False)
class _Search:
    """Breadth first from the workflows through everything that they call."""

    module: Module
    regions: dict[FunctionNode, Region] = attrs.field(factory=dict)
    inside: set[ast.AST] = attrs.field(factory=set)
    driven: set[ast.AST] = attrs.field(factory=set)
    delegates: dict[ast.AST, set[FunctionNode]] = attrs.field(factory=dict)

    def follow(self, roots: Iterable[FunctionNode]) -> None:
        """Take these and all that they reach."""
        waiting = deque(Region(node, qualified_name(self.module, node)) for node in roots)
        while waiting:
            region = waiting.popleft()
            if region.node in self.regions:
                continue
            self.regions[region.node] = region
            nodes = list(region_nodes(self.module, region.node))
            self.inside.update(nodes)
            self.inside.add(region.node)
            self.driven.update(node for node in [region.node, *nodes] if self._yields_effects(node))
            reached = [found for node in nodes for found in self._reached(node)]
            outside = [node for node in reached if region.node not in self.module.names.parents(node)]
            waiting.extend(Region(node, region.workflow, qualified_name(self.module, node)) for node in outside)

    def all_driven(self) -> frozenset[ast.AST]:
        """What an interpreter drives: also what a driven generator delegates to by ``yield from``."""
        found: set[ast.AST] = set()
        waiting = deque(self.driven)
        while waiting:
            node = waiting.popleft()
            if node not in found:
                found.add(node)
                waiting.extend(self.delegates.get(node, ()))
        return frozenset(found)

    def _yields_effects(self, node: ast.AST) -> bool:
        module = self.module
        if not isinstance(node, FUNCTIONS) or node not in module.names.yields:
            return False
        if module.role(node) is Role.WORKFLOW or module.returns_workflow(node):
            return True
        effects = (part.value is not None and module.effect(part.value) for part in module.names.yields[node])
        return module.role(node) is Role.GENERATOR and any(effects)

    def _reached(self, node: ast.AST) -> Iterator[FunctionNode]:
        """Functions of the module that a node calls, or gives away to be called."""
        if isinstance(node, ast.YieldFrom):
            owner = self.module.names.scope_of[node].function.node
            self.delegates.setdefault(owner, set()).update(self._generators([node.value]))
        if not isinstance(node, ast.Call):
            return
        called = self.module.callee(node.func)
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        drives = called is not None and called.node is None and called.role in {Role.EFFECT, Role.GENERATOR}
        if drives:
            branches = (part for value in given for part in values_in(_unpacked(value)))
            self.driven.update(self._generators(branches))
        yield from self._enter(called)
        compensates = isinstance(node.func, ast.Attribute) and node.func.attr == "compensate"
        if drives or compensates or self._calls_back(node):
            for value in given:
                named = self.module.callee(value) if isinstance(value, ast.Name | ast.Attribute) else None
                if named is not None and named.node is not None and (drives or compensates):
                    self.driven.add(named.node)  # the handler of an update, the body of a saga, what undoes it
                yield from self._enter(named)

    def _enter(self, called: Callee | None) -> Iterator[FunctionNode]:
        if called is not None and called.node is not None and called.role in _ENTERED:
            yield called.node

    def _calls_back(self, node: ast.Call) -> bool:
        is_sort = isinstance(node.func, ast.Attribute) and node.func.attr == "sort"
        return is_sort or self.module.dotted(node.func) in _CALLERS

    def _generators(self, nodes: Iterable[ast.AST]) -> Iterator[FunctionNode]:
        """Generators of the module that are called in these nodes."""
        for node in nodes:
            called = self.module.callee(node.func) if isinstance(node, ast.Call) else None
            if called is not None and called.role is Role.GENERATOR and called.node is not None:
                yield called.node


def _unpacked(node: ast.expr) -> ast.expr:
    """``[...]`` of ``*[...]``; what a call gives is only gone through."""
    return node.value if isinstance(node, ast.Starred) and not isinstance(node.value, ast.Call) else node


def region_nodes(module: Module, root: FunctionNode) -> Iterator[ast.AST]:
    """The nodes of a function's body in source order, without annotations, steps, and functions with a life of their own."""
    stack: list[ast.AST] = list(reversed(root.body))
    while stack:
        node = stack.pop()
        if isinstance(node, FUNCTIONS) and module.role(node) in {Role.STEP, Role.WORKFLOW, Role.OPAQUE}:
            continue
        yield node
        stack.extend(reversed(list(_inner(node))))


def _inner(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, FUNCTIONS):
        yield from (*node.args.defaults, *(default for default in node.args.kw_defaults if default), *node.body)
    elif isinstance(node, ast.AnnAssign):
        yield from (part for part in (node.target, node.value) if part is not None)
    elif not isinstance(node, ast.arg):
        yield from ast.iter_child_nodes(node)


def qualified_name(module: Module, node: FunctionNode) -> str:
    """A function's name with the classes around it."""
    around = [part.name for part in module.names.parents(node) if isinstance(part, ast.ClassDef)]
    return ".".join([*reversed(around), node.name])
