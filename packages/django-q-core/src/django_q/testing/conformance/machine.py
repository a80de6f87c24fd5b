"""Random operations on one queue, of several clients, each answer compared with the prediction of a model.

This module needs hypothesis.
"""

from __future__ import annotations

import itertools
import pickle
import time
import uuid
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from django_q.brokers import AckId, Broker, Delivery
from django_q.testing.eventually import eventually

from .model import Model
from .suite import PATIENT, TIMEOUT, MakeBroker, Suite, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIENTS = st.integers(0, 2)
"""Which of the clients makes a call."""

PICKS = st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True)
"""Positions in the list of leases, those that were lost included."""

NEVER = 800.0
"""Seconds of delays that do not end during a test."""

MAX_STALE = 20
"""Number of lost leases that are used again."""

WAITS = 2
"""Number of times that an example waits for leases to end."""


def can(capability: str) -> Callable[[Any], Any]:
    """Apply a rule only to brokers with a capability."""
    return precondition(lambda machine: machine.knows[capability])


class Machine(RuleBasedStateMachine):
    """Several clients of one queue.

    Args:
        suite: the conformance suite, which says what is promised.
        make_broker: makes a client of a queue.
    """

    def __init__(self, suite: Suite, make_broker: MakeBroker) -> None:
        super().__init__()
        list_key = f"machine-{uuid.uuid4().hex[:12]}"
        self.model = Model(in_order=suite.in_order)
        self.names = (f"package {number}" for number in itertools.count())
        self.clients = [suite.with_lease(make_broker(list_key), PATIENT) for _ in range(3)]
        self.hasty = suite.with_lease(make_broker(list_key), suite.retry)
        self.waits = 0
        self.steps = 0
        first = self.clients[0]
        self.knows = {
            "receipts": first.supports_receipts,
            "renewal": first.supports_renewal,
            "delay": first.supports_delay >= NEVER,
            "release for later": first.supports_renewal and first.supports_delay >= NEVER,
            "beside leases": suite.beside_leases,
            "ended leases": suite.knows_ended_leases,
            "expire": type(first).expire is not Broker.expire,
            "lock size": first.supports_lock_size
            and suite.promises("test_lock_size_does_not_count_what_was_released_for_later"),
            "purge": suite.promises("test_purge_keeps_leases"),
            "short leases": not suite.lease_of_sender,
            "stale": suite.promises("test_lost_lease_cannot_acknowledge"),
        }

    # -- sending --------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS)
    def send(self, client: int) -> None:
        """Send one."""
        package = next(self.names)
        self.clients[client].enqueue(package)
        self.model.sent([package])

    @rule(client=CLIENTS, count=st.integers(0, 15))
    def send_many(self, client: int, count: int) -> None:
        """Send several at once."""
        packages = list(itertools.islice(self.names, count))
        self.clients[client].enqueue_many(packages)
        self.model.sent(packages)

    @can("delay")
    @rule(client=CLIENTS)
    def send_for_later(self, client: int) -> None:
        """Send one that is delivered to no consumer of the test."""
        self.clients[client].enqueue(next(self.names), delay=NEVER)

    # -- fetching -------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS, limit=st.integers(1, 20))
    def fetch(self, client: int, limit: int) -> None:
        """Take some; where something waits, something comes."""
        self._fetch(self.clients[client], limit)

    def _fetch(self, broker: Broker, limit: int) -> list[Delivery]:
        found: list[Delivery] = broker.dequeue_many(limit, 0)
        if self.model.waiting and not found and (self.knows["beside leases"] or not self.model.leased):
            found = eventually(lambda: broker.dequeue_many(limit, 0.2), TIMEOUT)
        if broker.supports_bulk:
            assert len(found) <= limit
        self.model.fetched(found)
        return found

    @precondition(lambda machine: machine.waits < WAITS and machine.knows["stale"] and machine.model.waiting)
    @can("renewal")
    @can("short leases")
    @rule(limit=st.integers(1, 5))
    def wait_for_leases(self, limit: int) -> None:
        """Take some, and let their leases end."""
        self.waits += 1
        taken = [each.ack_id for each in self._fetch(self.hasty, limit)]
        time.sleep(self.hasty.settings.retry + 0.1)
        self.model.expired(taken)
        self._fetch(self.clients[0], 20)

    # -- settling -------------------------------------------------------------------------------------------------

    def _picked(self, picks: Sequence[int]) -> list[AckId | None]:
        """Choose among the leases, and the last of those that were lost."""
        stale = self.model.stale[-MAX_STALE:] if self.knows["stale"] else []
        if not self.knows["ended leases"]:
            offered = {*self.model.waiting, *self.model.later}
            stale = [each for each in stale if text(each.package) not in offered]
        known = [*self.model.leased, *(each.ack_id for each in stale)]
        return list(dict.fromkeys(known[pick % len(known)] for pick in picks)) if known else []

    @can("receipts")
    @rule(client=CLIENTS, picks=PICKS)
    def acknowledge(self, client: int, picks: Sequence[int]) -> None:
        """Acknowledge some."""
        self._acknowledge(self.clients[client], self._picked(picks))

    def _acknowledge(self, broker: Broker, ack_ids: list[AckId | None]) -> None:
        assert broker.acknowledge_many(ack_ids) == self.model.lost(ack_ids)
        self.model.acknowledged(ack_ids)

    @can("renewal")
    @rule(client=CLIENTS, picks=PICKS)
    def renew(self, client: int, picks: Sequence[int]) -> None:
        """Renew some."""
        ack_ids = self._picked(picks)
        assert self.clients[client].renew(ack_ids) == self.model.lost(ack_ids)

    @can("renewal")
    @rule(client=CLIENTS, picks=PICKS)
    def release(self, client: int, picks: Sequence[int]) -> None:
        """Release some."""
        ack_ids = self._picked(picks)
        assert self.clients[client].release_many(ack_ids) == self.model.lost(ack_ids)
        self.model.released(ack_ids)

    @can("release for later")
    @rule(client=CLIENTS, picks=PICKS)
    def release_for_later(self, client: int, picks: Sequence[int]) -> None:
        """Release some that are delivered to no consumer of the test again."""
        ack_ids = self._picked(picks)
        assert self.clients[client].release_many(ack_ids, NEVER) == self.model.lost(ack_ids)
        self.model.hidden(ack_ids)

    @can("expire")
    @rule(client=CLIENTS, picks=PICKS)
    def expire(self, client: int, picks: Sequence[int]) -> None:
        """End the lease of one."""
        for ack_id in self._picked(picks)[:1]:
            assert (self.clients[client].expire(ack_id) is False) == bool(self.model.lost([ack_id]))
            self.model.expired([ack_id])

    @can("renewal")
    @rule(client=CLIENTS, picks=PICKS)
    def move_to_dead_letters(self, client: int, picks: Sequence[int]) -> None:
        """Make one a dead letter."""
        deliveries = [held.delivery for held in self.model.leased.values()]
        known = {each.ack_id: each for each in [*self.model.stale, *deliveries]}
        for ack_id in self._picked(picks)[:1]:
            self.clients[client].move_to_dead_letters(known[ack_id])
            self.model.moved_to_dead_letters([ack_id])

    # -- the queue ------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS, limit=st.integers(0, 3))
    def requeue_dead(self, client: int, limit: int) -> None:
        """Bring back some dead letters, then the others: which were first is not told."""
        broker, count = self.clients[client], len(self.model.dead)
        assert broker.requeue_dead(limit) == min(limit, count)
        assert broker.requeue_dead() == count - min(limit, count)
        self.model.requeued()

    @can("purge")
    @rule(client=CLIENTS)
    def purge(self, client: int) -> None:
        """Forget what waits."""
        self.clients[client].purge_queue()
        self.model.purged()

    @rule(client=CLIENTS, certain=st.integers(0, 3))
    def delete(self, client: int, certain: int) -> None:
        """Forget the queue, less often than other things are done."""
        if not certain:
            self.clients[client].delete_queue()
            self.model.deleted()

    @rule(client=CLIENTS)
    def disconnect(self, client: int) -> None:
        """Connect anew."""
        self.clients[client].disconnect()

    @rule(client=CLIENTS)
    def replace(self, client: int) -> None:
        """Use a copy, as another process has it."""
        self.clients[client] = pickle.loads(pickle.dumps(self.clients[client]))

    @invariant()
    def counts(self) -> None:
        """Compare the sizes."""
        self.steps += 1
        broker = self.clients[0]
        eventually(lambda: broker.queue_size() == len(self.model.waiting), TIMEOUT)
        eventually(lambda: broker.dead_size() == len(self.model.dead), TIMEOUT)
        if self.knows["lock size"]:
            eventually(lambda: broker.lock_size() == len(self.model.leased), TIMEOUT)

    def teardown(self) -> None:
        """Find that nothing is lost, and delete the queue."""
        broker = self.clients[0]
        try:
            while self.model.waiting:
                if not self.knows["beside leases"]:
                    self._acknowledge(broker, list(self.model.leased))
                self._fetch(broker, 20)
            assert broker.dequeue_many(1, 0) == []
        finally:
            broker.delete_queue()
