"""Check 203: what a module keeps in memory, read or written by workflow code.

Rule 1: writing is always wrong: other runs see it, and the process that replays does not.
Rule 2: reading is wrong where the value can have changed: something in the module changes it, it began empty, it is a counter
or an iterator, or it is a list, dict or set whose name does not say that it is constant.
Rule 3: a filled table named in CAPITALS, or annotated ``Final`` or ``Mapping``, that nothing changes is a constant.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from replay.lint import rules
from replay.lint.catalog import PURE_WITH
from replay.lint.findings import Report, shown
from replay.lint.meaning import Module, is_none
from replay.lint.regions import Code
from replay.lint.scopes import FUNCTIONS, Binding, Bound, Scope

_CONTAINERS: Final = frozenset(
    [f"builtins.{name}" for name in "list dict set bytearray".split()]
    + [f"collections.{name}" for name in "defaultdict deque OrderedDict Counter ChainMap".split()]
    + ["weakref.WeakValueDictionary", "weakref.WeakKeyDictionary", "weakref.WeakSet"]
)
_STATEFUL: Final = frozenset(
    [f"itertools.{name}" for name in "count cycle".split()]
    + ["builtins.iter", "random.Random", "numpy.random.default_rng", "numpy.random.RandomState"]
)
_LITERALS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MUTATORS: Final = frozenset(
    "append appendleft extend extendleft insert add update setdefault pop popleft popitem remove discard clear sort reverse "
    "rotate subtract intersection_update difference_update symmetric_difference_update".split()
)
_READ_ONLY: Final = frozenset(
    [f"typing.{name}" for name in "Final Mapping Sequence Collection Iterable Tuple FrozenSet AbstractSet".split()]
    + [f"collections.abc.{name}" for name in "Mapping Sequence Collection Iterable Set".split()]
)
_SHARED: Final = frozenset({Bound.VALUE, Bound.CHANGED, Bound.CLASS, Bound.IMPORT, Bound.FUNCTION})
_BEGINS_EMPTY: Final = "begins empty, to be filled while the process runs"
_CAN_BE_CHANGED: Final = "can be changed"
_ADVICE: Final = {
    _BEGINS_EMPTY: "if nothing fills it, annotate it `Final` or `Mapping`; else keep it in local variables",
    _CAN_BE_CHANGED: "if nothing changes it, name it in CAPITALS or annotate it `Final`; else keep it in local variables",
}


def declared_global(_code: Code, node: ast.Global) -> Iterator[Report]:
    """A ``global`` statement."""
    says = f"`{shown(node)}` shares {' and '.join(f'`{name}`' for name in node.names)} with every run in this process"
    yield Report(rules.MUTABLE_GLOBAL, node, says)


def written(code: Code, node: ast.Subscript | ast.Attribute) -> Iterator[Report]:
    """``CACHE[key] = value``, ``del CACHE[key]``, ``settings.debug = True``."""
    name: ast.expr = node
    while isinstance(name, ast.Subscript | ast.Attribute):
        name = name.value
    if isinstance(node.ctx, ast.Store | ast.Del) and isinstance(name, ast.Name) and _is_shared(code.module, name):
        yield Report(rules.MUTABLE_GLOBAL, node, f"`{shown(node)}` changes what the module shares with every run")


def used(code: Code, node: ast.Name) -> Iterator[Report]:
    """A module's name that is changed here, or may have been changed elsewhere."""
    module = code.module
    if not isinstance(node.ctx, ast.Load) or module.names.scope_of[node].find(node.id) is not module.names.root:
        return
    if _is_global_here(module, node) or _is_written_into(module, node):
        return  # the statement is reported
    bindings = module.bindings(node)
    if _mutates(module, node) and any(_is_container(module, binding.value) for binding in bindings):
        says = f"`{shown(module.names.parent_of[node])}(...)` changes what the module shares with every run"
        yield Report(rules.MUTABLE_GLOBAL, node, says)
    elif why := _may_have_changed(module, node.id, bindings):
        says = f"`{node.id}` belongs to the module and {why}"
        yield Report(rules.MUTABLE_GLOBAL, node, says, _ADVICE.get(why, ""))


