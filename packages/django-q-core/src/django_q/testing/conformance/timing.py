"""Promises about the duration of waits, leases and delays."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import math
import os
import pickle
import threading
import time
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest
from django.db import connections

from django_q.brokers import Broker

from .neighbours import in_thread
from .suite import (
    CLOCK_SKEW_SECONDS,
    DELAY_SECONDS,
    TIMEOUT_SECONDS,
    Suite,
    best_measurement,
    needs,
    nothing_comes,
    take,
    take_many,
    text,
    tolerance,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers import AckId, Delivery

LONG_DELAYS_SECONDS = (61.0, 901.0, 3_601.0, 90_000.0, 31 * 86_400.0)
"""Delays that may not end during a test. Those beyond `supports_delay` are skipped."""

SLOW_DELAY_SECONDS = 62.0
"""Longest delay whose end a test waits for."""


class WaitingPromises(Suite):
    """A fetch from an empty queue waits, and no longer than requested."""

    def test_empty_queue_returns_nothing_after_the_wait(self, broker: Broker) -> None:
        def late() -> float:
            started = time.monotonic()
            assert broker.dequeue_many(1, 0.3) == []
            return time.monotonic() - started - 0.3

        assert best_measurement(late, tolerance(broker)) <= tolerance(broker)

    def test_empty_queue_is_not_waited_for_without_a_wait(self, broker: Broker) -> None:
        def late() -> float:
            started = time.monotonic()
            assert broker.dequeue_many(1, 0) == []
            return time.monotonic() - started

        assert best_measurement(late, tolerance(broker)) <= tolerance(broker)

    def test_dequeue_of_an_empty_queue_returns_nothing(self, broker: Broker) -> None:
        def late() -> float:
            started = time.monotonic()
            assert not broker.dequeue()
            return time.monotonic() - started - 1

        assert best_measurement(late, tolerance(broker)) <= tolerance(broker)

    def test_dequeue_returns_ids_and_packages(self, broker: Broker) -> None:
        broker.enqueue("package")
        found = None
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not found and time.monotonic() < deadline:
            found = broker.dequeue()
        assert found
        ((_ack_id, package, *_attempt),) = found
        assert text(package) == "package"

    @needs("blocks")
    def test_waiting_fetch_returns_when_a_package_arrives(self, broker: Broker, other: Broker) -> None:
        def late() -> float:
            sender = threading.Timer(0.3, send)
            sender.start()
            started = time.monotonic()
            found = broker.dequeue_many(1, TIMEOUT_SECONDS)
            took = time.monotonic() - started
            sender.join()
            assert [text(delivery.package) for delivery in found] == ["package"]
            return took - 0.3

        def send() -> None:
            other.enqueue("package")
            connections.close_all()

        broker.dequeue_many(1, 0.1)
        assert best_measurement(late, tolerance(broker)) <= tolerance(broker)


class End(NamedTuple):
    """Range of the end of a lease or delay, on the monotonic clock. A request takes time, so the end is not exact."""

    earliest: float
    latest: float


class TimingPromises(Suite):
    """No lease and no delay ends early, or later than the precision of the broker."""

    @needs("supports_receipts")
    def test_leases_and_delays_end_on_time(self, hasty: Broker, other: Broker) -> None:
        def late() -> float:
            hasty.delete_queue()
            ends = self._begin_some(hasty)
            if ends is None:
                return math.inf
            came = arrivals(other, len(ends))
            early = [name for name, end in ends.items() if came[name] < end.earliest - CLOCK_SKEW_SECONDS]
            assert not early
            return max(came[name] - end.latest for name, end in ends.items())

        assert best_measurement(late, tolerance(hasty)) <= tolerance(hasty)

    def _begin_some(self, hasty: Broker) -> dict[str, End] | None:
        """Begin leases and delays of each kind and return their ends; None if the machine stalled meanwhile."""
        kinds: dict[str, Callable[[AckId | None], object]] = {"leased": lambda _ack_id: True}
        if hasty.supports_renewal:
            # With so many renewals, the lease ends too late if each one adds to its end.
            count = math.ceil(tolerance(hasty) / self.retry) + 1
            kinds["renewed"] = lambda ack_id: all(hasty.renew([ack_id]) == [] for _ in range(count))
            if hasty.supports_delay:
                kinds["released"] = lambda ack_id: hasty.release(ack_id, DELAY_SECONDS) is not False
        hasty.enqueue_many(list(kinds))
        asked = time.monotonic()
        found = {text(each.package): each.ack_id for each in take_many(hasty, len(kinds))}
        ends = {"leased": End(asked + self.retry, time.monotonic() + self.retry)}
        for kind, begin in kinds.items():
            asked = time.monotonic()
            if not begin(found[kind]):
                return None
            seconds = DELAY_SECONDS if kind == "released" else self.retry
            ends.setdefault(kind, End(asked + seconds, time.monotonic() + seconds))
        if hasty.supports_delay:
            asked = time.monotonic()
            hasty.enqueue("delayed", delay=DELAY_SECONDS)
            ends["delayed"] = End(asked + DELAY_SECONDS, time.monotonic() + DELAY_SECONDS)
        return ends

    @needs("supports_receipts")
    def test_lease_begins_when_the_package_arrives(self, hasty: Broker, other: Broker) -> None:
        """Send a package while a consumer waits. The wait is not a part of the lease."""
        sender = pickle.loads(pickle.dumps(hasty))
        fetch = in_thread(partial(take_in_one_fetch, hasty))
        wait([fetch], self.retry / 2)
        sent = time.monotonic()
        sender.enqueue("package")
        assert text(fetch.result(TIMEOUT_SECONDS).package) == "package"
        assert arrivals(other, 1)["package"] >= sent + self.retry - CLOCK_SKEW_SECONDS

    @needs("supports_delay")
    def test_long_delays_do_not_end(self, broker: Broker) -> None:
        for delay in LONG_DELAYS_SECONDS:
            if delay <= broker.supports_delay:
                broker.enqueue(f"in {delay:g} s", delay=delay)
        assert nothing_comes(broker, within=1)
        assert broker.queue_size() == 0

    @needs("supports_delay")
    def test_delay_of_more_than_a_minute_ends_on_time(self, broker: Broker) -> None:
        """Wait for the end of the delay, if `DJANGO_Q_SLOW=1` allows tests that take more than a minute."""
        if os.environ.get("DJANGO_Q_SLOW") != "1":
            pytest.skip("DJANGO_Q_SLOW=1 waits for long delays")
        if broker.supports_delay < SLOW_DELAY_SECONDS:
            pytest.skip(f"{type(broker).__name__} delays for {broker.supports_delay:g} s at most")
        begun = time.monotonic()
        broker.enqueue("package", delay=SLOW_DELAY_SECONDS)
        latest = time.monotonic() + SLOW_DELAY_SECONDS + tolerance(broker)
        while (left := begun + SLOW_DELAY_SECONDS - CLOCK_SKEW_SECONDS - time.monotonic()) > 0:
            assert nothing_comes(broker, within=min(left, 5))
        assert text(take(broker, within=latest - time.monotonic()).package) == "package"

    @needs("supports_delay", "supports_renewal")
    def test_long_delays_of_releases_do_not_end(self, broker: Broker) -> None:
        delays = [delay for delay in LONG_DELAYS_SECONDS if delay <= broker.supports_delay]
        broker.enqueue_many([f"in {delay:g} s" for delay in delays])
        for found, delay in zip(take_many(broker, len(delays)), delays, strict=True):
            assert broker.release(found.ack_id, delay) is not False
        assert nothing_comes(broker, within=1)

    @needs("supports_delay")
    def test_delay_is_not_rounded_down(self, broker: Broker, other: Broker) -> None:
        begun = time.monotonic()
        broker.enqueue("package", delay=0.7)
        take(other)
        assert time.monotonic() - begun >= 0.7 - CLOCK_SKEW_SECONDS

    @needs("supports_receipts")
    def test_expire_ends_the_lease_at_once(self, broker: Broker, other: Broker) -> None:
        if type(broker).expire is Broker.expire:
            pytest.skip(f"{type(broker).__name__} lets leases end by themselves")

        def late() -> float:
            broker.enqueue("package")
            mine = take(broker)
            told = time.monotonic()
            assert broker.expire(mine.ack_id) is not False
            other.acknowledge(take(other).ack_id)
            return time.monotonic() - told

        assert best_measurement(late, tolerance(broker)) <= tolerance(broker)


def take_in_one_fetch(broker: Broker) -> Delivery:
    """Return the next delivery; wait in few long calls."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := broker.dequeue_many(1, TIMEOUT_SECONDS / 2)):
        assert time.monotonic() < deadline, f"nothing came within {TIMEOUT_SECONDS:g} s"
    return found[0]


def arrivals(broker: Broker, count: int) -> dict[str, float]:
    """Fetch until *count* packages have arrived; return the time of the first delivery of each."""
    came: dict[str, float] = {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(came) < count:
        for found in broker.dequeue_many(10, 5):
            came.setdefault(text(found.package), time.monotonic())
        assert time.monotonic() < deadline, f"only {sorted(came)} came"
    return came
