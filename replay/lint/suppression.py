"""Comments that allow what a rule forbids: ``# replay: allow`` for every rule, ``# replay: allow[RPL101, clock]`` for some.

A comment counts for the line it stands on; for an expression or a statement of several lines, on any of these.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from typing import Final

from replay.lint.findings import Report
from replay.lint.rules import RULES

_COMMENT: Final = re.compile(r"#\s*replay:\s*allow\b\s*(?:\[(?P<rules>[^\]]*)\])?")
_ALL: Final = frozenset(word for rule in RULES.values() for word in (rule.code, rule.name))


def allowed_in(text: str) -> Mapping[int, frozenset[str]]:
    """The rules, by code or name, that each line allows."""
    if "replay:" not in text:
        return {}
    allowed: dict[int, frozenset[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        found = _COMMENT.search(token.string) if token.type == tokenize.COMMENT else None
        if found is not None:
            words = found["rules"]
            allowed[token.start[0]] = _ALL if words is None else frozenset(words.replace(",", " ").split())
    return allowed


def is_allowed(report: Report, allowed: Mapping[int, frozenset[str]]) -> bool:
    """Whether a comment allows what a report says."""
    words = {report.rule.code, report.rule.name}
    return any(words & allowed[line] for line in report.lines if line in allowed)
