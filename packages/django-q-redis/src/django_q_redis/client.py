"""The settings → a Redis client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from django_q.brokers.per_process import PerProcess
from django_q.exceptions import ConfigurationError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.settings import ClusterSettings

SOCKET_TIMEOUT = 5.0
"""Seconds after which a silent server counts as gone, unless the settings say otherwise."""

OLD_NAMES = {"charset": "encoding", "errors": "encoding_errors"}
"""Keys of the manual that the client calls otherwise today."""

_clients: PerProcess[dict[str, redis.Redis]] = PerProcess(dict)


def client_for(settings: ClusterSettings) -> redis.Redis:
    """This process's client for *settings*: one, however many brokers use it."""
    clients = _clients.get()
    key = f"{settings.django_redis!r} {settings.redis!r}"
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def make_client(settings: ClusterSettings) -> redis.Redis:
    """A client by the first of `django_redis`, a URL, and keywords."""
    if settings.django_redis:
        return _django_redis(settings.django_redis)
    try:
        if isinstance(settings.redis, str):
            return redis.Redis(connection_pool=redis.ConnectionPool(**careful(parse_url(settings.redis))))
        return redis.Redis(**careful(settings.redis))
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"Q_CLUSTER['redis'] is not understood by the Redis client: {error}") from error


def careful(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of the client, with time-outs and without repetition where the settings are silent.

    A client that repeats a command after a time-out stores a pushed package twice.
    """
    given = {OLD_NAMES.get(key, key): value for key, value in options.items() if value is not None}
    return {"socket_timeout": SOCKET_TIMEOUT, "retry": Retry(NoBackoff(), 0), **given}


def _django_redis(alias: str) -> redis.Redis:
    try:
        from django_redis import get_redis_connection
    except ImportError as error:
        raise ConfigurationError("'django_redis' needs django-redis: pip install django-redis") from error
    try:
        client: redis.Redis = get_redis_connection(alias)
    except NotImplementedError as error:
        raise ConfigurationError(
            f"The cache '{alias}' that 'django_redis' names is not a django-redis cache."
        ) from error
    return client


def longest_wait(client: redis.Redis) -> float:
    """How many seconds a command may block before the client takes the server for gone."""
    options = client.connection_pool.connection_kwargs
    timeout = options.get("socket_timeout", SOCKET_TIMEOUT)
    return float("inf") if timeout is None else float(timeout) / 2
