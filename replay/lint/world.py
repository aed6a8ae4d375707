"""Checks 1xx and hash(): workflow code that asks the world without an effect.

Rule 1: a call is named in full and looked up in the catalog; so is a method of a value whose class is certain.
Rule 2: what a module took from clock, chance or environment when it was imported is no constant.
Rule 3: a client, lock or connection made inside the workflow is reported where it is made, one from outside where it is used.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from replay.lint import rules
from replay.lint.catalog import ADVICE_OF, EXACT, PATH, SAYS, SAYS_OF, code_of, code_of_instance
from replay.lint.findings import Report, shown
from replay.lint.inference import class_of
from replay.lint.meaning import Module
from replay.lint.regions import Code
from replay.lint.scopes import FUNCTIONS, Bound

_TAKEN: Final = frozenset({rules.CLOCK, rules.RANDOMNESS, rules.ENVIRONMENT})
_PLACES: Final = (f"{PATH}.", "os.path.")  # where a module's own files lie is asked at import by every other module
_MANY: Final = 9  # arguments of a call with `*args`


def named_in_the_world(code: Code, node: ast.Name | ast.Attribute) -> Iterator[Report]:
    """A function, method or value of the catalog."""
    if not isinstance(node.ctx, ast.Load):
        return
    name, rule = _looked_up(code.module, node)
    if rule is None:
        return
    parent = code.module.names.parent_of[node]
    place = parent if isinstance(parent, ast.Call) and parent.func is node else node
    yield Report(rule, place, f"`{shown(place)}` {SAYS_OF.get(name, SAYS[rule])}", ADVICE_OF.get(name, ""))


def taken_at_import(code: Code, node: ast.Name) -> Iterator[Report]:
    """A module's name that holds what the world said when the module was imported."""
    module = code.module
    owner = module.names.scope_of[node].find(node.id)
    binding = module.binding(node)
    if owner is not module.names.root or binding is None or binding.how is not Bound.VALUE or binding.value is None:
        return
    if module.callee(node) is not None:
        return  # a step or a workflow made by assignment: its retries and queues may come from anywhere
    for part in _evaluated(binding.value):
        name, rule = _looked_up(module, part) if isinstance(part, ast.Name | ast.Attribute) else ("", None)
        if rule in _TAKEN and not name.startswith(_PLACES):
            says = f"`{node.id}` was taken from `{shown(part)}` at import, in another process it is another"
            yield Report(rule or "", node, says, "pass it in as an argument of the workflow, or ask for it in a @step")
            return


def guarded(code: Code, node: ast.With) -> Iterator[Report]:
    """``with LOCK:`` over something made outside of the workflow."""
    for item in node.items:
        place = item.context_expr
        rule = _of_instance(code.module, place) if isinstance(place, ast.Name) else None
        if rule is not None:
            yield Report(rule, place, f"`with {shown(place)}` {SAYS[rule]}")


def awaited(code: Code, node: ast.AST) -> Iterator[Report]:
    """``await``, ``async for`` and ``async with`` in a function that is not async."""
    if isinstance(node, ast.comprehension):
        if not node.is_async:
            return
        node = node.iter
    if isinstance(node, ast.expr | ast.stmt) and not isinstance(_function(code.module, node), ast.AsyncFunctionDef):
        yield Report(rules.ASYNC, node, f"`{shown(node).partition(':')[0]}` {SAYS[rules.ASYNC]}")


def defined_async(_code: Code, node: ast.AsyncFunctionDef) -> Iterator[Report]:
    """An ``async def`` that is workflow code."""
    yield Report(rules.ASYNC, node, f"`async def {node.name}` {SAYS[rules.ASYNC]}")


def _function(module: Module, node: ast.AST) -> ast.AST:
    return next(part for part in module.names.parents(node) if isinstance(part, (*FUNCTIONS, ast.Lambda)))


def _looked_up(module: Module, node: ast.Name | ast.Attribute) -> tuple[str, str | None]:
    """The full name and the rule it breaks."""
    arguments = _arguments(module, node)
    if name := module.dotted(node):
        reported = arguments is None and isinstance(node, ast.Name) and _is_local_alias(module, node)
        return name, None if reported else code_of(name, arguments=arguments)
    if not isinstance(node, ast.Attribute) or not (kind := class_of(module, node.value)):
        return "", None
    name = f"{kind}.{node.attr}"
    return name, EXACT.get(name) or _of_instance(module, node.value)


def _is_local_alias(module: Module, node: ast.Name) -> bool:
    """Whether a name is bound to another in a function, where that other is reported."""
    binding = module.binding(node)
    return binding is not None and binding.how is Bound.VALUE and binding.scope is not module.names.root


def _arguments(module: Module, node: ast.expr) -> int | None:
    call = module.names.parent_of.get(node)
    if not isinstance(call, ast.Call) or call.func is not node:
        return None
    starred = any(isinstance(part, ast.Starred) for part in call.args)
    return _MANY if starred else len(call.args) + len(call.keywords)


def _of_instance(module: Module, node: ast.expr) -> str | None:
    """The rule that using a value breaks which came from outside of the function."""
    if not isinstance(node, ast.Name):
        return None
    bindings = module.bindings(node)
    outside = all(b.how is Bound.PARAMETER or b.scope is module.names.root for b in bindings)
    return code_of_instance(class_of(module, node)) if outside else None


def _evaluated(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions in an expression that are evaluated with it: not those of a lambda."""
    stack: list[ast.AST] = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.expr):
            yield part
        if not isinstance(part, ast.Lambda):
            stack.extend(ast.iter_child_nodes(part))
