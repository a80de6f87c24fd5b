"""The settings → a Redis client."""

from __future__ import annotations

import os
from contextlib import suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import redis
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from django_q_redis.pools import PatientCluster, PatientSentinelPool, patience, patient_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.settings import ClusterSettings

try:
    from redis.driver_info import DriverInfo
except ImportError:  # older clients read it once, or never
    DriverInfo = None  # type: ignore[assignment,misc]

try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:  # older clients know no notifications
    MaintNotificationsConfig = None  # type: ignore[assignment,misc]

Client: TypeAlias = "redis.Redis | RedisCluster"

SOCKET_TIMEOUT = 5.0
"""Seconds after which a silent server counts as gone, unless the settings say otherwise."""

OLD_NAMES = {"charset": "encoding", "errors": "encoding_errors"}
"""Keys of the manual that the client calls otherwise today."""

CLUSTERS_SINCE = (6,)
"""The first redis-py whose client of clusters can be kept from repeating a push."""

QUOTE = "check the options, and quote special characters of the password with urllib.parse.quote(password, safe='')"
"""Advice where the client's own message may show parts of a password."""

CONNECTING = {"sentinels", "startup_nodes", "single_connection_client", "connection_pool"}
"""Keys with which the client has connections as soon as it is made, or has those of somebody else."""

_clients: ProcessLocal[dict[str, Client]] = ProcessLocal(dict)


class Prepared(NamedTuple):
    """A client that has never connected, for a fork: to make one touches a megabyte, which the fork then has alone."""

    maker: int
    """The process that made it, and does not use it."""
    client: Client


_prepared: dict[str, Prepared] = {}


def client_for(settings: ClusterSettings) -> Client:
    """This process's client for *settings*: one, however many brokers use it."""
    clients = _clients.get()
    key = key_of(settings)
    if key not in clients:
        clients[key] = _taken_over(key) or make_client(settings)
    return clients[key]


def prepare(settings: ClusterSettings) -> None:
    """Make a client that this process never uses, and that each process forked from it takes for its own.

    Raises:
        ConfigurationError: the client does not understand the settings.
    """
    options = settings.redis
    if not settings.django_redis and (isinstance(options, str) or not options.keys() & CONNECTING):
        _prepared[key_of(settings)] = Prepared(os.getpid(), make_client(settings))


def _taken_over(key: str) -> Client | None:
    """The prepared client, for the first process that asks: what that one forks must not use its connections."""
    prepared = _prepared.get(key)
    if prepared is None or prepared.maker == os.getpid():
        return None
    return prepared.client if _prepared.pop(key, None) else None  # None: another thread was faster


def key_of(settings: ClusterSettings) -> str:
    """What of the settings makes one client another than the next."""
    return f"{settings.django_redis!r} {settings.redis!r}"


def make_client(settings: ClusterSettings) -> Client:
    """A client by the first of `django_redis`, a URL, and keywords.

    Raises:
        ConfigurationError: the client does not understand them.
        RedisClusterException: no node of a Redis Cluster answers.
    """
    if settings.django_redis:
        return _django_redis(settings.django_redis)
    if isinstance(settings.redis, str) and may_have_password(settings.redis):
        return _from_secret_url(settings.redis)
    try:
        return _from_url(settings.redis) if isinstance(settings.redis, str) else _from_keywords(settings.redis)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"Q_CLUSTER['redis'] is not understood by the Redis client: {error}") from error


