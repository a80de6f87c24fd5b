"""Creates Redis clients from the settings."""

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

from django_q_redis.pools import BlockingCluster, BlockingSentinelPool, blocking_client, blocking_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.settings import ClusterSettings

try:
    from redis.driver_info import DriverInfo
except ImportError:  # older clients read it once or not at all
    DriverInfo = None  # type: ignore[assignment,misc]

try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:  # older clients have no notifications
    MaintNotificationsConfig = None  # type: ignore[assignment,misc]

Client: TypeAlias = "redis.Redis | RedisCluster"

SOCKET_TIMEOUT_SECONDS = 5.0
"""Default time after which a server without a reply counts as unavailable."""

OLD_NAMES = {"charset": "encoding", "errors": "encoding_errors"}
"""Keys of the manual, with their current names in the client."""

CLUSTERS_SINCE = (6,)
"""First version of redis-py whose cluster client can be configured not to repeat a push."""

PASSWORD_HINT = (
    "check the options, and quote special characters of the password with urllib.parse.quote(password, safe='')"
)
"""Hint that replaces a message of the client, which may contain parts of a password."""

CONNECTION_KEYS = {"sentinels", "startup_nodes", "single_connection_client", "connection_pool"}
"""Keys with which the client connects at its creation, or uses existing connections."""

_clients: ProcessLocal[dict[str, Client]] = ProcessLocal(dict)


class Prepared(NamedTuple):
    """A client without connections, for a fork. Creating it in the fork would copy one megabyte of shared memory."""

    maker: int
    """Id of the process that created it, and does not use it."""
    client: Client


_prepared: dict[str, Prepared] = {}


def client_for(settings: ClusterSettings) -> Client:
    """Return the client of this process for *settings*, which all its brokers share.

    Raises:
        ConfigurationError: the client does not understand the settings.
    """
    clients = _clients.get()
    key = key_of(settings)
    if key not in clients:
        clients[key] = _take_prepared(key) or make_client(settings)
    return clients[key]


def prepare(settings: ClusterSettings) -> None:
    """Create a client that this process does not use. Each process that is forked from it uses its own copy.

    Raises:
        ConfigurationError: the client does not understand the settings.
    """
    options = settings.redis
    if not settings.django_redis and (isinstance(options, str) or not options.keys() & CONNECTION_KEYS):
        _prepared[key_of(settings)] = Prepared(os.getpid(), make_client(settings))


def _take_prepared(key: str) -> Client | None:
    """Return the prepared client once. Forks of the process that uses it must not use its connections."""
    prepared = _prepared.get(key)
    if prepared is None or prepared.maker == os.getpid():
        return None
    return prepared.client if _prepared.pop(key, None) else None  # None: another thread was faster


def key_of(settings: ClusterSettings) -> str:
    """Return the part of the settings that identifies a client."""
    return f"{settings.django_redis!r} {settings.redis!r}"


def make_client(settings: ClusterSettings) -> Client:
    """Create a client from `django_redis`, or else from a URL or keywords.

    Raises:
        ConfigurationError: the client does not understand them.
        RedisClusterException: no node of a Redis Cluster is available.
    """
    if settings.django_redis:
        return _django_redis(settings.django_redis)
    if isinstance(settings.redis, str) and may_have_password(settings.redis):
        return _from_secret_url(settings.redis)
    try:
        return _from_url(settings.redis) if isinstance(settings.redis, str) else _from_keywords(settings.redis)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"Q_CLUSTER['redis'] is not understood by the Redis client: {error}") from error


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of the client. The defaults have timeouts and no repetition.

    A client that repeats a command after a timeout may store a package twice.
    """
    given = {OLD_NAMES.get(key, key): value for key, value in options.items() if value is not None}
    return {"socket_timeout": SOCKET_TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0), **driver_info_of(given), **given}


def driver_info_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword with the client's name. Without it, the client reads a file for each connection."""
    if DriverInfo is None or options.keys() & {"driver_info", "lib_name", "lib_version"}:
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


