"""What a name of a checked module means: its full name, and the role of the function behind it.

Rule 1: a name is followed through import aliases, plain aliases and, for files that lie beside it, through re-exports.
Rule 2: what is not certain is unknown: a name that is bound to two values has no meaning.
Rule 3: roles are the design's: calling a step or a workflow builds an effect, a generator is used with ``yield from``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

import attrs

from replay.lint.scopes import FUNCTIONS, Binding, Bound, FunctionNode, Names, Scope

EFFECTS: Final = frozenset(
    "annotate budget cancel continue_as_new gather info join llm_call log now on_update patched publish race random savepoint "
    "send_signal set_state set_tags shield signal sleep spawn start_child timeout uuid".split()
)
"""Functions of ``replay`` that build an effect."""
PATTERNS: Final = frozenset({"ask", "callback", "poll", "recall", "saga"})
"""Functions of ``replay`` that make a generator of effects."""

_ROOMS: Final = frozenset({"authoring", "model", "effects", "llm"})  # modules of replay that have effects of their own
_STARRED: Final = EFFECTS | PATTERNS | {"workflow", "step", "Workflow", "Effect"}
_DECORATORS: Final = frozenset(
    "functools.cache functools.lru_cache functools.cached_property functools.wraps functools.singledispatch "
    "builtins.staticmethod builtins.classmethod builtins.property abc.abstractmethod typing.overload typing.override "
    "typing.no_type_check typing_extensions.override contextlib.contextmanager".split()
)
"""Decorators under which a body still does what it says when the function is called."""
_DEPTH: Final = 12  # names followed through names; more is a circle or a riddle


class Role(Enum):
    """What calling a function does."""

    EFFECT = "effect"
    STEP = "step"
    WORKFLOW = "workflow"
    GENERATOR = "generator"
    COROUTINE = "coroutine"
    PLAIN = "plain"
    OPAQUE = "opaque"  # it has a decorator that is not known


_MARKERS: Final = {"replay.workflow": Role.WORKFLOW, "replay.step": Role.STEP}
_BUILDERS: Final = frozenset({Role.EFFECT, Role.STEP, Role.WORKFLOW})


@attrs.frozen
class Callee:
    """What is called: its role, its name for people, and its definition where this module has it."""

    role: Role
    name: str
    node: FunctionNode | None = None


class Foreign:
    """What is known of other files: here nothing; ``neighbours`` knows more."""

    def origin(self, dotted: str) -> str:
        """The full name behind an imported name."""
        return dotted

    def role(self, dotted: str) -> Role | None:
        """The role of an imported function, or None."""
        del dotted
        return None


@attrs.define(eq=False)
class Module:
    """A parsed module and the meaning of its names.

    Attributes:
        tree: The syntax tree.
        names: Its scopes.
        foreign: What is known of other files.
        classes: Classes of names found so far, by scope and name; ``inference`` fills it.
    """

    tree: ast.Module
    names: Names
    foreign: Foreign
    classes: dict[tuple[Scope, str], str] = attrs.field(factory=dict, init=False)
    _roles: dict[FunctionNode, Role] = attrs.field(factory=dict, init=False)
    _assigned: dict[FunctionNode, Role] | None = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, text: str, filename: str, foreign: Foreign | None = None) -> Module:
        """Parse a source text; SyntaxError, ValueError (a null byte) or RecursionError where that cannot be done."""
        tree = ast.parse(text, filename)
        return cls(tree, Names.of(tree), foreign or Foreign())

    # ---- names

    def dotted(self, node: ast.AST | None, depth: int = 0) -> str:
        """The full name of what an expression denotes, such as ``datetime.datetime.now``, or empty."""
        if depth > _DEPTH:
            return ""
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value, depth + 1)
            return self._origin(f"{base}.{node.attr}") if base else ""
        if not isinstance(node, ast.Name):
            return ""
        if self.names.scope_of[node].find(node.id) is None:
            return self._unbound(node.id)
        binding = self.binding(node)
        if binding is None or binding.how is Bound.IMPORT:
            return self._origin(binding.dotted) if binding else ""
        alias = binding.how is Bound.VALUE and isinstance(binding.value, ast.Name | ast.Attribute)
        return self.dotted(binding.value, depth + 1) if alias else ""

    def bindings(self, node: ast.Name) -> list[Binding]:
        """Every binding of a name in the scope that owns it."""
        owner = self.names.scope_of[node].find(node.id)
        return owner.names.get(node.id, []) if owner else []

    def binding(self, node: ast.Name) -> Binding | None:
        """The one binding that gives a name its meaning, or None; ``x = None`` and ``x += y`` do not count."""
        found = [b for b in self.bindings(node) if b.how is not Bound.CHANGED and not is_none(b.value)]
        if not found or (len(found) > 1 and found[-1].how in {Bound.VALUE, Bound.OTHER}):
            return None
        return found[-1]

    def annotation(self, node: ast.expr | None) -> ast.expr | None:
        """An annotation as an expression, taken out of its quotes; None where there is none."""
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            return node
        try:
            inner = ast.parse(node.value, mode="eval").body
        except (SyntaxError, ValueError):
            return None
        self.names.scope_of.update(dict.fromkeys(ast.walk(inner), self.names.scope_of[node]))
        return inner

    def _origin(self, dotted: str) -> str:
        dotted = self.foreign.origin(dotted)
        parts = dotted.split(".")
        in_room = len(parts) > 2 and parts[0] == "replay" and parts[1] in _ROOMS
        return f"replay.{parts[-1]}" if in_room else dotted

    def _unbound(self, name: str) -> str:
        starred = name in _STARRED and "replay." in self.names.root.stars
        return f"replay.{name}" if starred else f"builtins.{name}"

    # ---- roles

    def role(self, node: FunctionNode) -> Role:
        """What calling a function of this module does."""
        if node not in self._roles:
            self._roles[node] = Role.OPAQUE  # while it is found out: a decorator may lead back to its function
            self._roles[node] = self._find_role(node)
        return self._roles[node]

    def _find_role(self, node: FunctionNode) -> Role:
        kinds = [self.decorator(decorator) for decorator in node.decorator_list]
        if (assigned := self._made_by_assignment().get(node)) is not None:
            kinds.append(assigned)
        for role in (Role.WORKFLOW, Role.STEP, Role.OPAQUE):
            if role in kinds:
                return role
        if isinstance(node, ast.AsyncFunctionDef):
            return Role.COROUTINE
        manager = any(self.dotted(decorator) == "contextlib.contextmanager" for decorator in node.decorator_list)
        return Role.GENERATOR if node in self.names.yields and not manager else Role.PLAIN

    def _made_by_assignment(self) -> dict[FunctionNode, Role]:
        """Functions that a statement of the module makes steps or workflows: ``order = workflow(_order)``."""
        if self._assigned is None:
            self._assigned = {}
            calls = [node.value for node in self.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
            for call in calls:
                role = self.decorator(call.func) if isinstance(call, ast.Call) else Role.PLAIN
                inner = self.definition(call.args[0]) if isinstance(call, ast.Call) and call.args else None
                if role in _MARKERS.values() and inner is not None:
                    self._assigned[inner] = role
        return self._assigned

    def decorator(self, node: ast.expr | None, depth: int = 0) -> Role:
        """What a decorator makes of a function; PLAIN where its body still means what it says."""
        name = self.dotted(node)
        if name in _MARKERS or name in _DECORATORS or depth > _DEPTH:
            return _MARKERS.get(name, Role.PLAIN if name in _DECORATORS else Role.OPAQUE)
        if isinstance(node, ast.Call):
            made_by = self.dotted(node.func)
            if made_by in _MARKERS and node.args:
                return Role.OPAQUE  # step(f) is a step, no decorator
            partial = bool(node.args) and made_by == "functools.partial"
            return self.decorator(node.args[0] if partial else node.func, depth + 1)
        binding = self.binding(node) if isinstance(node, ast.Name) else None
        if binding is None or binding.how is not Bound.VALUE:
            return Role.OPAQUE
        return self.decorator(binding.value, depth + 1)

    def callee(self, node: ast.expr, depth: int = 0) -> Callee | None:
        """What would be called, given the expression before the parentheses, or None."""
        if depth > _DEPTH:
            return None
        name = self.dotted(node)
        room, _, last = name.rpartition(".")
        if room == "replay" and last in EFFECTS | PATTERNS:
            return Callee(Role.EFFECT if last in EFFECTS else Role.GENERATOR, last)
        if (definition := self.definition(node)) is not None:
            return Callee(self.role(definition), definition.name, definition)
        if name and (role := self.foreign.role(name)) is not None:
            return Callee(role, last)
        if isinstance(node, ast.Call):
            return self._made(node, depth + 1)
        binding = self.binding(node) if isinstance(node, ast.Name) else None
        if binding is None or binding.how is not Bound.VALUE or not isinstance(binding.value, ast.Call):
            return None
        made = self._made(binding.value, depth + 1)
        return attrs.evolve(made, name=ast.unparse(node)) if made else None

    def _made(self, node: ast.Call, depth: int) -> Callee | None:
        """What calling the result of a call would call: ``step(f)``, ``step(retry=...)(f)``, ``charge.options(...)``."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "options":
            return self.callee(node.func.value, depth)
        role = self.decorator(node.func) if node.args else Role.PLAIN
        return Callee(role, ast.unparse(node.args[0])) if role in _MARKERS.values() else None

    def definition(self, node: ast.expr) -> FunctionNode | None:
        """The function of this module that an expression names: ``helper`` or ``self.helper``."""
        if isinstance(node, ast.Name):
            binding = self.binding(node)
            return binding.node if binding is not None and isinstance(binding.node, FUNCTIONS) else None
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        binding = self.binding(node.value)
        function = binding.scope.node if binding is not None and binding.how is Bound.PARAMETER else None
        around = self.names.parent_of.get(function) if function else None
        if binding is None or not isinstance(function, FUNCTIONS) or not isinstance(around, ast.ClassDef):
            return None
        is_self = binding.node in [*function.args.posonlyargs, *function.args.args][:1]
        methods = [part for part in around.body if isinstance(part, FUNCTIONS) and part.name == node.attr]
        return methods[-1] if is_self and methods else None

    # ---- effects

    def effect(self, node: ast.AST) -> Callee | None:
        """What is built, where an expression is a call that builds an effect; ``.options(...)`` may follow it."""
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Attribute) and node.func.attr == "options":
            return self.effect(node.func.value)
        called = self.callee(node.func)
        return called if called is not None and called.role in _BUILDERS else None

    def returns_workflow(self, node: FunctionNode) -> bool:
        """Whether the return annotation is ``Workflow[...]``, or the ``Generator[Effect[Any], ...]`` it stands for."""
        returns = self.annotation(node.returns)
        if isinstance(returns, ast.Subscript):
            if self.dotted(returns.value).endswith(".Generator") and isinstance(returns.slice, ast.Tuple):
                first = returns.slice.elts[0] if returns.slice.elts else None
                return self.dotted(first.value if isinstance(first, ast.Subscript) else first) == "replay.Effect"
            returns = returns.value
        return self.dotted(returns) == "replay.Workflow"


def values_in(node: ast.expr) -> Iterator[ast.expr]:
    """The values that a value is, chooses between or contains: not what a comprehension or a star goes through."""
    stack: list[ast.expr] = [node]
    while stack:
        part = stack.pop()
        yield part
        for field in _PARTS.get(type(part), ()):
            inner: ast.expr | list[ast.expr] = getattr(part, field)
            stack.extend(reversed(inner) if isinstance(inner, list) else [inner])


_PARTS: Final[Mapping[type[ast.expr], tuple[str, ...]]] = {
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set), ("elts",)),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp), ("elt",)),
    **dict.fromkeys((ast.Dict, ast.BoolOp), ("values",)),
    **dict.fromkeys((ast.DictComp, ast.NamedExpr), ("value",)),
    ast.IfExp: ("body", "orelse"),
}
"""Where the values of a value stand."""


def is_none(node: ast.expr | None) -> bool:
    """Whether an expression is the constant None."""
    return isinstance(node, ast.Constant) and node.value is None
