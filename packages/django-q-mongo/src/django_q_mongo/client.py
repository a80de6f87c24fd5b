"""The settings → a MongoDB client."""

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
"""After how many milliseconds a silent server counts as gone, unless the settings say otherwise."""

DEFAULT_DATABASE = "django-q"
"""The database, where neither `mongo_db` nor the address names one."""


@dataclass(kw_only=True)
class SharedClient:
    """A client and who uses it."""

    client: Client
    users: WeakSet[object] = field(default_factory=WeakSet)
    """Brokers that have it at the moment."""
    is_lent: bool = False
    """True if `Mongo.get_connection` gave it away: it is never closed."""


_clients: ProcessLocal[dict[str, SharedClient]] = ProcessLocal(dict)
_lock: ProcessLocal[threading.Lock] = ProcessLocal(threading.Lock)
"""Held while clients are looked up, made or closed."""


def client_for(settings: ClusterSettings, user: object = None) -> Client:
    """Return this process's client for *settings*: one, however many brokers and threads use it.

    Args:
        settings: of the cluster.
        user: the broker that uses the client until it calls `leave_client`; None: the client is never closed.
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
    """Close this process's client for *settings* if no other broker uses it; `client_for` makes another one."""
    clients, key = _clients.get(), key_of(settings)
    with _lock.get():
        if (shared := clients.get(key)) is None:
            return
        shared.users.discard(user)
        if not shared.users and not shared.is_lent:
            del clients[key]
            shared.client.close()


def key_of(settings: ClusterSettings) -> str:
    """Return what of the settings distinguishes clients."""
    return repr(sorted((settings.mongo or {}).items()))


def make_client(settings: ClusterSettings) -> Client:
    """A client, made of whatever MongoClient takes."""
    given = dict(settings.mongo or {})
    address = str(given.get("host") or "").lower()
    options: dict[str, Any] = {key: value for key, value in DEFAULTS.items() if f"{key.lower()}=" not in address}
    try:
        return pymongo.MongoClient(**options | given)
    except (Misconfigured, InvalidURI, TypeError, ValueError) as error:
        raise ConfigurationError(f"Q_CLUSTER['mongo'] is not understood by pymongo: {error}") from error


def database_of(client: Client, settings: ClusterSettings) -> Database[dict[str, Any]]:
    """The database that holds the queues."""
    if settings.mongo_db:
        return client[settings.mongo_db]
    return client.get_default_database(default=DEFAULT_DATABASE)