def without_notifications(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword that disables notifications of maintenance, which the client enables since version 7.

    A raw connection takes any unexpected data for the end of the connection. The request for notifications costs a
    round trip per connection, and only the servers of one vendor accept it.
    """
    if MaintNotificationsConfig is None or "maint_notifications_config" in options:
        return {}
    return {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}


def may_have_password(url: str) -> bool:
    """Return True if a URL may have a password, which messages must not contain."""
    return "@" in url or "password" in url.lower()


def _from_secret_url(url: str) -> redis.Redis:
    """Return the client of a URL with a password. Errors of the client are hidden: they may contain parts of it."""
    client = None
    with suppress(TypeError, ValueError, redis.RedisError):
        if url.startswith("unix:") or "@" not in urlsplit(url).path + urlsplit(url).fragment:
            client = _from_url(url)
    if client is None:
        sentence = "Q_CLUSTER['redis'] is a URL that the Redis client does not understand"
        raise ConfigurationError(f"{sentence}: {PASSWORD_HINT}")
    return client


def _from_url(url: str) -> redis.Redis:
    options = with_defaults(parse_url(url))
    if "max_connections" in options:
        return _checked(blocking_client(**without_notifications(options), **options))
    return _checked(redis.Redis(connection_pool=redis.ConnectionPool(**without_notifications(options), **options)))


def _from_keywords(options: Mapping[str, Any]) -> Client:
    given = with_defaults(options)
    if "sentinels" in given:
        return _master(**given)
    if "startup_nodes" in given:
        return _cluster(**given)
    client = redis.Redis(**without_notifications(given), **given)
    if "max_connections" not in given or given.keys() & CONNECTION_KEYS:
        return client
    limit, kind, options = given["max_connections"], *_connection_kind(client)
    return blocking_client(max_connections=limit, connection_class=kind, **without_notifications(given), **options)


def _connection_kind(client: redis.Redis) -> tuple[type[Any], dict[str, Any]]:
    """Return the class of a client's connections and its keywords."""
    return client.connection_pool.connection_class, client.connection_pool.connection_kwargs


def _master(
    *,
    sentinels: list[tuple[str, int]],
    service_name: str | None = None,
    sentinel_kwargs: Mapping[str, Any] | None = None,
    min_other_sentinels: int = 0,
    **options: Any,
) -> redis.Redis:
    """Return a client of the current master that Redis Sentinel reports."""
    if not sentinels or not service_name:
        raise ValueError("'sentinels' needs at least one, and the 'service_name' of the master they watch")
    if sentinel_kwargs is None:
        sentinel_kwargs = {key: value for key, value in options.items() if key.startswith("socket_")}
    watching = Sentinel(sentinels, min_other_sentinels, with_defaults(sentinel_kwargs))
    if "max_connections" in options:
        options |= {"connection_pool_class": BlockingSentinelPool, **blocking_options(options)}
    return _checked(watching.master_for(service_name, **options))


def _cluster(*, startup_nodes: list[Any], db: int = 0, **options: Any) -> RedisCluster:
    """Return a client of a Redis Cluster. One available node is enough."""
    if redis.VERSION < CLUSTERS_SINCE:
        raise ValueError(
            f"a Redis Cluster needs redis {CLUSTERS_SINCE[0]} or newer, and {redis.__version__} is installed"
        )
    if not startup_nodes or db:
        raise ValueError("'startup_nodes' needs at least one, and no 'db': a Redis Cluster has only one")
    nodes = [ClusterNode(*node) if isinstance(node, (list, tuple)) else node for node in startup_nodes]
    # The cluster client ignores unknown keywords. A plain client rejects them.
    redis.Redis(**{key: value for key, value in options.items() if key not in signature(RedisCluster).parameters})
    kind = BlockingCluster if "max_connections" in options else RedisCluster
    return kind(startup_nodes=nodes, **options)


def _checked(client: redis.Redis) -> redis.Redis:
    """Return the client after creating a connection object: a pool checks its keywords only when it connects."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    return client


def _django_redis(alias: str) -> redis.Redis:
    try:
        from django_redis import get_redis_connection
    except ImportError as error:
        raise ConfigurationError("'django_redis' needs django-redis: pip install django-redis") from error
    hidden = may_have_password(repr(django_settings.CACHES.get(alias, {}).get("LOCATION")))
    problem = PASSWORD_HINT
    try:
        return _checked(get_redis_connection(alias))
    except NotImplementedError:
        problem = "it is not a django-redis cache, it shards its keys, or its LOCATION is not text"
    except (ImportError, ImproperlyConfigured, TypeError, ValueError, redis.RedisError) as error:
        if not hidden:
            problem = str(error)
    # Raised without a cause, because errors of the client may contain parts of a password.
    raise ConfigurationError(
        f"The cache '{alias}' that 'django_redis' names cannot be used: {problem}. Correct its LOCATION or OPTIONS."
    )


def longest_wait(client: Client) -> float:
    """Return the maximum seconds that a command may block, half of the socket timeout of the client."""
    timeout = client.get_connection_kwargs().get("socket_timeout", SOCKET_TIMEOUT_SECONDS)
    return float("inf") if timeout is None else float(timeout) / 2
