"""How a queue and its limits are spelt where only words fit: options, the environment, lists in pyproject.toml.

``gpu`` is a plain queue; ``gpu:concurrency=4:per_key=1:rate=10/60s:here=2`` has limits, in any order. Other colons belong to the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import click

from replay.cli import options
from replay.errors import InvalidRequest
from replay.model.queues import Queue, Rate

LIMITS: Final = ("concurrency", "per_key", "rate", "here")
_LIMIT: Final = re.compile(r"([a-z_]+)=(.*)")
_ADVICE: Final = "write gpu:concurrency=4:per_key=1:rate=10/60s:here=2, or some of it"


def queues_of(words: Iterable[str]) -> tuple[str | Queue, ...]:
    """Queues from their words."""
    return tuple(map(queue_of, words))


def queue_of(word: str) -> str | Queue:
    """A queue from its word.

    Raises:
        InvalidRequest: A limit is not known, or has no number.
    """
    *name, last = word.split(":")
    limits: dict[str, Any] = {}
    while name and (found := _LIMIT.fullmatch(last)):
        limit, text = found.groups()
        if limit not in LIMITS or limit in limits:
            problem = "is there twice" if limit in limits else "is no limit"
            raise InvalidRequest(f"queue {word!r}", f"{limit} {problem}", _ADVICE)
        limits[limit] = _rate(word, text) if limit == "rate" else _count(word, text)
        last = name.pop()
    spelt = ":".join([*name, last])
    return Queue(spelt, **limits) if limits else spelt


def _count(word: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidRequest(f"queue {word!r}", f"{text!r} is no number", _ADVICE)
    return int(text)


def _rate(word: str, text: str) -> Rate:
    count, slash, per = text.partition("/")
    try:
        return Rate(_count(word, count), per=options.duration(per) if slash else 1)
    except click.BadParameter as error:
        raise InvalidRequest(f"queue {word!r}", error.message, _ADVICE) from None
