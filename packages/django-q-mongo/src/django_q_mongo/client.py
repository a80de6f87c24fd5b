"""Creates the MongoDB client that the brokers of a process share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

import pymongo
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from pymongo.errors import ConfigurationError as Misconfigured
from pymongo.errors import InvalidURI

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings
    from pymongo.database import Database

Client: TypeAlias = "pymongo.MongoClient[dict[str, Any]]"

DEFAULTS = {"connectTimeoutMS": 5000, "serverSelectionTimeoutMS": 5000, "socketTimeoutMS": 20_000}
"""Timeouts of the client in milliseconds, which the settings override."""

DEFAULT_DATABASE = "django-q"
"""Name of the database, if neither `mongo_db` nor the address contains one."""


@dataclass(kw_only=True)
class SharedClient:
    """Client, and the brokers that use it."""

    client: Client
    users: WeakSet[object] = field(default_factory=WeakSet)
    """Brokers that use it now."""
    is_lent: bool = False
    """True if `Mongo.get_connection` returned it, so that it is never closed."""


_clients: ProcessLocal[dict[str, SharedClient]] = ProcessLocal(dict)
_lock: ProcessLocal[threading.Lock] = ProcessLocal(threading.Lock)
"""Held while clients are looked up, created or closed."""


def client_for(settings: ClusterSettings, user: object = None) -> Client:
    """Return this process's client for *settings*, which all brokers and threads share.

    Args:
        settings: settings of the cluster.
        user: broker that uses the client until it calls `leave_client`; None if the client is never to be closed.

    Raises:
        ConfigurationError: pymongo rejects the settings.
    """
    clients, key = _clients.get(), key_of(settings)
    with _lock.get():
        if key not in clients:
            clients[key] = SharedClient(client=make_client(settings))
        shared = clients[key]
        if user is None:
            shared.is_lent = True
        else:
            shared.users.add(user)
        return shared.client


def leave_client(settings: ClusterSettings, user: object) -> None:
    """Close this process's client for *settings* if no other broker uses it. `client_for` then creates another one.

    Args:
        settings: settings of the cluster.
        user: broker that does not use the client any more.
    """
    clients, key = _clients.get(), key_of(settings)
    with _lock.get():
        if (shared := clients.get(key)) is None:
            return
        shared.users.discard(user)
        if not shared.users and not shared.is_lent:
            del clients[key]
            shared.client.close()


def key_of(settings: ClusterSettings) -> str:
    """Return a text of the settings that distinguishes clients."""
    return repr(sorted((settings.mongo or {}).items()))


def make_client(settings: ClusterSettings) -> Client:
    """Create a client with the keywords in the settings.

    Raises:
        ConfigurationError: pymongo rejects them.
    """
    given = dict(settings.mongo or {})
    address = str(given.get("host") or "").lower()
    options: dict[str, Any] = {key: value for key, value in DEFAULTS.items() if f"{key.lower()}=" not in address}
    try:
        return pymongo.MongoClient(**options | given)
    except (Misconfigured, InvalidURI, TypeError, ValueError) as error:
        raise ConfigurationError(f"pymongo rejects Q_CLUSTER['mongo']: {error}") from error


def database_of(client: Client, settings: ClusterSettings) -> Database[dict[str, Any]]:
    """Return the database of the queues."""
    if settings.mongo_db:
        return client[settings.mongo_db]
    return client.get_default_database(default=DEFAULT_DATABASE)
