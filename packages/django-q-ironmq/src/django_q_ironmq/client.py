"""Creates the IronMQ client of a process from the settings."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import requests
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from iron_core import IronClient
from iron_mq import IronMQ

from django_q_ironmq.errors import ForeignAnswer

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

TIMEOUT_SECONDS = (5.0, 40.0)
"""Timeouts of connecting and of a response, in seconds. A long poll may take 30."""

_clients: ProcessLocal[dict[str, TimelyMQ]] = ProcessLocal(dict)


class TimelyClient(IronClient):  # type: ignore[misc]
    """Client of the product with timeouts, without which it would hang with its server, and persistent connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._local = threading.local()

    def close(self) -> None:
        """Close the connections of this thread."""
        session: requests.Session | None = vars(self._local).pop("session", None)
        if session is not None:
            session.close()

    def request(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Send a request once. The product's client repeats some for 15 seconds, and may store a message twice.

        Raises:
            requests.RequestException: there was no response, or none of IronMQ.
        """
        try:
            result: dict[str, Any] = super().request(*arguments, **{**options, "retry": False})
        except KeyError as error:
            raise ForeignAnswer(f"a response without {error}") from error
        if not isinstance(result["body"], dict):
            raise ForeignAnswer(f"a response of the type {result['content-type']}")
        return result

    def _doRequest(self, url: str, method: str, body: str = "", headers: dict[str, str] | None = None) -> Any:  # noqa: N802
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        authorization = {"Authorization": f"OAuth {self.token_provider.getToken()}"}
        headers = {**(headers or {}), **authorization}
        return session.request(method, url, data=body, headers=headers, timeout=TIMEOUT_SECONDS)


class TimelyMQ(IronMQ):  # type: ignore[misc]
    """API of the product with a `TimelyClient`."""

    def __init__(self, **options: Any) -> None:
        options = {"api_version": self.API_VERSION, **options}
        self.client = TimelyClient(name=self.NAME, version=self.VERSION, product="iron_mq", **options)


def client_for(settings: ClusterSettings) -> TimelyMQ:
    """Return this process's client for *settings*, which all brokers and threads share."""
    clients = _clients.get()
    key = repr(sorted((settings.iron_mq or {}).items()))
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def make_client(settings: ClusterSettings) -> TimelyMQ:
    """Create a client with the keywords in the settings.

    Raises:
        ConfigurationError: the client of the product rejects them.
    """
    try:
        return TimelyMQ(**(settings.iron_mq or {}))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The IronMQ client rejects Q_CLUSTER['iron_mq']: {error}") from error
