"""The function that fetches packages into a queue of the caller, under its old name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.brokers import get_broker
from django_q.exceptions import OptionError, UnreadablePackage
from django_q.finishing import Finisher
from django_q.log.events import logger
from django_q.settings import current_settings
from django_q.wire.options import normalise_package

if TYPE_CHECKING:
    from django_q.brokers import Broker


def pusher(task_queue: Any, event: Any, broker: Broker | None = None) -> None:
    """Fetch packages from a broker, and put them unpickled into a queue, until an event is set.

    At least one fetch is made. Unreadable packages are moved to the dead-letter queue. The lease of a package is not
    renewed: it ends after `retry` seconds.

    Args:
        task_queue: queue with a method `put`, from which `django_q.worker.worker` takes tasks.
        event: event with a method `is_set`, which is tested after each fetch.
        broker: broker of the tasks; None for that of the settings.
    """
    settings = current_settings()
    broker = broker or get_broker()
    finisher = Finisher(settings, broker)
    while True:
        for delivery in broker.dequeue_many(settings.bulk, wait=0 if event.is_set() else settings.poll):
            try:
                package = normalise_package(finisher.codec.loads(delivery.package))
            except (OptionError, UnreadablePackage) as error:
                logger.error("pusher: unreadable package (%s), moved to the dead-letter queue", error)
                finisher.move_to_dead_letters(delivery, str(error))
            else:
                task_queue.put({**package, "ack_id": delivery.ack_id, "attempt_count": delivery.attempt})
        if event.is_set():
            return
