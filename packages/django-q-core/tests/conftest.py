"""Fixtures of several modules: schedules of a cluster on a simulated clock, without a process."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django_q.brokers import get_broker
from django_q.conf import current_settings
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.signing import PackageCodec

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
"""A Monday."""


class Clockwork:
    """The scheduler of a cluster, at times that the test sets."""

    def __init__(self, **changes) -> None:
        self.settings = replace(current_settings(), **changes)
        self.broker = get_broker(settings=self.settings)
        self.schedules = DueSchedules(self.settings, self.broker)

    def turn(self, now: datetime = NOW):
        """One look."""
        return self.schedules.turn(now)

    def play(self, now: datetime = NOW) -> list[dict]:
        """Look until nothing more is due; the packages that were queued."""
        while self.turn(now).more:
            pass
        return self.queued()

    def queued(self, queue: str | None = None) -> list[dict]:
        """Take all packages of a queue."""
        broker = get_broker(queue, settings=self.settings) if queue else self.broker
        codec = PackageCodec.of(self.settings)
        found = []
        while deliveries := broker.dequeue_many(1000, 0):
            found += [codec.loads(delivery.package) for delivery in deliveries]
            broker.acknowledge_many([delivery.ack_id for delivery in deliveries])
        return found


@pytest.fixture
def clockwork():
    """Makes a clockwork, and empties its queues."""
    made = []

    def make(**changes) -> Clockwork:
        made.append(Clockwork(**changes))
        made[-1].broker.delete_queue()
        return made[-1]

    yield make
    for each in made:
        each.broker.delete_queue()


@pytest.fixture
def due(db):
    """Makes a schedule that is due."""

    def make(**columns) -> Schedule:
        columns = {"func": "math.floor", "args": "1.5", "schedule_type": "H", "next_run": NOW} | columns
        return Schedule.objects.create(**columns)

    return make
