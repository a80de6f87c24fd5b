"""Sends tasks: announces, signs and queues them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q import signals
from django_q.brokers.base import enqueue_each
from django_q.log import messages as log
from django_q.log.events import logger
from django_q.wire.codec import PackageCodec
from django_q.wire.options import normalise_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage


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
) -> None:
    """Sign packages and enqueue them, in order. `send_links` sends the links of chains; nothing else sends tasks.

    Args:
        packages: the tasks, as `announced` returned them.
        broker: of the queue.
        settings: of the cluster that signs.
        delay: seconds before the first delivery.
        signed: the signed packages, if they were signed earlier; None signs them now.

    Raises:
        BrokerError: some packages may be queued, unless the caller has a transaction; `sent` contains their indexes.
        BrokerUnavailable: as above, because the broker is unavailable.
        PackageTooLarge: as above, because a package is larger than the broker accepts.
    """
    if signed is None:
        codec = PackageCodec.of(settings)
        signed = [codec.dumps(package) for package in packages]
    if delay:
        enqueue_each(broker, signed, delay=delay)
    elif len(signed) == 1:
        broker.enqueue(signed[0])
    elif signed:
        broker.enqueue_many(signed)
    if logger.isEnabledFor(logging.INFO):
        for package in packages:
            log.task.enqueued(package, broker.list_key)
            log.task.pushed(package, broker.list_key)


def send_links(links: Sequence[str], *, broker: Broker) -> None:
    """Enqueue the next links of chains, which workers have signed, even if the server is full.

    Call it before the packages that they follow are acknowledged: a link that is sent twice is still one task.

    Args:
        links: signed packages.
        broker: of the queue.

    Raises:
        BrokerError: some links may be queued; `sent` contains their indexes.
        BrokerUnavailable: as above, because the broker is unavailable.
        PackageTooLarge: as above, because a link is larger than the broker accepts.
    """
    broker.enqueue_links(links)
