"""The settings → a MongoDB client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pymongo
from django_q.brokers.per_process import PerProcess
from django_q.exceptions import ConfigurationError
from pymongo.errors import ConfigurationError as Misconfigured
from pymongo.errors import InvalidURI

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings
    from pymongo.database import Database

Client: TypeAlias = "pymongo.MongoClient[dict[str, Any]]"

DEFAULTS = {"connectTimeoutMS": 5000, "serverSelectionTimeoutMS": 5000, "socketTimeoutMS": 20_000}
"""After how many milliseconds a silent server counts as gone, unless the settings say otherwise."""

DATABASE = "django-q"
"""The database, where neither `mongo_db` nor the address names one."""

_clients: PerProcess[dict[str, Client]] = PerProcess(dict)


def client_for(settings: ClusterSettings) -> Client:
    """This process's client for *settings*: one, however many brokers and threads use it."""
    clients = _clients.get()
    key = key_of(settings)
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def close_client(settings: ClusterSettings) -> None:
    """Close this process's client for *settings*; the next call of `client_for` makes another one."""
    client = _clients.get().pop(key_of(settings), None)
    if client is not None:
        client.close()


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
    return client.get_default_database(default=DATABASE)
