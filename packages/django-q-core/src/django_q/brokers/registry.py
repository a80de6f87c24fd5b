"""Chooses the broker by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from django_q.brokers.process_local import ProcessLocal
from django_q.brokers.queue_set import QueueSet
from django_q.exceptions import ConfigurationError
from django_q.plugins import Registry
from django_q.settings import ClusterSettings, current_settings
from django_q.settings.rules import CLUSTER_NAME, is_dead_letter_queue
from django_q.text import error_line

if TYPE_CHECKING:
    from django_q.brokers.base import Broker

BROKERS: Registry[type[Broker]] = Registry("djangoq.brokers", "broker")
"""Installed brokers, by the Q_CLUSTER key that chooses each."""

PRECEDENCE = ("disque_nodes", "iron_mq", "sqs", "orm", "mongo", "django_redis")
"""Keys from highest to lowest precedence. `broker_class` precedes all of them; `redis` is the default."""

OWN_QUEUE = "default"
"""Name of a cluster's own queue in the setting `queues`, whatever its name is."""

MAX_SHARED_BROKERS = 32
"""Maximum number of shared brokers per process. Only tests that change the settings need more."""

_shared: ProcessLocal[dict[tuple[ClusterSettings, str | None], Broker]] = ProcessLocal(dict)


def broker_key(settings: ClusterSettings) -> str:
    """Return the Q_CLUSTER key that chooses the broker."""
    for key in PRECEDENCE:
        value = getattr(settings, key)
        # An empty dictionary chooses SQS, configured as boto3 finds it.
        if value or (key == "sqs" and value is not None):
            return key
    theirs = sorted(settings.others.keys() & BROKERS.names()) if settings.others else ()
    return next(iter(theirs), "redis")


def broker_class(settings: ClusterSettings) -> type[Broker]:
    """Return the class of the broker that *settings* choose.

    Raises:
        ConfigurationError: there is no such class.
    """
    if not settings.broker_class:
        return BROKERS.load(broker_key(settings))
    if isinstance(settings.broker_class, type):
        return settings.broker_class
    try:
        found: type[Broker] = import_string(settings.broker_class)
    except Exception as error:
        sentence = f"Q_CLUSTER['broker_class'], {settings.broker_class!r}, cannot be imported: {error_line(error)}"
        raise ConfigurationError(sentence) from error
    return found


def get_broker(list_key: str | None = None, *, settings: ClusterSettings | None = None) -> Broker:
    """Return a broker for the queue of a cluster.

    Args:
        list_key: name of the cluster; None means that of the settings.
        settings: settings of the cluster; None means the current ones.

    Raises:
        ConfigurationError: the name is that of a dead-letter queue, or there is no such broker.
    """
    if is_dead_letter_queue(list_key):
        raise ConfigurationError(
            f"{list_key!r} cannot be the name of a cluster: choose {CLUSTER_NAME}. Read dead letters with "
            "Broker.dead_letters() or manage.py qdead."
        )
    chosen = settings or current_settings()
    broker = broker_class(chosen)(list_key=list_key or chosen.list_key)
    # Set after creation, because classes written for older versions have no such parameter.
    broker.settings = settings
    return broker


def consumed_queues(settings: ClusterSettings) -> list[str]:
    """Return the names of the queues that a cluster consumes, each once."""
    names = [settings.list_key if name == OWN_QUEUE else name for name in settings.queues] or [settings.list_key]
    return list(dict.fromkeys(names))


def consuming_broker(settings: ClusterSettings) -> Broker:
    """Return the broker of all queues that a cluster consumes.

    Args:
        settings: of the cluster.

    Raises:
        ConfigurationError: there is no such broker, or a name is that of a dead-letter queue.
    """
    brokers = [get_broker(name, settings=settings) for name in consumed_queues(settings)]
    return brokers[0] if len(brokers) == 1 else QueueSet(brokers)


def shared_broker(settings: ClusterSettings, list_key: str | None = None) -> Broker:
    """Return the broker of this process for *settings* and a queue. All calls and threads share it."""
    shared = _shared.get()
    key = (settings, list_key)
    if key not in shared:
        if len(shared) >= MAX_SHARED_BROKERS:
            shared.clear()
        shared[key] = get_broker(list_key, settings=settings)
    return shared[key]


def broker_of(cluster: str) -> Broker:
    """Return the shared broker of this process for another cluster, with the settings of that cluster."""
    return shared_broker(ClusterSettings.from_django(cluster), cluster)
