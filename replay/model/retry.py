"""When to try again: exponential back-off with a cap and jitter, as plain arithmetic.

The chance that jitter needs is an argument, so the same call gives the same delay and tests need no patience.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs


def _positive(_owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        message = f"Retry.{field.name} must be a number from 0 up, got {value!r}"
        raise ValueError(message)


def _count(_owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        message = f"Retry.{field.name} must be a whole number from 1 up, got {value!r}"
        raise ValueError(message)


def _fraction(_owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        message = f"Retry.{field.name} must be from 0 to 1, got {value!r}"
        raise ValueError(message)


def _kinds(given: type[BaseException] | Iterable[type[BaseException]]) -> tuple[type[BaseException], ...]:
    return (given,) if isinstance(given, type) else tuple(given)


def _exceptions(_owner: Any, field: attrs.Attribute[Any], kinds: tuple[Any, ...]) -> None:
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            message = f"Retry.{field.name} must be exception classes, such as [OSError], got {kind!r}"
            raise ValueError(message)  # noqa: TRY004 - one kind of error for what cannot work


@attrs.frozen(kw_only=True)
class Retry:
    """How often and how patiently a step or a run is tried again.

    Attributes:
        max_attempts: Attempts in all; 1 means never again.
        initial: Seconds before the second attempt.
        factor: By which each further delay grows.
        max_delay: The longest delay, in seconds.
        jitter: Fraction of the delay that chance may take away, 0 to 1; it keeps a crowd from coming back at once.
        retry_on: Exception types worth another attempt.
        give_up_on: Exception types that end it at once; stronger than ``retry_on``.
    """

    max_attempts: int = attrs.field(default=3, validator=_count)
    initial: float = attrs.field(default=0.2, validator=_positive)
    factor: float = attrs.field(default=2.0, validator=_positive)
    max_delay: float = attrs.field(default=60.0, validator=_positive)
    jitter: float = attrs.field(default=0.1, validator=_fraction)
    retry_on: tuple[type[BaseException], ...] = attrs.field(default=(Exception,), converter=_kinds, validator=_exceptions)
    give_up_on: tuple[type[BaseException], ...] = attrs.field(default=(), converter=_kinds, validator=_exceptions)

    def allows(self, error: BaseException, attempt: int) -> bool:
        """Whether another attempt follows after ``attempt`` of them (from 1) ended with ``error``."""
        return attempt < self.max_attempts and isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def delay(self, attempt: int, *, chance: float) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed.

        Args:
            attempt: How many attempts have failed.
            chance: A number from 0 to 1 that spreads the crowd.
        """
        if self.initial == 0:
            return 0.0
        try:
            delay = min(self.max_delay, self.initial * self.factor ** (attempt - 1))
        except OverflowError:
            delay = self.max_delay
        return delay * (1.0 - self.jitter * chance)


ONCE = Retry(max_attempts=1)
"""The default of steps: try once. A step may do a thing twice only where its author says so."""
