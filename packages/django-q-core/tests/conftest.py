"""Fixtures of several modules: schedules of a cluster on a simulated clock, without a process."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.settings import ClusterSettings, current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import member_id, new_id
from django_q.wire.outcome import Outcome, encode

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
"""Monday at noon."""


class Clockwork:
    """Runs the scheduler of a cluster at times that the test sets."""

    def __init__(self, **changes) -> None:
        self.settings = replace(current_settings(), **changes)
        self.broker = get_broker(settings=self.settings)
        self.schedules = DueSchedules(self.settings, self.broker)

    def turn(self, now: datetime = NOW):
        """Make one pass."""
        return self.schedules.turn(now)

    def play(self, now: datetime = NOW) -> list[dict]:
        """Make passes until nothing more is due; return the queued packages."""
        while self.turn(now).more:
            pass
        return self.queued()

    def queued(self, queue: str | None = None) -> list[dict]:
        """Fetch all packages of a queue."""
        broker = get_broker(queue, settings=self.settings) if queue else self.broker
        codec = PackageCodec.of(self.settings)
        found = []
        while deliveries := broker.dequeue_many(1000, 0):
            found += [codec.loads(delivery.package) for delivery in deliveries]
            broker.acknowledge_many([delivery.ack_id for delivery in deliveries])
        return found


@pytest.fixture
def clockwork():
    """Return a function that creates a `Clockwork`, and empty its queues."""
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
    """Return a function that creates a due schedule."""

    def make(**columns) -> Schedule:
        columns = {"func": "math.floor", "args": "1.5", "schedule_type": "H", "next_run": NOW} | columns
        return Schedule.objects.create(**columns)

    return make


numbers = count(1)
noon = timezone.now()


def outcome(result: object = None, **fields: Any) -> Outcome:
    """Return the outcome of a task that stopped a second after the previous one."""
    number = next(numbers)
    return Outcome(
        **{
            "id": new_id(),
            "name": f"task-{number}",
            "func": "math.copysign",
            "hook": None,
            "args": encode((number, -1)),
            "kwargs": encode({}),
            "result": encode(result),
            "group": None,
            "cluster": "default",
            "started": noon,
            "stopped": noon + timedelta(seconds=number),
            "success": True,
        }
        | fields
    )


def member(iter_id: str, index: int, total: int, result: object = None, **fields: Any) -> Outcome:
    """Return the outcome of an iter's member, which is a failure if its result is an exception."""
    if isinstance(result, Exception):
        result, fields = str(result), {"success": False} | fields
    fields = {"args": encode((index,)), "func": "math.floor", "cached": True} | fields
    return outcome(result, **{"id": member_id(iter_id, index), "group": iter_id, "iter_count": total} | fields)


@pytest.fixture(name="member")
def member_maker() -> Callable[..., Outcome]:
    """Return the function `member`."""
    return member


@pytest.fixture(name="outcome")
def outcome_maker() -> Callable[..., Outcome]:
    """Return the function `outcome`."""
    return outcome


@pytest.fixture
def settings_of() -> Callable[..., ClusterSettings]:
    """Return a function that creates settings of a cluster."""
    return lambda **keys: ClusterSettings.from_mapping(keys)
