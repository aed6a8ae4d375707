"""Checks 302, 303 and 304: what a generator owes the interpreter that drives it.

Rule 1: a workflow yields, and what it yields is an effect.
Rule 2: what comes out of a yield when a run is evicted or cancelled goes on: whoever catches it raises it again.
Rule 3: only what clearly is no effect is reported; a name or an unknown call may be one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Final

from replay.lint import rules
from replay.lint.findings import Report, shown
from replay.lint.inference import full_name
from replay.lint.meaning import Module, Role
from replay.lint.regions import Code, Region
from replay.lint.scopes import FUNCTIONS

_NEVER_EFFECTS: Final = (
    ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.Lambda, ast.Compare,
)  # fmt: skip
_PLAIN_CALLS: Final = frozenset(
    f"builtins.{name}"
    for name in "list tuple dict set frozenset str int float bool bytes len sorted sum range enumerate zip print repr".split()
)
_BROAD: Final = frozenset({"builtins.BaseException", "builtins.GeneratorExit"})
_ENDS: Final = (ast.Return, ast.Raise, ast.Break, ast.Continue)


def not_a_generator(code: Code, region: Region) -> Iterator[Report]:
    """A ``@workflow`` without any yield, unless its body is only a declaration."""
    node = region.node
    if code.module.role(node) is not Role.WORKFLOW or isinstance(node, ast.AsyncFunctionDef):
        return
    if node not in code.module.names.yields and not _is_declaration(node):
        yield Report(rules.NO_GENERATOR, node, f"the workflow `{node.name}` yields nothing")


def yields_no_effect(code: Code, node: ast.Yield | ast.YieldFrom) -> Iterator[Report]:
    """A yield of something that clearly is no effect."""
    module = code.module
    if module.names.scope_of[node].function.node not in code.driven or _is_unreachable(module, node):
        return
    word = "yield from" if isinstance(node, ast.YieldFrom) else "yield"
    if (wrong := _wrong_answer(module, node)) is not None:
        what, advice = wrong
        says = f"`{shown(node).removeprefix('(').removesuffix(')')}` gives the interpreter {what}, and `{word}` needs an effect"
        yield Report(rules.NO_EFFECT, node, says, advice)


def _wrong_answer(module: Module, node: ast.Yield | ast.YieldFrom) -> tuple[str, str] | None:
    """What is yielded instead of an effect, with advice; None where it may be an effect."""
    value = node.value
    if value is None:
        return "None", ""
    if isinstance(value, ast.List | ast.Tuple | ast.ListComp | ast.GeneratorExp | ast.Set):
        if isinstance(node, ast.YieldFrom) and isinstance(value, ast.List | ast.Tuple) and not value.elts:
            return None  # `yield from ()` makes a generator of a function that has nothing to yield
        return "several things", "write `yield from gather(...)` for effects side by side, or yield them one by one"
    if isinstance(value, _NEVER_EFFECTS):
        return "a plain value", ""
    if isinstance(value, ast.Call):
        return _wrong_call(module, node, value)
    called = module.callee(value) if isinstance(value, ast.Name | ast.Attribute) else None
    is_function = called is not None and called.role in {Role.EFFECT, Role.STEP, Role.WORKFLOW, Role.GENERATOR}
    return ("a function", f"call it: `yield from {shown(value)}(...)`") if is_function else None


def _wrong_call(module: Module, node: ast.Yield | ast.YieldFrom, call: ast.Call) -> tuple[str, str] | None:
    called = module.callee(call.func)
    if called is not None and called.role is Role.COROUTINE:
        return "a coroutine", f"make `{called.name}` a @step, which may be `async def`"
    if called is not None and called.role is Role.GENERATOR and isinstance(node, ast.Yield):
        return "a bare generator", f"write `yield from {shown(call)}`"
    return ("a plain value", "") if full_name(module, call.func) in _PLAIN_CALLS else None


def swallows(code: Code, node: ast.Try) -> Iterator[Report]:
    """A handler around a yield that keeps ``GeneratorExit`` or ``Cancelled``, or a ``finally`` that returns."""
    yields = _yields_in(code, node.body)
    if yields:
        for handler in node.handlers:
            caught = _caught(code.module, handler)
            if "builtins.GeneratorExit" in caught and _lets_pass(handler, ast.Raise):
                return
            if caught & _BROAD and not _lets_pass(handler, _allowed(caught)):
                names = shown(handler.type) if handler.type is not None else ""
                says = f"`{f'except {names}'.strip()}:` around a yield keeps what evicts or cancels the run"
                yield Report(rules.SWALLOWED_EXIT, handler, says)
    if yields or _yields_in(code, [*node.orelse, *node.handlers]):
        for part in _own_nodes(node.finalbody):
            if isinstance(part, ast.Return):
                says = "`return` in `finally` after a yield keeps what evicts or cancels the run"
                yield Report(rules.SWALLOWED_EXIT, part, says, "return after the `try` statement")


def suppresses(code: Code, node: ast.With) -> Iterator[Report]:
    """``with suppress(BaseException):`` around a yield."""
    for item in node.items:
        call = item.context_expr
        if not isinstance(call, ast.Call) or code.module.dotted(call.func) != "contextlib.suppress":
            continue
        if any(code.module.dotted(part) in _BROAD for part in call.args) and _yields_in(code, node.body):
            yield Report(rules.SWALLOWED_EXIT, call, f"`{shown(call)}` around a yield keeps what evicts or cancels the run")


def _allowed(caught: set[str]) -> type[ast.stmt] | tuple[type[ast.stmt], ...]:
    """How a handler may end: whoever names GeneratorExit alone knows what it is, and may return."""
    return (ast.Raise, ast.Return) if caught == {"builtins.GeneratorExit"} else ast.Raise


def _caught(module: Module, handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"builtins.BaseException"}
    parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {module.dotted(part) for part in parts}


def _lets_pass(handler: ast.ExceptHandler, ends: type[ast.stmt] | tuple[type[ast.stmt], ...]) -> bool:
    return any(isinstance(part, ends) for part in _own_nodes(handler.body))


def _yields_in(code: Code, nodes: Sequence[ast.AST]) -> bool:
    found = (part for part in _own_nodes(nodes) if isinstance(part, ast.Yield | ast.YieldFrom))
    return any(code.module.names.scope_of[part].function.node in code.driven for part in found)


def _own_nodes(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """The nodes in these, without those of nested functions."""
    stack: list[ast.AST] = list(nodes)
    while stack:
        node = stack.pop()
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            yield node
            stack.extend(ast.iter_child_nodes(node))


def _is_declaration(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a body is only a docstring, ``...`` or ``raise``: a workflow of another language, or an abstract one."""
    rest = [part for part in node.body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
    is_said = any(isinstance(part, ast.Expr) and ast.unparse(part) == "..." for part in node.body)
    return (not rest and is_said) or (len(rest) == 1 and isinstance(rest[0], ast.Raise))


def _is_unreachable(module: Module, node: ast.AST) -> bool:
    """Whether a yield only makes the function a generator: after a return, or under ``if False``."""
    for parent in module.names.parents(node):
        if isinstance(parent, FUNCTIONS):
            return _follows_an_end(parent.body, node)
        if isinstance(parent, ast.If | ast.While):
            never = isinstance(parent.test, ast.Constant) and not parent.test.value
            if never and node in parent.body:
                return True
        blocks = (getattr(parent, field, None) for field in ("body", "orelse", "finalbody"))
        if any(_follows_an_end(block, node) for block in blocks if isinstance(block, list)):
            return True
        node = parent
    return False


def _follows_an_end(block: list[ast.stmt], node: ast.AST) -> bool:
    before = block[: block.index(node)] if isinstance(node, ast.stmt) and node in block else []
    return any(isinstance(part, _ENDS) for part in before)
