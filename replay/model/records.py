"""Records: values that nobody changes, of which every run and every turn builds some.

``record`` is ``attrs.frozen`` to whoever checks types, and ``attrs.define`` to the program that runs: an object that guards itself
against change takes three times as long to build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    from attrs import define as record

__all__ = ["record"]
