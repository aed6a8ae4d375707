"""How a step is done and how a run is started: policy, which may change while a run is open; identity may not.

Rule: an option that cannot work is refused where it is written, never at its first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import attrs

from replay.errors import DefinitionError, describe
from replay.model.budgets import Limits
from replay.model.names import Micros, QueueName, micros
from replay.model.retry import Retry

KEY_LIMIT: Final = 512
"""Characters of a fairness key."""
OnCancel = Literal["abandon", "wait"]
OnParentClose = Literal["cancel", "abandon", "wait"]


def require_retry(owner: str, retry: Any) -> None:
    """A retry policy must be one.

    Raises:
        DefinitionError: It is something else.
    """
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(owner, f"retry must be a Retry, got {describe(retry)}", "write retry=Retry(max_attempts=3)")


@attrs.frozen(kw_only=True)
class StepOptions:
    """How a step is done.

    Attributes:
        retry: When to try again.
        timeout: Seconds that one attempt may take, or None.
        heartbeat: Seconds that one attempt may be silent, or None.
        queue: The task queue whose workers do it, or None for here.
        key: Whose share of that queue it takes, or None for its run's own.
        at_most_once: Never begin it twice: ``StepInterrupted`` when a crash leaves its end unknown.
        transactional: Hand it the connection whose transaction also commits its answer.
        compare_arguments: Whether replay compares a checksum of the arguments.
        on_cancel: Whether cancelling abandons it or waits for its end.
        raises: Exception types that come back as themselves.
        id: A name of its own for the idempotency key, or empty.
    """

    retry: Retry
    timeout: float | None = None
    heartbeat: float | None = None
    queue: QueueName | None = None
    key: str | None = None
    at_most_once: bool = False
    transactional: bool = False
    compare_arguments: bool = True
    on_cancel: OnCancel = "abandon"
    raises: tuple[type[Exception], ...] = ()
    id: str = ""

    def checked(self, owner: str) -> Self:
        """These options, if they can work.

        Raises:
            DefinitionError: One of them cannot; ``owner`` is named in it.
        """
        require_retry(owner, self.retry)
        for fits, problem, advice in _STEP_RULES:
            if not fits(self):
                raise DefinitionError(owner, problem(self), advice)
        return self


def _is_span(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and 0 < seconds < float("inf")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= KEY_LIMIT and key.isprintable()


_STEP_RULES: Final[Any] = (
    (
        lambda step: step.timeout is None or _is_span(step.timeout),
        lambda step: f"timeout must be more than 0 seconds, got {describe(step.timeout)}",
        "leave it out for no limit",
    ),
    (
        lambda step: step.heartbeat is None or _is_span(step.heartbeat),
        lambda step: f"heartbeat must be more than 0 seconds, got {describe(step.heartbeat)}",
        "leave it out for a step that may be silent",
    ),
    (
        lambda step: step.queue is None or _is_name(step.queue),
        lambda step: f"queue must be a name, got {describe(step.queue)}",
        "leave it out for here",
    ),
    (
        lambda step: step.key is None or _is_key(step.key),
        lambda step: f"key must be a text of at most {KEY_LIMIT} characters, got {describe(step.key)}",
        'write key="customer-7"',
    ),
    (
        lambda step: step.on_cancel in {"abandon", "wait"},
        lambda step: f"on_cancel must be 'abandon' or 'wait', got {describe(step.on_cancel)}",
        "leave it out for 'abandon'",
    ),
    (
        lambda step: all(isinstance(kind, type) and issubclass(kind, Exception) for kind in step.raises),
        lambda step: f"raises must be exception classes, got {describe(step.raises)}",
        "write raises=[PaymentDeclined]",
    ),
    (
        lambda step: not step.transactional or (step.timeout is None and step.heartbeat is None),
        lambda _step: "it is transactional and has a timeout or a heartbeat, which nothing could keep",
        "limit the statement itself, by what the database offers",
    ),
    (
        lambda step: not step.at_most_once or step.retry.max_attempts == 1,
        lambda _step: "it is at_most_once and has a retry policy",
        "choose one of them",
    ),
)


def require_span(owner: str, what: str, seconds: Any) -> Micros:
    """A span that an option gives, in microseconds.

    Raises:
        DefinitionError: It is no span.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        problem = f"{what} must be 0 seconds or more, got {describe(seconds)}"
        raise DefinitionError(owner, problem, "leave it out for none")
    return micros(seconds)


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is started.

    Attributes:
        id: Its id; for a child, empty means parent's id and command.
        queue: The task queue whose workers drive it, or None for the workflow's own.
        key: Whose share of the queue it takes, such as a customer's; for a child, None means its parent's.
        priority: Higher first among runs that wait in one queue.
        delay: Microseconds before it may begin.
        deadline: Microseconds that it may take in all, or None.
        tags: Words to find it by.
        retry: When a failed run is begun again, or None.
        on_parent_close: What becomes of a child when its parent ends.
        budget: What its calls of language models may spend, or None.
    """

    id: str = ""
    queue: QueueName | None = None
    key: str | None = None
    priority: int = 0
    delay: Micros = Micros(0)
    deadline: Micros | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)
    retry: Retry | None = None
    on_parent_close: OnParentClose = "cancel"
    budget: Limits | None = None

    def checked(self, owner: str) -> Self:
        """These options, if they can work.

        Raises:
            DefinitionError: One of them cannot; ``owner`` is named in it.
        """
        require_retry(owner, self.retry)
        if self.queue is not None and not _is_name(self.queue):
            raise DefinitionError(owner, f"queue must be a name, got {describe(self.queue)}", "leave it out for the workflow's own")
        if self.key is not None and not _is_key(self.key):
            problem = f"key must be a text of at most {KEY_LIMIT} characters, got {describe(self.key)}"
            raise DefinitionError(owner, problem, 'write key="customer-7"')
        if not isinstance(self.priority, int):
            raise DefinitionError(owner, f"priority must be a whole number, got {describe(self.priority)}", "write priority=1")
        if not isinstance(self.tags, Mapping):
            raise DefinitionError(owner, f"tags must be words by name, got {describe(self.tags)}", 'write tags={"team": "blue"}')
        if self.on_parent_close not in {"cancel", "abandon", "wait"}:
            problem = f"on_parent_close must be 'cancel', 'abandon' or 'wait', got {describe(self.on_parent_close)}"
            raise DefinitionError(owner, problem, "leave it out for 'cancel'")
        return self
