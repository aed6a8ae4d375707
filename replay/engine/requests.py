"""What comes in to a worker, and what it does for those who ask: create runs, leave messages.

Rule 1: an engine's threads and its callers speak to a worker through its inbox, in these words, and in no other way.
Rule 2: what came in together goes to the store together. If that refuses it, each is tried alone: one caller's mistake is not
another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import attrs

from replay.engine.attempts import Beat
from replay.engine.claiming import Claimer
from replay.engine.held import Held
from replay.engine.leases import Leases
from replay.engine.offers import Offers
from replay.engine.settings import Settings
from replay.engine.steps import Done
from replay.errors import StoreError
from replay.model.effects import WorkflowSpec
from replay.model.events import Event
from replay.store.contract import Claimed, Created, Message, NewRun, Posted, RunKey, Store


class StartRequest(NamedTuple):
    """Create runs, and drive at once those that this worker offers."""

    runs: Sequence[NewRun]
    specs: Sequence[WorkflowSpec]
    future: Future[list[Created]]


class PostRequest(NamedTuple):
    """Leave messages."""

    messages: Sequence[Message]
    future: Future[list[Posted]]


class Wake(NamedTuple):
    """Something may have changed in the store."""


class WaitRequest(NamedTuple):
    """Somebody waits for a run that is not driven here: ask how it stands."""

    key: RunKey


class Stop(NamedTuple):
    """Take no more runs, let steps that run come to an end until then (microseconds), and give everything back."""

    until: int


Item = StartRequest | PostRequest | WaitRequest | Wake | Stop | Done | Beat


@attrs.define(eq=False)
class Desk:
    """What serves the clients of one worker.

    Args:
        store: Where runs and messages go.
        name: The worker's name.
        settings: How it works.
        held: The runs that it holds.
        offers: What it can drive.
        leases: Its leases.
        claimer: Takes what was created for this worker.
    """

    _store: Store
    _name: str
    _settings: Settings
    _held: Held
    _offers: Offers
    _leases: Leases
    _claimer: Claimer

    def start(self, requests: Sequence[StartRequest]) -> None:
        """Create what was asked for in one call of the store, leased to this worker as far as it has room."""
        for request in requests:
            self._offers.learn(request.specs)
        wanted = [run for request in requests for run in request.runs]
        room = self._settings.concurrency - len(self._held.live) if self._held.leaving is None else 0
        mine = [self._serves(run) for run in wanted]
        held = [run for run, own in zip(wanted, mine, strict=True) if own][: max(0, room)]
        chosen = {id(run) for run in held}
        others = [run for run in wanted if id(run) not in chosen]
        create, ttl = self._store.create, self._leases.ttl
        try:
            made = dict(zip(map(id, others), create(others) if others else [], strict=True))
            made.update(zip(map(id, held), create(held, worker=self._name, ttl=ttl) if held else [], strict=True))
        except Exception as error:  # noqa: BLE001 - border: a request that the store cannot take must not fail the others
            self._one_by_one(requests, self.start, error)
            return
        for request in requests:
            answers = [made[id(run)] for run in request.runs]
            for run, answer in zip(request.runs, answers, strict=True):
                if answer.new and answer.lease is not None:
                    self._claimer.take(Claimed(answer.run, answer.lease, recovery(run), ()))
            request.future.set_result(answers)
        if any(answer.new and answer.lease is None for answer in made.values()):
            self._held.claim_at = 0

    def post(self, requests: Sequence[PostRequest]) -> None:
        """Leave messages in one call of the store."""
        messages = [message for request in requests for message in request.messages]
        try:
            answers = self._store.post(messages)
        except Exception as error:  # noqa: BLE001 - border: a message that the store cannot take must not fail the others
            self._one_by_one(requests, self.post, error)
            return
        if Posted.DELIVERED in answers:
            self._held.claim_at = 0  # taken in by a claim also when the run is here: the store knows what was posted before
        for request in requests:
            taken, answers = answers[: len(request.messages)], answers[len(request.messages) :]
            request.future.set_result(taken)

    def _one_by_one(self, requests: Sequence[Any], again: Callable[[Sequence[Any]], None], error: Exception) -> None:
        """A batch was not taken: find out whose fault it is, unless the store is to blame or there is only one."""
        if len(requests) == 1 or isinstance(error, StoreError):
            for request in requests:
                request.future.set_exception(error)
            return
        for request in requests:
            again([request])

    def _serves(self, run: NewRun) -> bool:
        known = self._offers.find(run.workflow, run.version) is not None
        mine = self._settings
        return known and run.queue in mine.queues and run.key.namespace == mine.namespace  # a ``Queue`` is no name


def recovery(run: NewRun) -> Sequence[Event]:
    """What a claim of a run just created would hand out: its newest savepoint with state makes what lies before needless."""
    return run.events if run.base <= 1 else [run.events[0], *run.events[run.base - 1 :]]
