"""What users teach the codec: older shapes of their types, and types that it does not know.

Types change over the years, bytes in journals do not: an upcaster turns an older shape into today's.

Rule 1: upcasters of a class run, in the order of their registration, on the JSON of every value of that class that is
read, before it is structured.
Rule 2: so each must leave a current shape as it is: ask for the old key before moving it.
Rule 3: they get JSON and give JSON; they must not change their argument in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

Upcast = Callable[[Any], Any]
F = TypeVar("F", bound=Upcast)

_registered: Final[dict[type, tuple[Upcast, Upcast]]] = {}
_upcasters: Final[WeakKeyDictionary[type, list[Upcast]]] = WeakKeyDictionary()


def upcaster(cls: type) -> Callable[[F], F]:
    """Register a function that turns an older JSON shape of a class into the current one.

    Several form a chain, in order of registration. Each sees every value of the class, so it must give a current shape
    back unchanged::

        @upcaster(Price)
        def price_had_cents(raw: Any) -> Any:
            if "cents" in raw:
                return {"amount": str(Decimal(raw["cents"]) / 100), "currency": "EUR"}
            return raw

    Args:
        cls: An attrs class, dataclass, TypedDict, NamedTuple, Enum or pydantic model.
    """

    def register(fn: F) -> F:
        upcasters_of(cls).append(fn)
        return fn

    return register


def upcasters_of(cls: type) -> list[Upcast]:
    """Give the live list of a class's upcasters."""
    return _upcasters.setdefault(cls, [])


def register_type(cls: type, *, unstructure: Callable[[Any], Any], structure: Callable[[Any], Any]) -> None:
    """Teach the codec a class that it does not know; do so before the first value of it is written or read.

    Each value that is written is read back once, to show that both ways agree.

    Args:
        cls: The class; instances of subclasses are taken too.
        unstructure: Makes plain JSON of an instance.
        structure: Makes an instance of that JSON; raises any exception when it does not fit.
    """
    _registered[cls] = (unstructure, structure)


def registered(cls: Any) -> tuple[Upcast, Upcast] | None:
    """Give both ways of a class that was registered."""
    return _registered.get(cls) if isinstance(cls, type) else None
