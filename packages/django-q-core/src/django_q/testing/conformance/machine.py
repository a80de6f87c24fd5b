"""State machine: compares the answers to random operations of several clients with the predictions of a model.

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

from django_q.brokers import FAIR_FETCHES, AckId, Broker, Delivery
from django_q.testing.eventually import eventually

from .model import Model
from .suite import LONG_LEASE_SECONDS, TIMEOUT_SECONDS, MakeBroker, Suite, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIENTS = st.integers(0, 2)
"""Index of the client that makes a call."""

LEASE_POSITIONS = st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True)
"""Positions in the list of leases, including those that were lost."""

LIMITS = st.integers(1, 4) | st.integers(1, 20)
"""Maximum number of packages of a fetch. It is often small, so that packages of other priorities still wait."""

PRIORITIES = st.sampled_from((0, 0, 1, -1, 100, -100))
"""Priority of a package. There are few, so that several packages have the same."""

ENDLESS_DELAY_SECONDS = 800.0
"""Delay that does not end during a test."""

MAX_LOST_LEASES = 20
"""Maximum number of lost leases that are used again."""

MAX_LEASE_WAITS = 2
"""Maximum number of times that an example waits for leases to expire."""


def can(capability: str) -> Callable[[Any], Any]:
    """Apply a rule only to brokers with a capability."""
    return precondition(lambda machine: machine.knows[capability])


class Machine(RuleBasedStateMachine):
    """Several clients of one queue.

    Args:
        suite: conformance suite, which defines the promises.
        make_broker: function that returns a broker for the name of a queue.
    """

    def __init__(self, suite: Suite, make_broker: MakeBroker) -> None:
        super().__init__()
        list_key = f"machine-{uuid.uuid4().hex[:12]}"
        self.names = (f"package {number}" for number in itertools.count())
        self.clients = [suite.with_lease(make_broker(list_key), LONG_LEASE_SECONDS) for _ in range(3)]
        self.hasty = suite.with_lease(make_broker(list_key), suite.retry)
        self.waits = 0
        self.steps = 0
        first = self.clients[0]
        self.model = Model(in_order=suite.in_order, beside_leases=suite.beside_leases, priorities=first.priorities)
        self.knows = {
            "receipts": first.supports_receipts,
            "renewal": first.supports_renewal,
            "delay": first.supports_delay >= ENDLESS_DELAY_SECONDS,
            "release for later": first.supports_renewal and first.supports_delay >= ENDLESS_DELAY_SECONDS,
            "beside leases": suite.beside_leases,
            "ended leases": suite.knows_ended_leases,
            "expire": type(first).expire is not Broker.expire,
            "priorities": first.priorities > 1,
            "lock size": first.supports_lock_size and suite.promises("test_lock_size_does_not_count_delayed_releases"),
            "purge": suite.promises("test_purge_keeps_leases"),
            "short leases": not suite.lease_of_sender,
            "stale": suite.promises("test_lost_lease_cannot_acknowledge"),
        }

    # -- sending --------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS, priority=PRIORITIES)
    def send(self, client: int, priority: int) -> None:
        """Send one package."""
        package = next(self.names)
        self.clients[client].enqueue(package, **self._options(priority))
        self.model.sent([package], priority)

    @rule(client=CLIENTS, count=st.integers(0, 15), priority=PRIORITIES)
    def send_many(self, client: int, count: int, priority: int) -> None:
        """Send several packages of one priority in one call."""
        packages = list(itertools.islice(self.names, count))
        self.clients[client].enqueue_many(packages, **self._options(priority))
        self.model.sent(packages, priority)

    @can("delay")
    @rule(client=CLIENTS, priority=PRIORITIES)
    def send_for_later(self, client: int, priority: int) -> None:
        """Send a package with a delay that does not end during the test."""
        self.clients[client].enqueue(next(self.names), delay=ENDLESS_DELAY_SECONDS, **self._options(priority))

    def _options(self, priority: int) -> dict[str, int]:
        return {"priority": priority} if self.knows["priorities"] else {}

    # -- fetching -------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS, limit=LIMITS)
    def fetch(self, client: int, limit: int) -> None:
        """Fetch packages. If a package waits, at least one is delivered."""
        self._fetch(self.clients[client], limit)

    @can("priorities")
    @rule(client=CLIENTS, limit=LIMITS)
    def fetch_fairly(self, client: int, limit: int) -> None:
        """Make the fetch that begins with the oldest package of a lower priority."""
        self._fetch(self.clients[client], limit, fair=True)

    def _fetch(self, broker: Broker, limit: int, *, fair: bool = False) -> list[Delivery]:
        """Fetch packages.

        Args:
            broker: client that fetches.
            limit: maximum number of packages.
            fair: True if the fetch has to begin with the oldest package of a lower priority.
        """

        def dequeue(wait: float) -> list[Delivery]:
            broker._fetches = FAIR_FETCHES - 1 if fair else 0
            return broker.dequeue_many(limit, wait)

        found = dequeue(0)
        if self.model.waiting and not found and (self.knows["beside leases"] or not self.model.leased):
            found = eventually(lambda: dequeue(0.2), TIMEOUT_SECONDS)
        if broker.supports_bulk:
            assert len(found) <= limit
        self.model.fetched(found, fair=fair)
        return found

    @precondition(lambda machine: machine.waits < MAX_LEASE_WAITS and machine.knows["stale"] and machine.model.waiting)
    @can("renewal")
    @can("short leases")
    @rule(limit=st.integers(1, 5))
    def wait_for_leases(self, limit: int) -> None:
        """Fetch packages and let their leases expire."""
        self.waits += 1
        taken = [each.ack_id for each in self._fetch(self.hasty, limit)]
        time.sleep(self.hasty.settings.retry + 0.1)
        self.model.expired(taken)
        self._fetch(self.clients[0], 20)

    # -- settling -------------------------------------------------------------------------------------------------

    def _picked(self, picks: Sequence[int]) -> list[AckId | None]:
        """Choose among the current leases and the last ones that were lost."""
        stale = self.model.stale[-MAX_LOST_LEASES:] if self.knows["stale"] else []
        if not self.knows["ended leases"]:
            offered = {*self.model.waiting, *self.model.later}
            stale = [each for each in stale if text(each.package) not in offered]
        known = [*self.model.leased, *(each.ack_id for each in stale)]
        return list(dict.fromkeys(known[pick % len(known)] for pick in picks)) if known else []

    @can("receipts")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def acknowledge(self, client: int, picks: Sequence[int]) -> None:
        """Acknowledge packages."""
        self._acknowledge(self.clients[client], self._picked(picks))

    def _acknowledge(self, broker: Broker, ack_ids: list[AckId | None]) -> None:
        assert broker.acknowledge_many(ack_ids) == self.model.lost(ack_ids)
        self.model.acknowledged(ack_ids)

    @can("renewal")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def renew(self, client: int, picks: Sequence[int]) -> None:
        """Renew leases."""
        ack_ids = self._picked(picks)
        assert self.clients[client].renew(ack_ids) == self.model.lost(ack_ids)

    @can("renewal")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def release(self, client: int, picks: Sequence[int]) -> None:
        """Release packages without delay."""
        ack_ids = self._picked(picks)
        assert self.clients[client].release_many(ack_ids) == self.model.lost(ack_ids)
        self.model.released(ack_ids)

    @can("release for later")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def release_for_later(self, client: int, picks: Sequence[int]) -> None:
        """Release packages with a delay that does not end during the test."""
        ack_ids = self._picked(picks)
        assert self.clients[client].release_many(ack_ids, ENDLESS_DELAY_SECONDS) == self.model.lost(ack_ids)
        self.model.hidden(ack_ids)

    @can("expire")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def expire(self, client: int, picks: Sequence[int]) -> None:
        """Expire the lease of one package."""
        for ack_id in self._picked(picks)[:1]:
            assert (self.clients[client].expire(ack_id) is False) == bool(self.model.lost([ack_id]))
            self.model.expired([ack_id])

    @can("renewal")
    @rule(client=CLIENTS, picks=LEASE_POSITIONS)
    def move_to_dead_letters(self, client: int, picks: Sequence[int]) -> None:
        """Move one package to the dead letters."""
        deliveries = [held.delivery for held in self.model.leased.values()]
        known = {each.ack_id: each for each in [*self.model.stale, *deliveries]}
        for ack_id in self._picked(picks)[:1]:
            self.clients[client].move_to_dead_letters(known[ack_id])
            self.model.moved_to_dead_letters([ack_id])

    # -- the queue ------------------------------------------------------------------------------------------------

    @rule(client=CLIENTS, limit=st.integers(0, 3))
    def requeue_dead(self, client: int, limit: int) -> None:
        """Requeue some dead letters, then the others, because the contract does not define which are the first."""
        broker, count = self.clients[client], len(self.model.dead)
        assert broker.requeue_dead(limit) == min(limit, count)
        assert broker.requeue_dead() == count - min(limit, count)
        self.model.requeued()

    @can("purge")
    @rule(client=CLIENTS)
    def purge(self, client: int) -> None:
        """Delete the waiting packages."""
        self.clients[client].purge_queue()
        self.model.purged()

    @rule(client=CLIENTS, certain=st.integers(0, 3))
    def delete(self, client: int, certain: int) -> None:
        """Delete the queue, with a lower probability than other operations."""
        if not certain:
            self.clients[client].delete_queue()
            self.model.deleted()

    @rule(client=CLIENTS)
    def disconnect(self, client: int) -> None:
        """Close the connection, so that the next call connects again."""
        self.clients[client].disconnect()

    @rule(client=CLIENTS)
    def replace(self, client: int) -> None:
        """Replace a client by a pickled copy, as another process would use it."""
        self.clients[client] = pickle.loads(pickle.dumps(self.clients[client]))

    @invariant()
    def counts(self) -> None:
        """Compare the sizes of the queue."""
        self.steps += 1
        broker = self.clients[0]
        eventually(lambda: broker.queue_size() == len(self.model.waiting), TIMEOUT_SECONDS)
        eventually(lambda: broker.dead_size() == len(self.model.dead), TIMEOUT_SECONDS)
        if self.knows["lock size"]:
            eventually(lambda: broker.lock_size() == len(self.model.leased), TIMEOUT_SECONDS)

    def teardown(self) -> None:
        """Check that no package was lost, and delete the queue."""
        broker = self.clients[0]
        try:
            while self.model.waiting:
                if not self.knows["beside leases"]:
                    self._acknowledge(broker, list(self.model.leased))
                self._fetch(broker, 20)
            assert broker.dequeue_many(1, 0) == []
        finally:
            broker.delete_queue()
