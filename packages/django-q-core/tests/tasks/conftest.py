"""A cluster without processes: the test calls pusher, worker and monitor in turn."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django_q.brokers import shared_broker
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.settings import current_settings


class Turns:
    """The steps of a cluster, one package after another.

    Its settings are those of the moment, so that a test may override them.
    """

    def __init__(self) -> None:
        self.settings = current_settings()
        self.broker = shared_broker(self.settings)
        self.executor = Executor(self.settings)
        self.finisher = Finisher(self.settings, self.broker)
        self.ran: list[dict] = []

    def take(self, limit: int = 1) -> list:
        """Lease packages."""
        return self.broker.dequeue_many(limit, 0)

    def run(self, delivery):
        """Execute packages as a worker does."""
        package = self.executor.codec.loads(delivery.package)
        self.ran.append(package)
        return self.executor.execute(package, ack_id=delivery.ack_id, attempt=delivery.attempt)

    def turn(self, limit: int = 1) -> int:
        """Lease, execute and finish packages as one batch; return their number."""
        outcomes = [self.run(delivery) for delivery in self.take(limit)]
        self.finisher.finish(outcomes)
        return len(outcomes)

    def all(self, limit: int = 1) -> int:
        """Repeat until no package waits."""
        done = 0
        while some := self.turn(limit):
            done += some
        return done

    def waiting(self) -> list[dict]:
        """Lease all waiting packages, without executing them."""
        return [self.executor.codec.loads(delivery.package) for delivery in self.take(1000)]


@pytest.fixture
def make_turns(db):
    """Makes one after the settings were changed; its queue and the cache are empty."""
    made = []

    def make() -> Turns:
        made.append(Turns())
        made[-1].broker.delete_queue()
        return made[-1]

    cache.clear()
    yield make
    for each in made:
        each.broker.delete_queue()
    cache.clear()


@pytest.fixture
def turns(make_turns):
    """A cluster of the test settings."""
    return make_turns()
