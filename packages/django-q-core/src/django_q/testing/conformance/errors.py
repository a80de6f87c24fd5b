"""Promises about errors: rejected requests differ from an unavailable server."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from django_q.brokers import Broker
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge

from .suite import ClientRaises, Suite, nothing_comes, take, take_many, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers import Delivery

CALLS: dict[str, Callable[[Broker, Delivery], object]] = {
    "enqueue": lambda broker, _mine: broker.enqueue("another"),
    "enqueue_many": lambda broker, _mine: broker.enqueue_many(["another", "and another"]),
    "dequeue_many": lambda broker, _mine: broker.dequeue_many(1, 0),
    "enqueue_links": lambda broker, _mine: broker.enqueue_links(["a link"]),
    "dead_size": lambda broker, _mine: broker.dead_size(),
    "requeue_dead": lambda broker, _mine: broker.requeue_dead(),
    "list_dead": lambda broker, _mine: broker.list_dead(5),
    "delete_dead": lambda broker, _mine: broker.delete_dead("unknown"),
    "queue_size": lambda broker, _mine: broker.queue_size(),
    "lock_size": lambda broker, _mine: broker.lock_size(),
    "enqueue for later": lambda broker, _mine: broker.enqueue("later", delay=1),
    "is_lost": lambda broker, mine: broker.is_lost(mine),
    "acknowledge": lambda broker, mine: broker.acknowledge(mine.ack_id),
    "release": lambda broker, mine: broker.release(mine.ack_id),
    "release for later": lambda broker, mine: broker.release(mine.ack_id, 1),
    "expire": lambda broker, mine: broker.expire(mine.ack_id),
    "acknowledge_many": lambda broker, mine: broker.acknowledge_many([mine.ack_id]),
    "renew": lambda broker, mine: broker.renew([mine.ack_id]),
    "release_many": lambda broker, mine: broker.release_many([mine.ack_id]),
    "move_to_dead_letters": lambda broker, mine: broker.move_to_dead_letters(mine),
    "purge_queue": lambda broker, _mine: broker.purge_queue(),
    "delete_queue": lambda broker, _mine: broker.delete_queue(),
}
"""Calls that send a request to the server. Those that settle a delivery are the last ones."""

CONDITIONS: dict[str, Callable[[Broker], bool]] = {
    "lock_size": lambda broker: broker.supports_lock_size,
    "enqueue for later": lambda broker: broker.supports_delay >= 1,
    "is_lost": lambda broker: broker.supports_renewal,
    "release for later": lambda broker: broker.supports_renewal and broker.supports_delay >= 1,
    "expire": lambda broker: type(broker).expire is not Broker.expire,
}
"""Conditions of calls that only some brokers make."""


class ErrorPromises(Suite):
    """The class of an error tells a cluster to retry the request, or to abandon it."""

    def test_package_that_is_too_large_is_rejected(self, broker: Broker, too_large: int | None) -> None:
        if too_large is None:
            pytest.skip(f"{type(self).__name__} has no fixture too_large")
        for package in ("x" * too_large, "ü" * math.ceil(too_large / 2)):
            with pytest.raises(PackageTooLarge):
                broker.enqueue(package)
            with pytest.raises(PackageTooLarge):
                broker.enqueue_many([package])
        broker.enqueue("small")
        assert text(take(broker).package) == "small"
        assert nothing_comes(broker)

    def test_error_has_the_positions_that_were_sent(self, broker: Broker, too_large: int | None) -> None:
        if too_large is None:
            pytest.skip(f"{type(self).__name__} has no fixture too_large")
        packages = [*(f"package {number}" for number in range(self.large_batch)), "x" * too_large]
        with pytest.raises(PackageTooLarge) as caught:
            broker.enqueue_many(packages)
        arrived = [text(found.package) for found in take_many(broker, len(caught.value.sent))]
        assert sorted(arrived) == sorted(packages[position] for position in caught.value.sent)
        assert nothing_comes(broker)

    def test_errors_of_the_client_have_their_class(self, broker: Broker, client_raises: ClientRaises | None) -> None:
        """Expect from each call the class that the table `client_errors` has for the error."""
        if client_raises is None:
            pytest.skip(f"{type(self).__name__} has no fixture client_raises")
        broker.enqueue("package")
        mine = take(broker)
        wrong = []
        calls = {name: call for name, call in CALLS.items() if name not in CONDITIONS or CONDITIONS[name](broker)}
        for error, expected in self.client_errors:
            for name, call in calls.items():
                with client_raises(broker, error):
                    raised = raised_by(call, broker, mine)
                if raised is not expected:
                    wrong.append(f"{name}: {error!r} is {raised}, not {expected.__name__}")
        assert not wrong

    def test_ping_of_an_unavailable_server_is_false(self, broker: Broker, client_raises: ClientRaises | None) -> None:
        if client_raises is None:
            pytest.skip(f"{type(self).__name__} has no fixture client_raises")
        for error, expected in self.client_errors:
            if issubclass(expected, BrokerUnavailable):
                with client_raises(broker, error):
                    assert broker.ping() is False, error
                assert broker.ping() is True


def raised_by(call: Callable[[Broker, Delivery], object], broker: Broker, mine: Delivery) -> type[Exception] | None:
    """Return the class of the error that a call raises, or the broker error that is its base class."""
    try:
        call(broker, mine)
    except BrokerError as error:
        return next(kind for kind in (BrokerUnavailable, PackageTooLarge, BrokerError) if isinstance(error, kind))
    except Exception as error:  # noqa: BLE001 - an error of the client that the broker passes on
        return type(error)
    return None