def _may_have_changed(module: Module, name: str, bindings: list[Binding]) -> str:
    """Why a name of the module may hold something else in another process, or empty."""
    root = module.names.root
    values = [binding for binding in bindings if binding.how in {Bound.VALUE, Bound.CHANGED}]
    containers = [binding for binding in values if _is_container(module, binding.value)]
    read_only = any(_is_read_only(module, binding.annotation) for binding in values)
    reasons = {
        "a function of the module binds it anew": any(binding.scope is not root for binding in values),
        "gives another answer each time it is asked": any(_is_stateful(module, b.value) for b in values),
        "a function of the module changes what is in it": bool(containers) and _is_changed(module, root, name),
        _BEGINS_EMPTY: any(_is_empty(b.value) for b in containers) and not read_only,
        _CAN_BE_CHANGED: bool(containers) and not read_only and name != name.upper(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_changed(module: Module, root: Scope, name: str) -> bool:
    """Whether any function changes what is in a container of the module."""
    return any(
        _mutates(module, use) or _is_written_into(module, use)
        for use in module.names.uses.get((root, name), [])
        if any(isinstance(part, (*FUNCTIONS, ast.Lambda)) for part in module.names.parents(use))
    )


def _mutates(module: Module, node: ast.Name) -> bool:
    """Whether this reading of a name calls a method that changes it."""
    method = module.names.parent_of.get(node)
    call = module.names.parent_of.get(method) if isinstance(method, ast.Attribute) else None
    is_called = isinstance(call, ast.Call) and call.func is method
    return is_called and isinstance(method, ast.Attribute) and method.attr in _MUTATORS


def _is_written_into(module: Module, node: ast.Name) -> bool:
    """Whether a name is the root of ``name[...] = ...`` or ``name.field = ...``."""
    place: ast.AST = node
    while isinstance(parent := module.names.parent_of.get(place), ast.Subscript | ast.Attribute) and parent.value is place:
        if isinstance(parent.ctx, ast.Store | ast.Del):
            return True
        place = parent
    return False


def _is_global_here(module: Module, node: ast.Name) -> bool:
    return node.id in module.names.scope_of[node].function.borrowed


def _is_shared(module: Module, node: ast.Name) -> bool:
    owner = module.names.scope_of[node].find(node.id)
    return owner is module.names.root and any(binding.how in _SHARED for binding in module.bindings(node))


def _is_container(module: Module, node: ast.expr | None) -> bool:
    return isinstance(node, _LITERALS) or _is_call_of(module, node, _CONTAINERS)


def _is_call_of(module: Module, node: ast.expr | None, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and module.dotted(node.func) in names


def _is_stateful(module: Module, node: ast.expr | None) -> bool:
    """Whether a value goes on by itself; a generator without a seed is the business of the check for randomness."""
    unseeded = isinstance(node, ast.Call) and not node.args and not node.keywords and module.dotted(node.func) in PURE_WITH
    return _is_call_of(module, node, _STATEFUL) and not unseeded


def _is_empty(node: ast.expr | None) -> bool:
    """Whether a container begins with nothing in it; ``defaultdict(list)`` does."""
    if isinstance(node, ast.List | ast.Dict | ast.Set):
        return not (node.keys if isinstance(node, ast.Dict) else node.elts)
    if not isinstance(node, ast.Call):
        return False
    return not node.keywords and len(node.args) <= (1 if ast.unparse(node.func).endswith("defaultdict") else 0)


def _is_read_only(module: Module, annotation: ast.expr | None) -> bool:
    annotation = module.annotation(annotation)
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return base is not None and not is_none(base) and module.dotted(base) in _READ_ONLY
