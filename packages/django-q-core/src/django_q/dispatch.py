"""Sends tasks: announces, signs and queues them."""

from __future__ import annotations

import logging
from itertools import groupby
from typing import TYPE_CHECKING, Final

from django_q import signals
from django_q.brokers.base import enqueue_each
from django_q.exceptions import mark_sent, sent_before
from django_q.log import messages as log
from django_q.log.events import logger
from django_q.records.creating import insert_beside, recorded
from django_q.wire.codec import PackageCodec
from django_q.wire.options import normalise_package

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage


COSTLY_OPTIONS: Final = frozenset({"priority", "track"})
"""Options that need more than one call of the broker."""


def announced(package: TaskPackage) -> TaskPackage:
    """Call the receivers of `pre_enqueue`, and return the package with valid options.

    Raises:
        OptionError: a receiver set an option to an invalid value.
    """
    if not signals.has_receivers(signals.pre_enqueue):
        return package
    signals.emit(signals.pre_enqueue, task=package)
    return normalise_package(package)


def send_many(
    packages: Sequence[TaskPackage],
    *,
    broker: Broker,
    settings: ClusterSettings,
    delay: float = 0,
    signed: Sequence[str] | None = None,
    priorities: Sequence[int] | None = None,
) -> None:
    """Sign packages, create the records of tracked tasks, and enqueue the packages, in order.

    `send_links` sends the links of chains; nothing else sends tasks.

    Args:
        packages: the tasks, as `announced` returned them.
        broker: of the queue.
        settings: of the cluster that signs.
        delay: seconds before the first delivery.
        signed: the signed packages, if they were signed earlier; None signs them now.
        priorities: of the signed packages; None reads them from `packages`.

    Raises:
        BrokerError: some packages may be queued, unless the caller has a transaction; `sent` contains their indexes.
        BrokerUnavailable: as above, because the broker is unavailable.
        PackageTooLarge: as above, because a package is larger than the broker accepts.
    """
    if signed is None:
        codec = PackageCodec.of(settings)
        signed = [codec.dumps(package) for package in packages]
    if priorities is None and all(map(COSTLY_OPTIONS.isdisjoint, packages)):
        _enqueue(broker, signed, delay)
    else:
        if priorities is None:
            priorities = [package.get("priority", 0) for package in packages]
        _enqueue_recorded(packages, broker, settings.list_key, signed, delay, priorities)
    if logger.isEnabledFor(logging.INFO):
        for package in packages:
            log.task.enqueued(package, broker.list_key)
            log.task.pushed(package, broker.list_key)


def _enqueue_recorded(
    packages: Sequence[TaskPackage],
    broker: Broker,
    queue: str,
    signed: Sequence[str],
    delay: float,
    priorities: Sequence[int],
) -> None:
    """Enqueue packages, and create the records of the tracked ones."""
    statement = insert_beside(packages, broker, queue, delay)
    if statement is not None:
        options = {"delay": delay, "priority": priorities[0] if broker.priorities > 1 else 0}
        broker.enqueue_beside(statement, signed[0], **{name: value for name, value in options.items() if value})
        return
    with recorded(packages, broker, queue, delay):
        _enqueue_by_priority(broker, signed, delay, priorities)


def _enqueue(broker: Broker, signed: Sequence[str], delay: float, **options: int) -> None:
    """Enqueue packages with the same options. Brokers of older versions know no options."""
    if delay:
        enqueue_each(broker, signed, delay=delay, **options)
    elif len(signed) == 1:
        broker.enqueue(signed[0], **options)
    elif signed:
        broker.enqueue_many(signed, **options)


def _enqueue_by_priority(broker: Broker, signed: Sequence[str], delay: float, priorities: Sequence[int]) -> None:
    """Enqueue packages with their priorities, if the broker has any."""
    if any(priorities) and broker.priorities > 1:
        _each_priority(signed, priorities, lambda part, priority: _enqueue(broker, part, delay, priority=priority))
    else:
        _enqueue(broker, signed, delay)


def _each_priority(
    signed: Sequence[str], priorities: Sequence[int], enqueue: Callable[[Sequence[str], int], object]
) -> None:
    """Enqueue packages in order, those with the same priority together.

    Raises:
        BrokerError: some packages may be queued; `sent` contains their indexes.
    """
    start = 0
    for priority, group in groupby(priorities):
        end = start + len(list(group))
        try:
            enqueue(signed[start:end], priority)
        except Exception as error:
            mark_sent(error, [*range(start), *(start + index for index in sent_before(error))])
            raise
        start = end


def send_links(links: Sequence[str], *, broker: Broker, priorities: Sequence[int] = ()) -> None:
    """Enqueue the next links of chains, which workers have signed, even if the server is full.

    Call it before the packages that they follow are acknowledged: a link that is sent twice is still one task.

    Args:
        links: signed packages.
        broker: of the queue.
        priorities: of the links; none if all have priority 0.

    Raises:
        BrokerError: some links may be queued; `sent` contains their indexes.
        BrokerUnavailable: as above, because the broker is unavailable.
        PackageTooLarge: as above, because a link is larger than the broker accepts.
    """
    if any(priorities) and broker.priorities > 1:
        _each_priority(links, priorities, lambda part, priority: broker.enqueue_links(part, priority=priority))
    else:
        broker.enqueue_links(links)
