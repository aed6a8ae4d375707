"""Transactions: a step's own writing and its answer become durable together, or neither does."""

# ruff: noqa: SIM300 - expected value first is the house's order

from __future__ import annotations

from typing import Any

import pytest

from replay.store.contract import Capability, Commit, Committed, TransactionalStore
from replay.testing.store_suite.case import StoreCase, begin, journal, key, ready, turn


class OutOfStock(Exception):
    """What a user's step may raise."""


class Transacting(StoreCase):
    """What ``transact`` promises."""

    def write_own(self, connection: Any, word: str) -> None:
        """Write a word into a table of the user's own, through the connection that ``transact`` hands out."""
        raise NotImplementedError("say how a user's step writes: override `write_own`")

    def own_words(self, store: Any) -> list[str]:
        """All words that were durably written so."""
        raise NotImplementedError("say what the user's table holds: override `own_words`")

    def test_the_store_says_that_it_can(self, store: TransactionalStore) -> None:
        """Steps ask its capabilities before they ask for a connection."""
        assert Capability.TRANSACTIONS in store.capabilities

    def test_a_transaction_commits_both(self, store: TransactionalStore) -> None:
        """The user's row and the journal's event."""
        lease = begin(store)

        def work(connection: Any) -> Commit:
            self.write_own(connection, "sold")
            return turn(lease, 1)

        assert Committed.APPLIED is store.transact(work)
        assert (["sold"], journal(2)) == (self.own_words(store), store.journal(key()))

    def test_a_transaction_of_a_step_that_raises_commits_nothing(self, store: TransactionalStore) -> None:
        """The error is the caller's, the row is gone, the run can go on."""
        lease = begin(store)

        def work(connection: Any) -> Commit:
            self.write_own(connection, "sold")
            raise OutOfStock

        with pytest.raises(OutOfStock):
            store.transact(work)

        assert ([], journal(1)) == (self.own_words(store), store.journal(key()))
        assert [Committed.APPLIED] == store.commit([turn(lease, 1)])

    @pytest.mark.parametrize("part", ["fence", "length"])
    def test_a_refused_transaction_commits_nothing(self, store: TransactionalStore, part: str) -> None:
        """Whoever was deposed, or has the wrong length, has not written its row either."""
        lease = begin(store)
        refused = {"fence": turn(lease._replace(fence=9), 1), "length": turn(lease, 5)}
        answers = {"fence": Committed.FENCED, "length": Committed.CONFLICT}

        def work(connection: Any) -> Commit:
            self.write_own(connection, "sold")
            return refused[part]

        assert answers[part] is store.transact(work)
        assert ([], journal(1)) == (self.own_words(store), store.journal(key()))

    def test_a_transaction_does_all_that_a_commit_does(self, store: TransactionalStore) -> None:
        """It closes, releases, and sets the index."""
        lease = begin(store)

        answer = store.transact(lambda _: turn(lease, 1, status="completed", result=b"0"))

        run = store.get([key()])[0]
        assert run is not None
        assert (Committed.APPLIED, "completed", b"0", "") == (answer, run.status, run.result, run.worker)
        assert [] == ready(store)
