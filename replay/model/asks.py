"""A question to a person, as it stands in the state of the run that asks.

Rule 1: a question is plain JSON with a schema, so that who answers needs nothing of the asker's code.
Rule 2: the schema refuses early, where the answer is given; the workflow's own types and validator have the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

OPEN_ASKS: Final = "~asks"
"""Key of the state under which open questions stand, and the tag that a run bears while it has any."""
OPEN: Final = "open"
"""What that tag says."""
ANSWER: Final = "~answer"
"""Name of the update that answers a question."""


@attrs.frozen(kw_only=True)
class Ask:
    """An open question.

    Attributes:
        id: Its name within the run.
        prompt: What is asked.
        schema: JSON schema that an answer fits.
        assignee: Who is to answer, or empty for anyone.
        asked_at: When it was asked, microseconds UTC.
        due_at: When it is given up, or None.
        run: The run that asks.
    """

    id: str
    prompt: str
    schema: Mapping[str, Any]
    assignee: str = ""
    asked_at: int = 0
    due_at: int | None = None
    run: str = ""

    def facts(self) -> dict[str, Any]:
        """Its form in the run's state, which knows whose it is."""
        return attrs.asdict(self, recurse=False, filter=attrs.filters.exclude("run"))


def read_asks(run: str, shown: Any) -> list[Ask]:
    """Open questions from a run's state; entries that a later version wrote otherwise keep what is known of them."""
    known = {field.name for field in attrs.fields(Ask)}
    listed = shown if isinstance(shown, list) else []
    return [Ask(**{**{key: value for key, value in facts.items() if key in known}, "run": run}) for facts in listed]
