"""How a queue and its limits are spelt in one word."""

from __future__ import annotations

import pytest

from replay import InvalidRequest, Queue, Rate
from replay.cli.queueing import queue_of, queues_of


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gpu", "gpu"),
        ("team:gpu", "team:gpu"),
        ("gpu:concurrency=4", Queue("gpu", concurrency=4)),
        ("team:gpu:here=2:per_key=1", Queue("team:gpu", per_key=1, here=2)),
        ("gpu:rate=10/60s", Queue("gpu", rate=Rate(10, per=60))),
        ("gpu:rate=5", Queue("gpu", rate=Rate(5))),
        ("gpu:rate=10/2h:concurrency=1", Queue("gpu", concurrency=1, rate=Rate(10, per=7200))),
    ],
)
def test_a_word_is_a_queue(word: str, expected: str | Queue) -> None:
    """A name alone is a plain one; limits stand behind it, in any order; other colons are part of the name."""
    assert expected == queue_of(word)


@pytest.mark.parametrize(
    "word", ["gpu:speed=4", "gpu:here=two", "gpu:concurrency=0", "gpu:rate=10/soon", "gpu:rate=0/60s", "gpu:here=1:here=2", ":here=1"]
)
def test_a_word_that_is_none_is_refused(word: str) -> None:
    """With what it could be."""
    with pytest.raises(InvalidRequest):
        queue_of(word)


def test_words_are_queues() -> None:
    """In their order."""
    assert ("default", Queue("gpu", here=1)) == queues_of(["default", "gpu:here=1"])
