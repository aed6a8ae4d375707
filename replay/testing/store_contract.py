"""The suite that every store runs: a store is a store when this passes.

A plugin author subclasses it with one fixture, and is done::

    from replay.testing import StoreContract, VirtualClock

    class TestShelves(StoreContract):
        @pytest.fixture
        def store(self, clock: VirtualClock, tmp_path: Path) -> Iterator[Store]:
            store = open_shelves(f"shelves://{tmp_path}", clock=clock)
            yield store
            store.close()

More can be given, and more is then tested:

- the fixture ``open_again``: a function that opens another handle on the same medium, as after a crash or in another process;
- the methods ``damage`` and ``lose``: how to flip a bit of an event, and how to take one out, in the medium;
- ``busy_seconds``: how long the mixed load runs, usually 3 or what ``REPLAY_BUSY_SECONDS`` in the environment says;
- for a store whose transactions a step can share, ``TransactionContract`` beside it.

What is not given is skipped, and says so.
"""

from __future__ import annotations

from replay.testing.store_suite.carrying import Carrying
from replay.testing.store_suite.committing import Committing
from replay.testing.store_suite.creating import Creating
from replay.testing.store_suite.enduring import Enduring
from replay.testing.store_suite.leasing import Leasing
from replay.testing.store_suite.limiting import Limiting
from replay.testing.store_suite.messaging import Messaging
from replay.testing.store_suite.reading import Reading
from replay.testing.store_suite.transacting import Transacting


class StoreContract(Creating, Leasing, Limiting, Committing, Messaging, Reading, Carrying, Enduring):
    """Every promise that a store makes, each as a test."""


class TransactionContract(Transacting):
    """What a store promises beyond that when its capabilities name ``TRANSACTIONS``."""
