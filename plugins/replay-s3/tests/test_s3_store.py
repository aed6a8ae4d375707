"""A bucket keeps every promise of a store."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from replay_s3.heads import slug
from replay_s3.store import S3Store, open_s3

from replay.hooks import RunKey, Store
from replay.testing import StoreContract, VirtualClock

pytestmark = pytest.mark.s3


class BucketCase:
    """What the suite is given."""

    backlog = 420

    @pytest.fixture
    def store(self, clock: VirtualClock, url: str) -> Iterator[Store]:
        opened = open_s3(url, clock=clock)
        yield opened
        opened.close()

    @pytest.fixture
    def open_again(self, clock: VirtualClock, url: str) -> Any:
        return lambda: open_s3(url, clock=clock)

    def damage(self, store: Any, key: RunKey, seq: int) -> None:
        self._edit(store, key, lambda tail: tail[seq - 1].__setitem__(3, tail[seq - 1][3].swapcase()))

    def lose(self, store: Any, key: RunKey, seq: int) -> None:
        self._edit(store, key, lambda tail: tail.pop(seq - 1))

    def _edit(self, store: S3Store, key: RunKey, edit: Any) -> None:
        place = f"runs/{slug(key)}/head"
        found = store.bucket.get(place)
        assert found is not None
        head = json.loads(found.body)
        edit(head["tail"])
        store.bucket.put(place, json.dumps(head).encode())


class TestS3(BucketCase, StoreContract):
    """The conformance suite, on a quick S3 server."""


class TestS3OnCeph(BucketCase, StoreContract):
    """The same on a real one, whose two gateways serve one cluster: every other handle on the store goes by the other gateway."""

    @pytest.fixture
    def url(self, real_urls: list[str]) -> str:
        return real_urls[0]

    @pytest.fixture
    def open_again(self, clock: VirtualClock, real_urls: list[str]) -> Any:
        others = itertools.cycle(reversed(real_urls))
        return lambda: open_s3(next(others), clock=clock)
