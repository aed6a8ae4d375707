"""What ``replay check`` says: a finding is a place, a rule, what is wrong there and what to write instead."""

from __future__ import annotations

import ast

import attrs

from replay.lint.rules import RULES, Rule


@attrs.frozen(order=True)
class Finding:
    """One problem at one place; findings sort by place.

    Attributes:
        path: The file, as it was given.
        line: Line, from 1.
        column: Column, from 1.
        code: The rule's code, such as ``RPL101``.
        rule: The rule's name, such as ``clock``.
        message: What is wrong.
        advice: What to write instead.
        function: Name of the workflow (or helper that no workflow of the file reaches), or empty for a whole file.
    """

    path: str
    line: int
    column: int
    code: str
    rule: str
    message: str
    advice: str
    function: str = ""

    def __str__(self) -> str:
        inside = f" [{self.function}]" if self.function else ""
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.rule}: {self.message}{inside}\n    {self.advice}"

    def as_dict(self) -> dict[str, str | int]:
        """The fields by name, for JSON."""
        return attrs.asdict(self)


@attrs.frozen(eq=False)
class Report:
    """What a check says about a node, before it is known whether a comment allows it.

    Attributes:
        code: The rule's code.
        node: Where it is.
        message: What is wrong.
        advice: What to write instead, or empty for the rule's own advice.
    """

    code: str
    node: ast.expr | ast.stmt | ast.excepthandler
    message: str
    advice: str = ""

    @property
    def rule(self) -> Rule:
        """The rule that was broken."""
        return RULES[self.code]

    @property
    def lines(self) -> range:
        """The lines where a comment may allow it: all of an expression or statement, the head of a block."""
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        body: list[ast.stmt] = getattr(self.node, "body", []) if not isinstance(self.node, ast.expr) else []
        first = min([self.node.lineno, *(decorator.lineno for decorator in decorators)])
        last = body[0].lineno - 1 if body else self.node.end_lineno or self.node.lineno
        return range(first, max(last, self.node.lineno) + 1)


def shown(node: ast.AST, limit: int = 60) -> str:
    """Source of a node on one line, cut to ``limit`` characters."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= limit else f"{text[:limit]}…"