def careful(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of the client, with time-outs and without repetition where the settings are silent.

    A client that repeats a command after a time-out stores a pushed package twice.
    """
    given = {OLD_NAMES.get(key, key): value for key, value in options.items() if value is not None}
    return {"socket_timeout": SOCKET_TIMEOUT, "retry": Retry(NoBackoff(), 0), **introduction(given), **given}


def introduction(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the client names itself to the server, said here: else it reads a file for that, for each connection."""
    if DriverInfo is None or options.keys() & {"driver_info", "lib_name", "lib_version"}:
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


def undisturbed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without asking the server to announce its maintenance, which the client does by itself since version 7.

    A line takes whatever comes unasked for the end of its connection; to be asked costs each connection a round trip
    and a refusal, as only one vendor's servers know the question.
    """
    if MaintNotificationsConfig is None or "maint_notifications_config" in options:
        return {}
    return {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}


def may_have_password(url: str) -> bool:
    """Return True if a URL may have a password, which messages must not show."""
    return "@" in url or "password" in url.lower()


def _from_secret_url(url: str) -> redis.Redis:
    """Return the client of a URL with a password; the client's own errors may quote parts of it."""
    client = None
    with suppress(TypeError, ValueError, redis.RedisError):
        if url.startswith("unix:") or "@" not in urlsplit(url).path + urlsplit(url).fragment:
            client = _from_url(url)
    if client is None:
        raise ConfigurationError(f"Q_CLUSTER['redis'] is a URL that the Redis client does not understand: {QUOTE}")
    return client


def _from_url(url: str) -> redis.Redis:
    options = careful(parse_url(url))
    if "max_connections" in options:
        return _understood(patient_client(**undisturbed(options), **options))
    return _understood(redis.Redis(connection_pool=redis.ConnectionPool(**undisturbed(options), **options)))


def _from_keywords(options: Mapping[str, Any]) -> Client:
    given = careful(options)
    if "sentinels" in given:
        return _master(**given)
    if "startup_nodes" in given:
        return _cluster(**given)
    client = redis.Redis(**undisturbed(given), **given)
    if "max_connections" not in given or given.keys() & CONNECTING:
        return client
    limit, kind, options = given["max_connections"], *_ways(client)
    return patient_client(max_connections=limit, connection_class=kind, **undisturbed(given), **options)


def _ways(client: redis.Redis) -> tuple[type[Any], dict[str, Any]]:
    """The class of a client's connections, and its keywords."""
    return client.connection_pool.connection_class, client.connection_pool.connection_kwargs


def _master(
    *,
    sentinels: list[tuple[str, int]],
    service_name: str | None = None,
    sentinel_kwargs: Mapping[str, Any] | None = None,
    min_other_sentinels: int = 0,
    **options: Any,
) -> redis.Redis:
    """The master that sentinels name, whoever that is at the moment."""
    if not sentinels or not service_name:
        raise ValueError("'sentinels' needs at least one, and the 'service_name' of the master they watch")
    if sentinel_kwargs is None:
        sentinel_kwargs = {key: value for key, value in options.items() if key.startswith("socket_")}
    watching = Sentinel(sentinels, min_other_sentinels, careful(sentinel_kwargs))
    if "max_connections" in options:
        options |= {"connection_pool_class": PatientSentinelPool, **patience(options)}
    return _understood(watching.master_for(service_name, **options))


def _cluster(*, startup_nodes: list[Any], db: int = 0, **options: Any) -> RedisCluster:
    """A client of a Redis Cluster, which one of its nodes is enough to find."""
    if redis.VERSION < CLUSTERS_SINCE:
        raise ValueError(
            f"a Redis Cluster needs redis {CLUSTERS_SINCE[0]} or newer, and {redis.__version__} is installed"
        )
    if not startup_nodes or db:
        raise ValueError("'startup_nodes' needs at least one, and no 'db': a Redis Cluster has only one")
    nodes = [ClusterNode(*node) if isinstance(node, (list, tuple)) else node for node in startup_nodes]
    # The client of clusters ignores what it does not understand, so one that does not is asked.
    redis.Redis(**{key: value for key, value in options.items() if key not in signature(RedisCluster).parameters})
    kind = PatientCluster if "max_connections" in options else RedisCluster
    return kind(startup_nodes=nodes, **options)


def _understood(client: redis.Redis) -> redis.Redis:
    """The client, when its connections take their keywords: a pool finds out only when it connects."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    return client


def _django_redis(alias: str) -> redis.Redis:
    try:
        from django_redis import get_redis_connection
    except ImportError as error:
        raise ConfigurationError("'django_redis' needs django-redis: pip install django-redis") from error
    hidden = may_have_password(repr(django_settings.CACHES.get(alias, {}).get("LOCATION")))
    problem = QUOTE
    try:
        return _understood(get_redis_connection(alias))
    except NotImplementedError:
        problem = "it is not a django-redis cache, it shards its keys, or its LOCATION is not text"
    except (ImportError, ImproperlyConfigured, TypeError, ValueError, redis.RedisError) as error:
        if not hidden:
            problem = str(error)
    # Raised here, without a cause: the client's own errors may quote parts of a password.
    raise ConfigurationError(
        f"The cache '{alias}' that 'django_redis' names cannot be used: {problem}. Correct its LOCATION or OPTIONS."
    )


def longest_wait(client: Client) -> float:
    """How many seconds a command may block before the client takes the server for gone."""
    timeout = client.get_connection_kwargs().get("socket_timeout", SOCKET_TIMEOUT)
    return float("inf") if timeout is None else float(timeout) / 2
