"""Which broker the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from django_q.plugins import Registry
from django_q.settings import ClusterSettings, current_settings
from django_q.settings.rules import CLUSTER_NAME, is_dead_letter_queue

if TYPE_CHECKING:
    from django_q.brokers.base import Broker

BROKERS: Registry[type[Broker]] = Registry("djangoq.brokers", "broker")
"""Installed brokers, each by the Q_CLUSTER key that asks for it."""

PRECEDENCE = ("disque_nodes", "iron_mq", "sqs", "orm", "mongo", "django_redis")
"""Which key wins when several are set; `broker_class` wins over all, `redis` is what is left."""

MOST_SHARED = 32
"""How many shared brokers a process keeps; more only come together where tests change the settings."""

_shared: ProcessLocal[dict[tuple[ClusterSettings, str | None], Broker]] = ProcessLocal(dict)


def broker_key(settings: ClusterSettings) -> str:
    """The Q_CLUSTER key that chooses the broker."""
    for key in PRECEDENCE:
        value = getattr(settings, key)
        # An empty dictionary chooses SQS, configured as boto3 finds it.
        if value or (key == "sqs" and value is not None):
            return key
    theirs = sorted(settings.others.keys() & BROKERS.names()) if settings.others else ()
    return next(iter(theirs), "redis")


def broker_class(settings: ClusterSettings) -> type[Broker]:
    """The class of the broker that *settings* choose."""
    if not settings.broker_class:
        return BROKERS.load(broker_key(settings))
    if isinstance(settings.broker_class, type):
        return settings.broker_class
    try:
        found: type[Broker] = import_string(settings.broker_class)
    except ImportError as error:
        sentence = f"Q_CLUSTER['broker_class'], {settings.broker_class!r}, cannot be imported: {error}"
        raise ConfigurationError(sentence) from error
    return found


def get_broker(list_key: str | None = None, *, settings: ClusterSettings | None = None) -> Broker:
    """Return a broker for the queue of a cluster.

    Args:
        list_key: name of the cluster; None means that of the settings.
        settings: of the cluster; None means those of this moment.

    Raises:
        ConfigurationError: the name is one of a dead-letter queue, or there is no such broker.
    """
    if is_dead_letter_queue(list_key):
        raise ConfigurationError(
            f"{list_key!r} cannot be the name of a cluster: choose {CLUSTER_NAME}. Read dead letters with "
            "Broker.dead_letters() or manage.py qdead."
        )
    chosen = settings or current_settings()
    broker = broker_class(chosen)(list_key=list_key or chosen.list_key)
    # Set afterwards: classes written for older versions know no such parameter.
    broker.settings = settings
    return broker


def shared_broker(settings: ClusterSettings, list_key: str | None = None) -> Broker:
    """This process's broker for *settings* and that queue: what many calls and threads use in turn."""
    shared = _shared.get()
    key = (settings, list_key)
    if key not in shared:
        if len(shared) >= MOST_SHARED:
            shared.clear()
        shared[key] = get_broker(list_key, settings=settings)
    return shared[key]


def broker_of(cluster: str) -> Broker:
    """Return this process's broker of another cluster, with that cluster's settings."""
    return shared_broker(ClusterSettings.from_django(cluster), cluster)
