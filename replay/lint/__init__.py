"""``replay check``: a linter for what makes a workflow differ from its replay; it reads source and imports nothing of it."""

from __future__ import annotations

from replay.lint.check import check_module, check_paths, check_source
from replay.lint.findings import Finding
from replay.lint.rules import RULES, Rule

__all__ = ["RULES", "Finding", "Rule", "check_module", "check_paths", "check_source"]
